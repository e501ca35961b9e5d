//! What a system knows of its messages, read from its store while its daemons run.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use queue::envelope::Envelope;
use store::{SpoolFilter, SpoolRecipient, Store};
use tokio::runtime::{Builder, Runtime};
use trace::{Attempt, Outcome, Step};

use crate::{PATIENCE, System};

/// The store, opened when it is first looked into.
#[derive(Debug, Default)]
pub(crate) struct Insight(OnceLock<(Runtime, Arc<dyn Store>)>);

impl System {
    fn look<T>(&self, of: impl AsyncFnOnce(&Arc<dyn Store>) -> T) -> T {
        let (runtime, store) = self.insight.0.get_or_init(|| {
            let config = daemon::Config::load(self.config().as_ref()).unwrap();
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let system = runtime.block_on(async { admin::open(&config, false) }).unwrap();
            (runtime, system.store)
        });
        runtime.block_on(of(store))
    }

    /// The steps of a message so far.
    pub fn story(&self, queue_id: &str) -> Vec<Step> {
        let entries = self.look(async |store| store.trace_of(queue_id).await).unwrap();
        entries.iter().map(|entry| Step::decode(&entry.data).unwrap()).collect()
    }

    /// The attempts of a message so far.
    pub fn attempts(&self, queue_id: &str) -> Vec<Attempt> {
        let of = |step| match step {
            Step::Attempted(attempt) => Some(attempt),
            _ => None,
        };
        self.story(queue_id).into_iter().filter_map(of).collect()
    }

    /// Waits until so many attempts have come to an outcome; the first of them.
    pub fn wait_for(&self, queue_id: &str, outcome: Outcome, count: usize) -> Attempt {
        let what = format!("{count} times {outcome:?} of {queue_id}");
        let found = self.wait(&what, queue_id, |system| {
            let mut found = system.attempts(queue_id);
            found.retain(|attempt| attempt.outcome == outcome);
            (found.len() >= count).then_some(found)
        });
        found.into_iter().next().unwrap()
    }

    /// Waits for a step; it.
    pub fn wait_for_step(&self, queue_id: &str, what: &str, is: impl Fn(&Step) -> bool) -> Step {
        self.wait(what, queue_id, |system| system.story(queue_id).into_iter().find(|step| is(step)))
    }

    fn wait<T>(&self, what: &str, queue_id: &str, ready: impl Fn(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(ready) = ready(self) {
                return ready;
            }
            let story = || self.story(queue_id).iter().map(|step| format!("{step}\n")).collect::<String>();
            assert!(began.elapsed() < PATIENCE, "no {what}; its story:\n{}", story());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What waits in the queue, first to last.
    pub fn queue(&self) -> Vec<SpoolRecipient> {
        self.look(async |store| store.spooled(SpoolFilter::default(), 10_000).await).unwrap()
    }

    /// What goes on with a message that waits in the queue.
    pub fn envelope(&self, queue_id: &str) -> Envelope {
        let spool = self.look(async |store| store.spool(queue_id).await).unwrap();
        Envelope::decode(&spool.parameters).unwrap()
    }

    /// Waits until nothing is in the queue.
    pub fn wait_until_queue_is_empty(&self) {
        let began = Instant::now();
        loop {
            let queue = self.queue();
            if queue.is_empty() {
                return;
            }
            let count = queue.len();
            assert!(began.elapsed() < PATIENCE, "still {count} in the queue: {:#?}", queue.first());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The facts that a room of the store holds, as text.
    pub fn room(&self, room: &str) -> Vec<(String, String)> {
        let facts = self.look(async |store| store.room_facts(room, None, 1_000).await).unwrap();
        facts.into_iter().map(|fact| (fact.key, String::from_utf8_lossy(&fact.value).into_owned())).collect()
    }

    /// Replaces the facts of a room, as they would be had other things happened.
    pub fn replace_room(&self, room: &str, facts: &[(String, String)]) {
        let old = self.room(room).into_iter().map(|(key, _)| key).collect();
        let fact = |(key, value): &(String, String)| store::RoomFact {
            key: key.clone(),
            value: value.clone().into_bytes(),
            expires: None,
        };
        let new = facts.iter().map(fact).collect();
        self.look(async |store| {
            store.remove_room_facts(room, old).await.unwrap();
            store.put_room_facts(room, new).await.unwrap();
        });
    }
}

/// Waits until something is there; it.
pub fn wait_until<T>(what: &str, ready: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(ready) = ready() {
            return ready;
        }
        assert!(began.elapsed() < PATIENCE, "not there in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
