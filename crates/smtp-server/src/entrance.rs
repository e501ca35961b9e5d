//! What all ways in of a process share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use address::{ForwardPath, Mailbox, ReversePath};
use arc_swap::ArcSwap;
use daemon::{Bursts, Config, Context, Error, Forwarding, Memory, Smtp};
use directory::Directory;
use filter::Filters;
use net::Network;
use queue::scheduler::Row;
use smtp::Reply;
use store::Store;

use crate::policy::{Decision, HelloFacts, Kind, RateLimits, RelayRules, Who};
use crate::reverse::Reverse;
use crate::settings;

/// Whoever runs the queue is told here of mail that was just spooled: its destination, and its rows. It need not be: the
/// store knows them as well.
#[derive(Clone)]
pub struct Outgoing {
    tell: Arc<Tell>,
    refusal: Option<Arc<Refusal>>,
}

type Tell = dyn Fn(&str, Vec<Row>) + Send + Sync;
type Refusal = dyn Fn(&ReversePath, &ForwardPath) -> Option<Reply> + Send + Sync;

impl Outgoing {
    /// Calls this for each destination of a message. It must not block.
    #[must_use]
    pub fn new(tell: impl Fn(&str, Vec<Row>) + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), refusal: None }
    }

    /// Asks this of each recipient elsewhere, with the sender: why mail for it would be given up at once, if it would. It must
    /// not block.
    #[must_use]
    pub fn refusing(
        self,
        refusal: impl Fn(&ReversePath, &ForwardPath) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self { refusal: Some(Arc::new(refusal)), ..self }
    }

    pub(crate) fn tell(&self, destination: &str, rows: Vec<Row>) {
        (self.tell)(destination, rows);
    }

    pub(crate) fn refusal(&self, sender: &ReversePath, recipient: &ForwardPath) -> Option<Reply> {
        self.refusal.as_ref().and_then(|refusal| refusal(sender, recipient))
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
    pub(crate) smtp: Smtp,
    pub(crate) forwarding: Forwarding,
    /// Whether senders who are not known to us are told what became of their mail (rule 36).
    pub(crate) tell_strangers: bool,
    pub(crate) relay: ArcSwap<RelayRules>,
    outside: settings::Outside,
    pub(crate) xclient: Vec<Network>,
    pub(crate) hello_facts: HelloFacts,
    pub(crate) reverse: Option<Reverse>,
    sizes: Vec<(String, u64)>,
    limits: Mutex<RateLimits>,
    filters: HashMap<&'static str, Filters>,
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
        let outside = settings::Outside::new(config)?;
        Ok(Self {
            store,
            directory,
            outgoing,
            hostname: config.hostname.clone(),
            received_fields: config.limits.received_fields,
            smtp: config.smtp.clone(),
            forwarding: config.forwarding.clone(),
            tell_strangers: config.delivery.bounce_strangers,
            relay: ArcSwap::from_pointee(settings::relay_rules(config)?),
            xclient: daemon::networks(&config.smtp.xclient_networks),
            hello_facts: HelloFacts::new(config),
            filters: settings::filters(config, &outside)?,
            reverse: outside.resolver.clone().filter(|_| config.policy.reverse_dns).map(Reverse::new),
            outside,
            sizes: settings::sizes(config)?,
            limits: Mutex::new(RateLimits::new(settings::limits(&config.rates), Instant::now())),
            memory,
            bursts: Bursts::default(),
        })
    }

    /// Has what can change while mail comes in read again on SIGHUP.
    pub(crate) fn reloaded_by(self: &Arc<Self>, context: &mut Context) {
        let own = Arc::clone(self);
        context.on_reload("relay rules", move |config| {
            own.relay.store(Arc::new(settings::relay_rules(config)?));
            Ok(())
        });
        self.outside.reloaded_by(context);
    }

    /// A refused recipient is told to the log, in bursts (rule 33).
    pub(crate) fn recipient_refused(&self, peer: &str, recipient: &str, reply: &Reply) {
        if let Some(held) = self.bursts.admit(&format!("recipient {peer}"), Instant::now()) {
            tracing::info!(peer, recipient, reply = reply.text(), more = held, "recipient refused");
        }
        metrics::counter!("recipients_refused_total").increment(1);
    }

    /// Counts what somebody does: how long it has to wait for it, or why it may not (rule 37).
    pub(crate) fn charge(&self, who: &Who, kind: Kind, amount: u64) -> Result<Duration, Reply> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        match limits.charge(Instant::now(), who, kind, amount) {
            Decision::Allow => Ok(Duration::ZERO),
            Decision::Delay(wait) => Ok(wait),
            Decision::Refuse(reply) => Err(reply),
        }
    }

    /// The filters of a listener.
    pub(crate) fn filters(&self, listener: &str) -> Option<&Filters> {
        self.filters.get(listener).filter(|filters| !filters.is_empty())
    }

    /// Whether a message of so many octets is too large for an address, as sender or recipient.
    pub(crate) fn too_large(&self, mailbox: &Mailbox, octets: u64) -> Option<Reply> {
        let limit = settings::size_for(&self.sizes, mailbox)?;
        (octets > limit).then(|| Reply::new(552, format!("5.3.4 messages of {mailbox} may have {limit} octets")))
    }

    /// Whether a client may relay by its address.
    pub(crate) fn is_relay_network(&self, address: Option<IpAddr>) -> bool {
        let client = crate::policy::Client { address, logged_in: false };
        self.relay.load().network(&client).is_some()
    }
}
