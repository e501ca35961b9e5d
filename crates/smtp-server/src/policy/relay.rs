//! For whom mail goes on to other systems: networks, accounts, and domains that we are the backup MX of (rule 12: for
//! nobody else, and not for loopback unless it is listed).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use address::{Domain, ForwardPath, Host};
use net::Network;
use smtp::Reply;

/// Who relays through us, as data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RelayRules {
    /// Clients in these may send anywhere. Default none, loopback neither.
    pub networks: Vec<Network>,
    /// Clients that have logged in may not, after all; default false.
    pub refuse_accounts: bool,
    /// Domains whose mail we take for the time when their own systems cannot.
    pub backup: Vec<BackupDomain>,
}

/// A domain that we are the backup MX of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackupDomain {
    /// The domain.
    pub domain: Domain,
    /// Whether it stands for the domains below it, too.
    pub subdomains: bool,
    /// Whom it has.
    pub recipients: BackupRecipients,
}

/// Whom a backup domain has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BackupRecipients {
    /// Not known here: everybody. Mail for nobody comes back from the domain's own system later, as a report to a
    /// sender that may be forged; a list is better.
    Anybody,
    /// These, under their keys ([`address::Mailbox::key`]).
    Listed(BTreeSet<String>),
}

/// What counts about a client. The address is the one that PROXY or XCLIENT told, where they did (rule 12).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// Its address; `None` for a process of this machine, which relays by its login alone.
    pub address: Option<IpAddr>,
    /// Whether it has logged in.
    pub logged_in: bool,
}

/// Whether a recipient of another system is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Relay {
    /// Yes, and why.
    Yes(Reason),
    /// No, and why not.
    No(Denied),
}

/// Why mail is relayed; prints as the trace has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The client is in this network.
    Network(Network),
    /// The client has logged in.
    LoggedIn,
    /// We are the backup MX of this domain.
    Backup(Domain),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "relayed for network {network}"),
            Self::LoggedIn => f.write_str("relayed for a client that has logged in"),
            Self::Backup(domain) => write!(f, "relayed as backup MX of {}", domain.ascii()),
        }
    }
}

/// Why mail is not relayed; prints as the trace has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denied {
    /// Nobody we relay for, to nowhere we relay to.
    Stranger,
    /// The local part would route the mail on, behind our back (rule 12).
    Routed,
    /// A backup domain does not have this recipient.
    NoSuchRecipient,
    /// `postmaster` without a domain is ours, and goes nowhere.
    Ours,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stranger => "not relayed: no relay network, no login, no backup domain",
            Self::Routed => "not relayed: the local part is an address of its own",
            Self::NoSuchRecipient => "not relayed: the backup domain does not have this recipient",
            Self::Ours => "not relayed: postmaster is local",
        })
    }
}

impl Denied {
    /// What the client is told (rule 17).
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Stranger | Self::Ours => Reply::new(550, "5.7.1 relaying denied: this domain is not served here"),
            Self::Routed => Reply::new(550, "5.7.1 relaying denied: source routes are not followed here"),
            Self::NoSuchRecipient => Reply::new(550, "5.1.1 there is nobody of that name in this domain"),
        }
    }
}

impl RelayRules {
    /// Whether mail of this client goes on to a recipient that the directory has called not local.
    #[must_use]
    pub fn may_relay(&self, client: &Client, recipient: &ForwardPath) -> Relay {
        let Some(mailbox) = recipient.mailbox() else { return Relay::No(Denied::Ours) };
        if client.logged_in && !self.refuse_accounts {
            return Relay::Yes(Reason::LoggedIn);
        }
        let network = client.address.and_then(|address| self.network_of(address));
        if let Some(network) = network {
            return Relay::Yes(Reason::Network(network));
        }
        // From here on it is a stranger: what reads like a route is no address (rule 12).
        let Host::Domain(domain) = &mailbox.host else { return Relay::No(Denied::Stranger) };
        let Some(backup) = self.backup_of(domain) else { return Relay::No(Denied::Stranger) };
        if mailbox.local.looks_routed() {
            return Relay::No(Denied::Routed);
        }
        match &backup.recipients {
            BackupRecipients::Listed(listed) if !listed.contains(&mailbox.key()) => Relay::No(Denied::NoSuchRecipient),
            BackupRecipients::Listed(_) | BackupRecipients::Anybody => {
                Relay::Yes(Reason::Backup(backup.domain.clone()))
            }
        }
    }

    /// The network that this client may relay from, if there is one.
    #[must_use]
    pub fn network(&self, client: &Client) -> Option<Network> {
        client.address.and_then(|address| self.network_of(address))
    }

    /// The network that the client may relay from.
    fn network_of(&self, address: IpAddr) -> Option<Network> {
        let address = address.to_canonical();
        let is_meant = |network: &&Network| {
            // A network of all the world is not meant for what any process here may do.
            network.contains(address) && (!address.is_loopback() || is_loopback(network))
        };
        self.networks.iter().find(is_meant).copied()
    }

    /// The backup domain that this one is, or the nearest one that it is below.
    #[must_use]
    pub fn backup_of(&self, domain: &Domain) -> Option<&BackupDomain> {
        let is_below = |backup: &BackupDomain| {
            let above = domain.ascii().strip_suffix(backup.domain.ascii());
            backup.subdomains && above.is_some_and(|below| below.ends_with('.'))
        };
        self.backup
            .iter()
            .filter(|backup| backup.domain == *domain || is_below(backup))
            .max_by_key(|backup| backup.domain.ascii().len())
    }
}

/// Whether all of the network is loopback.
fn is_loopback(network: &Network) -> bool {
    let (v4, v6) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
    !network.contains(v4) && !network.contains(v6) && !is_wider_than_loopback(network)
}

/// Networks that reach beyond 127.0.0.0/8 or ::1.
fn is_wider_than_loopback(network: &Network) -> bool {
    let beside: [IpAddr; 3] = [[126, 255, 255, 255].into(), [128, 0, 0, 0].into(), [0, 0, 0, 0, 0, 0, 0, 2].into()];
    beside.into_iter().any(|address| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(networks: &[&str]) -> RelayRules {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let listed = ["ann@listed.example", "j\u{fc}rgen@listed.example"].map(str::to_owned);
        RelayRules {
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            refuse_accounts: false,
            backup: vec![
                BackupDomain {
                    domain: domain("open.example"),
                    subdomains: true,
                    recipients: BackupRecipients::Anybody,
                },
                BackupDomain {
                    domain: domain("sub.open.example"),
                    subdomains: false,
                    recipients: BackupRecipients::Listed(BTreeSet::new()),
                },
                BackupDomain {
                    domain: domain("listed.example"),
                    subdomains: false,
                    recipients: BackupRecipients::Listed(listed.into()),
                },
            ],
        }
    }

    fn ask(rules: &RelayRules, address: &str, logged_in: bool, recipient: &str) -> String {
        let client = Client { address: address.parse().ok(), logged_in };
        match rules.may_relay(&client, &ForwardPath::parse(recipient).unwrap()) {
            Relay::Yes(reason) => reason.to_string(),
            Relay::No(denied) => {
                assert!(denied.reply().is_permanent() && denied.reply().enhanced().is_some(), "rule 17");
                denied.to_string()
            }
        }
    }

    #[test]
    fn rule_12_who_relays_where() {
        let rules = rules(&["192.0.2.0/24", "2001:db8::/32"]);
        const NO: &str = "not relayed: no relay network, no login, no backup domain";
        const ROUTED: &str = "not relayed: the local part is an address of its own";
        const OPEN: &str = "relayed as backup MX of open.example";
        const NOBODY: &str = "not relayed: the backup domain does not have this recipient";
        for (address, logged_in, recipient, expected) in [
            ("192.0.2.0", false, "x@far.example", "relayed for network 192.0.2.0/24"),
            ("192.0.2.255", false, "x@far.example", "relayed for network 192.0.2.0/24"),
            ("192.0.3.0", false, "x@far.example", NO),
            ("192.0.1.255", false, "x@far.example", NO),
            ("::ffff:192.0.2.7", false, "x@far.example", "relayed for network 192.0.2.0/24"),
            ("2001:db8::1", false, "x@far.example", "relayed for network 2001:db8::/32"),
            ("127.0.0.1", false, "x@far.example", NO),
            ("::1", false, "x@far.example", NO),
            ("", false, "x@far.example", NO),
            ("198.51.100.1", true, "x@far.example", "relayed for a client that has logged in"),
            ("", true, "x@far.example", "relayed for a client that has logged in"),
            ("198.51.100.1", true, "postmaster", "not relayed: postmaster is local"),
            ("198.51.100.1", false, "x@open.example", OPEN),
            ("198.51.100.1", false, "x@OPEN.example", OPEN),
            ("198.51.100.1", false, "x@a.b.open.example", OPEN),
            ("198.51.100.1", false, "x@notopen.example", NO),
            ("198.51.100.1", false, "x@sub.open.example", NOBODY),
            ("198.51.100.1", false, "x@sub.listed.example", NO),
            ("198.51.100.1", false, "Ann@Listed.example", "relayed as backup MX of listed.example"),
            ("198.51.100.1", false, "J\u{dc}RGEN@listed.example", "relayed as backup MX of listed.example"),
            ("198.51.100.1", false, "bob@listed.example", NOBODY),
            ("198.51.100.1", false, "a%b@open.example", ROUTED),
            ("198.51.100.1", false, "b!a@open.example", ROUTED),
            ("198.51.100.1", false, "\"a@b\"@open.example", ROUTED),
            ("198.51.100.1", false, "x@[192.0.2.1]", NO),
            ("198.51.100.1", false, "@open.example:x@far.example", NO),
        ] {
            assert_eq!(ask(&rules, address, logged_in, recipient), expected, "{address} {logged_in} {recipient}");
        }
        let rules = RelayRules { refuse_accounts: true, ..rules };
        assert_eq!(ask(&rules, "198.51.100.1", true, "x@far.example"), NO);
    }

    #[test]
    fn rule_12_loopback_relays_only_where_it_is_listed_itself() {
        for (networks, address, relays) in [
            (&["127.0.0.0/8"][..], "127.0.0.1", true),
            (&["127.0.0.1"], "::ffff:127.0.0.1", true),
            (&["127.0.0.1"], "127.0.0.2", false),
            (&["::1"], "::1", true),
            (&["::1"], "127.0.0.1", false),
            (&["0.0.0.0/0", "::/0"], "127.0.0.1", false),
            (&["0.0.0.0/0", "::/0"], "::1", false),
            (&["126.0.0.0/7"], "127.0.0.1", false),
            (&["::/64"], "::1", false),
            (&["::/64", "::1"], "::1", true),
            (&[], "127.0.0.1", false),
        ] {
            let found = ask(&rules(networks), address, false, "x@far.example");
            assert_eq!(found.starts_with("relayed"), relays, "{networks:?} {address}: {found}");
        }
    }
}
