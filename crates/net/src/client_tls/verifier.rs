//! Judges the chain that a server sends.

use std::sync::Arc;

use routing::dane::{self, Certificate, Match, Tlsa};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Distrust, Identity, Judged};

/// Certificates of a chain that are looked at, the server's own included; TLS allows far more octets than a chain needs.
const MAX_CHAIN: usize = 16;

#[derive(Debug)]
pub(super) enum Demanded {
    Anything { names: Vec<ServerName<'static>> },
    WebPki { names: Vec<ServerName<'static>> },
    Dane { records: Vec<Tlsa>, names: Vec<ServerName<'static>> },
}

#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) roots: Arc<dyn ServerCertVerifier>,
    pub(super) demanded: Demanded,
    pub(super) judged: Judged,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let issuers = &intermediates[..intermediates.len().min(MAX_CHAIN - 1)];
        let verdict = match &self.demanded {
            Demanded::Anything { names } | Demanded::WebPki { names } => {
                issued_for(&*self.roots, end_entity, issuers, names, now).map(|name| Identity::Authority { name })
            }
            Demanded::Dane { records, names } => self.dane(end_entity, issuers, records, names, now),
        };
        self.judged.set(verdict.clone());
        match verdict {
            Err(distrust) if !matches!(self.demanded, Demanded::Anything { .. }) => Err(distrust.error()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl PeerVerifier {
    fn dane(
        &self,
        end_entity: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        records: &[Tlsa],
        names: &[ServerName<'static>],
        now: UnixTime,
    ) -> Result<Identity, Distrust> {
        let chain: Vec<&CertificateDer<'_>> = std::iter::once(end_entity).chain(issuers).collect();
        // A key that cannot be read matches no selector of keys, the certificate around it may still match.
        let keys: Vec<Vec<u8>> = chain.iter().map(|certificate| key_of(certificate).unwrap_or_default()).collect();
        let certificates: Vec<Certificate<'_>> =
            chain.iter().zip(&keys).map(|(der, spki)| Certificate { der, spki }).collect();
        let shown = |at: usize| records.get(at).map(ToString::to_string).unwrap_or_default();
        let mut distrust = Distrust::TlsaMismatch;
        for found in dane::authenticate(records, &certificates) {
            match found {
                // RFC 7672 §3.1.1: neither name nor date counts.
                Match::EndEntity { record } => return Ok(Identity::DaneEndEntity { record: shown(record) }),
                Match::TrustAnchor { record, depth } => {
                    let Some(anchor) = chain.get(depth) else { continue };
                    match self.anchored(anchor, end_entity, issuers, names, now) {
                        Ok(name) => return Ok(Identity::DaneTrustAnchor { record: shown(record), name }),
                        Err(why) => distrust = why,
                    }
                }
            }
        }
        // RFC 7671 §5.2.2: an anchor published whole need not be in the chain.
        for record in records.iter().filter(|record| (record.usage, record.selector, record.matching) == (2, 0, 0)) {
            let anchor = CertificateDer::from(record.data.as_slice());
            match self.anchored(&anchor, end_entity, issuers, names, now) {
                Ok(name) => return Ok(Identity::DaneTrustAnchor { record: record.to_string(), name }),
                Err(Distrust::NotTrusted | Distrust::Unusable) => {}
                Err(why) => distrust = why,
            }
        }
        Err(distrust)
    }

    /// RFC 7672 §3.1.2: the chain must lead to the anchor, be in date, and its first certificate bear a name.
    fn anchored(
        &self,
        anchor: &CertificateDer<'_>,
        end_entity: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        names: &[ServerName<'static>],
        now: UnixTime,
    ) -> Result<String, Distrust> {
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone().into_owned()).map_err(|_| Distrust::Unusable)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| Distrust::Unusable)?;
        issued_for(&*verifier, end_entity, issuers, names, now)
    }
}

/// The first of the names that the certificate was issued for by whom the verifier trusts.
fn issued_for(
    verifier: &dyn ServerCertVerifier,
    end_entity: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    names: &[ServerName<'static>],
    now: UnixTime,
) -> Result<String, Distrust> {
    let mut distrust = Distrust::NoName;
    for name in names {
        match verifier.verify_server_cert(end_entity, issuers, name, &[], now) {
            Ok(_) => return Ok(name.to_str().into_owned()),
            Err(error) => distrust = Distrust::of(&error),
        }
        // Another name mends nothing else.
        if distrust != Distrust::HostMismatch {
            break;
        }
    }
    Err(distrust)
}

/// The SubjectPublicKeyInfo of a certificate, DER, tag and length included; of version 1 certificates, too, which old
/// roots are.
fn key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    Some(webpki::spki_for_anchor(&anchor).as_ref().to_vec())
}
