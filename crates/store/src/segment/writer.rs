//! Appends records to the active segment of this process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::record::{self, HEADER, Header, Kind, TRAILER};
use crate::disk::{Disk, File, Layout};

/// Where a message's octets will be once the segment is synced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) segment: i64,
    pub(crate) offset: u64,
    pub(crate) hash: [u8; 32],
}

/// The segments that this process writes, one at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    layout: Layout,
    next_id: SegmentIds,
    limit: u64,
    active: Option<Active>,
    pending: Vec<u8>,
    scheduled: bool,
}

#[derive(Debug)]
struct Active {
    id: i64,
    file: Arc<dyn File>,
    /// Octets written to the file.
    written: u64,
    zeroed: Arc<Zeroed>,
}

/// How far a segment has been filled with zeros ahead of what is written.
#[derive(Debug)]
pub(crate) struct Zeroed {
    file: Arc<dyn File>,
    limit: u64,
    /// Octets of the file that exist, written or zero.
    mark: Mutex<u64>,
}

/// How far ahead of the writing the zeros reach.
const AHEAD: u64 = 8 << 20;
const STEP: usize = 1 << 20;

impl Zeroed {
    /// Fills one more step with zeros, if the writing at `written` has come near; true if there may be more to do.
    ///
    /// A segment's blocks then exist before they are written, so that a sync is no journal commit. The lock is what
    /// keeps zeros off octets that were written meanwhile.
    pub(crate) fn fill(&self, written: u64) -> io::Result<bool> {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if *mark >= self.limit || *mark >= written + AHEAD {
            return Ok(false);
        }
        self.file.write_all_at(&vec![0; STEP], *mark)?;
        *mark += STEP as u64;
        let more = *mark < self.limit && *mark < written + AHEAD;
        drop(mark);
        self.file.sync()?;
        Ok(more)
    }

    /// The file ends at `octets` now.
    fn restart(&self, octets: u64) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = octets;
    }

    fn claim(&self, end: u64) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        *mark = (*mark).max(end);
    }
}

/// Gives segments and contents their ids: milliseconds, the writer's number, a sequence.
#[derive(Debug)]
pub(crate) struct SegmentIds {
    writer: i64,
    last: i64,
}

/// The first id that there can be at a moment, in milliseconds since 1970.
pub(crate) fn first_id(at: i64) -> i64 {
    (at.max(0) & 0x3ff_ffff_ffff) << 21
}

impl SegmentIds {
    /// `writer` is a number that no other running process has.
    pub(crate) fn new(writer: i64) -> Self {
        Self { writer: writer & 0x1ff, last: 0 }
    }

    /// A new id at `now`, in milliseconds since 1970: larger than every id before it.
    pub(crate) fn next(&mut self, now: i64) -> i64 {
        let base = first_id(now);
        // 12 bits of sequence, then 9 of writer, so that ids sort by time.
        let mut id = base | self.writer;
        if id <= self.last {
            id = self.last + (1 << 9);
        }
        self.last = id;
        id
    }
}

impl Writer {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout, writer: i64, limit: u64) -> Self {
        Self {
            disk,
            layout,
            next_id: SegmentIds::new(writer),
            limit,
            active: None,
            pending: Vec::new(),
            scheduled: false,
        }
    }

    /// The source of ids.
    pub(crate) fn ids(&mut self) -> &mut SegmentIds {
        &mut self.next_id
    }

    /// A new id for a content.
    pub(crate) fn id(&mut self) -> i64 {
        let now = self.disk.now();
        self.next_id.next(now)
    }

    /// Makes room for a batch of about `octets`: seals a full segment and begins a new one.
    pub(crate) fn prepare(&mut self, octets: u64) -> io::Result<()> {
        let used = self.active.as_ref().map(|active| active.written + self.pending.len() as u64);
        if used.is_some_and(|used| used + octets > self.limit && used > 0) {
            self.seal()?;
        }
        self.begin()
    }

    /// Begins a segment if none is active.
    fn begin(&mut self) -> io::Result<()> {
        if self.active.is_some() {
            return Ok(());
        }
        let id = self.id();
        let file = self.disk.create(&self.layout.segment(id))?;
        self.disk.sync_dir(&self.layout.segments())?;
        let zeroed = Zeroed { file: Arc::clone(&file), limit: self.limit, mark: Mutex::new(0) };
        self.active = Some(Active { id, file, written: 0, zeroed: Arc::new(zeroed) });
        Ok(())
    }

    /// Appends a message; it is durable after [`sync`](Self::sync). Call [`prepare`](Self::prepare) first.
    pub(crate) fn message(
        &mut self,
        content: i64,
        date: i64,
        zone: i16,
        head: &Bytes,
        body: &[Bytes],
    ) -> Option<Location> {
        let active = self.active.as_ref()?;
        let octets: u64 = body.iter().map(|piece| piece.len() as u64).sum();
        let header = Header {
            kind: Kind::Message,
            segment: active.id,
            content,
            date,
            zone,
            head: u32::try_from(head.len()).ok()?,
            body: octets,
        };
        let start = self.pending.len();
        self.pending.extend_from_slice(&header.encode());
        self.pending.extend_from_slice(head);
        for piece in body {
            self.pending.extend_from_slice(piece);
        }
        let hash = blake3::hash(&self.pending[start..]);
        self.pending.extend_from_slice(&record::trailer(octets, &hash));
        Some(Location { segment: active.id, offset: active.written + (start + HEADER) as u64, hash: *hash.as_bytes() })
    }

    /// Appends a record of what happened; it becomes durable with the next sync.
    pub(crate) fn fact(&mut self, kind: Kind, at: i64, payload: &[u8]) {
        let segment = self.active.as_ref().map_or(0, |active| active.id);
        let start = self.pending.len();
        self.pending.extend_from_slice(&Header::fact(kind, segment, at, payload.len()).encode());
        self.pending.extend_from_slice(payload);
        let hash = blake3::hash(&self.pending[start..]);
        self.pending.extend_from_slice(&record::trailer(payload.len() as u64, &hash));
        self.scheduled = true;
    }

    /// Whether records of what happened wait for a sync.
    pub(crate) fn has_pending_facts(&self) -> bool {
        self.scheduled
    }

    /// Writes and syncs all that was appended.
    ///
    /// A segment whose sync failed is never synced again (rule 4): it is abandoned as it is, its unwritten records are
    /// lost to salvage alone, and the next batch begins a new one. One that could not grow is cut back and goes on.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.begin()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let end = active.written + self.pending.len() as u64;
        active.zeroed.claim(end);
        let written = active.file.write_all_at(&self.pending, active.written);
        let done = written.as_ref().map_or(Ok(()), |()| active.file.sync());
        self.pending.clear();
        self.scheduled = false;
        match (written, done) {
            (Ok(()), Ok(())) => {
                active.written = end;
                Ok(())
            }
            (Err(error), _) if error.kind() == io::ErrorKind::StorageFull => {
                // The zeros ahead are given back, too.
                match active.file.set_len(active.written) {
                    Ok(()) => active.zeroed.restart(active.written),
                    Err(_) => self.active = None,
                }
                Err(error)
            }
            (Err(error), _) | (_, Err(error)) => {
                self.active = None;
                Err(error)
            }
        }
    }

    /// What fills the active segment with zeros ahead of the writing, and how far that has come.
    pub(crate) fn zeroed(&self) -> Option<(Arc<Zeroed>, u64)> {
        self.active.as_ref().map(|active| (Arc::clone(&active.zeroed), active.written))
    }

    /// Writes what is left and cuts the segment behind its last record.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        self.sync()?;
        if let Some(active) = self.active.take() {
            let mut mark = active.zeroed.mark.lock().unwrap_or_else(PoisonError::into_inner);
            *mark = u64::MAX;
            active.file.set_len(active.written)?;
            active.file.sync()?;
        }
        Ok(())
    }
}

/// A large message on its way into a segment of its own. Dropped before it is delivered, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    inner: Option<Box<StagedInner>>,
}

#[derive(Debug)]
struct StagedInner {
    disk: Arc<dyn Disk>,
    layout: Layout,
    segment: i64,
    content: i64,
    file: Arc<dyn File>,
    hasher: blake3::Hasher,
    head: u64,
    /// Octets of head and body.
    octets: u64,
}

/// A staged message whose octets are durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) content: i64,
    pub(crate) location: Location,
}

impl Staged {
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        layout: Layout,
        segment: i64,
        content: i64,
        head: &[u8],
        date: i64,
        zone: i16,
    ) -> io::Result<Self> {
        let file = disk.create(&layout.segment(segment))?;
        let header = Header {
            kind: Kind::Message,
            segment,
            content,
            date,
            zone,
            head: u32::try_from(head.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            body: record::UNKNOWN,
        };
        let mut hasher = blake3::Hasher::new();
        let first = [&header.encode()[..], head].concat();
        hasher.update(&first);
        file.write_all_at(&first, 0)?;
        let inner = StagedInner {
            disk,
            layout,
            segment,
            content,
            file,
            hasher,
            head: head.len() as u64,
            octets: head.len() as u64,
        };
        Ok(Self { inner: Some(Box::new(inner)) })
    }

    /// The octets of the body written so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.octets - inner.head)
    }

    /// Writes more of the body. Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// What the disk says; the message cannot be delivered then.
    pub fn write(&mut self, piece: &[u8]) -> crate::Result<()> {
        let Some(inner) = &mut self.inner else {
            return Err(crate::Error::Conflict);
        };
        inner.file.write_all_at(piece, HEADER as u64 + inner.octets)?;
        inner.hasher.update(piece);
        inner.octets += piece.len() as u64;
        Ok(())
    }

    /// The octets written so far, head and body, for those who must look at the whole message before it is delivered.
    /// Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, offset: u64, octets: usize) -> crate::Result<Bytes> {
        let Some(inner) = &self.inner else {
            return Err(crate::Error::Conflict);
        };
        let left = usize::try_from(inner.octets.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; octets.min(left)];
        inner.file.read_exact_at(&mut buffer, HEADER as u64 + offset)?;
        Ok(buffer.into())
    }

    pub(crate) fn finish(mut self) -> io::Result<Finished> {
        let Some(inner) = self.inner.take() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let hash = inner.hasher.finalize();
        let trailer = record::trailer(inner.octets - inner.head, &hash);
        let done = inner
            .file
            .write_all_at(&trailer, HEADER as u64 + inner.octets)
            .and_then(|()| inner.file.sync())
            .and_then(|()| inner.disk.sync_dir(&inner.layout.segments()));
        if let Err(error) = done {
            // It failed before anybody was told of it, so removing it is safe; if that fails too it is an orphan.
            let _ = inner.disk.remove(&inner.layout.segment(inner.segment));
            return Err(error);
        }
        Ok(Finished {
            content: inner.content,
            location: Location { segment: inner.segment, offset: HEADER as u64, hash: *hash.as_bytes() },
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            // Nobody was told of it; if it cannot be removed it is an orphan that compaction finds.
            let _ = inner.disk.remove(&inner.layout.segment(inner.segment));
        }
    }
}

/// What a record costs beyond its octets.
pub(crate) const OVERHEAD: u64 = (HEADER + TRAILER) as u64;
