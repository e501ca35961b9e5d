//! Certificates that are renewed under a running server (rule 27).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod authority;
mod dialling;
mod driving;
mod fetching;
mod handshake;
mod resolving;
mod trust;
mod zones;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use mailwright_net::{CertificateFiles, Certificates};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use crate::handshake::shake_hands;

/// Writes a new certificate into a folder of its own, as ACME clients do; the certificate.
fn renew(root: &Path, number: u32) -> CertificateDer<'static> {
    let archive = root.join(format!("archive{number}"));
    std::fs::create_dir_all(&archive).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).unwrap();
    std::fs::write(archive.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(archive.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    for name in ["cert.pem", "key.pem"] {
        let (link, new) = (root.join(name), root.join(format!("{name}.new")));
        symlink(archive.join(name), &new).unwrap();
        std::fs::rename(new, link).unwrap();
    }
    made.cert.der().clone()
}

fn files(folder: &Path) -> CertificateFiles {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    CertificateFiles { certificate, key, names: vec!["mx.example".into()] }
}

/// Whether a client that trusts this certificate alone is served.
fn is_served(certificates: &Certificates, trusted: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mx.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(certificates.config()).unwrap();
    shake_hands(&mut client, &mut server)
}

#[test]
fn two_renewals_are_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = renew(folder.path(), 1);
    let files = [files(folder.path())];
    let certificates = Certificates::load(&files).unwrap();
    assert!(is_served(&certificates, &first));
    for number in [2, 3] {
        let renewed = renew(folder.path(), number);
        certificates.reload(&files).unwrap();
        assert!(is_served(&certificates, &renewed) && !is_served(&certificates, &first), "renewal {number}");
    }
    let last = renew(folder.path(), 4);
    certificates.reload(&files).unwrap();
    std::fs::write(folder.path().join("archive4/key.pem"), "no key").unwrap();
    let refused = certificates.reload(&files).unwrap_err().to_string();
    assert!(refused.contains("key.pem: holds no private key"), "{refused}");
    assert!(is_served(&certificates, &last), "what was loaded before stays");
}
