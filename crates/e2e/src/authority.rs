//! An authority that certifies servers of the tests, and what DNS says of their certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A CA of our own.
#[derive(Debug)]
pub struct Authority {
    /// What a TLSA record `2 0 1` says of its certificate, and `2 1 1` of its key, in hexadecimal (RFC 6698 §2.1).
    pub tlsa: (String, String),
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files for programs and in memory for ourselves.
#[derive(Debug)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// What a TLSA record `3 1 1` says of it, in hexadecimal (RFC 6698 §2.1).
    pub tlsa: String,
    chain: Vec<CertificateDer<'static>>,
    secret: KeyPair,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        let tlsa = (digest(certificate.der()), digest(&key.subject_public_key_info()));
        Self { tlsa, certificate, issuer: Issuer::new(params, key) }
    }

    /// Writes its certificate, for those who are to trust it.
    pub fn write(&self, file: &Path) {
        fs::write(file, self.certificate.pem()).unwrap();
    }

    /// Certifies these names; the files go into `folder`, named after the first.
    #[must_use]
    pub fn certify(&self, folder: &Path, names: &[&str]) -> Certified {
        self.certify_key(folder, names, KeyPair::generate().unwrap())
    }

    /// The same, of an RSA key, for those who know no other.
    #[must_use]
    pub fn certify_rsa(&self, folder: &Path, names: &[&str]) -> Certified {
        let secret = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        self.certify_key(folder, names, secret)
    }

    /// Has a program show its certificate behind the one that it has issued, as DANE-TA needs it (RFC 7671 §5.2.2).
    pub fn accompany(&self, certified: &Certified) {
        let leaf = fs::read_to_string(&certified.certificate).unwrap();
        fs::write(&certified.certificate, leaf + &self.certificate.pem()).unwrap();
    }

    fn certify_key(&self, folder: &Path, names: &[&str], secret: KeyPair) -> Certified {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = folder.join(&names[0]).display().to_string();
        let params = CertificateParams::new(names).unwrap();
        let leaf = params.signed_by(&secret, &self.issuer).unwrap();
        let (certificate, key) = (PathBuf::from(format!("{stem}.pem")), PathBuf::from(format!("{stem}.key")));
        fs::write(&certificate, leaf.pem()).unwrap();
        fs::write(&key, secret.serialize_pem()).unwrap();
        let tlsa = digest(&secret.subject_public_key_info());
        Certified { certificate, key, tlsa, chain: vec![leaf.der().clone()], secret }
    }
}

/// SHA-256, in hexadecimal.
fn digest(octets: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Certified {
    /// What a TLS server of ours shows.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.secret.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(self.chain.clone(), key).unwrap())
    }
}
