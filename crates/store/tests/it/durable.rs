//! What is there after the process is not, and what a directory must be to be used.

use mailwright_store::*;

use crate::{deliver, describe, fixture, octets, options};

#[tokio::test]
async fn everything_is_there_when_opened_again() {
    let f = fixture().await;
    for number in 0..50 {
        deliver(&*f.store, f.account, &format!("{number} {}", "x".repeat(50_000))).await;
    }
    let before = describe(&*f.store).await;
    f.store.close().await;
    assert!(matches!(f.store.put_alias(Alias { key: "a".into(), targets: vec![] }).await, Err(Error::Busy)));
    let again = Embedded::open(f.directory.path(), &options()).unwrap();
    assert_eq!(describe(&*again).await, before);
    assert!(std::fs::read_dir(f.directory.path().join("v00/seg")).unwrap().count() >= 2, "segments were rolled");
    deliver(&*again, f.account, "one more").await;
    assert!(octets(&*again, f.inbox, 51).await.ends_with(b"one more"));
}

#[tokio::test]
async fn another_format_is_refused_with_the_cure() {
    // rule 9
    let f = fixture().await;
    f.store.close().await;
    std::fs::write(f.directory.path().join("format"), "mailwright store 9\n").unwrap();
    let refused = Embedded::open(f.directory.path(), &options()).unwrap_err().to_string();
    assert!(refused.contains("has format 9") && refused.contains("run the version that wrote it"), "{refused}");
    std::fs::write(f.directory.path().join("format"), "hello\n").unwrap();
    assert!(Embedded::open(f.directory.path(), &options()).is_err());
    std::fs::remove_file(f.directory.path().join("format")).unwrap();
    assert!(Embedded::open(f.directory.path(), &options()).is_err());
}

#[tokio::test]
async fn below_the_minimum_of_free_space_only_growth_is_refused() {
    // rule 4
    let f = fixture().await;
    deliver(&*f.store, f.account, "x").await;
    let full = Options { min_free_octets: u64::MAX, ..options() };
    let store = Embedded::open(f.directory.path(), &full).unwrap();
    let delivery = Delivery {
        content: crate::content("", "y"),
        received: crate::NOON,
        recipients: vec![crate::to(f.account, "")],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    assert!(matches!(store.deliver(delivery).await, Err(Error::NoSpace)));
    assert!(matches!(store.stage(bytes::Bytes::new(), crate::NOON).await, Err(Error::NoSpace)));
    let deleted = crate::flags(Flags::DELETED, &[]);
    store.set_flags(f.inbox, vec![1..=1], FlagOperation::Add, deleted, None).await.unwrap();
    assert_eq!(store.expunge(f.inbox, vec![1..=1], true).await.unwrap().uids, [1]);
}
