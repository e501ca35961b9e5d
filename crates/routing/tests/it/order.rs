//! Whatever the order of answers, and of the records in them, the plan is the same.

use mailwright_routing::dane::Tlsa;
use mailwright_routing::{Answer, Proof, Question, Target, Trouble};
use proptest::prelude::*;

use crate::canned::World;

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![Just(Proof::Secure), Just(Proof::Insecure)]
}

/// A domain with up to five hosts, of which each may be signed, aliased, failing, private or ours.
fn world() -> impl Strategy<Value = World> {
    let hosts = prop::collection::vec((0u16..3, proof(), 0u8..8, any::<bool>()), 0..5);
    (hosts, proof(), 0u8..4, any::<u64>()).prop_map(|(hosts, mx_proof, policy, seed)| {
        let mut world = World { seed, ..World::default() };
        world.settings.own_names = vec!["mx4.example".into()];
        let names: Vec<String> = (0..hosts.len()).map(|at| format!("mx{at}.example")).collect();
        let mut list = Vec::new();
        for (name, (preference, proof, kind, dane)) in names.iter().zip(&hosts) {
            list.push((*preference, name.as_str()));
            world = match kind {
                0 => world.alias(name, "canonical.example", Proof::Secure, *proof),
                1 => world.fails(Question::Addresses { name: name.clone(), family: mailwright_routing::Family::V4 }),
                2 => world.host(name, *proof, &["10.0.0.1"]),
                3 => world,
                _ => world.host(name, *proof, &["192.0.2.1", "192.0.2.2", "2001:db8::1", "10.0.0.1"]),
            };
            if *dane {
                world = world.tlsa(name, *proof, &[Tlsa::new(3, 1, 1, vec![1; 32]), Tlsa::new(0, 0, 0, vec![])]);
            } else if *kind == 5 {
                world = world.fails(Question::Tlsa { port: 25, name: name.clone() });
            }
        }
        if !list.is_empty() {
            world = world.mx("example.com", mx_proof, &list);
        }
        match policy {
            0 => world,
            1 => world.policy("example.com", "1", &["mode: enforce", "mx: *.example", "max_age: 9"]),
            2 => world.policy("example.com", "1", &["mode: testing", "mx: mx1.example", "max_age: 9"]),
            _ => world.txt("_mta-sts.example.com", "v=STSv1; id=2"),
        }
    })
}

/// The same records, turned round.
fn turned(mut world: World) -> World {
    for answer in world.answers.values_mut() {
        match answer {
            Answer::Mx(Ok(found)) => found.records.reverse(),
            Answer::Addresses(Ok(found)) => found.records.reverse(),
            Answer::Tlsa(Ok(found)) => found.records.reverse(),
            _ => {}
        }
    }
    world
}

proptest! {
    #[test]
    fn order_does_not_matter(world in world(), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        let target = || Target::domain(address::Domain::parse("example.com").unwrap());
        let plain = world.run(target());
        let mut next = picks.iter().cycle();
        let mixed = turned(world).run_in_order(target(), |waiting| next.next().map_or(0, |pick| pick.index(waiting.len())));
        prop_assert_eq!(&plain.result, &mixed.result);
        prop_assert_eq!(plain.store, mixed.store);
        let (mut one, mut other) = (plain.asked, mixed.asked);
        one.sort();
        other.sort();
        prop_assert!(one.windows(2).all(|pair| pair[0] != pair[1]), "asked twice");
        // The set of questions may differ only by what a null outcome made needless.
        if plain.result.is_ok() {
            prop_assert_eq!(one, other);
        }
        if let Ok(plan) = &plain.result {
            prop_assert!(plan.hosts.iter().all(|host| !host.addresses.is_empty()));
            prop_assert!(plan.hosts.is_sorted_by_key(|host| host.preference));
            prop_assert!(plan.hosts.iter().flat_map(|host| &host.addresses).all(|a| a.to_string() != "10.0.0.1"));
        }
    }

    /// A resolver in ruins never bounces mail.
    #[test]
    fn trouble_is_temporary(world in world()) {
        let mut broken = world;
        for (question, answer) in &mut broken.answers {
            if matches!(question, Question::Mx(_)) {
                *answer = Answer::temporary(question, Trouble::Timeout);
            }
        }
        let broken = broken.fails(Question::Mx("example.com".into()));
        prop_assert!(broken.lookup("example.com").result.unwrap_err().is_temporary());
    }
}
