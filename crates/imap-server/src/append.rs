//! APPEND: messages are gathered, then placed all at once (rule 5).

use bytes::{Bytes, BytesMut};
use daemon::{Memory, Share};
use digest::Digest;
use imap::Append;
use imap::server::Done;
use store::{MailboxId, NewBody, NewContent, NewMessage, Staged, Store, ZonedTime};

use crate::text;

/// Octets kept in memory; beyond it a message goes to disk as it comes.
const IN_MEMORY: u64 = 1 << 20;
/// Octets of all messages of one command that are kept in memory.
const ALL_IN_MEMORY: u64 = 4 << 20;

/// The messages of one APPEND.
#[derive(Debug)]
pub(crate) struct Appending {
    pub(crate) mailbox: MailboxId,
    pub(crate) uid_validity: u32,
    messages: Vec<NewMessage>,
    /// Octets of those in memory.
    in_memory: u64,
    memory: Memory,
    /// What they take of the memory of all.
    shares: Vec<Share>,
    current: Option<Current>,
    /// Why none of them will be placed.
    refusal: Option<Done>,
}

#[derive(Debug)]
struct Current {
    append: Append,
    received: ZonedTime,
    memory: BytesMut,
    staged: Option<Staged>,
    /// The last octet was a CR.
    after_cr: bool,
}

impl Appending {
    pub(crate) fn new(mailbox: MailboxId, uid_validity: u32, memory: Memory) -> Self {
        let (messages, shares) = (Vec::new(), Vec::new());
        Self { mailbox, uid_validity, messages, in_memory: 0, memory, shares, current: None, refusal: None }
    }

    /// A message begins.
    pub(crate) async fn begin(&mut self, append: Append, octets: u64, store: &dyn Store) -> store::Result<()> {
        let now = jiff::Zoned::now();
        let here = i16::try_from(now.offset().seconds() / 60).unwrap_or_default();
        let (unix, offset_minutes) = append.date.unwrap_or((now.timestamp().as_second(), here));
        let received = ZonedTime { unix, offset_minutes };
        let fits = octets <= IN_MEMORY && self.in_memory + octets <= ALL_IN_MEMORY;
        let staged = match fits.then(|| self.memory.try_take(octets)).flatten() {
            Some(share) => {
                self.in_memory += octets;
                self.shares.push(share);
                None
            }
            None => Some(store.stage(Bytes::new(), received).await?),
        };
        self.current = Some(Current { append, received, memory: BytesMut::new(), staged, after_cr: false });
        Ok(())
    }

    /// Takes octets; a bare LF becomes CRLF (rule 10).
    pub(crate) async fn push(&mut self, octets: &Bytes) -> store::Result<()> {
        let Some(current) = &mut self.current else { return Err(store::Error::Conflict) };
        current.memory.reserve(octets.len() + 16);
        let mut rest = &octets[..];
        while let Some(at) = rest.iter().position(|octet| *octet == b'\n') {
            let before_cr = if at == 0 { current.after_cr } else { rest[at - 1] == b'\r' };
            current.memory.extend_from_slice(&rest[..at]);
            current.memory.extend_from_slice(if before_cr { b"\n" } else { b"\r\n" });
            current.after_cr = false;
            rest = &rest[at + 1..];
        }
        if let Some(last) = rest.last() {
            current.after_cr = *last == b'\r';
        }
        current.memory.extend_from_slice(rest);
        if let Some(mut staged) = current.staged.take() {
            let piece = current.memory.split().freeze();
            let written = tokio::task::spawn_blocking(move || staged.write(&piece).map(|()| staged)).await;
            current.staged = Some(written.map_err(|_| store::Error::Busy)??);
        }
        Ok(())
    }

    /// The message is complete; what is wrong with it is told at the end of the command.
    pub(crate) async fn end(&mut self) {
        let Some(current) = self.current.take() else { return };
        if let Err(error) = self.keep(current).await {
            self.refusal = Some(text::refused(&error));
        }
    }

    async fn keep(&mut self, current: Current) -> store::Result<()> {
        let Current { append, received, memory, staged, .. } = current;
        let memory = memory.freeze();
        // A message on disk is in memory once more, to be looked at as a whole.
        let _share = match &staged {
            Some(staged) => Some(self.memory.take(staged.octets()).await.ok_or(store::Error::Busy)?),
            None => None,
        };
        let work = tokio::task::spawn_blocking(move || -> store::Result<_> {
            let (whole, body) = match staged {
                Some(staged) => {
                    let octets = usize::try_from(staged.octets()).unwrap_or(usize::MAX);
                    (staged.read(0, octets)?, NewBody::Staged(staged))
                }
                None => (memory.clone(), NewBody::Memory(vec![memory])),
            };
            let (digest, thread) = (Digest::of(&whole).encode(), digest::thread(&whole));
            Ok(NewContent { head: Bytes::new(), body, digest: digest.into(), thread })
        });
        let content = work.await.map_err(|_| store::Error::Busy)??;
        self.messages.push(NewMessage { content, received, flags: text::flags(&append.flags) });
        Ok(())
    }

    /// Places them.
    pub(crate) async fn commit(self, store: &dyn Store) -> Done {
        if let Some(refusal) = self.refusal {
            return refusal;
        }
        match store.append(self.mailbox, self.messages).await {
            Ok(placed) => {
                let uids = crate::view::store_ranges(placed.iter().map(|placed| placed.uid));
                let code = format!("APPENDUID {} {}", self.uid_validity, imap::print_ranges(&uids));
                Done::ok("appended").code(code)
            }
            Err(error) => text::refused(&error),
        }
    }
}
