//! `mailctl queue list`, and the queue in numbers.

use std::io::{self, Write};

use daemon::Error;
use jiff::Timestamp;
use queue::envelope::LastAttempt;
use serde_json::{Value, json};
use store::{Spool, SpoolCounts, SpoolRecipient, SpoolState, Store};

use super::{PAGE, Selection, entries_of, failed, sender_of, written};
use crate::words;

/// Bounds of age, in milliseconds, and their words.
const AGES: [(i64, &str); 5] =
    [(300_000, "5m"), (3_600_000, "1h"), (4 * 3_600_000, "4h"), (86_400_000, "1d"), (5 * 86_400_000, "5d")];
/// Destinations that are told one by one.
const LARGEST: usize = 20;

/// Writes the recipients that are meant, as they are read, in the order of their queue ids: the oldest first.
///
/// # Errors
/// The selection cannot be, or the store or the output fails.
pub async fn list(
    store: &dyn Store,
    selection: &Selection,
    limit: Option<u64>,
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), Error> {
    let mut filter = selection.filter()?;
    let now = Timestamp::now().as_millisecond();
    let mut left = limit.unwrap_or(u64::MAX);
    let mut told = Told::default();
    if as_json {
        written(out.write_all(b"["))?;
    } else if selection.is_everything() {
        let counts = counts(store, now).await?;
        written(writeln!(out, "{}", headline(&counts, now)))?;
    }
    while left > 0 {
        let size = PAGE.min(u32::try_from(left).unwrap_or(PAGE));
        let page = store.spooled(filter.clone(), size).await.map_err(failed)?;
        let Some(end) = page.last() else { break };
        filter.after = Some((end.queue_id.clone(), end.number));
        left -= u64::try_from(page.len()).unwrap_or(u64::MAX).min(left);
        let entries = entries_of(store, &page).await?;
        for row in &page {
            // Whose entry is not there left the queue meanwhile.
            let Some(spool) = entries.iter().find(|spool| spool.queue_id == row.queue_id) else { continue };
            if let Err(error) = told.row(spool, row, now, as_json, out) {
                return written(Err(error));
            }
        }
        if let Err(error) = out.flush() {
            return written(Err(error));
        }
    }
    let end = match (as_json, told.rows) {
        (true, 0) => out.write_all(b"]\n"),
        (true, _) => out.write_all(b"\n]\n"),
        (false, 0) => writeln!(out, "nothing in the queue{}", if selection.is_everything() { "" } else { " fits" }),
        (false, rows) => writeln!(out, "-- {rows} recipients of {} messages", told.messages),
    };
    written(end.and_then(|()| out.flush()))
}

#[derive(Default)]
struct Told {
    rows: u64,
    messages: u64,
    id: String,
}

impl Told {
    fn row(
        &mut self,
        spool: &Spool,
        row: &SpoolRecipient,
        now: i64,
        as_json: bool,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.rows += 1;
        if self.id != row.queue_id {
            self.messages += 1;
            self.id.clone_from(&row.queue_id);
        }
        if as_json {
            out.write_all(if self.rows == 1 { b"\n" } else { b",\n" })?;
            return write!(out, "{}", recipient_json(spool, row));
        }
        if self.rows == 1 {
            writeln!(out, "{:<15}  {:>6}  {:>5}  {:<9}  from → to", "id", "age", "tries", "next")?;
        }
        let next = next_words(row, now);
        let age = words::span(now - spool.created);
        let (sender, address) = (words::plain(sender_of(spool)), words::plain(&row.address));
        writeln!(out, "{:<15}  {age:>6}  {:>5}  {next:<9}  {sender} → {address}", row.queue_id, row.attempts)?;
        match LastAttempt::decode(&row.last) {
            Ok(Some(last)) => writeln!(out, "{:17}{}: {}", "", words::time(last.at), words::last(&last)),
            _ => Ok(()),
        }
    }
}

/// When it is tried next, in a word or two.
pub(super) fn next_words(row: &SpoolRecipient, now: i64) -> String {
    match row.state {
        SpoolState::Held => "on hold".into(),
        SpoolState::Waiting if row.due <= now => "now".into(),
        SpoolState::Waiting => format!("in {}", words::span(row.due - now)),
    }
}

/// A recipient as `--json` has it.
pub(super) fn recipient_json(spool: &Spool, row: &SpoolRecipient) -> Value {
    json!({
        "id": row.queue_id,
        "number": row.number,
        "sender": spool.sender,
        "recipient": row.address,
        "destination": row.destination,
        "state": if row.state == SpoolState::Held { "held" } else { "waiting" },
        "accepted": words::time_of(spool.created),
        // What an operator wants tried now has no time of its own.
        "next": (row.state == SpoolState::Waiting).then(|| words::time_of(row.due.max(spool.created))),
        "attempts": row.attempts,
        "octets": spool.content.octets(),
        "last": last_json(row),
    })
}

fn last_json(row: &SpoolRecipient) -> Value {
    let Ok(Some(last)) = LastAttempt::decode(&row.last) else { return Value::Null };
    json!({
        "at": words::time(last.at),
        "host": last.host,
        "address": last.address.map(|address| address.to_string()),
        "tls": last.tls,
        "code": last.code,
        "text": last.text,
        "words": words::last(&last),
    })
}

async fn counts(store: &dyn Store, now: i64) -> Result<SpoolCounts, Error> {
    store.spool_counts(now, AGES.iter().map(|(bound, _)| *bound).collect(), LARGEST).await.map_err(failed)
}

fn headline(counts: &SpoolCounts, now: i64) -> String {
    let oldest = counts.oldest.map(|oldest| format!(", the oldest {}", words::span(now - oldest))).unwrap_or_default();
    let (messages, waiting, held) = (counts.entries, counts.waiting, counts.held);
    let destinations = counts.destinations;
    format!(
        "{messages} messages for {waiting} recipients waiting and {held} on hold, {destinations} destinations{oldest}"
    )
}

/// Writes the queue in numbers: by age, and the destinations with the most recipients.
///
/// # Errors
/// The store or the output fails.
pub async fn summary(store: &dyn Store, as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let now = Timestamp::now().as_millisecond();
    let counts = counts(store, now).await?;
    let mut bounds = AGES.iter();
    let ages: Vec<(Option<&str>, u64)> =
        counts.ages.iter().map(|count| (bounds.next().map(|(_, words)| *words), *count)).collect();
    if as_json {
        let ages: Vec<_> =
            ages.iter().map(|(up_to, messages)| json!({ "up_to": up_to, "messages": messages })).collect();
        let largest: Vec<_> = counts
            .largest
            .iter()
            .map(|of| json!({ "destination": of.destination, "waiting": of.waiting, "held": of.held }))
            .collect();
        let value = json!({
            "messages": counts.entries,
            "waiting": counts.waiting,
            "held": counts.held,
            "destinations": counts.destinations,
            "oldest": counts.oldest.map(words::time_of),
            "ages": ages,
            "largest": largest,
        });
        return written(writeln!(out, "{value}"));
    }
    let mut text = headline(&counts, now);
    text.push_str("\n\nmessages by age\n");
    for (up_to, messages) in ages {
        let age = up_to.map_or_else(|| "older".to_owned(), |up_to| format!("up to {up_to}"));
        text.push_str(&format!("  {age:<10} {messages:>9}\n"));
    }
    if !counts.largest.is_empty() {
        text.push_str("\nrecipients by destination             waiting   on hold\n");
    }
    for of in &counts.largest {
        text.push_str(&format!("  {:<32} {:>10} {:>9}\n", words::plain(&of.destination), of.waiting, of.held));
    }
    written(out.write_all(text.as_bytes()))
}
