//! Answers the questions of [`routing`] from DNS.
//!
//! | who validates | setting | a record set is secure if |
//! |---|---|---|
//! | we do, from a trust anchor down | [`Validation::Own`] | its signatures hold (RFC 4035 §5) |
//! | a resolver of this machine | [`Validation::AdBit`] | the resolver sets AD (RFC 6840 §5.8) |
//! | nobody | [`Validation::Off`] | never |
//!
//! *There is none* is answered only where a name server said so. Whatever else goes wrong is temporary, and what
//! DNSSEC finds forged is bogus: neither is absence (rule 36, RFC 7672 §2.1.2).

mod reading;
mod stub;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use routing::{Answer, Family, Missing, Proof, Question, Reply, Trouble};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use tokio::time::timeout;

use self::reading::{Found, MAX_ALIASES};
use self::stub::Stub;
use crate::{LookUp, LookUpError, is_loopback};

/// Who validates what name servers answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Validation {
    /// We do. The name servers must hand signatures through.
    #[default]
    Own,
    /// The name servers do, which all must be on this machine: anybody on the way could set the bit.
    AdBit,
    /// Nobody; no answer is secure, and DANE does not apply.
    Off,
}

/// How names are resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolverSettings {
    /// The name servers to ask, recursive ones. Empty: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// Where the system's name servers are listed. Default `/etc/resolv.conf`. Of its other lines only `options timeout`
    /// and `attempts` count: all names are absolute.
    pub resolv_conf: PathBuf,
    /// Who validates.
    pub validation: Validation,
    /// A file of DNSKEY records to trust in place of the root's keys built in, for [`Validation::Own`].
    pub trust_anchor: Option<PathBuf>,
    /// How long a name server may take to answer; `None`: as `resolv_conf` says, else 5 s.
    pub timeout: Option<Duration>,
    /// How often a question is repeated; `None`: as `resolv_conf` says, else 2.
    pub attempts: Option<usize>,
    /// How long a question may take, aliases and keys included. Default 30 s.
    pub total: Duration,
    /// Answers that are remembered, at most for their time to live. Default 8,192.
    pub cache: u64,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            validation: Validation::default(),
            trust_anchor: None,
            timeout: None,
            attempts: None,
            total: Duration::from_secs(30),
            cache: 8192,
        }
    }
}

/// Why names cannot be resolved with these settings.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResolverError {
    /// A file cannot be used.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The AD bit is to be trusted of a server that is not on this machine.
    #[error("{0} is not on this machine, its AD bit cannot be trusted")]
    NotLoopback(SocketAddr),
    /// The library refuses its configuration.
    #[error("resolver cannot be made: {0}")]
    Configuration(String),
}

/// Resolves names. Cloning shares it, with what it remembers: a reload is seen by all.
#[derive(Clone)]
pub struct Resolver {
    current: Arc<ArcSwap<Current>>,
}

/// What it works with until the next reload.
struct Current {
    settings: ResolverSettings,
    engine: Engine,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.current.load().settings).finish_non_exhaustive()
    }
}

enum Engine {
    /// Validates, or not, and remembers.
    Hickory { resolver: Box<TokioResolver>, validates: bool },
    /// Asks a resolver of this machine, which does both.
    Stub(Stub),
}

impl Resolver {
    /// A resolver. It begins tasks when it is asked, within the runtime of whoever asks.
    ///
    /// # Errors
    /// A file cannot be used, or a server not be trusted.
    pub fn new(settings: ResolverSettings) -> Result<Self, ResolverError> {
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(Current::new(settings)?)) })
    }

    /// Works with these settings from now on: reads their `resolv_conf` and trust anchor, and forgets what was remembered
    /// (rule 27).
    ///
    /// # Errors
    /// As [`Resolver::new`]; it goes on as it was.
    pub fn reload(&self, settings: ResolverSettings) -> Result<(), ResolverError> {
        self.current.store(Arc::new(Current::new(settings)?));
        Ok(())
    }

    /// Forgets what was remembered.
    pub fn forget(&self) {
        if let Engine::Hickory { resolver, .. } = &self.current.load().engine {
            resolver.clear_cache();
        }
    }

    /// The answer to a question; never to [`Question::Policy`], which is asked by HTTPS and is `Unreachable` here
    /// ([`crate::Answers`] answers both).
    pub async fn answer(&self, question: &Question) -> Answer {
        let name = question.host();
        match question {
            Question::Mx(_) => Answer::Mx(self.ask(&name, RecordType::MX, reading::mx).await),
            Question::Addresses { family: Family::V4, .. } => {
                Answer::Addresses(self.ask(&name, RecordType::A, reading::address).await)
            }
            Question::Addresses { family: Family::V6, .. } => {
                Answer::Addresses(self.ask(&name, RecordType::AAAA, reading::address).await)
            }
            Question::Tlsa { .. } => Answer::Tlsa(self.ask(&name, RecordType::TLSA, reading::tlsa).await),
            Question::Txt(_) => Answer::Txt(self.ask(&name, RecordType::TXT, reading::txt).await),
            Question::Policy { .. } => Answer::temporary(question, Trouble::Unreachable),
        }
    }

    /// The names of an address: those that it has, none if it has none. Anybody can give their addresses any name, so one
    /// counts only if it leads back (RFC 8601 §3).
    ///
    /// # Errors
    /// Nobody knows, at present.
    pub async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, Missing> {
        let name = Name::from(address).to_ascii();
        match self.ask(&name, RecordType::PTR, reading::ptr).await {
            Ok(found) => Ok(found.records),
            Err(Missing::NoData { .. } | Missing::NxDomain { .. }) => Ok(Vec::new()),
            Err(missing) => Err(missing),
        }
    }

    async fn ask<T>(&self, text: &str, kind: RecordType, read: fn(&hickory_proto::rr::RData) -> Option<T>) -> Reply<T> {
        let Ok(mut name) = Name::from_ascii(text) else {
            // What DNS cannot even ask for it cannot hold.
            return Err(Missing::NxDomain { proof: Proof::Insecure, ttl: Duration::ZERO });
        };
        name.set_fqdn(true);
        let current = self.current.load_full();
        match timeout(current.settings.total, current.engine.found(&name, kind)).await {
            Ok(found) => found?.records(&name, kind, read),
            Err(_) => Err(Missing::Temporary(Trouble::Timeout)),
        }
    }
}

impl Current {
    fn new(settings: ResolverSettings) -> Result<Self, ResolverError> {
        Ok(Self { engine: Engine::new(&settings)?, settings })
    }
}

impl Engine {
    fn new(settings: &ResolverSettings) -> Result<Self, ResolverError> {
        let (config, mut options) = if settings.servers.is_empty() {
            let wrong =
                |reason: String| ResolverError::File { file: settings.resolv_conf.display().to_string(), reason };
            let octets = std::fs::read(&settings.resolv_conf).map_err(|error| wrong(error.to_string()))?;
            parse_resolv_conf(octets).map_err(|error| wrong(error.to_string()))?
        } else {
            let servers = settings.servers.iter().map(|server| {
                let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
                (udp.port, tcp.port) = (server.port(), server.port());
                NameServerConfig::new(server.ip(), true, vec![udp, tcp])
            });
            (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
        };
        options.timeout = settings.timeout.unwrap_or(options.timeout).max(Duration::from_millis(1));
        options.attempts = settings.attempts.unwrap_or(options.attempts);
        if settings.validation == Validation::AdBit {
            let servers: Vec<SocketAddr> = config
                .name_servers()
                .iter()
                .map(|server| SocketAddr::new(server.ip, server.connections.first().map_or(53, |one| one.port)))
                .collect();
            if let Some(stranger) = servers.iter().find(|server| !is_loopback(server.ip())) {
                return Err(ResolverError::NotLoopback(*stranger));
            }
            return Ok(Self::Stub(Stub { servers, wait: options.timeout, attempts: options.attempts.max(1) }));
        }
        options.edns0 = true;
        options.cache_size = settings.cache;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        options.try_tcp_on_error = true;
        options.validate = settings.validation == Validation::Own;
        let validates = options.validate;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            // Without one the library looks for the system's CAs and fails if there are none, although no name server
            // is asked by TLS.
            .with_tls_config(tls()?);
        if let Some(file) = settings.trust_anchor.as_ref().filter(|_| validates) {
            let wrong = |reason: String| ResolverError::File { file: file.display().to_string(), reason };
            let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
            let anchors = TrustAnchors::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        let resolver = builder.build().map_err(|error| ResolverError::Configuration(error.to_string()))?;
        Ok(Self::Hickory { resolver: Box::new(resolver), validates })
    }

    async fn found(&self, name: &Name, kind: RecordType) -> Result<Found, Missing> {
        match self {
            Self::Stub(stub) => stub.ask(name, kind).await.map(Found::of_validated).map_err(Missing::Temporary),
            Self::Hickory { resolver, validates } => {
                let mut found = look_up(resolver, name, kind, *validates).await?;
                // Where the library remembers the end of a chain of aliases, it forgets how it got there.
                for _ in 0..MAX_ALIASES {
                    let Some(gap) = found.gap(name, kind) else { break };
                    let alias = look_up(resolver, &gap, RecordType::CNAME, *validates).await?;
                    if !found.add_alias(&gap, alias) {
                        break;
                    }
                }
                if found.is_bare() {
                    // The library ends chains of aliases that are too long as if there were nothing at their end.
                    if resolver.lookup(name.clone(), RecordType::CNAME).await.is_ok() {
                        return Err(Missing::Temporary(Trouble::AliasLoop));
                    }
                    // And it lets a denial pass that stood beside anything unsigned.
                    if *validates {
                        is_unsigned(resolver, name).await?;
                    }
                }
                Ok(found)
            }
        }
    }
}

async fn look_up(resolver: &TokioResolver, name: &Name, kind: RecordType, validates: bool) -> Result<Found, Missing> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(Found::of_lookup(lookup.answers(), validates)),
        Err(error) => Found::of_error(error, validates),
    }
}

/// Whether a name is in a zone that is not signed: then a denial needs no backing.
async fn is_unsigned(resolver: &TokioResolver, name: &Name) -> Result<(), Missing> {
    let mut zone = name.clone();
    while !zone.is_root() {
        for kind in [RecordType::SOA, RecordType::NS] {
            let found = look_up(resolver, &zone, kind, true).await?;
            match found.proof_at(&zone, kind) {
                Some(Ok(Proof::Insecure)) => return Ok(()),
                Some(Ok(Proof::Secure)) => return Err(Missing::Bogus),
                Some(Err(missing)) => return Err(missing),
                None => {}
            }
        }
        zone = zone.base_name();
    }
    Err(Missing::Bogus)
}

fn tls() -> Result<ClientConfig, ResolverError> {
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ResolverError::Configuration(error.to_string()))?
        .with_root_certificates(crate::client_tls::mozilla())
        .with_no_client_auth())
}

/// Both families, IPv6 first; `localhost` is this machine whoever is asked (RFC 6761 §6.3).
#[async_trait]
impl LookUp for Resolver {
    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookUpError> {
        if host == "localhost" {
            let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(both.map(|address| SocketAddr::new(address, port)).to_vec());
        }
        let of = |family| Question::Addresses { name: host.to_owned(), family };
        let (v6, v4) = (of(Family::V6), of(Family::V4));
        let (v6, v4) = tokio::join!(self.answer(&v6), self.answer(&v4));
        let mut addresses = Vec::new();
        let mut failed = false;
        for answer in [v6, v4] {
            match answer {
                Answer::Addresses(Ok(found)) => {
                    addresses.extend(found.records.into_iter().map(|address| SocketAddr::new(address, port)));
                }
                Answer::Addresses(Err(Missing::NoData { .. } | Missing::NxDomain { .. })) => {}
                _ => failed = true,
            }
        }
        match (addresses.is_empty(), failed) {
            (false, _) => Ok(addresses),
            (true, true) => Err(LookUpError::Temporary),
            (true, false) => Err(LookUpError::None),
        }
    }
}
