//! The part of the configuration that is about mail on its way in: who may relay, how much anybody may do, what is
//! offered, who is asked. Plain data; the SMTP server makes sense of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::section;

section!(Smtp {
    enabled: bool = true,
    relay_networks: Vec<String> = Vec::new(),
    proxy_networks: Vec<String> = Vec::new(),
    xclient_networks: Vec<String> = Vec::new(),
    backup_domains: Vec<BackupDomain> = Vec::new(),
    greeting_delay_ms: u64 = 0,
    refuse_early_talkers: bool = false,
    tarpit_ms: u64 = 0,
    tarpit_after_errors: u32 = 3,
    vrfy: Tells = Tells::Nobody,
    expn: Tells = Tells::Nobody,
});
section!(Extensions {
    dsn: bool = true,
    requiretls: bool = true,
    deliver_by: bool = true,
    mt_priority: bool = false,
    future_release_hours: u32 = 720,
});
section!(Rates {
    recipients_a_day: u64 = 1_000,
    exempt: Vec<String> = Vec::new(),
    longest_delay_seconds: u64 = 0,
    address: Rate = Rate::default(),
    network: Rate = Rate::default(),
    account: Rate = Rate::default(),
});
section!(Rate {
    connections_per_minute: u64 = 0,
    commands_per_minute: u64 = 0,
    recipients_per_minute: u64 = 0,
    messages_per_minute: u64 = 0,
    octets_per_minute: u64 = 0,
});
section!(Policy { reverse_dns: bool = true, message_octets_for: Vec<SizeFor> = Vec::new() });
section!(Forwarding { srs: bool = true, verp: bool = false });

/// A domain that we are the backup MX of.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupDomain {
    /// The domain.
    pub domain: String,
    /// Whether it stands for the domains below it, too.
    pub subdomains: bool,
    /// A file with an address of the domain on each line; none: every address is taken.
    pub recipients_file: Option<PathBuf>,
}

/// Another limit for the size of a message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeFor {
    /// The sending account's address, the recipient's, or `@example.org` for all of a domain.
    pub address: String,
    /// Octets; no more than `limits.message_octets`.
    pub octets: u64,
}

/// Whom VRFY and EXPN tell who is here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tells {
    /// Nobody.
    #[default]
    Nobody,
    /// Who has logged in or is in a relay network.
    Trusted,
    /// Everybody.
    Everybody,
}

/// What happens to mail when a filter fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It passes as if there were no such filter.
    Accept,
    /// It is deferred.
    #[default]
    Tempfail,
    /// It is refused.
    Reject,
}

/// A milter.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Milter {
    /// Its name in the trace and the log.
    pub name: String,
    /// `unix:/path`, `host:port`, `inet:port@host`.
    pub address: String,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// How long a connection to it may take, in seconds; 5.
    pub connect_seconds: Option<u64>,
    /// How long it may take to answer a command, in seconds; 30.
    pub command_seconds: Option<u64>,
    /// How long it may take to answer content, in seconds; 300.
    pub content_seconds: Option<u64>,
    /// The stages that it is asked at; empty: all. Those that the protocol needs before them are told all the same.
    pub stages: Vec<String>,
    /// The listeners whose mail it sees: `smtp`, `submission`, `submissions`, `lmtp`, `sendmail`; empty: all.
    pub listeners: Vec<String>,
    /// The macros that it is told, where it names none itself.
    pub macros: Macros,
}

/// The macros that a milter is told at each stage: names with or without braces. `None`: the usual ones.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Macros {
    /// At the connection.
    pub connect: Option<Vec<String>>,
    /// At HELO or EHLO.
    #[serde(alias = "helo")]
    pub hello: Option<Vec<String>>,
    /// At MAIL.
    pub mail: Option<Vec<String>>,
    /// At RCPT.
    #[serde(alias = "rcpt")]
    pub recipient: Option<Vec<String>>,
    /// At DATA.
    pub data: Option<Vec<String>>,
    /// Behind the last header field.
    pub end_of_header: Option<Vec<String>>,
    /// Behind the message.
    pub end_of_message: Option<Vec<String>>,
}

impl Macros {
    /// The lists, in the order of the dialogue.
    #[must_use]
    pub fn lists(&self) -> [&Option<Vec<String>>; 7] {
        let Self { connect, hello, mail, recipient, data, end_of_header, end_of_message } = self;
        [connect, hello, mail, recipient, data, end_of_header, end_of_message]
    }
}

/// A policy service that is asked by HTTP.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// Its name in the trace and the log.
    pub name: String,
    /// `http` to a loopback address, or `https`.
    pub url: String,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// How long an answer may take, in seconds; 10.
    pub seconds: Option<u64>,
    /// When it is asked: `connect`, `hello`, `mail`, `recipient`, `data`, `message`; empty: `message` alone.
    pub stages: Vec<String>,
    /// The listeners whose mail it sees; empty: all.
    pub listeners: Vec<String>,
}

/// The names of listeners, as filters name them.
const LISTENERS: [&str; 5] = ["smtp", "submission", "submissions", "lmtp", "sendmail"];
/// The names of stages.
const STAGES: [&str; 6] = ["connect", "hello", "mail", "recipient", "data", "message"];
/// The names of macros, of which milter(7) says which have a value here: lists that were written for other mail systems
/// are taken as they are.
const MACROS: [&str; 30] = [
    "_",
    "auth_authen",
    "auth_author",
    "auth_type",
    "cert_issuer",
    "cert_subject",
    "cipher",
    "cipher_bits",
    "client_addr",
    "client_connections",
    "client_name",
    "client_port",
    "client_ptr",
    "client_resolve",
    "daemon_addr",
    "daemon_name",
    "daemon_port",
    "f",
    "i",
    "j",
    "mail_addr",
    "mail_host",
    "mail_mailer",
    "rcpt_addr",
    "rcpt_host",
    "rcpt_mailer",
    "s",
    "tls_version",
    "v",
    "verify",
];

pub(crate) fn check(milters: &[Milter], hooks: &[Hook]) -> Result<(), String> {
    let known = |section: &str, key: &str, values: &[String], known: &[&str]| {
        let other = values.iter().find(|value| !known.contains(&value.as_str()));
        other.map_or(Ok(()), |other| Err(format!("{section}: {key}: {other:?}: expected one of {}", known.join(", "))))
    };
    for milter in milters {
        if milter.name.is_empty() || milter.address.is_empty() {
            return Err("milter: name and address are needed".into());
        }
        known("milter", "stages", &milter.stages, &STAGES)?;
        known("milter", "listeners", &milter.listeners, &LISTENERS)?;
        for name in milter.macros.lists().into_iter().flatten().flatten() {
            let bare = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
            known("milter", "macros", &[bare.to_owned()], &MACROS)?;
        }
    }
    for hook in hooks {
        if hook.name.is_empty() || hook.url.is_empty() {
            return Err("hook: name and url are needed".into());
        }
        known("hook", "listeners", &hook.listeners, &LISTENERS)?;
        known("hook", "stages", &hook.stages, &STAGES)?;
    }
    Ok(())
}
