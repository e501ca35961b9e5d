//! Groups: the destinations that share their mail exchangers, as one provider to be kind to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::destination::{DestinationId, GroupId, NO_GROUP};
use super::window::Window;
use crate::time::Micros;

/// A set of mail exchangers.
#[derive(Debug)]
pub(super) struct Group {
    name: Arc<str>,
    pub(super) sessions: usize,
    pub(super) most: u32,
    pub(super) window: Window,
    pub(super) failures: u8,
    pub(super) blocked: Micros,
    pub(super) alive: Micros,
    pub(super) failed: Micros,
    /// Destinations that wait for room, by ticket.
    pub(super) waiting: BTreeMap<u64, DestinationId>,
    /// Destinations and sessions that remember it.
    references: usize,
}

impl Group {
    pub(super) fn cap(&self) -> usize {
        if self.failures > 0 { 1 } else { usize::try_from(self.window.sessions().min(self.most)).unwrap_or(1) }
    }

    pub(super) fn has_room(&self, now: Micros) -> bool {
        self.blocked <= now && self.sessions < self.cap()
    }
}

/// All groups that somebody remembers.
#[derive(Debug, Default)]
pub(super) struct Groups {
    list: Vec<Option<Group>>,
    free: Vec<GroupId>,
    names: BTreeMap<Arc<str>, GroupId>,
}

impl Groups {
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.list.get(usize::try_from(id).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.list.get_mut(usize::try_from(id).ok()?)?.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The group of that name, remembered once more.
    pub(super) fn remember(&mut self, name: &str, most: u32) -> GroupId {
        if let Some(id) = self.names.get(name).copied() {
            self.remember_again(id);
            return id;
        }
        let name: Arc<str> = name.into();
        let group = Group {
            name: name.clone(),
            sessions: 0,
            most,
            window: Window::new(most),
            failures: 0,
            blocked: Micros::MIN,
            alive: Micros::MIN,
            failed: Micros::MIN,
            waiting: BTreeMap::new(),
            references: 1,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            GroupId::try_from(self.list.len() - 1).unwrap_or(NO_GROUP)
        });
        self.names.insert(name, id);
        if let Some(place) = usize::try_from(id).ok().and_then(|id| self.list.get_mut(id)) {
            *place = Some(group);
        }
        id
    }

    pub(super) fn remember_again(&mut self, id: GroupId) {
        if let Some(group) = self.get_mut(id) {
            group.references += 1;
        }
    }

    /// Remembered once less; the last one forgets it.
    pub(super) fn forget(&mut self, id: GroupId) {
        let Some(group) = self.get_mut(id) else { return };
        group.references -= 1;
        if group.references == 0 {
            let name = group.name.clone();
            self.names.remove(&name);
            if let Some(place) = usize::try_from(id).ok().and_then(|id| self.list.get_mut(id)) {
                *place = None;
            }
            self.free.push(id);
        }
    }
}
