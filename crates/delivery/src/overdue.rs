//! Mail whose time has come and which nobody tries, since its destination, or the provider of it, is left alone for a
//! while: it expires all the same, and its sender hears that it is late (RFC 5321 §4.5.4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use wire::EnhancedCode;

use crate::office::Office;
use crate::settle::{Facts, Fating, settle};
use crate::verdict::{Reason, Verdict};
use crate::work::Work;
use crate::world::World;

/// Mail that waits no longer than this has its turn soon.
const OVERDUE: Duration = Duration::from_secs(1_800);
/// Destinations, and recipients of one, that are looked at together.
const PAGE: u32 = 1_000;
/// How long a destination is kept for this; each message begins it anew.
const KEPT: Duration = Duration::from_secs(60);

/// Looks after what is overdue, unless somebody does already.
pub(crate) async fn look<W: World>(office: &Office<W>) {
    let Ok(_looking) = office.looking.try_lock() else { return };
    if let Err(error) = all(office).await {
        tracing::warn!(%error, "mail that is overdue cannot be looked at; trying again later");
    }
}

async fn all<W: World>(office: &Office<W>) -> store::Result<()> {
    let before = earlier(office.world.now());
    let mut after: Option<String> = None;
    loop {
        let page = office.store.spool_destinations(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.destination.clone());
        for found in page.iter().filter(|found| found.earliest_due <= before) {
            if office.is_stopping() {
                return Ok(());
            }
            at(office, &found.destination, before).await?;
        }
    }
}

fn earlier(now: Timestamp) -> i64 {
    now.as_millisecond().saturating_sub(i64::try_from(OVERDUE.as_millis()).unwrap_or(i64::MAX))
}

async fn at<W: World>(office: &Office<W>, destination: &str, before: i64) -> store::Result<()> {
    let mut messages: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for row in office.store.spool_due(Some(destination), before, PAGE).await? {
        messages.entry(row.queue_id).or_default().push(row.number);
    }
    for (queue_id, numbers) in messages {
        let now = office.world.now();
        let Ok(work) = Work::read(&office.store, &queue_id, &numbers, now).await? else { continue };
        let reason = Reason::ours(
            EnhancedCode::transient(4, 1),
            "its mail system could not be reached, and is left alone for a while",
        );
        let fatings: Vec<(usize, Fating)> = (0..work.recipients.len())
            .filter(|&at| needs_a_word(office, &work, at, now))
            .map(|at| (at, Fating::Tried(Verdict::Deferred(reason.clone()))))
            .collect();
        // Who may be sending it at this moment knows better.
        let until = now.checked_add(KEPT).unwrap_or(now);
        if fatings.is_empty() || !office.scheduler().put_off(destination, until, now) {
            continue;
        }
        settle(office, &work, fatings, &Facts::default()).await;
    }
    Ok(())
}

/// Whether a recipient is to be given up, or its sender told.
fn needs_a_word<W: World>(office: &Office<W>, work: &Work, at: usize, now: Timestamp) -> bool {
    let Some(addressee) = work.recipients.get(at) else { return false };
    let policy = office.settings.retry(&work.sender, addressee.path.mailbox());
    let standing = policy.standing(&work.case(addressee, addressee.row.attempts, now));
    standing.expired.is_some() || standing.tell_delay
}
