//! The engine over a disk that fails without dying: syncs that fail, and no space (rule 4).

use bytes::Bytes;

use crate::Synchronous;
use crate::committer::Closure;
use crate::disk::Disk as _;
use crate::engine::{Engine, Pending};
use crate::simulated::{Model, World, at_most_one_change_apart, commit, commit_read, step};
use crate::types::*;
use crate::{Error, Result};

/// A world with an account, its two mailboxes, and everything on the disk.
fn settled(seed: u64, ballast: u64) -> (World, Engine, AccountId, [MailboxId; 2]) {
    let mut world = World::new(seed, Synchronous::Full);
    world.options.ballast_octets = ballast;
    let mut engine = world.open().unwrap();
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
    let boxes = [commit_read(&mut engine, account, "INBOX"), commit_read(&mut engine, account, "Archive")];
    engine.flush();
    for path in world.disk.disk.list("/sim") {
        world.disk.disk.sync(&path).unwrap();
    }
    (world, engine, account, boxes)
}

/// Changes for a while; what was refused is not in the model. How many were refused.
fn change(world: &World, engine: &mut Engine, account: AccountId, boxes: [MailboxId; 2], model: &mut Model) -> usize {
    let mut refused = 0;
    for _ in 0..40 {
        let dice = world.disk.disk.random();
        refused += usize::from(!step(engine, dice, account, boxes, model));
    }
    refused
}

#[test]
fn a_segment_whose_sync_failed_is_not_synced_again() {
    // rule 4
    let mut refused = 0;
    for seed in 0..100 {
        let (world, mut engine, account, boxes) = settled(seed, 0);
        let mut model = Model::new();
        for _ in 0..3 {
            change(&world, &mut engine, account, boxes, &mut model);
            world.disk.disk.fail_syncs(".seg", 1);
            refused += change(&world, &mut engine, account, boxes, &mut model);
        }
        let doubtful = world.disk.disk.doubtful();
        assert!(!doubtful.is_empty() && doubtful.values().all(|again| *again == 0), "seed {seed}: {doubtful:?}");
        engine.flush();
        drop(engine);
        world.disk.disk.cut();
        drop(world.open().unwrap());
        assert_eq!(world.model(account), model, "seed {seed}: what was acknowledged, and nothing else");
    }
    assert!(refused > 0, "some deliveries met the failure");
}

#[test]
fn an_index_whose_sync_failed_is_reopened_and_loses_nothing() {
    // rule 4
    for seed in 0..100 {
        let (world, mut engine, account, boxes) = settled(seed, 0);
        let mut model = Model::new();
        change(&world, &mut engine, account, boxes, &mut model);
        world.disk.disk.fail_syncs("index.db-wal", 1);
        let refused = change(&world, &mut engine, account, boxes, &mut model);
        assert!(refused > 1, "seed {seed}: nothing is taken until the index was looked at");
        let before = model.clone();
        world.disk.disk.pass(2_000);
        assert_eq!(change(&world, &mut engine, account, boxes, &mut model), 0, "seed {seed}: it goes on by itself");
        drop(engine);
        world.disk.disk.cut();
        drop(world.open().unwrap());
        let after = world.model(account);
        // The change that met the failure may have happened: it was not acknowledged. What came later stands.
        assert!(at_most_one_change_apart(&model, &after) && !before.is_empty(), "seed {seed}");
    }
}

fn ask<T: Send + 'static>(
    engine: &mut Engine,
    body: Option<Bytes>,
    run: impl Fn(&mut crate::index::Txn<'_>, &[Pending]) -> Result<T> + Send + 'static,
) -> Result<T> {
    let grows = body.is_some();
    let pending = body.map(|body| {
        let body = NewBody::Memory(vec![body]);
        let new = NewContent { head: Bytes::new(), body, digest: Bytes::new(), thread: 0 };
        Pending::new(new, ZonedTime::default()).unwrap()
    });
    let (change, mut answer) = Closure::new(pending.into_iter().collect(), grows, 1, run);
    engine.commit(vec![Box::new(change)], |_| {});
    answer.try_recv().map_err(|_| Error::Busy)?
}

fn deliver(engine: &mut Engine, account: AccountId, body: Bytes) -> Result<u32> {
    let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
    let placed = ask(engine, Some(body), move |txn, pending| {
        let content = pending[0].content()?;
        txn.insert_content(&content, 1, b"")?;
        txn.deliver(&content, &to, ZonedTime::default())
    });
    Ok(placed?.uid)
}

#[test]
fn a_full_disk_takes_no_mail_and_lets_it_be_deleted() {
    // rule 4
    const BALLAST: u64 = 256 << 10;
    for seed in 0..20 {
        let (world, mut engine, account, [inbox, _]) = settled(seed, BALLAST);
        let disk = &world.disk.disk;
        assert_eq!(world.disk.open(&world.layout.ballast()).unwrap().octets().unwrap(), BALLAST);
        disk.set_capacity(Some(disk.used() + (300 << 10)));
        let mut stored = Vec::new();
        let error = loop {
            let body = Bytes::from(vec![b'x'; 1_000 + usize::try_from(seed).unwrap() * 97]);
            match deliver(&mut engine, account, body) {
                Ok(uid) => stored.push(uid),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoSpace), "seed {seed}: {error}");
        assert!(stored.len() > 10, "seed {seed}: {} messages", stored.len());
        // Somebody else takes the last octets.
        disk.set_capacity(Some(disk.used()));
        let last = *stored.last().unwrap();
        for uid in 1..=last / 2 {
            let seen = FlagNames { system: Flags::DELETED, keywords: Vec::new() };
            ask(&mut engine, None, move |txn, _| txn.set_flags(inbox, &[uid..=uid], FlagOperation::Add, &seen, None))
                .unwrap_or_else(|error| panic!("seed {seed}, UID {uid}: {error}"));
        }
        let half = last / 2;
        let gone = ask(&mut engine, None, move |txn, _| txn.expunge(inbox, &[1..=half], true)).unwrap();
        assert_eq!(gone.uids.len(), half as usize);
        disk.pass(1_000);
        assert!(matches!(deliver(&mut engine, account, Bytes::from_static(b"x")), Err(Error::NoSpace)));
        // Space returns, and with it the ballast, and then mail.
        disk.set_capacity(Some(disk.used() + (2 << 20)));
        disk.pass(1_000);
        assert_eq!(deliver(&mut engine, account, Bytes::from_static(b"y")).unwrap(), last + 1, "seed {seed}");
        assert_eq!(world.disk.open(&world.layout.ballast()).unwrap().octets().unwrap(), BALLAST);
        engine.flush();
        drop(engine);
        disk.cut();
        drop(world.open().unwrap());
        let after = world.model(account);
        let uids: Vec<u32> = after.keys().map(|(_, uid)| *uid).collect();
        let expected: Vec<u32> = stored.into_iter().filter(|uid| *uid > half).chain([last + 1]).collect();
        assert_eq!(uids, expected, "seed {seed}");
    }
}
