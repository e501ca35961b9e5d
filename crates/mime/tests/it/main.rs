//! Properties of the structure, and another parser's view of it.

use mail_parser::{MessageParser, MimeHeaders as _};
use mailwright_mime::{Inner, Limits, Part};
use proptest::prelude::*;

/// Messages made of pieces that matter to structure.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=a\r\n",
        "Content-Type: multipart/digest; boundary=b\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: text/html\r\n",
        "Subject: x\r\n",
        "\r\n",
        "\n",
        "--a\r\n",
        "--a--\r\n",
        "--b\r\n",
        "--b--\n",
        "--",
        "text\r\n",
        " folded\r\n",
        "\r",
        "\0",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

fn check(part: &Part, within: &std::ops::Range<usize>) {
    assert!(within.start <= part.header.start && part.header.end <= part.body.start, "{part:?} in {within:?}");
    assert!(part.body.start <= part.body.end && part.body.end <= within.end, "{part:?} in {within:?}");
    match &part.inner {
        Inner::Leaf => {}
        Inner::Message(message) => check(message, &part.body),
        Inner::Multipart(parts) => {
            assert!(!parts.is_empty());
            let mut from = part.body.start;
            for inner in parts {
                check(inner, &(from..part.body.end.max(inner.body.end)));
                from = inner.body.end;
            }
        }
    }
}

proptest! {
    #[test]
    fn parts_lie_within_each_other_in_order(message in message()) {
        check(&Part::parse(&message, &Limits::default()), &(0..message.len()));
    }

    #[test]
    fn nothing_makes_it_panic(message in prop::collection::vec(any::<u8>(), 0..300)) {
        let part = Part::parse(&message, &Limits::default());
        check(&part, &(0..message.len()));
        let _ = mailwright_mime::preview(&part, &message, 200);
        let _ = mailwright_mime::addresses(&message);
        let _ = mailwright_mime::header_facts(&message);
        let _ = mailwright_mime::text(&message);
        prop_assert!(mailwright_mime::surrogate(&message).is_ascii());
        prop_assert!(mailwright_mime::surrogate_header(&message).is_ascii());
    }
}

#[test]
fn another_parser_sees_the_same_leaves() {
    let message = b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\nplain\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--i--\r\n--o\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--o--\r\n";
    let ours = Part::parse(message, &Limits::default());
    let theirs = MessageParser::new().parse(&message[..]).unwrap();
    let ours: Vec<String> = ours
        .all()
        .into_iter()
        .filter(|part| part.inner == Inner::Leaf)
        .map(|part| format!("{}/{}", part.media_type.0, part.media_type.1))
        .collect();
    let mut theirs: Vec<String> = theirs
        .parts
        .iter()
        .filter_map(|part| part.content_type())
        .filter(|kind| kind.ctype() != "multipart")
        .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()))
        .collect();
    let mut sorted = ours.clone();
    sorted.sort();
    theirs.sort();
    assert_eq!(sorted, theirs);
}

#[test]
fn hostile_structures_stay_within_the_limits() {
    let limits = Limits::default();
    let header = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let prefixes: String = (1..200)
        .map(|length| {
            let boundary = "b".repeat(length);
            format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n")
        })
        .collect();
    let hostile = [
        format!("{header}{}", "--b\r\n\r\n".repeat(400_000)),
        format!("{header}{}", "--b\r\n".repeat(400_000)),
        format!("{header}--b\r\n").repeat(50_000),
        "Content-Type: message/rfc822\r\n\r\n".repeat(50_000),
        format!("{prefixes}{}", "--bbbbbbb\r\n".repeat(100_000)),
        format!("Content-Type: text/plain{}\r\n\r\nx", ";a=b".repeat(400_000)),
        format!("To: {}\r\n\r\nx", "a,".repeat(400_000)),
        format!("To: {}\r\n\r\nx", "(<\"".repeat(400_000)),
        format!("Subject: {}\r\n\r\nx", "=?utf-8?q?x?= ".repeat(100_000)),
        format!("{}\r\n", "A:\r\n".repeat(400_000)),
    ];
    for message in &hostile {
        let root = Part::parse(message.as_bytes(), &limits);
        assert!(root.all().len() <= limits.parts + limits.depth, "{} parts", root.all().len());
        check(&root, &(0..message.len()));
        for part in root.all() {
            assert!(part.content_type(message.as_bytes()).parameters.len() <= 100);
        }
        for name in ["To", "Subject"] {
            let value = root.field(message.as_bytes(), name).unwrap_or_default();
            assert!(mailwright_mime::addresses(&value).len() <= 10_002);
            let _ = mailwright_mime::text(&value);
        }
        assert!(mailwright_mime::preview(&root, message.as_bytes(), 200).chars().count() <= 200);
    }
}

#[test]
fn a_part_beyond_the_limits_is_not_taken_apart_for_its_text() {
    // rule 13 lets it in; what mail-parser would make of it are a million parts.
    let mut message = String::new();
    for level in 0..64 {
        message.push_str(&format!("Content-Type: multipart/x; boundary=l{level}\r\n\r\n--l{level}\r\n"));
    }
    message.push_str("Content-Type: multipart/x; boundary=b\r\n\r\n");
    message.push_str(&"--b\r\n\r\n".repeat(100_000));
    let root = Part::parse(message.as_bytes(), &Limits::default());
    assert_eq!(root.all().len(), 65);
    assert!(mailwright_mime::preview(&root, message.as_bytes(), 200).starts_with("--b --b"));
}
