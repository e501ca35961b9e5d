//! Delivering, reading, flags, copying, moving, expunging.

use std::ops::RangeInclusive;

use bytes::Bytes;
use mailwright_store::*;

use crate::{NOON, add, content, deliver, fixture, flags, octets, to};

const ALL: RangeInclusive<u32> = 1..=u32::MAX;

#[tokio::test]
async fn one_content_for_all_with_a_prefix_for_each() {
    // rule 15: what is per recipient stays per recipient, and counts in the size.
    let f = fixture().await;
    let bob = add(&f.store, "bob@example.org").await;
    let delivery = Delivery {
        content: content("Received: x\r\n", "Subject: y\r\n\r\nz\r\n"),
        received: NOON,
        recipients: vec![to(f.account, "Delivered-To: ann\r\n"), to(bob, "Delivered-To: bob\r\n")],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    let placed = f.store.deliver(delivery).await.unwrap();
    assert_eq!(placed.iter().map(|placed| placed.uid).collect::<Vec<_>>(), [1, 1]);
    for (placed, name) in placed.iter().zip(["ann", "bob"]) {
        let whole = format!("Delivered-To: {name}\r\nReceived: x\r\nSubject: y\r\n\r\nz\r\n");
        assert_eq!(octets(&*f.store, placed.mailbox, 1).await, whole.as_bytes());
        let message = &f.store.messages(placed.mailbox, vec![ALL], true, 10).await.unwrap()[0];
        assert_eq!((message.octets, &message.digest[..], message.received), (whole.len() as u64, &b"digest"[..], NOON));
        let body = f.store.body(message).await.unwrap();
        assert_eq!(body.slice(0..8).whole(100).await.unwrap(), "Delivere");
        let middle = format!("{name}\r\nRec");
        let from = 14;
        assert_eq!(body.slice(from..from + middle.len() as u64).whole(100).await.unwrap(), middle);
        assert_eq!(body.slice(1000..2000).octets(), 0);
    }
    let contents: Vec<ContentId> = [
        f.store.messages(placed[0].mailbox, vec![ALL], false, 1).await.unwrap()[0].content.id,
        f.store.messages(placed[1].mailbox, vec![ALL], false, 1).await.unwrap()[0].content.id,
    ]
    .into();
    assert_eq!(contents[0], contents[1]);
}

#[tokio::test]
async fn a_delivery_to_one_who_cannot_take_it_changes_nothing() {
    let f = fixture().await;
    let bob = add(&f.store, "bob@example.org").await;
    f.store.update_account(bob, AccountChange::Quota(Some(10))).await.unwrap();
    let delivery = |account| Delivery {
        content: content("", "more than ten octets"),
        received: NOON,
        recipients: vec![to(f.account, ""), to(account, "")],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    assert!(matches!(f.store.deliver(delivery(bob)).await, Err(Error::OverQuota)));
    f.store.update_account(bob, AccountChange::Enabled(false)).await.unwrap();
    assert!(matches!(f.store.deliver(delivery(bob)).await, Err(Error::NotFound(What::Account))));
    assert!(matches!(f.store.deliver(delivery(AccountId(5))).await, Err(Error::NotFound(What::Account))));
    assert!(f.store.snapshot(f.inbox).await.unwrap().is_empty());
    assert_eq!(f.store.account(f.account).await.unwrap().used_octets, 0);
}

#[tokio::test]
async fn flags_change_by_message_and_are_told_by_mod_sequence() {
    let f = fixture().await;
    for _ in 0..3 {
        deliver(&*f.store, f.account, "x").await;
    }
    let before = f.store.snapshot(f.inbox).await.unwrap();
    let names = flags(Flags::SEEN, &["$Work"]);
    let outcome = f.store.set_flags(f.inbox, vec![1..=2], FlagOperation::Add, names, None).await.unwrap();
    assert_eq!(outcome.rows.len(), 2);
    assert!(outcome.mod_seq > before.mod_seq);
    let seen = Flags::SEEN | Flags::keyword(0);
    let now = f.store.snapshot(f.inbox).await.unwrap();
    assert_eq!(now.iter().map(|row| row.flags).collect::<Vec<_>>(), [seen, seen, Flags::default()]);
    assert_eq!(&now.keywords[..], ["$Work"]);
    assert!(before.iter().all(|row| row.flags == Flags::default()), "a snapshot never changes");
    let names = flags(Flags::DELETED, &[]);
    let outcome =
        f.store.set_flags(f.inbox, vec![1..=3], FlagOperation::Replace, names, Some(before.mod_seq)).await.unwrap();
    assert_eq!(outcome.modified, [1..=2], "RFC 7162 §3.1.3");
    assert_eq!(outcome.rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [3]);
    let changes = f.store.changes(f.inbox, before.mod_seq).await.unwrap();
    assert_eq!(changes.changed.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 2, 3]);
    let row = f.store.mailbox(f.account, "inbox").await.unwrap();
    assert_eq!((row.messages, row.unseen, row.deleted), (3, 1, 1));
    let same =
        f.store.set_flags(f.inbox, vec![3..=3], FlagOperation::Add, flags(Flags::DELETED, &[]), None).await.unwrap();
    assert_eq!(same.mod_seq, row.mod_seq, "what changes nothing gets no mod-sequence");
}

#[tokio::test]
async fn keywords_have_a_limit_and_its_edge_holds() {
    let f = fixture().await;
    deliver(&*f.store, f.account, "x").await;
    let names: Vec<String> = (0..Flags::MAX_KEYWORDS).map(|number| format!("k{number}")).collect();
    let set = |keywords: Vec<String>| {
        let names = FlagNames { system: Flags::default(), keywords };
        f.store.set_flags(f.inbox, vec![1..=1], FlagOperation::Add, names, None)
    };
    set(names).await.unwrap();
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().get(0).unwrap().flags.keywords().count(), 58);
    assert!(matches!(set(vec!["one-more".into()]).await, Err(Error::Limit(_))));
    set(vec!["K57".into()]).await.unwrap();
}

#[tokio::test]
async fn copies_share_the_content_and_carry_keywords_by_name() {
    let f = fixture().await;
    deliver(&*f.store, f.account, "x").await;
    deliver(&*f.store, f.account, "y").await;
    let archive = f.store.mailbox(f.account, "Archive").await.unwrap();
    let marked = flags(Flags::default(), &["first", "second"]);
    f.store.set_flags(f.inbox, vec![2..=2], FlagOperation::Add, marked, None).await.unwrap();
    let only = flags(Flags::default(), &["first"]);
    f.store.set_flags(f.inbox, vec![2..=2], FlagOperation::Remove, only, None).await.unwrap();
    let outcome = f.store.copy(f.inbox, vec![ALL], archive.id).await.unwrap();
    assert_eq!((outcome.uids, outcome.uid_validity), (vec![(1, 1), (2, 2)], archive.uid_validity));
    let there = f.store.snapshot(archive.id).await.unwrap();
    assert_eq!(&there.keywords[..], ["second"]);
    assert_eq!(there.get(1).unwrap().flags, Flags::keyword(0));
    assert_eq!(octets(&*f.store, archive.id, 2).await, octets(&*f.store, f.inbox, 2).await);
    assert!(matches!(f.store.copy(f.inbox, vec![ALL], MailboxId(9)).await, Err(Error::NotFound(What::Mailbox))));
}

#[tokio::test]
async fn moved_messages_are_gone_here_and_there_once() {
    let f = fixture().await;
    for _ in 0..3 {
        deliver(&*f.store, f.account, "x").await;
    }
    let before = f.store.snapshot(f.inbox).await.unwrap();
    let trash = f.store.mailbox(f.account, "Trash").await.unwrap().id;
    let outcome = f.store.move_messages(f.inbox, vec![1..=1, 3..=9], trash).await.unwrap();
    assert_eq!(outcome.uids, [(1, 1), (2, 3)]);
    let changes = f.store.changes(f.inbox, before.mod_seq).await.unwrap();
    assert_eq!(changes.vanished, [1..=1, 3..=3]);
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().len(), 1);
    assert_eq!(f.store.snapshot(trash).await.unwrap().len(), 2);
    assert_eq!(f.store.account(f.account).await.unwrap().used_messages, 3);
}

#[tokio::test]
async fn expunge_takes_the_deleted_of_the_set() {
    let f = fixture().await;
    for _ in 0..4 {
        deliver(&*f.store, f.account, "x").await;
    }
    let deleted = flags(Flags::DELETED, &[]);
    f.store.set_flags(f.inbox, vec![1..=3], FlagOperation::Add, deleted, None).await.unwrap();
    assert_eq!(f.store.expunge(f.inbox, vec![2..=9], true).await.unwrap().uids, [2, 3]);
    assert_eq!(f.store.expunge(f.inbox, vec![ALL], true).await.unwrap().uids, [1]);
    assert_eq!(f.store.expunge(f.inbox, vec![ALL], true).await.unwrap().uids, Vec::<u32>::new());
    let row = f.store.mailbox(f.account, "INBOX").await.unwrap();
    assert_eq!((row.messages, row.deleted, row.uid_next), (1, 0, 5));
    assert_eq!(deliver(&*f.store, f.account, "x").await.uid, 5, "a UID is never given again");
}

#[tokio::test]
async fn appends_are_all_or_nothing() {
    // rule 5
    let f = fixture().await;
    let message = |keywords: Vec<String>| NewMessage {
        content: content("", "x"),
        received: NOON,
        flags: FlagNames { system: Flags::DRAFT, keywords },
    };
    let many = (0..=Flags::MAX_KEYWORDS).map(|number| format!("k{number}")).collect();
    assert!(f.store.append(f.inbox, vec![message(vec![]), message(many)]).await.is_err());
    assert!(f.store.snapshot(f.inbox).await.unwrap().is_empty());
    let placed = f.store.append(f.inbox, vec![message(vec![]), message(vec![])]).await.unwrap();
    assert_eq!(placed.iter().map(|placed| placed.uid).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().get(0).unwrap().flags, Flags::DRAFT);
}

#[tokio::test]
async fn a_large_message_goes_to_disk_as_it_comes() {
    let f = fixture().await;
    let head = Bytes::from_static(b"Received: large\r\n");
    let mut staged = f.store.stage(head.clone(), NOON).await.unwrap();
    let piece = vec![b'a'; 100_000];
    for _ in 0..30 {
        staged.write(&piece).unwrap();
    }
    assert_eq!(staged.octets(), 3_000_000);
    assert_eq!(staged.read(10, 9).unwrap(), "large\r\naa");
    let body = NewBody::Staged(staged);
    let content = NewContent { head, body, digest: Bytes::new(), thread: 0 };
    let delivery = Delivery {
        content,
        received: NOON,
        recipients: vec![to(f.account, "P: 1\r\n")],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    let placed = f.store.deliver(delivery).await.unwrap()[0];
    let whole = octets(&*f.store, f.inbox, placed.uid).await;
    assert!(whole.starts_with(b"P: 1\r\nReceived: large\r\naaa"));
    assert_eq!(whole.len(), 3_000_000 + 17 + 6);
    let segments = || std::fs::read_dir(f.directory.path().join("v00/seg")).unwrap().count();
    let before = segments();
    drop(f.store.stage(Bytes::new(), NOON).await.unwrap());
    assert_eq!(segments(), before, "what was staged and not delivered leaves nothing");
}

#[tokio::test]
async fn a_reader_of_one_octet_at_a_time_gets_its_own_octets() {
    // rule 3: the body holds its segment open, whatever happens to the message meanwhile.
    let f = fixture().await;
    deliver(&*f.store, f.account, "mine").await;
    let message = f.store.messages(f.inbox, vec![1..=1], false, 1).await.unwrap().remove(0);
    let mut body = f.store.body(&message).await.unwrap();
    let mut got = Vec::new();
    while let Some(piece) = body.next(1).await.unwrap() {
        got.extend_from_slice(&piece);
        if got.len() == 3 {
            f.store.expunge(f.inbox, vec![ALL], false).await.unwrap();
            for segment in std::fs::read_dir(f.directory.path().join("v00/seg")).unwrap() {
                std::fs::remove_file(segment.unwrap().path()).unwrap();
            }
        }
    }
    assert_eq!(got, b"Return-Path: <>\r\nReceived: here\r\nmine");
}
