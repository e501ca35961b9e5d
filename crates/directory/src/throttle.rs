//! Failed logins, counted by account and by network, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How long a count lasts.
const WINDOW: Duration = Duration::from_secs(60);
/// Most counts kept; beyond it the spent ones go, then all.
const MAX_COUNTS: usize = 100_000;

/// The counts.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: u32,
    counts: HashMap<Key, (Instant, u32)>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Account(String),
    Network(IpAddr),
}

/// The address of a network that one host can have many addresses of: an IPv6 /64 (IPv4-mapped counts as IPv4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

impl Throttle {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, counts: HashMap::new() }
    }

    /// Whether a try is allowed at `now`.
    pub(crate) fn allows(&self, account: &str, peer: Option<IpAddr>, now: Instant) -> bool {
        self.keys(account, peer).all(|key| match self.counts.get(&key) {
            Some((since, count)) => now.duration_since(*since) >= WINDOW || *count < self.limit(&key),
            None => true,
        })
    }

    /// A network may hold many users behind one address, so it is allowed more than an account.
    fn limit(&self, key: &Key) -> u32 {
        match key {
            Key::Account(_) => self.most,
            Key::Network(_) => self.most.saturating_mul(5),
        }
    }

    /// Counts a failure at `now`.
    pub(crate) fn failed(&mut self, account: &str, peer: Option<IpAddr>, now: Instant) {
        if self.counts.len() >= MAX_COUNTS {
            self.counts.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if self.counts.len() >= MAX_COUNTS {
                self.counts.clear();
            }
        }
        for key in self.keys(account, peer).collect::<Vec<_>>() {
            let (since, count) = self.counts.entry(key).or_insert((now, 0));
            if now.duration_since(*since) >= WINDOW {
                (*since, *count) = (now, 0);
            }
            *count += 1;
        }
    }

    fn keys(&self, account: &str, peer: Option<IpAddr>) -> impl Iterator<Item = Key> + use<> {
        let network = peer.filter(|peer| !peer.to_canonical().is_loopback()).map(|peer| Key::Network(network(peer)));
        [Some(Key::Account(account.to_owned())), network].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_account_and_by_network() {
        let start = Instant::now();
        let mut throttle = Throttle::new(2);
        let peer = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        throttle.failed("ann", peer("2001:db8::1"), start);
        assert!(throttle.allows("ann", None, start));
        throttle.failed("ann", peer("2001:db8::2"), start);
        assert!(!throttle.allows("ann", None, start));
        assert!(throttle.allows("bob", peer("2001:db8::3"), start));
        for number in 0..8 {
            throttle.failed(&format!("u{number}"), peer("2001:db8::9"), start);
        }
        assert!(!throttle.allows("bob", peer("2001:db8::3"), start));
        assert!(throttle.allows("bob", peer("2001:db8:0:1::3"), start));
        assert!(throttle.allows("ann", peer("2001:db8::3"), start + WINDOW));
        for _ in 0..100 {
            throttle.failed("x", peer("127.0.0.1"), start);
        }
        assert!(throttle.allows("bob", peer("::ffff:127.0.0.1"), start), "loopback is many users' way in");
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut throttle = Throttle::new(2);
        for number in 0..2 * MAX_COUNTS {
            throttle.failed(&number.to_string(), None, start);
        }
        assert!(throttle.counts.len() <= MAX_COUNTS);
    }
}
