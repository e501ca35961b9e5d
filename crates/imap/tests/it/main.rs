//! Commands and responses as the RFCs write them, and what is none.

mod codec;
mod transcripts;

use mailwright_imap::parse::{self, Response};
use mailwright_imap::{Command, CommandErrorKind, FetchItem, MailboxName, Mode, SearchKey, SequenceSet, print_ranges};
use proptest::prelude::*;

fn command(line: &str) -> Result<Command, CommandErrorKind> {
    parse::command(line.as_bytes(), Mode::default()).map(|(_, command)| command).map_err(|error| error.kind)
}

#[test]
fn commands_of_the_rfcs_are_read() {
    let accepted = [
        // RFC 9051 §6, RFC 3501 §6
        "abcd CAPABILITY",
        "a047 NOOP",
        "a001 AUTHENTICATE GSSAPI",
        "a001 LOGIN SMITH SESAME",
        "t1 ENABLE CONDSTORE X-GOOD-IDEA",
        "A142 SELECT INBOX",
        "A003 CREATE owatagusiam/",
        "A682 RENAME blurdybloop sarasoop",
        "A101 LIST \"\" \"\"",
        "A202 LIST ~/Mail/ %",
        "A042 STATUS blurdybloop (UIDNEXT MESSAGES)",
        "A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])",
        "A003 STORE 2:4 +FLAGS (\\Deleted)",
        "A003 STORE 2:4 +FLAGS \\Deleted \\Seen",
        "A999 UID FETCH 4827313:4828442 FLAGS",
        "A003 COPY 2:4 MEETING",
        "A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
        "A283 SEARCH RETURN () FLAGGED SINCE 1-Feb-1994",
        "A285 SEARCH CHARSET UTF-8 TEXT {6}\r\nXXXXXX",
        "P282 SEARCH RETURN (SAVE) OR (1:* UNSEEN) (NOT 2,4:7)",
        // RFC 4315 §2.1, RFC 6851 §3.1
        "A003 UID EXPUNGE 3000:3002",
        "a UID MOVE 42:69 foo",
        // RFC 5258 §3, RFC 5819 §2
        "A01 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" \"Drafts\" \"Sent/%\") RETURN (CHILDREN)",
        "A02 LIST (SUBSCRIBED) \"\" \"*\" RETURN (STATUS (UNSEEN MESSAGES))",
        // RFC 6154 §5.3
        "t1 CREATE MySpecial (USE (\\Drafts \\Sent))",
        // RFC 7162 §3
        "a SELECT mailbox (CONDSTORE)",
        "A02 SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
        "A03 SELECT INBOX (QRESYNC (90060115194045000 90060115194045000))",
        "s100 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
        "a103 UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)",
        "a SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338",
        // RFC 3516 §4, RFC 8514 §4, RFC 8474 §5, RFC 5032 §2, RFC 2971 §3
        "a FETCH 1 (BINARY.PEEK[1.2]<0.10> BINARY.SIZE[3])",
        "C102 SEARCH RETURN (COUNT) SAVEDON 1-Jan-2020",
        "4 FETCH 1:* (EMAILID THREADID)",
        "a2 UID SEARCH YOUNGER 259200",
        "a023 ID (\"name\" \"sodr\" \"version\" NIL)",
    ];
    for line in accepted {
        let expected = if line.starts_with("A03 SELECT") { None } else { Some(()) };
        // A UIDVALIDITY has 32 bits.
        assert_eq!(command(line).ok().map(|_| ()), expected, "{line}");
    }
}

#[test]
fn what_is_no_command_is_refused_with_its_place() {
    let table = [
        ("", CommandErrorKind::Tag),
        ("+ NOOP", CommandErrorKind::Tag),
        ("a XYZZY", CommandErrorKind::Unknown),
        ("a UID NOOP", CommandErrorKind::Unknown),
        ("a NOOP x", CommandErrorKind::Syntax { at: 6 }),
        ("a FETCH 0 FLAGS", CommandErrorKind::Syntax { at: 8 }),
        ("a SEARCH CHARSET KOI8-R ALL", CommandErrorKind::Charset),
    ];
    for (line, kind) in table {
        assert_eq!(command(line).err(), Some(kind), "{line}");
    }
    for line in [
        "a FETCH 1 ()",
        "a FETCH 1 BODY[",
        "a FETCH 1 BODY[HEADERS]",
        // rule 18: what could not come back in the response.
        "a FETCH 1 BODY[HEADER.FIELDS ({4}\r\na\r\nb)]",
        "a FETCH 1 BODY[HEADER.FIELDS (\"a\u{e9}\")]",
        "a FETCH 1 FLAGS (VANISHED)",
        "a STORE 1 FLAGS (\\Recent)",
        "a LOGIN x",
        "a LOGIN {5}\r\nabc y",
        "a LIST (RECURSIVEMATCH) \"\" *",
        "a SEARCH",
        "a SEARCH OR ALL",
        "a SEARCH BEFORE 32-Jan-2020",
    ] {
        assert!(command(line).is_err(), "{line}");
    }
}

#[test]
fn nesting_and_counting_end_at_their_limits() {
    let nested = |depth: usize| format!("a SEARCH {}ALL", "NOT ".repeat(depth));
    assert!(command(&nested(32)).is_ok());
    assert!(matches!(command(&nested(33)), Err(CommandErrorKind::Limit { limit: 32, .. })));
    let keys = |count: usize| format!("a SEARCH {}", vec!["ALL"; count].join(" "));
    assert!(command(&keys(1_000)).is_ok());
    assert!(matches!(command(&keys(1_001)), Err(CommandErrorKind::Limit { limit: 1_000, .. })));
    let items = |count: usize| format!("a FETCH 1 ({})", vec!["UID"; count].join(" "));
    assert!(command(&items(200)).is_ok() && command(&items(201)).is_err());
    let ranges = |count: usize| format!("a FETCH {} UID", vec!["1"; count].join(","));
    assert!(command(&ranges(20_000)).is_ok() && command(&ranges(20_001)).is_err());
}

#[test]
fn values_are_what_the_words_say() {
    let Ok(Command::Fetch(fetch)) = command("a FETCH 3:1,* (BODY.PEEK[1.2.HEADER.FIELDS (A \"b c\")]<5.10>)") else {
        panic!("a FETCH")
    };
    assert_eq!(fetch.set.resolve(9), Some(vec![1..=3, 9..=9]));
    let FetchItem::Section { peek: true, section, partial: Some((5, 10)), .. } = &fetch.items[0] else {
        panic!("a section")
    };
    assert_eq!(section.to_string(), "1.2.HEADER.FIELDS (A \"b c\")");
    let Ok(Command::Search(search)) = command("a SEARCH FROM {3}\r\nAnn UNSEEN") else { panic!("a SEARCH") };
    let expected =
        SearchKey::And(vec![SearchKey::Header("from".into(), "Ann".into()), SearchKey::Flag("\\Seen".into(), false)]);
    assert_eq!(search.key, expected);
    let Some((_, Some(append))) =
        parse::append(b"a APPEND Sent (\\Seen) \"17-Jul-1996 02:44:25 -0700\" ", Mode::default())
    else {
        panic!("an APPEND")
    };
    assert_eq!((append.flags, append.date), (vec!["\\Seen".to_owned()], Some((837_596_665, -420))));
}

#[test]
fn responses_of_the_rfcs_are_read() {
    let data = |line: &str| match parse::response(line.as_bytes()) {
        Some(Response::Data { number, name, values }) => (number, name, values.len()),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(data("* 172 EXISTS"), (Some(172), "EXISTS".into(), 0));
    assert_eq!(data("* LIST (\\Noselect) \"/\" ~/Mail/foo"), (None, "LIST".into(), 3));
    assert_eq!(data("* 12 FETCH (BODY[HEADER] {4}\r\na) b UID 3)"), (Some(12), "FETCH".into(), 1));
    assert_eq!(data("* ESEARCH (TAG \"A282\") MIN 2 COUNT 3"), (None, "ESEARCH".into(), 5));
    assert!(matches!(parse::response(b"+ idling"), Some(Response::Continuation(text)) if text == "idling"));
    assert!(matches!(
        parse::response(b"a1 NO [TRYCREATE] no such mailbox"),
        Some(Response::Status { tag: Some(_), code: Some(code), .. }) if code == "TRYCREATE"
    ));
    for line in ["", "*", "a1 FETCH", "* 1 FETCH (", "* OKAY"] {
        let wrong = parse::response(line.as_bytes());
        assert!(wrong.is_none() || line == "* OKAY", "{line}: {wrong:?}");
    }
    let deep = format!("* X {}{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(parse::response(deep.as_bytes()), None);
}

proptest! {
    #[test]
    fn names_come_back_over_both_wires(name in "[ -~é用😀&/]{1,30}") {
        let name = MailboxName::new(&name);
        for utf8 in [false, true] {
            let wire = name.to_wire(utf8);
            prop_assert!(utf8 || wire.is_ascii());
            prop_assert_eq!(MailboxName::from_wire(wire.as_bytes(), utf8), Some(name.clone()));
        }
    }

    #[test]
    fn sets_print_and_read_the_same(numbers in prop::collection::btree_set(1_u32..2000, 1..50)) {
        let set = SequenceSet::of(numbers.iter().map(|number| *number..=*number));
        let ranges = set.resolve(2000).unwrap_or_default();
        let printed = print_ranges(&ranges);
        let Ok(Command::Fetch(fetch)) = command(&format!("a FETCH {printed} UID")) else { panic!("a FETCH") };
        prop_assert_eq!(fetch.set.resolve(2000), Some(ranges.clone()));
        let back: Vec<u32> = ranges.into_iter().flatten().collect();
        prop_assert_eq!(back, numbers.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_makes_the_parsers_panic(octets in prop::collection::vec(any::<u8>(), 0..120)) {
        for utf8 in [false, true] {
            let _ = parse::command(&octets, Mode { utf8 });
            let _ = parse::append(&octets, Mode { utf8 });
        }
        let _ = parse::response(&octets);
    }
}
