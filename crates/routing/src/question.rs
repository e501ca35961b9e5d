//! What a lookup asks of the world, and what the world may answer.
//!
//! A resolver turns a [`Question`] into an [`Answer`]. Two things may never be mixed up: *there is none*, which a name
//! server said ([`Missing::NoData`], [`Missing::NxDomain`]), and *nobody knows* ([`Missing::Temporary`],
//! [`Missing::Bogus`]), which defers mail and never loses it (RFC 7672 §2.1.1).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// `A`.
    V4,
    /// `AAAA`.
    V6,
}

/// One question. Names are A-labels in lower case, without the final dot; they are absolute.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// The `MX` records of a name.
    Mx(String),
    /// The addresses of a host.
    Addresses {
        /// The host.
        name: String,
        /// `A` or `AAAA`.
        family: Family,
    },
    /// The `TLSA` records at `_port._tcp.name` ([`tlsa_owner`]).
    Tlsa {
        /// The TCP port.
        port: u16,
        /// The TLSA base domain (RFC 7672 §2.2.3).
        name: String,
    },
    /// The `TXT` records of a name.
    Txt(String),
    /// The MTA-STS policy of a domain, by HTTPS from [`Question::policy_url`]: certificate verified for the policy host,
    /// no redirect followed, at most [`crate::sts::MAX_POLICY`] octets, within a minute (RFC 8461 §3.3). The policy
    /// host's addresses are subject to [`crate::reach::Reach`] like any other (rule 30).
    Policy {
        /// The policy domain.
        domain: String,
        /// The id that its TXT record told: the same question with another id is another question.
        id: String,
    },
}

impl Question {
    /// The host from which an MTA-STS policy is fetched, `mta-sts.` and the domain (RFC 8461 §3.2); for any other
    /// question the name it is about.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Mx(name) | Self::Txt(name) | Self::Addresses { name, .. } => name.clone(),
            Self::Tlsa { port, name } => tlsa_owner(*port, name),
            Self::Policy { domain, .. } => format!("mta-sts.{domain}"),
        }
    }

    /// `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.2), if that is the question.
    #[must_use]
    pub fn policy_url(&self) -> Option<String> {
        match self {
            Self::Policy { .. } => Some(format!("https://{}/.well-known/mta-sts.txt", self.host())),
            _ => None,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx(name) => write!(f, "{name} MX"),
            Self::Addresses { name, family: Family::V4 } => write!(f, "{name} A"),
            Self::Addresses { name, family: Family::V6 } => write!(f, "{name} AAAA"),
            Self::Tlsa { port, name } => write!(f, "{} TLSA", tlsa_owner(*port, name)),
            Self::Txt(name) => write!(f, "{name} TXT"),
            Self::Policy { domain, .. } => write!(f, "https://mta-sts.{domain}/.well-known/mta-sts.txt"),
        }
    }
}

/// The name at which TLSA records of a TCP service stand (RFC 6698 §3).
#[must_use]
pub fn tlsa_owner(port: u16, base: &str) -> String {
    format!("_{port}._tcp.{base}")
}

/// What DNSSEC says of an answer (RFC 4035 §4.3). "Bogus" and "indeterminate" are no answers: [`Missing::Bogus`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Proof {
    /// Not signed from the root on; or nobody validated.
    Insecure,
    /// Validated from a trust anchor down to every record of the answer, aliases included.
    Secure,
}

impl Proof {
    /// Whether it is [`Proof::Secure`].
    #[must_use]
    pub fn is_secure(self) -> bool {
        self == Self::Secure
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secure() { "secure" } else { "insecure" })
    }
}

/// Where CNAME (and DNAME) records led.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Alias {
    /// The name at the end of the chain: A-labels, lower case, no final dot.
    pub canonical: String,
    /// The proof of the *first* CNAME record alone: an insecure answer may begin with a secure alias, and then the name
    /// asked for may still have TLSA records (RFC 7672 §2.2.2, "Insecure CNAME"). `Insecure` where that is not known.
    pub first: Proof,
}

/// Records that were found: at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Records<T> {
    /// The records, in any order.
    pub records: Vec<T>,
    /// The proof of the whole answer: the weakest of its parts, aliases included (RFC 7672 §2.1.3).
    pub proof: Proof,
    /// The smallest time to live of its parts.
    pub ttl: Duration,
    /// Where aliases led, if the name asked for was one.
    pub alias: Option<Alias>,
}

impl<T> Records<T> {
    /// Records of the name asked for itself.
    #[must_use]
    pub fn new(records: Vec<T>, proof: Proof, ttl: Duration) -> Self {
        Self { records, proof, ttl, alias: None }
    }

    /// The same, at the end of an alias.
    #[must_use]
    pub fn via(mut self, canonical: &str, first: Proof) -> Self {
        self.alias = Some(Alias { canonical: canonical.to_owned(), first });
        self
    }
}

/// Why there are no records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Missing {
    /// The name is there, records of this type are not.
    NoData {
        /// The proof of the denial.
        proof: Proof,
        /// How long that holds (RFC 2308 §5).
        ttl: Duration,
    },
    /// The name is not there.
    NxDomain {
        /// The proof of the denial.
        proof: Proof,
        /// How long that holds (RFC 2308 §5).
        ttl: Duration,
    },
    /// Nobody answered, or with SERVFAIL, REFUSED, NOTIMP or nonsense. Never taken for absence.
    Temporary(Trouble),
    /// DNSSEC says that the answer is forged or broken, or could not say ("indeterminate"). Never taken for absence.
    Bogus,
}

/// What went wrong with a question.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// A response code other than NOERROR and NXDOMAIN (RFC 1035 §4.1.1).
    #[error("response code {0}")]
    Rcode(u16),
    /// A chain of aliases without end, or longer than the resolver follows.
    #[error("aliases without end")]
    AliasLoop,
    /// An answer that cannot be read.
    #[error("malformed answer")]
    Malformed,
    /// The name servers cannot be reached.
    #[error("no name server reachable")]
    Unreachable,
    /// The caller answered with something else than was asked.
    #[error("answer to another question")]
    Mismatch,
}

/// Records or why not.
pub type Reply<T> = Result<Records<T>, Missing>;

/// An `MX` record (RFC 1035 §3.3.9).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host; empty (or `.`) in a null MX (RFC 7505 §3).
    pub exchange: String,
}

impl Mx {
    /// A record.
    #[must_use]
    pub fn new(preference: u16, exchange: &str) -> Self {
        Self { preference, exchange: exchange.to_owned() }
    }
}

/// What an HTTPS server answered with status 200.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyBody {
    /// The body: at most one octet more than [`crate::sts::MAX_POLICY`] need be read.
    pub octets: Vec<u8>,
    /// The value of Content-Type, if there was one.
    pub media_type: Option<String>,
}

/// Why a policy could not be fetched.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The policy host has no address, or none that may be asked (rule 30).
    #[error("policy host has no usable address")]
    NoAddress,
    /// No connection.
    #[error("policy host not reachable")]
    Unreachable,
    /// The certificate is not valid for the policy host, or TLS failed.
    #[error("certificate of the policy host not valid")]
    Certificate,
    /// Another status than 200; redirects too (RFC 8461 §3.3).
    #[error("HTTP status {0}")]
    Status(u16),
    /// Not done within the time allowed.
    #[error("no policy in time")]
    Timeout,
    /// Not HTTP.
    #[error("malformed HTTP response")]
    Malformed,
}

/// The answer to a [`Question`] of the same kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// To [`Question::Mx`].
    Mx(Reply<Mx>),
    /// To [`Question::Addresses`].
    Addresses(Reply<IpAddr>),
    /// To [`Question::Tlsa`].
    Tlsa(Reply<crate::dane::Tlsa>),
    /// To [`Question::Txt`]: each record with its strings joined (RFC 8461 §3.1).
    Txt(Reply<Vec<u8>>),
    /// To [`Question::Policy`].
    Policy(Result<PolicyBody, FetchError>),
}

impl Answer {
    /// The answer "nobody knows" to a question of any kind.
    #[must_use]
    pub fn temporary(question: &Question, trouble: Trouble) -> Self {
        match question {
            Question::Mx(_) => Self::Mx(Err(Missing::Temporary(trouble))),
            Question::Addresses { .. } => Self::Addresses(Err(Missing::Temporary(trouble))),
            Question::Tlsa { .. } => Self::Tlsa(Err(Missing::Temporary(trouble))),
            Question::Txt(_) => Self::Txt(Err(Missing::Temporary(trouble))),
            Question::Policy { .. } => Self::Policy(Err(FetchError::Unreachable)),
        }
    }

    /// Whether the answer is of the question's kind.
    pub(crate) fn fits(&self, question: &Question) -> bool {
        matches!(
            (self, question),
            (Self::Mx(_), Question::Mx(_))
                | (Self::Addresses(_), Question::Addresses { .. })
                | (Self::Tlsa(_), Question::Tlsa { .. })
                | (Self::Txt(_), Question::Txt(_))
                | (Self::Policy(_), Question::Policy { .. })
        )
    }
}

/// A host name as DNS has it, ready to be asked for: lower case, no final dot, labels of letters, digits, hyphens and
/// underscores (which host names should not have and some do). `None` for addresses, the root and anything else.
pub(crate) fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    (name.len() <= 253 && !last_is_number && name.split('.').all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table = [
            ("MX1.Example.COM.", Some("mx1.example.com")),
            ("mx_1.example", Some("mx_1.example")),
            ("localhost", Some("localhost")),
            ("192.0.2.1", None),
            (".", None),
            ("", None),
            ("a..b", None),
            ("a b.example", None),
            ("bücher.example", None),
        ];
        for (text, expected) in table {
            assert_eq!(host_name(text).as_deref(), expected, "{text:?}");
        }
        let long = format!("{}.example", "a".repeat(63));
        assert!(host_name(&long).is_some());
        assert!(host_name(&format!("a{long}")).is_none());
    }

    #[test]
    fn questions_print() {
        let policy = Question::Policy { domain: "example.com".into(), id: "1".into() };
        assert_eq!(policy.policy_url().as_deref(), Some("https://mta-sts.example.com/.well-known/mta-sts.txt"));
        let tlsa = Question::Tlsa { port: 25, name: "mx.example.com".into() };
        assert_eq!(tlsa.to_string(), "_25._tcp.mx.example.com TLSA");
    }
}
