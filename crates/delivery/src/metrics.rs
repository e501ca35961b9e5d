//! What is told of the queue as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use store::SpoolDestinationCount;

use crate::office::Office;
use crate::world::World;

/// Bounds of the age of queued messages, in milliseconds, and their words.
const AGES: [(i64, &str); 5] =
    [(300_000, "5m"), (3_600_000, "1h"), (4 * 3_600_000, "4h"), (86_400_000, "1d"), (5 * 86_400_000, "5d")];
/// Destinations that are told by name: the labels of a metric are bounded (rule 37).
const LARGEST: usize = 20;

/// Destinations that were ever told by name; further ones are "other" until the process starts anew.
const NAMES: usize = 200;

/// A message has reached the next system, so many seconds after it was accepted.
pub(crate) fn delivered(tls: bool, seconds: f64) {
    let tls = if tls { "yes" } else { "no" };
    metrics::counter!("deliveries_total", "result" => "delivered").increment(1);
    metrics::counter!("deliveries_tls_total", "tls" => tls).increment(1);
    metrics::histogram!("delivery_seconds").record(seconds);
}

/// What waits for the largest destinations by name, and for those that were told before and are not among them: nothing
/// is known of these now, which is told as 0.
fn named(largest: &[SpoolDestinationCount]) -> Vec<(String, u64)> {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found: BTreeMap<String, u64> = told.iter().map(|name| (name.clone(), 0)).collect();
    for count in largest {
        let is_known = told.contains(&count.destination) || told.len() < NAMES;
        let name = if is_known { count.destination.clone() } else { "other".to_owned() };
        told.insert(name.clone());
        *found.entry(name).or_default() += count.waiting;
    }
    found.into_iter().collect()
}

/// Counts the queue.
pub(crate) async fn gauge<W: World>(office: &Office<W>) {
    let bounds = AGES.iter().map(|(bound, _)| *bound).collect();
    let counts = match office.store.spool_counts(office.world.now().as_millisecond(), bounds, LARGEST).await {
        Ok(counts) => counts,
        Err(error) => return tracing::debug!(%error, "the queue is not counted"),
    };
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    let number = |count: u64| count as f64;
    let words = AGES.iter().map(|(_, words)| *words).chain(std::iter::once("older"));
    for (words, count) in words.zip(&counts.ages) {
        metrics::gauge!("queue_messages", "age" => words).set(number(*count));
    }
    metrics::gauge!("queue_recipients", "state" => "waiting").set(number(counts.waiting));
    metrics::gauge!("queue_recipients", "state" => "held").set(number(counts.held));
    metrics::gauge!("queue_destinations").set(number(counts.destinations));
    for (destination, waiting) in named(&counts.largest) {
        metrics::gauge!("queue_destination_recipients", "destination" => destination).set(number(waiting));
    }
    let stats = office.stats();
    metrics::gauge!("delivery_sessions").set(number(u64::try_from(stats.sessions).unwrap_or(u64::MAX)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_destinations_are_bounded() {
        // rule 37
        let counts = |range: std::ops::Range<u32>| -> Vec<SpoolDestinationCount> {
            let of = |number| SpoolDestinationCount { destination: format!("d{number}.test"), waiting: 2, held: 0 };
            range.map(of).collect()
        };
        let first = named(&counts(0..20));
        assert_eq!((first.len(), first[0].1), (20, 2));
        for from in (20..1_000).step_by(20) {
            named(&counts(from..from + 20));
        }
        let last = named(&counts(5_000..5_020));
        assert_eq!(last.len(), NAMES + 1);
        assert_eq!(last.iter().find(|(name, _)| name == "other").map(|(_, waiting)| *waiting), Some(40));
    }
}
