//! Patterns for addresses.

use std::fmt;
use std::str::FromStr;

use address::{AddressError, Domain, Host, Mailbox};

/// A pattern for an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Pattern {
    /// `*`: every address, the null reverse-path too.
    Any,
    /// `<>`: the null reverse-path.
    Null,
    /// `example.org`: addresses of the domain. `[192.0.2.1]`: of the address literal.
    Domain(Host),
    /// `*.example.org`: addresses of domains below it, at any depth; not of itself.
    Below(Domain),
    /// `ann@example.org`: one address. Local parts compare without case (rule 14), domains as A-labels.
    Address(Mailbox),
}

impl Pattern {
    /// Whether it matches; `None` is the null reverse-path.
    #[must_use]
    pub fn matches(&self, address: Option<&Mailbox>) -> bool {
        let Some(address) = address else { return matches!(self, Self::Any | Self::Null) };
        match self {
            Self::Any => true,
            Self::Null => false,
            Self::Domain(host) => address.host == *host,
            Self::Below(parent) => address.domain().is_some_and(|domain| is_below(domain, parent)),
            Self::Address(mailbox) => mailbox.host == address.host && mailbox.key() == address.key(),
        }
    }

    /// Whether everything that `other` matches is matched by this one, too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Null, _) | (_, Self::Null) => self == other,
            (pattern, Self::Address(mailbox)) => pattern.matches(Some(mailbox)),
            (Self::Below(parent), Self::Domain(Host::Domain(domain))) => is_below(domain, parent),
            (Self::Below(parent), Self::Below(domain)) => domain == parent || is_below(domain, parent),
            _ => self == other,
        }
    }
}

fn is_below(domain: &Domain, parent: &Domain) -> bool {
    domain.ascii().strip_suffix(parent.ascii()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for Pattern {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "*" => Ok(Self::Any),
            "<>" => Ok(Self::Null),
            _ if text.contains('@') => Mailbox::parse(text).map(Self::Address),
            _ => match text.strip_prefix("*.") {
                Some(parent) => Domain::parse(parent).map(Self::Below),
                None => Host::parse(text).map(Self::Domain),
            },
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("<>"),
            Self::Domain(host) => host.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Address(mailbox) => mailbox.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use address::ReversePath;

    use super::*;

    #[test]
    fn patterns_match() {
        let table = [
            ("*", "a@b.example", true),
            ("*", "", true),
            ("<>", "", true),
            ("<>", "a@b.example", false),
            ("b.example", "", false),
            ("b.example", "A@B.Example", true),
            ("b.example", "a@c.b.example", false),
            ("*.b.example", "a@c.b.example", true),
            ("*.b.example", "a@d.c.b.example", true),
            ("*.b.example", "a@b.example", false),
            ("*.b.example", "a@cb.example", false),
            ("*.b.example", "a@[192.0.2.1]", false),
            ("bücher.example", "a@xn--bcher-kva.example", true),
            ("[192.0.2.1]", "a@[192.0.2.1]", true),
            ("[IPv6:::ffff:192.0.2.1]", "a@[192.0.2.1]", true),
            ("Ann@b.example", "aNN@b.example", true),
            ("Ann@b.example", "bob@b.example", false),
        ];
        for (pattern, address, expected) in table {
            let address = ReversePath::parse(address).unwrap();
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(address.mailbox()), expected, "{pattern} {address}");
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
        for text in ["", "*.", "**", "a..b", "@b", "*@b.example.", "[x", "*.*.example"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
