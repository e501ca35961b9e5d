//! The octets of a message on their way out.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use net::ReadBody;
use store::{Spool, Store};

/// A message's octets, read as they are sent.
#[derive(Debug)]
pub struct Octets(Source);

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    Stored(store::Body),
}

/// The most octets of a message that is looked at as a whole, to be re-encoded or returned. Larger ones are sent as they
/// are or not at all.
pub(crate) const WHOLE: usize = 64 << 20;

impl Octets {
    /// What is in memory.
    #[must_use]
    pub fn memory(octets: Bytes) -> Self {
        Self(Source::Memory(octets))
    }

    /// What the store has.
    pub(crate) async fn stored(store: &Arc<dyn Store>, spool: &Spool) -> store::Result<Self> {
        store.spooled_body(spool).await.map(|body| Self(Source::Stored(body)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Source::Memory(octets) => octets.len() as u64,
            Source::Stored(body) => body.octets(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, if they are no more than [`WHOLE`].
    pub(crate) async fn whole(self) -> store::Result<Bytes> {
        match self.0 {
            Source::Memory(octets) => Ok(octets),
            Source::Stored(body) => body.whole(WHOLE).await,
        }
    }
}

impl ReadBody for Octets {
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        match &mut self.0 {
            Source::Memory(octets) => octets.read(most).await,
            Source::Stored(body) => body.next(most).await.map_err(io::Error::other),
        }
    }
}
