//! The due rows of one destination that are in memory, gathered by message, the most urgent first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Row;
use crate::time::{Micros, NEVER, micros};

/// Messages that wait for a session.
#[derive(Debug, Default)]
pub(super) struct Pile {
    order: BTreeMap<Key, Waiting>,
    keys: BTreeMap<Arc<str>, Key>,
    rows: usize,
}

/// Fresh before tried, then by priority, then by time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    tried: bool,
    reluctance: i16,
    due: Micros,
    queue_id: Arc<str>,
}

#[derive(Debug)]
struct Waiting {
    source: Arc<str>,
    numbers: Vec<u32>,
}

/// The message whose turn it is.
#[derive(Debug)]
pub(super) struct Best<'a> {
    pub(super) queue_id: &'a Arc<str>,
    pub(super) source: &'a Arc<str>,
    pub(super) tried: bool,
    pub(super) due: Micros,
}

impl Pile {
    /// Adds a row; false if it is there already.
    pub(super) fn add(&mut self, row: Row) -> bool {
        let mut key = Key {
            tried: row.attempts > 0,
            reluctance: -i16::from(row.priority),
            due: micros(row.due),
            queue_id: row.queue_id,
        };
        let mut waiting = Waiting { source: row.source, numbers: Vec::new() };
        if let Some(old) = self.keys.get(&key.queue_id) {
            let known = self.order.get(old).is_some_and(|waiting| waiting.numbers.contains(&row.number));
            if known {
                return false;
            }
            // The recipients of a message stay together, as urgent as the most urgent of them.
            key.tried &= old.tried;
            key.reluctance = key.reluctance.min(old.reluctance);
            key.due = key.due.min(old.due);
            if let Some(old) = self.order.remove(old) {
                waiting = old;
            }
        }
        waiting.numbers.push(row.number);
        self.rows += 1;
        self.keys.insert(key.queue_id.clone(), key.clone());
        self.order.insert(key, waiting);
        true
    }

    pub(super) fn best(&self) -> Option<Best<'_>> {
        let (key, waiting) = self.order.first_key_value()?;
        Some(Best { queue_id: &key.queue_id, source: &waiting.source, tried: key.tried, due: key.due })
    }

    /// Takes up to `count` recipients of the best message, the lowest numbers first.
    pub(super) fn take(&mut self, count: usize) -> Vec<u32> {
        let Some(mut first) = self.order.first_entry() else { return Vec::new() };
        let waiting = first.get_mut();
        waiting.numbers.sort_unstable();
        let rest = waiting.numbers.split_off(count.min(waiting.numbers.len()));
        let taken = std::mem::replace(&mut waiting.numbers, rest);
        if waiting.numbers.is_empty() {
            let (key, _) = first.remove_entry();
            self.keys.remove(&key.queue_id);
        }
        self.rows -= taken.len();
        taken
    }

    pub(super) fn messages(&self) -> usize {
        self.order.len()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether one was never tried.
    pub(super) fn has_fresh(&self) -> bool {
        self.best().is_some_and(|best| !best.tried)
    }

    /// The earliest time at which one was due.
    pub(super) fn earliest(&self) -> Micros {
        self.order.keys().map(|key| key.due).min().unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn row(queue_id: &str, number: u32, due: i64, priority: i8, attempts: u32) -> Row {
        let due = Timestamp::from_second(due).unwrap();
        Row { queue_id: queue_id.into(), number, due, priority, attempts, source: "".into() }
    }

    #[test]
    fn the_order() {
        let mut pile = Pile::default();
        for (queue_id, number, due, priority, attempts) in [
            ("old", 0, 1, 0, 3),
            ("urgent and tried", 0, 5, 4, 1),
            ("new", 0, 9, 0, 0),
            ("newer", 0, 10, 0, 0),
            ("urgent", 1, 11, 4, 0),
            ("urgent", 0, 11, 4, 2),
        ] {
            assert!(pile.add(row(queue_id, number, due, priority, attempts)));
        }
        assert!(!pile.add(row("urgent", 0, 11, 4, 2)), "twice");
        assert_eq!((pile.rows(), pile.messages(), pile.earliest()), (6, 5, 1_000_000));
        let mut found = Vec::new();
        while let Some(best) = pile.best() {
            let queue_id = best.queue_id.to_string();
            found.push((queue_id, pile.take(10)));
        }
        let found: Vec<_> = found.iter().map(|(queue_id, numbers)| (queue_id.as_str(), &numbers[..])).collect();
        let expected: [(&str, &[u32]); 5] =
            [("urgent", &[0, 1]), ("new", &[0]), ("newer", &[0]), ("urgent and tried", &[0]), ("old", &[0])];
        assert_eq!(found, expected);
        assert_eq!(pile.rows(), 0);
    }

    #[test]
    fn what_is_left_of_a_message_stays_first() {
        let mut pile = Pile::default();
        for number in 0..5 {
            pile.add(row("a", number, 1, 0, 0));
        }
        assert_eq!(pile.take(2), [0, 1]);
        assert_eq!(pile.take(2), [2, 3]);
        assert_eq!((pile.rows(), pile.messages()), (1, 1));
        assert_eq!(pile.take(2), [4]);
        assert_eq!(pile.messages(), 0);
    }
}
