//! STORE, COPY, MOVE, EXPUNGE.

use bytes::BytesMut;
use imap::encode::number;
use imap::server::{Done, Enabled};
use imap::{Copy, SequenceSet, StoreOperation, print_ranges};
use store::{AccountId, Error, FlagOperation, Store, What};

use crate::text;
use crate::view::{View, flags_item, store_ranges};

const READ_ONLY: &str = "the mailbox is open for reading only";

/// STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
pub(crate) async fn store(
    view: &mut View,
    store: &dyn Store,
    command: imap::Store,
    enabled: Enabled,
    out: &mut BytesMut,
) -> store::Result<Done> {
    if view.read_only {
        return Ok(Done::no(READ_ONLY));
    }
    let Some(uids) = view.uids(&command.set, command.uid) else { return Ok(no_such_messages()) };
    let operation = match command.operation {
        StoreOperation::Add => FlagOperation::Add,
        StoreOperation::Remove => FlagOperation::Remove,
        StoreOperation::Replace => FlagOperation::Replace,
    };
    let flags = text::flags(&command.flags);
    let outcome = store.set_flags(view.mailbox, uids, operation, flags, command.unchanged_since).await?;
    // New keywords have numbers that the snapshot at hand does not know.
    let keywords = store.snapshot(view.mailbox).await?.keywords.clone();
    view.tell_keywords(&keywords, out);
    for row in &outcome.rows {
        let Some(sequence) = view.number(row.uid) else { continue };
        view.own.insert(row.uid, row.mod_seq);
        if command.silent {
            // RFC 7162 §3.1.3: a silent client still hears of the mod-sequence.
            if enabled.condstore {
                number(out, sequence, "* ", " FETCH (");
                number(out, u64::from(row.uid), "UID ", " ");
                number(out, row.mod_seq, "MODSEQ (", "))\r\n");
            }
            continue;
        }
        number(out, sequence, "* ", " FETCH (");
        if command.uid || enabled.qresync {
            number(out, u64::from(row.uid), "UID ", " ");
        }
        flags_item(out, row, &keywords, enabled);
        out.extend_from_slice(b")\r\n");
    }
    if outcome.modified.is_empty() {
        return Ok(Done::ok("stored"));
    }
    let modified = if command.uid {
        outcome.modified
    } else {
        let known = outcome.modified.iter().flat_map(Clone::clone).filter_map(|uid| view.number(uid));
        store_ranges(known.filter_map(|number| u32::try_from(number).ok()))
    };
    Ok(Done::ok("some messages were changed by others").code(format!("MODIFIED {}", print_ranges(&modified))))
}

/// COPY and MOVE (RFC 9051 §6.4.7, RFC 6851).
pub(crate) async fn copy(
    view: &mut View,
    store: &dyn Store,
    account: AccountId,
    command: Copy,
    out: &mut BytesMut,
) -> store::Result<Done> {
    if command.moves && view.read_only {
        return Ok(Done::no(READ_ONLY));
    }
    let Some(uids) = view.uids(&command.set, command.uid) else { return Ok(no_such_messages()) };
    let target = match store.mailbox(account, command.mailbox.as_str()).await {
        Ok(mailbox) => mailbox,
        Err(Error::NotFound(What::Mailbox)) => {
            return Ok(Done::no("there is no such mailbox").code("TRYCREATE"));
        }
        Err(error) => return Err(error),
    };
    let outcome = if command.moves {
        store.move_messages(view.mailbox, uids, target.id).await?
    } else {
        store.copy(view.mailbox, uids, target.id).await?
    };
    let done = Done::ok("done");
    if outcome.uids.is_empty() {
        return Ok(done);
    }
    // RFC 4315 §3: both sets in the same order, which is that of the source.
    let from = store_ranges(outcome.uids.iter().map(|(_, from)| *from));
    let to = store_ranges(outcome.uids.iter().map(|(to, _)| *to));
    let code = format!("COPYUID {} {} {}", outcome.uid_validity, print_ranges(&from), print_ranges(&to));
    if command.moves {
        imap::encode::print(out, format_args!("* OK [{code}] moved\r\n"));
        return Ok(done);
    }
    Ok(done.code(code))
}

/// EXPUNGE, UID EXPUNGE, and what CLOSE does.
pub(crate) async fn expunge(view: &mut View, store: &dyn Store, set: Option<SequenceSet>) -> store::Result<Done> {
    if view.read_only {
        return Ok(Done::no(READ_ONLY));
    }
    let uids = match set {
        Some(set) => view.uids(&set, true).unwrap_or_default(),
        None => vec![1..=u32::MAX],
    };
    store.expunge(view.mailbox, uids, true).await?;
    Ok(Done::ok("expunged"))
}

pub(crate) fn no_such_messages() -> Done {
    Done::bad("a sequence number is beyond the last message")
}
