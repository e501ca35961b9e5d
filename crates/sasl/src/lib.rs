//! SASL mechanisms (RFC 4422), both sides, without I/O, clock or randomness: nonces and salts are arguments.
//!
//! | Mechanism | Source |
//! |---|---|
//! | PLAIN | RFC 4616 |
//! | LOGIN | never standardised; clients use it all the same |
//! | SCRAM-SHA-256, SCRAM-SHA-256-PLUS | RFC 5802, RFC 7677, RFC 9266 |
//! | EXTERNAL | RFC 4422 Appendix A |
//! | OAUTHBEARER, XOAUTH2 | RFC 7628; read, for a validator to come |
//!
//! ```
//! # use mailwright_sasl as sasl;
//! use sasl::{Mechanism, server::{Exchange, Step}};
//! use wire::Secret;
//!
//! let mut exchange = Exchange::new(Mechanism::Plain, None, "nonce".into());
//! match exchange.respond(Some(Secret::new("\0ann\0secret")))  {
//!     Step::CheckPassword { user, password, .. } => assert_eq!((user.as_str(), password.expose()), ("ann", &b"secret"[..])),
//!     other => panic!("{other:?}"),
//! }
//! ```

pub mod client;
pub mod scram;
pub mod server;

/// The mechanisms.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mechanism {
    /// SCRAM-SHA-256 bound to the TLS channel.
    ScramSha256Plus,
    /// SCRAM-SHA-256
    ScramSha256,
    /// PLAIN
    Plain,
    /// LOGIN
    Login,
    /// EXTERNAL
    External,
    /// OAUTHBEARER
    OAuthBearer,
    /// XOAUTH2
    XOAuth2,
}

impl Mechanism {
    /// Every mechanism with its name, the strongest first.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::ScramSha256Plus, "SCRAM-SHA-256-PLUS"),
        (Self::ScramSha256, "SCRAM-SHA-256"),
        (Self::Plain, "PLAIN"),
        (Self::Login, "LOGIN"),
        (Self::External, "EXTERNAL"),
        (Self::OAuthBearer, "OAUTHBEARER"),
        (Self::XOAuth2, "XOAUTH2"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(mechanism, _)| *mechanism == self).map_or("", |(_, name)| name)
    }

    /// The mechanism of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mechanism, _)| *mechanism)
    }
}

/// SASLprep (RFC 4013) of a user name or password; what cannot be prepared is taken as it is, as the RFCs before it did.
#[must_use]
pub fn prepared(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}
