//! When a client reads a message for the first time, its trace is to tell. That must cost those who read nothing: a
//! message that was seen lately, or is older than any trace, costs one look into memory; another costs a place in a
//! queue, which a task empties in batches. Under load readings are dropped and counted; a stop loses the last half second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{AccountId, ContentId, Message, Store, TraceRead};
use tokio::sync::{mpsc, watch};
use trace::Step;

use crate::Context;

/// Readings that wait to be written; more are dropped.
const QUEUE: usize = 4_096;
/// Readings that are asked of the store at once.
const BATCH: usize = 256;
/// How long readings are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// Messages that are remembered as read: 32 KiB.
const SEEN: usize = 4_096;

/// The readings of a process.
#[derive(Debug)]
pub struct FirstFetches {
    /// Which message and reader came last at each place.
    seen: Box<[AtomicU64]>,
    queue: mpsc::Sender<Fetched>,
    /// How long traces are kept, in seconds.
    kept: i64,
}

/// Who reads in a session.
#[derive(Clone, Debug)]
pub struct Fetcher {
    fetches: Arc<FirstFetches>,
    account: AccountId,
    who: Arc<Who>,
}

#[derive(Debug)]
struct Who {
    protocol: &'static str,
    account: String,
    client: Option<String>,
}

#[derive(Debug)]
struct Fetched {
    content: ContentId,
    account: AccountId,
    at: i64,
    who: Arc<Who>,
}

impl FirstFetches {
    /// Readings that are written to the store as long as the process runs.
    #[must_use]
    pub fn start(context: &mut Context, store: Arc<dyn Store>) -> Arc<Self> {
        let kept = Duration::from_secs(u64::from(context.config.delivery.trace_days) * 86_400);
        let (fetches, task) = Self::new(kept, store, context.drain.clone());
        context.spawn(task);
        fetches
    }

    /// Readings, and the task that writes them until `drain` becomes true. `kept`: how long traces are.
    pub fn new(
        kept: Duration,
        store: Arc<dyn Store>,
        drain: watch::Receiver<bool>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, fetched) = mpsc::channel(QUEUE);
        let seen = (0..SEEN).map(|_| AtomicU64::new(0)).collect();
        let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        (Arc::new(Self { seen, queue, kept }), write(store, fetched, drain))
    }

    /// Who reads in a session that has logged in.
    #[must_use]
    pub fn fetcher(
        self: &Arc<Self>,
        protocol: &'static str,
        account: AccountId,
        address: String,
        client: Option<String>,
    ) -> Fetcher {
        Fetcher { fetches: Arc::clone(self), account, who: Arc::new(Who { protocol, account: address, client }) }
    }
}

impl Fetcher {
    /// A message is being read; it never waits.
    pub fn fetched(&self, message: &Message) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if message.saved < seconds.saturating_sub(self.fetches.kept) {
            return;
        }
        let (mark, place) = mark(message.content.id, self.account);
        let Some(seen) = self.fetches.seen.get(place) else { return };
        if seen.swap(mark, Ordering::Relaxed) == mark {
            return;
        }
        let at = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let fetched = Fetched { content: message.content.id, account: self.account, at, who: Arc::clone(&self.who) };
        if self.fetches.queue.try_send(fetched).is_err() {
            seen.store(0, Ordering::Relaxed);
            metrics::counter!("trace_fetches_dropped_total").increment(1);
        }
    }
}

/// What stands for a message and its reader, and where: the finaliser of SplitMix64.
fn mark(content: ContentId, account: AccountId) -> (u64, usize) {
    let mut mark = content.0.cast_unsigned() ^ account.0.cast_unsigned().rotate_left(32);
    mark = (mark ^ (mark >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mark = (mark ^ (mark >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mark ^= mark >> 31;
    (mark | 1, usize::try_from(mark >> 1).unwrap_or(0) % SEEN)
}

async fn write(store: Arc<dyn Store>, mut fetched: mpsc::Receiver<Fetched>, mut drain: watch::Receiver<bool>) {
    loop {
        let mut batch = Vec::new();
        let ends = tokio::select! {
            biased;
            some = fetched.recv_many(&mut batch, BATCH) => {
                if some == 0 {
                    return;
                }
                false
            }
            // Whoever could tell has gone: the process ends.
            _ = drain.wait_for(|drain| *drain) => true,
        };
        if !ends {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                _ = drain.wait_for(|drain| *drain) => {}
            }
        }
        while batch.len() < BATCH
            && let Ok(more) = fetched.try_recv()
        {
            batch.push(more);
        }
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        if let Err(error) = store.trace_reads(batch.into_iter().map(read).collect()).await {
            metrics::counter!("trace_fetches_dropped_total").increment(count);
            tracing::debug!(%error, "who read messages first is not kept");
        }
    }
}

fn read(fetched: Fetched) -> TraceRead {
    let Fetched { content, account, at, who } = fetched;
    let step =
        Step::Fetched { protocol: who.protocol.into(), account: who.account.clone(), client: who.client.clone() };
    TraceRead { content, account, at, kind: step.kind(), data: step.encode() }
}
