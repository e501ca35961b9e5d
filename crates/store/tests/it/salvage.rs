//! An index rebuilt from the segments equals the one lost (rule 2).

use std::io::Write as _;

use mailwright_store::*;

use crate::{NOON, add, content, deliver, describe, fixture, flags, options, to};

async fn busy_life(f: &crate::Fixture) {
    let store = &*f.store;
    store.put_domain(Domain { name: "example.org".into(), catch_all: Some("ann@example.org".into()) }).await.unwrap();
    let targets = vec!["ann@example.org".into()];
    store.put_alias(Alias { key: "postmaster".into(), targets }).await.unwrap();
    store.put_alias(Alias { key: "gone".into(), targets: vec!["x".into()] }).await.unwrap();
    store.remove_alias("gone").await.unwrap();
    let bob = add(&f.store, "bob@example.org").await;
    let carl = add(&f.store, "carl@example.org").await;
    let credential = AccountChange::Credential("password".into(), Some(b"hash".to_vec()));
    store.update_account(bob, credential).await.unwrap();
    for number in 0..20 {
        deliver(store, f.account, &format!("ann {number}")).await;
        deliver(store, bob, &format!("bob {number}")).await;
        deliver(store, carl, "lost with its account").await;
    }
    store.create_mailbox(f.account, "lists/rust", None).await.unwrap();
    store.rename_mailbox(f.account, "lists", "news").await.unwrap();
    let news = store.mailbox(f.account, "news/rust").await.unwrap().id;
    store.copy(f.inbox, vec![1..=5], news).await.unwrap();
    store.move_messages(f.inbox, vec![6..=8], news).await.unwrap();
    let marked = flags(Flags::DELETED, &["$Work"]);
    store.set_flags(f.inbox, vec![2..=12], FlagOperation::Add, marked, None).await.unwrap();
    store.set_flags(news, vec![1..=2], FlagOperation::Replace, flags(Flags::SEEN, &["x"]), None).await.unwrap();
    store.expunge(f.inbox, vec![1..=4], true).await.unwrap();
    store.subscribe(f.account, "news/rust", true).await.unwrap();
    store.delete_mailbox(bob, "Junk").await.unwrap();
    store.remove_account(carl).await.unwrap();
}

#[tokio::test]
async fn a_rebuilt_index_equals_the_one_lost() {
    let f = fixture().await;
    busy_life(&f).await;
    let before = describe(&*f.store).await;
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    let report = salvage(directory.path(), &options(), true).unwrap();
    assert_eq!((report.recovered, report.torn, report.lost, report.accounts), (0, 0, 0, 2), "{report:?}");
    assert_eq!(report.old, Some(directory.path().join("v00/index.db.lost")));
    let again = Embedded::open(directory.path(), &options()).unwrap();
    let after = describe(&*again).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
    let known: Vec<u32> = before_validities(&*again).await;
    let bob = again.account_by_key("bob@example.org").await.unwrap().unwrap().id;
    let new = again.create_mailbox(bob, "Junk", None).await.unwrap();
    assert!(!known.contains(&new.uid_validity), "UIDVALIDITY goes on from the largest ever given");
}

async fn before_validities(store: &dyn Store) -> Vec<u32> {
    let mut all = Vec::new();
    for account in store.accounts().await.unwrap() {
        all.extend(store.mailboxes(account).await.unwrap().iter().map(|mailbox| mailbox.uid_validity));
    }
    all
}

#[tokio::test]
async fn a_store_in_use_is_not_salvaged() {
    let f = fixture().await;
    let refused = salvage(f.directory.path(), &options(), true).unwrap_err().to_string();
    assert!(refused.contains("stop the daemons first"), "{refused}");
}

#[tokio::test]
async fn a_torn_tail_costs_its_own_record_and_a_spool_comes_back_on_hold() {
    let f = fixture().await;
    let recipients = vec![NewSpoolRecipient {
        address: "x@remote.example".into(),
        destination: "by smarthost".into(),
        parameters: Vec::new(),
        due: 0,
    }];
    let spool =
        NewSpool { queue_id: "q1".into(), sender: "ann@example.org".into(), parameters: Vec::new(), recipients };
    let delivery = Delivery {
        content: content("", "out"),
        received: NOON,
        recipients: vec![to(f.account, "")],
        spool: vec![spool],
        trace: Vec::new(),
    };
    f.store.deliver(delivery).await.unwrap();
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    let segments = directory.path().join("v00/seg");
    let segment = std::fs::read_dir(&segments).unwrap().next().unwrap().unwrap().path();
    std::fs::OpenOptions::new().append(true).open(segment).unwrap().write_all(b"MWs1\x01half a header").unwrap();
    let report = salvage(directory.path(), &options(), true).unwrap();
    assert_eq!((report.placed, report.torn, report.spooled), (1, 1, 1));
    let again = Embedded::open(directory.path(), &options()).unwrap();
    let spooled = again.spooled(SpoolFilter::default(), 10).await.unwrap();
    assert_eq!((spooled[0].state, spooled[0].destination.as_str()), (SpoolState::Held, "by smarthost"));
    assert!(again.spool_due(None, i64::MAX, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_without_placement_is_recovered_and_uid_validity_changes() {
    let f = fixture().await;
    let validity = f.store.mailbox(f.account, "INBOX").await.unwrap().uid_validity;
    let body = "x".repeat(1_000);
    deliver(&*f.store, f.account, &body).await;
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    // The segment ends behind the message: its placement never came to the disk.
    let segments = directory.path().join("v00/seg");
    for entry in std::fs::read_dir(&segments).unwrap() {
        let path = entry.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        let trailer = octets.windows(4).rposition(|window| window == b"xxxx").unwrap() + 4 + 44;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(trailer as u64).unwrap();
    }
    let report = salvage(directory.path(), &options(), true).unwrap();
    assert_eq!((report.placed, report.recovered), (0, 1));
    let again = Embedded::open(directory.path(), &options()).unwrap();
    let recovered = again.account_by_key("recovered").await.unwrap().unwrap();
    assert!(!recovered.enabled);
    assert_eq!(again.mailbox(recovered.id, "Recovered").await.unwrap().messages, 1);
    assert_ne!(again.mailbox(f.account, "INBOX").await.unwrap().uid_validity, validity);
}

#[tokio::test]
async fn an_index_that_is_there_is_replaced_by_a_complete_one_or_not_at_all() {
    let f = fixture().await;
    deliver(&*f.store, f.account, "one").await;
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    let path = |name: &str| directory.path().join("v00").join(name);
    let before = std::fs::read(path("index.db")).unwrap();
    let refused = salvage(directory.path(), &options(), false).unwrap_err().to_string();
    assert!(refused.contains("index.db is there"), "{refused}");
    // What an earlier salvage left when it was broken off does no harm.
    std::fs::write(path("index.db.new"), "half").unwrap();
    std::fs::write(path("index.db.lost2-wal"), "of another index").unwrap();
    for (lost, number) in [("index.db.lost", 1), ("index.db.lost3", 2)] {
        let report = salvage(directory.path(), &options(), true).unwrap();
        assert_eq!((report.placed, report.old), (1, Some(path(lost))), "{number}");
    }
    assert_eq!(std::fs::read(path("index.db.lost")).unwrap(), before);
    assert!(!path("index.db.new").exists());
    Embedded::open(directory.path(), &options()).unwrap();
}

#[tokio::test]
async fn a_store_without_its_index_is_not_begun_anew() {
    let f = fixture().await;
    deliver(&*f.store, f.account, "one").await;
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    let path = |name: &str| directory.path().join("v00").join(name);
    std::fs::remove_file(path("index.db")).unwrap();
    // As a salvage leaves it that is broken off between two names.
    std::fs::write(path("index.db-wal"), "the last commits of the old index").unwrap();
    for _ in 0..2 {
        let refused = Embedded::open(directory.path(), &options()).unwrap_err().to_string();
        assert!(refused.contains("the index is missing") && refused.contains("mailctl salvage"), "{refused}");
    }
    assert!(!path("index.db").exists() && path("index.db-wal").exists(), "nothing was touched");
    // An empty one is none, either.
    std::fs::write(path("index.db"), "").unwrap();
    let refused = Embedded::open(directory.path(), &options()).unwrap_err().to_string();
    assert!(refused.contains("the index is missing"), "{refused}");
    assert!(path("index.db-wal").exists());
    let report = salvage(directory.path(), &options(), false).unwrap();
    assert_eq!((report.placed, report.lost, report.old), (1, 0, None));
    assert_eq!(Embedded::open(directory.path(), &options()).unwrap().snapshot(f.inbox).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_segment_keeps_no_store_from_being_begun() {
    let directory = tempfile::tempdir().unwrap();
    // As where the segments have a file system of their own.
    std::fs::create_dir_all(directory.path().join("v00/seg/lost+found")).unwrap();
    Embedded::open(directory.path(), &options()).unwrap();
}

#[tokio::test]
async fn what_is_in_no_segment_is_told_as_lost() {
    let f = fixture().await;
    // Large enough for a segment of its own.
    deliver(&*f.store, f.account, &"x".repeat(3 << 20)).await;
    deliver(&*f.store, f.account, "one").await;
    f.store.close().await;
    let directory = f.directory;
    drop(f.store);
    let segments = std::fs::read_dir(directory.path().join("v00/seg")).unwrap().map(|entry| entry.unwrap().path());
    let large = segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    std::fs::remove_file(large).unwrap();
    let report = salvage(directory.path(), &options(), true).unwrap();
    assert_eq!((report.placed, report.recovered, report.lost), (1, 0, 1));
}
