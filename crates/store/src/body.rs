//! The octets of a message on their way out.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::disk::{Disk, File, Layout};
use crate::readers::Readers;
use crate::types::{ContentRef, Message};
use crate::{Error, Result};

/// Open segments that are kept at hand.
const MAX_OPEN: usize = 64;

/// The segments this process reads.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open: Mutex<HashMap<i64, Arc<dyn File>>>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout) -> Self {
        Self { disk, layout, open: Mutex::default() }
    }

    /// The segment, opened. Blocks.
    pub(crate) fn file(&self, segment: i64) -> Result<Arc<dyn File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&self.layout.segment(segment)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Corrupt(format!("segment {segment:016x} is missing")),
            _ => error.into(),
        })?;
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// The octets of a content. Blocks.
    pub(crate) fn read(&self, content: ContentRef) -> Result<Bytes> {
        let octets = usize::try_from(content.octets).unwrap_or(usize::MAX);
        read(&Bytes::new(), self.file(content.segment)?.as_ref(), content.offset, 0, octets)
    }

    /// The first of these messages with their octets, as many as have no more than `most` together; the first in any
    /// case, without its octets where they alone are more. Blocks.
    pub(crate) fn read_whole(&self, messages: Vec<Message>, most: u64) -> Result<Vec<(Message, Option<Bytes>)>> {
        let mut whole = Vec::with_capacity(messages.len());
        let mut left = most;
        for message in messages {
            if message.octets > left {
                if whole.is_empty() {
                    whole.push((message, None));
                }
                break;
            }
            left -= message.octets;
            let file = self.file(message.content.segment)?;
            let octets = usize::try_from(message.octets).unwrap_or(usize::MAX);
            let octets = read(&message.prefix, file.as_ref(), message.content.offset, 0, octets)?;
            whole.push((message, Some(octets)));
        }
        Ok(whole)
    }
}

/// A message's octets, or a part of them, read piece by piece. It holds the segment open, so that nothing that happens
/// to the message changes what is read (rule 3).
#[derive(Clone, Debug)]
pub struct Body {
    pub(crate) prefix: Bytes,
    pub(crate) file: Arc<dyn File>,
    pub(crate) offset: u64,
    pub(crate) octets: u64,
    pub(crate) readers: Arc<Readers>,
    pub(crate) range: Range<u64>,
}

impl Body {
    /// The octets left to read.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The part of the whole message between two offsets, cut to what there is.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Self {
        let whole = self.prefix.len() as u64 + self.octets;
        let end = range.end.min(whole);
        Self { range: range.start.min(end)..end, ..self.clone() }
    }

    /// The next octets, at most `most`; `None` at the end.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub async fn next(&mut self, most: usize) -> Result<Option<Bytes>> {
        let Range { start, end } = self.range;
        if start >= end {
            return Ok(None);
        }
        let octets = usize::try_from(end - start).unwrap_or(usize::MAX).min(most.max(1));
        let prefix = self.prefix.clone();
        let file = Arc::clone(&self.file);
        let offset = self.offset;
        let piece = self.readers.short(move |_| read(&prefix, file.as_ref(), offset, start, octets)).await?;
        self.range.start += piece.len() as u64;
        Ok(Some(piece))
    }

    /// All that is left, in one piece.
    ///
    /// # Errors
    /// `Limit` where that is more than `most` octets; `Io`, `Busy`.
    pub async fn whole(mut self, most: usize) -> Result<Bytes> {
        if self.octets() > most as u64 {
            return Err(Error::Limit("octets of a message in memory"));
        }
        Ok(self.next(most).await?.unwrap_or_default())
    }
}

fn read(prefix: &Bytes, file: &dyn File, offset: u64, start: u64, octets: usize) -> Result<Bytes> {
    let mut buffer = vec![0; octets];
    let ahead = usize::try_from(start).unwrap_or(usize::MAX).min(prefix.len());
    let from_prefix = (prefix.len() - ahead).min(octets);
    buffer[..from_prefix].copy_from_slice(&prefix[ahead..ahead + from_prefix]);
    if from_prefix < octets {
        let at = offset + start.saturating_sub(prefix.len() as u64);
        file.read_exact_at(&mut buffer[from_prefix..], at)?;
    }
    Ok(buffer.into())
}
