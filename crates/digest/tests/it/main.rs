//! What a digest hands out can be read by a client, whatever the message.

use std::time::Duration;

use imap::parse::{Response, Value};
use mailwright_digest::{Digest, DigestRef};
use mime::{Inner, Limits, Part};
use proptest::prelude::*;

fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "From: Ann <ann@client.example>, Team: b@x, \"q\\\"\" <c@[192.0.2.1]>;\r\n",
        "To: j\u{fc}rg@\u{fc}.example, (c) d@e (f), <>, nobody\r\n",
        "Sender: \r\n",
        "Subject: =?utf-8?q?x?= \u{e9}\r\n \"folded\"\\\r\n",
        "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n",
        "Message-ID: <1@x>\0\r\n",
        "References: <1@x> <2@x>\r\n",
        "Content-Type: multipart/mixed; boundary=a; x=\"\\\"\"\r\n",
        "Content-Type: multipart/digest; boundary=b\r\n",
        "Content-Type: message/rfc822; name*=utf-8''%c3\r\n",
        "Content-Type: text/html; charset=\u{fc}\r\n",
        "Content-Disposition: attachment; filename=\"a b\r\n c\"; size=1\r\n",
        "Content-Language: de, en\r\n",
        "Content-ID: <i@x>\r\nContent-MD5: Q2hlY2s=\r\nContent-Location: /x\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "\r\n",
        "\r\n",
        "--a\r\n",
        "--a--\r\n",
        "--b\r\n",
        "text\r\n",
        "\r",
    ]);
    let pieces = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

/// What a client reads.
fn read(name: &str, octets: &[u8]) -> Value {
    let line = [b"* 1 FETCH (", name.as_bytes(), b" ", octets, b")"].concat();
    let values = match imap::parse::response(&line) {
        Some(Response::Data { number: Some(1), values, .. }) => values,
        _ => Vec::new(),
    };
    let value = values.first().and_then(|items| items.list().get(1)).cloned();
    assert!(value.is_some(), "{:?} is no response", String::from_utf8_lossy(&line));
    value.unwrap_or(Value::Nil)
}

fn theirs(name: &str, octets: &[u8]) -> bool {
    use imap_codec::decode::Decoder as _;
    let line = [b"* 1 FETCH (", name.as_bytes(), b" ", octets, b")\r\n"].concat();
    matches!(imap_codec::ResponseCodec::default().decode(&line), Ok((rest, _)) if rest.is_empty())
}

fn check_envelope(envelope: &Value) {
    let fields = envelope.list();
    assert_eq!(fields.len(), 10, "{envelope:?}");
    for (at, field) in fields.iter().enumerate() {
        let fits = match (at, field) {
            (2..=7, Value::List(addresses)) => {
                !addresses.is_empty() && addresses.iter().all(|address| address.list().len() == 4)
            }
            (0 | 1 | 8 | 9, Value::String(_)) | (_, Value::Nil) => true,
            _ => false,
        };
        assert!(fits, "{at}: {field:?}");
    }
}

/// The structure a client reads is the one that sections are found by.
fn check_body(body: &Value, part: &Part, extensible: bool) {
    let values = body.list();
    if let Inner::Multipart(parts) = &part.inner {
        let inner = values.iter().take_while(|value| matches!(value, Value::List(_))).count();
        assert_eq!(inner, parts.len(), "{body:?}");
        assert_eq!(values.len(), inner + if extensible { 5 } else { 1 }, "{body:?}");
        for (body, part) in values.iter().zip(parts) {
            check_body(body, part, extensible);
        }
        return;
    }
    let text = |at: usize| values.get(at).and_then(Value::text).unwrap_or_default().to_owned();
    assert_eq!((text(0).to_lowercase(), text(1).to_lowercase()), part.media_type, "{body:?}");
    assert_eq!(text(6), part.body.len().to_string(), "{body:?}");
    let mut basic = 7;
    if let Inner::Message(message) = &part.inner {
        check_envelope(&values[7]);
        check_body(&values[8], message, extensible);
        basic = 9;
    }
    if part.media_type.0 == "text" || basic == 9 {
        assert_eq!(text(basic), part.lines.to_string());
        basic += 1;
    }
    assert_eq!(values.len(), basic + if extensible { 4 } else { 0 }, "{body:?}");
}

proptest! {
    #[test]
    fn a_client_can_read_it(message in message()) {
        let digest = Digest::of(&message);
        let octets = digest.encode();
        let read_back = DigestRef::parse(&octets).unwrap();
        let root = Part::parse(&message, &Limits::default());
        // rule 18, rule 24
        for octets in [read_back.envelope(), read_back.body_structure(), read_back.body()] {
            prop_assert!(octets.is_ascii() && !octets.contains(&0), "{}", String::from_utf8_lossy(octets));
        }
        check_envelope(&read("ENVELOPE", read_back.envelope()));
        check_body(&read("BODYSTRUCTURE", read_back.body_structure()), &root, true);
        check_body(&read("BODY", read_back.body()), &root, false);
        // Another parser can read it, too.
        for (name, octets) in [("ENVELOPE", read_back.envelope()), ("BODYSTRUCTURE", read_back.body_structure())] {
            prop_assert!(theirs(name, octets), "{}", String::from_utf8_lossy(octets));
        }
        let utf8 = mailwright_digest::Utf8::of(&message);
        if read_back.is_surrogate() {
            for octets in [&utf8.envelope, &utf8.body_structure, &utf8.body] {
                prop_assert!(std::str::from_utf8(octets).is_ok() && !octets.contains(&0));
            }
        } else {
            prop_assert_eq!(&utf8.body_structure[..], read_back.body_structure());
            prop_assert_eq!(&utf8.envelope[..], read_back.envelope());
        }
        prop_assert_eq!(read_back.header_octets(), root.header.len() as u64);
        prop_assert_eq!(read_back.header_is_8bit(), !message[root.header.clone()].is_ascii());
        prop_assert_eq!(read_back.preview().to_vec(), mime::preview(&root, &message, 200).into_bytes());
        prop_assert_eq!(
            read_back.sent(),
            root.field(&message, "Date").and_then(|date| mime::date(&date))
        );
    }

    #[test]
    fn other_octets_are_no_digest(octets in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = DigestRef::parse(&octets);
    }

    #[test]
    fn what_is_encoded_comes_back(
        sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 5),
        header_octets: u64, sent: Option<i64>, header_is_8bit: bool, header_is_complete: bool, is_surrogate: bool,
    ) {
        let [envelope, body_structure, body, header, preview] = sections.try_into().unwrap();
        let digest =
            Digest { envelope, body_structure, body, header, preview, header_octets, sent, header_is_8bit, header_is_complete, is_surrogate };
        let octets = digest.encode();
        let read = DigestRef::parse(&octets).unwrap();
        prop_assert_eq!(read.envelope(), &digest.envelope[..]);
        prop_assert_eq!(read.body_structure(), &digest.body_structure[..]);
        prop_assert_eq!(read.body(), &digest.body[..]);
        prop_assert_eq!(read.header(), &digest.header[..]);
        prop_assert_eq!(read.preview(), &digest.preview[..]);
        prop_assert_eq!((read.header_octets(), read.sent()), (header_octets, sent));
        prop_assert_eq!(read.is_surrogate(), is_surrogate);
        prop_assert_eq!((read.header_is_8bit(), read.header_is_complete()), (header_is_8bit, header_is_complete));
    }
}

#[test]
fn a_digest_of_a_hostile_message_is_small() {
    let endless = format!(
        "Subject: {}\r\nContent-Type: text/plain; name={}\r\nContent-Description: {}\r\n\r\nx",
        "s".repeat(3 << 20),
        "n".repeat(3 << 20),
        "d".repeat(3 << 20)
    );
    let digest = Digest::of(endless.as_bytes());
    assert!(digest.envelope.len() < (1 << 20) + 100, "{}", digest.envelope.len());
    assert!(digest.body_structure.len() < 100_000 && digest.body.len() < 100_000);
    let many = format!("To: {}\r\nCc: c@d\r\n\r\n", "a@b,".repeat(1 << 20));
    let digest = Digest::of(many.as_bytes());
    assert!(digest.encode().len() < 1 << 20);
    assert_eq!((&digest.header[..], digest.header_is_complete), (&b"Cc: c@d\r\n"[..], false));
    assert!(Digest::of(b"To: a@b\r\n\r\n").header_is_complete);
}

/// Messages that are easy to make and hard to read, of about so many octets.
fn hostile(octets: usize) -> Vec<(&'static str, String)> {
    let repeat = |text: &str| text.repeat(octets / text.len());
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    vec![
        ("parts", format!("{multipart}{}", repeat("--b\r\n\r\nx\r\n"))),
        ("boundaries that nearly match", format!("{multipart}{}", repeat("--a\r\n--"))),
        ("nested parts", repeat(&format!("{multipart}--b\r\n"))),
        ("nested messages", repeat("Content-Type: message/rfc822\r\n\r\n")),
        ("comments", format!("From: {}\r\n\r\n", repeat("("))),
        ("angles", format!("To: {}\r\n\r\n", repeat("<"))),
        ("quotes", format!("To: {}\r\n\r\n", repeat("\"\\\""))),
        ("groups", format!("To: {}\r\n\r\n", repeat("a:;,"))),
        ("addresses", format!("Cc: {}\r\n\r\n", repeat("a@b,"))),
        ("one word", format!("Subject: {}\r\n\r\n", repeat("=?utf-8?q?=41"))),
        ("encoded words", format!("Subject: {}\r\n\r\n", repeat("=?utf-8?b?QUFB?= "))),
        ("folding", format!("Subject: x{}\r\n\r\n", repeat("\r\n "))),
        ("parameters", format!("Content-Type: text/plain{}\r\n\r\n", repeat("; a*1=b"))),
        ("fields", format!("{}\r\n", repeat("References: <a@b>\r\n"))),
        ("references", format!("References: {}\r\n\r\n", repeat("<a@b> "))),
        ("one line", format!("\r\n{}", repeat("x"))),
        ("tags", format!("Content-Type: text/html\r\n\r\n{}", repeat("<a <!-- "))),
        ("entities", format!("Content-Type: text/html\r\n\r\n{}", repeat("&amp"))),
        ("base64", format!("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", repeat("QQ=="))),
    ]
}

/// What this thread has taken of the processor: the same however busy the machine is.
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
fn processor() -> Duration {
    let spent = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::new(spent.tv_sec().unsigned_abs(), u32::try_from(spent.tv_nsec()).unwrap())
}

#[test]
fn no_message_takes_more_than_linear_time() {
    let least = |message: &str| {
        let once = || {
            let before = processor();
            let digest = Digest::of(message.as_bytes());
            assert!(!digest.encode().is_empty());
            processor().saturating_sub(before)
        };
        (0..5).map(|_| once()).min().unwrap_or_default()
    };
    for ((name, small), (_, large)) in hostile(16 << 10).iter().zip(hostile(256 << 10)) {
        // Sixteen times the octets: quadratic would be 256 times the work.
        let (short, long) = (least(small), least(&large));
        assert!(long < short * 100 + Duration::from_millis(20), "{name}: {short:?} for 16 KiB, {long:?} for 256 KiB");
    }
}
