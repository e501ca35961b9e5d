//! Certificates as the world has them: in date and not, from CAs and from nobody.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A CA of our own.
pub(crate) struct Authority {
    pub(crate) certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum Dates {
    Now,
    Past,
    Future,
}

/// What a server shows: its certificate, then its issuers; and its key.
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Authority {
    /// A root with this name.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A CA that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host, shown with these issuers.
    pub(crate) fn issues(&self, host: &str, dates: Dates, issuers: &[&Self]) -> Shown {
        let key = KeyPair::generate().unwrap();
        let leaf = server(host, dates).signed_by(&key, &self.issuer).unwrap();
        let issuers = issuers.iter().map(|issuer| issuer.certificate.der().clone());
        Shown { chain: std::iter::once(leaf.der().clone()).chain(issuers).collect(), key }
    }

    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// Writes it as PEM.
    pub(crate) fn write(&self, file: &Path) {
        std::fs::write(file, self.certificate.pem()).unwrap();
    }
}

/// A certificate that nobody vouches for.
pub(crate) fn self_signed(host: &str, dates: Dates) -> Shown {
    let key = KeyPair::generate().unwrap();
    let leaf = server(host, dates).self_signed(&key).unwrap();
    Shown { chain: vec![leaf.der().clone()], key }
}

impl Shown {
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(self.chain.clone(), key).unwrap())
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        use rcgen::PublicKeyData as _;
        self.key.subject_public_key_info()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server(host: &str, dates: Dates) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = match dates {
        Dates::Now => (date_time_ymd(2000, 1, 1), date_time_ymd(4000, 1, 1)),
        Dates::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
        Dates::Future => (date_time_ymd(3999, 1, 1), date_time_ymd(4000, 1, 1)),
    };
    params
}
