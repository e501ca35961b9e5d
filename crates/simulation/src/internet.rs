//! Sites and domains: who is there, what the DNS says of them, and when they are away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use routing::dane::Tlsa;
use routing::{Answer, Family, FetchError, Missing, Mx, PolicyBody, Proof, Question, Records};

use crate::dice::Dice;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Times in milliseconds since the beginning, from and until.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<(i64, i64)>);

impl Times {
    /// Some, each no longer than `longest`, all over at `until`.
    fn some(dice: &mut Dice, count: u64, longest: i64, until: i64) -> Self {
        let mut times = Vec::new();
        for _ in 0..count {
            let from = i64::try_from(dice.between(0, until.unsigned_abs())).unwrap_or(0);
            let length = i64::try_from(dice.between(MINUTE.unsigned_abs(), longest.unsigned_abs())).unwrap_or(0);
            times.push((from, (from + length).min(until)));
        }
        Self(times)
    }

    /// Only the first, and no more than `length` of it.
    fn cut_to(&mut self, length: i64) {
        self.0.truncate(1);
        for (from, until) in &mut self.0 {
            *until = (*until).min(*from + length);
        }
    }

    pub(crate) fn hold(&self, at: i64) -> bool {
        self.0.iter().any(|(from, until)| (*from..*until).contains(&at))
    }

    /// Whether it held at any time since `since`.
    pub(crate) fn held_since(&self, since: i64) -> bool {
        self.0.iter().any(|(_, until)| *until > since)
    }
}

/// What becomes of STARTTLS at a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tls {
    None,
    Valid,
    SelfSigned,
    /// The handshake fails.
    Broken,
}

/// What stands at a host's TLSA name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TlsaKind {
    None,
    Good,
    Mismatch,
    Unusable,
    Bogus,
}

/// A mail exchanger.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) site: usize,
    pub(crate) tls: Tls,
    pub(crate) tlsa: TlsaKind,
    pub(crate) down: Times,
}

impl Host {
    /// What the certificate's digest would be.
    fn key(&self) -> Vec<u8> {
        let mut key = vec![0; 32];
        for (at, octet) in self.name.bytes().enumerate() {
            key[at % 32] ^= octet.wrapping_add(u8::try_from(at).unwrap_or(0));
        }
        key
    }

    pub(crate) fn matches(&self, records: &[Tlsa]) -> bool {
        records.iter().any(|record| record.data == self.key())
    }
}

/// A provider, or somebody's own machines: hosts with one temper.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The zones of its hosts and of its domains are signed.
    pub(crate) secure: bool,
    pub(crate) hosts: Vec<(u16, usize)>,
    /// Name servers that do not answer.
    pub(crate) servfail: Times,
    /// Strangers come back after this time.
    pub(crate) greylist: Option<i64>,
    /// Each answer takes up to so many milliseconds.
    pub(crate) slow: u64,
    /// Of a hundred recipients, those who are not there.
    pub(crate) refuses: u64,
    /// Of a hundred connections, those that end badly.
    pub(crate) bad: u64,
    /// 421 after so many messages.
    pub(crate) per_session: Option<u32>,
    pub(crate) dsn: bool,
    pub(crate) chunking: bool,
    pub(crate) deliver_by: bool,
}

/// How a domain gets its mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Mx,
    /// No MX record: the domain is a host.
    Implicit,
    Null,
    Missing,
    /// An alias of the domain with that number.
    Alias(usize),
}

/// What a domain says by MTA-STS.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) enforce: bool,
    max_age: i64,
    listed: bool,
    /// The host of the policy is away.
    down: Times,
}

/// A domain that mail is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) site: usize,
    pub(crate) kind: Kind,
    pub(crate) policy: Option<Policy>,
}

/// All that is out there.
#[derive(Debug)]
pub(crate) struct Internet {
    pub(crate) hosts: Vec<Host>,
    pub(crate) sites: Vec<Site>,
    pub(crate) domains: Vec<Domain>,
    /// From then on all is well, in milliseconds since the beginning.
    pub(crate) well: i64,
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

impl Internet {
    /// So many domains; every trouble is over at `well`.
    pub(crate) fn new(dice: &mut Dice, domains: usize, well: i64) -> Self {
        let mut net = Self { hosts: Vec::new(), sites: Vec::new(), domains: Vec::new(), well };
        let providers = 1 + domains / 15;
        for _ in 0..providers {
            net.site(dice, true);
        }
        // The first is where reports go: it is never away for as long as they live, and knows everybody.
        (net.sites[0].refuses, net.sites[0].servfail) = (0, Times::default());
        for host in &mut net.hosts {
            if host.site == 0 {
                host.down.cut_to(3 * HOUR);
                (host.tls, host.tlsa) = (Tls::Valid, TlsaKind::None);
            }
        }
        for at in 0..domains {
            let name = format!("d{at}.example");
            if at < 2 {
                net.domains.push(Domain { name, site: 0, kind: Kind::Mx, policy: None });
                continue;
            }
            let site = if dice.percent(40) { dice.below(providers) } else { net.site(dice, false) };
            let kind = match dice.between(0, 99) {
                0..=3 => Kind::Null,
                4..=7 => Kind::Missing,
                8..=12 => Kind::Alias(dice.below(2)),
                13..=20 if site >= providers => Kind::Implicit,
                _ => Kind::Mx,
            };
            let policy = (site >= providers && kind == Kind::Mx && dice.percent(30)).then(|| Policy {
                enforce: dice.percent(60),
                max_age: i64::try_from(dice.between(3_600, 100_000)).unwrap_or(0),
                listed: dice.percent(85),
                down: Times::some(dice, 2, 10 * HOUR, well),
            });
            net.domains.push(Domain { name, site, kind, policy });
        }
        net
    }

    fn site(&mut self, dice: &mut Dice, is_provider: bool) -> usize {
        let site = self.sites.len();
        let secure = dice.percent(40);
        let mut hosts = Vec::new();
        let away = match dice.between(0, 9) {
            0..=4 => 0,
            5..=7 => 1,
            _ => 3,
        };
        // An outage is mostly of a whole site.
        let down = Times::some(dice, away, 6 * HOUR, self.well);
        for at in 0..dice.between(1, 3) {
            let id = self.hosts.len();
            let octet = |shift: u32| u8::try_from((id >> shift) & 0xff).unwrap_or(0);
            let mut addresses = vec![IpAddr::V4(Ipv4Addr::new(20, octet(8), octet(0), 25))];
            if dice.percent(30) {
                let last = u16::try_from(id).unwrap_or(0);
                addresses.push(IpAddr::V6(Ipv6Addr::new(0x2a01, 0x4f8, 0, 0, 0, 0, 0, last + 1)));
            }
            let tls = match dice.between(0, 9) {
                0 | 1 => Tls::None,
                2..=6 => Tls::Valid,
                7 | 8 => Tls::SelfSigned,
                _ => Tls::Broken,
            };
            let tlsa = match (secure, tls, dice.between(0, 9)) {
                (true, Tls::Valid | Tls::SelfSigned, 0..=5) => TlsaKind::Good,
                (true, _, 6) => TlsaKind::Mismatch,
                (true, _, 7) => TlsaKind::Unusable,
                (true, _, 8) => TlsaKind::Bogus,
                _ => TlsaKind::None,
            };
            let down = if dice.percent(70) { down.clone() } else { Times::some(dice, 1, 3 * HOUR, self.well) };
            let name = format!("mx{at}.s{site}.example");
            self.hosts.push(Host { name, addresses, site, tls, tlsa, down });
            hosts.push((u16::try_from(dice.between(0, 1) * 10).unwrap_or(0), id));
        }
        let failures = u64::from(dice.percent(20));
        self.sites.push(Site {
            secure,
            hosts,
            servfail: Times::some(dice, failures, 4 * HOUR, self.well),
            greylist: dice.percent(25).then(|| i64::try_from(dice.between(1, 20)).unwrap_or(0) * MINUTE),
            slow: if dice.percent(15) { 30_000 } else { 200 },
            refuses: if dice.percent(30) && !is_provider { 20 } else { 3 },
            bad: *dice.pick(&[0, 0, 2, 10, 35]),
            per_session: dice.percent(20).then(|| u32::try_from(dice.between(1, 5)).unwrap_or(1)),
            dsn: dice.percent(60),
            chunking: dice.percent(60),
            deliver_by: dice.percent(20),
        });
        site
    }

    pub(crate) fn host_at(&self, address: IpAddr) -> Option<&Host> {
        self.hosts.iter().find(|host| host.addresses.contains(&address))
    }

    pub(crate) fn domain(&self, name: &str) -> Option<&Domain> {
        let number: usize = name.strip_prefix('d')?.strip_suffix(".example")?.parse().ok()?;
        self.domains.get(number)
    }

    /// The domain behind aliases.
    fn behind<'a>(&'a self, domain: &'a Domain) -> &'a Domain {
        match domain.kind {
            Kind::Alias(number) => self.domains.get(number).unwrap_or(domain),
            _ => domain,
        }
    }

    /// Whether nothing of this domain was in the way of mail since `since`.
    pub(crate) fn was_well(&self, name: &str, since: i64) -> bool {
        let Some(domain) = self.domain(name).map(|domain| self.behind(domain)) else { return false };
        let site = &self.sites[domain.site];
        let up = site.hosts.iter().map(|(_, host)| &self.hosts[*host]).all(|host| {
            let secured = match host.tlsa {
                TlsaKind::None => host.tls != Tls::Broken,
                TlsaKind::Good => true,
                TlsaKind::Mismatch | TlsaKind::Unusable | TlsaKind::Bogus => false,
            };
            secured && !host.down.held_since(since)
        });
        up && domain.policy.is_none() && site.bad < 30 && !site.servfail.held_since(since)
    }

    /// What the world answers at a time.
    pub(crate) fn answer(&self, question: &Question, at: i64, dice: &mut Dice) -> Answer {
        let ttl = Duration::from_secs(dice.between(60, 3_600));
        let nothing = Missing::NoData { proof: Proof::Insecure, ttl };
        let proof = |site: usize| if self.sites[site].secure { Proof::Secure } else { Proof::Insecure };
        let trouble = routing::Trouble::Rcode(2);
        match question {
            Question::Mx(name) => Answer::Mx(match self.domain(name) {
                None => Err(nothing),
                Some(domain) if self.sites[domain.site].servfail.hold(at) => Err(Missing::Temporary(trouble)),
                Some(domain) => match domain.kind {
                    Kind::Missing => Err(Missing::NxDomain { proof: Proof::Insecure, ttl }),
                    Kind::Implicit => Err(Missing::NoData { proof: proof(domain.site), ttl }),
                    Kind::Null => Ok(Records::new(vec![Mx::new(0, "")], proof(domain.site), ttl)),
                    Kind::Mx => Ok(Records::new(self.exchanges(domain.site), proof(domain.site), ttl)),
                    Kind::Alias(number) => {
                        let target = &self.domains[number];
                        let records = Records::new(self.exchanges(target.site), Proof::Insecure, ttl);
                        Ok(records.via(&target.name, Proof::Insecure))
                    }
                },
            }),
            Question::Addresses { name, family } => Answer::Addresses(self.addresses(name, *family, at, ttl)),
            Question::Tlsa { name, .. } => Answer::Tlsa(match self.hosts.iter().find(|host| host.name == *name) {
                Some(host) if self.sites[host.site].servfail.hold(at) => Err(Missing::Temporary(trouble)),
                Some(host) => {
                    let record = |data| Ok(Records::new(vec![Tlsa::new(3, 1, 1, data)], Proof::Secure, ttl));
                    match host.tlsa {
                        TlsaKind::None => Err(Missing::NoData { proof: proof(host.site), ttl }),
                        TlsaKind::Good => record(host.key()),
                        TlsaKind::Mismatch => record(vec![1; 32]),
                        TlsaKind::Unusable => record(vec![1; 3]),
                        TlsaKind::Bogus => Err(Missing::Bogus),
                    }
                }
                None => Err(nothing),
            }),
            Question::Txt(name) => Answer::Txt(self.text(name, at, ttl).ok_or(nothing)),
            Question::Policy { domain, .. } => Answer::Policy(self.policy(domain, at)),
        }
    }

    fn exchanges(&self, site: usize) -> Vec<Mx> {
        let hosts = &self.sites[site].hosts;
        hosts.iter().map(|(preference, host)| Mx::new(*preference, &self.hosts[*host].name)).collect()
    }

    fn addresses(&self, name: &str, family: Family, at: i64, ttl: Duration) -> routing::Reply<IpAddr> {
        let site_of = |domain: &Domain| domain.site;
        let host = self.hosts.iter().find(|host| host.name == name).or_else(|| {
            let domain = self.domain(name).filter(|domain| domain.kind == Kind::Implicit)?;
            self.hosts.get(self.sites[site_of(domain)].hosts.first()?.1)
        });
        let Some(host) = host else {
            return Err(Missing::NxDomain { proof: Proof::Insecure, ttl });
        };
        let site = &self.sites[host.site];
        if site.servfail.hold(at) {
            return Err(Missing::Temporary(routing::Trouble::Timeout));
        }
        let proof = if site.secure { Proof::Secure } else { Proof::Insecure };
        let found: Vec<IpAddr> =
            host.addresses.iter().copied().filter(|address| address.is_ipv4() == (family == Family::V4)).collect();
        if found.is_empty() { Err(Missing::NoData { proof, ttl }) } else { Ok(Records::new(found, proof, ttl)) }
    }

    fn text(&self, name: &str, at: i64, ttl: Duration) -> Option<Records<Vec<u8>>> {
        let text = if let Some(domain) = name.strip_prefix("_mta-sts.") {
            self.domain(domain)?.policy.as_ref()?;
            // The policy gets another id now and then.
            format!("v=STSv1; id=i{};", at / (7 * HOUR))
        } else {
            let domain = name.strip_prefix("_smtp._tls.")?;
            let asked = self.domain(domain).filter(|domain| domain.site.is_multiple_of(3))?;
            format!("v=TLSRPTv1; rua=https://reports.{}/", asked.name)
        };
        Some(Records::new(vec![text.into_bytes()], Proof::Insecure, ttl))
    }

    fn policy(&self, domain: &str, at: i64) -> Result<PolicyBody, FetchError> {
        let domain = self.domain(domain).ok_or(FetchError::NoAddress)?;
        let policy = domain.policy.as_ref().ok_or(FetchError::Status(404))?;
        if policy.down.hold(at) {
            return Err(if at % 2 == 0 { FetchError::Timeout } else { FetchError::Status(503) });
        }
        let mode = if policy.enforce { "enforce" } else { "testing" };
        let pattern = if policy.listed { format!("*.s{}.example", domain.site) } else { "elsewhere.example".into() };
        let text = format!("version: STSv1\nmode: {mode}\nmx: {pattern}\nmax_age: {}\n", policy.max_age);
        Ok(PolicyBody { octets: text.into_bytes(), media_type: Some("text/plain".into()) })
    }

    /// The number of domains.
    pub(crate) fn count(&self) -> u64 {
        number(self.domains.len())
    }
}
