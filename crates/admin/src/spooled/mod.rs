//! What `mailctl queue` does: looks at the queue and changes it, whether somebody runs it or not.
//!
//! Everything goes page by page, so a million recipients need no more memory than a few.

mod list;
mod show;

use address::{Domain, Mailbox};
use daemon::Error;
use jiff::Timestamp;
use store::{Spool, SpoolChange, SpoolFilter, SpoolState, Store, TraceEntry};
use trace::Step;

pub use list::{list, summary};
pub use show::show;

/// Recipients asked of the store at once.
const PAGE: u32 = 500;

/// Which recipients of the queue are meant: those that fit all that is set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// The queue id begins so.
    pub id: Option<String>,
    /// The recipient's domain.
    pub domain: Option<String>,
    /// The envelope sender: an address, `@example.org`, or `<>`.
    pub sender: Option<String>,
    /// The recipient: an address, or `@example.org`.
    pub recipient: Option<String>,
    /// Waiting, or on hold.
    pub state: Option<SpoolState>,
}

impl Selection {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn filter(&self) -> Result<SpoolFilter, Error> {
        if let Some(id) = self.id.as_ref().filter(|id| !is_id(id)) {
            return Err(Error::Config(format!("{id:?} is no queue id: expected letters and digits")));
        }
        let destination = match self.domain.as_deref() {
            Some(literal) if literal.starts_with('[') => Some(literal.to_ascii_lowercase()),
            Some(domain) => {
                let domain = Domain::parse(domain.trim_start_matches('@'))
                    .map_err(|_| Error::Config(format!("{domain:?} is no domain name")))?;
                Some(domain.ascii().to_owned())
            }
            None => None,
        };
        let address = |option: &str, text: &String| {
            let bare = text.trim_start_matches('<').trim_end_matches('>');
            let fits = match bare.strip_prefix('@') {
                Some(domain) => domain.starts_with('[') || Domain::parse(domain).is_ok(),
                None => (bare.is_empty() && option == "--sender") || Mailbox::parse(bare).is_ok(),
            };
            fits.then(|| bare.to_owned()).ok_or_else(|| {
                Error::Config(format!("{option} {text:?}: expected an address, or @example.org for a domain"))
            })
        };
        Ok(SpoolFilter {
            after: None,
            queue_id: self.id.clone(),
            destination,
            sender: self.sender.as_ref().map(|text| address("--sender", text)).transpose()?,
            recipient: self.recipient.as_ref().map(|text| address("--recipient", text)).transpose()?,
            state: self.state,
        })
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|octet| octet.is_ascii_alphanumeric())
}

/// What an operator does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Has it tried now, destinations that are left alone for a while included. What is on hold stays there.
    Retry,
    /// Puts it on hold.
    Hold,
    /// Takes it from hold; it is due when it was, and the time until it is given up begins anew.
    Release,
    /// Removes it; nobody is told.
    Remove,
}

impl Act {
    /// Its word, as command and trace have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Remove => "remove",
        }
    }

    fn change(self, now: i64) -> SpoolChange {
        match self {
            Self::Retry => SpoolChange::retry_now(now),
            Self::Hold => SpoolChange::Hold,
            Self::Release => SpoolChange::Release,
            Self::Remove => SpoolChange::Remove,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Acted {
    /// Recipients to whom it made a difference.
    pub recipients: u64,
    /// Messages that these belong to.
    pub messages: u64,
    /// Recipients that were meant and stay as they are, since they are on hold.
    pub on_hold: u64,
}

/// Does it to all that is meant; each recipient's part is in the trace. Those before a failure stay changed.
///
/// # Errors
/// The selection cannot be, or the store fails.
pub async fn act(store: &dyn Store, selection: &Selection, act: Act) -> Result<Acted, Error> {
    let mut filter = selection.filter()?;
    let mut acted = Acted::default();
    let mut last = None;
    loop {
        let page = store.spooled(filter.clone(), PAGE).await.map_err(failed)?;
        let Some(end) = page.last() else { return Ok(acted) };
        filter.after = Some((end.queue_id.clone(), end.number));
        let now = Timestamp::now().as_millisecond();
        let mut entries = Vec::with_capacity(page.len());
        for row in page {
            if act == Act::Retry && row.state == SpoolState::Held {
                acted.on_hold += 1;
                continue;
            }
            let step = Step::Operated { what: act.word().into(), recipient: row.address };
            entries.push(TraceEntry {
                queue_id: row.queue_id,
                at: now,
                recipient: Some(row.number),
                kind: step.kind(),
                data: step.encode(),
                keys: Vec::new(),
            });
        }
        if entries.is_empty() {
            continue;
        }
        for (queue_id, _) in store.operate(act.change(now), entries).await.map_err(failed)? {
            acted.recipients += 1;
            if last.as_ref() != Some(&queue_id) {
                acted.messages += 1;
                last = Some(queue_id);
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(crate) fn failed(error: store::Error) -> Error {
    Error::Failed(error.to_string())
}

/// What an output that is closed means: whoever reads it has seen enough.
pub(crate) fn written(result: std::io::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The entries of a page, in its order, each once.
async fn entries_of(store: &dyn Store, page: &[store::SpoolRecipient]) -> Result<Vec<Spool>, Error> {
    let mut ids: Vec<String> = page.iter().map(|row| row.queue_id.clone()).collect();
    ids.dedup();
    store.spool_entries(ids).await.map_err(failed)
}

/// The sender as people write it.
fn sender_of(spool: &Spool) -> &str {
    if spool.sender.is_empty() { "<>" } else { &spool.sender }
}
