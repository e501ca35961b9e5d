//! Every limit of both sessions: default, bounds, and where the number comes from.

use std::time::Duration;

/// What a server session allows its client. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLimits {
    /// Octets of a command line, CRLF included; default 4096, at least 512 plus what the extensions add
    /// (RFC 5321 §4.5.3.1.4; RFC 3461 §4 alone adds 500 to RCPT).
    pub command_line_octets: usize,
    /// Octets of a line during AUTH, CRLF included; default 12288 (RFC 4954 §4).
    pub auth_line_octets: usize,
    /// Octets of one message; default 50 MiB, announced by SIZE (RFC 1870); at least 64 KiB (RFC 5321 §4.5.3.1.7).
    pub message_octets: u64,
    /// Octets read and thrown away after a message became too large or was refused under way, before the connection is
    /// closed instead of waiting for the end; default 16 MiB.
    pub drain_octets: u64,
    /// RCPT commands that may succeed in one transaction; default 1000, at least 100 (RFC 5321 §4.5.3.1.8), announced
    /// as RCPTMAX (RFC 9422 §4.2).
    pub recipients: usize,
    /// MAIL commands in one connection; default 1000, announced as MAILMAX (RFC 9422 §4.1).
    pub transactions: u32,
    /// Refused commands, recipients and logins since the last accepted message, before 421; default 20.
    pub errors: u32,
    /// Commands other than MAIL, RCPT, DATA, BDAT and AUTH since the last accepted message, before 421; default 100.
    pub idle_commands: u32,
    /// Octets of challenges and responses in one AUTH exchange are bounded by this many rounds; default 16.
    pub auth_rounds: u32,
    /// The wait for the first EHLO, HELO or LHLO; default 60 s (rule 13).
    pub hello_wait: Duration,
    /// The wait for a command; default and least 5 min (RFC 5321 §4.5.3.2.7).
    pub command_wait: Duration,
    /// How far content may fall behind [`Self::content_octets_per_second`]; default 3 min (RFC 5321 §4.5.3.2.5).
    pub content_wait: Duration,
    /// The least rate of content in octets per second, averaged; default 1000; 0 switches the rate off, so that only
    /// [`Self::content_wait`] counts.
    pub content_octets_per_second: u64,
    /// The wait for QUIT after the connection was refused by 554 (RFC 5321 §3.1); default 10 s.
    pub refused_wait: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            command_line_octets: 4096,
            auth_line_octets: 12_288,
            message_octets: 50 << 20,
            drain_octets: 16 << 20,
            recipients: 1000,
            transactions: 1000,
            errors: 20,
            idle_commands: 100,
            auth_rounds: 16,
            hello_wait: Duration::from_secs(60),
            command_wait: Duration::from_secs(300),
            content_wait: Duration::from_secs(180),
            content_octets_per_second: 1000,
            refused_wait: Duration::from_secs(10),
        }
    }
}

/// What a client session allows its server. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Octets of one reply line, CRLF included; default 4096 (RFC 5321 §4.5.3.1.5 asks for 512; servers write more),
    /// outside AUTH, where 12288 are allowed (RFC 4954 §4).
    pub reply_line_octets: usize,
    /// Lines of one reply; default 128.
    pub reply_lines: usize,
    /// Commands sent ahead of their replies; default 64 (RFC 2920 §3.1 leaves it to the client).
    pub pipelined_commands: usize,
    /// Octets of content that leave by BDAT ahead of the replies to MAIL and RCPT, so that a message costs one round
    /// trip; a larger one waits for a recipient. Default 128 KiB: it is sent for nothing where nobody is accepted.
    pub pipelined_content_octets: u64,
    /// Challenges in one AUTH exchange; default 16.
    pub auth_rounds: u32,
    /// The wait for the greeting; default 5 min (RFC 5321 §4.5.3.2.1).
    pub greeting_wait: Duration,
    /// The wait for a reply to MAIL, RCPT and what RFC 5321 gives no time for; default 5 min (RFC 5321 §4.5.3.2.2).
    pub command_wait: Duration,
    /// The wait for 354 after DATA; default 2 min (RFC 5321 §4.5.3.2.4).
    pub data_wait: Duration,
    /// The wait for the reply after the content has been handed to the driver; default 10 min (RFC 5321 §4.5.3.2.6).
    /// The stall of a write is the driver's to limit (RFC 5321 §4.5.3.2.5).
    pub content_end_wait: Duration,
    /// The wait for the reply to QUIT and RSET; default 30 s: nothing depends on it.
    pub quit_wait: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            reply_line_octets: 4096,
            reply_lines: 128,
            pipelined_commands: 64,
            pipelined_content_octets: 128 << 10,
            auth_rounds: 16,
            greeting_wait: Duration::from_secs(300),
            command_wait: Duration::from_secs(300),
            data_wait: Duration::from_secs(120),
            content_end_wait: Duration::from_secs(600),
            quit_wait: Duration::from_secs(30),
        }
    }
}

/// What a server session accepts beyond the RFC (rule 13). [`Default`] accepts what real clients send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leniency {
    /// White space between the colon of `MAIL FROM:` or `RCPT TO:` and the path (RFC 5321 §3.3 forbids it).
    pub space_after_colon: bool,
    /// A path without its angle brackets.
    pub missing_brackets: bool,
    /// HELO and EHLO names that are neither domain nor address literal: underscores, bare addresses, words.
    pub odd_hello_names: bool,
    /// A command line that ends with LF alone (RFC 5321 §2.3.8 forbids it). Never a line of content.
    pub bare_line_feed: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self { space_after_colon: true, missing_brackets: true, odd_hello_names: true, bare_line_feed: false }
    }
}

impl Leniency {
    /// Nothing beyond the RFC.
    #[must_use]
    pub fn strict() -> Self {
        Self { space_after_colon: false, missing_brackets: false, odd_hello_names: false, bare_line_feed: false }
    }
}
