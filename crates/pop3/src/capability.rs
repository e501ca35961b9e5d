//! What a server can do (RFC 2449 §6).

use std::fmt;

use wire::Mechanism;

/// One line of the answer to CAPA.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Capability {
    /// TOP (RFC 2449 §6.1).
    Top,
    /// USER and PASS (RFC 2449 §6.2).
    User,
    /// AUTH with these mechanisms (RFC 5034 §3).
    Sasl(Vec<Mechanism>),
    /// Response codes (RFC 2449 §6.4).
    RespCodes,
    /// The least time between logins (RFC 2449 §6.5).
    LoginDelay {
        /// In seconds.
        seconds: u32,
        /// Whether it may differ after login.
        user: bool,
    },
    /// Commands may be sent ahead (RFC 2449 §6.6).
    Pipelining,
    /// How long messages are kept (RFC 2449 §6.7).
    Expire {
        /// How long.
        after: Expire,
        /// Whether it may differ after login.
        user: bool,
    },
    /// UIDL (RFC 2449 §6.8).
    Uidl,
    /// Who made the server (RFC 2449 §6.9).
    Implementation(String),
    /// STLS (RFC 2595 §4).
    Stls,
    /// UTF8 (RFC 6856 §2).
    Utf8 {
        /// Whether names and passwords may be UTF-8.
        user: bool,
    },
    /// LANG (RFC 6856 §3).
    Lang,
    /// `[AUTH]` stands in every refusal of credentials (RFC 3206 §6).
    AuthRespCode,
    /// Another one: the whole line.
    Other(String),
}

/// How long a message is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expire {
    /// For ever.
    Never,
    /// So many days; 0: what was retrieved may not stay.
    Days(u32),
}

impl Capability {
    /// Reads a line, its CRLF and its transparency already undone. What is not understood is [`Self::Other`].
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let tag = words.next().unwrap_or_default().to_ascii_uppercase();
        let words: Vec<&str> = words.collect();
        let is_user = |word: &str| word.eq_ignore_ascii_case("USER");
        let known = match (tag.as_str(), words.as_slice()) {
            ("TOP", []) => Some(Self::Top),
            ("USER", []) => Some(Self::User),
            ("SASL", names) => {
                names.iter().map(|name| Mechanism::try_from(*name).ok()).collect::<Option<_>>().map(Self::Sasl)
            }
            ("RESP-CODES", []) => Some(Self::RespCodes),
            ("LOGIN-DELAY", [seconds]) => seconds.parse().ok().map(|seconds| Self::LoginDelay { seconds, user: false }),
            ("LOGIN-DELAY", [seconds, user]) if is_user(user) => {
                seconds.parse().ok().map(|seconds| Self::LoginDelay { seconds, user: true })
            }
            ("PIPELINING", []) => Some(Self::Pipelining),
            ("EXPIRE", [after]) => Expire::parse(after).map(|after| Self::Expire { after, user: false }),
            ("EXPIRE", [after, user]) if is_user(user) => {
                Expire::parse(after).map(|after| Self::Expire { after, user: true })
            }
            ("UIDL", []) => Some(Self::Uidl),
            ("IMPLEMENTATION", [_, ..]) => Some(Self::Implementation(words.join(" "))),
            ("STLS", []) => Some(Self::Stls),
            ("UTF8", []) => Some(Self::Utf8 { user: false }),
            ("UTF8", [user]) if is_user(user) => Some(Self::Utf8 { user: true }),
            ("LANG", []) => Some(Self::Lang),
            ("AUTH-RESP-CODE", []) => Some(Self::AuthRespCode),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(text.chars().filter(|char| !char.is_control()).collect()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_user = |user: &bool| if *user { " USER" } else { "" };
        match self {
            Self::Top => f.write_str("TOP"),
            Self::User => f.write_str("USER"),
            Self::Sasl(mechanisms) => {
                f.write_str("SASL")?;
                mechanisms.iter().try_for_each(|mechanism| write!(f, " {mechanism}"))
            }
            Self::RespCodes => f.write_str("RESP-CODES"),
            Self::LoginDelay { seconds, user } => write!(f, "LOGIN-DELAY {seconds}{}", per_user(user)),
            Self::Pipelining => f.write_str("PIPELINING"),
            Self::Expire { after: Expire::Never, user } => write!(f, "EXPIRE NEVER{}", per_user(user)),
            Self::Expire { after: Expire::Days(days), user } => write!(f, "EXPIRE {days}{}", per_user(user)),
            Self::Uidl => f.write_str("UIDL"),
            Self::Implementation(words) => write!(f, "IMPLEMENTATION {words}"),
            Self::Stls => f.write_str("STLS"),
            Self::Utf8 { user } => write!(f, "UTF8{}", per_user(user)),
            Self::Lang => f.write_str("LANG"),
            Self::AuthRespCode => f.write_str("AUTH-RESP-CODE"),
            Self::Other(line) => f.write_str(line),
        }
    }
}

impl Expire {
    fn parse(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("NEVER") { Some(Self::Never) } else { word.parse().ok().map(Self::Days) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_both_ways() {
        let sasl =
            |names: &[&str]| Capability::Sasl(names.iter().map(|name| Mechanism::try_from(*name).unwrap()).collect());
        // The examples of RFC 2449 §5 and §6.7, RFC 2595 §4, RFC 5034 §6, RFC 6856 §2.
        for (line, capability) in [
            ("TOP", Capability::Top),
            ("USER", Capability::User),
            ("SASL CRAM-MD5 KERBEROS_V4", sasl(&["CRAM-MD5", "KERBEROS_V4"])),
            ("SASL", sasl(&[])),
            ("RESP-CODES", Capability::RespCodes),
            ("LOGIN-DELAY 900", Capability::LoginDelay { seconds: 900, user: false }),
            ("LOGIN-DELAY 900 USER", Capability::LoginDelay { seconds: 900, user: true }),
            ("PIPELINING", Capability::Pipelining),
            ("EXPIRE 60", Capability::Expire { after: Expire::Days(60), user: false }),
            ("EXPIRE 5 USER", Capability::Expire { after: Expire::Days(5), user: true }),
            ("EXPIRE NEVER", Capability::Expire { after: Expire::Never, user: false }),
            ("EXPIRE 0", Capability::Expire { after: Expire::Days(0), user: false }),
            ("UIDL", Capability::Uidl),
            ("IMPLEMENTATION Shlemazle-Plotz-v302", Capability::Implementation("Shlemazle-Plotz-v302".to_owned())),
            (
                "IMPLEMENTATION BlurdyBlurp POP3 server",
                Capability::Implementation("BlurdyBlurp POP3 server".to_owned()),
            ),
            ("STLS", Capability::Stls),
            ("UTF8", Capability::Utf8 { user: false }),
            ("UTF8 USER", Capability::Utf8 { user: true }),
            ("LANG", Capability::Lang),
            ("AUTH-RESP-CODE", Capability::AuthRespCode),
            ("X-WHATEVER it is", Capability::Other("X-WHATEVER it is".to_owned())),
            ("EXPIRE soon", Capability::Other("EXPIRE soon".to_owned())),
        ] {
            assert_eq!(Capability::parse(line.as_bytes()), capability);
            assert_eq!(capability.to_string(), line);
        }
        assert_eq!(Capability::parse(b"sasl plain"), sasl(&["PLAIN"]));
    }
}
