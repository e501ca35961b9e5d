//! DATA framing against a slow obvious reference, at every cut.

use bytes::{Bytes, BytesMut};
use mailwright_wire::{Data, DataDecoder, DotStuffer, normalise_lines};
use proptest::prelude::*;

/// What [`DataDecoder`] must find, octet by octet over the whole input.
#[derive(Debug, Default, Eq, PartialEq)]
struct Found {
    content: Vec<u8>,
    rest: Option<Vec<u8>>,
    bare_carriage_return: Option<u64>,
    bare_line_feed: Option<u64>,
    nul: Option<u64>,
}

/// RFC 5321 §4.5.2 in the most obvious way: find the end, split the lines at CRLF, take a leading dot away.
fn reference(input: &[u8]) -> Found {
    let framed = [b"\r\n", input].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n");
    let Some(end) = end else { return Found::default() };
    let body = if end == 0 { &[][..] } else { &framed[2..end + 2] };
    let mut content = Vec::new();
    let mut start = true;
    for (at, &octet) in body.iter().enumerate() {
        if !(start && octet == b'.') {
            content.push(octet);
        }
        start = at > 0 && octet == b'\n' && body[at - 1] == b'\r';
    }
    let first = |wanted: &dyn Fn(usize) -> bool| (0..content.len()).find(|&at| wanted(at)).map(|at| at as u64);
    Found {
        bare_carriage_return: first(&|at| content[at] == b'\r' && content.get(at + 1) != Some(&b'\n')),
        bare_line_feed: first(&|at| content[at] == b'\n' && (at == 0 || content[at - 1] != b'\r')),
        nul: first(&|at| content[at] == 0),
        content,
        rest: Some(framed[end + 5..].to_vec()),
    }
}

fn decode(input: &[u8], cuts: &[usize]) -> Found {
    let mut decoder = DataDecoder::new();
    let mut found = Found::default();
    let mut buffer = BytesMut::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&input.len()]) {
        buffer.extend_from_slice(&input[from..to]);
        from = to;
        while found.rest.is_none() {
            match decoder.decode(&mut buffer) {
                Some(Data::Octets(octets)) => found.content.extend_from_slice(&octets),
                Some(Data::End) => found.rest = Some(Vec::new()),
                None => break,
            }
        }
        assert!(found.rest.is_some() || buffer.len() <= 2, "holds back more than a dot and a CR");
    }
    if found.rest.is_none() {
        return Found::default();
    }
    assert_eq!(decoder.octets(), found.content.len() as u64);
    Found {
        rest: Some(buffer.to_vec()),
        bare_carriage_return: decoder.bare_carriage_return(),
        bare_line_feed: decoder.bare_line_feed(),
        nul: decoder.nul(),
        ..found
    }
}

#[test]
fn every_short_input_at_every_cut() {
    for length in 0..=8_u32 {
        for number in 0..4_u32.pow(length) {
            let body: Vec<u8> = (0..length).map(|at| b"\r\n.a"[(number >> (2 * at)) as usize & 3]).collect();
            let input = [&body[..], b"\r\n.\r\n"].concat();
            let expected = reference(&input);
            assert_eq!(decode(&input, &[]), expected, "{input:?}");
            let octets: Vec<usize> = (0..input.len()).collect();
            assert_eq!(decode(&input, &octets), expected, "{input:?} per octet");
            for cut in 0..input.len() {
                assert_eq!(decode(&input, &[cut]), expected, "{input:?} cut at {cut}");
            }
        }
    }
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"\r\n.a\0".to_vec()), 0..200)
}

proptest! {
    #[test]
    fn decoder_equals_reference(mut input in octets(), cuts in prop::collection::vec(0_usize..200, 0..20)) {
        input.extend_from_slice(b"\r\n.\r\nQUIT\0\r\n");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % input.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode(&input, &cuts), reference(&input));
    }

    #[test]
    fn stuffed_content_comes_back(content in octets(), cut in 1_usize..50) {
        let mut stuffer = DotStuffer::new();
        let mut out = BytesMut::new();
        for piece in content.chunks(cut) {
            stuffer.stuff(piece, &mut out);
        }
        stuffer.finish(&mut out);
        let mut whole = content.clone();
        if !content.is_empty() && !content.ends_with(b"\r\n") {
            whole.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!(decode(&out, &[]).content, whole);
    }
}

#[test]
fn the_end_of_smuggled_lines_is_content() {
    // rule 10: nothing but CRLF.CRLF ends DATA.
    for fake in [&b"\n.\n"[..], b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"] {
        let input = [b"a", fake, b"MAIL FROM:<x@y>\r\n.\r\n"].concat();
        let mut buffer = BytesMut::from(&input[..]);
        let mut decoder = DataDecoder::new();
        let mut content = Vec::new();
        while let Some(Data::Octets(octets)) = decoder.decode(&mut buffer) {
            content.extend_from_slice(&octets);
        }
        assert!(content.ends_with(b"MAIL FROM:<x@y>\r\n"), "{fake:?}");
        assert!(buffer.is_empty());
    }
}

#[test]
fn content_is_handed_out_without_copying() {
    let mut buffer = BytesMut::from("hello\r\n.\r\n");
    let address = buffer.as_ptr();
    let Some(Data::Octets(octets)) = DataDecoder::new().decode(&mut buffer) else { panic!("content comes first") };
    assert_eq!((octets.clone(), octets.as_ptr()), (Bytes::from_static(b"hello\r\n"), address));
}

#[test]
fn lines_are_normalised() {
    // rule 10
    let table: [(&[u8], &[u8]); 9] = [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n\n", b"a\r\nb\r\n\r\n"),
        (b"a\rb", b"a b\r\n"),
        (b"a\r\r\n", b"a \r\n"),
        (b"\n\r", b"\r\n \r\n"),
        (b"a", b"a\r\n"),
        (b"\r", b" \r\n"),
    ];
    for (octets, normal) in table {
        assert_eq!(&normalise_lines(Bytes::from_static(octets))[..], normal, "{octets:?}");
        assert_eq!(&normalise_lines(Bytes::from_static(normal))[..], normal, "{octets:?}");
    }
    let good = Bytes::from_static(b"a\r\n");
    assert_eq!(normalise_lines(good.clone()).as_ptr(), good.as_ptr());
}
