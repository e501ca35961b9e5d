//! What all ways in of a process share.

use std::sync::Arc;
use std::time::Instant;

use daemon::{Bursts, Config, Error, Memory};
use directory::Directory;
use queue::scheduler::Row;
use smtp::Reply;
use store::Store;

use crate::policy::RelayRules;

/// Whoever runs the queue is told here of mail that was just spooled: its destination, and its rows. It need not be: the
/// store knows them as well.
#[derive(Clone)]
pub struct Outgoing(Arc<Tell>);

type Tell = dyn Fn(&str, Vec<Row>) + Send + Sync;

impl Outgoing {
    /// Calls this for each destination of a message. It must not block.
    #[must_use]
    pub fn new(tell: impl Fn(&str, Vec<Row>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, destination: &str, rows: Vec<Row>) {
        (self.0)(destination, rows);
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

/// The entrance of a mail system: the same for every listener.
#[derive(Debug)]
pub struct Entrance {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) outgoing: Option<Outgoing>,
    pub(crate) hostname: String,
    pub(crate) received_fields: usize,
    pub(crate) relay: RelayRules,
    /// For messages, all ways in together.
    pub(crate) memory: Memory,
    pub(crate) bursts: Bursts,
}

impl Entrance {
    /// The entrance of a configuration.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub fn new(
        config: &Config,
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        outgoing: Option<Outgoing>,
        memory: Memory,
    ) -> Result<Self, Error> {
        Ok(Self {
            store,
            directory,
            outgoing,
            hostname: config.hostname.clone(),
            received_fields: config.limits.received_fields,
            relay: RelayRules { networks: daemon::networks(&config.smtp.relay_networks), ..RelayRules::default() },
            memory,
            bursts: Bursts::default(),
        })
    }

    /// A refused recipient is told to the log, in bursts (rule 33).
    pub(crate) fn recipient_refused(&self, peer: &str, recipient: &str, reply: &Reply) {
        if let Some(held) = self.bursts.admit(&format!("recipient {peer}"), Instant::now()) {
            tracing::info!(peer, recipient, reply = reply.text(), more = held, "recipient refused");
        }
        metrics::counter!("recipients_refused_total").increment(1);
    }
}
