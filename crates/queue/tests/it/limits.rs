//! Limits are never exceeded, and memory is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::queue::Rate;
use crate::queue::scheduler::{Load, Scheduler, Settings, Shaping, Step};
use crate::world::{Manner, World, time};

/// In no stretch of time more than the rate allows.
fn holds(rate: &Rate, passed: &[(i64, usize)]) -> Result<(), TestCaseError> {
    for first in 0..passed.len() {
        let mut sum = 0;
        for (at, count) in &passed[first..] {
            sum += i64::try_from(*count).unwrap();
            let per = i64::try_from(rate.per.as_millis()).unwrap();
            let allowed = i64::from(rate.burst) + (at - passed[first].0) * i64::from(rate.count) / per;
            prop_assert!(sum <= allowed, "{} where {} are allowed", sum, allowed);
        }
    }
    Ok(())
}

fn rate() -> impl Strategy<Value = Rate> {
    (1_u32..60, 1_u32..60, 1_u64..60).prop_map(|(count, burst, seconds)| Rate {
        count,
        per: Duration::from_secs(seconds),
        burst: burst.min(count),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn rates(messages in rate(), recipients in rate(), connections in rate(), sources in rate(), seed: u64, per_session in 1_u32..10) {
        let shaping = Shaping {
            messages: Some(messages),
            recipients: Some(recipients),
            connections: Some(connections),
            messages_per_session: per_session,
            ..Shaping::default()
        };
        let mut world = World::new(Settings { seed, shaping, source_messages: Some(sources), sessions: 10, ..Settings::default() });
        world.store_delay = 5;
        let mut source_of = BTreeMap::new();
        for destination in ["a.example", "b.example"] {
            world.manners.insert(destination.to_owned(), Manner::Good(20));
            for message in 0..100 {
                let queue_id = format!("{destination}{message}");
                let source = format!("s{}", message % 2);
                for number in 0..3 {
                    let row = World::row(&queue_id, number, 0, 0);
                    world.put(destination, crate::queue::scheduler::Row { source: source.as_str().into(), ..row });
                }
                source_of.insert(queue_id, source);
            }
        }
        world.learn();
        world.run_until(120_000);
        prop_assert!(!world.batches.is_empty());
        for destination in ["a.example", "b.example"] {
            let of = world.batches.iter().filter(|(_, to, ..)| to == destination);
            let batches: Vec<_> = of.clone().map(|(at, ..)| (*at, 1)).collect();
            holds(&messages, &batches)?;
            let sent: Vec<_> = of.map(|(at, _, _, count)| (*at, *count)).collect();
            holds(&recipients, &sent)?;
            let starts: Vec<_> = world.starts.iter().filter(|(_, to)| to == destination).map(|(at, _)| (*at, 1)).collect();
            holds(&connections, &starts)?;
        }
        for source in ["s0", "s1"] {
            let of = world.batches.iter().filter(|(_, _, queue_id, _)| source_of[queue_id] == source);
            let batches: Vec<_> = of.map(|(at, ..)| (*at, 1)).collect();
            holds(&sources, &batches)?;
        }
    }
}

#[test]
fn a_million_messages_for_ten_thousand_destinations() {
    let mut scheduler = Scheduler::new(Settings::default());
    for number in 0..10_000 {
        assert!(scheduler.learn(&format!("d{number}.example"), time(0), true));
    }
    // The store has 100 rows for each; every question gets as many as it may.
    let mut loads = 0;
    let mut starts = 0;
    loop {
        match scheduler.next(time(0)) {
            Step::Load(Load { destination, limit, .. }) => {
                loads += 1;
                let rows = (0..limit).map(|number| World::row(&format!("{destination}{number}"), 0, 0, 0));
                scheduler.loaded(&destination, rows.collect(), Some(time(0)), time(0));
            }
            Step::Start(_) => starts += 1,
            Step::Learn => {}
            Step::Wait { .. } => break,
        }
    }
    let stats = scheduler.stats();
    assert_eq!((stats.destinations, stats.sessions, starts), (10_000, 200, 200));
    assert!(loads <= 200, "only who is served is asked for: {loads}");
    assert!(stats.rows <= 200 * 200 + 10_000, "{} rows", stats.rows);
}

#[test]
fn too_many_destinations_wait_outside() {
    let mut world = World::new(Settings { destinations: 20, ..Settings::default() });
    for number in 0..100 {
        world.put(&format!("d{number:02}.example"), World::row("m", 0, 0, 0));
    }
    world.learn();
    assert_eq!(world.scheduler.stats().destinations, 20);
    world.run_until(10_000);
    assert!((0..100).all(|number| world.left(&format!("d{number:02}.example")) == 0));
    assert_eq!(world.scheduler.stats().destinations, 0, "and all are forgotten");
    assert!(!world.scheduler.learn(&"x".repeat(513), time(0), true));
}

#[test]
fn a_store_that_fails_is_asked_again() {
    let mut scheduler = Scheduler::new(Settings::default());
    scheduler.learn("a.example", time(0), true);
    for second in 0..5 {
        let now = time(second * 1000);
        let step = scheduler.next(now);
        let Step::Load(load) = step else { panic!("{step:?}") };
        assert_eq!(scheduler.next(now), Step::Wait { until: None });
        scheduler.load_failed(&load.destination, now);
        assert_eq!(scheduler.next(now), Step::Wait { until: Some(time((second + 1) * 1000)) });
    }
}
