//! Which addresses strangers may send us to (rule 30).
//!
//! MX records, MTA-STS policy hosts, hooks and report targets are named by others. An address among our own machines is
//! refused, unless the operator lists its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address lies in it. IPv4-mapped IPv6 addresses are compared as IPv4 (rule 12).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let bits = network.to_bits() ^ address.to_bits();
                bits.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let bits = network.to_bits() ^ address.to_bits();
                bits.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Why text is no [`Network`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected an IP address, or one with /prefix")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `::1`, `fd00::/8`; an address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NetworkError)?,
            None => most,
        };
        let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let (address, prefix, most) = match prefix {
            96..=128 if mapped => (address.to_canonical(), prefix - 96, 32),
            _ => (address, prefix, most),
        };
        if prefix > most { Err(NetworkError) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What an address is, if it is not one of the public Internet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Special {
    /// 0.0.0.0/8, `::`.
    #[error("unspecified")]
    Unspecified,
    /// 127.0.0.0/8, `::1`.
    #[error("loopback")]
    Loopback,
    /// RFC 1918, RFC 4193, the shared space of RFC 6598, the old site-local range.
    #[error("private")]
    Private,
    /// RFC 3927, RFC 4291 §2.5.6.
    #[error("link-local")]
    LinkLocal,
    /// Multicast and broadcast.
    #[error("multicast")]
    Multicast,
    /// Reserved or for measurements (RFC 6890).
    #[error("reserved")]
    Reserved,
}

/// What an address is, if it is not one of the public Internet. An IPv6 address that carries an IPv4 address (mapped,
/// 6to4, NAT64) is what that is. Documentation ranges (RFC 5737) count as public: nothing is there.
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    match address.octets() {
        [0, ..] => Some(Special::Unspecified),
        [127, ..] => Some(Special::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Some(Special::Private),
        [169, 254, ..] => Some(Special::LinkLocal),
        [224..=239, ..] | [255, 255, 255, 255] => Some(Special::Multicast),
        [240..=255, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => Some(Special::Reserved),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        _ if address.is_unspecified() => Some(Special::Unspecified),
        _ if address.is_loopback() => Some(Special::Loopback),
        // IPv4-compatible (RFC 4291 §2.5.5.1), NAT64 (RFC 6052 §2.1), 6to4 (RFC 3056 §2).
        (0, 0) if c == 0 && d == 0 && e == 0 && f == 0 => special_v4(v4(g, h)).or(Some(Special::Reserved)),
        (0x64, 0xff9b) if c == 0 && d == 0 && e == 0 && f == 0 => special_v4(v4(g, h)),
        (0x64, 0xff9b) if c == 1 => Some(Special::Private),
        (0x2002, high) => special_v4(v4(high, c)),
        (0xfc00..=0xfdff, _) | (0xfec0..=0xfeff, _) => Some(Special::Private),
        (0xfe80..=0xfebf, _) => Some(Special::LinkLocal),
        (0xff00..=0xffff, _) => Some(Special::Multicast),
        (0x0000..=0x00ff, _) | (0x0100, 0) if a == 0x0100 || (a, b) == (0, 0) => Some(Special::Reserved),
        _ => None,
    }
}

/// Who may be sent to although not public: the operator's list (`[routing] private_targets`). Empty by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// Networks that are allowed.
    pub private_targets: Vec<Network>,
}

impl Reach {
    /// Only the public Internet and those networks.
    #[must_use]
    pub fn new(private_targets: Vec<Network>) -> Self {
        Self { private_targets }
    }

    /// Whether an address that a stranger named may be connected to.
    ///
    /// # Errors
    /// What the address is, if not.
    pub fn check(&self, address: IpAddr) -> Result<(), Special> {
        match special(address) {
            Some(special) if !self.private_targets.iter().any(|network| network.contains(address)) => Err(special),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specials() {
        use Special::*;
        let table = [
            ("8.8.8.8", None),
            ("192.0.2.1", None),
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.0.1", Some(Loopback)),
            ("10.0.0.1", Some(Private)),
            ("11.0.0.1", None),
            ("172.15.0.1", None),
            ("172.16.0.1", Some(Private)),
            ("172.31.0.1", Some(Private)),
            ("172.32.0.1", None),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Private)),
            ("100.128.0.1", None),
            ("169.254.169.254", Some(LinkLocal)),
            ("224.0.0.1", Some(Multicast)),
            ("255.255.255.255", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("198.18.0.1", Some(Reserved)),
            ("2001:db8::1", None),
            ("2a00::1", None),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:8.8.8.8", None),
            ("::127.0.0.1", Some(Loopback)),
            ("64:ff9b::10.0.0.1", Some(Private)),
            ("64:ff9b::8.8.8.8", None),
            ("2002:7f00:1::", Some(Loopback)),
            ("2002:808:808::", None),
            ("fe80::1", Some(LinkLocal)),
            ("fd00::1", Some(Private)),
            ("fec0::1", Some(Private)),
            ("ff02::1", Some(Multicast)),
            ("100::1", Some(Reserved)),
        ];
        for (text, expected) in table {
            assert_eq!(special(text.parse().unwrap()), expected, "{text}");
        }
    }

    // rule 30
    #[test]
    fn refused_unless_listed() {
        let reach = Reach::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
        for (text, allowed) in [
            ("127.0.0.5", true),
            ("::ffff:127.0.0.5", true),
            ("::1", false),
            ("10.0.0.1", false),
            ("fd00:1::9", true),
            ("fd00:2::9", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(reach.check(text.parse().unwrap()).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn networks() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10/8", "a"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()) && !all.contains("::2".parse().unwrap()));
        let one: Network = "192.0.2.1".parse().unwrap();
        assert!(one.contains("192.0.2.1".parse().unwrap()) && !one.contains("192.0.2.2".parse().unwrap()));
        let mapped: Network = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(mapped.to_string(), "10.0.0.0/8");
    }
}
