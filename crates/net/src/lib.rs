//! Drives any [`wire::Session`] over TCP, Unix sockets and TLS.
//!
//! One loop, [`drive`], for servers and clients of every protocol; [`serve`] accepts connections and drives a session
//! for each. TLS is rustls, driven directly, so that an idle connection holds no buffers.
//!
//! For mail that leaves: [`Answers`] answers the questions of [`routing`] from DNS ([`Resolver`]) and by HTTPS
//! ([`Https`]), [`dial`] connects, and [`ClientTls`] says who the other side must be and tells who it was.

mod answers;
mod application;
mod certificates;
mod client_tls;
mod dial;
mod driver;
pub mod https;
mod listener;
mod network;
pub mod proxy;
pub mod resolver;
mod socket;
mod transport;

pub use answers::Answers;
pub use application::{Application, Peer, ReadBody};
pub use certificates::{CertificateError, CertificateFiles, Certificates};
pub use client_tls::{ClientHandshake, ClientTls, Distrust, HandshakeError, Identity};
pub use dial::{DialError, DialFailure, Dialling, dial};
pub use driver::{Driving, Ended, drive};
pub use https::{Https, HttpsError, LookUp, LookUpError};
pub use listener::{Connections, Listener, Service, Source, is_loopback, serve};
pub use network::{Network, NetworkError};
pub use resolver::{Resolver, ResolverError, ResolverSettings, Validation};
pub use socket::Socket;
pub use transport::TlsRole;
