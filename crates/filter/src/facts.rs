//! What is known of a connection and a message, told to every filter.

use std::net::SocketAddr;

use address::{ForwardPath, ReversePath};
use smtp::{MailParameters, RcptParameters};
use wire::TlsFacts;

/// What is known of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Where it comes from; `None`: a process of this machine, over a Unix socket.
    pub client: Option<SocketAddr>,
    /// The client's name, if its address and name agree in the DNS.
    pub client_name: Option<String>,
    /// The name of the client's address, whether it leads back or not.
    pub client_ptr: Option<String>,
    /// Whether the names of the client's address were looked for, and there is no answer yet.
    pub is_unanswered: bool,
    /// Our own name.
    pub hostname: String,
    /// The listener's name in the settings.
    pub listener: String,
    /// TLS, from the start.
    pub tls: Option<TlsFacts>,
}

/// MAIL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// The sender.
    pub sender: ReversePath,
    /// What followed it.
    pub parameters: MailParameters,
    /// The id that the message will have in the queue.
    pub queue_id: String,
}

/// RCPT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rcpt {
    /// The recipient.
    pub recipient: ForwardPath,
    /// What followed it.
    pub parameters: RcptParameters,
}
