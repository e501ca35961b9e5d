//! The embedded store: threads around the [`Engine`], nothing that blocks on a runtime's worker. Here it is opened, and
//! takes orders; `store` is what it can be asked, `pieces` what is too much for one transaction.

mod pieces;
mod store;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use bytes::Bytes;
use rusqlite::Connection;

use crate::body::Segments;
use crate::bus::{Hub, Receiver as BusReceiver, Sender as BusSender};
use crate::committer::{Closure, Committer, Order, spawn};
use crate::disk::{Disk, Layout, RealDisk};
use crate::engine::{Engine, Pending};
use crate::in_place::{InPlace, Pause};
use crate::index::{Txn, schema};
use crate::readers::Readers;
use crate::snapshot::Snapshots;
use crate::types::{ContentRef, NewBody, NewContent, ZonedTime};
use crate::{Body, Error, Options, Result};

/// The store in files of this machine, shared with other processes of it.
#[derive(Debug)]
pub struct Embedded {
    commits: Commits,
    readers: Arc<Readers>,
    segments: Arc<Segments>,
    hub: Arc<Hub>,
    snapshots: Arc<Snapshots>,
    layout: Layout,
    _lock: Option<File>,
}

/// Who commits.
#[derive(Debug)]
enum Commits {
    /// The one thread that does.
    Thread(SyncSender<Order>),
    /// Whoever changes something.
    InPlace(Arc<InPlace>),
}

impl Embedded {
    /// Opens the store in a directory, making it if it is missing.
    ///
    /// # Errors
    /// `Unusable`, with the reason and the cure: another owner, another format, a network file system, a migration at
    /// work. `Io`, `Index`.
    pub fn open(directory: &Path, options: &Options) -> Result<Arc<Self>> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let layout = Layout { root: directory.to_owned() };
        let lock = crate::open::prepare(disk.as_ref(), &layout, false)?;
        let engine = Engine::open(Arc::clone(&disk), layout.clone(), options)?;
        let hub = Arc::new(Hub::new());
        let readers = Arc::new(Readers::start(&layout.index(), disk.vfs(), options.queue)?);
        let receiver = if options.listen {
            let index = schema::open_reader(&layout.index(), disk.vfs())?;
            Some(BusReceiver::bind(&layout, disk.random(), index)?)
        } else {
            None
        };
        let sender = BusSender::new(layout.clone(), receiver.as_ref().map(|receiver| receiver.path.clone()));
        if let Some(receiver) = receiver {
            let hub = Arc::clone(&hub);
            spawn("store-bus", move || receiver.run(&hub))?;
        }
        let commits = Committer::start(engine, Arc::downgrade(&hub), sender, options.queue)?;
        Ok(Arc::new(Self {
            commits: Commits::Thread(commits),
            readers,
            segments: Arc::new(Segments::new(disk, layout.clone())),
            hub,
            snapshots: Arc::default(),
            layout,
            _lock: Some(lock),
        }))
    }

    /// Opens the store of a simulated disk without threads, locks and bus: whoever asks does the work, between two
    /// `pause`s. For simulations, whose clock knows no threads (`DESIGN.md` §6); no other process may share the disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_in_place(disk: Arc<dyn Disk>, root: &Path, options: &Options, pause: Pause) -> Result<Arc<Self>> {
        let layout = Layout { root: root.to_owned() };
        for directory in [layout.volume(), layout.segments()] {
            disk.create_dir(&directory)?;
        }
        let engine = Engine::open(Arc::clone(&disk), layout.clone(), options)?;
        let hub = Arc::new(Hub::new());
        let in_place = Arc::new(InPlace::new(engine, Arc::clone(&hub), pause));
        Ok(Arc::new(Self {
            commits: Commits::InPlace(Arc::clone(&in_place)),
            readers: Arc::new(Readers::InPlace(in_place)),
            segments: Arc::new(Segments::new(disk, layout.clone())),
            hub,
            snapshots: Arc::default(),
            layout,
            _lock: None,
        }))
    }

    fn order(&self, order: Order) -> Result<()> {
        match &self.commits {
            Commits::Thread(commits) => commits.try_send(order).map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Error::Busy,
            }),
            Commits::InPlace(in_place) => {
                in_place.order(order);
                Ok(())
            }
        }
    }

    async fn pause(&self) {
        if let Commits::InPlace(in_place) = &self.commits {
            in_place.pause().await;
        }
    }

    /// Commits a change without contents.
    async fn change<T: Send + 'static>(&self, run: impl Fn(&mut Txn<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.change_with(Vec::new(), false, 1, move |txn, _| run(txn)).await
    }

    async fn change_with<T: Send + 'static>(
        &self,
        contents: Vec<Pending>,
        grows: bool,
        weight: usize,
        run: impl Fn(&mut Txn<'_>, &[Pending]) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (change, answer) = Closure::new(contents, grows, weight, run);
        self.pause().await;
        self.order(Order::Change(Box::new(change)))?;
        self.pause().await;
        answer.await.map_err(|_| Error::Busy)?
    }

    /// Takes contents in; staged ones are synced on the way, in a reader's thread.
    async fn pending(&self, contents: Vec<(NewContent, ZonedTime)>) -> Result<Vec<Pending>> {
        if contents.iter().all(|(content, _)| matches!(content.body, NewBody::Memory(_))) {
            return contents.into_iter().map(|(content, received)| Pending::new(content, received)).collect();
        }
        let take = move |_: &Connection| contents.into_iter().map(|(content, at)| Pending::new(content, at)).collect();
        self.readers.long(take).await
    }

    async fn body_at(&self, prefix: Bytes, content: ContentRef) -> Result<Body> {
        let segments = Arc::clone(&self.segments);
        let file = self.readers.short(move |_| segments.file(content.segment)).await?;
        let whole = prefix.len() as u64 + content.octets;
        Ok(Body {
            prefix,
            file,
            offset: content.offset,
            octets: content.octets,
            readers: Arc::clone(&self.readers),
            range: 0..whole,
        })
    }
}
