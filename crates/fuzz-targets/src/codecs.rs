//! Parsers and framers: what is read prints, and what is printed reads the same.

use bytes::BytesMut;
use wire::{CommandFramer, CommandLimits, Data, DataDecoder, Framed, Secret};

/// DATA at arbitrary cuts equals DATA in one piece, and what was stuffed comes back.
pub(crate) fn data(octets: &[u8]) {
    let Some((cut, octets)) = octets.split_first() else { return };
    let decode = |step: usize| {
        let mut decoder = DataDecoder::new();
        let (mut buffer, mut content, mut ended) = (BytesMut::new(), Vec::new(), false);
        for piece in octets.chunks(step) {
            buffer.extend_from_slice(piece);
            while !ended {
                match decoder.decode(&mut buffer) {
                    Some(Data::Octets(piece)) => content.extend_from_slice(&piece),
                    Some(Data::End) => ended = true,
                    None => break,
                }
            }
        }
        (content, ended, buffer.to_vec())
    };
    assert_eq!(decode(usize::from(*cut).max(1)), decode(octets.len().max(1)));
}

/// Commands at arbitrary cuts equal commands in one piece, within the limits.
pub(crate) fn lines(octets: &[u8]) {
    let Some((cut, octets)) = octets.split_first() else { return };
    let limits = CommandLimits { line_octets: 64, command_octets: 256, literals: 4 };
    let frame = |step: usize| {
        let mut framer = CommandFramer::new(limits);
        let mut found = Vec::new();
        for piece in octets.chunks(step) {
            let mut input = BytesMut::from(piece);
            loop {
                match framer.take(&mut input) {
                    Ok(Some(Framed::Command(command))) => {
                        assert!(command.len() <= limits.command_octets + limits.line_octets);
                        found.push(Ok(command.to_vec()));
                    }
                    Ok(Some(Framed::Literal(literal))) if framer.has_room_for(literal.octets) => framer.gather(literal),
                    Ok(Some(Framed::Literal(_))) => framer.clear(),
                    Ok(None) => break,
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    };
    assert_eq!(frame(usize::from(*cut).max(1)), frame(octets.len().max(1)));
}

/// A path that is read prints and reads the same; its key is a key.
pub(crate) fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Ok(path) = address::ReversePath::parse(text) else { return };
    let printed = path.to_string();
    let inner = printed.trim_start_matches('<').trim_end_matches('>');
    // NFC may lengthen a local part at its limit (RFC 5321 §4.5.3.1.1); then it is refused, not changed.
    if let Ok(again) = address::ReversePath::parse(inner) {
        assert_eq!(again, path);
    }
}

/// A command that is read prints and reads the same.
pub(crate) fn smtp_command(octets: &[u8]) {
    let leniency = smtp::Leniency::default();
    let Ok(command) = smtp::Command::parse(octets, &leniency) else { return };
    let mut out = BytesMut::new();
    command.encode(&mut out);
    assert!(out.ends_with(b"\r\n"));
    let line = &out[..out.len() - 2];
    assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "one line: {line:?}");
    assert_eq!(smtp::Command::parse(line, &leniency), Ok(command));
}

/// A drop file that is read is written the same, octet for octet, and is within the limits.
pub(crate) fn drop_file(octets: &[u8]) {
    let limits = smtp::DropLimits { recipients: 4, message_octets: 64 };
    let octets = bytes::Bytes::copy_from_slice(octets);
    let Ok(file) = smtp::DropFile::parse(&octets, &limits) else { return };
    assert!((1..=4).contains(&file.recipients.len()) && file.octets.len() <= 64);
    assert!(octets.len() as u64 <= limits.file_octets());
    assert_eq!([&file.envelope()[..], &file.octets].concat(), octets);
}

/// A client survives whatever a server says.
pub(crate) fn smtp_reply(octets: &[u8]) {
    crate::sessions::smtp_client(octets);
}

/// A command is read or refused, sets resolve to ascending ranges, and what comes back in a response is one line.
pub(crate) fn imap_command(octets: &[u8]) {
    for utf8 in [false, true] {
        if let Ok((_, imap::Command::Fetch(fetch))) = imap::parse::command(octets, imap::Mode { utf8 }) {
            if let Some(ranges) = fetch.set.resolve(1000) {
                assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()));
            }
            for item in fetch.items {
                if let imap::FetchItem::Section { section, .. } = item {
                    assert!(!section.to_string().contains(['\r', '\n', '\0']));
                }
            }
        }
        let _ = imap::parse::append(octets, imap::Mode { utf8 });
    }
}

/// A response is read or refused.
pub(crate) fn imap_response(octets: &[u8]) {
    let _ = imap::parse::response(octets);
}

/// A command that is read prints and reads the same.
pub(crate) fn pop3_command(octets: &[u8]) {
    let leniency = pop3::Leniency::default();
    let Ok(command) = pop3::Command::parse(octets, &leniency) else { return };
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let line = out.strip_suffix(b"\r\n").unwrap_or(&out);
    assert_eq!(pop3::Command::parse(line, &leniency), Ok(command));
}

/// Parts lie within the message, and its digest is one.
pub(crate) fn message(octets: &[u8]) {
    let root = mime::Part::parse(octets, &mime::Limits::default());
    for part in root.all() {
        assert!(part.header.end <= part.body.start && part.body.end <= octets.len());
        let _ = mime::decoded(part, octets);
    }
    let encoded = digest::Digest::of(octets).encode();
    let read = digest::DigestRef::parse(&encoded);
    assert!(read.is_ok_and(|digest| digest.envelope().starts_with(b"(") && digest.envelope().is_ascii()));
    assert!(digest::DigestRef::parse(octets).is_err() || octets.first() == Some(&1));
}

/// No octets prove a password that was not told.
pub(crate) fn sasl(octets: &[u8]) {
    for (mechanism, _) in sasl::Mechanism::ALL {
        let mut exchange = sasl::server::Exchange::new(mechanism, Some(vec![1; 32]), "nonce".into());
        for response in octets.split(|octet| *octet == b'\n').take(4) {
            let step = exchange.respond(Some(Secret::new(response)));
            assert!(!matches!(step, sasl::server::Step::Done { .. }));
            if matches!(step, sasl::server::Step::NeedVerifier { .. }) {
                let verifier = sasl::scram::Verifier {
                    iterations: 4096,
                    salt: vec![0; 16],
                    stored_key: [7; 32],
                    server_key: [9; 32],
                };
                exchange.verifier(verifier, true);
            }
        }
    }
}

/// A report that is read is written and reads the same, whatever it quotes.
pub(crate) fn dsn(octets: &[u8]) {
    let Ok(status) = queue::dsn::parse(octets).or_else(|_| queue::dsn::parse_status(octets)) else { return };
    let write = |status: &queue::dsn::DeliveryStatus, utf8| {
        queue::dsn::build(&queue::dsn::Report {
            from: "mailer-daemon@mx.a.example",
            to: "ann@a.example",
            message_id: "<r1@mx.a.example>",
            date: jiff::Timestamp::UNIX_EPOCH,
            queue_id: "1aB",
            status,
            returned: queue::dsn::Returned::Whole(octets),
            utf8,
        })
    };
    for utf8 in [false, true] {
        let report = write(&status, utf8);
        for line in report.split(|octet| *octet == b'\n') {
            assert!(line.len() <= 999, "a line of {} octets", line.len());
            let inner = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(!inner.contains(&b'\r') && !inner.contains(&0));
            assert!(line.ends_with(b"\r") || line.is_empty());
        }
        // What is not US-ASCII may be lost once, where it may not be written.
        let read = queue::dsn::parse(&report).expect("our own report");
        assert_eq!(queue::dsn::parse(&write(&read, utf8)).as_ref(), Ok(&read));
    }
}
