//! Certificates chosen by the name the client asks for (RFC 6066 §3), replaced while connections go on.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Where a certificate and its key are, and whom they are for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
    /// The names to choose it for, in lower case, `*.example.org` for all of one level. The first pair is also for
    /// clients that ask for no name, or an unknown one.
    pub names: Vec<String>,
}

/// Why certificates cannot be used: which file, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct CertificateError {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The certificates of this process. Cloning shares them: a reload is seen by all.
#[derive(Clone)]
pub struct Certificates {
    chosen: Arc<ArcSwap<Chosen>>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Chosen {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used. Also when there is none.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        let chosen = Arc::new(ArcSwap::from_pointee(Chosen::load(files)?));
        let resolver = Arc::new(Resolver(Arc::clone(&chosen)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError { file: "TLS".into(), reason: error.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| CertificateError { file: "TLS".into(), reason: error.to_string() })?;
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Self { chosen, config: Arc::new(config) })
    }

    /// Reads the files again; connections from now on use what they say.
    ///
    /// # Errors
    /// The first file that cannot be used; what was loaded before stays in use.
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), CertificateError> {
        self.chosen.store(Arc::new(Chosen::load(files)?));
        Ok(())
    }

    /// The configuration for servers.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl Chosen {
    fn load(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        let mut default = None;
        let mut by_name = HashMap::new();
        for pair in files {
            let key = Arc::new(certified(pair)?);
            for name in &pair.names {
                by_name.insert(name.to_ascii_lowercase(), Arc::clone(&key));
            }
            default.get_or_insert(key);
        }
        let none = || CertificateError { file: "TLS".into(), reason: "no certificate is configured".into() };
        Ok(Self { default: default.ok_or_else(none)?, by_name })
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let wild = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let found = self.by_name.get(&name).or_else(|| self.by_name.get(&wild?));
        Arc::clone(found.unwrap_or(&self.default))
    }
}

fn certified(pair: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let wrong = |file: &Path, reason: String| CertificateError { file: file.display().to_string(), reason };
    let read = |file: &Path| std::fs::read(file).map_err(|error| wrong(file, error.to_string()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&pair.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&pair.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&pair.certificate, "holds no certificate in PEM".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?)
        .map_err(|error| wrong(&pair.key, format!("holds no private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| wrong(&pair.key, format!("does not go with {}: {error}", pair.certificate.display())))
}

struct Resolver(Arc<ArcSwap<Chosen>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().choose(hello.server_name()))
    }
}
