//! What is told of the queue as numbers.

use crate::office::Office;
use crate::world::World;

/// Bounds of the age of queued messages, in milliseconds, and their words.
const AGES: [(i64, &str); 5] =
    [(300_000, "5m"), (3_600_000, "1h"), (4 * 3_600_000, "4h"), (86_400_000, "1d"), (5 * 86_400_000, "5d")];
/// Destinations that are told by name: the labels of a metric are bounded (rule 37).
const LARGEST: usize = 20;

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
    // Those that were told before and are no longer among the largest would stand for ever: they share one rank.
    for (rank, largest) in counts.largest.iter().enumerate() {
        metrics::gauge!("queue_largest_destination", "rank" => (rank + 1).to_string()).set(number(largest.waiting));
        if rank == 0 {
            tracing::debug!(destination = largest.destination, waiting = largest.waiting, "most mail waits for it");
        }
    }
    let stats = office.stats();
    metrics::gauge!("delivery_sessions").set(number(u64::try_from(stats.sessions).unwrap_or(u64::MAX)));
}
