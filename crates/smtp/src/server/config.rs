//! What a server session is told before it begins.

use std::borrow::Cow;
use std::time::Duration;

use wire::Mechanism;

use super::pace::Tarpit;
use crate::limits::{Leniency, ServerLimits};

/// Which service a session gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Mail from other systems, port 25: no AUTH.
    Smtp,
    /// Mail from our own users, ports 587 and 465 (RFC 6409, RFC 8314): AUTH.
    Submission,
    /// Delivery with a reply for each recipient (RFC 2033).
    Lmtp,
}

/// What becomes of a CR or LF that stands alone in content (rule 10). Neither ever ends a line of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BareNewline {
    /// The message is refused at its end: 550 5.6.0.
    Refuse,
    /// LF becomes CRLF, CR becomes a space, before the content is handed up.
    Normalise,
}

/// The settings of a server session; shared by sessions behind an `Arc`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The service.
    pub mode: Mode,
    /// Our name in the greeting and in the reply to EHLO: a domain, or an address literal.
    pub hostname: String,
    /// What follows the name in the greeting, without CR or LF; default `ESMTP` (`LMTP`).
    pub greeting: Cow<'static, str>,
    /// STARTTLS is offered while the connection is in clear; default false, since a certificate is needed.
    pub starttls: bool,
    /// Before TLS only EHLO, NOOP, STARTTLS, QUIT are obeyed (530 5.7.0, RFC 3207 §4); default false.
    pub require_tls: bool,
    /// The mechanisms offered by AUTH at first; [`Told::Mechanisms`](crate::server::Told::Mechanisms) changes them.
    /// Only in mode [`Mode::Submission`], and only under TLS unless [`Self::allow_plaintext_auth`]; default none.
    pub mechanisms: Vec<Mechanism>,
    /// The mechanisms offered in front of those where TLS gives a channel binding. Default none.
    pub binding_mechanisms: Vec<Mechanism>,
    /// AUTH is offered in clear too; default false. For tests and for loopback.
    pub allow_plaintext_auth: bool,
    /// MAIL is refused before AUTH (530 5.7.0, RFC 4954 §6); default true in mode Submission.
    pub require_auth: bool,
    /// DSN (RFC 3461) is offered; its parameters are understood in any case (rule 20). Default false.
    pub dsn: bool,
    /// CHUNKING (RFC 3030) is offered; default true.
    pub chunking: bool,
    /// BINARYMIME (RFC 3030) is offered, if CHUNKING is; default true.
    pub binarymime: bool,
    /// SMTPUTF8 (RFC 6531) is offered; default true.
    pub smtputf8: bool,
    /// FUTURERELEASE (RFC 4865) is offered in mode [`Mode::Submission`], for holds of at most this time, 1 s to
    /// 999,999,999 s; the session needs the wall clock ([`Server::with_clock`](crate::server::Server::with_clock)).
    /// Default none.
    pub future_release: Option<Duration>,
    /// DELIVERBY (RFC 2852) is offered; in mode `R` no less than so many seconds are taken, zero for no such bound,
    /// which is not announced then. Default none.
    pub deliver_by: Option<Duration>,
    /// MT-PRIORITY (RFC 6710) is offered; default false.
    pub mt_priority: bool,
    /// The name of the priority assignment policy that MT-PRIORITY announces (RFC 6710 §9.2): 1 to 20 letters, digits,
    /// hyphens, underscores and dots; anything else is not announced. Default none.
    pub priority_profile: Option<Cow<'static, str>>,
    /// Priorities above 0 are taken from clients who have not logged in, too; else they become 0 (250 2.3.6,
    /// RFC 6710 §4.1). Default false; LMTP trusts its client.
    pub trust_priorities: bool,
    /// REQUIRETLS (RFC 8689) is offered while the connection is under TLS; default false. No relative of
    /// [`Self::require_tls`].
    pub offer_requiretls: bool,
    /// VRFY asks the application ([`Event::Verify`](crate::server::Event::Verify)); else it is 252. Default false.
    pub verify: bool,
    /// EXPN is offered, and asks the application ([`Event::Expand`](crate::server::Event::Expand)); else it is 502.
    /// Default false.
    pub expand: bool,
    /// How long a client waits for the greeting; who talks in that time is told of
    /// ([`Event::EarlyTalker`](crate::server::Event::EarlyTalker)). Default zero, at most 100 s.
    pub greeting_delay: Duration,
    /// Refusals are late; default none.
    pub tarpit: Option<Tarpit>,
    /// What becomes of bare CR and LF in content; default `Refuse` in mode Smtp, else `Normalise` (rule 10).
    pub bare_newline: BareNewline,
    /// The limits.
    pub limits: ServerLimits,
    /// What is accepted beyond the RFC.
    pub leniency: Leniency,
}

impl Config {
    /// The defaults of `mode`.
    #[must_use]
    pub fn new(mode: Mode, hostname: impl Into<String>) -> Self {
        Self {
            mode,
            hostname: hostname.into(),
            greeting: Cow::Borrowed(if mode == Mode::Lmtp { "LMTP" } else { "ESMTP" }),
            starttls: false,
            require_tls: false,
            mechanisms: Vec::new(),
            binding_mechanisms: Vec::new(),
            allow_plaintext_auth: false,
            require_auth: mode == Mode::Submission,
            dsn: false,
            chunking: true,
            binarymime: true,
            smtputf8: true,
            future_release: None,
            deliver_by: None,
            mt_priority: false,
            priority_profile: None,
            trust_priorities: false,
            offer_requiretls: false,
            verify: false,
            expand: false,
            greeting_delay: Duration::ZERO,
            tarpit: None,
            bare_newline: match mode {
                Mode::Smtp => BareNewline::Refuse,
                Mode::Submission | Mode::Lmtp => BareNewline::Normalise,
            },
            limits: ServerLimits::default(),
            leniency: Leniency::default(),
        }
    }
}
