//! `mailq`: the queue, for whoever may read the store.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use daemon::Config;
use store::{Spool, SpoolFilter, SpoolRecipient, SpoolState};

use super::{EX_NOPERM, EX_TEMPFAIL, Failure};

/// Recipients asked of the store at once.
const PAGE: u32 = 500;

/// The queue as text, in the form that scripts know from other systems.
pub(super) fn print(given: Option<&Path>) -> Result<String, Failure> {
    let path = given.unwrap_or(Path::new("/etc/mailwright/mailwright.toml"));
    let denied = |what: &Path, error: &io::Error| {
        let code = if error.kind() == io::ErrorKind::PermissionDenied { EX_NOPERM } else { super::EX_CONFIG };
        let reason = format!("{}: {error}: the queue is shown to root and to the owner of the data", what.display());
        Failure::new(code, reason)
    };
    File::open(path).map_err(|error| denied(path, &error))?;
    let config = Config::load(path)?;
    daemon::become_user(&config)?;
    fs::read_dir(&config.data).map_err(|error| denied(&config.data, &error))?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(EX_TEMPFAIL, format!("queue: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    let text = runtime.block_on(async {
        let system = crate::open(&config, false)?;
        let text = entries(system.store.as_ref()).await;
        system.store.close().await;
        text.map_err(|error| failed(&error))
    })?;
    Ok(text + &waiting(&config.sendmail.drop))
}

async fn entries(store: &dyn store::Store) -> store::Result<String> {
    let (mut text, mut entries, mut recipients) = (String::new(), 0_usize, 0_usize);
    let mut filter = SpoolFilter::default();
    let mut known = String::new();
    loop {
        let page = store.spooled(filter.clone(), PAGE).await?;
        for recipient in &page {
            if recipient.queue_id != known {
                match store.spool(&recipient.queue_id).await {
                    Ok(spool) => entry(&spool, recipient.state, &mut text),
                    // It left the queue meanwhile.
                    Err(store::Error::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                }
                known.clone_from(&recipient.queue_id);
                entries += 1;
            }
            recipients += 1;
            line(&mut text, format_args!("{:40}{}", "", bare(&recipient.address)));
        }
        match page.last() {
            Some(SpoolRecipient { queue_id, number, .. }) if page.len() == PAGE as usize => {
                filter.after = Some((queue_id.clone(), *number));
            }
            _ => break,
        }
    }
    if entries == 0 {
        return Ok("Mail queue is empty\n".to_owned());
    }
    let head = format!("{:<21}{:<27}{}\n", "-Queue ID-", "--Arrival Time--", "-Sender/Recipient-");
    Ok(format!("{head}{text}\n-- {entries} messages, {recipients} recipients\n"))
}

/// A `!` marks what is on hold, as elsewhere.
fn entry(spool: &Spool, state: SpoolState, text: &mut String) {
    let id = format!("{}{}", spool.queue_id, if state == SpoolState::Held { "!" } else { "" });
    let arrival = jiff::Timestamp::from_millisecond(spool.created)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    let sender = if bare(&spool.sender).is_empty() { "MAILER-DAEMON" } else { bare(&spool.sender) };
    line(text, format_args!("\n{id:<21}{:<27}{sender}", arrival.unwrap_or_default()));
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

fn bare(path: &str) -> &str {
    path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path)
}

/// What `mta` has not taken yet.
fn waiting(drop: &Path) -> String {
    let is_message = |name: &str| !name.starts_with(".tmp.") && !name.starts_with("corrupt.");
    let names = fs::read_dir(drop).map(|entries| entries.flatten().map(|entry| entry.file_name()));
    match names.map(|names| names.filter(|name| name.to_str().is_none_or(is_message)).count()) {
        Ok(0) | Err(_) => String::new(),
        Ok(count) => format!("-- {count} messages in the drop directory, not taken by mta yet\n"),
    }
}
