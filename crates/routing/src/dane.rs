//! DANE for SMTP: which TLSA records count, under which names, and whether a certificate matches.
//!
//! | RFC | here |
//! |---|---|
//! | 6698 §2.1, §2.2 | [`Tlsa`] |
//! | 6698 §4.1, 7672 §3.1 | [`Tlsa::is_usable`] |
//! | 7671 §9 | [`usable`] |
//! | 7672 §2.2.2, §2.2.3 | [`candidates`] |
//! | 7672 §3.2.2 | [`reference_names`] |
//! | 7672 §3.2.3 | [`name_matches`] |
//!
//! When TLSA records are asked for at all is decided in [`crate::Lookup`]: after secure address answers only (rule 36).

use std::fmt;

use sha2::{Digest, Sha256, Sha512};

use crate::question::{Proof, Records};

/// A TLSA record (RFC 6698 §2.1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tlsa {
    /// Certificate usage: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// Selector: 0 the whole certificate, 1 its SubjectPublicKeyInfo.
    pub selector: u8,
    /// Matching type: 0 the octets themselves, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

/// DANE-TA(2): the record names an issuer in the chain.
const TRUST_ANCHOR: u8 = 2;
/// DANE-EE(3): the record names the server's own certificate.
const END_ENTITY: u8 = 3;

impl Tlsa {
    /// A record.
    #[must_use]
    pub fn new(usage: u8, selector: u8, matching: u8, data: Vec<u8>) -> Self {
        Self { usage, selector, matching, data }
    }

    /// Whether SMTP can authenticate by it: usages 2 and 3, known selectors and matching types, data of a length that
    /// fits (RFC 6698 §4.1). PKIX-TA and PKIX-EE cannot be used between MTAs (RFC 7672 §3.1.3).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => !self.data.is_empty(),
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, TRUST_ANCHOR | END_ENTITY) && self.selector <= 1 && length
    }
}

/// Presentation form without inner spaces (RFC 6698 §2.2), as TLS reports want it (RFC 8460 §4.5).
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// The records by which to authenticate: the usable ones, and of those with the same usage and selector only the
/// strongest digest, beside any full data (RFC 7671 §9). Sorted; empty if none is usable.
#[must_use]
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    let usable = || records.iter().filter(|record| record.is_usable());
    let weaker = |record: &Tlsa| {
        record.matching == 1
            && usable().any(|other| (other.usage, other.selector, other.matching) == (record.usage, record.selector, 2))
    };
    let mut kept: Vec<Tlsa> = usable().filter(|record| !weaker(record)).cloned().collect();
    kept.sort();
    kept.dedup();
    kept.truncate(MAX_RECORDS);
    kept
}

/// How many usable TLSA records of a host are kept. DNS allows thousands; certificates are checked against each.
pub const MAX_RECORDS: usize = 64;

/// The TLSA base domains to try in turn for a host whose addresses are known (RFC 7672 §2.2.2, §2.2.3). None if DANE
/// does not apply: the zone is not signed, and asking would only find name servers that cannot answer.
#[must_use]
pub fn candidates<T>(host: &str, addresses: &Records<T>) -> Vec<String> {
    match &addresses.alias {
        None if addresses.proof.is_secure() => vec![host.to_owned()],
        Some(alias) if addresses.proof.is_secure() && alias.canonical != host => {
            vec![alias.canonical.clone(), host.to_owned()]
        }
        Some(_) if addresses.proof.is_secure() => vec![host.to_owned()],
        Some(alias) if alias.first.is_secure() => vec![host.to_owned()],
        _ => Vec::new(),
    }
}

/// How a host came to be a destination, as far as certificate names depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin<'a> {
    /// The next-hop domain: what was looked up first.
    pub next_hop: &'a str,
    /// What its aliases led to, if it had any.
    pub expanded: Option<&'a str>,
    /// Where the host was found: an MX record and its proof, or `None` if the next hop is the host itself.
    pub mx: Option<Proof>,
}

/// The names that a certificate may bear for usage DANE-TA, the TLSA base domain first (RFC 7672 §3.2.2).
#[must_use]
pub fn reference_names(base: &str, host: &str, origin: Origin<'_>) -> Vec<String> {
    let mut names = vec![base.to_owned()];
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    match origin.mx {
        Some(Proof::Secure) | None => {
            add(origin.next_hop);
            if let Some(expanded) = origin.expanded.filter(|_| origin.mx.is_some()) {
                add(expanded);
            }
        }
        // "The MX hostname is the only reference identifier."
        Some(Proof::Insecure) => add(host),
    }
    names
}

/// Whether a name in a certificate (DNS-ID, possibly with `*` as its whole first label) is the reference name. Case does
/// not matter; the wildcard stands for exactly one label (RFC 7672 §3.2.3).
#[must_use]
pub fn name_matches(presented: &str, reference: &str) -> bool {
    match presented.strip_prefix("*.") {
        Some(rest) => reference.split_once('.').is_some_and(|(first, others)| {
            !first.is_empty() && rest.contains('.') && others.eq_ignore_ascii_case(rest)
        }),
        None => !presented.is_empty() && presented.eq_ignore_ascii_case(reference),
    }
}

/// A certificate of the chain that the server sent, as octets.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The whole certificate, DER.
    pub der: &'a [u8],
    /// Its SubjectPublicKeyInfo, DER, tag and length included.
    pub spki: &'a [u8],
}

/// Whether the record's data are those of the certificate: selector and matching type only, the usage is not judged.
#[must_use]
pub fn match_tlsa(record: &Tlsa, certificate: Certificate<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.der,
        1 => certificate.spki,
        _ => return false,
    };
    match record.matching {
        0 => record.data == selected,
        1 => Sha256::digest(selected).as_slice() == record.data,
        2 => Sha512::digest(selected).as_slice() == record.data,
        _ => false,
    }
}

/// What of a chain matched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// DANE-EE: the peer is authenticated. Names, issuers and dates are not looked at (RFC 7672 §3.1.1).
    EndEntity {
        /// Which of the records.
        record: usize,
    },
    /// DANE-TA: authenticated if the chain up to `depth` is valid with that certificate as the trust anchor, and the
    /// server's certificate bears a reference name (RFC 7672 §3.1.2). The caller checks both.
    TrustAnchor {
        /// Which of the records.
        record: usize,
        /// Which of the chain; the server's own is 0.
        depth: usize,
    },
}

/// What of the chain, the server's certificate first, the records match: DANE-EE first, then each trust anchor, nearest
/// first. Empty: not authenticated.
#[must_use]
pub fn authenticate(records: &[Tlsa], chain: &[Certificate<'_>]) -> Vec<Match> {
    let matching = |usage: u8, certificate: Certificate<'_>| {
        records
            .iter()
            .enumerate()
            .find(|(_, record)| record.usage == usage && record.is_usable() && match_tlsa(record, certificate))
            .map(|(record, _)| record)
    };
    let own = chain.first().and_then(|own| matching(END_ENTITY, *own)).map(|record| Match::EndEntity { record });
    let issuers = chain.iter().enumerate().skip(1).filter_map(|(depth, issuer)| {
        matching(TRUST_ANCHOR, *issuer).map(|record| Match::TrustAnchor { record, depth })
    });
    own.into_iter().chain(issuers).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, length: usize) -> Tlsa {
        Tlsa::new(usage, selector, matching, vec![7; length])
    }

    #[test]
    fn which_are_usable() {
        let table = [
            (3, 1, 1, 32, true),
            (3, 0, 1, 32, true),
            (2, 0, 1, 32, true),
            (2, 1, 1, 32, true),
            (3, 1, 2, 64, true),
            (3, 1, 0, 91, true),
            (2, 0, 0, 900, true),
            // RFC 7672 §3.1.3
            (0, 0, 1, 32, false),
            (1, 1, 1, 32, false),
            (255, 1, 1, 32, false),
            (3, 2, 1, 32, false),
            (3, 1, 3, 32, false),
            (3, 1, 1, 31, false),
            (3, 1, 2, 32, false),
            (3, 1, 0, 0, false),
        ];
        for (usage, selector, matching, length, expected) in table {
            let record = record(usage, selector, matching, length);
            assert_eq!(record.is_usable(), expected, "{record}");
        }
    }

    // The example of RFC 7671 §9: 3 1 0 and 3 1 2 count, 3 1 1 does not.
    #[test]
    fn strongest_digest_of_each_kind() {
        let all = [record(3, 1, 1, 32), record(3, 1, 2, 64), record(3, 1, 0, 91), record(2, 0, 1, 32)];
        let kept: Vec<_> = usable(&all).iter().map(|kept| (kept.usage, kept.selector, kept.matching)).collect();
        assert_eq!(kept, [(2, 0, 1), (3, 1, 0), (3, 1, 2)]);
        // A malformed stronger record does not push the weaker one out.
        assert_eq!(usable(&[record(3, 1, 1, 32), record(3, 1, 2, 63)]).len(), 1);
        let many: Vec<Tlsa> = (0..=MAX_RECORDS).map(|at| Tlsa::new(3, 1, 0, vec![at as u8])).collect();
        assert_eq!(usable(&many[..MAX_RECORDS]).len(), MAX_RECORDS);
        assert_eq!(usable(&many).len(), MAX_RECORDS);
    }

    // RFC 7672 §2.2.2
    #[test]
    fn base_domains() {
        use Proof::{Insecure, Secure};
        let direct = |proof| Records::new(vec![()], proof, Duration::ZERO);
        let table = [
            (direct(Secure), vec!["mx.example"]),
            (direct(Insecure), vec![]),
            (direct(Secure).via("host.example", Secure), vec!["host.example", "mx.example"]),
            (direct(Insecure).via("host.example", Secure), vec!["mx.example"]),
            (direct(Insecure).via("host.example", Insecure), vec![]),
            (direct(Secure).via("mx.example", Secure), vec!["mx.example"]),
        ];
        for (records, expected) in table {
            assert_eq!(candidates("mx.example", &records), expected, "{records:?}");
        }
    }

    // The example of RFC 7672 §3.2.2.
    #[test]
    fn names_of_the_rfc() {
        let secure =
            Origin { next_hop: "exchange.example.org", expanded: Some("example.com"), mx: Some(Proof::Secure) };
        for (base, host) in [
            ("mx10.example.com", "mx10.example.com"),
            ("mx15.example.com", "mx15.example.com"),
            ("mxbackup.example.net", "mx20.example.com"),
        ] {
            assert_eq!(reference_names(base, host, secure), [base, "exchange.example.org", "example.com"]);
        }
        let insecure = Origin { mx: Some(Proof::Insecure), ..secure };
        assert_eq!(reference_names("mx10.example.com", "mx10.example.com", insecure), ["mx10.example.com"]);
        let direct = Origin { next_hop: "example.org", expanded: Some("host.example.net"), mx: None };
        assert_eq!(reference_names("host.example.net", "example.org", direct), ["host.example.net", "example.org"]);
        assert_eq!(reference_names("example.org", "example.org", direct), ["example.org"]);
    }

    // RFC 7672 §3.2.3
    #[test]
    fn wildcards() {
        let table = [
            ("mx1.example.com", "MX1.example.com", true),
            ("*.example.com", "mx1.example.com", true),
            ("*.example.com", "a.mx1.example.com", false),
            ("*.example.com", "example.com", false),
            ("smtp*.example.com", "smtp1.example.com", false),
            ("*smtp.example.com", "1smtp.example.com", false),
            ("*.com", "example.com", false),
            ("*", "example", false),
            ("", "", false),
        ];
        for (presented, reference, expected) in table {
            assert_eq!(name_matches(presented, reference), expected, "{presented} {reference}");
        }
    }

    #[test]
    fn chains() {
        let (leaf, issuer) = (Certificate { der: b"leaf", spki: b"key" }, Certificate { der: b"ca", spki: b"cakey" });
        let sha256 = |octets: &[u8]| Sha256::digest(octets).to_vec();
        let ee = Tlsa::new(3, 1, 1, sha256(b"key"));
        let ta = Tlsa::new(2, 0, 1, sha256(b"ca"));
        let full = Tlsa::new(3, 0, 0, b"leaf".to_vec());
        let sha512 = Tlsa::new(2, 1, 2, Sha512::digest(b"cakey").to_vec());
        for (records, expected) in [
            (vec![ee.clone()], vec![Match::EndEntity { record: 0 }]),
            (vec![ta.clone(), full], vec![Match::EndEntity { record: 1 }, Match::TrustAnchor { record: 0, depth: 1 }]),
            (vec![sha512], vec![Match::TrustAnchor { record: 0, depth: 1 }]),
            // A usage that SMTP cannot use does not authenticate, although the data match.
            (vec![Tlsa { usage: 1, ..ee.clone() }], vec![]),
            // DANE-EE is about the server's own certificate, DANE-TA about the others.
            (vec![Tlsa::new(3, 0, 1, sha256(b"ca")), Tlsa::new(2, 0, 1, sha256(b"leaf"))], vec![]),
        ] {
            assert_eq!(authenticate(&records, &[leaf, issuer]), expected, "{records:?}");
        }
        assert!(authenticate(&[ee], &[]).is_empty());
        assert_eq!(record(2, 0, 1, 3).to_string(), "2 0 1 070707");
    }
}
