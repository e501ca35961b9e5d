//! `mailctl queue show`.

use std::io::Write;

use daemon::Error;
use jiff::Timestamp;
use queue::envelope::{Envelope, LastAttempt, RecipientEnvelope, RequireTls};
use serde_json::{Value, json};
use store::{Spool, SpoolFilter, SpoolRecipient, Store};

use super::list::{next_words, recipient_json};
use super::{PAGE, Selection, failed, sender_of, written};
use crate::words;

/// Octets at a message's front in which its header is looked for.
const HEADER: u64 = 64 << 10;
/// Recipients that are shown; `list` has them all.
const MOST: usize = 1_000;
/// Fields that are shown, and their names in JSON.
const FIELDS: [(&str, &str); 5] =
    [("From", "from"), ("To", "to"), ("Subject", "subject"), ("Date", "date"), ("Message-ID", "message_id")];

/// Writes all about one message: its envelope, its recipients, the front of its header.
///
/// # Errors
/// No message has an id that begins so, or several do; the store or the output fails.
pub async fn show(store: &dyn Store, id: &str, as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let selection = Selection { id: Some(id.to_owned()), ..Selection::default() };
    let rows = rows(store, selection.filter()?).await?;
    let Some(first) = rows.first() else {
        return Err(Error::Failed(format!("no message in the queue has an id that begins with {id}")));
    };
    let queue_id = first.queue_id.clone();
    let spool = store.spool(&queue_id).await.map_err(failed)?;
    let header = header(store, &spool).await?;
    let envelope = Envelope::decode(&spool.parameters).ok();
    let text = if as_json {
        format!("{}\n", as_value(&spool, &rows, envelope.as_ref(), &header))
    } else {
        as_text(&spool, &rows, envelope.as_ref(), &header)
    };
    written(out.write_all(text.as_bytes()))
}

/// The recipients of the one message that fits.
async fn rows(store: &dyn Store, mut filter: SpoolFilter) -> Result<Vec<SpoolRecipient>, Error> {
    let mut rows: Vec<SpoolRecipient> = Vec::new();
    loop {
        let page = store.spooled(filter.clone(), PAGE).await.map_err(failed)?;
        let Some(end) = page.last() else { return Ok(rows) };
        filter.after = Some((end.queue_id.clone(), end.number));
        rows.extend(page);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(rows) };
        if first.queue_id != last.queue_id {
            let (first, last) = (&first.queue_id, &last.queue_id);
            return Err(Error::Failed(format!(
                "several messages begin so, as {first} and {last}: give more of the id"
            )));
        }
        if rows.len() >= MOST {
            rows.truncate(MOST);
            return Ok(rows);
        }
    }
}

/// The fields that are there, decoded.
async fn header(store: &dyn Store, spool: &Spool) -> Result<Vec<(&'static str, &'static str, String)>, Error> {
    let body = store.spooled_body(spool).await.map_err(failed)?;
    let most = usize::try_from(HEADER).unwrap_or(usize::MAX);
    let front = body.slice(0..HEADER).whole(most).await.map_err(failed)?;
    let fields: Vec<_> = mime::fields(&front).collect();
    let value = |name: &str| fields.iter().find(|field| field.is(name)).map(|field| mime::text(&field.unfolded()));
    Ok(FIELDS.iter().filter_map(|(name, key)| Some((*name, *key, value(name)?))).collect())
}

fn tls_wish(envelope: &Envelope) -> Option<&'static str> {
    match envelope.require_tls {
        RequireTls::No => None,
        RequireTls::Yes => Some("required"),
        RequireTls::Ignore => Some("not required"),
    }
}

fn as_value(
    spool: &Spool,
    rows: &[SpoolRecipient],
    envelope: Option<&Envelope>,
    header: &[(&str, &str, String)],
) -> Value {
    let fields: serde_json::Map<String, Value> =
        header.iter().map(|(_, key, value)| ((*key).to_owned(), json!(value))).collect();
    let recipients: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut value = recipient_json(spool, row);
            if let (Value::Object(value), Ok(facts)) = (&mut value, RecipientEnvelope::decode(&row.parameters)) {
                value.insert("parameters".into(), json!(facts.rcpt.trim()));
                value.insert("original".into(), json!(facts.original));
                value.insert("delay_told".into(), json!(facts.delay_told));
            }
            value
        })
        .collect();
    json!({
        "id": spool.queue_id,
        "sender": spool.sender,
        "accepted": words::time_of(spool.created),
        "octets": spool.content.octets(),
        "parameters": envelope.map(|envelope| envelope.mail.trim()),
        "client": envelope.and_then(|envelope| envelope.client.as_deref()),
        "priority": envelope.map(|envelope| envelope.priority),
        "tls": envelope.and_then(tls_wish),
        "hold_until": envelope.and_then(|envelope| envelope.hold_until).map(words::time),
        "deliver_by": envelope.and_then(|envelope| envelope.deliver_by).map(|by| words::time(by.by)),
        "header": fields,
        "recipients": recipients,
    })
}

fn as_text(
    spool: &Spool,
    rows: &[SpoolRecipient],
    envelope: Option<&Envelope>,
    header: &[(&str, &str, String)],
) -> String {
    let now = Timestamp::now().as_millisecond();
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {}\n", words::plain(&value)));
    line("id", spool.queue_id.clone());
    line("accepted", format!("{}, {} ago", words::time_of(spool.created), words::span(now - spool.created)));
    line("octets", spool.content.octets().to_string());
    line("sender", sender_of(spool).to_owned());
    match envelope {
        Some(envelope) => {
            let mail = envelope.mail.trim();
            let facts = [
                ("parameters", (!mail.is_empty()).then(|| mail.to_owned())),
                ("from client", envelope.client.clone()),
                ("priority", (envelope.priority != 0).then(|| envelope.priority.to_string())),
                ("TLS", tls_wish(envelope).map(str::to_owned)),
                ("not before", envelope.hold_until.map(words::time)),
                ("deliver by", envelope.deliver_by.map(|by| words::time(by.by))),
                ("report", envelope.bounce.then(|| "yes: it is one of ours".to_owned())),
            ];
            facts
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .for_each(|(name, value)| line(name, value));
        }
        None => line("parameters", "written by another version".into()),
    }
    for (name, _, value) in header {
        line(&format!("{name}:"), value.clone());
    }
    for row in rows {
        line("", String::new());
        line("recipient", row.address.clone());
        if let Ok(facts) = RecipientEnvelope::decode(&row.parameters) {
            if let Some(original) = facts.original {
                line("  sent to", original);
            }
            if !facts.rcpt.is_empty() {
                line("  parameters", facts.rcpt.trim().to_owned());
            }
        }
        line("  attempts", row.attempts.to_string());
        if let Ok(Some(last)) = LastAttempt::decode(&row.last) {
            line("  last", format!("{}: {}", words::time(last.at), words::last(&last)));
        }
        line("  next try", next_words(row, now));
    }
    if rows.len() == MOST {
        text.push_str("\nthere may be more: see `mailctl queue list`\n");
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
