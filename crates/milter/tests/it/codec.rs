//! Octets of every command and response, and values there and back.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::milter::{
    Actions, Command, Connection, DATA_OCTETS, Envelope, Framer, MacroStage, Modification, Options, Origin, Packet,
    PacketError, ReplyCode, Response, Steps, Text,
};

pub(crate) fn packet(octets: &[u8]) -> Packet {
    let mut input = BytesMut::from(octets);
    let packet = Framer::new(DATA_OCTETS * 2).take(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    packet
}

fn written(code: u8, data: &[u8]) -> Vec<u8> {
    let mut octets = u32::try_from(data.len() + 1).unwrap().to_be_bytes().to_vec();
    octets.push(code);
    octets.extend_from_slice(data);
    octets
}

#[test]
fn every_command_in_octets() {
    let connect = |origin| Command::Connect(Connection { name: "mx.example".into(), origin });
    let envelope =
        || Envelope { path: "<ann@a.example>".into(), parameters: vec!["SIZE=5".into(), "BODY=8BITMIME".into()] };
    let offer = Options { version: 6, actions: Actions::ALL, steps: Steps::ALL, macros: Vec::new() };
    let chosen = Options { macros: vec![(MacroStage::End, "i j".into())], ..offer.clone() };
    let table: Vec<(Command, u8, &[u8])> = vec![
        (Command::Negotiate(offer), b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"),
        (Command::Negotiate(chosen), b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff\0\0\0\x05i j\0"),
        (Command::Macros(b'C', vec![("j".into(), "mx".into()), ("{a}".into(), "".into())]), b'D', b"Cj\0mx\0{a}\0\0"),
        (connect(Origin::Unknown), b'C', b"mx.example\0U"),
        (connect(Origin::Local("/s".into())), b'C', b"mx.example\0L\0\0/s\0"),
        (connect(Origin::V4(Ipv4Addr::new(192, 0, 2, 1), 259)), b'C', b"mx.example\x004\x01\x03192.0.2.1\0"),
        (connect(Origin::V6(Ipv6Addr::LOCALHOST, 25)), b'C', b"mx.example\x006\0\x19::1\0"),
        (Command::Hello("client.example".into()), b'H', b"client.example\0"),
        (Command::Mail(envelope()), b'M', b"<ann@a.example>\0SIZE=5\0BODY=8BITMIME\0"),
        (Command::Recipient(envelope()), b'R', b"<ann@a.example>\0SIZE=5\0BODY=8BITMIME\0"),
        (Command::Data, b'T', b""),
        (Command::Unknown("HELP me".into()), b'U', b"HELP me\0"),
        (Command::Header { name: "Subject".into(), value: " a\n b".into() }, b'L', b"Subject\0 a\n b\0"),
        (Command::EndOfHeader, b'N', b""),
        (Command::Body(Bytes::from_static(b"a\0b\r\n")), b'B', b"a\0b\r\n"),
        (Command::End(Bytes::new()), b'E', b""),
        (Command::End(Bytes::from_static(b"last")), b'E', b"last"),
        (Command::Abort, b'A', b""),
        (Command::Quit, b'Q', b""),
        (Command::NextConnection, b'K', b""),
    ];
    for (command, code, data) in table {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        assert_eq!(out, written(code, data), "{command:?}");
        assert_eq!(Command::parse(&packet(&out)).unwrap(), command);
    }
}

#[test]
fn every_response_in_octets() {
    let reply = |code, lines: &[&str]| {
        Response::Reply(ReplyCode::new(code, lines.iter().map(|line| Text::from(*line)).collect()).unwrap())
    };
    let header = || ("X-A".into(), " b\n\tc".into());
    let (name, value) = header();
    let add = Response::Modify(Modification::AddHeader { name, value });
    let (name, value) = header();
    let insert = Response::Modify(Modification::InsertHeader { index: 258, name, value });
    let delete = Response::Modify(Modification::ChangeHeader { index: 1, name: "X-A".into(), value: "".into() });
    let options = Options { version: 2, actions: Actions::ADD_HEADERS, steps: Steps::NO_BODY, macros: Vec::new() };
    let sender = |parameters: Option<&str>| {
        Response::Modify(Modification::ChangeSender { path: "<a>".into(), parameters: parameters.map(Text::from) })
    };
    let recipient = |parameters: Option<&str>| {
        Response::Modify(Modification::AddRecipient { path: "<a>".into(), parameters: parameters.map(Text::from) })
    };
    let table: Vec<(Response, u8, &[u8])> = vec![
        (Response::Negotiate(options), b'O', b"\0\0\0\x02\0\0\0\x01\0\0\0\x10"),
        (Response::Continue, b'c', b""),
        (Response::Accept, b'a', b""),
        (Response::Reject, b'r', b""),
        (Response::TempFail, b't', b""),
        (Response::Discard, b'd', b""),
        (Response::Skip, b's', b""),
        (Response::Progress, b'p', b""),
        (Response::Shutdown, b'4', b""),
        (Response::ConnectionFailed, b'f', b""),
        (reply(550, &["5.7.1 100% no"]), b'y', b"550 5.7.1 100%% no\0"),
        (reply(451, &["4.7.1 a", "4.7.1 b"]), b'y', b"451-4.7.1 a\r\n451 4.7.1 b\0"),
        (recipient(None), b'+', b"<a>\0"),
        (recipient(Some("NOTIFY=NEVER")), b'2', b"<a>\0NOTIFY=NEVER\0"),
        (Response::Modify(Modification::DeleteRecipient("<a>".into())), b'-', b"<a>\0"),
        (Response::Modify(Modification::ReplaceBody(Bytes::from_static(b"x\0"))), b'b', b"x\0"),
        (sender(None), b'e', b"<a>\0"),
        (sender(Some("RET=HDRS")), b'e', b"<a>\0RET=HDRS\0"),
        (add, b'h', b"X-A\0 b\n\tc\0"),
        (insert, b'i', b"\0\0\x01\x02X-A\0 b\n\tc\0"),
        (delete, b'm', b"\0\0\0\x01X-A\0\0"),
        (Response::Modify(Modification::Quarantine("virus".into())), b'q', b"virus\0"),
    ];
    for (response, code, data) in table {
        let mut out = BytesMut::new();
        response.encode(&mut out);
        assert_eq!(out, written(code, data), "{response:?}");
        assert_eq!(Response::parse(&packet(&out)).unwrap(), response);
    }
}

#[test]
fn what_is_no_response() {
    let wrong = |code: u8, expected| PacketError::Data { code, expected };
    let lines = "a reply code 4yz or 5yz, the same in each line";
    let table: [(u8, &[u8], PacketError); 14] = [
        (b'?', b"", PacketError::UnknownCode { code: b'?' }),
        (b'O', b"\0\0\0", wrong(b'O', "a version")),
        (b'O', b"\0\0\0\x06\0\0\0\0", wrong(b'O', "steps")),
        (b'O', b"\0\0\0\x06\0\0\0\0\0\0\0\0\0", wrong(b'O', "a stage")),
        (b'+', b"", wrong(b'+', "a path")),
        (b'i', b"\0\0\0", wrong(b'i', "an index")),
        (b'm', b"\0\0\0\x01", wrong(b'm', "a name")),
        (b'm', b"\0\0\0\x01a\0", wrong(b'm', "a value")),
        (b'h', b"a\0", wrong(b'h', "a value")),
        (b'y', b"", wrong(b'y', "a reply")),
        (b'y', b"250 fine\0", wrong(b'y', lines)),
        (b'y', b"55\0", wrong(b'y', "a reply code")),
        (b'y', b"550-a\r\n551 b\0", wrong(b'y', lines)),
        (b'y', b"550x\0", wrong(b'y', "a space behind the reply code")),
    ];
    for (code, data, error) in table {
        assert_eq!(Response::parse(&packet(&written(code, data))), Err(error), "{data:?}");
    }
}

#[test]
fn leniencies() {
    // A last string without its NUL, a reply whose last line is ended or followed by a hyphen, a reply without text.
    let parse = |code, data: &[u8]| Response::parse(&packet(&written(code, data))).unwrap();
    let reply = |lines: Vec<Text>| Response::Reply(ReplyCode::new(550, lines).unwrap());
    assert_eq!(parse(b'q', b"why"), Response::Modify(Modification::Quarantine("why".into())));
    assert_eq!(parse(b'y', b"550-no\r\n\0"), reply(vec!["no".into()]));
    assert_eq!(parse(b'y', b"550\0"), reply(vec!["".into()]));
    assert_eq!(parse(b'c', b"more"), Response::Continue);
    // Parameters as several strings.
    let added = Modification::AddRecipient { path: "<a>".into(), parameters: Some("A B".into()) };
    assert_eq!(parse(b'2', b"<a>\0A\0B\0"), Response::Modify(added));
    let connection = Command::parse(&packet(&written(b'C', b"x\x006\0\x19IPv6:::1\0"))).unwrap();
    let origin = Origin::V6(Ipv6Addr::LOCALHOST, 25);
    assert_eq!(connection, Command::Connect(Connection { name: "x".into(), origin }));
}

fn text() -> impl Strategy<Value = Text> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(Text::from)
}

fn texts() -> impl Strategy<Value = Vec<Text>> {
    proptest::collection::vec(text(), 0..4)
}

fn options() -> impl Strategy<Value = Options> {
    let stage = proptest::sample::select(MacroStage::ALL.to_vec());
    let macros = proptest::collection::vec((stage, text()), 0..4);
    (any::<u32>(), any::<u32>(), any::<u32>(), macros).prop_map(|(version, actions, steps, macros)| {
        let (actions, steps) = (Actions::from_bits(actions), Steps::from_bits(steps));
        Options { version, actions, steps, macros }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let envelope = || (text(), texts()).prop_map(|(path, parameters)| Envelope { path, parameters });
    let origin = prop_oneof![
        Just(Origin::Unknown),
        text().prop_map(Origin::Local),
        (any::<u32>(), any::<u16>()).prop_map(|(address, port)| Origin::V4(address.into(), port)),
        (any::<u128>(), any::<u16>()).prop_map(|(address, port)| Origin::V6(address.into(), port)),
    ];
    prop_oneof![
        options().prop_map(Command::Negotiate),
        (any::<u8>(), proptest::collection::vec((text(), text()), 0..4)).prop_map(|(c, m)| Command::Macros(c, m)),
        (text(), origin).prop_map(|(name, origin)| Command::Connect(Connection { name, origin })),
        text().prop_map(Command::Hello),
        text().prop_map(Command::Unknown),
        envelope().prop_map(Command::Mail),
        envelope().prop_map(Command::Recipient),
        (text(), text()).prop_map(|(name, value)| Command::Header { name, value }),
        octets().prop_map(Command::Body),
        octets().prop_map(Command::End),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let parameters = || proptest::option::of(text());
    let line = proptest::collection::vec(any::<u8>().prop_filter("a line", |o| !b"\0\r\n".contains(o)), 0..20);
    let lines = proptest::collection::vec(line.prop_map(Text::from), 1..4);
    let modification = prop_oneof![
        (text(), parameters()).prop_map(|(path, parameters)| Modification::AddRecipient { path, parameters }),
        text().prop_map(Modification::DeleteRecipient),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|octets| Modification::ReplaceBody(octets.into())),
        (text(), parameters()).prop_map(|(path, parameters)| Modification::ChangeSender { path, parameters }),
        (text(), text()).prop_map(|(name, value)| Modification::AddHeader { name, value }),
        (any::<u32>(), text(), text()).prop_map(|(index, name, value)| Modification::InsertHeader {
            index,
            name,
            value
        }),
        (any::<u32>(), text(), text()).prop_map(|(index, name, value)| Modification::ChangeHeader {
            index,
            name,
            value
        }),
        text().prop_map(Modification::Quarantine),
    ];
    prop_oneof![
        options().prop_map(Response::Negotiate),
        (400u16..600, lines).prop_map(|(code, lines)| Response::Reply(ReplyCode::new(code, lines).unwrap())),
        modification.prop_map(Response::Modify),
    ]
}

proptest! {
    #[test]
    fn commands_there_and_back(command in command()) {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        prop_assert_eq!(Command::parse(&packet(&out)).unwrap(), command);
    }

    #[test]
    fn responses_there_and_back(response in response()) {
        let mut out = BytesMut::new();
        response.encode(&mut out);
        prop_assert_eq!(Response::parse(&packet(&out)).unwrap(), response);
    }

    #[test]
    fn what_is_read_prints_and_reads_the_same(code in any::<u8>(), data in proptest::collection::vec(any::<u8>(), 0..60)) {
        let octets = Packet { code, data: data.into() };
        if let Ok(response) = Response::parse(&octets) {
            let mut out = BytesMut::new();
            response.encode(&mut out);
            prop_assert_eq!(Response::parse(&packet(&out)).unwrap(), response);
        }
        if let Ok(command) = Command::parse(&octets) {
            let mut out = BytesMut::new();
            command.encode(&mut out);
            prop_assert_eq!(Command::parse(&packet(&out)).unwrap(), command);
        }
    }
}
