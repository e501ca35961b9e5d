//! Networks of addresses (RFC 4632, RFC 4291 §2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and the bits that count. IPv4-mapped addresses are compared as IPv4 (rule 12).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why text is not a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected an address, or an address with its prefix length, like 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError;

impl Network {
    /// Whether the address is in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address.to_canonical(), self.prefix) == self.address
            }
            _ => false,
        }
    }

    /// The network of `address` whose prefix is `v4` or `v6` bits long: what a limit per network counts by.
    #[must_use]
    pub fn of(address: IpAddr, v4: u8, v6: u8) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { v4.min(32) } else { v6.min(128) };
        Self { address: masked(address, prefix), prefix }
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NetworkError)?,
            None => most,
        };
        if prefix > most {
            return Err(NetworkError);
        }
        Ok(match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) => {
                let prefix = prefix.checked_sub(96).ok_or(NetworkError)?;
                Self { address: masked(IpAddr::V4(mapped), prefix), prefix }
            }
            _ => Self { address: masked(address, prefix), prefix },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_their_addresses() {
        let table = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7/24", "192.0.2.1", true),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("127.0.0.1", "127.0.0.2", false),
        ];
        for (network, address, expected) in table {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for text in ["", "192.0.2.0/33", "x", "192.0.2.0/-1", "::ffff:192.0.2.0/24", "1.2.3.4/"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
        assert_eq!(Network::of("2001:db8::1".parse().unwrap(), 32, 64).to_string(), "2001:db8::/64");
        assert_eq!(Network::of("::ffff:192.0.2.9".parse().unwrap(), 24, 64).to_string(), "192.0.2.0/24");
    }
}
