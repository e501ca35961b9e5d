//! The loop that runs the queue: asks the scheduler, answers what it asks of the store, sends couriers.

use std::sync::Arc;
use std::time::Duration;

use queue::envelope::Envelope;
use queue::scheduler::{Load, Row, Step};
use store::{QueueLock, SpoolChange, SpoolRecipient, Watch};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::courier::Courier;
use crate::office::Office;
use crate::overdue;
use crate::tls_reports;
use crate::work::moment;
use crate::world::World;

/// Between two looks at all destinations for what other processes have changed, at least.
const LOOK: Duration = Duration::from_secs(1);
/// Destinations of one answer of the store.
const PAGE: u32 = 1_000;
/// After the start, the first round of housekeeping: what is due since yesterday waits no longer.
const SOON: Duration = Duration::from_secs(2);
/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

impl<W: World> Office<W> {
    /// Runs the queue until `drain` becomes true, and sessions have ended. Only one runner works for a store (rule 7): a
    /// second one waits until the first is gone.
    pub async fn run(self: Arc<Self>, mut drain: watch::Receiver<bool>) {
        let lock = tokio::select! {
            biased;
            () = until_true(&mut drain) => return,
            lock = self.lock() => lock,
        };
        let mut sessions = JoinSet::new();
        let mut spool = self.store.watch_spool();
        let mut looks = Looks { next: Instant::now(), wanted: true };
        let mut housekeeping = Instant::now() + SOON;
        let mut minutes = 0_u32;
        loop {
            if looks.wanted && Instant::now() >= looks.next {
                let began = Instant::now();
                looks.wanted = !self.learn().await;
                // A look at many destinations is not repeated all the time.
                looks.next = Instant::now() + LOOK.max(began.elapsed() * 20);
            }
            let until = self.steps(&mut sessions).await;
            let now = self.world.now();
            let until = until.map(|until| {
                let wait = Duration::try_from(now.duration_until(until)).unwrap_or_default();
                Instant::now() + wait
            });
            let mut next = until.map_or(housekeeping, |until| until.min(housekeeping));
            if looks.wanted {
                next = next.min(looks.next);
            }
            tokio::select! {
                biased;
                () = until_true(&mut drain) => break,
                () = self.bell.notified() => {}
                () = changed(&mut spool) => looks.wanted = true,
                Some(ended) = sessions.join_next(), if !sessions.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("a session of delivery has failed; its messages are tried again");
                    }
                }
                () = sleep_until(next) => {}
            }
            if Instant::now() >= housekeeping {
                housekeeping = Instant::now() + HOUSEKEEPING;
                minutes += 1;
                if minutes.is_multiple_of(30) {
                    let office = Arc::clone(&self);
                    sessions.spawn(async move { overdue::look(&office).await });
                }
                self.keep_house(minutes % 60 == 1).await;
            }
        }
        // Connections end by themselves, as their driver drains, too; and no others are made.
        self.stop();
        while sessions.join_next().await.is_some() {}
        if let Err(error) = self.tls_reports.flush(&self.store, self.world.now()).await {
            tracing::warn!(%error, "what is known of TLS today is not kept");
        }
        drop(lock);
    }

    async fn lock(&self) -> QueueLock {
        loop {
            match self.store.wait_for_queue().await {
                Ok(lock) => return lock,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be locked; trying again");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Tells the scheduler of every destination that waits; whether that worked. One with mail that an operator wants
    /// tried now need not wait for the end of its back-off, and where it goes is looked up anew.
    async fn learn(&self) -> bool {
        let mut after: Option<String> = None;
        let mut asked = 0;
        loop {
            let page = match self.store.spool_destinations(after.as_deref(), PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "the queue cannot be read; trying again");
                    return false;
                }
            };
            let Some(last) = page.last() else { break };
            after = Some(last.destination.clone());
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            {
                let mut scheduler = self.scheduler();
                let now = self.world.now();
                for found in &page {
                    scheduler.learn(&found.destination, moment(found.earliest_due), true);
                    if SpoolChange::is_asked_for(found.earliest_due) {
                        scheduler.flush(&found.destination, now);
                        asked = found.earliest_due.min(asked);
                    }
                }
            }
            if is_last {
                break;
            }
            tokio::task::yield_now().await;
        }
        // In time: whoever has just learnt begins nothing before.
        self.heed(asked);
        true
    }

    /// Does what the scheduler asks until it waits; until when.
    async fn steps(self: &Arc<Self>, sessions: &mut JoinSet<()>) -> Option<jiff::Timestamp> {
        loop {
            let step = self.scheduler().next(self.world.now());
            match step {
                Step::Load(load) => {
                    let office = Arc::clone(self);
                    sessions.spawn(async move { office.load(&load).await });
                }
                Step::Start(grant) => {
                    let courier =
                        Courier { office: Arc::clone(self), session: grant.id, destination: grant.destination };
                    sessions.spawn(courier.run());
                }
                Step::Learn => _ = self.learn().await,
                Step::Wait { until } => return until,
            }
        }
    }

    /// Reads rows of a destination for the scheduler.
    async fn load(&self, load: &Load) {
        // One more than asked for says when the next one is due.
        let found = self.store.spool_due(Some(&load.destination), i64::MAX, load.limit.saturating_add(1)).await;
        let now = self.world.now();
        match found {
            Ok(mut found) => {
                let due_by = load.due_by.as_millisecond();
                let limit = usize::try_from(load.limit).unwrap_or(usize::MAX);
                let due = found.iter().take(limit).take_while(|row| row.due <= due_by).count();
                let next = found.get(due).map(|row| moment(row.due));
                found.truncate(due);
                let rows = self.rows(&found).await;
                self.scheduler().loaded(&load.destination, rows, next, now);
            }
            Err(error) => {
                tracing::warn!(destination = &*load.destination, %error, "the queue cannot be read; trying again");
                self.scheduler().load_failed(&load.destination, now);
            }
        }
        self.ring(&load.destination);
        self.bell.notify_one();
    }

    /// The rows as the scheduler wants them. Priority and source stand in the envelopes.
    async fn rows(&self, found: &[SpoolRecipient]) -> Vec<Row> {
        let mut ids: Vec<String> = found.iter().map(|row| row.queue_id.clone()).collect();
        ids.dedup();
        let spools = self.store.spool_entries(ids).await.unwrap_or_default();
        let mut rows: Vec<Row> = Vec::with_capacity(found.len());
        for row in found {
            let queue_id = match rows.last() {
                Some(last) if *last.queue_id == *row.queue_id => Arc::clone(&last.queue_id),
                _ => row.queue_id.as_str().into(),
            };
            let envelope = spools
                .iter()
                .find(|spool| spool.queue_id == row.queue_id)
                .and_then(|spool| Envelope::decode(&spool.parameters).ok())
                .unwrap_or_default();
            rows.push(Row {
                queue_id,
                number: row.number,
                due: moment(row.due),
                priority: envelope.priority,
                attempts: row.attempts,
                source: source(&envelope).into(),
            });
        }
        rows
    }

    /// Metrics, reports, and what is kept only for a time.
    async fn keep_house(&self, hourly: bool) {
        let now = self.world.now();
        crate::metrics::gauge(self).await;
        if let Err(error) = self.tls_reports.flush(&self.store, now).await {
            tracing::warn!(%error, "what is known of TLS today is not kept");
        }
        if !hourly {
            return;
        }
        if let Err(error) = tls_reports::send(self).await {
            tracing::warn!(%error, "TLS reports are not sent; trying again in an hour");
        }
        let before = now.as_millisecond() - i64::try_from(self.settings.trace.as_millis()).unwrap_or(i64::MAX);
        for _ in 0..1_000 {
            match self.store.purge_trace(before, 2_000).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(%error, "old steps of messages are not removed");
                    break;
                }
            }
        }
        if let Err(error) = self.store.purge_rooms(now.as_millisecond(), 10_000).await {
            tracing::warn!(%error, "what has expired is not removed");
        }
    }
}

/// Who a message counts for where sources are limited.
pub(crate) fn source(envelope: &Envelope) -> String {
    envelope.account.map_or_else(String::new, |account| account.to_string())
}

struct Looks {
    next: Instant,
    wanted: bool,
}

async fn changed(watch: &mut Watch) {
    watch.changed().await;
}

async fn until_true(drain: &mut watch::Receiver<bool>) {
    // Nobody is left who could ask: it goes on.
    if drain.wait_for(|drain| *drain).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use store::{SpoolFilter, SpoolState};

    use super::*;
    use crate::trial::{self, Seen, Trial};

    #[tokio::test]
    async fn a_manual_retry_looks_the_route_up_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (world, mut told) = Trial::new(SignedDuration::ZERO);
        let office = trial::office(&folder, world).await;
        let queue_id = trial::spool(&office, "hello").await;
        let (stop, drain) = watch::channel(false);
        let running = tokio::spawn(Arc::clone(&office).run(drain));
        let mut until_called = async || {
            let mut seen = Vec::new();
            loop {
                let next = told.recv().await.unwrap();
                if next == Seen::Called {
                    return seen;
                }
                seen.push(next);
            }
        };
        let asked = Seen::Asked("far.example MX".into());
        assert!(until_called().await.contains(&asked));
        let is_settled = async |attempts| {
            let row = office.store.spooled(SpoolFilter::default(), 1).await.unwrap().remove(0);
            assert_eq!((&row.queue_id, row.state), (&queue_id, SpoolState::Waiting));
            row.attempts == attempts
        };
        for attempts in 1..3 {
            while !is_settled(attempts).await {
                tokio::task::yield_now().await;
            }
            office
                .store
                .change_spooled(SpoolFilter::default(), SpoolChange::retry_now(office.world.now().as_millisecond()))
                .await
                .unwrap();
            // The plan was good for an hour.
            let seen = until_called().await;
            assert!(seen.contains(&Seen::Forgot) && seen.contains(&asked), "{seen:?}");
        }
        stop.send_replace(true);
        running.await.unwrap();
    }
}
