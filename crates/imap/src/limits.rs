//! The limits of the codec and of the sessions.

use std::time::Duration;

/// How deep search keys may nest (RFC 9051 has no number; clients need about five).
pub const MAX_SEARCH_DEPTH: usize = 32;
/// Search keys of one command.
pub const MAX_SEARCH_KEYS: usize = 1_000;
/// Ranges of one sequence set.
pub const MAX_RANGES: usize = 20_000;
/// Items of one FETCH, STATUS or header field list.
pub const MAX_ITEMS: usize = 200;
/// Numbers in a section part.
pub const MAX_PARTS: usize = 100;

/// What a server session allows its client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLimits {
    /// Octets of a command line, CRLF included; default 65,536.
    pub line_octets: usize,
    /// Octets of a command with its gathered literals; default 262,144.
    pub command_octets: usize,
    /// Octets of a message in APPEND; default 50 MiB, announced as APPENDLIMIT (RFC 7889).
    pub append_octets: u64,
    /// Messages of one MULTIAPPEND; default 100.
    pub append_messages: usize,
    /// BAD answers in a row before the connection ends; default 20.
    pub errors: u32,
    /// Failed logins before the connection ends; default 3.
    pub failed_logins: u32,
    /// The wait for a command before login; default 60 s (rule 13).
    pub login_wait: Duration,
    /// The wait for a command after login; default 30 min, the least that RFC 9051 §5.4 allows.
    pub idle_wait: Duration,
    /// How far APPEND may fall behind 1,000 octets a second; default 3 min.
    pub literal_wait: Duration,
    /// Between two `* OK` that keep an idling client's connection alive through middleboxes; default 2 min (rule 23).
    pub heartbeat: Option<Duration>,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            line_octets: 65_536,
            command_octets: 262_144,
            append_octets: 50 << 20,
            append_messages: 100,
            errors: 20,
            failed_logins: 3,
            login_wait: Duration::from_secs(60),
            idle_wait: Duration::from_secs(1_800),
            literal_wait: Duration::from_secs(180),
            heartbeat: Some(Duration::from_secs(120)),
        }
    }
}
