//! What the runner, its sessions and whoever accepts mail share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use address::{ForwardPath, ReversePath};
use directory::Directory;
use queue::Scheduler;
use queue::scheduler::{RecipientOutcome, Row, SessionId};
use routing::table::Action;
use smtp::Reply;
use store::Store;
use tokio::sync::Notify;

use crate::routes::Routes;
use crate::settings::Settings;
use crate::tls_reports::TlsReports;
use crate::world::World;

/// The post office of a process.
#[derive(Debug)]
pub struct Office<W> {
    pub(crate) world: Arc<W>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) routes: Routes,
    pub(crate) tls_reports: TlsReports,
    scheduler: Mutex<Scheduler>,
    /// Rung whenever the scheduler may have something to do.
    pub(crate) bell: Notify,
    /// The bells of sessions that wait for more mail to their destination; rung in order, so that a simulation goes the same
    /// way again.
    waiting: Mutex<BTreeMap<Arc<str>, Arc<Notify>>>,
    /// What an operator asked for last, as the rows that are due for it have it.
    asked: AtomicI64,
    /// Held by who looks after what is overdue.
    pub(crate) looking: tokio::sync::Mutex<()>,
    /// The process stops: nothing is begun any more.
    stopping: AtomicBool,
}

impl<W: World> Office<W> {
    /// An office over a store.
    #[must_use]
    pub fn new(world: Arc<W>, store: Arc<dyn Store>, directory: Arc<Directory>, settings: Arc<Settings>) -> Arc<Self> {
        let scheduler = queue::scheduler::Settings { seed: world.random(), ..settings.scheduler.clone() };
        Arc::new(Self {
            routes: Routes::new(Arc::clone(&settings.routing)),
            tls_reports: TlsReports::default(),
            scheduler: Mutex::new(Scheduler::new(scheduler)),
            bell: Notify::new(),
            waiting: Mutex::default(),
            asked: AtomicI64::new(0),
            looking: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
            world,
            store,
            directory,
            settings,
        })
    }

    /// Mail was accepted and is in the store: it is looked at now, and not only when the store is asked next.
    pub fn fresh(&self, destination: &str, rows: Vec<Row>) {
        self.scheduler().fresh(destination, rows, self.world.now());
        self.ring(destination);
        self.bell.notify_one();
    }

    /// Why mail to this recipient would be given up at once, where a route says that it is.
    #[must_use]
    pub fn refusal(&self, sender: &ReversePath, recipient: &ForwardPath) -> Option<Reply> {
        match self.settings.table.route(sender, recipient).action {
            Action::Refuse { code: code @ 500.., text } => Some(Reply::new(*code, text.clone())),
            _ => None,
        }
    }

    /// The scheduler's numbers, for metrics.
    #[must_use]
    pub fn stats(&self) -> queue::scheduler::Stats {
        self.scheduler().stats()
    }

    /// How the scheduler sees a destination.
    #[must_use]
    pub fn destination(&self, destination: &str) -> Option<queue::scheduler::DestinationView> {
        self.scheduler().destination(destination)
    }

    /// An operator has asked for mail to be tried, which made it due at that moment: where mail goes is looked up anew, for
    /// whoever asks has mended something. Once, not as long as the mail waits.
    pub(crate) fn heed(&self, asked: i64) {
        // What is asked later is due earlier.
        if asked < self.asked.fetch_min(asked, Ordering::AcqRel) {
            self.routes.forget();
            self.world.forget();
        }
    }

    /// From now on sessions end as soon as they can; what they have not sent stays in the queue.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for bell in self.bells().values() {
            bell.notify_waiters();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store knows what became of a batch: so may the scheduler.
    pub(crate) fn outcome(&self, session: SessionId, outcomes: &[RecipientOutcome]) {
        self.scheduler().outcome(session, outcomes, self.world.now());
        self.bell.notify_one();
    }

    /// Wakes a session that waits for mail to this destination.
    pub(crate) fn ring(&self, destination: &str) {
        if let Some(bell) = self.bells().get(destination) {
            bell.notify_one();
        }
    }

    /// The bell of a destination; given back with [`Self::leave`].
    pub(crate) fn enter(&self, destination: &Arc<str>) -> Arc<Notify> {
        Arc::clone(self.bells().entry(Arc::clone(destination)).or_default())
    }

    /// A session no longer listens to this bell.
    pub(crate) fn leave(&self, destination: &Arc<str>, bell: Arc<Notify>) {
        let mut bells = self.bells();
        drop(bell);
        if bells.get(destination).is_some_and(|bell| Arc::strong_count(bell) == 1) {
            bells.remove(destination);
        }
    }

    fn bells(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
