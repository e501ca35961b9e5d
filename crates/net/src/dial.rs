//! Connects to the first of several addresses that answers (RFC 8305).
//!
//! Both families are tried in turn, a new attempt a quarter of a second after the last one or as soon as it failed; the
//! first connection wins and the others are dropped. Whatever fails is kept, so that a log can say which address failed
//! how.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Socket;

/// How connections are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dialling {
    /// The address to connect from over IPv4; `None`: the system chooses.
    pub source_v4: Option<Ipv4Addr>,
    /// The address to connect from over IPv6; `None`: the system chooses.
    pub source_v6: Option<Ipv6Addr>,
    /// How long one attempt may take. Default 30 s.
    pub attempt: Duration,
    /// How long all attempts together may take. Default 120 s; RFC 5321 §4.5.3.2.1 speaks of five minutes for the
    /// greeting, which comes after this.
    pub total: Duration,
    /// How long to wait before another address is tried beside the first. Default 250 ms (RFC 8305 §5).
    pub stagger: Duration,
}

impl Default for Dialling {
    fn default() -> Self {
        Self {
            source_v4: None,
            source_v6: None,
            attempt: Duration::from_secs(30),
            total: Duration::from_secs(120),
            stagger: Duration::from_millis(250),
        }
    }
}

impl Dialling {
    fn source(&self, target: SocketAddr) -> Option<IpAddr> {
        if target.is_ipv4() { self.source_v4.map(IpAddr::V4) } else { self.source_v6.map(IpAddr::V6) }
    }
}

/// Why one address gave no connection.
#[derive(Debug)]
pub struct DialFailure {
    /// The address.
    pub address: SocketAddr,
    /// The address connected from, if one was set.
    pub source: Option<IpAddr>,
    /// What happened; [`io::ErrorKind::TimedOut`]: nothing.
    pub error: io::Error,
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "{} from {source}: {}", self.address, self.error),
            None => write!(f, "{}: {}", self.address, self.error),
        }
    }
}

/// No address gave a connection.
#[derive(Debug)]
pub struct DialError {
    /// Each address that was tried, in the order in which they failed.
    pub failures: Vec<DialFailure>,
    /// How many addresses were not tried, since time was up.
    pub untried: usize,
}

impl std::error::Error for DialError {}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return f.write_str("no address to connect to");
        }
        for (number, failure) in self.failures.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            failure.fmt(f)?;
        }
        if self.untried > 0 {
            write!(f, "; {} not tried in time", self.untried)?;
        }
        Ok(())
    }
}

/// Connects to one of the addresses: they are tried in the given order, but the families take turns, beginning with that
/// of the first (RFC 8305 §4). The connection, and the address it goes to.
///
/// # Errors
/// No address answered in time; which, and why.
pub async fn dial(addresses: &[SocketAddr], dialling: &Dialling) -> Result<(Socket, SocketAddr), DialError> {
    let mut waiting = in_turns(addresses);
    let mut running: Vec<SocketAddr> = Vec::new();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    let end = Instant::now() + dialling.total;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(done) = attempts.join_next(), if !attempts.is_empty() => match done {
                Ok((address, Ok(socket))) => return Ok((socket, address)),
                Ok((address, Err(error))) => {
                    running.retain(|one| *one != address);
                    failures.push(DialFailure { address, source: dialling.source(address), error });
                    next = Instant::now();
                }
                // An attempt that was cut off by the runtime is an attempt that failed; its address is told below.
                Err(_) => next = Instant::now(),
            },
            () = sleep_until(end) => break,
            () = sleep_until(next), if !waiting.is_empty() => {
                if let Some(address) = waiting.pop_front() {
                    running.push(address);
                    let (source, limit) = (dialling.source(address), dialling.attempt);
                    attempts.spawn(async move { (address, attempt(address, source, limit).await) });
                    next = Instant::now() + dialling.stagger;
                }
            }
            else => break,
        }
        if waiting.is_empty() && attempts.is_empty() {
            break;
        }
    }
    failures.extend(running.into_iter().map(|address| DialFailure {
        address,
        source: dialling.source(address),
        error: io::ErrorKind::TimedOut.into(),
    }));
    Err(DialError { failures, untried: waiting.len() })
}

async fn attempt(address: SocketAddr, source: Option<IpAddr>, limit: Duration) -> io::Result<Socket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    match timeout(limit, socket.connect(address)).await {
        Ok(connected) => Ok(Socket::from(connected?)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The addresses in their order, each once, the families in turns.
fn in_turns(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = VecDeque::new();
    loop {
        let pair = (first.next(), second.next());
        turns.extend([pair.0, pair.1].into_iter().flatten());
        if pair == (None, None) {
            return turns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parsed(&["[::1]:25", "[::2]:25", "[::3]:25", "192.0.2.1:25", "[::ffff:192.0.2.1]:25"]);
        let expected = parsed(&["[::1]:25", "192.0.2.1:25", "[::2]:25", "[::3]:25"]);
        assert_eq!(in_turns(&given), expected);
        assert!(in_turns(&[]).is_empty());
    }
}
