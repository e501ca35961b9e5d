//! The PROXY protocol, versions 1 and 2, by which a trusted proxy tells who its client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a header tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proxied {
    /// The client's address and port.
    Client(IpAddr, u16),
    /// The proxy speaks for itself (a health check), or cannot tell.
    Unknown,
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed PROXY header")]
pub struct ProxyError;

/// The longest header of version 1, its CRLF included.
const V1_MAX: usize = 107;
/// The longest header of version 2 that is accepted.
const V2_MAX: usize = 16 + 1024;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The most octets a header may have.
pub const MAX_HEADER: usize = V2_MAX;

/// Reads a header from the front of `input`: what it tells, and its octets; `None` when it needs more.
///
/// # Errors
/// The octets are no header; the connection is not to be trusted.
pub fn parse(input: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    if input.starts_with(b"PROXY ") {
        return version_1(input);
    }
    if input.starts_with(V2_SIGNATURE) {
        return version_2(input);
    }
    let short = input.len().min(V2_SIGNATURE.len());
    if V2_SIGNATURE.starts_with(&input[..short]) && short < V2_SIGNATURE.len() || b"PROXY ".starts_with(input) {
        return Ok(None);
    }
    Err(ProxyError)
}

fn version_1(input: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    let Some(end) = input.iter().take(V1_MAX).position(|octet| *octet == b'\n') else {
        return if input.len() >= V1_MAX { Err(ProxyError) } else { Ok(None) };
    };
    let line = input.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ProxyError)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyError);
    let proxied = match word()? {
        "UNKNOWN" => Proxied::Unknown,
        family @ ("TCP4" | "TCP6") => {
            let source: IpAddr = word()?.parse().map_err(|_| ProxyError)?;
            let target: IpAddr = word()?.parse().map_err(|_| ProxyError)?;
            let port: u16 = word()?.parse().map_err(|_| ProxyError)?;
            let _: u16 = word()?.parse().map_err(|_| ProxyError)?;
            let v4 = family == "TCP4";
            if source.is_ipv4() != v4 || target.is_ipv4() != v4 || word().is_ok() {
                return Err(ProxyError);
            }
            Proxied::Client(source.to_canonical(), port)
        }
        _ => return Err(ProxyError),
    };
    Ok(Some((proxied, end + 1)))
}

fn version_2(input: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    let Some(&[command, family, high, low]) = input.get(12..16) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if 16 + length > V2_MAX {
        return Err(ProxyError);
    }
    let Some(body) = input.get(16..16 + length) else { return Ok(None) };
    let proxied = match (command, family) {
        (0x20, _) => Proxied::Unknown,
        (0x21, 0x11) => {
            let octets: [u8; 4] = body.get(..4).and_then(|octets| octets.try_into().ok()).ok_or(ProxyError)?;
            Proxied::Client(IpAddr::V4(Ipv4Addr::from(octets)), port(body, 8)?)
        }
        (0x21, 0x21) => {
            let octets: [u8; 16] = body.get(..16).and_then(|octets| octets.try_into().ok()).ok_or(ProxyError)?;
            Proxied::Client(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(), port(body, 32)?)
        }
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Proxied::Unknown,
        _ => return Err(ProxyError),
    };
    Ok(Some((proxied, 16 + length)))
}

fn port(body: &[u8], at: usize) -> Result<u16, ProxyError> {
    body.get(at..at + 2).and_then(|octets| octets.try_into().ok()).map(u16::from_be_bytes).ok_or(ProxyError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_versions() {
        let v4 = |address: &str, port| Proxied::Client(address.parse().unwrap(), port);
        let mut two = V2_SIGNATURE.to_vec();
        two.extend_from_slice(&[0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 25]);
        let mut six = V2_SIGNATURE.to_vec();
        six.extend_from_slice(&[0x21, 0x21, 0, 36]);
        six.extend_from_slice(&"::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        six.extend_from_slice(&[0; 16]);
        six.extend_from_slice(&[0x30, 0x39, 0, 25]);
        let mut local = V2_SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        let table: Vec<(&[u8], Proxied)> = vec![
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n", v4("192.0.2.1", 12345)),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 25\r\n", v4("2001:db8::1", 12345)),
            (b"PROXY UNKNOWN\r\n", Proxied::Unknown),
            (b"PROXY UNKNOWN a b c d\r\n", Proxied::Unknown),
            (&two, v4("192.0.2.1", 12345)),
            (&six, v4("192.0.2.1", 12345)),
            (&local, Proxied::Unknown),
        ];
        for (header, expected) in table {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} at {cut}");
            }
            assert_eq!(parse(&[header, b"EHLO x\r\n"].concat()), Ok(Some((expected, header.len()))));
        }
    }

    #[test]
    fn malformed_headers() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 100]].concat();
        let mut huge = V2_SIGNATURE.to_vec();
        huge.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        let mut short = V2_SIGNATURE.to_vec();
        short.extend_from_slice(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]);
        let mut version = V2_SIGNATURE.to_vec();
        version.extend_from_slice(&[0x11, 0x11, 0, 0]);
        let table: Vec<&[u8]> = vec![
            b"EHLO x\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 12345\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 12345 25 x\r\n",
            b"PROXY TCP4 ::1 ::1 12345 25\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 25\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 25\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\n",
            &long,
            &huge,
            &short,
            &version,
        ];
        for header in table {
            assert_eq!(parse(header), Err(ProxyError), "{header:?}");
        }
    }
}
