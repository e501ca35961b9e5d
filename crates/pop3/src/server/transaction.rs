//! The maildrop of a session: numbers, marks, listings.

use std::fmt;
use std::sync::Arc;

use super::{RESPONSES, Server, State};
use crate::command::MessageNumber;
use crate::listing::{Listed, put_scan, put_unique_id};

/// A maildrop and its marks.
pub(super) struct Transaction {
    maildrop: Arc<[Listed]>,
    /// A bit for each message, once one has been marked.
    deleted: Vec<u64>,
    /// Messages not marked, and their octets.
    messages: usize,
    octets: u64,
}

impl Transaction {
    pub(super) fn new(maildrop: Arc<[Listed]>) -> Self {
        let mut transaction = Self { maildrop, deleted: Vec::new(), messages: 0, octets: 0 };
        transaction.reset();
        transaction
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// The message, if it is there and not marked.
    pub(super) fn message(&self, message: MessageNumber) -> Option<&Listed> {
        self.maildrop.get(message.index()).filter(|_| !self.is_deleted(message))
    }

    pub(super) fn is_deleted(&self, message: MessageNumber) -> bool {
        let word = self.deleted.get(message.index() / 64).copied().unwrap_or_default();
        word >> (message.index() % 64) & 1 == 1
    }

    /// Marks it; false if it was not there to mark.
    pub(super) fn delete(&mut self, message: MessageNumber) -> bool {
        let Some(octets) = self.message(message).map(|listed| listed.octets) else { return false };
        if self.deleted.is_empty() {
            self.deleted = vec![0; self.maildrop.len().div_ceil(64)];
        }
        if let Some(word) = self.deleted.get_mut(message.index() / 64) {
            *word |= 1 << (message.index() % 64);
        }
        self.messages -= 1;
        self.octets = self.octets.saturating_sub(octets);
        true
    }

    /// Takes all marks away.
    pub(super) fn reset(&mut self) {
        self.deleted = Vec::new();
        // Beyond what a number can say nothing can be asked for.
        self.messages = self.maildrop.len().min(u32::MAX as usize);
        self.octets = self.maildrop.iter().fold(0, |sum, listed| sum.saturating_add(listed.octets));
    }

    pub(super) fn deleted(&self) -> Vec<MessageNumber> {
        let marked = |(index, word): (usize, &u64)| {
            let word = *word;
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.filter_map(move |bit| MessageNumber::from_index(index * 64 + bit)).collect::<Vec<_>>()
        };
        self.deleted.iter().enumerate().flat_map(marked).collect()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("messages", &self.messages).finish_non_exhaustive()
    }
}

/// A multi-line response that is made as it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    pub(super) of: ListingOf,
    /// The index of the next message.
    pub(super) next: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ListingOf {
    Sizes,
    UniqueIds,
}

impl<B> Server<B> {
    /// Makes the next lines of the listing under way.
    pub(super) fn list_more(&mut self) {
        let (Some(listing), State::Transaction(transaction)) = (&mut self.listing, &self.state) else {
            self.listing = None;
            return;
        };
        while self.responses.len() < RESPONSES {
            let message = MessageNumber::from_index(listing.next);
            let Some((message, listed)) = message.zip(transaction.maildrop.get(listing.next)) else {
                self.responses.extend_from_slice(b".\r\n");
                self.listing = None;
                return;
            };
            listing.next += 1;
            if !transaction.is_deleted(message) {
                match listing.of {
                    ListingOf::Sizes => put_scan(message, listed, &mut self.responses),
                    ListingOf::UniqueIds => put_unique_id(message, listed, &mut self.responses),
                }
            }
        }
    }
}
