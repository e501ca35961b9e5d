//! The threads that read: two lanes with bounded queues, so that a long search keeps nobody from a short look. Or none,
//! where the store is run in place.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::in_place::InPlace;
use crate::index::schema;
use crate::{Error, Result};

pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Octets of stack of a store's thread.
pub(crate) const STACK: usize = 512 << 10;

/// Who reads.
#[derive(Debug)]
pub(crate) enum Readers {
    /// The two lanes.
    Lanes { short: SyncSender<Job>, long: SyncSender<Job> },
    /// Whoever asks.
    InPlace(Arc<InPlace>),
}

impl Readers {
    /// Starts the threads, each with a connection of its own, which it opens at its first job.
    pub(crate) fn start(index: &Path, vfs: Option<&str>, queue: usize) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(Self::Lanes {
            // Who waits for the disk needs no core.
            short: lane("store-short", cores.max(4), index, vfs, queue)?,
            long: lane("store-long", cores.div_ceil(2), index, vfs, queue)?,
        })
    }

    /// Runs a short look.
    pub(crate) async fn short<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Lanes { short, .. } => ask(short, job)?.await.map_err(|_| Error::Busy)?,
            Self::InPlace(in_place) => in_place.read(job).await,
        }
    }

    /// Runs short looks by as many threads as are free, and gives what they found in their order.
    pub(crate) async fn side_by_side<T: Send + 'static>(
        &self,
        jobs: impl Iterator<Item = impl FnOnce(&Connection) -> Result<T> + Send + 'static>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        match self {
            Self::Lanes { short, .. } => {
                let answers = jobs.map(|job| ask(short, job)).collect::<Result<Vec<_>>>()?;
                for answer in answers {
                    found.push(answer.await.map_err(|_| Error::Busy)??);
                }
            }
            Self::InPlace(in_place) => {
                for job in jobs {
                    found.push(in_place.read(job).await?);
                }
            }
        }
        Ok(found)
    }

    /// Runs what may take long.
    pub(crate) async fn long<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Lanes { long, .. } => ask(long, job)?.await.map_err(|_| Error::Busy)?,
            Self::InPlace(in_place) => in_place.read(job).await,
        }
    }
}

/// Puts a job into a lane; what it finds comes by the receiver.
fn ask<T: Send + 'static>(
    lane: &SyncSender<Job>,
    job: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T>>> {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        // Nobody may be waiting any more; then the result is of no use.
        let _ = reply.send(job(connection));
    });
    match lane.try_send(job) {
        Ok(()) => Ok(answer),
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Error::Busy),
    }
}

fn lane(name: &str, threads: usize, index: &Path, vfs: Option<&str>, queue: usize) -> Result<SyncSender<Job>> {
    let (sender, receiver) = sync_channel::<Job>(queue);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..threads {
        let receiver = Arc::clone(&receiver);
        let (index, vfs) = (index.to_owned(), vfs.map(str::to_owned));
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&receiver, &index, vfs.as_deref()))?;
    }
    Ok(sender)
}

fn serve(jobs: &Mutex<Receiver<Job>>, index: &Path, vfs: Option<&str>) {
    let mut connection = None;
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if connection.is_none() {
            match schema::open_reader(index, vfs) {
                Ok(open) => connection = Some(open),
                // The job is dropped, which its caller sees as `Busy`.
                Err(error) => tracing::error!(%error, "index not opened for reading"),
            }
        }
        if let Some(connection) = &connection {
            job(connection);
        }
    }
}
