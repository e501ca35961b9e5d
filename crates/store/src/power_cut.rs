//! The engine over a simulated disk whose power is cut: nothing acknowledged is lost, and an index rebuilt from the
//! segments equals the one lost. The control, which lets SQLite skip its syncs, must lose something.

use crate::Synchronous;
use crate::salvage::rebuild;
use crate::simulated::{Model, World, at_most_one_change_apart, commit, commit_read, step};
use crate::types::NewAccount;

/// A life up to a power cut; whether what was acknowledged is there afterwards.
fn life(seed: u64, synchronous: Synchronous) -> bool {
    let world = World::new(seed, synchronous);
    let mut engine = world.open().unwrap();
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
    let boxes = [commit_read(&mut engine, account, "INBOX"), commit_read(&mut engine, account, "Archive")];
    // What SQLite made at the start is on the disk before the part that is cut begins.
    engine.flush();
    for path in world.disk.disk.list("/sim") {
        world.disk.disk.sync(&path).unwrap();
    }
    let mut model = Model::new();
    world.disk.disk.die_after(world.disk.disk.random() % 150);
    let (mut before, mut alive) = (model.clone(), true);
    while alive {
        before.clone_from(&model);
        let dice = world.disk.disk.random();
        alive = step(&mut engine, dice, account, boxes, &mut model);
        if alive && dice.is_multiple_of(5) {
            engine.flush();
        }
        if world.disk.disk.operations() > 5_000 {
            break;
        }
    }
    drop(engine);
    world.disk.disk.cut();
    let Ok(engine) = world.open() else { return false };
    drop(engine);
    let after = world.model(account);
    // The change that was not acknowledged may have happened, all of it, or not at all: the others are there.
    at_most_one_change_apart(&before, &after)
}

#[test]
fn nothing_acknowledged_is_lost_in_five_hundred_power_cuts() {
    for seed in 0..500 {
        assert!(life(seed, Synchronous::Full), "seed {seed}");
    }
}

#[test]
fn the_control_without_syncs_loses_something() {
    let lost = (0..200).filter(|seed| !life(*seed, Synchronous::Normal)).count();
    assert!(lost > 0, "a test that cannot fail shows nothing");
}

#[test]
fn an_index_rebuilt_from_segments_equals_the_one_lost() {
    // rule 2
    for seed in 0..50 {
        let world = World::new(seed, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
        let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
        let boxes = [commit_read(&mut engine, account, "INBOX"), commit_read(&mut engine, account, "Archive")];
        let mut model = Model::new();
        for _ in 0..60 {
            let dice = world.disk.disk.random();
            assert!(step(&mut engine, dice, account, boxes, &mut model));
        }
        engine.close();
        drop(engine);
        assert_eq!(world.model(account), model, "seed {seed}");
        for path in world.disk.disk.list("/sim/v00/index") {
            world.disk.disk.remove(&path).unwrap();
        }
        let report = rebuild(world.disk.as_ref(), &world.layout, &world.layout.index(), &world.options).unwrap();
        assert_eq!(report.recovered, 0, "seed {seed}");
        // What waited comes back on hold.
        for ((entry, _), (_, bits)) in &mut model {
            *bits |= u64::from(*entry < 0);
        }
        assert_eq!(world.model(account), model, "seed {seed}");
    }
}
