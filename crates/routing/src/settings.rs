//! What the operator decides about routing, as plain values.

use std::net::IpAddr;
use std::time::Duration;

use address::{Domain, Host};

use crate::question::Family;
use crate::reach::Reach;
use crate::security::TlsPolicy;

/// The port of mail between hosts (RFC 5321 §4.5.4.2).
pub const SMTP_PORT: u16 = 25;

/// Settings that hold for every lookup. They may change between lookups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's names, A-labels in lower case: an MX record that leads to one is the end of the list.
    pub own_names: Vec<String>,
    /// This server's addresses, for the same purpose.
    pub own_addresses: Vec<IpAddr>,
    /// The port on which a host could be this server; 25, except in tests.
    pub own_port: u16,
    /// Addresses that may be sent to although private.
    pub reach: Reach,
    /// The families that this machine speaks; both by default. With none of them no host is found.
    pub families: Vec<Family>,
    /// Look for TLSA records; true by default. Useless, and never harmful, with a resolver that does not validate.
    pub dane: bool,
    /// Use TLSA records of hosts that insecure MX records led to (RFC 7672 §2.2.1 allows it); false by default. It keeps
    /// eavesdroppers out and not those who can forge MX records.
    pub dane_with_insecure_mx: bool,
    /// Look for MTA-STS policies; true by default.
    pub sts: bool,
    /// Limits.
    pub limits: Limits,
    /// A plan is used no longer than this, whatever the times to live; an hour by default.
    pub longest_validity: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            own_port: SMTP_PORT,
            reach: Reach::default(),
            families: vec![Family::V4, Family::V6],
            dane: true,
            dane_with_insecure_mx: false,
            sts: true,
            limits: Limits::default(),
            longest_validity: Duration::from_secs(3600),
        }
    }
}

/// What one destination may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Hosts that are looked up, best first: 20 by default, 1 to 100. RFC 5321 §5.1 asks for two or more to be tried; large
    /// sites have up to about ten.
    pub mx_hosts: usize,
    /// Addresses of a host that are tried, both families together: 10 by default, at least 1.
    pub addresses_per_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { mx_hosts: 20, addresses_per_host: 10 }
    }
}

/// What is looked up.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// A recipient's domain or address literal, or a relay.
    pub host: Host,
    /// The TCP port; TLSA records are asked for it (RFC 7672 §2.2.3).
    pub port: u16,
    /// Ask for MX records. Without, the host itself is the only one, and the operator vouches for it: neither its being
    /// this server nor its being private is held against it.
    pub use_mx: bool,
    /// The setting for this destination.
    pub tls: TlsPolicy,
}

impl Target {
    /// The destination of mail for a recipient, by MX records.
    #[must_use]
    pub fn recipient(host: Host) -> Self {
        Self { host, port: SMTP_PORT, use_mx: true, tls: TlsPolicy::Auto }
    }

    /// The same for a domain.
    #[must_use]
    pub fn domain(domain: Domain) -> Self {
        Self::recipient(Host::Domain(domain))
    }

    /// A host that the operator named.
    #[must_use]
    pub fn relay(host: Host, port: u16) -> Self {
        Self { host, port, use_mx: false, tls: TlsPolicy::Auto }
    }

    /// The same under a setting.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsPolicy) -> Self {
        self.tls = tls;
        self
    }
}
