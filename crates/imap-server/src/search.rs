//! SEARCH: what a key needs is read, and no more: first the snapshot, then rows, then digests, then the message.

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use daemon::Memory;
use digest::DigestRef;
use imap::encode::{self, number};
use imap::server::{Done, Enabled};
use imap::{DateTest, Search, SearchKey, SearchReturn, SequenceSet, Tag, print_ranges};
use jiff::civil::Date;
use mime::{Limits, Part};
use store::{Message, Row, Store};

use crate::changes::no_such_messages;
use crate::text;
use crate::view::{View, contains, store_ranges};

/// Messages looked at together.
const ROWS: usize = 500;
/// Octets of a message that is searched; of a larger one only so many.
const MOST: u64 = 64 << 20;

/// Carries out SEARCH.
pub(crate) async fn search(
    view: &mut View,
    (store, memory): (&dyn Store, &Memory),
    search: Search,
    enabled: Enabled,
    tag: &Tag,
    out: &mut BytesMut,
) -> store::Result<Done> {
    let Some(key) = Key::of(&search.key, view) else { return Ok(no_such_messages()) };
    let now = jiff::Timestamp::now().as_second();
    let snapshot = std::sync::Arc::clone(&view.snapshot);
    let mut found: Vec<(u32, u32, u64)> = Vec::new();
    let mut open: Vec<(u32, Row)> = Vec::new();
    for (index, row) in snapshot.iter().enumerate() {
        let sequence = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let facts = Facts { row: *row, now, message: None, digest: None, whole: None };
        match key.test(&facts) {
            Some(true) => found.push((sequence, row.uid, row.mod_seq)),
            Some(false) => {}
            None => open.push((sequence, *row)),
        }
    }
    let level = key.level();
    for batch in open.chunks(ROWS) {
        let uids = store_ranges(batch.iter().map(|(_, row)| row.uid));
        let messages = store.messages(view.mailbox, uids, level >= Level::Digest, ROWS).await?;
        for message in &messages {
            let Some((sequence, row)) = batch.iter().find(|(_, row)| row.uid == message.uid) else { continue };
            let digest = DigestRef::parse(&message.digest).ok();
            let mut facts = Facts { row: *row, now, message: Some(message), digest, whole: None };
            let mut verdict = key.test(&facts);
            if verdict.is_none() {
                let body = store.body(message).await?.slice(0..MOST);
                // Itself, and its text while it is looked through.
                let share = memory.take(body.octets().saturating_mul(2)).await;
                let Some(_share) = share else { return Err(store::Error::Busy) };
                facts.whole = Some(body.whole(usize::MAX).await?);
                verdict = key.test(&facts);
            }
            if verdict == Some(true) {
                found.push((*sequence, row.uid, row.mod_seq));
            }
        }
    }
    found.sort_unstable();
    answer(view, &search, &found, enabled, tag, out);
    Ok(Done::ok("searched"))
}

fn answer(
    view: &mut View,
    search: &Search,
    found: &[(u32, u32, u64)],
    enabled: Enabled,
    tag: &Tag,
    out: &mut BytesMut,
) {
    let numbers = || found.iter().map(|(sequence, uid, _)| if search.uid { *uid } else { *sequence });
    let mod_seq = found.iter().map(|(_, _, mod_seq)| *mod_seq).max().filter(|_| search.key.uses_mod_seq());
    let default = [SearchReturn::All];
    let returns: &[SearchReturn] = match &search.returns {
        Some(returns) => returns,
        None if enabled.rev2 => &default,
        None => {
            out.extend_from_slice(b"* SEARCH");
            for found in numbers() {
                number(out, u64::from(found), " ", "");
            }
            if let Some(mod_seq) = mod_seq {
                number(out, mod_seq, " (MODSEQ ", ")");
            }
            out.extend_from_slice(b"\r\n");
            return;
        }
    };
    if returns.contains(&SearchReturn::Save) {
        // RFC 5182 §2.1: with MIN, MAX or both, and nothing else, only those are saved.
        let asked = |wanted: SearchReturn| returns.contains(&wanted);
        let uids = found.iter().map(|(_, uid, _)| *uid);
        let all = asked(SearchReturn::All) || asked(SearchReturn::Count);
        view.saved = match (asked(SearchReturn::Min), asked(SearchReturn::Max)) {
            (false, false) => store_ranges(uids),
            _ if all => store_ranges(uids),
            (min, max) => {
                let first = uids.clone().take(usize::from(min));
                let last = uids.clone().skip(found.len().saturating_sub(1)).take(usize::from(max));
                let mut ends: Vec<u32> = first.chain(last).collect();
                ends.dedup();
                store_ranges(ends)
            }
        };
        if returns.len() == 1 {
            return;
        }
    }
    out.extend_from_slice(b"* ESEARCH");
    encode::print(out, format_args!(" (TAG \"{tag}\")"));
    if search.uid {
        out.extend_from_slice(b" UID");
    }
    for wanted in returns {
        match (wanted, numbers().next()) {
            (SearchReturn::Count, _) => number(out, found.len() as u64, " COUNT ", ""),
            (SearchReturn::Min, Some(first)) => number(out, u64::from(first), " MIN ", ""),
            (SearchReturn::Max, Some(_)) => number(out, numbers().max().map_or(0, u64::from), " MAX ", ""),
            (SearchReturn::All, Some(_)) => {
                encode::print(out, format_args!(" ALL {}", print_ranges(&store_ranges(numbers()))));
            }
            _ => {}
        }
    }
    if let Some(mod_seq) = mod_seq {
        number(out, mod_seq, " MODSEQ ", "");
    }
    out.extend_from_slice(b"\r\n");
}

/// What has to be read to decide a key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Level {
    Snapshot,
    Row,
    Digest,
    Whole,
}

/// What is known of a message.
struct Facts<'a> {
    row: Row,
    now: i64,
    message: Option<&'a Message>,
    digest: Option<DigestRef<'a>>,
    whole: Option<Bytes>,
}

/// A search key, ready to be tested.
enum Key {
    Constant(bool),
    Bit(store::Flags, bool),
    ModSeq(u64),
    Uid(Vec<RangeInclusive<u32>>),
    Octets(bool, u64),
    Internal(DateTest, Date),
    Saved(DateTest, Date),
    Sent(DateTest, Date),
    Age(bool, u32),
    EmailId(String),
    ThreadId(String),
    /// A kept field's name, and what it must hold, in lower case.
    Header(String, String),
    Body(String),
    Text(String),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    And(Vec<Key>),
}

/// Whether the digest keeps a field.
fn is_kept(name: &str) -> bool {
    digest::KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

impl Key {
    /// `None`: a sequence number is beyond the last message.
    fn of(key: &SearchKey, view: &View) -> Option<Self> {
        let keywords = &view.snapshot.keywords;
        Some(match key {
            SearchKey::All => Self::Constant(true),
            SearchKey::Recent => Self::Constant(false),
            SearchKey::SaveDateSupported => Self::Constant(true),
            SearchKey::Flag(name, set) => match text::bit(name, keywords) {
                Some(bit) => Self::Bit(bit, *set),
                None => Self::Constant(!set),
            },
            SearchKey::ModSeq(mod_seq) => Self::ModSeq(*mod_seq),
            SearchKey::Sequence(SequenceSet::Saved) | SearchKey::Uid(SequenceSet::Saved) => {
                Self::Uid(view.saved.clone())
            }
            SearchKey::Sequence(set) => Self::Uid(view.uids(set, false)?),
            SearchKey::Uid(set) => Self::Uid(view.uids(set, true)?),
            SearchKey::Larger(octets) => Self::Octets(true, *octets),
            SearchKey::Smaller(octets) => Self::Octets(false, *octets),
            SearchKey::Internal(test, date) => Self::Internal(*test, *date),
            SearchKey::Saved(test, date) => Self::Saved(*test, *date),
            SearchKey::Sent(test, date) => Self::Sent(*test, *date),
            SearchKey::Older(seconds) => Self::Age(true, *seconds),
            SearchKey::Younger(seconds) => Self::Age(false, *seconds),
            SearchKey::EmailId(id) => Self::EmailId(id.clone()),
            SearchKey::ThreadId(id) => Self::ThreadId(id.clone()),
            SearchKey::Header(name, value) => Self::Header(name.clone(), value.to_lowercase()),
            SearchKey::Body(text) => Self::Body(text.to_lowercase()),
            SearchKey::Text(text) => Self::Text(text.to_lowercase()),
            SearchKey::Not(key) => Self::Not(Box::new(Self::of(key, view)?)),
            SearchKey::Or(left, right) => Self::Or(Box::new(Self::of(left, view)?), Box::new(Self::of(right, view)?)),
            SearchKey::And(keys) => Self::And(keys.iter().map(|key| Self::of(key, view)).collect::<Option<_>>()?),
        })
    }

    fn level(&self) -> Level {
        match self {
            Self::Constant(_) | Self::Bit(..) | Self::ModSeq(_) | Self::Uid(_) => Level::Snapshot,
            Self::Octets(..)
            | Self::Internal(..)
            | Self::Saved(..)
            | Self::Age(..)
            | Self::EmailId(_)
            | Self::ThreadId(_) => Level::Row,
            Self::Header(name, _) if is_kept(name) => Level::Digest,
            Self::Sent(..) => Level::Digest,
            Self::Header(..) | Self::Body(_) | Self::Text(_) => Level::Whole,
            Self::Not(key) => key.level(),
            Self::Or(left, right) => left.level().max(right.level()),
            Self::And(keys) => keys.iter().map(Self::level).max().unwrap_or(Level::Snapshot),
        }
    }

    /// Whether the message is one; `None`: more has to be read.
    fn test(&self, facts: &Facts<'_>) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Bit(bit, set) => Some(facts.row.flags.contains(*bit) == *set),
            Self::ModSeq(mod_seq) => Some(facts.row.mod_seq >= *mod_seq),
            Self::Uid(ranges) => Some(contains(ranges, facts.row.uid)),
            Self::Octets(larger, octets) => {
                facts.message.map(|m| if *larger { m.octets > *octets } else { m.octets < *octets })
            }
            Self::Internal(test, date) => facts.message.map(|message| {
                let local = message.received.unix + i64::from(message.received.offset_minutes) * 60;
                compare(*test, local, *date)
            }),
            Self::Saved(test, date) => facts.message.map(|message| compare(*test, message.saved, *date)),
            Self::Age(older, seconds) => facts.message.map(|message| {
                let age = facts.now - message.received.unix;
                if *older { age >= i64::from(*seconds) } else { age <= i64::from(*seconds) }
            }),
            Self::EmailId(id) => facts.message.map(|message| *id == format!("M{:x}", message.content.id.0)),
            Self::ThreadId(id) => facts.message.map(|message| *id == format!("T{:x}", message.thread)),
            Self::Sent(test, date) => match (&facts.digest, &facts.whole) {
                (Some(digest), _) => Some(digest.sent().is_some_and(|sent| compare(*test, sent, *date))),
                (None, Some(whole)) => {
                    let field = mime::fields(whole).find(|field| field.is("Date"));
                    let sent = field.and_then(|field| mime::date(&field.unfolded()));
                    Some(sent.is_some_and(|sent| compare(*test, sent, *date)))
                }
                (None, None) => None,
            },
            Self::Header(name, value) => {
                let kept = is_kept(name);
                match (&facts.digest, &facts.whole) {
                    (Some(digest), _) if kept && digest.header_is_complete() => {
                        Some(field_holds(digest.header(), name, value))
                    }
                    (_, Some(whole)) => Some(field_holds(whole, name, value)),
                    _ => None,
                }
            }
            Self::Body(value) => facts.whole.as_ref().map(|whole| body_holds(whole, value)),
            Self::Text(value) => facts.whole.as_ref().map(|whole| {
                let header = &whole[mime::header_range(whole)];
                mime::fields(header).any(|field| {
                    let line = format!("{}: {}", String::from_utf8_lossy(field.name), mime::text(field.value));
                    line.to_lowercase().contains(value.as_str())
                }) || body_holds(whole, value)
            }),
            Self::Not(key) => key.test(facts).map(|value| !value),
            Self::Or(left, right) => match (left.test(facts), right.test(facts)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::And(keys) => {
                let mut all = Some(true);
                for key in keys {
                    match key.test(facts) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
        }
    }
}

/// Compares the date of a moment, disregarding time (RFC 9051 §6.4.4).
fn compare(test: DateTest, seconds: i64, date: Date) -> bool {
    let Ok(moment) = jiff::Timestamp::from_second(seconds) else { return false };
    let day = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
    match test {
        DateTest::Before => day < date,
        DateTest::On => day == date,
        DateTest::Since => day >= date,
    }
}

fn field_holds(header: &[u8], name: &str, value: &str) -> bool {
    mime::fields(header).any(|field| field.is(name) && mime::text(field.value).to_lowercase().contains(value))
}

fn body_holds(whole: &[u8], value: &str) -> bool {
    let root = Part::parse(whole, &Limits::default());
    root.all().into_iter().any(|part| mime::part_text(part, whole).to_lowercase().contains(value))
}
