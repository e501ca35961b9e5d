//! The snapshots that the process knows, and how the others are read.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::Snapshot;
use crate::Result;
use crate::index::{mailboxes, messages};
use crate::readers::Readers;
use crate::types::{Mailbox, MailboxId};

/// Mailboxes whose snapshot is kept.
const MAX_SNAPSHOTS: usize = 256;
/// Messages of one piece; a mailbox with more is read in pieces.
const PIECE: u32 = 8_192;
/// Pieces that are asked for at once.
const SIDE_BY_SIDE: usize = 4;

/// The snapshots that the process knows.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<HashMap<MailboxId, Arc<Snapshot>>>);

/// What one look at a mailbox gives.
enum Look {
    Snapshot(Arc<Snapshot>),
    /// Not known, and too large for one look: its keywords.
    Large(Vec<String>),
}

impl Snapshots {
    /// The mailbox that `find` finds, and its snapshot as it is now.
    ///
    /// A large one that is not known is read in pieces: each waits for the disk on its own, and other looks have their
    /// turn between them. The pieces are of different moments, none before the first look; what has changed since then
    /// makes them one.
    pub(crate) async fn open(
        self: &Arc<Self>,
        readers: &Readers,
        find: impl FnOnce(&Connection) -> Result<Mailbox> + Send + 'static,
    ) -> Result<(Mailbox, Arc<Snapshot>)> {
        let snapshots = Arc::clone(self);
        let look = move |connection: &Connection| {
            let mut reading = connection.unchecked_transaction()?;
            let mut mailbox = find(&reading)?;
            let known = snapshots.known(mailbox.id);
            if known.as_ref().is_some_and(|known| known.mod_seq > mailbox.mod_seq) {
                // Another look, which began later, was faster; a large mailbox is not read anew for that.
                drop(reading);
                reading = connection.unchecked_transaction()?;
                mailbox = mailboxes::by_id(&reading, mailbox.id)?;
            }
            let look = match known.filter(|known| leads_to(known, &mailbox)) {
                Some(known) => Look::Snapshot(refresh(&reading, &mailbox, known)?),
                None if mailbox.messages <= PIECE => Look::Snapshot(read(&reading, &mailbox)?),
                None => Look::Large(mailboxes::keywords(&reading, mailbox.id)?),
            };
            Ok((mailbox, look))
        };
        let (mailbox, snapshot) = match readers.short(look).await? {
            (mailbox, Look::Snapshot(snapshot)) => (mailbox, snapshot),
            (mailbox, Look::Large(keywords)) => gather(readers, mailbox, keywords).await?,
        };
        self.remember(&snapshot);
        Ok((mailbox, snapshot))
    }

    pub(crate) fn forget(&self, mailbox: MailboxId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&mailbox);
    }

    fn known(&self, mailbox: MailboxId) -> Option<Arc<Snapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&mailbox).cloned()
    }

    fn remember(&self, snapshot: &Arc<Snapshot>) {
        let mut snapshots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshots.len() >= MAX_SNAPSHOTS {
            snapshots.retain(|_, snapshot| Arc::strong_count(snapshot) > 1);
        }
        if snapshots.len() >= MAX_SNAPSHOTS {
            snapshots.clear();
        }
        match snapshots.get(&snapshot.mailbox) {
            Some(newer) if newer.mod_seq > snapshot.mod_seq => {}
            _ => {
                snapshots.insert(snapshot.mailbox, Arc::clone(snapshot));
            }
        }
    }
}

/// Whether what has changed since makes the known snapshot that of the mailbox as it is now.
fn leads_to(known: &Snapshot, now: &Mailbox) -> bool {
    known.uid_validity == now.uid_validity && known.mod_seq <= now.mod_seq
}

fn refresh(reading: &Connection, now: &Mailbox, known: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
    if known.mod_seq == now.mod_seq {
        return Ok(known);
    }
    let changes = messages::changes(reading, now.id, known.mod_seq, Some(known.uid_next))?;
    let keywords = mailboxes::keywords(reading, now.id)?;
    let keywords = (keywords[..] != known.keywords[..]).then_some(keywords);
    Ok(Arc::new(known.after(&changes, keywords)))
}

fn read(reading: &Connection, now: &Mailbox) -> Result<Arc<Snapshot>> {
    let rows = messages::rows(reading, now.id, 0..=u32::MAX)?;
    Ok(Arc::new(Snapshot::new(now, mailboxes::keywords(reading, now.id)?, &rows)))
}

async fn gather(readers: &Readers, first: Mailbox, keywords: Vec<String>) -> Result<(Mailbox, Arc<Snapshot>)> {
    let id = first.id;
    let mut rows = Vec::with_capacity(first.messages as usize);
    for pieces in pieces(&first).chunks(SIDE_BY_SIDE) {
        let looks = pieces.iter().cloned().map(|uids| move |index: &Connection| messages::rows(index, id, uids));
        for piece in readers.side_by_side(looks).await? {
            rows.extend(piece);
        }
    }
    let known = Arc::new(Snapshot::new(&first, keywords, &rows));
    let last = move |connection: &Connection| {
        let reading = connection.unchecked_transaction()?;
        let mailbox = mailboxes::by_id(&reading, id)?;
        let snapshot =
            if leads_to(&known, &mailbox) { refresh(&reading, &mailbox, known)? } else { read(&reading, &mailbox)? };
        Ok((mailbox, snapshot))
    };
    readers.short(last).await
}

/// The UIDs of a mailbox, divided so that each piece has about [`PIECE`] messages if they lie evenly.
fn pieces(mailbox: &Mailbox) -> Vec<RangeInclusive<u32>> {
    let width = mailbox.uid_next.div_ceil(mailbox.messages.div_ceil(PIECE).max(1)).max(1);
    let firsts = (0..mailbox.uid_next).step_by(width as usize);
    firsts.map(|first| first..=first.saturating_add(width).min(mailbox.uid_next) - 1).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::runtime::Handle;

    use super::*;
    use crate::disk::Layout;
    use crate::types::{FlagNames, NewAccount, NewBody, NewContent, NewMessage, ZonedTime};
    use crate::{Embedded, Options, Store};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_look_has_just_made_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options { min_free_octets: 0, ..Options::default() }).unwrap();
        let new = NewAccount { key: "ann".into(), address: "ann".into(), quota_octets: None, credentials: Vec::new() };
        let account = store.add_accounts(vec![new]).await.unwrap()[0];
        let inbox = store.mailbox(account, "INBOX").await.unwrap().id;
        let index = Layout { root: directory.path().to_owned() }.index();
        let readers = Arc::new(Readers::start(&index, None, 8).unwrap());
        let snapshots = Arc::<Snapshots>::default();
        let (runtime, others, shared) = (Handle::current(), Arc::clone(&readers), Arc::clone(&snapshots));
        let meanwhile = async move {
            let (head, body, digest) = (Bytes::new(), NewBody::Memory(vec!["x".into()]), Bytes::new());
            let content = NewContent { head, body, digest, thread: 0 };
            let message = NewMessage { content, flags: FlagNames::default(), received: ZonedTime::default() };
            store.append(inbox, vec![message]).await.unwrap();
            shared.open(&others, move |index| mailboxes::by_id(index, inbox)).await.unwrap();
        };
        let find = move |index: &Connection| {
            let mailbox = mailboxes::by_id(index, inbox)?;
            runtime.block_on(meanwhile);
            Ok(mailbox)
        };
        let (mailbox, snapshot) = snapshots.open(&readers, find).await.unwrap();
        assert!(Arc::ptr_eq(&snapshot, &snapshots.known(inbox).unwrap()), "nothing was read again");
        assert_eq!(mailbox.mod_seq, snapshot.mod_seq);
    }
}
