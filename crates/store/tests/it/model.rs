//! The store against a model of it: whatever is done, in whatever order, both say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use mailwright_store::*;
use proptest::prelude::*;

use crate::{Fixture, NOON, content, deliver, flags, options};

const NAMES: [&str; 3] = ["INBOX", "Archive", "Trash"];
const KEYWORDS: [&str; 3] = ["$Junk", "work", "later"];

/// What is done; mailboxes by number.
#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Append(usize, Words),
    Flag(usize, RangeInclusive<u32>, FlagOperation, Words),
    Copy(usize, RangeInclusive<u32>, usize),
    Move(usize, RangeInclusive<u32>, usize),
    Expunge(usize, RangeInclusive<u32>, bool),
    Reopen,
}

/// Flags of a message: the system's as bits, keywords by their number.
type Words = (u64, BTreeSet<usize>);

fn words() -> impl Strategy<Value = Words> {
    (0_u64..32, prop::collection::btree_set(0_usize..3, 0..3))
}

fn step() -> impl Strategy<Value = Step> {
    let mailbox = || 0_usize..3;
    let range = || (1_u32..15, 0_u32..4).prop_map(|(from, more)| from..=from + more);
    let operation = prop_oneof![Just(FlagOperation::Add), Just(FlagOperation::Remove), Just(FlagOperation::Replace)];
    prop_oneof![
        4 => Just(Step::Deliver),
        2 => (mailbox(), words()).prop_map(|(mailbox, words)| Step::Append(mailbox, words)),
        4 => (mailbox(), range(), operation, words())
            .prop_map(|(mailbox, range, operation, words)| Step::Flag(mailbox, range, operation, words)),
        2 => (mailbox(), range(), mailbox()).prop_map(|(from, range, to)| Step::Copy(from, range, to)),
        2 => (mailbox(), range(), mailbox()).prop_map(|(from, range, to)| Step::Move(from, range, to)),
        2 => (mailbox(), range(), any::<bool>())
            .prop_map(|(mailbox, range, deleted)| Step::Expunge(mailbox, range, deleted)),
        1 => Just(Step::Reopen),
    ]
}

/// A mailbox: the UID that comes next, and the messages by UID, as their octets and flags.
#[derive(Clone, Debug, Default)]
struct Box {
    next: u32,
    messages: BTreeMap<u32, (String, Words)>,
}

impl Box {
    fn add(&mut self, message: (String, Words)) -> u32 {
        self.next += 1;
        self.messages.insert(self.next, message);
        self.next
    }

    fn within(&self, range: &RangeInclusive<u32>) -> Vec<u32> {
        self.messages.range(range.clone()).map(|(uid, _)| *uid).collect()
    }
}

type Model = [Box; 3];

fn given((system, keywords): &Words) -> FlagNames {
    let names: Vec<&str> = keywords.iter().map(|number| KEYWORDS[*number]).collect();
    flags(Flags(*system), &names)
}

fn changed((system, keywords): &mut Words, operation: FlagOperation, (bits, names): &Words) {
    match operation {
        FlagOperation::Add => {
            *system |= bits;
            keywords.extend(names);
        }
        FlagOperation::Remove => {
            *system &= !bits;
            keywords.retain(|name| !names.contains(name));
        }
        FlagOperation::Replace => (*system, *keywords) = (*bits, names.clone()),
    }
}

async fn carry_out(f: &mut Fixture, boxes: &[MailboxId; 3], model: &mut Model, step: Step, number: usize) {
    let store = std::sync::Arc::clone(&f.store);
    match step {
        Step::Deliver => {
            let placed = deliver(&*store, f.account, &number.to_string()).await;
            let text = format!("Return-Path: <>\r\nReceived: here\r\n{number}");
            assert_eq!(placed.uid, model[0].add((text, Words::default())));
        }
        Step::Append(at, words) => {
            let message =
                NewMessage { content: content("", &number.to_string()), received: NOON, flags: given(&words) };
            let placed = store.append(boxes[at], vec![message]).await.unwrap();
            assert_eq!(placed[0].uid, model[at].add((number.to_string(), words)));
        }
        Step::Flag(at, range, operation, words) => {
            let outcome =
                store.set_flags(boxes[at], vec![range.clone()], operation, given(&words), None).await.unwrap();
            let touched = model[at].within(&range);
            assert_eq!(outcome.rows.iter().map(|row| row.uid).collect::<Vec<_>>(), touched);
            for uid in touched {
                model[at].messages.entry(uid).and_modify(|(_, known)| changed(known, operation, &words));
            }
        }
        Step::Copy(from, range, to) => {
            let outcome = store.copy(boxes[from], vec![range.clone()], boxes[to]).await.unwrap();
            let mut expected = Vec::new();
            for uid in model[from].within(&range) {
                let message = model[from].messages[&uid].clone();
                expected.push((model[to].add(message), uid));
            }
            assert_eq!(outcome.uids, expected);
        }
        Step::Move(from, range, to) => {
            let outcome = store.move_messages(boxes[from], vec![range.clone()], boxes[to]).await.unwrap();
            let mut expected = Vec::new();
            for uid in model[from].within(&range) {
                let message = model[from].messages.remove(&uid).unwrap();
                expected.push((model[to].add(message), uid));
            }
            assert_eq!(outcome.uids, expected);
        }
        Step::Expunge(at, range, only_deleted) => {
            let outcome = store.expunge(boxes[at], vec![range.clone()], only_deleted).await.unwrap();
            let mut gone = model[at].within(&range);
            gone.retain(|uid| !only_deleted || model[at].messages[uid].1.0 & Flags::DELETED.0 != 0);
            assert_eq!(outcome.uids, gone);
            model[at].messages.retain(|uid, _| !gone.contains(uid));
        }
        Step::Reopen => {
            store.close().await;
            f.store = Embedded::open(f.directory.path(), &options()).unwrap();
        }
    }
}

/// A mailbox as the store has it, by UID; its counts must be those of its messages.
async fn seen(store: &dyn Store, id: MailboxId) -> BTreeMap<u32, (String, Words)> {
    let snapshot = store.snapshot(id).await.unwrap();
    let words = |bits: Flags| {
        let names = bits.keywords().map(|number| &snapshot.keywords[number]);
        let numbers = names.filter_map(|name| KEYWORDS.iter().position(|known| known == name));
        (bits.0 & Flags::SYSTEM.0, numbers.collect())
    };
    let mut found = BTreeMap::new();
    let mut octets = 0;
    for message in store.messages(id, vec![1..=u32::MAX], false, 1_000).await.unwrap() {
        let body = store.body(&message).await.unwrap().whole(1 << 20).await.unwrap();
        assert_eq!(body.len() as u64, message.octets);
        octets += message.octets;
        found.insert(message.uid, (String::from_utf8(body.to_vec()).unwrap(), words(message.flags)));
    }
    let rows: Vec<(u32, Words)> = snapshot.iter().map(|row| (row.uid, words(row.flags))).collect();
    assert_eq!(rows, found.iter().map(|(uid, (_, words))| (*uid, words.clone())).collect::<Vec<_>>());
    let mailbox = store.mailbox_by_id(id).await.unwrap();
    let count = |wanted: fn(u64) -> bool| found.values().filter(|(_, (system, _))| wanted(*system)).count() as u32;
    assert_eq!(mailbox.messages as usize, found.len());
    assert_eq!(mailbox.unseen, count(|bits| bits & Flags::SEEN.0 == 0));
    assert_eq!(mailbox.deleted, count(|bits| bits & Flags::DELETED.0 != 0));
    assert_eq!(mailbox.octets, octets);
    found
}

async fn live(steps: Vec<Step>, remembered: usize) {
    let mut f = crate::fixture().await;
    let mut boxes = [f.inbox; 3];
    for (at, name) in NAMES.iter().enumerate() {
        boxes[at] = f.store.mailbox(f.account, name).await.unwrap().id;
    }
    let mut model = Model::default();
    // What a client remembers of the second mailbox from the middle on (RFC 7162 §3.2.5).
    let (mut then, mut since) = (model[1].clone(), 0);
    let mut mod_seqs = [0; 3];
    for (number, step) in steps.into_iter().enumerate() {
        carry_out(&mut f, &boxes, &mut model, step, number).await;
        if number == remembered {
            (then, since) = (model[1].clone(), f.store.mailbox_by_id(boxes[1]).await.unwrap().mod_seq);
        }
        for (at, id) in boxes.iter().enumerate() {
            let mailbox = f.store.mailbox_by_id(*id).await.unwrap();
            assert!(mailbox.uid_next > model[at].next && mailbox.mod_seq >= mod_seqs[at]);
            mod_seqs[at] = mailbox.mod_seq;
        }
    }
    for (id, expected) in boxes.iter().zip(&model) {
        assert_eq!(seen(&*f.store, *id).await, expected.messages);
    }
    let changes = f.store.changes(boxes[1], since).await.unwrap();
    let is_gone = |uid: u32| changes.vanished.iter().any(|range| range.contains(&uid));
    let is_told = |uid: u32| changes.changed.iter().any(|row| row.uid == uid && row.mod_seq > since);
    for uid in then.messages.keys() {
        assert_eq!(is_gone(*uid), !model[1].messages.contains_key(uid), "{uid} vanished");
    }
    for (uid, message) in &model[1].messages {
        assert!(is_told(*uid) || then.messages.get(uid) == Some(message), "{uid} changed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_store_is_as_its_model(steps in prop::collection::vec(step(), 1..40), remembered in 0_usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps, remembered));
    }
}
