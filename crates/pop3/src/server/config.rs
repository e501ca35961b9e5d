//! What a server session is told before it begins.

use std::borrow::Cow;

use wire::Mechanism;

use crate::capability::Expire;
use crate::limits::{Leniency, ServerLimits};
use crate::response::Response;

/// The settings of a server session; shared by sessions behind an `Arc`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Our name in the greeting.
    pub hostname: String,
    /// What follows it there; default `POP3 ready`.
    pub greeting: Cow<'static, str>,
    /// What IMPLEMENTATION says (RFC 2449 §6.9); default none.
    pub implementation: Option<Cow<'static, str>>,
    /// STLS is offered while the connection is in clear; default false, since a certificate is needed.
    pub stls: bool,
    /// USER and PASS are offered, under TLS or with [`Self::allow_plaintext_auth`]; default true.
    pub user: bool,
    /// The mechanisms of AUTH at first, under TLS or with [`Self::allow_plaintext_auth`];
    /// [`Told::Mechanisms`](crate::server::Told::Mechanisms) changes them. Default none.
    pub mechanisms: Vec<Mechanism>,
    /// The mechanisms offered in front of those where TLS gives a channel binding. Default none.
    pub binding_mechanisms: Vec<Mechanism>,
    /// Logins are allowed in clear too; default false. For tests and for loopback.
    pub allow_plaintext_auth: bool,
    /// How long messages are kept, as EXPIRE says (RFC 2449 §6.7); default `Never`.
    pub expire: Expire,
    /// UTF8 is offered (RFC 6856); default true.
    pub utf8: bool,
    /// The limits.
    pub limits: ServerLimits,
    /// What is accepted beyond the RFC.
    pub leniency: Leniency,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            greeting: Cow::Borrowed("POP3 ready"),
            implementation: None,
            stls: false,
            user: true,
            mechanisms: Vec::new(),
            binding_mechanisms: Vec::new(),
            allow_plaintext_auth: false,
            expire: Expire::Never,
            utf8: true,
            limits: ServerLimits::default(),
            leniency: Leniency::default(),
        }
    }

    pub(super) fn greeting(&self) -> Response {
        Response::ok(format!("{} {}", self.hostname, self.greeting))
    }
}
