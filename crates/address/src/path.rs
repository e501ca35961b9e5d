//! Mailboxes and paths (RFC 5321 §4.1.2).

use std::fmt;

use crate::{AddressError, Domain, Host, LocalPart, MAX_PATH};

/// `Mailbox = Local-part "@" ( Domain / address-literal )`
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mailbox {
    /// What stands before the `@`.
    pub local: LocalPart,
    /// What stands behind it.
    pub host: Host,
}

impl Mailbox {
    /// Reads a mailbox without angle brackets.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_PATH - 2 {
            return Err(AddressError::TooLong { limit: MAX_PATH });
        }
        // A quoted local part may hold an @, a domain may not.
        let (local, host) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        Ok(Self { local: LocalPart::parse(local)?, host: Host::parse(host)? })
    }

    /// The form under which directories keep it: local part in lower case, domain in A-labels (rule 14).
    #[must_use]
    pub fn key(&self) -> String {
        let local = LocalPart::parse(&self.local.to_string().to_lowercase()).unwrap_or_else(|_| self.local.clone());
        match &self.host {
            Host::Domain(domain) => format!("{local}@{}", domain.ascii()),
            Host::Literal(literal) => format!("{local}@{literal}"),
        }
    }

    /// The domain, if it has one.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        self.host.domain()
    }

    /// Whether it can be written without SMTPUTF8 (RFC 6531 §3.2).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.as_str().is_ascii() && self.domain().is_none_or(|domain| domain.as_str().is_ascii())
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.host)
    }
}

impl std::str::FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// `Reverse-path = Path / "<>"`; prints with its brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReversePath {
    /// `<>`: nobody is to be told of failures.
    Null,
    /// Who is.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads what stands between the brackets. A source route is dropped (RFC 5321 Appendix C).
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::Null) } else { Mailbox::parse(without_route(text)?).map(Self::Mailbox) }
    }

    /// The mailbox, if there is one.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it can be written without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(Mailbox::is_ascii)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// `Forward-path = Path`, or `<Postmaster>` (RFC 5321 §4.1.1.3); prints with its brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ForwardPath {
    /// `Postmaster` without a domain, in any case.
    Postmaster,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Reads what stands between the brackets. A source route is dropped (RFC 5321 Appendix C).
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self::Postmaster);
        }
        Mailbox::parse(without_route(text)?).map(Self::Mailbox)
    }

    /// The mailbox, if it is one.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Postmaster => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it can be written without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(Mailbox::is_ascii)
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<postmaster>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// What stands behind `A-d-l ":"`, whose domains must be some.
fn without_route(text: &str) -> Result<&str, AddressError> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, mailbox) = text.split_once(':').ok_or(AddressError::Domain)?;
    for hop in route.split(',') {
        Domain::parse(hop.strip_prefix('@').ok_or(AddressError::Domain)?)?;
    }
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let table = [
            ("ann@example.org", Some("<ann@example.org>")),
            ("@a.example,@b.example:ann@example.org", Some("<ann@example.org>")),
            ("\"a@b\"@example.org", Some("<\"a@b\"@example.org>")),
            ("a%b@example.org", Some("<a%b@example.org>")),
            ("ann@[192.0.2.1]", Some("<ann@[192.0.2.1]>")),
            ("用户@例え.jp", Some("<用户@例え.jp>")),
            ("", Some("<>")),
            ("ann", None),
            ("ann@", None),
            ("@example.org", None),
            ("ann@example.org.", None),
            ("ann@@example.org", None),
            ("@a.example:", None),
            ("a\0b@example.org", None),
        ];
        for (text, expected) in table {
            assert_eq!(ReversePath::parse(text).ok().map(|path| path.to_string()).as_deref(), expected, "{text:?}");
        }
        assert_eq!(ForwardPath::parse("PostMaster"), Ok(ForwardPath::Postmaster));
        assert!(ForwardPath::parse("").is_err());
        assert!(!ForwardPath::parse("ann@bücher.example").unwrap().is_ascii());
    }

    #[test]
    fn keys_ignore_case_and_spelling() {
        // rule 14: local parts compare case-insensitively.
        let key = |text| Mailbox::parse(text).unwrap().key();
        assert_eq!(key("ANN@Example.ORG"), "ann@example.org");
        assert_eq!(key("\"ann\"@example.org"), key("Ann@EXAMPLE.org"));
        assert_eq!(key("Ünal@bücher.example"), "ünal@xn--bcher-kva.example");
        assert_eq!(key("\"A B\"@example.org"), "\"a b\"@example.org");
    }

    #[test]
    fn a_path_has_a_limit_and_its_edge_holds() {
        let domain = ["d".repeat(63), "d".repeat(63), "d".repeat(61)].join(".");
        let text = format!("{}@{domain}", "l".repeat(64));
        assert_eq!(text.len(), 254);
        assert!(ForwardPath::parse(&text).is_ok());
        assert_eq!(ForwardPath::parse(&format!("{text}d")), Err(AddressError::TooLong { limit: 256 }));
    }
}
