//! How much a client may do: token buckets by address, network and account, in bounded memory (rule 37).
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm of ATM). Nothing
//! here outlives the process: after a restart every bucket is full, the daily limit of an account's recipients, too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use net::Network;
use smtp::Reply;
use store::AccountId;

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Connections.
    Connections,
    /// Commands of any kind.
    Commands,
    /// RCPT commands.
    Recipients,
    /// Messages accepted.
    Messages,
    /// Octets of content.
    Octets,
}

/// A rate: so many at once, and so many again in each period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many in a period; at least 1.
    pub amount: u64,
    /// The period; at least 1 ms.
    pub period: Duration,
    /// How many at once; at least 1.
    pub burst: u64,
}

impl Rate {
    /// So many in a period, all at once if need be.
    #[must_use]
    pub fn new(amount: u64, period: Duration) -> Self {
        Self { amount, period, burst: amount }
    }

    /// How long it takes to earn `amount`.
    fn cost(self, amount: u64) -> Duration {
        let nanos = self.period.max(Duration::from_millis(1)).as_nanos() * u128::from(amount);
        Duration::from_nanos(u64::try_from(nanos / u128::from(self.amount.max(1))).unwrap_or(u64::MAX / 2))
    }
}

/// The rates of one scope; `None`: not limited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// Connections.
    pub connections: Option<Rate>,
    /// Commands.
    pub commands: Option<Rate>,
    /// RCPT commands.
    pub recipients: Option<Rate>,
    /// Messages.
    pub messages: Option<Rate>,
    /// Octets of content.
    pub octets: Option<Rate>,
}

impl Rates {
    fn of(&self, kind: Kind) -> Option<Rate> {
        match kind {
            Kind::Connections => self.connections,
            Kind::Commands => self.commands,
            Kind::Recipients => self.recipients,
            Kind::Messages => self.messages,
            Kind::Octets => self.octets,
        }
    }
}

/// The settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitSettings {
    /// By client address; IPv6 by its /64, of which a host has all.
    pub by_address: Rates,
    /// By client network.
    pub by_network: Rates,
    /// By account.
    pub by_account: Rates,
    /// Bits of a network of IPv4 and of IPv6; default 24 and 48.
    pub network_bits: (u8, u8),
    /// Recipients of an account in 24 hours from the first; default 1,000 (rule 37), `None` for no such limit.
    pub recipients_a_day: Option<u64>,
    /// Clients in these are not limited by address and network. Default none.
    pub exempt: Vec<Network>,
    /// Who would have to wait no longer is told to wait, not refused; default zero: nobody is.
    pub longest_delay: Duration,
    /// Buckets that are kept, and accounts whose day is; those with the least to remember go first. Default 65,536,
    /// at least 16; some 80 octets each.
    pub buckets: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            by_address: Rates::default(),
            by_network: Rates::default(),
            by_account: Rates::default(),
            network_bits: (24, 48),
            recipients_a_day: Some(1000),
            exempt: Vec::new(),
            longest_delay: Duration::ZERO,
            buckets: 65_536,
        }
    }
}

/// Whose doing it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Who {
    /// The client's address; `None` for a process of this machine.
    pub address: Option<IpAddr>,
    /// The account that has logged in.
    pub account: Option<AccountId>,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It may go on.
    Allow,
    /// It may go on after this time, as if it had waited for it; it has been counted.
    Delay(Duration),
    /// It may not, and has not been counted.
    Refuse(Reply),
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Scope {
    Address(Network),
    Network(Network),
    Account(AccountId),
}

/// The buckets.
#[derive(Debug)]
pub struct RateLimits {
    settings: LimitSettings,
    start: Instant,
    /// When each is full again, since the start.
    buckets: HashMap<(Scope, Kind), Duration>,
    /// When an account's day began, since the start, and its recipients since then.
    days: HashMap<AccountId, (Duration, u64)>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl RateLimits {
    /// All of them full.
    #[must_use]
    pub fn new(settings: LimitSettings, now: Instant) -> Self {
        Self { settings, start: now, buckets: HashMap::new(), days: HashMap::new() }
    }

    /// Other settings; what was counted stays counted.
    pub fn set(&mut self, settings: LimitSettings) {
        self.settings = settings;
    }

    /// Buckets kept at the moment, for a gauge.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len() + self.days.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts, if it may be: in all buckets that it belongs to, or in none.
    pub fn charge(&mut self, now: Instant, who: &Who, kind: Kind, amount: u64) -> Decision {
        let at = now.saturating_duration_since(self.start);
        if let Err(reply) = self.day_has_room(at, who, kind, amount) {
            return Decision::Refuse(reply);
        }
        let mut wait = Duration::ZERO;
        let scopes = self.scopes(who);
        for (scope, rate) in scopes.iter().filter_map(|scope| Some((scope, self.rate(*scope, kind)?))) {
            let full_at = self.buckets.get(&(*scope, kind)).copied().unwrap_or_default().max(at);
            // What is more than a full bucket holds passes when it is full, and is owed after.
            let debt = (full_at - at).saturating_add(rate.cost(amount.min(rate.burst.max(1))));
            let short = debt.saturating_sub(rate.cost(rate.burst.max(1)));
            if short > self.settings.longest_delay {
                return Decision::Refuse(refusal(*scope, kind, short));
            }
            wait = wait.max(short);
        }
        for scope in scopes {
            if let Some(rate) = self.rate(scope, kind) {
                self.make_room(at);
                let full_at = self.buckets.entry((scope, kind)).or_default();
                *full_at = (*full_at).max(at).saturating_add(rate.cost(amount));
            }
        }
        self.count_day(at, who, kind, amount);
        if wait.is_zero() { Decision::Allow } else { Decision::Delay(wait) }
    }

    fn scopes(&self, who: &Who) -> Vec<Scope> {
        let mut scopes = Vec::with_capacity(3);
        let limited = |address: &IpAddr| !self.settings.exempt.iter().any(|network| network.contains(*address));
        if let Some(address) = who.address.filter(limited) {
            let (v4, v6) = self.settings.network_bits;
            scopes.push(Scope::Address(Network::of(address, 32, 64)));
            scopes.push(Scope::Network(Network::of(address, v4, v6)));
        }
        scopes.extend(who.account.map(Scope::Account));
        scopes
    }

    fn rate(&self, scope: Scope, kind: Kind) -> Option<Rate> {
        match scope {
            Scope::Address(_) => &self.settings.by_address,
            Scope::Network(_) => &self.settings.by_network,
            Scope::Account(_) => &self.settings.by_account,
        }
        .of(kind)
    }

    // --- the day of an account

    fn day(&self, at: Duration, account: AccountId) -> (Duration, u64) {
        let day = self.days.get(&account).copied();
        day.filter(|(begun, _)| at.saturating_sub(*begun) < DAY).unwrap_or((at, 0))
    }

    fn day_has_room(&self, at: Duration, who: &Who, kind: Kind, amount: u64) -> Result<(), Reply> {
        let (Some(most), Some(account), Kind::Recipients) = (self.settings.recipients_a_day, who.account, kind) else {
            return Ok(());
        };
        let (begun, count) = self.day(at, account);
        if count.saturating_add(amount) <= most {
            return Ok(());
        }
        let left = DAY.saturating_sub(at.saturating_sub(begun));
        Err(Reply::new(
            450,
            format!("4.7.28 this account's {most} recipients in 24 hours are used up, try again in {}", words(left)),
        ))
    }

    fn count_day(&mut self, at: Duration, who: &Who, kind: Kind, amount: u64) {
        if let (Some(_), Some(account), Kind::Recipients) = (self.settings.recipients_a_day, who.account, kind) {
            let (begun, count) = self.day(at, account);
            if self.days.len() >= self.most() && !self.days.contains_key(&account) {
                self.days.retain(|_, (begun, _)| at.saturating_sub(*begun) < DAY);
                forget(&mut self.days, self.settings.buckets.max(16), |(_, count)| *count);
            }
            self.days.insert(account, (begun, count.saturating_add(amount)));
        }
    }

    // --- memory

    fn most(&self) -> usize {
        self.settings.buckets.max(16)
    }

    fn make_room(&mut self, at: Duration) {
        if self.buckets.len() >= self.most() {
            // A full bucket is as good as none.
            self.buckets.retain(|_, full_at| *full_at > at);
            forget(&mut self.buckets, self.settings.buckets.max(16), |full_at| *full_at);
        }
    }
}

/// Leaves three quarters of what may be kept: what goes is what matters least. So each entry costs little of this.
fn forget<K: Copy + Eq + std::hash::Hash, V, M: Ord>(map: &mut HashMap<K, V>, most: usize, matters: impl Fn(&V) -> M) {
    let keep = most - most / 4;
    let Some(go) = map.len().checked_sub(keep).filter(|go| *go > 0) else { return };
    let mut keys: Vec<(M, K)> = map.iter().map(|(key, value)| (matters(value), *key)).collect();
    keys.select_nth_unstable_by(go - 1, |(left, _), (right, _)| left.cmp(right));
    for (_, key) in keys.iter().take(go) {
        map.remove(key);
    }
}

/// What the client is told (rule 17); 421 where nothing is left to be said in the connection.
fn refusal(scope: Scope, kind: Kind, wait: Duration) -> Reply {
    let whose = match scope {
        Scope::Address(_) => "from your address",
        Scope::Network(_) => "from your network",
        Scope::Account(_) => "from this account",
    };
    let (code, enhanced, what) = match kind {
        Kind::Connections => (421, "4.7.0", "connections"),
        Kind::Commands => (421, "4.7.0", "commands"),
        // The registry's "mail flood detected".
        Kind::Recipients => (450, "4.7.28", "recipients"),
        Kind::Messages => (450, "4.7.28", "messages"),
        Kind::Octets => (450, "4.7.28", "octets"),
    };
    Reply::new(code, format!("{enhanced} too many {what} {whose}, try again in {}", words(wait)))
}

/// Rounded up, so that who waits so long has waited long enough.
fn words(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> Who {
        Who { address: text.parse().ok(), account: None }
    }

    fn account(id: i64) -> Who {
        Who { address: None, account: Some(AccountId(id)) }
    }

    fn refused(decision: &Decision) -> Option<String> {
        match decision {
            Decision::Refuse(reply) => Some(reply.to_string()),
            Decision::Allow | Decision::Delay(_) => None,
        }
    }

    fn settings(kind: Kind, rate: Rate) -> Rates {
        let mut rates = Rates::default();
        *match kind {
            Kind::Connections => &mut rates.connections,
            Kind::Commands => &mut rates.commands,
            Kind::Recipients => &mut rates.recipients,
            Kind::Messages => &mut rates.messages,
            Kind::Octets => &mut rates.octets,
        } = Some(rate);
        rates
    }

    #[test]
    fn a_bucket_at_its_edges() {
        // Three at once, one in 10 s.
        let rate = Rate { amount: 6, period: SECOND * 60, burst: 3 };
        let by_address = settings(Kind::Messages, rate);
        let start = Instant::now();
        let mut limits = RateLimits::new(LimitSettings { by_address, ..LimitSettings::default() }, start);
        let who = ip("192.0.2.1");
        let millis = Duration::from_millis;
        for (at, allowed) in [
            (millis(0), true),
            (millis(0), true),
            (millis(0), true),
            (millis(0), false),
            (millis(9_999), false),
            (millis(10_000), true),
            (millis(10_000), false),
            // A refusal costs nothing.
            (millis(20_000), true),
            (millis(20_000), false),
            // Full again, and no fuller than full.
            (millis(1_000_000), true),
            (millis(1_000_000), true),
            (millis(1_000_000), true),
            (millis(1_000_000), false),
        ] {
            let decision = limits.charge(start + at, &who, Kind::Messages, 1);
            assert_eq!(decision == Decision::Allow, allowed, "{at:?}: {decision:?}");
        }
        // Kinds and addresses have buckets of their own.
        assert_eq!(limits.charge(start + millis(1_000_000), &ip("192.0.2.2"), Kind::Messages, 3), Decision::Allow);
        assert_eq!(limits.charge(start + millis(1_000_000), &who, Kind::Recipients, 99), Decision::Allow);
        // A clock that stands still, or behind, is no way around.
        assert!(refused(&limits.charge(start, &who, Kind::Messages, 1)).is_some());
    }

    #[test]
    fn whose_bucket_and_what_is_said() {
        let rate = Rate::new(1, SECOND * 60);
        for (kind, code) in [
            (Kind::Connections, "421 4.7.0 too many connections"),
            (Kind::Commands, "421 4.7.0 too many commands"),
            (Kind::Recipients, "450 4.7.28 too many recipients"),
            (Kind::Messages, "450 4.7.28 too many messages"),
            (Kind::Octets, "450 4.7.28 too many octets"),
        ] {
            let start = Instant::now();
            let both = LimitSettings {
                by_address: settings(kind, rate),
                by_network: settings(kind, Rate::new(2, SECOND * 60)),
                by_account: settings(kind, rate),
                recipients_a_day: None,
                exempt: vec!["198.51.100.0/24".parse().unwrap()],
                ..LimitSettings::default()
            };
            let mut limits = RateLimits::new(both, start);
            for (who, expected) in [
                (ip("192.0.2.1"), None),
                (ip("::ffff:192.0.2.1"), Some("from your address, try again in 60 s")),
                (ip("192.0.2.2"), None),
                (ip("192.0.2.3"), Some("from your network, try again in 30 s")),
                (ip("192.0.3.3"), None),
                (ip("2001:db8:1:1::1"), None),
                (ip("2001:db8:1:1::2"), Some("from your address, try again in 60 s")),
                (ip("2001:db8:1:2::1"), None),
                (ip("2001:db8:1:3::1"), Some("from your network, try again in 30 s")),
                (ip("2001:db8:2::1"), None),
                (ip("198.51.100.9"), None),
                (ip("198.51.100.9"), None),
                (account(1), None),
                (account(1), Some("from this account, try again in 60 s")),
                (account(2), None),
                (Who::default(), None),
                (Who::default(), None),
            ] {
                let said = refused(&limits.charge(start, &who, kind, 1));
                assert_eq!(said, expected.map(|expected| format!("{code} {expected}")), "{kind:?} {who:?}");
            }
        }
    }

    #[test]
    fn what_is_short_by_a_little_waits() {
        let start = Instant::now();
        let by_account = settings(Kind::Messages, Rate { amount: 1, period: SECOND * 2, burst: 1 });
        let longest_delay = SECOND * 5;
        let mut limits =
            RateLimits::new(LimitSettings { by_account, longest_delay, ..LimitSettings::default() }, start);
        for expected in [
            Decision::Allow,
            Decision::Delay(SECOND * 2),
            Decision::Delay(SECOND * 4),
            Decision::Refuse(Reply::new(450, "4.7.28 too many messages from this account, try again in 6 s")),
        ] {
            assert_eq!(limits.charge(start, &account(1), Kind::Messages, 1), expected);
        }
        assert_eq!(limits.charge(start + SECOND, &account(1), Kind::Messages, 1), Decision::Delay(SECOND * 5));
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full() {
        let start = Instant::now();
        let by_account = settings(Kind::Octets, Rate::new(1000, SECOND));
        let mut limits = RateLimits::new(LimitSettings { by_account, ..LimitSettings::default() }, start);
        assert_eq!(limits.charge(start, &account(1), Kind::Octets, 10_000), Decision::Allow);
        assert!(refused(&limits.charge(start + SECOND * 9, &account(1), Kind::Octets, 1)).is_some());
        assert_eq!(limits.charge(start + SECOND * 10, &account(1), Kind::Octets, 1000), Decision::Allow);
        assert_eq!(limits.charge(start + SECOND * 90, &account(1), Kind::Octets, u64::MAX), Decision::Allow);
        assert!(refused(&limits.charge(start + DAY * 9, &account(1), Kind::Octets, 1)).is_some());
    }

    #[test]
    fn rule_37_a_day_has_a_thousand_recipients_by_default() {
        let start = Instant::now();
        let mut limits = RateLimits::new(LimitSettings::default(), start);
        let ann = Who { address: "192.0.2.1".parse().ok(), account: Some(AccountId(1)) };
        let later = start + SECOND * 3600;
        assert_eq!(limits.charge(start, &ann, Kind::Recipients, 1), Decision::Allow);
        assert_eq!(limits.charge(later, &ann, Kind::Recipients, 998), Decision::Allow);
        assert!(refused(&limits.charge(later, &ann, Kind::Recipients, 2)).is_some());
        assert_eq!(limits.charge(later, &ann, Kind::Recipients, 1), Decision::Allow);
        let said = "450 4.7.28 this account's 1000 recipients in 24 hours are used up, try again in 23 h";
        assert_eq!(refused(&limits.charge(later, &ann, Kind::Recipients, 1)).as_deref(), Some(said));
        // From another address, too; but not another account, and not mail from outside.
        let moved = Who { address: "2001:db8::1".parse().ok(), ..ann };
        assert!(refused(&limits.charge(later, &moved, Kind::Recipients, 1)).is_some());
        assert_eq!(limits.charge(later, &account(2), Kind::Recipients, 1), Decision::Allow);
        assert_eq!(limits.charge(later, &ip("192.0.2.1"), Kind::Recipients, 5000), Decision::Allow);
        let morrow = start + DAY - Duration::from_millis(1);
        let said = "450 4.7.28 this account's 1000 recipients in 24 hours are used up, try again in 1 s";
        assert_eq!(refused(&limits.charge(morrow, &ann, Kind::Recipients, 1)).as_deref(), Some(said));
        assert_eq!(limits.charge(start + DAY, &ann, Kind::Recipients, 1000), Decision::Allow);
        // Off by setting.
        limits.set(LimitSettings { recipients_a_day: None, ..LimitSettings::default() });
        assert_eq!(limits.charge(start + DAY, &ann, Kind::Recipients, 5000), Decision::Allow);
    }

    #[test]
    fn memory_is_bounded_and_debts_are_remembered() {
        let start = Instant::now();
        let by_address = settings(Kind::Connections, Rate::new(10, SECOND * 100));
        let by_account = settings(Kind::Recipients, Rate::new(10, SECOND * 100));
        let buckets = 64;
        let more = LimitSettings { by_address, by_account, buckets, ..LimitSettings::default() };
        let mut limits = RateLimits::new(more, start);
        let flooder = ip("203.0.113.9");
        assert_eq!(limits.charge(start, &flooder, Kind::Connections, 10), Decision::Allow);
        let debtor = account(-1);
        assert_eq!(limits.charge(start, &debtor, Kind::Recipients, 9), Decision::Allow);
        for at in 0..10_000_u32 {
            let who = Who { address: Some(IpAddr::from(at.to_be_bytes())), account: Some(AccountId(i64::from(at))) };
            assert_eq!(limits.charge(start, &who, Kind::Connections, 1), Decision::Allow);
            assert_eq!(limits.charge(start, &who, Kind::Recipients, 1), Decision::Allow);
            assert!(limits.len() <= 2 * buckets, "{}", limits.len());
        }
        assert!(refused(&limits.charge(start, &flooder, Kind::Connections, 1)).is_some(), "many others do not help");
        assert!(refused(&limits.charge(start, &debtor, Kind::Recipients, 2)).is_some());
        // What is full again is forgotten first.
        for at in 0..64_u32 {
            limits.charge(start + DAY, &ip(&IpAddr::from(at.to_be_bytes()).to_string()), Kind::Connections, 1);
        }
        assert!(limits.len() <= 2 * buckets);
    }
}
