//! The one thread that commits: it takes whatever changes have gathered, and answers them together.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::bus::{Hub, Sender as BusSender};
use crate::engine::{Change, Engine, Pending};
use crate::index::Txn;
use crate::readers::STACK;
use crate::segment::writer::Zeroed;
use crate::types::ZonedTime;
use crate::{Error, Result, Staged};

/// Most deliveries of one transaction.
const MAX_BATCH: usize = 256;
/// How long records of what happened wait for their sync.
const FACTS: Duration = Duration::from_secs(1);
/// When to tell a process again whose queue was full.
const LATE: Duration = Duration::from_millis(2);

/// What the thread is asked to do.
pub(crate) enum Order {
    Change(Box<dyn Change>),
    Stage { head: Bytes, received: ZonedTime, reply: oneshot::Sender<Result<Staged>> },
    Close(oneshot::Sender<()>),
}

/// A change made of a closure, which runs again where its first transaction found no space.
pub(crate) struct Closure<T, F> {
    contents: Vec<Pending>,
    grows: bool,
    weight: usize,
    run: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F: Fn(&mut Txn<'_>, &[Pending]) -> Result<T>> Closure<T, F> {
    pub(crate) fn new(
        contents: Vec<Pending>,
        grows: bool,
        weight: usize,
        run: F,
    ) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { contents, grows, weight, run, result: None, reply }, answer)
    }
}

impl<T: Send, F: Fn(&mut Txn<'_>, &[Pending]) -> Result<T> + Send> Change for Closure<T, F> {
    fn weight(&self) -> usize {
        self.weight
    }

    fn grows(&self) -> bool {
        self.grows
    }

    fn contents(&mut self) -> &mut [Pending] {
        &mut self.contents
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        self.result = Some((self.run)(txn, &self.contents)?);
        Ok(())
    }

    fn answer(self: Box<Self>, fate: Result<()>) {
        let Self { result, reply, .. } = *self;
        // Nobody may be waiting any more: the change stands all the same.
        let _ = reply.send(fate.and_then(|()| result.ok_or(Error::Conflict)));
    }
}

pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run)?;
    Ok(())
}

type Zeros = SyncSender<(Arc<Zeroed>, u64)>;

/// The thread that fills the active segment with zeros ahead of the writing.
fn spawn_zeros() -> Result<Zeros> {
    let (sender, receiver) = sync_channel::<(Arc<Zeroed>, u64)>(1);
    spawn("store-zeros", move || {
        while let Ok((zeroed, written)) = receiver.recv() {
            loop {
                match zeroed.fill(written) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "segment not filled ahead");
                        break;
                    }
                }
            }
        }
    })?;
    Ok(sender)
}

/// The one thread that commits.
pub(crate) struct Committer {
    engine: Engine,
    orders: Receiver<Order>,
    hub: Weak<Hub>,
    sender: BusSender,
    zeros: Zeros,
}

impl Committer {
    /// Starts the thread; what takes its orders, up to `queue` that wait. It ends with the last of them.
    pub(crate) fn start(engine: Engine, hub: Weak<Hub>, sender: BusSender, queue: usize) -> Result<SyncSender<Order>> {
        let (commits, orders) = sync_channel(queue);
        let committer = Self { engine, orders, hub, sender, zeros: spawn_zeros()? };
        spawn("store-commit", move || committer.run())?;
        Ok(commits)
    }

    fn run(mut self) {
        let mut synced = Instant::now();
        loop {
            let patience = if self.sender.has_late() {
                LATE
            } else if self.engine.has_pending_facts() {
                FACTS.saturating_sub(synced.elapsed())
            } else {
                Duration::from_secs(3600)
            };
            let first = match self.orders.recv_timeout(patience) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.sender.send_late();
            let mut batch: Vec<Box<dyn Change>> = Vec::new();
            let mut weight = 0;
            let mut closing = None;
            let mut next = first;
            while let Some(order) = next {
                match order {
                    Order::Change(change) => {
                        weight += change.weight();
                        batch.push(change);
                    }
                    Order::Stage { head, received, reply } => {
                        // Dropped unused, a staged message removes its file.
                        let _ = reply.send(self.engine.stage(&head, received));
                    }
                    Order::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                next = if weight < MAX_BATCH { self.orders.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                let notice = self.engine.commit(batch, |notice| {
                    if let Some(hub) = self.hub.upgrade() {
                        hub.wake(notice);
                    }
                });
                self.sender.send(&notice);
                if let Some(zeros) = self.engine.zeroed() {
                    // If it is busy it is filling already.
                    let _ = self.zeros.try_send(zeros);
                }
            }
            if let Some(reply) = closing {
                self.engine.close();
                let _ = reply.send(());
                return;
            }
            if !self.engine.has_pending_facts() {
                synced = Instant::now();
            } else if synced.elapsed() >= FACTS {
                self.engine.flush();
                synced = Instant::now();
            }
        }
        self.engine.close();
    }
}
