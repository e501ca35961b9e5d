//! The settings of filters as plain values.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use milter::MacroStage;
use smtp::Reply;

use crate::{Stage, Verdict};

/// All filters, in the order in which they are asked: milters first, then hooks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// The milters.
    pub milters: Vec<MilterSettings>,
    /// The policy services.
    pub hooks: Vec<HookSettings>,
}

/// One milter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MilterSettings {
    /// Its name in notes and log lines.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// How long a connection to it may take; default 5 s.
    pub connect_timeout: Duration,
    /// How long it may take to answer a command, and the negotiation; default 30 s.
    pub command_timeout: Duration,
    /// How long it may take to answer a part of the content, or to say that it is still at work; default 300 s, together
    /// at most 10 min for one answer.
    pub content_timeout: Duration,
    /// What happens when it fails; default [`OnFailure::TempFail`].
    pub on_failure: OnFailure,
    /// Up to which stages it is asked; default all. HELO and DATA may be left out alone; what comes before the last
    /// stage named here is told otherwise, as the protocol needs it.
    pub stages: Stages,
    /// Macros told at a stage to a milter that names none itself, instead of the usual ones; names without braces.
    pub macros: Vec<(MacroStage, Vec<String>)>,
    /// Octets of a new body that it may send; default 50 MiB, the limit of a message.
    pub body_octets: usize,
}

impl MilterSettings {
    /// The defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, address: Address) -> Self {
        Self {
            name: name.into(),
            address,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(30),
            content_timeout: Duration::from_secs(300),
            on_failure: OnFailure::TempFail,
            stages: Stages::ALL,
            macros: Vec::new(),
            body_octets: 50 << 20,
        }
    }
}

/// One policy service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookSettings {
    /// Its name in notes and log lines.
    pub name: String,
    /// Where documents are posted: `http` to a loopback address, or `https`.
    pub url: String,
    /// How long an answer may take, connection included; default 10 s.
    pub timeout: Duration,
    /// Octets of an answer; default 64 KiB.
    pub answer_octets: usize,
    /// Octets of header fields in a document; default 256 KiB. What is beyond is left out, and the document says so.
    pub header_octets: usize,
    /// What happens when it fails; default [`OnFailure::TempFail`].
    pub on_failure: OnFailure,
    /// At which stages it is asked; default the message alone.
    pub stages: Stages,
}

impl HookSettings {
    /// The defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            timeout: Duration::from_secs(10),
            answer_octets: 64 << 10,
            header_octets: 256 << 10,
            on_failure: OnFailure::TempFail,
            stages: Stages::of(&[Stage::Message]),
        }
    }
}

/// What happens when a filter fails.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// The message passes as if there were no such filter.
    Accept,
    /// The message is deferred: 451 4.7.1.
    #[default]
    TempFail,
    /// The message is refused: 550 5.7.1.
    Reject,
}

impl OnFailure {
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Accept => Verdict::Continue,
            Self::TempFail => Verdict::TempFail(Reply::new(451, "4.7.1 mail cannot be examined now, try again later")),
            Self::Reject => Verdict::Reject(Reply::new(550, "5.7.1 mail cannot be examined, and is not taken unseen")),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::TempFail => "tempfail",
            Self::Reject => "reject",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stages(u8);

impl Stages {
    /// Every stage.
    pub const ALL: Self = Self(0b11_1111);

    /// These stages.
    #[must_use]
    pub fn of(stages: &[Stage]) -> Self {
        Self(stages.iter().fold(0, |bits, stage| bits | 1 << (*stage as u8)))
    }

    /// Whether `stage` is one of them.
    #[must_use]
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & 1 << (stage as u8) != 0
    }

    /// Whether a stage from `stage` on is one of them.
    pub(crate) fn reach(self, stage: Stage) -> bool {
        self.0 >> (stage as u8) != 0
    }
}

/// Where a milter listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host, by name or address, and a port.
    Tcp(String, u16),
}

/// Why text is not an [`Address`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected unix:/path, /path, host:port, [address]:port or inet:port@host")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    /// `/path`, `unix:/path`, `host:port`, `[address]:port`; and as milters and other mail systems write it:
    /// `local:/path`, `inet:port@host`, `inet6:port@host`, `inet:host:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let path = text.strip_prefix("unix:").or_else(|| text.strip_prefix("local:")).unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        let text = text.strip_prefix("inet:").or_else(|| text.strip_prefix("inet6:")).unwrap_or(text);
        let (host, port) = match text.split_once('@') {
            Some((port, host)) => (host, port),
            None => text.rsplit_once(':').ok_or(AddressError)?,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let plain = !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/');
        if !plain || host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(AddressError);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(AddressError)?;
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Two filters have this name.
    #[error("two filters are named {0}")]
    SameName(String),
    /// The URL of this hook is neither `http` to a loopback address nor `https`, or has credentials in it.
    #[error("hook {0}: the URL must be http to a loopback address, or https")]
    Url(String),
    /// `https` is not at hand for this hook.
    #[error("hook {0}: https is not available here")]
    NoHttps(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        let table = [
            ("/run/x.sock", Ok(Address::Unix("/run/x.sock".into()))),
            ("unix:/run/x.sock", Ok(Address::Unix("/run/x.sock".into()))),
            ("local:/run/x.sock", Ok(Address::Unix("/run/x.sock".into()))),
            ("127.0.0.1:8891", tcp("127.0.0.1", 8891)),
            ("[::1]:8891", tcp("::1", 8891)),
            ("milter.example:8891", tcp("milter.example", 8891)),
            ("inet:8891@localhost", tcp("localhost", 8891)),
            ("inet6:8891@[::1]", tcp("::1", 8891)),
            ("inet:localhost:8891", tcp("localhost", 8891)),
            ("", Err(AddressError)),
            ("unix:x", Err(AddressError)),
            ("localhost", Err(AddressError)),
            ("localhost:0", Err(AddressError)),
            ("localhost:70000", Err(AddressError)),
            (":25", Err(AddressError)),
            ("a b:25", Err(AddressError)),
            ("a:b:25", Err(AddressError)),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<Address>();
            assert_eq!(parsed, expected, "{text}");
            if let Ok(address) = parsed {
                assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }

    #[test]
    fn sets_of_stages() {
        let stages = Stages::of(&[Stage::Connect, Stage::Recipient]);
        assert!(stages.contains(Stage::Connect) && !stages.contains(Stage::Mail));
        assert!(stages.reach(Stage::Recipient) && !stages.reach(Stage::Data));
        assert!(Stages::ALL.contains(Stage::Message));
    }
}
