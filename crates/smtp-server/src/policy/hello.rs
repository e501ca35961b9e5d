//! What the name in HELO, and the name behind the address, say of a client: facts for the trace and for later scoring,
//! no reason to refuse (RFC 5321 §4.1.4: a mismatch alone is none; rule 13).

use std::fmt;
use std::net::IpAddr;

use address::{AddressLiteral, Domain, Host};
use daemon::Config;
use smtp::HelloName;

/// What is wrong, or odd, or right.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum HelloFact {
    /// Neither a domain nor an address literal (RFC 5321 §4.1.1.1).
    Malformed,
    /// An address without its brackets.
    BareAddress,
    /// A domain of one label.
    NotFullyQualified,
    /// `localhost`, or a name below it or `localdomain`, from elsewhere.
    Localhost,
    /// One of our own names.
    OurName,
    /// One of our own addresses.
    OurAddress,
    /// An address literal that is not the client's address.
    LiteralMismatch,
    /// An address literal that is.
    LiteralMatch,
    /// The client's address has no name.
    NoReverseName,
    /// Its names do not lead back to it (RFC 8601 §3, `iprev`).
    ReverseUnconfirmed,
    /// They could not be looked up now.
    ReverseUnknown,
    /// A name of the client's leads back to it.
    ReverseConfirmed,
    /// The name in HELO is such a name.
    NameConfirmed,
}

impl HelloFact {
    /// The word for it in the trace and in rules: stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "helo-malformed",
            Self::BareAddress => "helo-bare-address",
            Self::NotFullyQualified => "helo-not-fqdn",
            Self::Localhost => "helo-localhost",
            Self::OurName => "helo-our-name",
            Self::OurAddress => "helo-our-address",
            Self::LiteralMismatch => "helo-literal-mismatch",
            Self::LiteralMatch => "helo-literal-match",
            Self::NoReverseName => "rdns-none",
            Self::ReverseUnconfirmed => "rdns-unconfirmed",
            Self::ReverseUnknown => "rdns-unknown",
            Self::ReverseConfirmed => "rdns-confirmed",
            Self::NameConfirmed => "helo-confirmed",
        }
    }
}

impl HelloFact {
    /// What it means, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Malformed => "it says neither a domain nor an address in brackets",
            Self::BareAddress => "it says an address without brackets",
            Self::NotFullyQualified => "it says a domain of one label",
            Self::Localhost => "it says localhost, from elsewhere",
            Self::OurName => "it says our own name",
            Self::OurAddress => "it says an address of ours",
            Self::LiteralMismatch => "it says an address that is not its own",
            Self::LiteralMatch => "it says its own address",
            Self::NoReverseName => "its address has no name",
            Self::ReverseUnconfirmed => "the names of its address do not lead back to it",
            Self::ReverseUnknown => "the names of its address cannot be looked up now",
            Self::ReverseConfirmed => "a name of its address leads back to it",
            Self::NameConfirmed => "it says a name that leads back to its address",
        }
    }
}

impl fmt::Display for HelloFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of ourselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HelloFacts {
    /// Our host name, and the domains that we receive mail for.
    pub our_names: Vec<Domain>,
    /// The addresses that we listen on, as the world sees them.
    pub our_addresses: Vec<IpAddr>,
}

impl HelloFacts {
    /// What a configuration says of ourselves.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            our_names: Domain::parse(&config.hostname).into_iter().collect(),
            our_addresses: config.bind.iter().copied().filter(|address| !address.is_unspecified()).collect(),
        }
    }

    /// What the name says; `peer` is the client's address, `None` for a process of this machine.
    #[must_use]
    pub fn judge(&self, name: &HelloName, peer: Option<IpAddr>) -> Vec<HelloFact> {
        let text = name.as_str();
        let peer = peer.map(|peer| peer.to_canonical());
        if let Ok(address) = text.parse::<IpAddr>() {
            let mut facts = vec![HelloFact::BareAddress];
            facts.extend(self.address_facts(address.to_canonical(), peer));
            return facts;
        }
        match Host::parse(text.strip_suffix('.').unwrap_or(text)) {
            Ok(Host::Literal(AddressLiteral::Ip(address))) => self.address_facts(address.to_canonical(), peer),
            Ok(Host::Literal(AddressLiteral::General { .. })) | Err(_) => vec![HelloFact::Malformed],
            Ok(Host::Domain(domain)) => self.domain_facts(&domain, peer),
        }
    }

    fn address_facts(&self, address: IpAddr, peer: Option<IpAddr>) -> Vec<HelloFact> {
        let mut facts = Vec::new();
        if let Some(peer) = peer {
            facts.push(if peer == address { HelloFact::LiteralMatch } else { HelloFact::LiteralMismatch });
        }
        let is_ours = self.our_addresses.iter().any(|ours| ours.to_canonical() == address);
        // From ourselves it is no lie.
        if is_ours && peer.is_some_and(|peer| peer != address) {
            facts.push(HelloFact::OurAddress);
        }
        facts
    }

    fn domain_facts(&self, domain: &Domain, peer: Option<IpAddr>) -> Vec<HelloFact> {
        let mut facts = Vec::new();
        let Some(peer) = peer else { return facts };
        let last = domain.ascii().rsplit('.').next().unwrap_or_default();
        let is_local = peer.is_loopback();
        if !domain.ascii().contains('.') {
            facts.push(HelloFact::NotFullyQualified);
        }
        if matches!(last, "localhost" | "localdomain") && !is_local {
            facts.push(HelloFact::Localhost);
        }
        let is_ourself = is_local || self.our_addresses.iter().any(|ours| ours.to_canonical() == peer);
        if self.our_names.contains(domain) && !is_ourself {
            facts.push(HelloFact::OurName);
        }
        facts
    }

    /// As [`Self::judge`], and what the names behind the address add.
    #[must_use]
    pub fn judge_with(&self, name: &HelloName, peer: Option<IpAddr>, reverse: &ReverseDns) -> Vec<HelloFact> {
        let mut facts = self.judge(name, peer);
        facts.push(reverse.fact());
        facts.extend(reverse.confirms(name).then_some(HelloFact::NameConfirmed));
        facts
    }
}

/// What the DNS knows of a client's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReverseDns {
    /// It could not be asked.
    Unknown,
    /// No name.
    None,
    /// Names, none of which leads back.
    Unconfirmed(Vec<Domain>),
    /// The names that lead back to the address.
    Confirmed(Vec<Domain>),
}

impl ReverseDns {
    /// Names looked up for `peer` too many to follow; the rest is not worth a look.
    pub const MOST_NAMES: usize = 10;

    /// The fact that it is.
    #[must_use]
    pub fn fact(&self) -> HelloFact {
        match self {
            Self::Unknown => HelloFact::ReverseUnknown,
            Self::None => HelloFact::NoReverseName,
            Self::Unconfirmed(_) => HelloFact::ReverseUnconfirmed,
            Self::Confirmed(_) => HelloFact::ReverseConfirmed,
        }
    }

    /// Whether the name in HELO is one that leads back.
    #[must_use]
    pub fn confirms(&self, name: &HelloName) -> bool {
        let Self::Confirmed(names) = self else { return false };
        Domain::parse(name.as_str()).is_ok_and(|said| names.contains(&said))
    }

    /// From the names of the address, each with the addresses that it has; `None` where those could not be asked.
    #[must_use]
    pub fn of(peer: IpAddr, names: &[(Domain, Option<Vec<IpAddr>>)]) -> Self {
        let peer = peer.to_canonical();
        if names.is_empty() {
            return Self::None;
        }
        let leads_back = |addresses: &Vec<IpAddr>| addresses.iter().any(|address| address.to_canonical() == peer);
        let names = names.get(..Self::MOST_NAMES).unwrap_or(names);
        let confirmed: Vec<Domain> = names
            .iter()
            .filter(|(_, addresses)| addresses.as_ref().is_some_and(leads_back))
            .map(|(name, _)| name.clone())
            .collect();
        if !confirmed.is_empty() {
            Self::Confirmed(confirmed)
        } else if names.iter().any(|(_, addresses)| addresses.is_none()) {
            Self::Unknown
        } else {
            Self::Unconfirmed(names.iter().map(|(name, _)| name.clone()).collect())
        }
    }

    /// The first name that leads back to the address.
    #[must_use]
    pub fn confirmed(&self) -> Option<&Domain> {
        match self {
            Self::Confirmed(names) => names.first(),
            Self::Unknown | Self::None | Self::Unconfirmed(_) => None,
        }
    }

    /// The same, or where there is none the first of the others.
    #[must_use]
    pub fn first(&self) -> Option<&Domain> {
        match self {
            Self::Confirmed(names) | Self::Unconfirmed(names) => names.first(),
            Self::Unknown | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn words(facts: &[HelloFact]) -> String {
        facts.iter().map(|fact| fact.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names() {
        let known = HelloFacts {
            our_names: vec![domain("mx.example.org"), domain("example.org")],
            our_addresses: vec![ip("203.0.113.1"), ip("2001:db8::25")],
        };
        for (name, peer, expected) in [
            ("mail.client.example", "192.0.2.1", ""),
            ("mail.client.example.", "192.0.2.1", ""),
            ("m\u{fc}nchen.example", "192.0.2.1", ""),
            ("[192.0.2.1]", "192.0.2.1", "helo-literal-match"),
            ("[192.0.2.1]", "::ffff:192.0.2.1", "helo-literal-match"),
            ("[IPv6:::ffff:192.0.2.1]", "192.0.2.1", "helo-literal-match"),
            ("[192.0.2.2]", "192.0.2.1", "helo-literal-mismatch"),
            ("[IPv6:2001:db8::1]", "192.0.2.1", "helo-literal-mismatch"),
            ("192.0.2.1", "192.0.2.1", "helo-bare-address helo-literal-match"),
            ("203.0.113.1", "192.0.2.1", "helo-bare-address helo-literal-mismatch helo-our-address"),
            ("[203.0.113.1]", "192.0.2.1", "helo-literal-mismatch helo-our-address"),
            ("[203.0.113.1]", "203.0.113.1", "helo-literal-match"),
            ("[IPv6:2001:db8::25]", "2001:db8::9", "helo-literal-mismatch helo-our-address"),
            ("mx.example.org", "192.0.2.1", "helo-our-name"),
            ("MX.Example.ORG", "192.0.2.1", "helo-our-name"),
            ("example.org", "192.0.2.1", "helo-our-name"),
            ("sub.example.org", "192.0.2.1", ""),
            ("mx.example.org", "203.0.113.1", ""),
            ("mx.example.org", "127.0.0.1", ""),
            ("pc", "192.0.2.1", "helo-not-fqdn"),
            ("localhost", "192.0.2.1", "helo-not-fqdn helo-localhost"),
            ("localhost", "127.0.0.1", "helo-not-fqdn"),
            ("pc.localdomain", "192.0.2.1", "helo-localhost"),
            ("my_host.example", "192.0.2.1", "helo-malformed"),
            ("-x.example", "192.0.2.1", "helo-malformed"),
            ("[192.0.2.1", "192.0.2.1", "helo-malformed"),
            ("[x:y]", "192.0.2.1", "helo-malformed"),
            ("a b", "192.0.2.1", "helo-malformed"),
        ] {
            let name = HelloName::try_from(name).unwrap();
            assert_eq!(words(&known.judge(&name, Some(ip(peer)))), expected, "{name} from {peer}");
        }
        let name = HelloName::try_from("localhost").unwrap();
        assert_eq!(known.judge(&name, None), [], "a process of this machine");
    }

    #[test]
    fn reverse_names() {
        let peer = ip("::ffff:192.0.2.1");
        let name = HelloName::try_from("Mail.Client.example").unwrap();
        let (mail, other) = (domain("mail.client.example"), domain("other.example"));
        let there = Some(vec![ip("192.0.2.9"), ip("192.0.2.1")]);
        let elsewhere = Some(vec![ip("192.0.2.2")]);
        for (names, expected) in [
            (vec![], "rdns-none"),
            (vec![(mail.clone(), there.clone())], "rdns-confirmed helo-confirmed"),
            (vec![(other.clone(), there.clone())], "rdns-confirmed"),
            (vec![(mail.clone(), elsewhere.clone()), (other.clone(), there.clone())], "rdns-confirmed"),
            (vec![(mail.clone(), elsewhere.clone())], "rdns-unconfirmed"),
            (vec![(mail.clone(), elsewhere), (other.clone(), None)], "rdns-unknown"),
            (vec![(mail.clone(), Some(vec![]))], "rdns-unconfirmed"),
        ] {
            let reverse = ReverseDns::of(peer, &names);
            let facts = HelloFacts::default().judge_with(&name, Some(peer), &reverse);
            assert_eq!(words(&facts), expected, "{names:?}");
        }
        let many: Vec<_> = (0..20).map(|at| (domain(&format!("x{at}.example")), there.clone())).collect();
        assert!(matches!(ReverseDns::of(peer, &many), ReverseDns::Confirmed(names) if names.len() == 10));
    }
}
