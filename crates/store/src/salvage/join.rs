//! Makes what was gathered agree: what is gone takes along what was in it, what changed is as it was last, and what has
//! lost its other half does not come back. All facts are known by now, so that their order does not matter: where a
//! clock was set back, what came later sorts before what it is about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Salvaged;
use super::gather::{Gathered, Place, Placement, Spooled};
use crate::fact::Fact;
use crate::segment::reader::Found;
use crate::spool::SpoolRecipient;
use crate::types::ZonedTime;

/// What the index will hold. Each placement has its mailbox and content, each spool entry its content and a recipient,
/// each recipient the entry.
pub(super) struct Joined {
    pub(super) contents: BTreeMap<i64, (Found, ZonedTime)>,
    /// How many messages and spool entries share a content, if any do.
    pub(super) refs: HashMap<i64, usize>,
    /// The contents that nobody can place.
    pub(super) unplaced: Vec<i64>,
    /// Facts of the directory, in the order of their commits.
    pub(super) directory: Vec<Fact>,
    pub(super) places: BTreeMap<i64, Place>,
    /// The largest UIDVALIDITY that a mailbox got, deleted ones included, or 0.
    pub(super) uid_validity: u32,
    /// By mailbox and number.
    pub(super) keywords: BTreeMap<(i64, u32), String>,
    /// By mailbox and UID.
    pub(super) placements: BTreeMap<(i64, u32), Placement>,
    /// By queue id.
    pub(super) spooled: BTreeMap<String, Spooled>,
    /// By queue id and number.
    pub(super) recipients: BTreeMap<(String, u32), SpoolRecipient>,
}

impl Gathered {
    /// Joins the facts, and reports what comes back and what does not.
    pub(super) fn join(mut self, report: &mut Salvaged) -> Joined {
        self.places.retain(|id, _| !self.gone.contains(id));
        self.keywords.retain(|(mailbox, _), _| self.places.contains_key(mailbox));
        self.recipients.retain(|recipient, _| !self.done.contains(recipient));
        self.set_flags();
        self.advance_places();
        self.tell_names_apart();
        self.placements.retain(|place, _| !self.expunged.contains_key(place) && self.places.contains_key(&place.0));
        let all = self.placements.len() + self.recipients.len();
        self.placements.retain(|_, placement| self.contents.contains_key(&placement.content));
        let waited_for: BTreeSet<&str> = self.recipients.keys().map(|(queue_id, _)| queue_id.as_str()).collect();
        self.spooled.retain(|queue_id, entry| {
            self.contents.contains_key(&entry.content) && waited_for.contains(queue_id.as_str())
        });
        self.recipients.retain(|(queue_id, _), _| self.spooled.contains_key(queue_id));
        let unplaced: Vec<i64> = self.contents.keys().filter(|id| !self.known.contains(id)).copied().collect();
        report.placed = self.placements.len();
        report.spooled = self.recipients.len();
        report.recovered = unplaced.len();
        report.lost = all - report.placed - report.spooled;
        Joined {
            refs: self.refs(&unplaced),
            unplaced,
            contents: self.contents,
            directory: self.directory,
            places: self.places,
            uid_validity: self.uid_validity,
            keywords: self.keywords,
            placements: self.placements,
            spooled: self.spooled,
            recipients: self.recipients,
        }
    }

    /// Gives messages the flags they had last.
    fn set_flags(&mut self) {
        for (place, (mod_seq, flags)) in &self.flagged {
            if let Some(placement) = self.placements.get_mut(place).filter(|old| old.mod_seq < *mod_seq) {
                (placement.mod_seq, placement.flags) = (*mod_seq, *flags);
            }
        }
    }

    /// Moves mailboxes beyond every UID and mod-sequence they gave, those of expunged messages included.
    fn advance_places(&mut self) {
        let placed = self.placements.iter().map(|(place, placement)| (place, placement.mod_seq));
        let expunges = self.expunged.iter().map(|(place, mod_seq)| (place, *mod_seq));
        for (&(mailbox, uid), mod_seq) in placed.chain(expunges) {
            if let Some(place) = self.places.get_mut(&mailbox) {
                place.uid_next = place.uid_next.max(uid.saturating_add(1));
                place.mod_seq = place.mod_seq.max(mod_seq);
            }
        }
    }

    /// Adds its id to the name of a mailbox when an older one has that name: the record that this one was deleted or
    /// got another may be lost.
    fn tell_names_apart(&mut self) {
        let mut names: BTreeSet<(i64, String)> = BTreeSet::new();
        for (id, place) in &mut self.places {
            let is_new = names.insert((place.account, place.name.clone()));
            if !is_new {
                place.name = format!("{} {id}", place.name);
            }
        }
    }

    fn refs(&self, unplaced: &[i64]) -> HashMap<i64, usize> {
        let placed = self.placements.values().map(|placement| placement.content);
        let spooled = self.spooled.values().map(|entry| entry.content);
        let mut refs = HashMap::new();
        for content in placed.chain(spooled).chain(unplaced.iter().copied()) {
            *refs.entry(content).or_default() += 1;
        }
        refs
    }
}
