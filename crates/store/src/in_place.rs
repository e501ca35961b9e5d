//! The store without threads: whoever asks does the work, one after the other. For simulations, in which everything that
//! happens follows from one seed.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::Result;
use crate::bus::Hub;
use crate::committer::Order;
use crate::engine::Engine;

/// What passes between a question and the work, and between the work and its answer: others go on meanwhile.
pub type Pause = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// An engine and those who use it in turn.
pub(crate) struct InPlace {
    engine: Mutex<Engine>,
    hub: Arc<Hub>,
    pause: Pause,
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlace").finish_non_exhaustive()
    }
}

impl InPlace {
    pub(crate) fn new(engine: Engine, hub: Arc<Hub>, pause: Pause) -> Self {
        Self { engine: Mutex::new(engine), hub, pause }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn pause(&self) {
        (self.pause)().await;
    }

    pub(crate) async fn read<T>(&self, job: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.pause().await;
        let found = job(self.engine().index());
        self.pause().await;
        found
    }

    /// Does what the committing thread would do, at once.
    pub(crate) fn order(&self, order: Order) {
        match order {
            Order::Change(change) => _ = self.engine().commit(vec![change], |notice| self.hub.wake(notice)),
            // Dropped unused, a staged message removes its file.
            Order::Stage { head, received, reply } => _ = reply.send(self.engine().stage(&head, received)),
            Order::Close(reply) => {
                self.engine().close();
                // Nobody may be waiting any more.
                let _ = reply.send(());
            }
        }
    }
}
