//! What an application is to the driver, and what it sends.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use wire::Session;

/// The side of a session that decides and knows.
pub trait Application: Send + 'static {
    /// The session it goes with.
    type Session: Session<Event: Send, Told: Send, Body: ReadBody> + Send + 'static;

    /// One event; its answer, where the event asks for one. Awaited outside any `select!`, so it need not be
    /// cancel-safe.
    fn on_event(
        &mut self,
        event: <Self::Session as Session>::Event,
    ) -> impl Future<Output = Option<<Self::Session as Session>::Told>> + Send;

    /// News to push unasked. Dropped and called again at will, so it must be cancel-safe; pends for ever when there is
    /// nothing to wait for.
    fn news(&mut self) -> impl Future<Output = <Self::Session as Session>::Told> + Send {
        std::future::pending()
    }
}

/// A session's body, read piece by piece.
pub trait ReadBody: Send {
    /// The next octets, at most about `most`; `None` at the end.
    ///
    /// # Errors
    /// The connection is closed then: what was announced cannot be kept.
    fn read(&mut self, most: usize) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// A body that is at hand.
impl ReadBody for Bytes {
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let octets = self.len().min(most.max(1));
        Ok(if octets == 0 { None } else { Some(self.split_to(octets)) })
    }
}

/// No body at all: for sessions that never send one.
impl ReadBody for std::convert::Infallible {
    async fn read(&mut self, _: usize) -> io::Result<Option<Bytes>> {
        match *self {}
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A TCP client; IPv4-mapped addresses are IPv4 (rule 12). `proxied`: as the PROXY protocol told it.
    Ip {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// Whether a proxy vouched for it.
        proxied: bool,
    },
    /// A process of this machine, over a Unix socket.
    Local,
}

impl Peer {
    /// The address, if it has one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip { address, .. } => Some(*address),
            Self::Local => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip { address: IpAddr::V6(address), port, .. } => write!(f, "[{address}]:{port}"),
            Self::Ip { address, port, .. } => write!(f, "{address}:{port}"),
            Self::Local => f.write_str("local"),
        }
    }
}
