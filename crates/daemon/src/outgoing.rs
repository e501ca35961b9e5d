//! The part of the configuration that is about mail on its way out. Plain data; who delivers makes sense of it.

use std::net::IpAddr;
use std::path::PathBuf;

use routing::TlsPolicy;
use serde::{Deserialize, Serialize};

use crate::config::section;

section!(Delivery {
    enabled: bool = true,
    ehlo_name: String = String::new(),
    source_addresses: Vec<IpAddr> = Vec::new(),
    sessions: u32 = 200,
    sessions_per_destination: u32 = 20,
    sessions_per_provider: u32 = 40,
    messages_per_session: u32 = 100,
    recipients_per_message: u32 = 100,
    connect_seconds: u64 = 30,
    linger_seconds: u64 = 5,
    bounce_strangers: bool = false,
    trace_days: u32 = 30,
    expect_tls: bool = false,
    retry: Retry = Retry::default(),
    retry_for: Vec<RetryFor> = Vec::new(),
    shape: Vec<Shape> = Vec::new(),
});
section!(Retry {
    first_seconds: u64 = 300,
    max_seconds: u64 = 14_400,
    greylist_seconds: u64 = 120,
    dead_seconds: u64 = 60,
    dead_max_seconds: u64 = 3_600,
    jitter_percent: u8 = 10,
    expire_hours: u64 = 120,
    delay_notice_hours: u64 = 4,
});
section!(Routing {
    port: u16 = 25,
    private_targets: Vec<String> = Vec::new(),
    dane: bool = true,
    mta_sts: bool = true,
    tls_reports: bool = true,
    tls_report_contact: String = String::new(),
});
section!(Dns {
    servers: Vec<std::net::SocketAddr> = Vec::new(),
    trust_anchor: PathBuf = PathBuf::new(),
    trust_ad: bool = false,
    ca_file: PathBuf = PathBuf::new(),
});

/// Another schedule for some mail; the first that matches counts, and what it leaves out is as in `[delivery.retry]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryFor {
    /// `example.net` or `*.example.net`.
    pub recipient_domain: Option<String>,
    /// An address, or `@example.org`.
    pub sender: Option<String>,
    /// The first wait, in seconds.
    pub first_seconds: Option<u64>,
    /// The longest wait, in seconds.
    pub max_seconds: Option<u64>,
    /// When it is given up, in hours.
    pub expire_hours: Option<u64>,
    /// When the sender is told that it is late, in hours; 0: never.
    pub delay_notice_hours: Option<u64>,
}

/// How kind to be to one destination.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// The destination: a recipient domain in lower case.
    pub destination: String,
    /// The most connections at once.
    pub sessions: Option<u32>,
    /// The most messages of a connection.
    pub messages_per_session: Option<u32>,
    /// The most recipients of a transaction.
    pub recipients_per_message: Option<u32>,
    /// The most messages in a minute.
    pub messages_per_minute: Option<u32>,
    /// The most recipients in a minute.
    pub recipients_per_minute: Option<u32>,
    /// The most new connections in a minute.
    pub connections_per_minute: Option<u32>,
}

/// Where some mail goes; the first route that matches counts.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// `sink.test`, `*.sink.test` or `*`; none: any.
    pub recipient_domain: Option<String>,
    /// An address, `@example.org`, or `<>`; none: any.
    pub sender: Option<String>,
    /// What is done.
    pub action: RouteAction,
    /// For `relay` and `lmtp`: the host to hand the mail to.
    pub relay_host: Option<String>,
    /// Its port; 25, or 24 for `lmtp`.
    pub relay_port: Option<u16>,
    /// Whether the host's MX records count.
    pub use_mx: bool,
    /// For `lmtp`: a Unix socket instead of a host.
    pub socket: Option<PathBuf>,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// What is asked of TLS.
    #[serde(with = "as_text")]
    pub tls: TlsPolicy,
    /// The user to log in as.
    pub user: Option<String>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// For `refuse`: what the sender is told, with its codes (`550 5.7.1 …`).
    pub reply: Option<String>,
    /// For `pipe`: the program and its arguments.
    pub command: Vec<String>,
    /// For `pipe`: the user the program runs as, if we are root.
    pub command_user: Option<String>,
    /// For `pipe`: how long it may take, in seconds; 300.
    pub command_seconds: Option<u64>,
    /// The address to connect from.
    pub source_address: Option<IpAddr>,
    /// Our name in EHLO.
    pub ehlo_name: Option<String>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAction {
    /// Hands the mail to a host of our choice.
    #[default]
    Relay,
    /// Looks the recipient's domain up, as without a route: to ask more of TLS, say.
    Mx,
    /// Delivers by LMTP (RFC 2033).
    Lmtp,
    /// Throws it away.
    Discard,
    /// Returns it.
    Refuse,
    /// Gives it to a program.
    Pipe,
}

impl Route {
    /// What the types cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        let needs = |what: &str| Err(format!("action = \"{}\" needs {what}", self.action.name()));
        match self.action {
            RouteAction::Relay if self.relay_host.is_none() => needs("relay_host"),
            RouteAction::Lmtp if self.relay_host.is_none() && self.socket.is_none() => needs("socket or relay_host"),
            RouteAction::Refuse if self.reply.is_none() => needs("reply"),
            RouteAction::Pipe if self.command.is_empty() => needs("command"),
            _ if self.user.is_some() != self.password_file.is_some() => {
                Err("user and password_file go together".into())
            }
            _ => match &self.ehlo_name {
                Some(name) if address::Domain::parse(name).is_err() => {
                    Err(format!("ehlo_name = {name:?}: expected a domain name"))
                }
                _ => Ok(()),
            },
        }
    }
}

impl RouteAction {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Mx => "mx",
            Self::Lmtp => "lmtp",
            Self::Discard => "discard",
            Self::Refuse => "refuse",
            Self::Pipe => "pipe",
        }
    }
}

/// Values whose words are known where they are used.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }
}
