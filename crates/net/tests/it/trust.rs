//! What clients think of the certificates they are shown.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use mailwright_net::{ClientHandshake, ClientTls, Distrust, HandshakeError, Identity, TlsRole};
use routing::Demand;
use routing::dane::Tlsa;
use routing::tlsrpt::ResultType;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use crate::authority::{Authority, Dates, Shown, self_signed};
use crate::handshake::shake_hands;

struct World {
    root: Authority,
    middle: Authority,
    tls: ClientTls,
}

fn world() -> World {
    let root = Authority::new("Root");
    let middle = root.below("Middle");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    root.write(&file);
    let tls = ClientTls::new(Some(&file)).unwrap();
    World { root, middle, tls }
}

/// Shakes hands: whether it succeeded on both sides, what the client thinks, and which name it sent.
fn shake(handshake: &ClientHandshake, server: Arc<ServerConfig>) -> (bool, Option<String>) {
    let TlsRole::Client(config, name) = handshake.role() else { panic!("a client's role") };
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let sound = shake_hands(&mut client, &mut server);
    (sound, server.server_name().map(str::to_owned))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    digest(&SHA256, octets).as_ref().to_vec()
}

#[test]
fn verified() {
    let World { root, middle, tls } = world();
    let stranger = Authority::new("Stranger");
    let issued = |host, dates| middle.issues(host, dates, &[&middle]);
    let good = Identity::Authority { name: "mx.example".into() };
    let table: Vec<(Shown, Result<Identity, Distrust>, &str)> = vec![
        (issued("mx.example", Dates::Now), Ok(good.clone()), "validation-failure"),
        (issued("*.example", Dates::Now), Err(Distrust::HostMismatch), "certificate-host-mismatch"),
        (issued("mx.other", Dates::Now), Err(Distrust::HostMismatch), "certificate-host-mismatch"),
        (issued("mx.example", Dates::Past), Err(Distrust::Expired), "certificate-expired"),
        (issued("mx.example", Dates::Future), Err(Distrust::NotYetValid), "certificate-expired"),
        (middle.issues("mx.example", Dates::Now, &[]), Err(Distrust::NotTrusted), "certificate-not-trusted"),
        (stranger.issues("mx.example", Dates::Now, &[&stranger]), Err(Distrust::NotTrusted), "certificate-not-trusted"),
        (self_signed("mx.example", Dates::Now), Err(Distrust::NotTrusted), "certificate-not-trusted"),
        (root.issues("mx.example", Dates::Now, &[]), Ok(good), "validation-failure"),
    ];
    for (at, (shown, expected, result_type)) in table.into_iter().enumerate() {
        let strict = tls.verified(&names(&["mx.example"])).unwrap();
        let (sound, sent) = shake(&strict, shown.config());
        assert_eq!((sound, strict.verdict()), (expected.is_ok(), Some(expected.clone())), "{at}");
        assert_eq!(strict.result_type().as_str(), result_type, "{at}");
        assert_eq!(sent.as_deref(), Some("mx.example"));
        // Opportunistic TLS takes them all, and tells what they are worth.
        let lenient = tls.opportunistic(&names(&["mx.example"])).unwrap();
        let (sound, sent) = shake(&lenient, shown.config());
        assert_eq!((sound, lenient.verdict()), (true, Some(expected)), "{at}");
        assert_eq!(sent.as_deref(), Some("mx.example"));
    }
}

#[test]
fn any_of_the_names() {
    let World { middle, tls, .. } = world();
    let shown = middle.issues("example.org", Dates::Now, &[&middle]);
    let handshake = tls.verified(&names(&["mx.example", "example.org."])).unwrap();
    assert!(shake(&handshake, shown.config()).0);
    assert_eq!(handshake.verdict(), Some(Ok(Identity::Authority { name: "example.org".into() })));
    let shown = middle.issues("*.example.org", Dates::Now, &[&middle]);
    assert!(shake(&tls.verified(&names(&["mx.example.org"])).unwrap(), shown.config()).0);
    assert!(!shake(&tls.verified(&names(&["a.mx.example.org"])).unwrap(), shown.config()).0);
}

#[test]
fn names_and_none() {
    let World { tls, .. } = world();
    let shown = self_signed("mx.example", Dates::Now);
    // A host that is an address, or nothing, has no name to send (RFC 6066 §3).
    for unnamed in [names(&[]), names(&["192.0.2.1"]), names(&["2001:db8::1"])] {
        let handshake = tls.opportunistic(&unnamed).unwrap();
        assert_eq!(shake(&handshake, shown.config()), (true, None), "{unnamed:?}");
    }
    let handshake = tls.opportunistic(&names(&["_mx.example"])).unwrap();
    assert_eq!(shake(&handshake, shown.config()), (true, Some("_mx.example".into())));
    assert_eq!(tls.verified(&[]).unwrap_err(), HandshakeError::NoName);
    assert!(matches!(tls.verified(&names(&["a b"])), Err(HandshakeError::Name(_))));
    assert!(tls.demanded(&Demand::None, &[]).unwrap().is_none());
}

#[test]
fn dane_end_entity() {
    let World { tls, middle, .. } = world();
    // RFC 7672 §3.1.1: neither name nor date nor issuer counts.
    let shown = self_signed("elsewhere.example", Dates::Past);
    let other = middle.issues("mx.example", Dates::Now, &[&middle]);
    let (der, spki) = (shown.chain[0].to_vec(), shown.spki());
    let sha512 = |octets: &[u8]| digest(&SHA512, octets).as_ref().to_vec();
    for record in [
        Tlsa::new(3, 0, 0, der.clone()),
        Tlsa::new(3, 0, 1, sha256(&der)),
        Tlsa::new(3, 0, 2, sha512(&der)),
        Tlsa::new(3, 1, 0, spki.clone()),
        Tlsa::new(3, 1, 1, sha256(&spki)),
        Tlsa::new(3, 1, 2, sha512(&spki)),
    ] {
        let wrong = Tlsa::new(3, 1, 1, vec![0; 32]);
        let demand = Demand::Dane { records: vec![wrong, record.clone()], names: names(&["mx.example"]) };
        let handshake = tls.demanded(&demand, &[]).unwrap().unwrap();
        assert_eq!(shake(&handshake, shown.config()), (true, Some("mx.example".into())), "{record}");
        assert_eq!(handshake.verdict(), Some(Ok(Identity::DaneEndEntity { record: record.to_string() })));
        // The best certificate does not do if it is another.
        let handshake = tls.demanded(&demand, &[]).unwrap().unwrap();
        assert!(!shake(&handshake, other.config()).0, "{record}");
        assert_eq!(handshake.verdict(), Some(Err(Distrust::TlsaMismatch)));
        assert_eq!(handshake.result_type(), ResultType::TlsaInvalid);
    }
}

#[test]
fn dane_trust_anchor() {
    let World { tls, .. } = world();
    // A CA that nobody but the records knows.
    let root = Authority::new("Own root");
    let middle = root.below("Own middle");
    let record = |issuer: &Authority| Tlsa::new(2, 0, 1, sha256(issuer.der()));
    let full = Tlsa::new(2, 0, 0, root.der().to_vec());
    let try_one = |record: &Tlsa, shown: &Shown, reference: &[&str]| {
        let handshake = tls.dane(std::slice::from_ref(record), &names(reference)).unwrap();
        let (sound, _) = shake(&handshake, shown.config());
        let verdict = handshake.verdict().unwrap();
        assert_eq!(sound, verdict.is_ok());
        verdict.map(|identity| match identity {
            Identity::DaneTrustAnchor { name, .. } => name,
            other => panic!("{other:?}"),
        })
    };
    let mx = &["mx.example", "www.example.org"][..];
    let good = middle.issues("mx.example", Dates::Now, &[&middle, &root]);
    assert_eq!(try_one(&record(&root), &good, mx), Ok("mx.example".into()));
    assert_eq!(try_one(&record(&middle), &good, mx), Ok("mx.example".into()));
    assert_eq!(try_one(&full, &good, mx), Ok("mx.example".into()));
    // RFC 7672 §3.2.2: the next-hop domain is as good as the host.
    let next_hop = middle.issues("*.example.org", Dates::Now, &[&middle, &root]);
    assert_eq!(try_one(&record(&root), &next_hop, mx), Ok("www.example.org".into()));
    let other_host = middle.issues("mx.other", Dates::Now, &[&middle, &root]);
    assert_eq!(try_one(&record(&root), &other_host, mx), Err(Distrust::HostMismatch));
    let expired = middle.issues("mx.example", Dates::Past, &[&middle, &root]);
    assert_eq!(try_one(&record(&root), &expired, mx), Err(Distrust::Expired));
    // RFC 7671 §5.2.2: a digest needs the anchor in the chain; the anchor itself does not.
    let without_root = middle.issues("mx.example", Dates::Now, &[&middle]);
    assert_eq!(try_one(&record(&root), &without_root, mx), Err(Distrust::TlsaMismatch));
    assert_eq!(try_one(&full, &without_root, mx), Ok("mx.example".into()));
    // The anchor is shown, but did not issue.
    let stranger = Authority::new("Stranger").issues("mx.example", Dates::Now, &[&root]);
    assert_eq!(try_one(&record(&root), &stranger, mx), Err(Distrust::NotTrusted));
    // PKIX usages authenticate nobody here (RFC 7672 §3.1.3).
    let pkix = Tlsa::new(0, 0, 1, sha256(root.der()));
    assert_eq!(try_one(&pkix, &good, mx), Err(Distrust::TlsaMismatch));
}

/// A handshake is not resumed: with what a lenient one left behind a strict one would begin.
#[test]
fn nothing_is_resumed() {
    let World { tls, middle, .. } = world();
    let server = middle.issues("mx.example", Dates::Now, &[&middle]).config();
    for _ in 0..2 {
        let handshake = tls.verified(&names(&["mx.example"])).unwrap();
        assert!(shake(&handshake, Arc::clone(&server)).0);
        assert!(handshake.verdict().is_some(), "the certificate was looked at again");
    }
}

#[test]
fn what_is_trusted_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    old.write(&file);
    let tls = ClientTls::new(Some(&file)).unwrap();
    let shown = new.issues("mx.example", Dates::Now, &[]);
    let is_trusted = || shake(&tls.verified(&names(&["mx.example"])).unwrap(), shown.config()).0;
    assert!(!is_trusted());
    new.write(&file);
    tls.reload(Some(&file)).unwrap();
    assert!(is_trusted());
    std::fs::write(&file, "nothing").unwrap();
    assert!(tls.reload(Some(&file)).unwrap_err().to_string().contains("ca.pem"));
    assert!(is_trusted());
    tls.reload(None).unwrap();
    assert!(!is_trusted());
}
