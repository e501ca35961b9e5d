//! The steps of a decision, as data, so that an operator can be told each (`mailctl explain`).

use std::fmt;

use crate::plan::{Skip, StsFailure};
use crate::question::{Missing, Proof};
use crate::security::TlsPolicy;
use crate::sts::{Mode, TxtError};

/// One step. It prints as a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The operator's setting for the destination is not `auto`.
    Setting(TlsPolicy),
    /// MX records were found.
    MxFound {
        /// Whose.
        domain: String,
        /// How many.
        count: usize,
        /// Their proof.
        proof: Proof,
    },
    /// There are none, so the domain itself is the host (RFC 5321 §5.1).
    ImplicitMx {
        /// The domain.
        domain: String,
        /// The proof that there are none.
        proof: Proof,
    },
    /// The host was given, not looked up.
    Given(String),
    /// A name is an alias.
    Alias {
        /// The name.
        name: String,
        /// Where it leads.
        canonical: String,
    },
    /// An MX record points to an alias, which it should not (RFC 5321 §5.1); it was followed.
    MxIsAlias {
        /// The host.
        host: String,
        /// Where it leads.
        canonical: String,
    },
    /// This server is among the hosts; those that are not better were cut off (RFC 5321 §5.1).
    CutAtOwn {
        /// The name under which it is.
        host: String,
        /// Its preference.
        preference: u16,
    },
    /// A host is not tried.
    Skipped {
        /// The host.
        host: String,
        /// Why.
        why: Skip,
    },
    /// An address is not tried.
    AddressRefused {
        /// The host.
        host: String,
        /// Why.
        why: Skip,
    },
    /// One family could not be looked up; the other one serves.
    HalfKnown {
        /// The host.
        host: String,
        /// Why.
        why: Missing,
    },
    /// More addresses than [`crate::Limits::addresses_per_host`].
    AddressLimit {
        /// The host.
        host: String,
        /// How many there are.
        found: usize,
        /// How many are tried.
        kept: usize,
    },
    /// No MTA-STS record.
    StsNone(Missing),
    /// The MTA-STS record is not usable.
    StsRecord(TxtError),
    /// The policy kept from earlier is used: the record has its id, or cannot be read now.
    StsKept {
        /// Its id.
        id: String,
    },
    /// A policy was fetched.
    StsFetched {
        /// Its id.
        id: String,
    },
    /// A policy could not be fetched.
    StsFailed(StsFailure),
    /// A fetch failed less than [`crate::sts::RETRY_AFTER`] ago; it was not tried again (RFC 8461 §3.3).
    StsWaiting,
    /// What the policy says.
    StsMode(Mode),
    /// The policy does not list a host, and is only in testing.
    StsUnlisted(String),
    /// DANE was not looked for.
    DaneNotAsked {
        /// The host.
        host: String,
        /// Why.
        why: NoDane,
    },
    /// No secure TLSA records.
    DaneNone {
        /// The host.
        host: String,
    },
    /// TLSA records authenticate the host.
    DaneUsable {
        /// The host.
        host: String,
        /// The TLSA base domain.
        base: String,
        /// How many are usable.
        usable: usize,
        /// The MX records are not secure: who controls them chooses the host (RFC 7672 §2.2.1).
        redirected: bool,
    },
    /// There are TLSA records, and none can be used: TLS without authentication (RFC 7672 §2.2).
    DaneUnusable {
        /// The host.
        host: String,
        /// The TLSA base domain.
        base: String,
    },
}

/// Why DANE was not looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoDane {
    /// It is switched off ([`crate::Settings::dane`]), or by the setting for the destination.
    #[error("switched off")]
    Off,
    /// The MX records are not secure (RFC 7672 §2.2.1).
    #[error("the MX records are not signed")]
    InsecureMx,
    /// The addresses are not secure (RFC 7672 §2.2.2).
    #[error("the addresses are not signed")]
    InsecureAddresses,
    /// The host is an address (RFC 7672 §2.2).
    #[error("the host is an address")]
    Literal,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(policy) => write!(f, "TLS is set to {policy} for this destination"),
            Self::MxFound { domain, count, proof } => write!(f, "{domain} has {count} MX records ({proof})"),
            Self::ImplicitMx { domain, proof } => {
                write!(f, "{domain} has no MX records ({proof}): it is its own mail server")
            }
            Self::Given(host) => write!(f, "the host {host} was given, MX records do not matter"),
            Self::Alias { name, canonical } => write!(f, "{name} is an alias of {canonical}"),
            Self::MxIsAlias { host, canonical } => {
                write!(f, "{host} is an alias of {canonical}, which an MX record should not point to")
            }
            Self::CutAtOwn { host, preference } => {
                write!(f, "{host} is this server: only hosts with a preference below {preference} are tried")
            }
            Self::Skipped { host, why } => write!(f, "{host} is not tried: {why}"),
            Self::AddressRefused { host, why } => write!(f, "an address of {host} is not tried: {why}"),
            Self::HalfKnown { host, why } => write!(f, "some addresses of {host} are not known: {why}"),
            Self::AddressLimit { host, found, kept } => {
                write!(f, "{host} has {found} addresses, {kept} of them are tried")
            }
            Self::StsNone(missing) => write!(f, "MTA-STS record: {missing}"),
            Self::StsRecord(error) => write!(f, "MTA-STS record: {error}"),
            Self::StsKept { id } => write!(f, "MTA-STS policy {id} is known from earlier"),
            Self::StsFetched { id } => write!(f, "MTA-STS policy {id} was fetched"),
            Self::StsFailed(failure) => write!(f, "MTA-STS policy: {failure}"),
            Self::StsWaiting => f.write_str("MTA-STS policy: the last fetch failed, the next one has to wait"),
            Self::StsMode(mode) => write!(f, "MTA-STS policy: mode {mode}"),
            Self::StsUnlisted(host) => write!(f, "the MTA-STS policy, in testing, does not list {host}"),
            Self::DaneNotAsked { host, why } => write!(f, "DANE does not apply to {host}: {why}"),
            Self::DaneNone { host } => write!(f, "{host} has no secure TLSA records"),
            Self::DaneUsable { host, base, usable, redirected } => {
                write!(f, "{usable} TLSA records of {base} authenticate {host}")?;
                if *redirected { f.write_str(", although the MX records are not signed") } else { Ok(()) }
            }
            Self::DaneUnusable { host, base } => {
                write!(f, "no TLSA record of {base} can be used: {host} must encrypt, and need not authenticate")
            }
        }
    }
}
