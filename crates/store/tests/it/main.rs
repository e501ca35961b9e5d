//! The store as its users see it, on real files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod durable;
mod formats;
mod mailboxes;
mod messages;
mod model;
mod processes;
mod salvage;
mod spool;
mod trace;

use std::sync::Arc;

use bytes::Bytes;
use mailwright_store::*;

/// Options that make small segments, so that tests roll them.
pub(crate) fn options() -> Options {
    Options { segment_octets: 1 << 20, min_free_octets: 0, ..Options::default() }
}

/// A store with one account in a directory of its own.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Arc<Embedded>,
    pub(crate) account: AccountId,
    pub(crate) inbox: MailboxId,
}

pub(crate) async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), &options()).unwrap();
    let account = add(&store, "ann@example.org").await;
    let inbox = store.mailbox(account, "INBOX").await.unwrap().id;
    Fixture { directory, store, account, inbox }
}

pub(crate) async fn add(store: &Embedded, key: &str) -> AccountId {
    let new = NewAccount { key: key.into(), address: key.into(), quota_octets: None, credentials: Vec::new() };
    store.add_accounts(vec![new]).await.unwrap()[0]
}

pub(crate) fn content(head: &str, body: &str) -> NewContent {
    NewContent {
        head: Bytes::copy_from_slice(head.as_bytes()),
        body: NewBody::Memory(vec![Bytes::copy_from_slice(body.as_bytes())]),
        digest: Bytes::from_static(b"digest"),
        thread: 7,
    }
}

pub(crate) const NOON: ZonedTime = ZonedTime { unix: 1_700_000_000, offset_minutes: 60 };

pub(crate) fn to(account: AccountId, prefix: &str) -> Recipient {
    Recipient { account, mailbox: None, prefix: Bytes::copy_from_slice(prefix.as_bytes()), flags: FlagNames::default() }
}

pub(crate) async fn deliver(store: &dyn Store, account: AccountId, body: &str) -> Placed {
    let delivery = Delivery {
        content: content("Received: here\r\n", body),
        received: NOON,
        recipients: vec![to(account, "Return-Path: <>\r\n")],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    store.deliver(delivery).await.unwrap()[0]
}

pub(crate) async fn octets(store: &dyn Store, mailbox: MailboxId, uid: u32) -> Bytes {
    let messages = store.messages(mailbox, vec![uid..=uid], false, 1).await.unwrap();
    store.body(&messages[0]).await.unwrap().whole(1 << 30).await.unwrap()
}

pub(crate) fn flags(system: Flags, keywords: &[&str]) -> FlagNames {
    FlagNames { system, keywords: keywords.iter().map(|name| (*name).to_owned()).collect() }
}

/// All that a client could see of a store, in words.
pub(crate) async fn describe(store: &dyn Store) -> Vec<String> {
    let mut out = Vec::new();
    out.push(format!("{:?}", store.domains().await.unwrap()));
    out.push(format!("{:?}", store.aliases().await.unwrap()));
    for id in store.accounts().await.unwrap() {
        out.push(format!("{:?}", store.account(id).await.unwrap()));
        out.push(format!("{:?}", store.subscriptions(id).await.unwrap()));
        for mailbox in store.mailboxes(id).await.unwrap() {
            out.push(format!("{mailbox:?}"));
            let snapshot = store.snapshot(mailbox.id).await.unwrap();
            out.push(format!("{:?}", snapshot.keywords));
            for message in store.messages(mailbox.id, vec![1..=u32::MAX], false, 100_000).await.unwrap() {
                let body = store.body(&message).await.unwrap().whole(1 << 30).await.unwrap();
                out.push(format!(
                    "{} {} {:?} {:?} {} {} {:?}",
                    message.uid, message.mod_seq, message.flags, message.received, message.saved, message.thread, body
                ));
            }
        }
    }
    out
}
