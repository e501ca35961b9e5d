//! TLS as a client: who the other side must be, and what became of it.
//!
//! | demand | certificate |
//! |---|---|
//! | [`ClientTls::opportunistic`] | any; what it would have been worth is judged and told (RFC 7435) |
//! | [`ClientTls::verified`] | from a trusted CA, for one of the names, in date (RFC 8461 §4.2, RFC 9525) |
//! | [`ClientTls::dane`] | matched by the destination's TLSA records (RFC 7672 §3) |
//!
//! In each case the server must prove that it holds the certificate's key. Sessions are never resumed: a resumed one
//! would be as good as the verification of the first, whatever was demanded of that.

mod verdict;
mod verifier;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use routing::Demand;
use routing::dane::Tlsa;
use routing::tlsrpt::ResultType;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use self::verifier::{Demanded, PeerVerifier};
use crate::{CertificateError, TlsRole};

pub use verdict::{Distrust, Identity};

/// What clients trust. Cloning shares it: a reload is seen by all handshakes that begin after it.
#[derive(Clone)]
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    roots: Arc<ArcSwap<Roots>>,
}

struct Roots {
    verifier: Arc<dyn ServerCertVerifier>,
    from_system: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("from_system", &self.trusts_system()).finish_non_exhaustive()
    }
}

/// Why a handshake cannot even begin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// Not the name of a host nor an address.
    #[error("not the name of a host: {0:?}")]
    Name(String),
    /// No name to verify the server by.
    #[error("no name to verify the server by")]
    NoName,
    /// The library refuses its configuration.
    #[error("TLS cannot be configured: {0}")]
    Configuration(String),
}

impl ClientTls {
    /// Trusts the system's CAs, or Mozilla's where the system has none; beside them those in `extra`, a PEM file.
    ///
    /// # Errors
    /// `extra` cannot be read or holds no certificate.
    pub fn new(extra: Option<&Path>) -> Result<Self, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(ArcSwap::from_pointee(Roots::load(extra, &provider)?));
        Ok(Self { provider, roots })
    }

    /// Reads what is trusted again (rule 27), `extra` from a file that may be another one.
    ///
    /// # Errors
    /// As [`ClientTls::new`]; what was trusted before still is.
    pub fn reload(&self, extra: Option<&Path>) -> Result<(), CertificateError> {
        self.roots.store(Arc::new(Roots::load(extra, &self.provider)?));
        Ok(())
    }

    /// Whether the system's CAs are trusted: false if there are none and Mozilla's are used in their place.
    #[must_use]
    pub fn trusts_system(&self) -> bool {
        self.roots.load().from_system
    }

    /// For any certificate. The first of `names` is sent as the server name; all of them are those for which the
    /// certificate is judged, without consequence. An empty list, and a first name that is an address, send none.
    ///
    /// # Errors
    /// A name is none, or the library's.
    pub fn opportunistic(&self, names: &[String]) -> Result<ClientHandshake, HandshakeError> {
        let names = parsed(names)?;
        // Only the session store would need a name, and there is none.
        let server = names.first().cloned().unwrap_or(ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into()));
        self.handshake(server, Demanded::Anything { names })
    }

    /// For a certificate of a trusted CA that is valid for one of `names`, the first of which is sent as the server name
    /// (RFC 8461 §4.2).
    ///
    /// # Errors
    /// There is no name, one of them is none, or the library's.
    pub fn verified(&self, names: &[String]) -> Result<ClientHandshake, HandshakeError> {
        let names = parsed(names)?;
        let server = names.first().cloned().ok_or(HandshakeError::NoName)?;
        self.handshake(server, Demanded::WebPki { names })
    }

    /// For a certificate matched by one of `records`; `names` are the reference names of RFC 7672 §3.2.2, of which the
    /// first, the TLSA base domain, is sent as the server name (RFC 7672 §8.1).
    ///
    /// # Errors
    /// There is no name, one of them is none, or the library's.
    pub fn dane(&self, records: &[Tlsa], names: &[String]) -> Result<ClientHandshake, HandshakeError> {
        let names = parsed(names)?;
        let server = names.first().cloned().ok_or(HandshakeError::NoName)?;
        self.handshake(server, Demanded::Dane { records: records.to_vec(), names })
    }

    /// What a plan demands; `names` are those of [`routing::Security::names`], by which a certificate that is
    /// not demanded is judged. `None`: no TLS at all.
    ///
    /// # Errors
    /// As of the method for the demand.
    pub fn demanded(&self, demand: &Demand, names: &[String]) -> Result<Option<ClientHandshake>, HandshakeError> {
        Ok(Some(match demand {
            Demand::None => return Ok(None),
            Demand::Opportunistic | Demand::Encrypted => self.opportunistic(names)?,
            Demand::Verified { names } => self.verified(names)?,
            Demand::Dane { records, names } => self.dane(records, names)?,
        }))
    }

    fn handshake(&self, server: ServerName<'static>, demanded: Demanded) -> Result<ClientHandshake, HandshakeError> {
        let judged = Judged::default();
        let verifier = PeerVerifier {
            provider: Arc::clone(&self.provider),
            roots: Arc::clone(&self.roots.load().verifier),
            demanded,
            judged: judged.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| HandshakeError::Configuration(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = matches!(server, ServerName::DnsName(_));
        Ok(ClientHandshake { config: Arc::new(config), server, judged })
    }
}

impl Roots {
    fn load(extra: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Self, CertificateError> {
        let extra = extra.map(authorities).transpose()?.unwrap_or_default();
        // The system's verifier has an empty store for an error, but not if there are extra ones, so it is asked alone.
        if let Ok(system) = rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
            let verifier = if extra.is_empty() {
                system
            } else {
                rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(provider)).map_err(wrong)?
            };
            return Ok(Self { verifier: Arc::new(verifier), from_system: true });
        }
        let mut roots = mozilla();
        for authority in extra {
            roots.add(authority).map_err(wrong)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self { verifier: verifier.build().map_err(wrong)?, from_system: false })
    }
}

/// The CAs that Mozilla trusts, as they were when this was built.
pub(crate) fn mozilla() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn wrong(error: impl fmt::Display) -> CertificateError {
    CertificateError { file: "trusted certificates".into(), reason: error.to_string() }
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let wrong = |reason: String| CertificateError { file: file.display().to_string(), reason };
    let octets = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let authorities: Vec<_> =
        CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if authorities.is_empty() {
        return Err(wrong("holds no certificate in PEM".into()));
    }
    Ok(authorities)
}

fn parsed(names: &[String]) -> Result<Vec<ServerName<'static>>, HandshakeError> {
    names
        .iter()
        .map(|name| {
            let bare = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(bare.to_owned()).map_err(|_| HandshakeError::Name(name.clone()))
        })
        .collect()
}

/// One handshake, for one connection: what the driver needs, and what became of it.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    judged: Judged,
}

impl ClientHandshake {
    /// What [`crate::Driving::tls`] takes.
    #[must_use]
    pub fn role(&self) -> TlsRole {
        TlsRole::Client(Arc::clone(&self.config), self.server.clone())
    }

    /// Who the server showed itself to be, or why its certificate is worth nothing; `None` if no certificate came. After
    /// a handshake that failed, an error here is why; otherwise it was TLS itself.
    ///
    /// After an opportunistic handshake it says what stricter demands would have found.
    #[must_use]
    pub fn verdict(&self) -> Option<Result<Identity, Distrust>> {
        self.judged.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The result type of a TLS report for a handshake that failed (RFC 8460 §4.3).
    #[must_use]
    pub fn result_type(&self) -> ResultType {
        match self.verdict() {
            Some(Err(distrust)) => distrust.result_type(),
            _ => ResultType::ValidationFailure,
        }
    }

    pub(crate) fn config(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(&self.config), self.server.clone())
    }
}

#[derive(Clone, Debug, Default)]
struct Judged(Arc<Mutex<Option<Result<Identity, Distrust>>>>);

impl Judged {
    fn set(&self, verdict: Result<Identity, Distrust>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}
