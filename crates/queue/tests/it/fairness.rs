//! Nobody is sent twice, and nobody starves, whatever the others do.

use std::time::Duration;

use proptest::prelude::*;

use crate::queue::scheduler::{Settings, Shaping};
use crate::world::{Manner, World};

fn settings(sessions: u32) -> Settings {
    Settings { sessions, rows_per_load: 10, rows_handed: 50, ..Settings::default() }
}

/// Others: how many destinations, how they behave, how many messages each has.
fn others() -> impl Strategy<Value = Vec<(Manner, usize, bool)>> {
    let manner = prop_oneof![
        (1_i64..2000).prop_map(Manner::Good),
        (1_i64..30_000).prop_map(Manner::Dead),
        (1_i64..10_000).prop_map(Manner::Busy),
        (1_i64..10_000).prop_map(Manner::Closes),
    ];
    prop::collection::vec((manner, 1_usize..80, any::<bool>()), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The world asserts for each batch that no row of it is out, or was delivered.
    #[test]
    fn every_row_is_sent_exactly_once(
        others in others(), sessions in 1_u32..12, store_delay in 0_i64..300, max_recipients in 1_usize..5, seed: u64,
    ) {
        let mut world = World::new(Settings { seed, ..settings(sessions) });
        world.store_delay = store_delay;
        world.max_recipients = max_recipients;
        let mut good = Vec::new();
        for (number, (manner, messages, handed)) in others.iter().enumerate() {
            let destination = format!("d{number}.example");
            world.manners.insert(destination.clone(), *manner);
            world.groups.insert(destination.clone(), format!("g{}", number % 5));
            if let Manner::Good(delay) = manner {
                world.manners.insert(destination.clone(), Manner::Good(delay % 50 + 1));
                // Whoever shares a group with the dead waits with them.
                world.groups.insert(destination.clone(), format!("good{}", number % 3));
                good.push(destination.clone());
            }
            for message in 0..*messages {
                let queue_id = format!("m{message}");
                let rows = (0..3).map(|recipient| World::row(&queue_id, recipient, 0, u32::from(message % 3 == 0)));
                if *handed {
                    let rows = rows.collect();
                    world.accept(&destination, rows);
                } else {
                    rows.for_each(|row| world.put(&destination, row));
                }
            }
        }
        world.learn();
        world.run_until(30 * 60_000);
        for destination in good {
            prop_assert_eq!(world.left(&destination), 0, "{} has mail left", destination);
        }
        prop_assert!(world.most_sessions <= sessions as usize);
        let most = 50 + sessions as usize * 10;
        prop_assert!(world.most_rows <= most, "{} rows in memory", world.most_rows);
    }

    /// A destination with due mail gets its first session within a bounded time: every session that is in its way ends
    /// after its quantum of time and a batch, or its timeout, and destinations are served in turns.
    #[test]
    fn nobody_starves(others in others(), sessions in 2_u32..12, fresh: bool, seed: u64) {
        let mut world = World::new(Settings { seed, quantum: Duration::from_secs(2), ..settings(sessions) });
        for (number, (manner, messages, _)) in others.iter().enumerate() {
            let destination = format!("d{number}.example");
            world.manners.insert(destination.clone(), *manner);
            for message in 0..messages * 4 {
                world.put(&destination, World::row(&format!("m{message}"), 0, 0, u32::from(message % 2 == 0)));
            }
        }
        world.learn();
        world.run_until(60_000);
        world.put("late.example", World::row("late", 0, 60_000, u32::from(!fresh)));
        let due = world.rows_due("late.example");
        world.scheduler.learn("late.example", due, fresh);
        // The longest that one session holds its place here: a connection that fails after 30 s, or a quantum and a batch.
        let turn = 30_000;
        let rounds = i64::try_from(others.len()).unwrap() / i64::from(sessions / 2).max(1) + 3;
        world.run_until(60_000 + rounds * 3 * turn);
        prop_assert_eq!(world.left("late.example"), 0, "not served in {} rounds", rounds * 3);
    }
}

#[test]
fn a_dead_provider_with_100_000_messages_delays_nobody() {
    let mut world = World::new(Settings { sessions: 20, ..Settings::default() });
    world.manners.insert("dead.example".to_owned(), Manner::Dead(120_000));
    for message in 0..20_000 {
        world.put("dead.example", World::row(&format!("d{message}"), 0, 0, 0));
    }
    world.learn();
    world.run_until(1000);
    for message in 0..500 {
        let destination = format!("d{}.example", message % 50);
        world.accept(&destination, vec![World::row(&format!("m{message}"), 0, 1000, 0)]);
    }
    world.run_until(5000);
    let left: usize = (0..50).map(|number| world.left(&format!("d{number}.example"))).sum();
    assert_eq!(left, 0);
    world.run_until(24 * 3_600_000);
    let trials = world.starts.iter().filter(|(_, destination)| destination == "dead.example").count();
    assert!((20..60).contains(&trials), "{trials} trials in a day");
    assert_eq!(world.left("dead.example"), 20_000, "and none of its rows is touched");
    let view = world.scheduler.destination("dead.example").unwrap();
    assert_eq!((view.rows, view.allowed), (0, 1));
    assert!(view.failures > 5);
}

#[test]
fn slow_destinations_leave_room() {
    let mut world = World::new(Settings { sessions: 60, ..Settings::default() });
    for slow in 0..3 {
        let destination = format!("slow{slow}.example");
        world.manners.insert(destination.clone(), Manner::Good(60_000));
        for message in 0..200 {
            world.put(&destination, World::row(&format!("m{message}"), 0, 0, 0));
        }
    }
    world.learn();
    world.run_until(10 * 60_000);
    let open = world.open.len();
    assert!(open <= 48, "{open} sessions of 60, and each of the three has less than what is free");
    assert!(open >= 30, "{open} sessions");
}

#[test]
fn fresh_mail_before_what_was_tried_and_a_share_of_its_own() {
    let mut world = World::new(Settings { sessions: 10, ..Settings::default() });
    for old in 0..100 {
        let destination = format!("old{old}.example");
        world.manners.insert(destination.clone(), Manner::Good(600_000));
        world.put(&destination, World::row("m", 0, 0, 3));
    }
    world.learn();
    world.run_until(1000);
    assert_eq!(world.scheduler.stats().sessions_retried, 8);
    world.accept("new.example", vec![World::row("n", 0, 1000, 0)]);
    world.run_until(1010);
    assert_eq!(world.left("new.example"), 0);
    // And within one destination.
    let mut world = World::new(Settings { sessions: 1, ..Settings::default() });
    for (queue_id, due, priority, attempts) in [("old", -9, 0, 1), ("new", -5, 0, 0), ("urgent", -4, 5, 0)] {
        let row = World::row(queue_id, 0, due, attempts);
        world.put("a.example", crate::queue::scheduler::Row { priority, ..row });
    }
    world.learn();
    world.run_until(1000);
    let order: Vec<_> = world.batches.iter().map(|(_, _, queue_id, _)| queue_id.as_str()).collect();
    assert_eq!(order, ["urgent", "new", "old"]);
    assert_eq!(world.starts.len(), 1, "one connection for all");
}

#[test]
fn one_provider_behind_many_domains() {
    let mut world = World::new(Settings { sessions: 100, sessions_per_group: 5, ..Settings::default() });
    for domain in 0..200 {
        let destination = format!("d{domain}.example");
        world.manners.insert(destination.clone(), Manner::Good(1000));
        world.groups.insert(destination.clone(), "mx.provider.example".to_owned());
        world.put(&destination, World::row("m", 0, 0, 0));
    }
    world.learn();
    let mut most = 0;
    for tick in 0..120 {
        world.run_until(tick * 500);
        most = most.max(world.open.len());
    }
    assert_eq!(most, 5);
    assert!((0..200).all(|domain| world.left(&format!("d{domain}.example")) == 0));
    // Dead as a whole: the domains share the trials.
    for domain in 0..200 {
        let destination = format!("d{domain}.example");
        world.manners.insert(destination.clone(), Manner::Dead(30_000));
        world.put(&destination, World::row("n", 0, 60_000, 0));
    }
    world.starts.clear();
    world.learn();
    world.run_until(60_000 + 3_600_000);
    assert!(world.starts.len() < 20, "{} connections in an hour", world.starts.len());
}

#[test]
fn concurrency_follows_what_the_other_side_bears() {
    let shaping = Shaping { sessions: 10, ..Shaping::default() };
    let mut world = World::new(Settings { sessions: 100, shaping, ..Settings::default() });
    world.manners.insert("a.example".to_owned(), Manner::Good(100));
    for message in 0..2000 {
        world.put("a.example", World::row(&format!("m{message}"), 0, 0, 0));
    }
    world.learn();
    world.run_until(50);
    assert_eq!(world.open.len(), 2);
    world.run_until(5000);
    assert_eq!(world.open.len(), 10);
    world.manners.insert("a.example".to_owned(), Manner::Busy(100));
    world.run_until(7000);
    assert_eq!(world.scheduler.destination("a.example").unwrap().allowed, 1);
    world.manners.insert("a.example".to_owned(), Manner::Good(100));
    world.run_until(10 * 60_000);
    assert_eq!(world.left("a.example"), 0);
}

#[test]
fn a_flush_tries_at_once() {
    let mut world = World::new(Settings { backoff_first: Duration::from_secs(3600), ..Settings::default() });
    world.manners.insert("a.example".to_owned(), Manner::Dead(10));
    world.put("a.example", World::row("m", 0, 0, 0));
    world.learn();
    world.run_until(60_000);
    assert_eq!(world.starts.len(), 1);
    world.manners.clear();
    assert!(world.scheduler.flush("a.example", crate::world::time(60_000)));
    world.run_until(60_100);
    assert_eq!(world.left("a.example"), 0);
    assert!(!world.scheduler.flush("a.example", crate::world::time(60_100)), "forgotten with its mail");
}
