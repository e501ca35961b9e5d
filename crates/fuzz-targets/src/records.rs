//! What other domains publish: DNS records and files.

use routing::sts::{self, CachedPolicy, Policy};
use routing::tlsrpt::{self, Endpoint};

/// A policy that is read prints and reads the same, and survives being stored; so does what a store may hand back.
pub(crate) fn mta_sts_policy(octets: &[u8]) {
    if let Ok(policy) = Policy::parse(octets) {
        assert!(policy.max_age <= sts::MAX_AGE);
        assert_eq!(Policy::parse(policy.to_text().as_bytes()).as_ref(), Ok(&policy));
        assert_eq!(policy.lines().len(), policy.mx.len() + 3);
        for pattern in &policy.mx {
            assert!(policy.allows(&pattern.to_string().replace('*', "any")));
        }
    }
    if let Ok(id) = sts::record(&[octets.to_vec()]) {
        assert_eq!(sts::record(&[format!("v=STSv1; id={id};").into_bytes()]), Ok(id));
    }
    if let Some(cached) = CachedPolicy::decode(octets) {
        assert_eq!(CachedPolicy::decode(&cached.encode()), Some(cached));
    }
}

/// A record that is read names endpoints that read again.
pub(crate) fn tlsrpt_record(octets: &[u8]) {
    let Ok(endpoints) = tlsrpt::record(&[octets.to_vec()]) else { return };
    assert!((1..=tlsrpt::MAX_ENDPOINTS).contains(&endpoints.len()));
    let list: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
    let again = tlsrpt::record(&[format!("v=TLSRPTv1; rua={}", list.join(",")).into_bytes()]);
    assert_eq!(again, Ok(endpoints));
}
