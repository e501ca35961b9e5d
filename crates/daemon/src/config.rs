//! The whole configuration as plain data.
//!
//! [`TEMPLATE`] is the file that `init` writes: every key with its default and what it means. A test holds it against
//! [`Config::default`], so neither can say what the other does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use net::Network;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::incoming::{Extensions, Forwarding, Hook, Milter, Policy, Rates, Smtp};
use crate::outgoing::{Delivery, Dns, Route, Routing};

/// Everything the daemons read.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each key is explained in TEMPLATE, which users read too")]
pub struct Config {
    pub data: PathBuf,
    pub run: PathBuf,
    pub hostname: String,
    pub user: String,
    pub bind: Vec<IpAddr>,
    pub base_port: Option<u16>,
    pub shutdown_grace_seconds: u64,
    pub log: Log,
    pub tls: Tls,
    pub smtp: Smtp,
    pub submission: Submission,
    pub lmtp: Lmtp,
    pub sendmail: Sendmail,
    pub imap: Imap,
    pub pop3: Pop3,
    pub http: Http,
    pub auth: Auth,
    pub store: Store,
    pub limits: Limits,
    pub extensions: Extensions,
    pub rates: Rates,
    pub policy: Policy,
    pub forwarding: Forwarding,
    pub milter: Vec<Milter>,
    pub hook: Vec<Hook>,
    pub dns: Dns,
    pub routing: Routing,
    pub delivery: Delivery,
    pub route: Vec<Route>,
    /// The file that it was read from; empty for none.
    #[serde(skip)]
    pub file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            run: "run".into(),
            hostname: "localhost".into(),
            user: String::new(),
            bind: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            base_port: None,
            shutdown_grace_seconds: 10,
            log: Log::default(),
            tls: Tls::default(),
            smtp: Smtp::default(),
            submission: Submission::default(),
            lmtp: Lmtp::default(),
            sendmail: Sendmail::default(),
            imap: Imap::default(),
            pop3: Pop3::default(),
            http: Http::default(),
            auth: Auth::default(),
            store: Store::default(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            rates: Rates::default(),
            policy: Policy::default(),
            forwarding: Forwarding::default(),
            milter: Vec::new(),
            hook: Vec::new(),
            dns: Dns::default(),
            routing: Routing::default(),
            delivery: Delivery::default(),
            route: Vec::new(),
            file: PathBuf::new(),
        }
    }
}

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[doc = concat!("A section of the configuration; [`TEMPLATE`](crate::TEMPLATE) explains its keys.")]
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields)]
        #[expect(missing_docs, reason = "each key is explained in TEMPLATE, which users read too")]
        pub struct $name { $(pub $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
}

pub(crate) use section;

section!(Log { format: LogFormat = LogFormat::Text, level: String = "info".into() });
section!(Tls { certificate: PathBuf = PathBuf::new(), key: PathBuf = PathBuf::new(), more: Vec<Certificate> = Vec::new() });
section!(Submission {
    enabled: bool = true,
    allow_plaintext_auth: bool = false,
    hide_client_address: bool = false,
    proxy_networks: Vec<String> = Vec::new(),
});
section!(Lmtp { enabled: bool = true, socket: PathBuf = PathBuf::new() });
section!(Sendmail {
    enabled: bool = true,
    drop: PathBuf = PathBuf::new(),
    origin: String = String::new(),
    trusted_users: Vec<String> = Vec::new(),
});
section!(Imap {
    enabled: bool = true,
    allow_plaintext_auth: bool = false,
    literal_plus: bool = true,
    proxy_networks: Vec<String> = Vec::new(),
});
section!(Pop3 { enabled: bool = true, allow_plaintext_auth: bool = false, proxy_networks: Vec<String> = Vec::new() });
section!(Http { enabled: bool = true, port: u16 = 8080, imapd_port: u16 = 8081, pop3d_port: u16 = 8082 });
section!(Auth {
    argon2_memory_kib: u32 = 19_456,
    argon2_iterations: u32 = 2,
    argon2_parallelism: u32 = 1,
    scram_iterations: u32 = 4_096,
    cache_seconds: u64 = 300,
    failures_per_minute: u32 = 10,
});
section!(Store { segment_octets: u64 = 64 << 20, min_free_octets: u64 = 100 << 20 });
section!(Limits {
    connections: usize = 10_000,
    connections_per_address: usize = 100,
    message_octets: u64 = 50 << 20,
    recipients: usize = 1_000,
    transactions: u32 = 1_000,
    smtp_line_octets: usize = 4_096,
    imap_line_octets: usize = 65_536,
    imap_command_octets: usize = 262_144,
    errors: u32 = 20,
    received_fields: usize = 100,
    write_stall_seconds: u64 = 120,
    handshake_seconds: u64 = 30,
    imap_heartbeat_seconds: u64 = 120,
    memory_octets: u64 = 256 << 20,
});

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A further certificate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The names it is chosen for.
    pub names: Vec<String>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Mail from other systems, port 25.
    Smtp,
    /// Mail from our users, port 587.
    Submission,
    /// The same under TLS from the start, port 465.
    Submissions,
    /// Delivery by another mail system of this machine: a Unix socket, port 24 with `base_port`.
    Lmtp,
    /// IMAP, port 143.
    Imap,
    /// IMAP under TLS from the start, port 993.
    Imaps,
    /// POP3, port 110.
    Pop3,
    /// POP3 under TLS from the start, port 995.
    Pop3s,
    /// Metrics and health of `mta`, or of all daemons in one process, on loopback.
    Http,
    /// Metrics and health of an `imapd` that runs alone.
    ImapdHttp,
    /// Metrics and health of a `pop3d` that runs alone.
    Pop3dHttp,
}

impl Kind {
    /// The listeners of all daemons in one process.
    pub const IN_ONE_PROCESS: [Self; 9] = [
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Lmtp,
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::Http,
    ];

    /// Its name, as the log has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Http | Self::ImapdHttp | Self::Pop3dHttp => "http",
        }
    }

    /// Its standard port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Submission => 587,
            Self::Submissions => 465,
            Self::Lmtp => 24,
            Self::Imap => 143,
            Self::Imaps => 993,
            Self::Pop3 => 110,
            Self::Pop3s => 995,
            Self::Http => 80,
            Self::ImapdHttp => 81,
            Self::Pop3dHttp => 82,
        }
    }

    /// Whether it is for metrics and health.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::ImapdHttp | Self::Pop3dHttp)
    }

    /// Whether TLS comes from the first octet.
    #[must_use]
    pub fn implicit_tls(self) -> bool {
        matches!(self, Self::Submissions | Self::Imaps | Self::Pop3s)
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Config {
    /// Finds and reads the configuration: `given`, else `$MAILWRIGHT_CONFIG`, else `./mailwright.toml`, else
    /// `/etc/mailwright/mailwright.toml`. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// No file, one that others may write (rule 26), or one that says what cannot be: with file, line and column.
    pub fn find(given: Option<&Path>) -> Result<(PathBuf, Self), Error> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => default_path()?,
        };
        Ok((path.clone(), Self::load(&path)?))
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Config(format!("{}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut config = Self::parse(&text).map_err(|(place, reason)| match place {
            Some((line, column)) => Error::Config(format!("{}:{line}:{column}: {reason}", path.display())),
            None => wrong(reason),
        })?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = std::path::absolute(directory).map_err(|error| wrong(error.to_string()))?;
        config.resolve(&directory);
        config.file = path.to_owned();
        Ok(config)
    }

    /// That something in it cannot be used, with the file that it stands in.
    #[must_use]
    pub fn wrong(&self, what: impl std::fmt::Display) -> Error {
        if self.file.as_os_str().is_empty() {
            return Error::Config(what.to_string());
        }
        Error::Config(format!("{}: {what}", self.file.display()))
    }

    /// Reads a configuration's text; the error has its line and column where it has a place.
    ///
    /// # Errors
    /// What is wrong and what would be accepted.
    pub fn parse(text: &str) -> Result<Self, (Option<(usize, usize)>, String)> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| {
                let before = text.get(..span.start).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
            });
            (place, plain(error.message()))
        })?;
        config.check().map_err(|reason| (None, reason))?;
        Ok(config)
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), String> {
        if address::Domain::parse(&self.hostname).is_err() {
            return Err(format!("hostname = {:?}: expected a domain name", self.hostname));
        }
        if !self.sendmail.origin.is_empty() && address::Domain::parse(&self.sendmail.origin).is_err() {
            return Err(format!("sendmail.origin = {:?}: expected a domain name", self.sendmail.origin));
        }
        if let Some(name) = self.sendmail.trusted_users.iter().find(|name| name.is_empty() || name.contains([':', ' ']))
        {
            return Err(format!("sendmail.trusted_users: {name:?}: expected the name of a user of this machine"));
        }
        if self.bind.is_empty() {
            return Err("bind = []: expected at least one address".into());
        }
        if let Some(base) = self.base_port
            && u32::from(base) + 995 > 65_535
        {
            return Err(format!("base_port = {base}: expected at most 64540, so that every port is below 65536"));
        }
        let networks = [
            ("smtp.relay_networks", &self.smtp.relay_networks),
            ("smtp.proxy_networks", &self.smtp.proxy_networks),
            ("smtp.xclient_networks", &self.smtp.xclient_networks),
            ("rates.exempt", &self.rates.exempt),
            ("submission.proxy_networks", &self.submission.proxy_networks),
            ("imap.proxy_networks", &self.imap.proxy_networks),
            ("pop3.proxy_networks", &self.pop3.proxy_networks),
            ("routing.private_targets", &self.routing.private_targets),
        ];
        for (key, values) in networks {
            for value in values {
                value.parse::<Network>().map_err(|error| format!("{key}: {value:?}: {error}"))?;
            }
        }
        for (at, route) in self.route.iter().enumerate() {
            route.check().map_err(|what| format!("route {}: {what}", at + 1))?;
        }
        crate::log::filter(&self.log.level).ok_or_else(|| crate::log::expected(&self.log.level))?;
        if !self.delivery.ehlo_name.is_empty() && address::Domain::parse(&self.delivery.ehlo_name).is_err() {
            return Err(format!("delivery.ehlo_name = {:?}: expected a domain name", self.delivery.ehlo_name));
        }
        crate::incoming::check(&self.milter, &self.hook)?;
        for backup in &self.smtp.backup_domains {
            if address::Domain::parse(&backup.domain).is_err() {
                return Err(format!("smtp.backup_domains: {:?}: expected a domain name", backup.domain));
            }
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return Err("tls: certificate and key go together".into());
        }
        let bounds: [(&str, u64, u64, u64); 11] = [
            ("limits.message_octets", self.limits.message_octets, 64 << 10, 1 << 30),
            ("limits.recipients", self.limits.recipients as u64, 100, 50_000),
            ("limits.smtp_line_octets", self.limits.smtp_line_octets as u64, 1_100, 1 << 20),
            ("limits.imap_line_octets", self.limits.imap_line_octets as u64, 8_192, 1 << 24),
            ("limits.connections", self.limits.connections as u64, 1, 1_000_000),
            ("smtp.greeting_delay_ms", self.smtp.greeting_delay_ms, 0, 100_000),
            ("smtp.tarpit_ms", self.smtp.tarpit_ms, 0, 100_000),
            ("extensions.future_release_hours", u64::from(self.extensions.future_release_hours), 0, 100_000),
            ("store.segment_octets", self.store.segment_octets, 1 << 20, 1 << 30),
            ("auth.argon2_memory_kib", u64::from(self.auth.argon2_memory_kib), 8, 1 << 20),
            ("auth.scram_iterations", u64::from(self.auth.scram_iterations), 4_096, 10_000_000),
        ];
        for (key, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("{key} = {value}: expected {least} to {most}"));
            }
        }
        Ok(())
    }

    fn resolve(&mut self, directory: &Path) {
        let optional = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = directory.join(&*path);
            }
        };
        self.data = directory.join(&self.data);
        self.run = directory.join(&self.run);
        let paths = [
            &mut self.tls.certificate,
            &mut self.tls.key,
            &mut self.lmtp.socket,
            &mut self.sendmail.drop,
            &mut self.dns.trust_anchor,
            &mut self.dns.ca_file,
        ];
        for path in paths {
            optional(path);
        }
        for backup in &mut self.smtp.backup_domains {
            backup.recipients_file.as_mut().map(optional);
        }
        for route in &mut self.route {
            route.socket.as_mut().map(optional);
            route.password_file.as_mut().map(optional);
        }
        for pair in &mut self.tls.more {
            optional(&mut pair.certificate);
            optional(&mut pair.key);
        }
        if self.lmtp.socket.as_os_str().is_empty() {
            self.lmtp.socket = self.run.join("lmtp.sock");
        }
        if self.sendmail.drop.as_os_str().is_empty() {
            // Beside the data, which nobody else may enter (rule 29).
            self.sendmail.drop = self.data.parent().unwrap_or(directory).join("drop");
        }
    }

    /// The domain of addresses that a program of this machine gives without one.
    #[must_use]
    pub fn origin(&self) -> &str {
        if self.sendmail.origin.is_empty() { &self.hostname } else { &self.sendmail.origin }
    }

    /// Where a listener of this kind listens; nowhere if it is switched off.
    #[must_use]
    pub fn places(&self, kind: Kind) -> Vec<Place> {
        let enabled = match kind {
            Kind::Smtp => self.smtp.enabled,
            Kind::Submission | Kind::Submissions => self.submission.enabled,
            Kind::Lmtp => self.lmtp.enabled,
            Kind::Imap | Kind::Imaps => self.imap.enabled,
            Kind::Pop3 | Kind::Pop3s => self.pop3.enabled,
            Kind::Http | Kind::ImapdHttp | Kind::Pop3dHttp => self.http.enabled,
        };
        if !enabled || (kind.implicit_tls() && self.certificates().is_empty()) {
            return Vec::new();
        }
        let loopback = |port| vec![Place::Tcp((Ipv4Addr::LOCALHOST, port).into())];
        let port = self.base_port.map_or(kind.port(), |base| base + kind.port());
        match kind {
            // rule 28
            Kind::Lmtp => {
                let mut places = vec![Place::Unix(self.lmtp.socket.clone())];
                if self.base_port.is_some() {
                    places.extend(loopback(port));
                }
                places
            }
            _ if kind.is_http() && self.base_port.is_some() => loopback(port),
            Kind::Http => loopback(self.http.port),
            Kind::ImapdHttp => loopback(self.http.imapd_port),
            Kind::Pop3dHttp => loopback(self.http.pop3d_port),
            _ => self.bind.iter().map(|address| Place::Tcp((*address, port).into())).collect(),
        }
    }

    /// The certificates' files.
    #[must_use]
    pub fn certificates(&self) -> Vec<net::CertificateFiles> {
        let mut files = Vec::new();
        if !self.tls.certificate.as_os_str().is_empty() {
            let (certificate, key) = (self.tls.certificate.clone(), self.tls.key.clone());
            files.push(net::CertificateFiles { certificate, key, names: vec![self.hostname.to_ascii_lowercase()] });
        }
        files.extend(self.tls.more.iter().map(|pair| net::CertificateFiles {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            names: pair.names.clone(),
        }));
        files
    }

    /// Whether `listener` may take passwords in clear.
    #[must_use]
    pub fn allow_plaintext_auth(&self, kind: Kind) -> bool {
        match kind {
            Kind::Submission | Kind::Submissions => self.submission.allow_plaintext_auth,
            Kind::Imap | Kind::Imaps => self.imap.allow_plaintext_auth,
            Kind::Pop3 | Kind::Pop3s => self.pop3.allow_plaintext_auth,
            _ => false,
        }
    }

    /// The networks whose connections to a listener of this kind begin with a PROXY header.
    #[must_use]
    pub fn proxy_networks(&self, kind: Kind) -> Vec<Network> {
        let values = match kind {
            Kind::Smtp => &self.smtp.proxy_networks,
            Kind::Submission | Kind::Submissions => &self.submission.proxy_networks,
            Kind::Imap | Kind::Imaps => &self.imap.proxy_networks,
            Kind::Pop3 | Kind::Pop3s => &self.pop3.proxy_networks,
            Kind::Lmtp | Kind::Http | Kind::ImapdHttp | Kind::Pop3dHttp => return Vec::new(),
        };
        networks(values)
    }

    /// The settings in which `other` differs that need a restart, as `smtp.vrfy`: all but certificates, name servers, what is
    /// trusted, and who may relay.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Vec<String> {
        let table = |config: &Self| {
            let config = Self {
                tls: Tls::default(),
                dns: Dns::default(),
                smtp: Smtp { relay_networks: Vec::new(), backup_domains: Vec::new(), ..config.smtp.clone() },
                ..config.clone()
            };
            toml::Table::try_from(config).unwrap_or_default()
        };
        let mut found = Vec::new();
        differences("", &table(self), &table(other), &mut found);
        found
    }
}

/// The keys, with those of the sections they are in, whose values are not the same.
fn differences(section: &str, old: &toml::Table, new: &toml::Table, found: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (old, new) if old == new => {}
            (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
                differences(&format!("{section}{key}."), old, new, found);
            }
            _ => found.push(format!("{section}{key}")),
        }
    }
}

/// What the parser says of a value, without the names of types.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 4] = [
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("invalid IP address syntax", "expected an IP address, like 192.0.2.1 or 2001:db8::1"),
        ("invalid socket address syntax", "expected an IP address and a port, like 127.0.0.1:53 or [::1]:53"),
        ("expected i64", "expected a whole number"),
    ];
    let mut words = message.replace('\n', " ");
    for (of_types, of_people) in WORDS {
        words = words.replace(of_types, of_people);
    }
    match words
        .strip_suffix("expected usize")
        .or(words.strip_suffix("expected u64"))
        .or(words.strip_suffix("expected u32"))
    {
        Some(before) => format!("{before}expected a whole number, 0 or more"),
        None => words,
    }
}

/// The networks in a checked list.
#[must_use]
pub fn networks(values: &[String]) -> Vec<Network> {
    values.iter().filter_map(|value| value.parse().ok()).collect()
}

fn default_path() -> Result<PathBuf, Error> {
    let etc = PathBuf::from("/etc/mailwright/mailwright.toml");
    let candidates = [std::env::var_os("MAILWRIGHT_CONFIG").map(PathBuf::from), Some(PathBuf::from("mailwright.toml"))];
    if let Some(path) = candidates.into_iter().flatten().find(|path| path.exists()) {
        trusted(&path)?;
        return Ok(path);
    }
    if etc.exists() {
        return Ok(etc);
    }
    Err(Error::Config(
        "no configuration: give one with --config FILE, or make one with `mailctl init DIR --domain DOMAIN`".into(),
    ))
}

/// A file that was found, not given, is used only if nobody else could have put it there (rule 26).
fn trusted(path: &Path) -> Result<(), Error> {
    let facts = std::fs::metadata(path).map_err(|error| Error::Config(format!("{}: {error}", path.display())))?;
    let caller = nix::unistd::getuid().as_raw();
    if (facts.uid() != caller && (caller == 0 || facts.uid() != 0)) || facts.mode() & 0o022 != 0 {
        return Err(Error::Config(format!(
            "{}: not used, because it belongs to user {} or others may write it: give it with --config if you trust it",
            path.display(),
            facts.uid()
        )));
    }
    Ok(())
}

/// The configuration that `init` writes: every key with its default.
pub const TEMPLATE: &str = include_str!("template.toml");
