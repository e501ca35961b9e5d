//! Several stores on one directory, as several processes have them.

use mailwright_store::*;

use crate::{NOON, content, deliver, fixture, flags, options};

#[tokio::test]
async fn one_process_sees_what_another_commits_and_is_woken() {
    let f = fixture().await;
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    let mut watch = other.watch_mailbox(f.inbox);
    assert!(other.snapshot(f.inbox).await.unwrap().is_empty());
    deliver(&*f.store, f.account, "x").await;
    watch.changed().await;
    assert_eq!(other.snapshot(f.inbox).await.unwrap().len(), 1);
    let mut back = f.store.watch_mailbox(f.inbox);
    other.set_flags(f.inbox, vec![1..=1], FlagOperation::Add, flags(Flags::SEEN, &[]), None).await.unwrap();
    back.changed().await;
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().get(0).unwrap().flags, Flags::SEEN);
}

#[tokio::test]
async fn a_change_of_the_directory_wakes_every_process() {
    // rule 34
    let f = fixture().await;
    let silent = Options { listen: false, ..options() };
    let other = Embedded::open(f.directory.path(), &silent).unwrap();
    let mut directory = f.store.watch_directory();
    let mut account = f.store.watch_account(f.account);
    other.update_account(f.account, AccountChange::Enabled(false)).await.unwrap();
    directory.changed().await;
    account.changed().await;
    assert!(!f.store.account(f.account).await.unwrap().enabled);
}

#[tokio::test]
async fn uids_stay_in_order_whoever_gives_them() {
    // rule 1
    let f = fixture().await;
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = if number % 2 == 0 { f.store.clone() } else { other.clone() };
        let account = f.account;
        tasks.spawn(async move { deliver(&*store, account, "x").await });
    }
    let mut placed: Vec<Placed> = tasks.join_all().await;
    placed.sort_by_key(|placed| placed.uid);
    assert!(placed.iter().map(|placed| placed.uid).eq(1..=200));
    assert!(placed.is_sorted_by_key(|placed| placed.mod_seq));
    assert_eq!(other.snapshot(f.inbox).await.unwrap().len(), 200);
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_maildrop_has_one_reader() {
    let f = fixture().await;
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    let lock = f.store.lock_maildrop(f.account).await.unwrap();
    assert!(lock.is_some());
    assert!(other.lock_maildrop(f.account).await.unwrap().is_none());
    assert!(other.lock_maildrop(AccountId(1)).await.unwrap().is_some());
    drop(lock);
    assert!(other.lock_maildrop(f.account).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_mailbox_is_read_in_pieces_while_another_process_changes_it() {
    let f = fixture().await;
    let message =
        || NewMessage { content: content("Subject: x\r\n\r\n", ""), flags: FlagNames::default(), received: NOON };
    for _ in 0..20 {
        f.store.append(f.inbox, (0..1_000).map(|_| message()).collect()).await.unwrap();
    }
    // Gone: so much that the pieces are of unlike lengths.
    f.store.expunge(f.inbox, vec![2..=1_000, 7_000..=10_000], false).await.unwrap();
    for round in 0..10 {
        let other = Embedded::open(f.directory.path(), &options()).unwrap();
        let change = async {
            for step in 0..10 {
                let uid = 19_900 - round * 10 - step;
                let names = flags(Flags::SEEN, &[&format!("round{round}")]);
                f.store.set_flags(f.inbox, vec![1..=1, uid..=uid], FlagOperation::Add, names, None).await.unwrap();
                f.store
                    .expunge(f.inbox, vec![10_001 + round * 10 + step..=10_001 + round * 10 + step], false)
                    .await
                    .unwrap();
                f.store.append(f.inbox, vec![message()]).await.unwrap();
            }
        };
        let (early, ()) = tokio::join!(other.snapshot(f.inbox), change);
        // A snapshot that was not what the mailbox was at its mod-sequence would not lead to what it is now.
        let (early, late) = (early.unwrap(), other.snapshot(f.inbox).await.unwrap());
        assert!(early.mod_seq <= late.mod_seq);
        let truth = f.store.messages(f.inbox, vec![1..=u32::MAX], false, 100_000).await.unwrap();
        assert_eq!(late.len(), truth.len());
        assert!(late.iter().zip(&truth).all(|(row, message)| {
            (row.uid, row.mod_seq, row.flags) == (message.uid, message.mod_seq, message.flags)
        }));
        let mailbox = f.store.mailbox(f.account, "INBOX").await.unwrap();
        assert_eq!(
            (late.mod_seq, late.uid_next, late.len()),
            (mailbox.mod_seq, mailbox.uid_next, mailbox.messages as usize)
        );
        assert_eq!(late.keywords.len(), round as usize + 1);
    }
}
