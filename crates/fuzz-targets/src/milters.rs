//! The milter protocol: packets there and back, and the mail system's side against arbitrary filters.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use milter::client::{Client, ClientConfig, Event, Stage, Step, Told};
use milter::{ClientLimits, Command, Connection, Envelope, Framer, Origin, Packet, Response};

/// Packets at arbitrary cuts equal packets in one piece; what is read prints, and reads the same.
pub(crate) fn packet(octets: &[u8]) {
    let Some((cut, octets)) = octets.split_first() else { return };
    let frame = |step: usize| {
        let mut framer = Framer::new(256);
        let mut found = Vec::new();
        for piece in octets.chunks(step) {
            let mut input = BytesMut::from(piece);
            loop {
                match framer.take(&mut input) {
                    Ok(Some(packet)) => found.push(packet),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
        (found, None)
    };
    let (packets, error) = frame(octets.len().max(1));
    assert_eq!(frame(usize::from(*cut).max(1)), (packets.clone(), error));
    for packet in packets {
        assert!(packet.data.len() <= 256);
        if let Ok(command) = Command::parse(&packet) {
            let mut out = BytesMut::new();
            command.encode(&mut out);
            assert_eq!(again(out).map(|packet| Command::parse(&packet)), Some(Ok(command)));
        }
        if let Ok(response) = Response::parse(&packet) {
            let mut out = BytesMut::new();
            response.encode(&mut out);
            assert_eq!(again(out).map(|packet| Response::parse(&packet)), Some(Ok(response)));
        }
    }
}

fn again(mut out: BytesMut) -> Option<Packet> {
    Framer::new(1 << 20).take(&mut out).ok().flatten()
}

/// A message told step by step, then another, to a filter that answers anything.
pub(crate) fn session(octets: &[u8]) {
    let limits = ClientLimits { packet_octets: 4096, modifications: 16, body_octets: 4096, ..ClientLimits::default() };
    let config = ClientConfig { limits, ..ClientConfig::default() };
    let mut messages = 0;
    crate::sessions::drive(Client::new(Arc::new(config), Instant::now()), octets, |event| {
        let envelope = || Envelope { path: "<a@b.example>".into(), parameters: Vec::new() };
        let step = match event {
            Event::Changes(changes) => {
                assert!(changes.len() <= 16 + 1);
                return None;
            }
            Event::Closed(_) => return None,
            Event::Ready(_) => Step::Connect(Connection { name: "x".into(), origin: Origin::Unknown }),
            Event::Answer(stage, _) => match stage {
                Stage::Connect => Step::Hello("c".into()),
                Stage::Hello => Step::Mail(envelope()),
                Stage::Mail => Step::Recipient { envelope: envelope(), refused: messages == 1 },
                Stage::Recipient => Step::Unknown("NOOP".into()),
                Stage::Unknown => Step::Data,
                Stage::Data => Step::Header { name: "A".into(), value: Bytes::from_static(b" b\r\n\tc") },
                Stage::Header => Step::EndOfHeader,
                Stage::EndOfHeader => Step::Body(Bytes::from_static(&[b'x'; 70_000])),
                Stage::Body => Step::End,
                Stage::End if messages == 1 => return Some(Told::Quit),
                Stage::End => {
                    messages += 1;
                    Step::Mail(envelope())
                }
            },
        };
        Some(Told::Step(step, vec![("i".to_owned(), "id".into())]))
    });
}
