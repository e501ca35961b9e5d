//! Rows are handed out once, and none is forgotten.

use crate::queue::Scheduler;
use crate::queue::scheduler::{Ended, Fate, RecipientOutcome, Row, SessionId, Settings, Shaping, Step, Take};
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn row(queue_id: &str, due: i64) -> Row {
    Row { queue_id: queue_id.into(), number: 0, due: at(due), priority: 0, attempts: 0, source: "".into() }
}

fn start(scheduler: &mut Scheduler, now: i64) -> Option<SessionId> {
    loop {
        match scheduler.next(at(now)) {
            Step::Start(grant) => return Some(grant.id),
            Step::Load(load) => scheduler.loaded(&load.destination, Vec::new(), None, at(now)),
            Step::Learn => {}
            Step::Wait { .. } => return None,
        }
    }
}

fn is_batch(take: &Take) -> bool {
    matches!(take, Take::Batch { .. })
}

#[test]
fn what_is_handed_over_late_is_not_sent_again() {
    let mut scheduler = Scheduler::new(Settings::default());
    scheduler.fresh("a.example", [row("one", 0)], at(0));
    let first = start(&mut scheduler, 0).unwrap();
    assert!(is_batch(&scheduler.take(first, at(0), 10)));
    // The store told of it before whoever accepted it could.
    scheduler.fresh("a.example", [row("one", 0)], at(0));
    assert!(start(&mut scheduler, 0).is_none(), "nothing is there for another session");
    assert_eq!(scheduler.take(first, at(0), 10), Take::Nothing);
}

#[test]
fn a_group_without_room_gives_the_batch_back() {
    let mut scheduler = Scheduler::new(Settings { sessions_per_group: 1, ..Settings::default() });
    scheduler.fresh("a.example", [row("one", 0)], at(0));
    scheduler.fresh("b.example", [row("two", 0)], at(0));
    let first = start(&mut scheduler, 0).unwrap();
    let second = start(&mut scheduler, 0).unwrap();
    for session in [first, second] {
        assert!(is_batch(&scheduler.take(session, at(0), 10)));
    }
    assert!(scheduler.session_at(first, "provider", at(0)));
    assert!(!scheduler.session_at(second, "provider", at(0)));
    let done = RecipientOutcome { number: 0, fate: Fate::Delivered };
    scheduler.outcome(first, &[done], at(1));
    scheduler.session_ended(first, Ended::Quiet, at(1));
    let asked = std::iter::from_fn(|| match scheduler.next(at(1)) {
        Step::Wait { .. } => None,
        step => Some(step),
    });
    assert!(
        asked.into_iter().take(5).any(|step| matches!(step, Step::Load(load) if &*load.destination == "b.example"))
    );
}

#[test]
fn a_further_load_that_nobody_asked_for_yet_is_not_waited_for() {
    let mut scheduler = Scheduler::new(Settings::default());
    scheduler.fresh("a.example", [row("one", 0)], at(0));
    let session = start(&mut scheduler, 0).unwrap();
    assert!(is_batch(&scheduler.take(session, at(0), 10)));
    // Something else becomes due while the session is busy, and then it fails.
    scheduler.learn("a.example", at(5), false);
    let retry = RecipientOutcome { number: 0, fate: Fate::Retry { at: at(9_000), busy: false } };
    scheduler.outcome(session, &[retry], at(10));
    scheduler.session_ended(session, Ended::TimedOut, at(10));
    let asked = matches!(scheduler.next(at(4_000)), Step::Load(load) if &*load.destination == "a.example");
    assert!(asked, "it is asked for once the destination is tried again");
}

#[test]
fn a_sweep_takes_all_that_waits() {
    let shaping = Shaping { messages_per_session: 1, ..Shaping::default() };
    let mut scheduler = Scheduler::new(Settings { shaping, ..Settings::default() });
    scheduler.fresh("a.example", ["one", "two", "three"].map(|queue_id| row(queue_id, 0)), at(0));
    let session = start(&mut scheduler, 0).unwrap();
    assert!(is_batch(&scheduler.take(session, at(0), 10)));
    let retry = RecipientOutcome { number: 0, fate: Fate::Retry { at: at(300), busy: false } };
    scheduler.outcome(session, &[retry], at(0));
    assert_eq!(scheduler.take(session, at(0), 10), Take::Nothing, "one message for each session");
    scheduler.sweep(session);
    for _ in 0..2 {
        assert!(is_batch(&scheduler.take(session, at(0), 10)));
        scheduler.outcome(session, &[retry], at(0));
    }
    assert_eq!(scheduler.take(session, at(0), 10), Take::Idle);
}

#[test]
fn a_destination_that_is_put_off_has_no_session() {
    let mut scheduler = Scheduler::new(Settings::default());
    scheduler.fresh("a.example", [row("one", 0)], at(0));
    assert!(scheduler.put_off("a.example", at(60), at(0)));
    assert!(start(&mut scheduler, 30).is_none());
    assert!(matches!(scheduler.next(at(61)), Step::Load(_)));
    scheduler.fresh("b.example", [row("two", 0)], at(61));
    start(&mut scheduler, 61).unwrap();
    assert!(!scheduler.put_off("b.example", at(120), at(61)), "a session is there");
}
