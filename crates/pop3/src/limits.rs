//! Every limit of both sessions: default, bounds, and where the number comes from.

use std::time::Duration;

/// What a server session allows its client. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLimits {
    /// Octets of a command line other than AUTH, CRLF included; default and least 255 (RFC 2449 §4).
    pub command_line_octets: usize,
    /// Octets of AUTH and of a line in its exchange, CRLF included; default 12288, as RFC 4954 §4 has it for SMTP:
    /// RFC 5034 §4 leaves the number to the mechanisms.
    pub auth_line_octets: usize,
    /// Challenges in one AUTH exchange; default 16.
    pub auth_rounds: u32,
    /// Commands refused as malformed, unknown or out of place, before the connection is closed; default 20. A login
    /// starts the count anew.
    pub errors: u32,
    /// Logins refused before the connection is closed; default 5.
    pub failed_logins: u32,
    /// The wait for a login, from the greeting, the handshake or the last refused login on; default 60 s (rule 13).
    pub login_wait: Duration,
    /// The autologout: the wait for a command after login; default and least 10 min (RFC 1939 §3).
    pub command_wait: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            command_line_octets: 255,
            auth_line_octets: 12_288,
            auth_rounds: 16,
            errors: 20,
            failed_logins: 5,
            login_wait: Duration::from_secs(60),
            command_wait: Duration::from_secs(600),
        }
    }
}

/// What a client session allows its server. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Octets of a line that is not content, CRLF included; default 4096 (RFC 2449 §4 asks for 512; servers write
    /// more), outside AUTH, where 12288 are allowed.
    pub response_line_octets: usize,
    /// Lines of a list of capabilities; default 128.
    pub capabilities: usize,
    /// Commands sent ahead of their responses where the server can take it; default 64.
    pub pipelined_commands: usize,
    /// Challenges in one AUTH exchange; default 16.
    pub auth_rounds: u32,
    /// The wait for the greeting; default 2 min.
    pub greeting_wait: Duration,
    /// The wait for a response, and for each further piece of a long one; default 5 min.
    pub response_wait: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            response_line_octets: 4096,
            capabilities: 128,
            pipelined_commands: 64,
            auth_rounds: 16,
            greeting_wait: Duration::from_secs(120),
            response_wait: Duration::from_secs(300),
        }
    }
}

/// What a server session accepts beyond the RFC. [`Default`] accepts what real clients send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leniency {
    /// More than one space between arguments, and spaces at the end of a line other than PASS (RFC 2449 §3 has one).
    pub extra_spaces: bool,
    /// AUTH without a mechanism, answered by the list of mechanisms: older clients ask so, before CAPA or without.
    pub auth_list: bool,
    /// AUTH with an initial response that makes the line longer than a command may be (RFC 5034 §4 forbids it, clients
    /// with long tokens do it).
    pub long_initial_response: bool,
    /// A command line that ends with LF alone (RFC 1939 §3 forbids it).
    pub bare_line_feed: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self { extra_spaces: true, auth_list: true, long_initial_response: true, bare_line_feed: false }
    }
}

impl Leniency {
    /// Nothing beyond the RFC.
    #[must_use]
    pub fn strict() -> Self {
        Self { extra_spaces: false, auth_list: false, long_initial_response: false, bare_line_feed: false }
    }
}
