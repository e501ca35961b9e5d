//! What delivery needs of the world: the time, answers to questions, connections. [`crate::Internet`] is the real one;
//! a simulation has another.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use net::{Distrust, Identity};
use routing::{Answer, Question, Security};
use smtp::client::{Client, ClientConfig};

use crate::hand::Hand;
use crate::octets::Octets;

/// The world that mail is sent into.
pub trait World: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// A number that nobody can foresee.
    fn random(&self) -> u64;

    /// The answer to a question of routing.
    fn answer(&self, question: &Question) -> impl Future<Output = Answer> + Send;

    /// Forgets the answers that it remembers: an operator has mended what was wrong with them.
    fn forget(&self) {}

    /// Opens a connection to one of the addresses, lets `open` make the session and the hand that works it, and drives
    /// both until the connection ends.
    fn converse(
        &self,
        call: &Call,
        open: impl FnOnce(Line) -> (Client<Octets>, Hand<Self>) + Send,
    ) -> impl Future<Output = Called> + Send
    where
        Self: Sized;

    /// Posts a document (RFC 8460 §5.4); the status of the answer.
    fn post(&self, url: &str, media_type: &str, document: Vec<u8>) -> impl Future<Output = Result<u16, String>> + Send;
}

/// A connection that is wanted.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where to: what is tried together.
    pub place: Place,
    /// How it must be secured.
    pub security: Security,
    /// TLS comes from the first octet.
    pub implicit_tls: bool,
    /// Addresses to connect from, at most one of each family.
    pub sources: Vec<IpAddr>,
    /// The settings of the session.
    pub client: Arc<ClientConfig>,
}

/// Where a connection goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// One of these addresses, of one host.
    Tcp(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is known of a connection that stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The address it goes to.
    pub address: Option<IpAddr>,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Called {
    /// Why there was none, or why it broke; none where the session closed it.
    pub trouble: Option<Trouble>,
    /// What the server's certificate showed, if one came.
    pub certificate: Option<Result<Identity, Distrust>>,
}

/// Why a connection is not there, or not any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// None of the addresses took it, in words.
    NoConnection(String),
    /// TLS, or the connection beneath the session, broke, in words.
    Broken(String),
}
