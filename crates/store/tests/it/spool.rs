//! The spool: by destination, by filter, settled.

use mailwright_store::*;

use crate::{Fixture, NOON, content, fixture, octets, options, to};

pub(crate) fn recipient(address: &str, due: i64) -> NewSpoolRecipient {
    let destination = address.rsplit_once('@').unwrap().1.to_ascii_lowercase();
    NewSpoolRecipient { address: address.into(), destination, parameters: b"NOTIFY".to_vec(), due }
}

pub(crate) fn spooled(queue_id: &str, sender: &str, recipients: Vec<NewSpoolRecipient>) -> Delivery {
    let spool = NewSpool { queue_id: queue_id.into(), sender: sender.into(), parameters: b"RET".to_vec(), recipients };
    Delivery {
        content: content("", queue_id),
        received: NOON,
        recipients: Vec::new(),
        spool: vec![spool],
        trace: Vec::new(),
    }
}

async fn queue(f: &Fixture) {
    for (queue_id, sender, recipients) in [
        ("q1", "Ann@Example.org", vec![recipient("x@a.example", 5), recipient("y@b.example", 3)]),
        ("q2", "", vec![recipient("Z@A.example", 1)]),
        ("q3", "bob@example.org", vec![recipient("w@sub.a.example", 9), recipient("v@b.example", 2)]),
    ] {
        f.store.deliver(spooled(queue_id, sender, recipients)).await.unwrap();
    }
}

#[tokio::test]
async fn what_an_operator_did_is_in_the_trace() {
    let f = fixture().await;
    queue(&f).await;
    let entry = |queue_id: &str, number| TraceEntry {
        queue_id: queue_id.into(),
        at: 1,
        recipient: Some(number),
        kind: 9,
        data: Vec::new(),
        keys: Vec::new(),
    };
    let mut watch = f.store.watch_spool();
    let all = || vec![entry("q1", 0), entry("q1", 1), entry("q1", 7), entry("q9", 0)];
    assert_eq!(f.store.operate(SpoolChange::Hold, all()).await.unwrap().len(), 2);
    assert_eq!(f.store.operate(SpoolChange::Hold, all()).await.unwrap().len(), 0, "they are");
    assert_eq!(f.store.trace_of("q1").await.unwrap(), [entry("q1", 0), entry("q1", 1)]);
    assert!(f.store.trace_of("q9").await.unwrap().is_empty());
    watch.changed().await;
    assert_eq!(f.store.operate(SpoolChange::Release, vec![entry("q1", 0)]).await.unwrap().len(), 1);
    assert_eq!(f.store.operate(SpoolChange::retry_now(5), vec![entry("q1", 0)]).await.unwrap().len(), 1);
    assert_eq!(one(&*f.store, "q1", 0).await.unwrap().due, -5, "before all that the clock makes due");
    assert_eq!(f.store.operate(SpoolChange::Remove, all()).await.unwrap(), [("q1".into(), 0), ("q1".into(), 1)]);
    assert!(f.store.spool("q1").await.is_err());
    assert_eq!(f.store.trace_of("q1").await.unwrap().len(), 6);
}

fn addresses(recipients: &[SpoolRecipient]) -> Vec<&str> {
    recipients.iter().map(|recipient| recipient.address.as_str()).collect()
}

async fn one(store: &dyn Store, queue_id: &str, number: u32) -> Option<SpoolRecipient> {
    let filter = SpoolFilter { queue_id: Some(queue_id.into()), ..SpoolFilter::default() };
    store.spooled(filter, 10).await.unwrap().into_iter().find(|recipient| recipient.number == number)
}

#[tokio::test]
async fn the_spool_keeps_what_it_is_given() {
    let f = fixture().await;
    queue(&f).await;
    let entry = f.store.spool("q1").await.unwrap();
    assert_eq!((entry.sender.as_str(), &entry.parameters[..]), ("Ann@Example.org", &b"RET"[..]));
    assert_eq!(f.store.spooled_body(&entry).await.unwrap().whole(10).await.unwrap(), "q1");
    let entries = f.store.spool_entries(vec!["q3".into(), "nobody".into(), "q1".into()]).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.queue_id.as_str()).collect::<Vec<_>>(), ["q3", "q1"]);
    let batch = f.store.spool_batch("q1", vec![1, 7], 2).await.unwrap().unwrap();
    let numbers: Vec<u32> = batch.recipients.iter().map(|recipient| recipient.number).collect();
    assert_eq!((batch.spool.queue_id.as_str(), numbers), ("q1", vec![1]));
    assert_eq!(batch.octets.as_deref(), Some(&b"q1"[..]));
    assert!(f.store.spool_batch("q1", vec![1], 1).await.unwrap().unwrap().octets.is_none(), "too many octets");
    assert!(f.store.spool_batch("nobody", vec![1], 2).await.unwrap().is_none());
    let again = f.store.deliver(spooled("q1", "", vec![recipient("x@a.example", 0)])).await;
    assert!(matches!(again, Err(Error::AlreadyExists(What::Spool))));
    let mut changed = one(&*f.store, "q1", 1).await.unwrap();
    assert_eq!((changed.parameters.as_slice(), changed.attempts), (&b"NOTIFY"[..], 0));
    (changed.state, changed.attempts) = (SpoolState::Held, 1);
    changed.destination = "smarthost".into();
    f.store.update_spool(vec![changed.clone()]).await.unwrap();
    assert_eq!(one(&*f.store, "q1", 1).await, Some(changed.clone()));
    f.store.remove_spooled(vec![("q1".into(), 0), ("q1".into(), 1)]).await.unwrap();
    assert!(matches!(f.store.spool("q1").await, Err(Error::NotFound(What::Spool))));
    assert!(matches!(f.store.remove_spooled(vec![("q1".into(), 0)]).await, Err(Error::NotFound(What::Spool))));
    assert!(matches!(f.store.update_spool(vec![changed]).await, Err(Error::NotFound(What::Spool))));
}

#[tokio::test]
async fn destinations_are_told_with_their_first_moment_and_what_is_due_by_destination() {
    let f = fixture().await;
    queue(&f).await;
    let destination = |name: &str, earliest_due| SpoolDestination { destination: name.into(), earliest_due };
    let all = [destination("a.example", 1), destination("b.example", 2), destination("sub.a.example", 9)];
    assert_eq!(f.store.spool_destinations(None, 10).await.unwrap(), all);
    assert_eq!(f.store.spool_destinations(Some("a.example"), 1).await.unwrap(), all[1..2]);
    assert_eq!(addresses(&f.store.spool_due(Some("a.example"), 5, 10).await.unwrap()), ["Z@A.example", "x@a.example"]);
    assert_eq!(addresses(&f.store.spool_due(Some("a.example"), 4, 10).await.unwrap()), ["Z@A.example"]);
    let due = f.store.spool_due(None, 5, 3).await.unwrap();
    assert_eq!(addresses(&due), ["Z@A.example", "v@b.example", "y@b.example"]);
    let due = f.store.spool_due(None, 5, 10).await.unwrap();
    assert_eq!(addresses(&due), ["Z@A.example", "v@b.example", "y@b.example", "x@a.example"]);
    // On hold is not waiting.
    let held = SpoolFilter { destination: Some("b.example".into()), ..SpoolFilter::default() };
    assert_eq!(f.store.change_spooled(held, SpoolChange::Hold).await.unwrap(), 2);
    assert_eq!(f.store.spool_destinations(None, 10).await.unwrap(), [all[0].clone(), all[2].clone()]);
    assert!(f.store.spool_due(Some("b.example"), 9, 10).await.unwrap().is_empty());
    assert_eq!(f.store.spool_due(None, 9, 10).await.unwrap().len(), 3);
    // Other spools of more recipients than are read at a time keep the order, too.
    let many = (0..50).map(|due| recipient("m@b.example", 100 + due)).collect();
    f.store.deliver(spooled("q4", "", many)).await.unwrap();
    let due = f.store.spool_due(None, 1_000, 40).await.unwrap();
    assert!(due.len() == 40 && due.is_sorted_by_key(|recipient| recipient.due));
}

#[tokio::test]
async fn the_spool_is_listed_by_filters() {
    let f = fixture().await;
    queue(&f).await;
    let held = SpoolFilter { queue_id: Some("q2".into()), ..SpoolFilter::default() };
    f.store.change_spooled(held, SpoolChange::Hold).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let none = SpoolFilter::default;
    for (filter, expected) in [
        (none(), "q1.0 q1.1 q2.0 q3.0 q3.1"),
        (SpoolFilter { after: Some(("q1".into(), 0)), ..none() }, "q1.1 q2.0 q3.0 q3.1"),
        (SpoolFilter { queue_id: some("q3"), ..none() }, "q3.0 q3.1"),
        (SpoolFilter { queue_id: some("q"), after: Some(("q2".into(), 7)), ..none() }, "q3.0 q3.1"),
        (SpoolFilter { destination: some("a.example"), ..none() }, "q1.0 q2.0"),
        (SpoolFilter { destination: some("a.example"), state: Some(SpoolState::Waiting), ..none() }, "q1.0"),
        (SpoolFilter { state: Some(SpoolState::Held), ..none() }, "q2.0"),
        (SpoolFilter { sender: some("ann@example.ORG"), ..none() }, "q1.0 q1.1"),
        (SpoolFilter { sender: some("@example.org"), ..none() }, "q1.0 q1.1 q3.0 q3.1"),
        (SpoolFilter { sender: some(""), ..none() }, "q2.0"),
        (SpoolFilter { recipient: some("z@a.example"), ..none() }, "q2.0"),
        (SpoolFilter { recipient: some("@a.example"), sender: some("@example.org"), ..none() }, "q1.0"),
        (SpoolFilter { recipient: some("@example"), ..none() }, ""),
    ] {
        let found = f.store.spooled(filter.clone(), 10).await.unwrap();
        let found: Vec<String> = found.iter().map(|row| format!("{}.{}", row.queue_id, row.number)).collect();
        assert_eq!(found.join(" "), expected, "{filter:?}");
    }
    assert_eq!(f.store.spooled(none(), 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_operator_changes_many_at_once() {
    let f = fixture().await;
    let many = (0..2_500).map(|number| recipient(&format!("{number}@b.example"), 7)).collect();
    f.store.deliver(spooled("q1", "a@b", many)).await.unwrap();
    f.store.deliver(spooled("q2", "a@b", vec![recipient("x@a.example", 7)])).await.unwrap();
    let filter = || SpoolFilter { destination: Some("b.example".into()), ..SpoolFilter::default() };
    let store = &f.store;
    assert_eq!(store.change_spooled(filter(), SpoolChange::Hold).await.unwrap(), 2_500);
    assert_eq!(store.change_spooled(filter(), SpoolChange::Hold).await.unwrap(), 0, "they are");
    assert_eq!(store.change_spooled(filter(), SpoolChange::RetryAt(3)).await.unwrap(), 2_500);
    assert!(store.spool_due(Some("b.example"), 9, 1).await.unwrap().is_empty(), "a hold stays");
    assert_eq!(store.change_spooled(filter(), SpoolChange::Release).await.unwrap(), 2_500);
    assert_eq!(store.spool_due(Some("b.example"), 3, 1).await.unwrap().len(), 1);
    assert_eq!(store.change_spooled(filter(), SpoolChange::Release).await.unwrap(), 0, "they are");
    assert_eq!(store.change_spooled(filter(), SpoolChange::Remove).await.unwrap(), 2_500);
    assert!(store.spool("q1").await.is_err());
    assert_eq!(store.spooled(SpoolFilter::default(), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_spool_is_counted() {
    let f = fixture().await;
    queue(&f).await;
    let held = SpoolFilter { queue_id: Some("q3".into()), ..SpoolFilter::default() };
    f.store.change_spooled(held, SpoolChange::Hold).await.unwrap();
    let created = f.store.spool("q1").await.unwrap().created;
    let counts = f.store.spool_counts(created + 1_000_000, vec![60_000, 2_000_000], 1).await.unwrap();
    assert_eq!((counts.entries, counts.oldest, &counts.ages[..]), (3, Some(created), &[0, 3, 0][..]));
    assert_eq!((counts.waiting, counts.held, counts.destinations), (3, 2, 3));
    let largest = SpoolDestinationCount { destination: "a.example".into(), waiting: 2, held: 0 };
    assert_eq!(counts.largest, [largest]);
    let counts = f.store.spool_counts(created + 1_000_000, vec![], 10).await.unwrap();
    assert_eq!((&counts.ages[..], counts.largest.len()), (&[3][..], 3));
    let empty = fixture().await.store.spool_counts(0, vec![1], 10).await.unwrap();
    assert_eq!(empty, SpoolCounts { ages: vec![0, 0], ..SpoolCounts::default() });
}

fn notification(f: &Fixture, text: &str) -> Delivery {
    Delivery {
        content: content("", text),
        received: NOON,
        recipients: vec![to(f.account, "")],
        spool: Vec::new(),
        trace: Vec::new(),
    }
}

#[tokio::test]
async fn a_failed_recipient_and_its_notification_happen_exactly_once() {
    let f = fixture().await;
    queue(&f).await;
    let mut later = one(&*f.store, "q1", 0).await.unwrap();
    (later.due, later.attempts, later.last) = (50, 1, b"451".to_vec());
    let step = |text: &str| TraceEntry {
        queue_id: "q1".into(),
        at: 1,
        recipient: Some(1),
        kind: 2,
        data: text.into(),
        keys: Vec::new(),
    };
    let settlement = || Settlement {
        updated: vec![later.clone()],
        removed: vec![("q1".into(), 1)],
        deliveries: vec![notification(&f, "failed"), spooled("q9", "", vec![recipient("ann@remote.example", 60)])],
        trace: vec![step("550")],
        ..Settlement::default()
    };
    let settled = f.store.settle(settlement()).await.unwrap();
    assert!(settled.done && settled.gone.is_empty() && settled.held.is_empty());
    assert_eq!(settled.placed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(octets(&*f.store, f.inbox, settled.placed[0][0].uid).await, "failed");
    assert_eq!(f.store.spool_due(None, 60, 10).await.unwrap().len(), 5, "one less, one more");
    // Its answer was lost: it is settled again.
    let again = f.store.settle(settlement()).await.unwrap();
    assert_eq!((again.done, &again.gone[..]), (false, &[("q1".into(), 1)][..]));
    assert_eq!(f.store.snapshot(f.inbox).await.unwrap().len(), 1);
    assert_eq!(f.store.trace_of("q1").await.unwrap(), [step("550")]);
    // All or nothing: the notification cannot be delivered, so the recipient is still there.
    f.store.update_account(f.account, AccountChange::Quota(Some(1))).await.unwrap();
    let refused = Settlement {
        removed: vec![("q1".into(), 0)],
        deliveries: vec![notification(&f, "too much")],
        trace: vec![step("never")],
        ..Settlement::default()
    };
    assert!(matches!(f.store.settle(refused).await, Err(Error::OverQuota)));
    assert_eq!(one(&*f.store, "q1", 0).await, Some(later.clone()));
    assert_eq!(f.store.trace_of("q1").await.unwrap().len(), 1);
    // Without a delivery what is gone keeps nobody from what is there.
    let rest = Settlement {
        removed: vec![("q1".into(), 0), ("q1".into(), 1)],
        trace: vec![step("250")],
        ..Settlement::default()
    };
    let settled = f.store.settle(rest).await.unwrap();
    assert_eq!((settled.done, &settled.gone[..]), (true, &[("q1".into(), 1)][..]));
    assert!(f.store.spool("q1").await.is_err());
    let over = Settlement { updated: vec![later], trace: vec![step("again")], ..Settlement::default() };
    assert!(!f.store.settle(over).await.unwrap().done);
    assert_eq!(f.store.trace_of("q1").await.unwrap().len(), 2);
    // One that names nobody is what it delivers and traces.
    assert!(f.store.settle(Settlement::default()).await.unwrap().done);
}

#[tokio::test]
async fn what_is_on_hold_from_the_first_is_never_due() {
    let f = fixture().await;
    let recipients = || vec![recipient("x@remote.example", 10), recipient("y@other.example", 20)];
    let settlement = Settlement {
        deliveries: vec![spooled("q1", "", recipients()), spooled("q2", "", recipients())],
        on_hold: vec!["q1".into()],
        ..Settlement::default()
    };
    f.store.settle(settlement).await.unwrap();
    // No second step made it so: another process that looks now sees the same.
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    for number in 0..2 {
        let held = one(&*other, "q1", number).await.unwrap();
        assert_eq!((held.state, held.due), (SpoolState::Held, recipients()[number as usize].due));
        assert_eq!(one(&*other, "q2", number).await.unwrap().state, SpoolState::Waiting);
    }
    let due = other.spool_due(None, i64::MAX, 10).await.unwrap();
    assert!(due.len() == 2 && due.iter().all(|row| row.queue_id == "q2"), "{due:?}");
}

#[tokio::test]
async fn a_hold_made_during_an_attempt_outlives_it() {
    let f = fixture().await;
    queue(&f).await;
    let mut tried = one(&*f.store, "q1", 0).await.unwrap();
    tried.attempts = 1;
    let all = SpoolFilter { queue_id: Some("q1".into()), ..SpoolFilter::default() };
    f.store.change_spooled(all, SpoolChange::Hold).await.unwrap();
    let settlement =
        Settlement { updated: vec![tried.clone()], removed: vec![("q1".into(), 1)], ..Settlement::default() };
    let settled = f.store.settle(settlement).await.unwrap();
    assert_eq!((settled.done, &settled.held[..]), (true, &[("q1".into(), 0)][..]));
    tried.state = SpoolState::Held;
    assert_eq!(one(&*f.store, "q1", 0).await, Some(tried));
    assert_eq!(one(&*f.store, "q1", 1).await, None, "delivered is delivered");
}

#[tokio::test]
async fn a_release_is_remembered() {
    let f = fixture().await;
    queue(&f).await;
    let all = || SpoolFilter { queue_id: Some("q1".into()), ..SpoolFilter::default() };
    let mut tried = one(&*f.store, "q1", 0).await.unwrap();
    assert_eq!(f.store.change_spooled(all(), SpoolChange::Release).await.unwrap(), 0, "it was on no hold");
    assert_eq!(one(&*f.store, "q1", 0).await, Some(tried.clone()));
    let before = f.store.spool("q1").await.unwrap().created;
    f.store.change_spooled(all(), SpoolChange::Hold).await.unwrap();
    f.store.change_spooled(all(), SpoolChange::Release).await.unwrap();
    let released = one(&*f.store, "q1", 0).await.unwrap().released;
    assert!(released >= before);
    // Whoever tried it meanwhile does not know.
    tried.attempts = 1;
    let settlement = Settlement { updated: vec![tried.clone()], ..Settlement::default() };
    assert!(f.store.settle(settlement).await.unwrap().done);
    assert_eq!(one(&*f.store, "q1", 0).await, Some(SpoolRecipient { released, ..tried }));
}

#[tokio::test]
async fn who_watches_the_spool_is_woken_by_every_process() {
    let f = fixture().await;
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    let mut here = f.store.watch_spool();
    let mut there = other.watch_spool();
    queue(&f).await;
    here.changed().await;
    there.changed().await;
    other.change_spooled(SpoolFilter::default(), SpoolChange::Hold).await.unwrap();
    here.changed().await;
}

#[tokio::test]
async fn a_queue_has_one_runner_and_a_second_stands_by() {
    // rule 7
    let f = fixture().await;
    let other = Embedded::open(f.directory.path(), &options()).unwrap();
    let lock = f.store.lock_queue().await.unwrap();
    assert!(lock.is_some());
    assert!(other.lock_queue().await.unwrap().is_none());
    let waiting = tokio::spawn(async move { other.wait_for_queue().await.map(|lock| (lock, other)) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(lock);
    let (lock, _other) = waiting.await.unwrap().unwrap();
    assert!(f.store.lock_queue().await.unwrap().is_none());
    drop(lock);
    assert!(f.store.lock_queue().await.unwrap().is_some());
}
