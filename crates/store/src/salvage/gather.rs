//! What the segments tell, each fact for itself: of a thing that is told twice the last word is kept. Nothing is held
//! against anything else here, for what a fact is about may come after it.

use std::collections::{BTreeMap, BTreeSet};

use super::Salvaged;
use crate::Result;
use crate::disk::{self, Disk, Layout};
use crate::fact::Fact;
use crate::index::spool::destination_of;
use crate::segment::reader::{self, Found};
use crate::segment::record::Kind;
use crate::spool::{SpoolRecipient, SpoolState};
use crate::types::ZonedTime;

/// All that the segments tell.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) contents: BTreeMap<i64, (Found, ZonedTime)>,
    /// The contents that a message or a spool entry is or was made of.
    pub(super) known: BTreeSet<i64>,
    /// Facts of the directory, in the order of their commits.
    pub(super) directory: Vec<Fact>,
    pub(super) places: BTreeMap<i64, Place>,
    /// Mailboxes that were deleted.
    pub(super) gone: BTreeSet<i64>,
    /// The largest UIDVALIDITY that a mailbox got, or 0.
    pub(super) uid_validity: u32,
    /// By mailbox and number.
    pub(super) keywords: BTreeMap<(i64, u32), String>,
    /// By mailbox and UID, as are the next two.
    pub(super) placements: BTreeMap<(i64, u32), Placement>,
    /// The largest mod-sequence of a change of flags, with the flags of then.
    pub(super) flagged: BTreeMap<(i64, u32), (u64, u64)>,
    /// The mod-sequence of the expunge.
    pub(super) expunged: BTreeMap<(i64, u32), u64>,
    /// By queue id.
    pub(super) spooled: BTreeMap<String, Spooled>,
    /// By queue id and number, as are those who were done with.
    pub(super) recipients: BTreeMap<(String, u32), SpoolRecipient>,
    pub(super) done: BTreeSet<(String, u32)>,
}

/// A message in a mailbox, as its last facts have it.
pub(super) struct Placement {
    pub(super) content: i64,
    pub(super) account: i64,
    pub(super) mod_seq: u64,
    pub(super) flags: u64,
    pub(super) received: ZonedTime,
    pub(super) saved: i64,
    pub(super) thread: i64,
    pub(super) prefix: Vec<u8>,
}

/// A mailbox, as its first fact has it, with the name of the last.
pub(super) struct Place {
    pub(super) account: i64,
    pub(super) name: String,
    pub(super) uid_validity: u32,
    pub(super) special_use: Option<String>,
    pub(super) uid_next: u32,
    pub(super) mod_seq: u64,
}

/// A spool entry, as its last fact has it.
pub(super) struct Spooled {
    pub(super) content: i64,
    pub(super) sender: String,
    pub(super) parameters: Vec<u8>,
    pub(super) created: i64,
}

impl Gathered {
    /// Reads all segments.
    pub(super) fn read(disk: &dyn Disk, layout: &Layout, report: &mut Salvaged) -> Result<Self> {
        let mut all = Self::default();
        let mut facts: Vec<(i64, i64, usize, Fact)> = Vec::new();
        for name in disk.list(&layout.segments())? {
            let Some(id) = disk::segment_id(&name) else { continue };
            let file = disk.open(&layout.segment(id))?;
            let (records, whole) = reader::scan(file.as_ref(), id)?;
            report.segments += 1;
            report.torn += usize::from(!whole);
            for (number, record) in records.into_iter().enumerate() {
                if record.header.kind == Kind::Message {
                    let at = ZonedTime { unix: record.header.date, offset_minutes: record.header.zone };
                    all.contents.insert(record.header.content, (record, at));
                    continue;
                }
                let mut payload = &record.payload[..];
                while let Some(fact) = Fact::decode(&mut payload) {
                    facts.push((record.header.date, id, number, fact));
                }
            }
        }
        // Stable: facts of one record keep their order, and commits of different processes take turns.
        facts.sort_by_key(|(at, segment, number, _)| (*at, *segment, *number));
        for (_, _, _, fact) in facts {
            all.take(fact);
        }
        Ok(all)
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Placed { content, account, mailbox, uid, mod_seq, flags, received, zone, saved, thread, prefix } => {
                self.known.insert(content);
                let received = ZonedTime { unix: received, offset_minutes: i16::try_from(zone).unwrap_or_default() };
                let placement = Placement { content, account, mod_seq, flags, received, saved, thread, prefix };
                self.placements.insert((mailbox, uid), placement);
            }
            Fact::Flagged { mailbox, uid, mod_seq, flags } => {
                let last = self.flagged.entry((mailbox, uid)).or_default();
                *last = (*last).max((mod_seq, flags));
            }
            Fact::Expunged { mailbox, uid, mod_seq } => {
                self.expunged.insert((mailbox, uid), mod_seq);
            }
            Fact::Mailbox { id, account, name, uid_validity, special_use } => {
                self.uid_validity = self.uid_validity.max(uid_validity);
                let place = self.places.entry(id).or_insert(Place {
                    account,
                    name: String::new(),
                    uid_validity,
                    special_use,
                    uid_next: 1,
                    mod_seq: 1,
                });
                place.name = name;
            }
            Fact::MailboxGone { id } => {
                self.gone.insert(id);
            }
            Fact::Keyword { mailbox, number, name } => {
                self.keywords.insert((mailbox, number), name);
            }
            Fact::Spooled { queue_id, content, sender, parameters, created } => {
                self.known.insert(content);
                self.spooled.insert(queue_id, Spooled { content, sender, parameters, created });
            }
            Fact::SpooledRecipient { queue_id, number, address, parameters, due, attempts, last, .. } => {
                let destination = destination_of(&address);
                let key = (queue_id.clone(), number);
                let recipient = (address, destination, parameters, due, attempts, last);
                self.recipients.insert(key, on_hold(queue_id, number, recipient));
            }
            Fact::SpooledFor { queue_id, number, address, destination, parameters, due, attempts, last, .. } => {
                let key = (queue_id.clone(), number);
                let recipient = (address, destination, parameters, due, attempts, last);
                self.recipients.insert(key, on_hold(queue_id, number, recipient));
            }
            Fact::SpooledRecipientGone { queue_id, number } => {
                self.done.insert((queue_id, number));
            }
            directory => self.directory.push(directory),
        }
    }
}

/// A spooled recipient as it comes back: nobody knows what was done since its last record (rule 2). When it was released
/// before is not in the records, and does not matter: it has to be released again.
fn on_hold(
    queue_id: String,
    number: u32,
    (address, destination, parameters, due, attempts, last): (String, String, Vec<u8>, i64, u32, Vec<u8>),
) -> SpoolRecipient {
    let state = SpoolState::Held;
    SpoolRecipient { queue_id, number, address, destination, parameters, state, due, attempts, last, released: 0 }
}
