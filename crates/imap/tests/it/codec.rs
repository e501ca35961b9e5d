//! Round trips of commands and responses, and another parser beside ours.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::BytesMut;
use imap_codec::decode::Decoder as _;
use imap_codec::{CommandCodec, ResponseCodec};
use jiff::civil::Date;
use mailwright_imap::parse::{self, Response, Value};
use mailwright_imap::{
    Command, Copy, DateTest, Fetch, FetchItem, MailboxName, Mode, Search, SearchKey, SearchReturn, Section,
    SectionForm, SectionText, Select, SequenceSet, StatusItem, Store, StoreOperation, encode,
};
use proptest::prelude::*;

fn set() -> impl Strategy<Value = SequenceSet> {
    let end = || prop_oneof![4 => (1_u32..100_000).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((end(), end()), 1..5).prop_map(SequenceSet::Ranges)
}

fn print_set(set: &SequenceSet) -> String {
    let SequenceSet::Ranges(ranges) = set else { return "$".into() };
    let end = |end: Option<u32>| end.map_or("*".to_owned(), |number| number.to_string());
    ranges.iter().map(|(from, to)| format!("{}:{}", end(*from), end(*to))).collect::<Vec<_>>().join(",")
}

fn atom() -> impl Strategy<Value = String> {
    "[A-Za-z$][A-Za-z0-9_.-]{0,9}"
}

/// Text of any kind, as a client may look for.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "[ -~]{0,20}", "[ -~\r\n\u{e9}\u{1f600}]{0,20}"]
}

/// As an astring, in the form that can hold it.
fn print_text(text: &str) -> String {
    let mut out = BytesMut::new();
    encode::astring(&mut out, text.as_bytes(), false);
    String::from_utf8(out.to_vec()).unwrap()
}

fn date() -> impl Strategy<Value = Date> {
    (1970_i16..2100, 1_i8..13, 1_i8..29).prop_map(|(year, month, day)| Date::new(year, month, day).unwrap())
}

fn key() -> impl Strategy<Value = SearchKey> {
    let test = || prop_oneof![Just(DateTest::Before), Just(DateTest::On), Just(DateTest::Since)];
    let system = prop::sample::select(vec!["Answered", "Deleted", "Draft", "Flagged", "Seen"]);
    let named = prop::sample::select(vec!["bcc", "cc", "from", "subject", "to"]);
    let leaf = prop_oneof![
        Just(SearchKey::All),
        (system, any::<bool>()).prop_map(|(name, set)| SearchKey::Flag(format!("\\{name}"), set)),
        (atom(), any::<bool>()).prop_map(|(name, set)| SearchKey::Flag(name, set)),
        (named, text()).prop_map(|(name, value)| SearchKey::Header(name.into(), value)),
        ("[a-z-]{1,10}", text()).prop_map(|(name, value)| SearchKey::Header(format!("x-{name}"), value)),
        text().prop_map(SearchKey::Body),
        text().prop_map(SearchKey::Text),
        (test(), date()).prop_map(|(test, date)| SearchKey::Internal(test, date)),
        (test(), date()).prop_map(|(test, date)| SearchKey::Sent(test, date)),
        any::<u32>().prop_map(|octets| SearchKey::Larger(octets.into())),
        any::<u32>().prop_map(|octets| SearchKey::Smaller(octets.into())),
        set().prop_map(SearchKey::Sequence),
        set().prop_map(SearchKey::Uid),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| SearchKey::Not(Box::new(key))),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| SearchKey::Or(Box::new(left), Box::new(right))),
            prop::collection::vec(inner, 1..4).prop_map(SearchKey::And),
        ]
    })
}

fn print_key(key: &SearchKey) -> String {
    let dated = |name: &str, test: &DateTest, date: &Date| {
        let test = match test {
            DateTest::Before => "BEFORE",
            DateTest::On => "ON",
            DateTest::Since => "SINCE",
        };
        format!("{name}{test} {}", date.strftime("%-d-%b-%Y"))
    };
    match key {
        SearchKey::Flag(name, set) => {
            let un = if *set { "" } else { "UN" };
            match name.strip_prefix('\\') {
                Some(name) => format!("{un}{}", name.to_uppercase()),
                None => format!("{un}KEYWORD {name}"),
            }
        }
        SearchKey::Header(name, value) if name.starts_with("x-") => format!("HEADER {name} {}", print_text(value)),
        SearchKey::Header(name, value) => format!("{} {}", name.to_uppercase(), print_text(value)),
        SearchKey::Body(text) => format!("BODY {}", print_text(text)),
        SearchKey::Text(text) => format!("TEXT {}", print_text(text)),
        SearchKey::Internal(test, date) => dated("", test, date),
        SearchKey::Sent(test, date) => dated("SENT", test, date),
        SearchKey::Larger(octets) => format!("LARGER {octets}"),
        SearchKey::Smaller(octets) => format!("SMALLER {octets}"),
        SearchKey::Sequence(set) => print_set(set),
        SearchKey::Uid(set) => format!("UID {}", print_set(set)),
        SearchKey::Not(key) => format!("NOT {}", print_key(key)),
        SearchKey::Or(left, right) => format!("OR {} {}", print_key(left), print_key(right)),
        SearchKey::And(keys) => format!("({})", keys.iter().map(print_key).collect::<Vec<_>>().join(" ")),
        _ => "ALL".into(),
    }
}

fn item() -> impl Strategy<Value = FetchItem> {
    let simple = vec![
        FetchItem::Uid,
        FetchItem::Flags,
        FetchItem::InternalDate,
        FetchItem::Rfc822Size,
        FetchItem::Envelope,
        FetchItem::Body,
        FetchItem::BodyStructure,
    ];
    let fields = || prop::collection::vec("[A-Za-z][A-Za-z-]{0,9}", 1..4);
    let text = prop_oneof![
        Just(SectionText::Full),
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        fields().prop_map(SectionText::HeaderFields),
        fields().prop_map(SectionText::HeaderFieldsNot),
    ];
    let part = prop::collection::vec(1_u32..20, 0..4);
    let partial = prop::option::of((any::<u32>(), 1_u32..u32::MAX));
    let section = (any::<bool>(), part, text, partial).prop_map(|(peek, mut part, text, partial)| {
        // MIME is of a part.
        if text == SectionText::Mime {
            part.push(1);
        }
        FetchItem::Section { form: SectionForm::Body, peek, section: Section { part, text }, partial }
    });
    prop_oneof![prop::sample::select(simple), section]
}

fn print_item(item: &FetchItem) -> String {
    match item {
        FetchItem::Uid => "UID".into(),
        FetchItem::Flags => "FLAGS".into(),
        FetchItem::InternalDate => "INTERNALDATE".into(),
        FetchItem::Rfc822Size => "RFC822.SIZE".into(),
        FetchItem::Envelope => "ENVELOPE".into(),
        FetchItem::Body => "BODY".into(),
        FetchItem::Section { peek, section, partial, .. } => {
            let partial = partial.map(|(from, octets)| format!("<{from}.{octets}>")).unwrap_or_default();
            format!("BODY{}[{section}]{partial}", if *peek { ".PEEK" } else { "" })
        }
        _ => "BODYSTRUCTURE".into(),
    }
}

fn mailbox() -> impl Strategy<Value = MailboxName> {
    "[a-zA-Z\u{e9}\u{7528}&~ /.]{1,12}".prop_map(|name| MailboxName::new(&name))
}

fn print_mailbox(name: &MailboxName) -> String {
    print_text(&name.to_wire(false))
}

/// A command that both versions of IMAP have, with what it looks like.
fn command() -> impl Strategy<Value = (Command, String)> {
    let uid = |uid: bool| if uid { "UID " } else { "" };
    let flags = prop::collection::vec(
        prop_oneof![atom(), prop::sample::select(vec!["\\Seen".to_owned(), "\\Deleted".to_owned()])],
        1..4,
    );
    let operation = prop::sample::select(vec![
        (StoreOperation::Add, "+FLAGS"),
        (StoreOperation::Remove, "-FLAGS"),
        (StoreOperation::Replace, "FLAGS"),
    ]);
    let items = [StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity, StatusItem::Unseen];
    let status = prop::sample::subsequence(items.to_vec(), 1..=4);
    prop_oneof![
        (any::<bool>(), set(), prop::collection::vec(item(), 1..5)).prop_map(move |(by_uid, set, items)| {
            let printed: Vec<String> = items.iter().map(print_item).collect();
            let line = format!("{}FETCH {} ({})", uid(by_uid), print_set(&set), printed.join(" "));
            (Command::Fetch(Fetch { uid: by_uid, set, items, changed_since: None, vanished: false }), line)
        }),
        (any::<bool>(), key()).prop_map(move |(by_uid, key)| {
            let line = format!("{}SEARCH {}", uid(by_uid), print_key(&key));
            (Command::Search(Search { uid: by_uid, returns: None, key }), line)
        }),
        (any::<bool>(), set(), operation, any::<bool>(), flags).prop_map(
            move |(by_uid, set, (operation, name), silent, flags)| {
                let silence = if silent { ".SILENT" } else { "" };
                let line = format!("{}STORE {} {name}{silence} ({})", uid(by_uid), print_set(&set), flags.join(" "));
                (Command::Store(Store { uid: by_uid, set, operation, silent, flags, unchanged_since: None }), line)
            }
        ),
        (any::<bool>(), any::<bool>(), set(), mailbox()).prop_map(move |(by_uid, moves, set, mailbox)| {
            let name = if moves { "MOVE" } else { "COPY" };
            let line = format!("{}{name} {} {}", uid(by_uid), print_set(&set), print_mailbox(&mailbox));
            (Command::Copy(Copy { uid: by_uid, moves, set, mailbox }), line)
        }),
        (mailbox(), any::<bool>()).prop_map(|(mailbox, read_only)| {
            let line = format!("{} {}", if read_only { "EXAMINE" } else { "SELECT" }, print_mailbox(&mailbox));
            (Command::Select(Select { mailbox, read_only, condstore: false, qresync: None }), line)
        }),
        (mailbox(), status).prop_map(|(mailbox, items)| {
            let names: Vec<&str> = items.iter().map(|item| item.name()).collect();
            let line = format!("STATUS {} ({})", print_mailbox(&mailbox), names.join(" "));
            (Command::Status { mailbox, items }, line)
        }),
        (mailbox(), mailbox()).prop_map(|(from, to)| {
            let line = format!("RENAME {} {}", print_mailbox(&from), print_mailbox(&to));
            (Command::Rename { from, to }, line)
        }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        "[A-Za-z][A-Za-z0-9.]{0,8}"
            .prop_filter("NIL is one", |atom| !atom.eq_ignore_ascii_case("nil"))
            .prop_map(Value::Atom),
        prop::collection::vec(1_u8.., 0..30).prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Value::List))
}

fn print_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Nil => encode::nstring(out, None, false),
        Value::Atom(text) => out.extend_from_slice(text.as_bytes()),
        Value::String(octets) => encode::nstring(out, Some(octets), false),
        Value::List(values) => {
            out.extend_from_slice(b"(");
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b" ");
                }
                print_value(out, value);
            }
            out.extend_from_slice(b")");
        }
    }
}

/// What another parser makes of a command.
fn theirs(line: &str) -> bool {
    let whole = format!("{line}\r\n");
    matches!(CommandCodec::default().decode(whole.as_bytes()), Ok((rest, _)) if rest.is_empty())
}

/// What another parser makes of a response.
fn theirs_of_response(line: &[u8]) -> bool {
    let whole = [line, b"\r\n"].concat();
    matches!(ResponseCodec::default().decode(&whole), Ok((rest, _)) if rest.is_empty())
}

proptest! {
    #[test]
    fn commands_that_are_printed_read_the_same_and_others_read_them((command, line) in command()) {
        let line = format!("a1 {line}");
        let read = parse::command(line.as_bytes(), Mode::default());
        prop_assert!(read.is_ok(), "{:?}: {:?}", line, read);
        prop_assert_eq!(read.unwrap().1, command, "{}", line);
        prop_assert!(theirs(&line), "another parser refuses {:?}", line);
    }

    /// One octet is another: what the other parser still takes, we take.
    #[test]
    fn what_another_parser_takes_is_a_command((_, line) in command(), at: prop::sample::Index, octet in b' '..=b'~') {
        let mut line = format!("a1 {line}").into_bytes();
        let at = at.index(line.len());
        line[at] = octet;
        let line = String::from_utf8_lossy(&line).into_owned();
        let read = parse::command(line.as_bytes(), Mode::default());
        prop_assert!(read.is_ok() || !theirs(&line) || is_known_difference(&line), "we refuse {:?}: {:?}", line, read);
    }

    #[test]
    fn values_that_are_printed_read_the_same(values in prop::collection::vec(value(), 1..4)) {
        let list = Value::List(values);
        let mut out = BytesMut::from("* 7 FETCH ");
        print_value(&mut out, &list);
        let expected = Response::Data { number: Some(7), name: "FETCH".into(), values: vec![list] };
        prop_assert_eq!(parse::response(&out), Some(expected), "{:?}", out);
    }

    #[test]
    fn moments_and_flags_read_the_same(unix in 0_i64..4_000_000_000, quarters in -56_i16..57, seen: bool) {
        let mut out = BytesMut::from("a APPEND x (");
        out.extend_from_slice(if seen { b"\\Seen " } else { b"" });
        out.extend_from_slice(b"work) ");
        encode::date_time(&mut out, unix, quarters * 15);
        out.extend_from_slice(b" ");
        let Some((_, Some(append))) = parse::append(&out, Mode::default()) else {
            return Err(TestCaseError::fail(format!("{out:?}")));
        };
        prop_assert_eq!(append.date, Some((unix, quarters * 15)));
        prop_assert_eq!(append.flags.len(), 1 + usize::from(seen));
        let mut response = BytesMut::from("* 1 FETCH (INTERNALDATE ");
        encode::date_time(&mut response, unix, quarters * 15);
        response.extend_from_slice(b" FLAGS ");
        encode::flags(&mut response, append.flags.iter().map(String::as_str));
        response.extend_from_slice(b")");
        prop_assert!(theirs_of_response(&response), "{:?}", response);
    }
}

/// Where the other parser takes what we do not want.
fn is_known_difference(line: &str) -> bool {
    // A system flag that is none (RFC 9051 §9, `flag-extension`) cannot be stored.
    line.contains("STORE") && line.contains('\\')
}

#[test]
fn lists_of_search_returns_read_as_the_rfc_has_them() {
    // RFC 4731 §3.1
    for (words, expected) in [
        ("()", vec![SearchReturn::All]),
        ("(MIN MAX)", vec![SearchReturn::Min, SearchReturn::Max]),
        ("(ALL COUNT SAVE)", vec![SearchReturn::All, SearchReturn::Count, SearchReturn::Save]),
    ] {
        let line = format!("a SEARCH RETURN {words} ALL");
        let Ok((_, Command::Search(search))) = parse::command(line.as_bytes(), Mode::default()) else {
            unreachable!("{line}")
        };
        assert_eq!(search.returns, Some(expected));
    }
}
