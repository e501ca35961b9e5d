//! Mailbox addresses as SMTP writes them: local part, domain, address literal, paths; internationalised ones too.
//!
//! | RFC | here |
//! |---|---|
//! | 5321 §4.1.2, §4.1.3 | [`ReversePath`], [`ForwardPath`], [`Mailbox`], [`LocalPart`], [`Domain`], [`AddressLiteral`] |
//! | 6531 §3.3 | the same, in UTF-8 |
//! | 5891 | [`Domain::ascii`] |
//! | 5233 | [`LocalPart::split_detail`] |
//!
//! ```
//! # use mailwright_address as address;
//! use address::{ForwardPath, Mailbox};
//!
//! let mailbox = Mailbox::parse("Ann+news@Bücher.example")?;
//! assert_eq!(mailbox.key(), "ann+news@xn--bcher-kva.example");
//! assert_eq!(mailbox.local.split_detail('+'), ("Ann", Some("news")));
//! assert_eq!(ForwardPath::parse("postmaster")?, ForwardPath::Postmaster);
//! assert!(Mailbox::parse("ann@example.org.").is_err());
//! # Ok::<(), address::AddressError>(())
//! ```

mod domain;
mod local;
mod path;

pub use domain::{AddressLiteral, Domain, Host};
pub use local::LocalPart;
pub use path::{ForwardPath, Mailbox, ReversePath};

/// Why text is not an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `@` between a local part and a domain.
    #[error("no @ between local part and domain")]
    NoAt,
    /// The local part is neither a dot-string nor a quoted string (RFC 5321 §4.1.2).
    #[error("malformed local part")]
    LocalPart,
    /// The domain is none (RFC 5321 §4.1.2, RFC 5890 §2.3.2.3).
    #[error("malformed domain")]
    Domain,
    /// The address literal is none (RFC 5321 §4.1.3).
    #[error("malformed address literal")]
    Literal,
    /// A part is longer than RFC 5321 §4.5.3.1 allows, in octets.
    #[error("longer than {limit} octets")]
    TooLong {
        /// The limit, in octets.
        limit: usize,
    },
}

/// The longest local part, in octets (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_PART: usize = 64;
/// The longest domain, in octets (RFC 5321 §4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;
/// The longest path, its brackets included, in octets (RFC 5321 §4.5.3.1.3).
pub const MAX_PATH: usize = 256;
