//! Accepts connections and drives a session for each, within limits.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::proxy::{self, Proxied};
use crate::{Application, Certificates, Driving, Ended, Network, Peer, Socket, TlsRole, drive};

/// Gives every connection its session and application.
pub trait Service: Send + Sync + 'static {
    /// The application; its session comes with it.
    type Application: Application;

    /// A session and an application for a new connection.
    fn connect(&self, peer: Peer) -> (<Self::Application as Application>::Session, Self::Application);

    /// What a client is told before its connection is closed because a limit is reached: the protocol's polite word,
    /// CRLF included.
    fn refusal(&self) -> &'static str;

    /// The protocol, for the log.
    fn protocol(&self) -> &'static str;
}

/// Where connections come from.
#[derive(Debug)]
pub enum Source {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A listener and how its connections are treated.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come from.
    pub source: Source,
    /// TLS: for STARTTLS, or from the first octet.
    pub certificates: Option<Certificates>,
    /// Whether TLS comes from the first octet (RFC 8314 §3).
    pub implicit_tls: bool,
    /// Networks whose connections begin with a PROXY header; nobody else's may.
    pub proxy_networks: Vec<Network>,
    /// How long a peer may read nothing while something is to be sent.
    pub write_stall: Duration,
    /// How long a PROXY header or a TLS handshake may take.
    pub handshake_wait: Duration,
}

/// The connections of a process, all listeners together.
#[derive(Debug)]
pub struct Connections {
    /// Most connections. Default 10,000.
    pub most: usize,
    /// Most connections of one IPv4 address or IPv6 /64. Default 100; loopback is not counted.
    pub most_per_network: usize,
    open: AtomicUsize,
    by_network: Mutex<HashMap<Network, usize>>,
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(10_000, 100)
    }
}

impl Connections {
    /// Limits on all connections, and on those of one network.
    #[must_use]
    pub fn new(most: usize, most_per_network: usize) -> Self {
        Self { most, most_per_network, open: AtomicUsize::new(0), by_network: Mutex::default() }
    }

    /// The connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let network = peer.ip().filter(|ip| !ip.is_loopback()).map(|ip| Network::of(ip, 32, 64));
        let place = Place { connections: Arc::clone(self), network };
        if let Some(network) = network {
            let mut by_network = self.by_network.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_network.entry(network).or_default();
            *count += 1;
            if *count > self.most_per_network {
                drop(by_network);
                return None;
            }
        }
        Some(place)
    }
}

/// One connection's place among the connections.
struct Place {
    connections: Arc<Connections>,
    network: Option<Network>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(network) = self.network {
            let mut by_network = self.connections.by_network.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_network.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    by_network.remove(&network);
                }
            }
        }
    }
}

/// The sessions of the process so far: each has a number of its own in the log.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Serves a listener until `drain` becomes true, then waits until its sessions have said goodbye; dropping the future
/// cuts them off.
pub async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    connections: Arc<Connections>,
    mut drain: watch::Receiver<bool>,
) {
    let listener = Arc::new(listener);
    let mut sessions = JoinSet::new();
    while !*drain.borrow_and_update() {
        tokio::select! {
            accepted = accept(&listener.source) => match accepted {
                Ok((socket, peer)) => {
                    let number = SESSIONS.fetch_add(1, Ordering::Relaxed) + 1;
                    let one = Arc::clone(&listener);
                    let (service, connections) = (Arc::clone(&service), Arc::clone(&connections));
                    let span = tracing::info_span!("session", id = number, proto = service.protocol(), %peer);
                    sessions.spawn(connection(one, socket, peer, service, connections, drain.clone()).instrument(span));
                }
                Err(error) => {
                    // Out of descriptors, or the client was gone already; the next one may do better.
                    tracing::debug!(%error, "connection not accepted");
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            },
            _ = sessions.join_next(), if !sessions.is_empty() => {}
            changed = drain.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn accept(source: &Source) -> io::Result<(Socket, Peer)> {
    match source {
        Source::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            Ok((stream.into(), peer_of(from)))
        }
        Source::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok((stream.into(), Peer::Local))
        }
    }
}

fn peer_of(from: SocketAddr) -> Peer {
    Peer::Ip { address: from.ip().to_canonical(), port: from.port(), proxied: false }
}

async fn connection<S: Service>(
    listener: Arc<Listener>,
    socket: Socket,
    mut peer: Peer,
    service: Arc<S>,
    connections: Arc<Connections>,
    drain: watch::Receiver<bool>,
) {
    if peer.ip().is_some_and(|ip| listener.proxy_networks.iter().any(|network| network.contains(ip))) {
        match tokio::time::timeout(listener.handshake_wait, proxied(&socket)).await {
            Ok(Ok(Proxied::Client(address, port))) => peer = Peer::Ip { address, port, proxied: true },
            Ok(Ok(Proxied::Unknown)) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "no PROXY header from a trusted proxy"),
            Err(_) => return tracing::debug!("no PROXY header in time"),
        }
    }
    let Some(_place) = connections.enter(peer) else {
        tracing::debug!("refused: too many connections");
        if !listener.implicit_tls {
            // The client may be gone; it is not owed more.
            let _ = socket.try_write(service.refusal().as_bytes());
        }
        return;
    };
    let driving = Driving {
        tls: listener.certificates.as_ref().map(|certificates| TlsRole::Server(certificates.config())),
        implicit_tls: listener.implicit_tls,
        write_stall: listener.write_stall,
        handshake_wait: listener.handshake_wait,
        drain,
    };
    let (session, application) = service.connect(peer);
    drop((listener, service));
    match drive(socket, session, application, driving).await {
        Ended::Closed => tracing::debug!("connection ended"),
        other => tracing::debug!(?other, "connection failed"),
    }
}

/// Takes the PROXY header off the front of the stream, and nothing more.
async fn proxied(socket: &Socket) -> io::Result<Proxied> {
    let mut buffer = vec![0; proxy::MAX_HEADER];
    loop {
        socket.readable().await?;
        let seen = match socket.try_peek(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let head = buffer.get(..seen).unwrap_or_default();
        match proxy::parse(head).map_err(io::Error::other)? {
            Some((proxied, octets)) => {
                let mut taken = 0;
                while taken < octets {
                    taken += socket.try_read(buffer.get_mut(..octets - taken).unwrap_or_default())?;
                }
                return Ok(proxied);
            }
            // Readiness stays while octets are unread, so the rest of the header is waited for by the clock.
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The address a server of ours is reached at.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
