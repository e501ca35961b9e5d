//! LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, SELECT.

use std::collections::BTreeSet;
use std::collections::HashMap;

use bytes::BytesMut;
use imap::encode::{self, number};
use imap::server::{Done, Enabled};
use imap::{List, MailboxName, Select, SequenceSet, StatusItem, print_ranges};
use store::{AccountId, Mailbox, SpecialUse, Store};

use crate::text;
use crate::view::{View, flags_item};

/// Whether a name matches a pattern: `*` anything, `%` anything within a level (RFC 9051 §6.3.9).
fn matches(pattern: &[char], name: &[char]) -> bool {
    // The places in the pattern that the name so far may have led to.
    let mut places = BTreeSet::from([0]);
    let spread = |places: &mut BTreeSet<usize>| {
        let mut todo: Vec<usize> = places.iter().copied().collect();
        while let Some(at) = todo.pop() {
            if matches!(pattern.get(at), Some('*' | '%')) && places.insert(at + 1) {
                todo.push(at + 1);
            }
        }
    };
    spread(&mut places);
    for character in name {
        let mut next = BTreeSet::new();
        for at in places {
            match pattern.get(at) {
                Some('*') => next.insert(at),
                Some('%') if *character != '/' => next.insert(at),
                Some(wanted) if wanted == character && !matches!(wanted, '*' | '%') => next.insert(at + 1),
                _ => false,
            };
        }
        spread(&mut next);
        places = next;
    }
    places.contains(&pattern.len())
}

fn pattern_of(reference: &str, pattern: &str) -> Vec<char> {
    let whole = format!("{reference}{pattern}");
    // INBOX in any case (rule 19).
    let inbox = whole.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("INBOX"));
    let whole = if inbox && (whole.len() == 5 || whole[5..].starts_with('/')) {
        format!("INBOX{}", &whole[5..])
    } else {
        whole
    };
    whole.chars().collect()
}

/// LIST (RFC 9051 §6.3.9, RFC 5258, RFC 5819).
pub(crate) async fn list(
    store: &dyn Store,
    account: AccountId,
    list: List,
    enabled: Enabled,
    append_limit: u64,
    out: &mut BytesMut,
) -> store::Result<Done> {
    if list.patterns.iter().all(String::is_empty) && !list.extended {
        out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
        return Ok(Done::ok("listed"));
    }
    let mailboxes = store.mailboxes(account).await?;
    let by_name: HashMap<&str, &Mailbox> = mailboxes.iter().map(|mailbox| (mailbox.name.as_str(), mailbox)).collect();
    let subscribed: BTreeSet<String> = store.subscriptions(account).await?.into_iter().collect();
    let mut names: BTreeSet<&str> = by_name.keys().copied().collect();
    if list.select_subscribed {
        names.extend(subscribed.iter().map(String::as_str));
    }
    let patterns: Vec<Vec<char>> = list.patterns.iter().map(|pattern| pattern_of(&list.reference, pattern)).collect();
    let extended_children = list.extended && !list.return_children;
    for name in &names {
        let characters: Vec<char> = name.chars().collect();
        if !patterns.iter().any(|pattern| matches(pattern, &characters)) {
            continue;
        }
        let mailbox = by_name.get(name).copied();
        let below = format!("{name}/");
        let has_children = names.range::<&str, _>(below.as_str()..).next().is_some_and(|next| next.starts_with(&below));
        let child_subscribed = list.recursive_match
            && subscribed.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below));
        let is_subscribed = subscribed.contains(*name);
        if list.select_subscribed && !is_subscribed && !child_subscribed {
            continue;
        }
        let special_use = mailbox.and_then(|mailbox| mailbox.special_use);
        if list.select_special_use && special_use.is_none() {
            continue;
        }
        let mut attributes: Vec<String> = Vec::new();
        if mailbox.is_none() {
            attributes.push("\\NonExistent".into());
        }
        if !extended_children {
            attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" }.into());
        }
        if is_subscribed && (list.return_subscribed || list.select_subscribed) {
            attributes.push("\\Subscribed".into());
        }
        if let Some(special_use) = special_use {
            attributes.push(format!("\\{}", special_use.name()));
        }
        encode::print(out, format_args!("* LIST ({}) \"/\" ", attributes.join(" ")));
        name_out(out, name, enabled);
        if list.select_subscribed && !is_subscribed && child_subscribed {
            out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
        }
        out.extend_from_slice(b"\r\n");
        if let Some(mailbox) = mailbox.filter(|_| !list.return_status.is_empty()) {
            status_line(out, mailbox, &list.return_status, enabled, append_limit);
        }
    }
    Ok(Done::ok("listed"))
}

fn name_out(out: &mut BytesMut, name: &str, enabled: Enabled) {
    let wire = MailboxName::new(name).to_wire(enabled.utf8);
    encode::astring(out, wire.as_bytes(), enabled.utf8);
}

/// LSUB (RFC 3501 §6.3.9).
pub(crate) async fn lsub(
    store: &dyn Store,
    account: AccountId,
    reference: &str,
    pattern: &str,
    enabled: Enabled,
    out: &mut BytesMut,
) -> store::Result<Done> {
    let pattern = pattern_of(reference, pattern);
    let mut told = BTreeSet::new();
    for name in store.subscriptions(account).await? {
        let characters: Vec<char> = name.chars().collect();
        if matches(&pattern, &characters) {
            told.insert((name, ""));
            continue;
        }
        // A parent that matches `%` is told for its subscribed child.
        for (at, _) in name.match_indices('/') {
            let parent: Vec<char> = name[..at].chars().collect();
            if pattern.contains(&'%') && matches(&pattern, &parent) {
                told.insert((name[..at].to_owned(), "\\Noselect"));
            }
        }
    }
    let names: BTreeSet<String> = told.iter().filter(|(_, how)| how.is_empty()).map(|(name, _)| name.clone()).collect();
    for (name, how) in told {
        if how.is_empty() || !names.contains(&name) {
            encode::print(out, format_args!("* LSUB ({how}) \"/\" "));
            name_out(out, &name, enabled);
            out.extend_from_slice(b"\r\n");
        }
    }
    Ok(Done::ok("listed"))
}

/// STATUS (RFC 9051 §6.3.11).
pub(crate) async fn status(
    store: &dyn Store,
    account: AccountId,
    name: &MailboxName,
    items: &[StatusItem],
    enabled: Enabled,
    append_limit: u64,
    out: &mut BytesMut,
) -> store::Result<Done> {
    let mailbox = store.mailbox(account, name.as_str()).await?;
    status_line(out, &mailbox, items, enabled, append_limit);
    Ok(Done::ok("done"))
}

fn status_line(out: &mut BytesMut, mailbox: &Mailbox, items: &[StatusItem], enabled: Enabled, append_limit: u64) {
    out.extend_from_slice(b"* STATUS ");
    name_out(out, &mailbox.name, enabled);
    out.extend_from_slice(b" (");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b" ");
        }
        let value = match item {
            StatusItem::Messages => u64::from(mailbox.messages),
            StatusItem::Recent => 0,
            StatusItem::UidNext => u64::from(mailbox.uid_next),
            StatusItem::UidValidity => u64::from(mailbox.uid_validity),
            StatusItem::Unseen => u64::from(mailbox.unseen),
            StatusItem::Deleted => u64::from(mailbox.deleted),
            StatusItem::Size => mailbox.octets,
            StatusItem::HighestModSeq => mailbox.mod_seq,
            StatusItem::AppendLimit => append_limit,
            StatusItem::MailboxId => {
                encode::print(out, format_args!("MAILBOXID ({})", mailbox_id(mailbox.id)));
                continue;
            }
        };
        encode::print(out, format_args!("{} {value}", item.name()));
    }
    out.extend_from_slice(b")\r\n");
}

/// MAILBOXID of RFC 8474.
fn mailbox_id(id: store::MailboxId) -> String {
    format!("F{:x}", id.0)
}

/// CREATE (RFC 9051 §6.3.4, RFC 6154 §3).
pub(crate) async fn create(
    store: &dyn Store,
    account: AccountId,
    name: &MailboxName,
    special_use: &[String],
) -> store::Result<Done> {
    let wanted = match special_use {
        [] => None,
        [only] => match SpecialUse::from_name(only) {
            Some(special_use) => Some(special_use),
            None => return Ok(Done::no("this special use is not known").code("USEATTR")),
        },
        _ => return Ok(Done::no("a mailbox has one special use").code("USEATTR")),
    };
    // RFC 9051 §6.3.4: a delimiter at the end says only that there will be mailboxes below.
    let name = name.as_str().trim_end_matches('/');
    let mailbox = store.create_mailbox(account, name, wanted).await?;
    Ok(Done::ok("created").code(format!("MAILBOXID ({})", mailbox_id(mailbox.id))))
}

/// SELECT and EXAMINE (RFC 9051 §6.3.2, RFC 7162 §3.2.5).
pub(crate) async fn select(
    store: &dyn Store,
    account: AccountId,
    select: Select,
    enabled: Enabled,
    out: &mut BytesMut,
) -> store::Result<(View, Done)> {
    let (mailbox, snapshot) = store.open_mailbox(account, select.mailbox.as_str()).await?;
    // Whatever waits on it looks at the mailbox again first, so that what happens just now is not missed.
    let watch = store.watch_mailbox(mailbox.id);
    text::tell_flags(out, &snapshot.keywords, select.read_only);
    number(out, snapshot.len() as u64, "* ", " EXISTS\r\n");
    if !enabled.rev2 {
        out.extend_from_slice(b"* 0 RECENT\r\n");
        if let Some(first) = snapshot.iter().position(|row| !row.flags.contains(store::Flags::SEEN)) {
            number(out, first as u64 + 1, "* OK [UNSEEN ", "] first unseen\r\n");
        }
    }
    number(out, u64::from(snapshot.uid_validity), "* OK [UIDVALIDITY ", "] UIDs are valid\r\n");
    number(out, u64::from(snapshot.uid_next), "* OK [UIDNEXT ", "] the next UID\r\n");
    number(out, snapshot.mod_seq, "* OK [HIGHESTMODSEQ ", "] mod-sequences are kept\r\n");
    encode::print(out, format_args!("* OK [MAILBOXID ({})] the mailbox's id\r\n", mailbox_id(mailbox.id)));
    if enabled.rev2 {
        out.extend_from_slice(b"* LIST () \"/\" ");
        name_out(out, &mailbox.name, enabled);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(qresync) = select.qresync.filter(|known| enabled.qresync && known.uid_validity == snapshot.uid_validity)
    {
        let changes = store.changes(mailbox.id, qresync.mod_seq).await?;
        let known =
            qresync.known.as_ref().and_then(|set: &SequenceSet| set.resolve(snapshot.uid_next.saturating_sub(1)));
        let told = |uid: u32| known.as_ref().is_none_or(|known| crate::view::contains(known, uid));
        let vanished = changes.vanished.iter().flat_map(Clone::clone).filter(|uid| told(*uid));
        let vanished = crate::view::store_ranges(vanished);
        if !vanished.is_empty() {
            encode::print(out, format_args!("* VANISHED (EARLIER) {}\r\n", print_ranges(&vanished)));
        }
        for row in changes.changed.iter().filter(|row| told(row.uid)) {
            let Ok(index) = snapshot.find(row.uid) else { continue };
            number(out, index as u64 + 1, "* ", " FETCH (");
            number(out, u64::from(row.uid), "UID ", " ");
            flags_item(out, row, &snapshot.keywords, enabled);
            out.extend_from_slice(b")\r\n");
        }
    }
    let view = View {
        mailbox: mailbox.id,
        read_only: select.read_only,
        told: std::sync::Arc::clone(&snapshot.keywords),
        snapshot,
        watch,
        own: HashMap::new(),
        saved: Vec::new(),
    };
    let code = if select.read_only { "READ-ONLY" } else { "READ-WRITE" };
    Ok((view, Done::ok("selected").code(code).selected(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("%/%", "a/b", true),
            ("", "a", false),
            ("**%%*", "x", true),
            ("a", "ab", false),
            ("*b", "ab/cb", true),
        ];
        for (pattern, name, expected) in table {
            let name: Vec<char> = name.chars().collect();
            assert_eq!(matches(&pattern_of("", pattern), &name), expected, "{pattern} {name:?}");
        }
        assert_eq!(pattern_of("", "inbox"), "INBOX".chars().collect::<Vec<_>>());
        let hostile = "*".repeat(1_000);
        assert!(matches(&pattern_of("", &hostile), &"a".repeat(1_000).chars().collect::<Vec<_>>()));
    }
}
