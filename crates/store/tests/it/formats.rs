//! Older formats are migrated, newer ones refused (rule 9).

use std::path::Path;

use mailwright_store::*;
use rusqlite::Connection;

use crate::{deliver, options};

/// A store as version 1 left it: what it made, and two spooled recipients whose message is not needed here.
fn version_1(directory: &Path) {
    std::fs::create_dir_all(directory.join("v00/seg")).unwrap();
    std::fs::write(directory.join("format"), "mailwright store 1\n").unwrap();
    let index = Connection::open(directory.join("v00/index.db")).unwrap();
    index.pragma_update(None, "journal_mode", "WAL").unwrap();
    index.execute_batch(include_str!("../fixtures/version-1.sql")).unwrap();
}

#[tokio::test]
async fn version_1_is_migrated_by_whoever_is_alone() {
    // rule 9
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    let store = Embedded::open(directory.path(), &options()).unwrap();
    let format = std::fs::read_to_string(directory.path().join("format")).unwrap();
    assert_eq!(format, "mailwright store 3\n");
    let spooled = store.spooled(SpoolFilter::default(), 10).await.unwrap();
    assert_eq!(spooled.iter().map(|row| row.destination.as_str()).collect::<Vec<_>>(), ["remote.example", ""]);
    let expected = SpoolRecipient {
        queue_id: "q1".into(),
        number: 0,
        address: "X@Remote.Example".into(),
        destination: "remote.example".into(),
        parameters: b"p".to_vec(),
        state: SpoolState::Waiting,
        due: 5,
        attempts: 2,
        last: b"451".to_vec(),
        released: 0,
    };
    assert_eq!(spooled[0], expected);
    assert_eq!(spooled[1].state, SpoolState::Held);
    assert_eq!(store.alias("postmaster").await.unwrap().unwrap().targets, ["ann@example.org"]);
    let destination = SpoolDestination { destination: "remote.example".into(), earliest_due: 5 };
    assert_eq!(store.spool_destinations(None, 10).await.unwrap(), [destination]);
    // It is a store of this version in all else, too.
    let account = crate::add(&store, "ann@example.org").await;
    deliver(&*store, account, "x").await;
    let step =
        TraceEntry { queue_id: "q1".into(), at: 0, recipient: None, kind: 1, data: Vec::new(), keys: Vec::new() };
    store.trace(vec![step]).await.unwrap();
    store.put_room_facts("r", vec![RoomFact { key: "k".into(), value: Vec::new(), expires: None }]).await.unwrap();
    let index = Connection::open(directory.path().join("v00/index.db")).unwrap();
    let tables = |connection: &Connection| -> Vec<String> {
        let mut statement = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
        statement
            .query_map([], |row| Ok(row.get::<_, Option<String>>(0)?.unwrap_or_default()))
            .unwrap()
            .map(|sql| sql.unwrap())
            .collect()
    };
    let fresh = crate::fixture().await;
    let new = Connection::open(fresh.directory.path().join("v00/index.db")).unwrap();
    assert_eq!(tables(&index), tables(&new), "migrated and new are the same");
}

#[test]
fn of_processes_that_start_together_one_migrates_and_the_others_wait() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    std::thread::scope(|scope| {
        let open = || scope.spawn(|| Embedded::open(directory.path(), &options()).unwrap());
        for thread in [open(), open(), open()] {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_migration_that_was_cut_off_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    drop(Embedded::open(directory.path(), &options()).unwrap());
    // The index had it, and its word for it did not come to the disk.
    std::fs::write(directory.path().join("format"), "mailwright store 1\n").unwrap();
    drop(Embedded::open(directory.path(), &options()).unwrap());
    assert_eq!(std::fs::read_to_string(directory.path().join("format")).unwrap(), "mailwright store 3\n");
}
