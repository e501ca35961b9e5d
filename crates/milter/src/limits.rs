//! Every limit of the session: default, bounds, and where the number comes from.

use std::time::Duration;

/// What a client session allows its filter. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Octets of data in one packet of the filter; default 1 MiB, at least 65535: the largest that version 6 knows of.
    /// Memory is taken as octets arrive, not as they are announced.
    pub packet_octets: usize,
    /// Changes to one message; default 1000.
    pub modifications: usize,
    /// Octets of all changes to one message, a new body apart; default 1 MiB.
    pub modification_octets: usize,
    /// Octets of a new body; default 50 MiB, the limit of a message.
    pub body_octets: usize,
    /// The wait for the answer to the negotiation; default 30 s.
    pub negotiation_wait: Duration,
    /// The wait for the answer to connect, HELO, MAIL, RCPT, DATA and unknown commands; default 30 s (Postfix:
    /// `milter_command_timeout`).
    pub command_wait: Duration,
    /// The wait for the answer to a header field, the end of the header, and a piece of the body; default 60 s.
    pub content_wait: Duration,
    /// The wait for each answer, or word of progress, after the end of a message; default 300 s (Postfix:
    /// `milter_content_timeout`).
    pub end_wait: Duration,
    /// The longest wait for one answer, whatever progress is told; default 600 s: the SMTP client waits no longer for
    /// ours (RFC 5321 §4.5.3.2.6).
    pub longest_wait: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            packet_octets: 1 << 20,
            modifications: 1000,
            modification_octets: 1 << 20,
            body_octets: 50 << 20,
            negotiation_wait: Duration::from_secs(30),
            command_wait: Duration::from_secs(30),
            content_wait: Duration::from_secs(60),
            end_wait: Duration::from_secs(300),
            longest_wait: Duration::from_secs(600),
        }
    }
}
