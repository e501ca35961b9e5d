//! What the index keeps of what was: later issues need it from the first version on (rule 21).

use bytes::Bytes;
use rusqlite::{Connection, Row};

use crate::Synchronous;
use crate::disk::Disk as _;
use crate::index::{messages, schema};
use crate::simulated::{World, commit, commit_read};
use crate::types::*;

fn rows<T>(connection: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    connection.prepare(sql).unwrap().query_map([], read).unwrap().map(Result::unwrap).collect()
}

#[test]
fn changes_are_kept_with_their_time_and_what_was_before() {
    // rule 21
    let world = World::new(21, Synchronous::Full);
    let mut engine = world.open().unwrap();
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
    let inbox = commit_read(&mut engine, account, "INBOX");
    let received = ZonedTime { unix: 1_700_000_000, offset_minutes: -420 };
    for body in ["one", "two"] {
        let body = NewBody::Memory(vec![Bytes::from_static(body.as_bytes())]);
        let new = NewContent { head: Bytes::new(), body, digest: Bytes::from_static(b"d"), thread: 77 };
        let pending = vec![crate::engine::Pending::new(new, received).unwrap()];
        let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
        commit(&mut engine, pending, move |txn, pending| {
            let content = pending[0].content()?;
            txn.insert_content(&content, 1, b"d")?;
            txn.deliver(&content, &to, received)
        })
        .unwrap();
    }
    let flag = |system| FlagNames { system, keywords: Vec::new() };
    for system in [Flags::SEEN, Flags::FLAGGED] {
        commit(&mut engine, Vec::new(), move |txn, _| {
            txn.set_flags(inbox, &[1..=1], FlagOperation::Replace, &flag(system), None)
        })
        .unwrap();
    }
    commit(&mut engine, Vec::new(), move |txn, _| txn.expunge(inbox, &[2..=2], false)).unwrap();
    commit(&mut engine, Vec::new(), move |txn, _| txn.create_mailbox(account, "Work", None).map(|_| ())).unwrap();
    commit(&mut engine, Vec::new(), move |txn, _| txn.rename_mailbox(account, "Work", "Play")).unwrap();
    commit(&mut engine, Vec::new(), move |txn, _| txn.delete_mailbox(account, "Play")).unwrap();
    drop(engine);

    let connection = schema::open(&world.layout.index(), world.disk.vfs(), Synchronous::Full).unwrap();
    let flags: Vec<(u32, u64, i64)> = rows(&connection, "SELECT uid, old, at FROM flag_log ORDER BY mod_seq", |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get(2)?))
    });
    assert_eq!(flags.iter().map(|(uid, old, _)| (*uid, *old)).collect::<Vec<_>>(), [(1, 0), (1, Flags::SEEN.0)]);
    let gone: Vec<(u32, i64, i16, i64, i64)> =
        rows(&connection, "SELECT uid, received, zone, thread, at FROM expunged", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        });
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].0, gone[0].1, gone[0].2, gone[0].3), (2, received.unix, -420, 77));
    let what: Vec<(String, Option<String>, Option<String>, i64)> = rows(
        &connection,
        "SELECT what, old, new, at FROM catalogue_log WHERE old IN ('Work', 'Play') OR new IN ('Work', 'Play') ORDER BY number",
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    );
    let names: Vec<_> = what.iter().map(|(_, old, new, _)| (old.as_deref(), new.as_deref())).collect();
    assert_eq!(names, [(None, Some("Work")), (Some("Work"), Some("Play")), (Some("Play"), None)]);
    let times = flags.iter().map(|row| row.2).chain([gone[0].4]).chain(what.iter().map(|row| row.3));
    assert!(times.clone().all(|at| at > 0), "{:?}", times.collect::<Vec<_>>());

    let kept = &messages::messages(&connection, inbox, &[1..=1], true, 1).unwrap()[0];
    assert_eq!((kept.received, kept.thread), (received, 77), "INTERNALDATE with its zone, THREADID");
    let content: Vec<(i64, i64, i64, i64, usize)> =
        rows(&connection, "SELECT id, volume, codec, key_id, length(hash) FROM content ORDER BY id", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)? as usize))
        });
    assert!(content.iter().any(|row| row.0 == kept.content.id.0), "EMAILID is the content's");
    assert!(content.iter().all(|row| (row.1, row.2, row.3, row.4) == (0, 0, 0, 32)), "{content:?}");
    let volumes: Vec<i64> = rows(&connection, "SELECT volume FROM account", |row| row.get(0));
    assert_eq!(volumes, [0]);
}
