//! What `mailctl trace` does: tells where messages have been.

use std::io::Write;

use daemon::Error;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::{SpoolFilter, SpoolRecipient, SpoolState, Store, TraceEntry, TraceKey};
use trace::{Attempt, Step};

use crate::spooled::{failed, written};
use crate::words;

/// What to tell of whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// A queue id, a Message-ID, or the address of a sender or recipient.
    pub what: String,
    /// Nothing that ended before: `2h`, `3d`, a date, or RFC 3339.
    pub since: Option<String>,
    /// Messages at most, the newest ones.
    pub limit: u32,
}

/// One message's story.
struct Story {
    queue_id: String,
    steps: Vec<(TraceEntry, Option<Step>)>,
    queued: Vec<SpoolRecipient>,
    reports: Vec<Story>,
}

/// Writes the stories, the newest message first, each with the reports it caused.
///
/// # Errors
/// Nothing is known of it; the store or the output fails.
pub async fn tell(store: &dyn Store, wanted: &Wanted, as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let since = match &wanted.since {
        Some(text) => words::since(text, Timestamp::now()).ok_or_else(|| {
            Error::Config(format!("--since {text:?}: expected 30m, 2h, 3d, 2026-11-26 or 2026-11-26T12:00:00Z"))
        })?,
        None => Timestamp::UNIX_EPOCH,
    }
    .as_millisecond();
    let mut told = 0_u32;
    if as_json {
        written(out.write_all(b"["))?;
    }
    for queue_id in find(store, wanted, since).await? {
        if told >= wanted.limit {
            break;
        }
        let Some(story) = Story::read(store, &queue_id, true).await? else { continue };
        if story.steps.last().is_some_and(|(last, _)| last.at < since) {
            continue;
        }
        let text = if as_json {
            format!("{}\n{}", if told == 0 { "" } else { "," }, story.value())
        } else {
            format!("{}{}", if told == 0 { "" } else { "\n" }, story.text(""))
        };
        told += 1;
        if let Err(error) = out.write_all(text.as_bytes()) {
            return written(Err(error));
        }
    }
    if as_json {
        written(out.write_all(if told == 0 { b"]\n" } else { b"\n]\n" }))?;
    }
    written(out.flush())?;
    if told == 0 { Err(Error::Failed(nothing(wanted))) } else { Ok(()) }
}

fn nothing(wanted: &Wanted) -> String {
    let since = wanted.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    let what = words::plain(&wanted.what);
    format!(
        "nothing is known of {what}{since}\nIt takes a queue id (`queued as ID` in the log, in Received and in the answer to \
         DATA), a whole Message-ID, or a whole address. Steps are kept for `trace_days` of the section [delivery]; a recipient \
         that was refused at RCPT is in the log of mta alone."
    )
}

/// The queue ids that are meant, the newest first.
async fn find(store: &dyn Store, wanted: &Wanted, since: i64) -> Result<Vec<String>, Error> {
    let key = trace::key(&wanted.what);
    if wanted.what.bytes().all(|octet| octet.is_ascii_alphanumeric()) && (12..=20).contains(&wanted.what.len()) {
        return Ok(vec![wanted.what.clone()]);
    }
    let mut found = Vec::new();
    for key in [TraceKey::MessageId(key.clone()), TraceKey::Address(key)] {
        found.extend(store.traced(key, since, wanted.limit).await.map_err(failed)?);
    }
    // Queue ids sort by time (rule 32).
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.dedup();
    Ok(found)
}

impl Story {
    async fn read(store: &dyn Store, queue_id: &str, with_reports: bool) -> Result<Option<Self>, Error> {
        let entries = store.trace_of(queue_id).await.map_err(failed)?;
        let filter = SpoolFilter { queue_id: Some(queue_id.to_owned()), ..SpoolFilter::default() };
        let mut queued = store.spooled(filter, 100).await.map_err(failed)?;
        queued.retain(|row| row.queue_id == queue_id);
        if entries.is_empty() && queued.is_empty() {
            return Ok(None);
        }
        let steps: Vec<_> = entries.into_iter().map(|entry| (Step::decode(&entry.data).ok(), entry)).collect();
        let mut reports = Vec::new();
        for report in steps.iter().filter_map(|(step, _)| match step {
            Some(Step::Reported { report: Some(report), .. }) if with_reports => Some(report),
            _ => None,
        }) {
            // Reports are never reported on.
            reports.extend(Box::pin(Self::read(store, report, false)).await?);
        }
        let steps = steps.into_iter().map(|(step, entry)| (entry, step)).collect();
        Ok(Some(Self { queue_id: queue_id.to_owned(), steps, queued, reports }))
    }

    fn text(&self, indent: &str) -> String {
        let mut text = format!("{indent}{}\n", self.queue_id);
        for (entry, step) in &self.steps {
            let words = match step {
                // In the zone that all other times are told in.
                Some(Step::Attempted(attempt @ Attempt { next: Some(next), .. })) => {
                    let next = words::time_of(next.saturating_mul(1_000));
                    format!("{}; next try at {next}", Attempt { next: None, ..attempt.clone() })
                }
                Some(step) => step.to_string(),
                None => format!("a step of another version: {}", words::plain(&String::from_utf8_lossy(&entry.data))),
            };
            text.push_str(&format!("{indent}  {}  {words}\n", words::time_of(entry.at)));
        }
        let now = Timestamp::now().as_millisecond();
        for row in &self.queued {
            let address = words::plain(&row.address);
            let next = match row.state {
                SpoolState::Held => "on hold".to_owned(),
                SpoolState::Waiting if row.due <= now => "to be tried now".to_owned(),
                SpoolState::Waiting => format!("next try at {}", words::time_of(row.due)),
            };
            text.push_str(&format!("{indent}  in the queue for {address}: {next}\n"));
        }
        for report in &self.reports {
            text.push_str(&format!("{indent}  report {}", report.text(&format!("{indent}    ")).trim_start()));
        }
        text
    }

    fn value(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|(entry, _)| {
                let mut value: Value = serde_json::from_slice(&entry.data)
                    .unwrap_or_else(|_| json!({ "unknown": String::from_utf8_lossy(&entry.data) }));
                if let Value::Object(value) = &mut value {
                    value.insert("at".into(), json!(words::time_of(entry.at)));
                }
                value
            })
            .collect();
        let queued: Vec<Value> = self
            .queued
            .iter()
            .map(|row| json!({ "recipient": row.address, "state": state(row.state), "attempts": row.attempts }))
            .collect();
        let reports: Vec<Value> = self.reports.iter().map(Self::value).collect();
        json!({ "id": self.queue_id, "steps": steps, "queued": queued, "reports": reports })
    }
}

fn state(state: SpoolState) -> &'static str {
    if state == SpoolState::Held { "held" } else { "waiting" }
}
