//! What a lookup ends with: a [`Plan`], or why there is none.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use wire::EnhancedCode;

use crate::note::Note;
use crate::question::{FetchError, Missing};
use crate::reach::Special;
use crate::security::{Security, TlsPolicy};
use crate::sts;
use crate::tlsrpt::{self, Outcome};

/// Where mail for a destination goes, host by host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Hosts in the order in which they are tried; at least one.
    pub hosts: Vec<Host>,
    /// Hosts that are not tried, and why; a TLS report wants to know of some.
    pub skipped: Vec<Skipped>,
    /// When to look again: the earliest end of an answer's time to live. Never after [`crate::Settings::longest_validity`].
    pub valid_until: Timestamp,
    /// A stable key of the set of hosts: destinations with the same one share connections and limits.
    pub group: String,
    /// The TCP port.
    pub port: u16,
    /// The domain that is told how sessions went ([`crate::tlsrpt`]): the next-hop domain in A-labels; none for an address.
    pub policy_domain: Option<String>,
    /// The MTA-STS policy that applies, if there is one; its mode is not `none`.
    pub sts: Option<Arc<sts::Policy>>,
    /// Why a policy that is published could not be had; for the report of the day.
    pub sts_failure: Option<StsFailure>,
    /// How it came about, step by step.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Puts hosts of equal preference, and addresses of one family, into another random order (RFC 5321 §5.1): a plan that
    /// is kept is shuffled with a new seed for each delivery.
    pub fn shuffle(&mut self, seed: u64) {
        self.hosts.sort_by_key(|host| (host.preference, mix(seed, host.name.as_bytes())));
        for host in &mut self.hosts {
            host.addresses = interleave(&host.addresses, seed, usize::MAX);
        }
    }

    /// What a TLS report tells beside the sessions: hosts that a policy kept out, a policy that could not be had. It counts
    /// once for each attempt to deliver.
    #[must_use]
    pub fn reportable(&self) -> Vec<Outcome> {
        tlsrpt::before_any_session(self.policy_domain.as_deref(), self.sts.as_deref(), self.sts_failure, &self.skipped)
    }
}

/// A host of a plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Its name as the MX record (or the domain, or the operator) has it, before aliases; an address literal's text in
    /// brackets.
    pub name: String,
    /// Of the MX record; 0 where there was none.
    pub preference: u16,
    /// At least one; families in turn, IPv6 first.
    pub addresses: Vec<IpAddr>,
    /// How it must be secured.
    pub security: Security,
}

/// A host that is not in the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Its name, or what stood in the MX record.
    pub name: String,
    /// Of the MX record.
    pub preference: u16,
    /// Why.
    pub why: Skip,
}

/// Why a host is not in a plan.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Skip {
    /// What the MX record has is no host name.
    NotAName,
    /// It has no addresses.
    NoAddress,
    /// Its addresses could not be had now.
    AddressTrouble(Missing),
    /// Its addresses are not of the public Internet (rule 30).
    Refused {
        /// One of them.
        address: IpAddr,
        /// What it is.
        special: Special,
    },
    /// It is us.
    OurOwn,
    /// Its preference is not better than our own (RFC 5321 §5.1).
    BehindUs,
    /// More hosts than [`crate::Limits::mx_hosts`].
    Limit,
    /// Its TLSA records could not be had now (RFC 7672 §2.1.2).
    TlsaTrouble {
        /// The TLSA base domain.
        base: String,
        /// Why.
        why: Missing,
    },
    /// DANE is demanded by setting, and it has no usable TLSA records.
    NoDane,
    /// The MTA-STS policy to enforce lists it not (RFC 8461 §4.1).
    NotInPolicy,
}

impl Skip {
    /// Whether it may be otherwise later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::AddressTrouble(_) | Self::TlsaTrouble { .. } | Self::NoDane | Self::NotInPolicy)
    }

    /// The enhanced status code, if every host was skipped for this.
    pub(crate) fn code(&self) -> EnhancedCode {
        match self {
            Self::AddressTrouble(_) | Self::TlsaTrouble { .. } => EnhancedCode::transient(4, 3),
            Self::NoDane | Self::NotInPolicy => EnhancedCode::transient(7, 5),
            Self::OurOwn | Self::BehindUs => EnhancedCode::permanent(4, 6),
            Self::NotAName | Self::NoAddress | Self::Refused { .. } | Self::Limit => EnhancedCode::permanent(4, 4),
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName => f.write_str("not a host name"),
            Self::NoAddress => f.write_str("no addresses"),
            Self::AddressTrouble(missing) => write!(f, "addresses: {missing}"),
            Self::Refused { address, special } => {
                write!(f, "{address} is a {special} address, which [routing] private_targets does not list")
            }
            Self::OurOwn => f.write_str("it is this server itself"),
            Self::BehindUs => f.write_str("not preferred to this server itself"),
            Self::Limit => f.write_str("more hosts than are tried"),
            Self::TlsaTrouble { base, why } => write!(f, "TLSA records of {base}: {why}"),
            Self::NoDane => f.write_str("DANE is required and there are no usable TLSA records"),
            Self::NotInPolicy => f.write_str("the MTA-STS policy does not list it"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoData { proof, .. } => write!(f, "no such records ({proof})"),
            Self::NxDomain { proof, .. } => write!(f, "no such name ({proof})"),
            Self::Temporary(trouble) => trouble.fmt(f),
            Self::Bogus => f.write_str("DNSSEC validation failed"),
        }
    }
}

/// Why an MTA-STS policy that is published is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StsFailure {
    /// It could not be fetched.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It was fetched and is none.
    #[error("{0}")]
    Invalid(#[from] sts::PolicyError),
}

/// There is nowhere to send to; or nobody knows now where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code} {why}")]
pub struct Unroutable {
    /// The enhanced status code (RFC 3463): of class 4 where the mail is tried again later, else of class 5.
    pub code: EnhancedCode,
    /// Why; its text is fit for a sender.
    pub why: Why,
    /// When an answer may differ: the end of the time to live of what was learnt.
    pub valid_until: Timestamp,
    /// The hosts that were considered.
    pub skipped: Vec<Skipped>,
    /// As in a [`Plan`].
    pub policy_domain: Option<String>,
    /// As in a [`Plan`].
    pub sts: Option<Arc<sts::Policy>>,
    /// As in a [`Plan`].
    pub sts_failure: Option<StsFailure>,
    /// How it came about.
    pub notes: Vec<Note>,
}

impl Unroutable {
    /// Try again later; otherwise the mail bounces.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code.class() == 4
    }

    /// What a TLS report tells ([`Plan::reportable`]).
    #[must_use]
    pub fn reportable(&self) -> Vec<Outcome> {
        tlsrpt::before_any_session(self.policy_domain.as_deref(), self.sts.as_deref(), self.sts_failure, &self.skipped)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// The domain does not exist: 5.1.2.
    NoSuchDomain(String),
    /// The domain is no name DNS can have: 5.1.2.
    NotAName(String),
    /// The domain has neither MX records nor addresses: 5.4.4.
    NoHost(String),
    /// The domain says that it takes no mail (RFC 7505): 5.1.10.
    NullMx(String),
    /// The MX records could not be had: 4.4.3.
    MxTrouble(String, Missing),
    /// An address literal that is not an IP address: 5.1.2.
    UnknownLiteral,
    /// Mail for the domain ends here, and here it is not taken: 5.4.6.
    LoopsBack(String),
    /// DANE is demanded by setting, and the MX records are not secure (RFC 7672 §2.2.1): 4.7.5.
    InsecureMx(String),
    /// Not one host can be used. The code is that of the best host that may recover, or of the best one.
    NoUsableHost {
        /// The destination.
        domain: String,
        /// The host.
        host: String,
        /// Why not.
        skip: Skip,
    },
    /// The destination is set to TLS of a kind an address cannot have: 4.7.5.
    LiteralWithPolicy(TlsPolicy),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDomain(domain) => write!(f, "the domain {domain} does not exist"),
            Self::NotAName(domain) => write!(f, "{domain} is not a domain name"),
            Self::NoHost(domain) => write!(f, "the domain {domain} has no mail server"),
            Self::NullMx(domain) => write!(f, "the domain {domain} accepts no mail"),
            Self::MxTrouble(domain, missing) => write!(f, "looking up the mail servers of {domain}: {missing}"),
            Self::UnknownLiteral => f.write_str("an address literal of an unknown kind"),
            Self::LoopsBack(domain) => write!(f, "mail for {domain} loops back to this server"),
            Self::InsecureMx(domain) => {
                write!(f, "DANE is required for {domain} and its MX records are not signed")
            }
            Self::NoUsableHost { domain, host, skip } => {
                write!(f, "no mail server of {domain} can be used; {host}: {skip}")
            }
            Self::LiteralWithPolicy(policy) => write!(f, "TLS {policy} is not possible with an address literal"),
        }
    }
}

/// Addresses in the order to try: each family by the seed, the families in turn, IPv6 first (RFC 8305 §4).
pub(crate) fn interleave(addresses: &[IpAddr], seed: u64, limit: usize) -> Vec<IpAddr> {
    let family = |v6: bool| {
        let mut family: Vec<IpAddr> = addresses.iter().copied().filter(|address| address.is_ipv6() == v6).collect();
        family.sort_by_key(|address| match address {
            IpAddr::V4(v4) => (mix(seed, &v4.octets()), *address),
            IpAddr::V6(v6) => (mix(seed, &v6.octets()), *address),
        });
        family.dedup();
        family
    };
    let (v6, v4) = (family(true), family(false));
    let turns = v6.len().max(v4.len());
    (0..turns).flat_map(|turn| [v6.get(turn), v4.get(turn)]).flatten().copied().take(limit).collect()
}

/// A number that looks random and depends on the seed and the octets alone.
pub(crate) fn mix(seed: u64, octets: &[u8]) -> u64 {
    // FNV-1a, then the finaliser of SplitMix64: no secrecy is needed, only a fair order.
    let mut hash = octets
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_in_turn() {
        let all: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "192.0.2.1"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        for seed in 0..20 {
            let order = interleave(&all, seed, usize::MAX);
            assert_eq!(order.len(), 4);
            assert_eq!(order.iter().map(IpAddr::is_ipv6).collect::<Vec<_>>(), [true, false, false, false]);
            let mut other = all.clone();
            other.reverse();
            assert_eq!(interleave(&other, seed, usize::MAX), order);
            assert_eq!(interleave(&all, seed, 2), order[..2]);
        }
    }

    #[test]
    fn mixing_is_fair() {
        let mut first = [0; 3];
        for seed in 0..3000 {
            let best = (0..3).min_by_key(|name: &u8| mix(seed, &[b'a' + name])).unwrap();
            first[usize::from(best)] += 1;
        }
        assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
    }
}
