//! The mailbox tree and the directory's rows.

use mailwright_store::*;

use crate::{add, deliver, fixture};

async fn names(store: &dyn Store, account: AccountId) -> Vec<String> {
    store.mailboxes(account).await.unwrap().into_iter().map(|mailbox| mailbox.name).collect()
}

#[tokio::test]
async fn an_account_begins_with_its_mailboxes() {
    // rule 19
    let f = fixture().await;
    let all = f.store.mailboxes(f.account).await.unwrap();
    let facts: Vec<_> = all.iter().map(|m| (m.name.as_str(), m.special_use.map(SpecialUse::name))).collect();
    let expected = [
        ("Archive", Some("Archive")),
        ("Drafts", Some("Drafts")),
        ("INBOX", None),
        ("Junk", Some("Junk")),
        ("Sent", Some("Sent")),
        ("Trash", Some("Trash")),
    ];
    assert_eq!(facts, expected);
    assert!(all.iter().all(|mailbox| mailbox.subscribed));
    let mut validities: Vec<u32> = all.iter().map(|mailbox| mailbox.uid_validity).collect();
    validities.sort_unstable();
    validities.dedup();
    assert_eq!(validities.len(), 6, "a counter gives each its own");
}

#[tokio::test]
async fn names_are_created_with_parents_and_renamed_with_children() {
    let f = fixture().await;
    f.store.create_mailbox(f.account, "a/b/c", None).await.unwrap();
    assert!(names(&*f.store, f.account).await.starts_with(&["Archive".into(), "Drafts".into(), "INBOX".into()]));
    assert!(names(&*f.store, f.account).await.ends_with(&["a".into(), "a/b".into(), "a/b/c".into()]));
    let id = f.store.mailbox(f.account, "a/b/c").await.unwrap().id;
    f.store.rename_mailbox(f.account, "a/b", "x/y").await.unwrap();
    assert!(names(&*f.store, f.account).await.ends_with(&["a".into(), "x".into(), "x/y".into(), "x/y/c".into()]));
    assert_eq!(f.store.mailbox(f.account, "x/y/c").await.unwrap().id, id, "the id stays");
    let create = |name: &'static str| f.store.create_mailbox(f.account, name, None);
    assert!(matches!(create("x/y").await, Err(Error::AlreadyExists(What::Mailbox))));
    assert!(matches!(create("inbox").await, Err(Error::AlreadyExists(What::Mailbox))));
    assert!(matches!(create("a//b").await, Err(Error::Limit(_))));
    assert!(matches!(create("").await, Err(Error::Limit(_))));
    let level = "l".repeat(255);
    f.store.create_mailbox(f.account, &level, None).await.unwrap();
    assert!(matches!(f.store.create_mailbox(f.account, &format!("{level}l"), None).await, Err(Error::Limit(_))));
    assert!(matches!(f.store.rename_mailbox(f.account, "x", "x/z").await, Err(Error::Limit(_))));
    assert!(matches!(f.store.rename_mailbox(f.account, "x", "a").await, Err(Error::AlreadyExists(_))));
    assert!(f.store.mailbox(f.account, "x/y/c").await.is_ok(), "a refused rename changes nothing");
    f.store.delete_mailbox(f.account, "x").await.unwrap();
    assert!(f.store.mailbox(f.account, "x/y").await.is_ok());
    assert!(matches!(f.store.delete_mailbox(f.account, "inbox").await, Err(Error::Limit(_))));
}

#[tokio::test]
async fn renaming_the_inbox_moves_its_messages() {
    // rule 19
    let f = fixture().await;
    deliver(&*f.store, f.account, "x").await;
    f.store.rename_mailbox(f.account, "inbox", "old/mail").await.unwrap();
    assert_eq!(f.store.mailbox(f.account, "INBOX").await.unwrap().messages, 0);
    assert_eq!(f.store.mailbox(f.account, "old/mail").await.unwrap().messages, 1);
}

#[tokio::test]
async fn subscriptions_outlive_mailboxes() {
    let f = fixture().await;
    f.store.subscribe(f.account, "gone", true).await.unwrap();
    f.store.subscribe(f.account, "Junk", false).await.unwrap();
    let subscribed = f.store.subscriptions(f.account).await.unwrap();
    assert!(subscribed.contains(&"gone".to_owned()) && !subscribed.contains(&"Junk".to_owned()));
}

#[tokio::test]
async fn an_account_id_is_never_given_again() {
    // rule 8: a re-created address sees nothing of the old one.
    let f = fixture().await;
    deliver(&*f.store, f.account, "secret").await;
    f.store.remove_account(f.account).await.unwrap();
    assert!(matches!(f.store.account(f.account).await, Err(Error::NotFound(What::Account))));
    let again = add(&f.store, "ann@example.org").await;
    assert_ne!(again, f.account);
    assert_eq!(f.store.mailbox(again, "INBOX").await.unwrap().messages, 0);
    assert!(matches!(f.store.snapshot(f.inbox).await, Err(Error::NotFound(What::Mailbox))));
}

#[tokio::test]
async fn credentials_are_upgraded_only_while_they_are_what_was_checked() {
    // rule 8: a password that was changed meanwhile stays changed.
    let f = crate::fixture().await;
    let set = |value: &str| vec![("password".to_owned(), value.as_bytes().to_vec())];
    f.store.update_account(f.account, AccountChange::Credentials(set("old"))).await.unwrap();
    let upgrade = |known: &str| AccountChange::Upgrade {
        known: ("password".into(), known.as_bytes().to_vec()),
        credentials: vec![("password".into(), b"better".to_vec()), ("scram".into(), b"verifier".to_vec())],
    };
    f.store.update_account(f.account, AccountChange::Credentials(set("new"))).await.unwrap();
    assert!(matches!(f.store.update_account(f.account, upgrade("old")).await, Err(Error::Conflict)));
    assert_eq!(f.store.account(f.account).await.unwrap().credentials, set("new"));
    f.store.update_account(f.account, upgrade("new")).await.unwrap();
    assert_eq!(f.store.account(f.account).await.unwrap().credentials.len(), 2);
}

#[tokio::test]
async fn accounts_are_added_all_or_none() {
    let f = fixture().await;
    let new = |key: &str| NewAccount {
        key: key.into(),
        address: key.into(),
        quota_octets: Some(5),
        credentials: vec![("password".into(), b"hash".to_vec())],
    };
    let twice = f.store.add_accounts(vec![new("bob@example.org"), new("ann@example.org")]).await;
    assert!(matches!(twice, Err(Error::AlreadyExists(What::Account))));
    assert_eq!(f.store.accounts().await.unwrap().len(), 1);
    f.store.add_accounts(vec![new("bob@example.org")]).await.unwrap();
    let bob = f.store.account_by_key("bob@example.org").await.unwrap().unwrap();
    assert_eq!(bob.credentials, [("password".to_owned(), b"hash".to_vec())]);
    f.store.update_account(bob.id, AccountChange::Grants(vec!["@lists.example".into()])).await.unwrap();
    f.store.update_account(bob.id, AccountChange::Credential("password".into(), None)).await.unwrap();
    let bob = f.store.account(bob.id).await.unwrap();
    assert_eq!((bob.credentials.len(), bob.grants), (0, vec!["@lists.example".to_owned()]));
}

#[tokio::test]
async fn domains_and_aliases_are_kept_in_order() {
    let f = fixture().await;
    f.store.put_domain(Domain { name: "example.org".into(), catch_all: None }).await.unwrap();
    let changed = Domain { name: "example.org".into(), catch_all: Some("ann@example.org".into()) };
    f.store.put_domain(changed.clone()).await.unwrap();
    assert_eq!(f.store.domains().await.unwrap(), [changed]);
    let alias = Alias { key: "all@example.org".into(), targets: vec!["z@example.org".into(), "a@example.org".into()] };
    f.store.put_alias(alias.clone()).await.unwrap();
    assert_eq!(f.store.alias("all@example.org").await.unwrap(), Some(alias.clone()));
    assert_eq!(f.store.aliases().await.unwrap(), [alias]);
    f.store.remove_alias("all@example.org").await.unwrap();
    assert!(matches!(f.store.remove_alias("all@example.org").await, Err(Error::NotFound(What::Alias))));
    assert!(matches!(f.store.remove_domain("other.example").await, Err(Error::NotFound(What::Domain))));
}
