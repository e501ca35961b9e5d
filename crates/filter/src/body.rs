//! The octets of a message's body, which may be in memory or on disk.

use std::io;

use bytes::Bytes;

/// The body of a message, read piece by piece and as often as there are filters.
pub trait MessageBody: Send {
    /// Octets in all.
    fn octets(&self) -> u64;

    /// The octets from `at` on, at most `most`; none at the end.
    ///
    /// # Errors
    /// The message cannot be read; it is deferred then.
    fn read(&mut self, at: u64, most: usize) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// A body that is at hand.
impl MessageBody for Bytes {
    fn octets(&self) -> u64 {
        self.len() as u64
    }

    async fn read(&mut self, at: u64, most: usize) -> io::Result<Bytes> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(from..from.saturating_add(most).min(self.len())))
    }
}

/// The body as the filters before have left it.
#[derive(Debug)]
pub(crate) struct Current<'a, B> {
    pub(crate) original: &'a mut B,
    pub(crate) replaced: Option<Vec<Bytes>>,
}

impl<B: MessageBody> Current<'_, B> {
    pub(crate) fn octets(&self) -> u64 {
        match &self.replaced {
            Some(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            None => self.original.octets(),
        }
    }

    /// The octets from `at` on; at least one unless it is the end.
    pub(crate) async fn read(&mut self, at: u64, most: usize) -> io::Result<Bytes> {
        let Some(pieces) = &mut self.replaced else { return self.original.read(at, most).await };
        let mut before = 0;
        for piece in pieces {
            let octets = piece.len() as u64;
            if at < before + octets {
                return piece.read(at - before, most).await;
            }
            before += octets;
        }
        Ok(Bytes::new())
    }
}
