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
