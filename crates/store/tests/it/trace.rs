//! The trace of messages, and rooms.

use mailwright_store::*;

use crate::spool::{recipient, spooled};
use crate::{fixture, options};

const DAY: i64 = 86_400_000;

fn step(queue_id: &str, at: i64, kind: u8, keys: &[TraceKey]) -> TraceEntry {
    let (recipient, data) = ((kind > 1).then_some(0), vec![kind]);
    TraceEntry { queue_id: queue_id.into(), at, recipient, kind, data, keys: keys.to_vec() }
}

fn address(address: &str) -> TraceKey {
    TraceKey::Address(address.into())
}

fn without_keys(mut entry: TraceEntry) -> TraceEntry {
    entry.keys.clear();
    entry
}

#[tokio::test]
async fn a_message_is_found_by_its_keys() {
    let f = fixture().await;
    let id = TraceKey::MessageId("<1@example.org>".into());
    let accepted = step("q1", 100 * DAY, 1, &[id.clone(), address("ann@example.org"), address("x@a.example")]);
    let mut delivery = spooled("q1", "ann@example.org", vec![recipient("x@a.example", 5)]);
    delivery.trace = vec![accepted.clone()];
    f.store.deliver(delivery).await.unwrap();
    let tried = step("q1", 100 * DAY + 1, 2, &[]);
    let again = step("q2", 101 * DAY, 1, &[address("ann@example.org")]);
    f.store.trace(vec![tried.clone(), again.clone()]).await.unwrap();
    assert_eq!(f.store.trace_of("q1").await.unwrap(), [without_keys(accepted), tried]);
    assert!(f.store.trace_of("q3").await.unwrap().is_empty());
    let found = async |key, since, limit| f.store.traced(key, since, limit).await.unwrap();
    assert_eq!(found(id, 0, 10).await, ["q1"]);
    assert_eq!(found(address("ann@example.org"), 0, 10).await, ["q2", "q1"]);
    assert_eq!(found(address("ann@example.org"), 0, 1).await, ["q2"]);
    assert_eq!(found(address("ann@example.org"), 101 * DAY, 10).await, ["q2"]);
    assert_eq!(found(TraceKey::MessageId("ann@example.org".into()), 0, 10).await, [""; 0]);
    // A delivery that is refused leaves none.
    let mut delivery = spooled("q1", "", vec![]);
    delivery.trace = vec![step("q5", 0, 1, &[])];
    assert!(f.store.deliver(delivery).await.is_err());
    assert!(f.store.trace_of("q5").await.unwrap().is_empty());
    f.store.close().await;
    let again = Embedded::open(f.directory.path(), &options()).unwrap();
    assert_eq!(again.trace_of("q1").await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_trace_of_a_message_is_bounded() {
    let f = fixture().await;
    let most = i64::try_from(TraceEntry::MAX_ENTRIES).unwrap();
    let large = |at| TraceEntry { data: vec![1; 5_000], ..step("q1", at, 1, &[]) };
    f.store.trace((0..most + 300).map(large).collect()).await.unwrap();
    let kept = f.store.trace_of("q1").await.unwrap();
    assert_eq!(kept.len(), TraceEntry::MAX_ENTRIES);
    let at: Vec<i64> = kept.iter().map(|entry| entry.at).collect();
    assert!(at.iter().copied().eq((0..most / 2).chain(most / 2 + 300..most + 300)), "the first and the last");
    assert!(kept.iter().all(|entry| entry.data.len() == TraceEntry::MAX_DATA));
    let keys: Vec<TraceKey> = (0..3_000).map(|number| address(&number.to_string())).collect();
    f.store.trace(vec![step("q2", 0, 1, &keys)]).await.unwrap();
    assert_eq!(f.store.traced(address("2047"), 0, 10).await.unwrap(), ["q2"]);
    assert!(f.store.traced(address("2048"), 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_trace_is_forgotten_after_its_time() {
    let f = fixture().await;
    for day in 0..10_i64 {
        let queue_id = |message: i64| format!("q{day}-{message}");
        let keys = [address("ann@example.org"), address(&format!("{day}@a.example"))];
        let steps = (0..5).flat_map(|message| {
            let keys = if message == 0 { &[][..] } else { &keys[..] };
            [step(&queue_id(message), day * DAY, 1, keys), step(&queue_id(message), day * DAY + 1, 2, &[])]
        });
        f.store.trace(steps.collect()).await.unwrap();
    }
    let mut removed = 0;
    loop {
        match f.store.purge_trace(7 * DAY, 10).await.unwrap() {
            0 => break,
            some => removed += some,
        }
    }
    // Two steps of each, and a row for what each is found by.
    assert_eq!(removed, 7 * 5 * 3);
    for (queue_id, left) in [("q0-0", 0), ("q6-0", 0), ("q6-4", 0), ("q7-0", 2), ("q7-4", 2)] {
        assert_eq!(f.store.trace_of(queue_id).await.unwrap().len(), left, "{queue_id}");
    }
    assert_eq!(f.store.traced(address("ann@example.org"), 0, 100).await.unwrap().len(), 3 * 4);
    assert_eq!(f.store.purge_trace(100 * DAY, 1_000).await.unwrap(), 3 * 5 * 3);
}

#[tokio::test]
async fn the_first_reading_of_each_account_is_told() {
    let f = fixture().await;
    let bob = crate::add(&f.store, "bob@example.org").await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let mut delivery = spooled("q1", "", vec![]);
    delivery.spool = Vec::new();
    delivery.recipients = vec![crate::to(f.account, ""), crate::to(bob, "")];
    delivery.trace = vec![step("q1", now, 1, &[])];
    f.store.deliver(delivery).await.unwrap();
    crate::deliver(&*f.store, f.account, "without a trace").await;
    let messages = f.store.messages(f.inbox, vec![1..=2], false, 2).await.unwrap();
    let read = |message: &Message, account| TraceRead {
        content: message.content.id,
        account,
        at: now,
        kind: 10,
        data: vec![u8::from(account == bob)],
    };
    let ann = read(&messages[0], f.account);
    let reads = vec![ann.clone(), ann.clone(), read(&messages[1], f.account)];
    assert_eq!(f.store.trace_reads(reads).await.unwrap(), 1);
    assert_eq!(f.store.trace_reads(vec![ann.clone(), read(&messages[0], bob)]).await.unwrap(), 1);
    assert_eq!(f.store.trace_reads(vec![ann.clone()]).await.unwrap(), 0);
    let told: Vec<_> =
        f.store.trace_of("q1").await.unwrap().into_iter().map(|entry| (entry.kind, entry.data)).collect();
    assert_eq!(told, [(1, vec![1]), (10, vec![0]), (10, vec![1])]);
    while f.store.purge_trace(now + DAY, 10).await.unwrap() > 0 {}
    assert_eq!(f.store.trace_reads(vec![ann]).await.unwrap(), 0, "it is forgotten");
    assert!(f.store.trace_of("q1").await.unwrap().is_empty());
}

#[tokio::test]
async fn many_messages_are_found_and_forgotten_too() {
    // More than are recent: they are in batches by day then.
    let f = fixture().await;
    let queue_id = |number: i64| format!("q{number:05}");
    let step_of = |number: i64| {
        let keys = [address(&format!("{}@a.example", number % 10)), TraceKey::MessageId(number.to_string())];
        step(&queue_id(number), number / 1_000 * DAY, 1, if number % 500 == 0 { &[] } else { &keys })
    };
    for from in (0..5_000).step_by(100) {
        f.store.trace((from..from + 100).map(step_of).collect()).await.unwrap();
    }
    let found = async |key, since, limit| f.store.traced(key, since, limit).await.unwrap();
    for number in [1, 999, 1_001, 2_047, 2_048, 2_049, 4_095, 4_096, 4_097, 4_999] {
        assert_eq!(found(TraceKey::MessageId(number.to_string()), 0, 10).await, [queue_id(number)]);
    }
    assert_eq!(found(address("7@a.example"), 0, 1_000).await.len(), 500);
    assert_eq!(found(address("7@a.example"), 3 * DAY, 1_000).await.len(), 200);
    let latest: Vec<String> = (0..150).map(|number| queue_id(4_997 - 10 * number)).collect();
    assert_eq!(found(address("7@a.example"), 0, 150).await, latest);
    while f.store.purge_trace(3 * DAY, 500).await.unwrap() > 0 {}
    for (number, left) in [(0, 0), (1, 0), (2_999, 0), (3_000, 1), (3_001, 1), (4_999, 1)] {
        assert_eq!(f.store.trace_of(&queue_id(number)).await.unwrap().len(), left, "{number}");
    }
    assert_eq!(found(address("7@a.example"), 0, 1_000).await.len(), 200);
    while f.store.purge_trace(9 * DAY, 500).await.unwrap() > 0 {}
    assert!(found(address("7@a.example"), 0, 1_000).await.is_empty());
    let index = rusqlite::Connection::open(f.directory.path().join("v00/index.db")).unwrap();
    for table in ["trace", "trace_recent", "trace_batch", "trace_key"] {
        let left: i64 = index.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn rooms_keep_small_facts() {
    let f = fixture().await;
    let fact = |key: &str, value: &[u8], expires| RoomFact { key: key.into(), value: value.to_vec(), expires };
    let facts = vec![fact("b", b"2", Some(50)), fact("a", b"1", None), fact("", b"0", Some(60))];
    f.store.put_room_facts("sts", facts).await.unwrap();
    f.store.put_room_facts("rpt", vec![fact("a", b"other", Some(50))]).await.unwrap();
    assert_eq!(f.store.room_fact("sts", "a").await.unwrap(), Some(fact("a", b"1", None)));
    assert_eq!(f.store.room_fact("sts", "c").await.unwrap(), None);
    let keys = |facts: Vec<RoomFact>| facts.into_iter().map(|fact| fact.key).collect::<Vec<_>>();
    assert_eq!(keys(f.store.room_facts("sts", None, 10).await.unwrap()), ["", "a", "b"]);
    assert_eq!(keys(f.store.room_facts("sts", Some("a"), 10).await.unwrap()), ["b"]);
    f.store.put_room_facts("sts", vec![fact("b", b"3", Some(70))]).await.unwrap();
    assert_eq!(f.store.room_fact("sts", "b").await.unwrap(), Some(fact("b", b"3", Some(70))));
    assert_eq!(f.store.purge_rooms(60, 1).await.unwrap(), 1);
    assert_eq!(f.store.purge_rooms(60, 10).await.unwrap(), 1);
    assert_eq!(f.store.purge_rooms(60, 10).await.unwrap(), 0);
    assert_eq!(keys(f.store.room_facts("sts", None, 10).await.unwrap()), ["a", "b"]);
    assert_eq!(f.store.remove_room_facts("sts", vec!["a".into(), "c".into()]).await.unwrap(), 1);
    let large = fact("x", &vec![0; RoomFact::MAX_VALUE + 1], None);
    let refused = f.store.put_room_facts("sts", vec![fact("y", b"", None), large]).await;
    assert!(matches!(refused, Err(Error::Limit(_))));
    assert_eq!(f.store.room_fact("sts", "y").await.unwrap(), None, "all or none");
}
