//! An IMAP client: logs in and lists the messages of a mailbox. In clear, so for a server on this machine only.
//!
//! ```text
//! cargo run -p mailwright-examples --example imap_list -- 127.0.0.1:1143 ann@example.org PASSWORD INBOX
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Instant;

use imap::client::{Client, Config, Event, Told, quoted};
use imap::parse::{Response, StatusKind, Value};
use net::{Application, Driving, drive};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, user, password, mailbox] = &arguments[..] else {
        anyhow::bail!("usage: imap_list ADDRESS USER PASSWORD MAILBOX");
    };
    for line in list(address, user, password, mailbox).await? {
        println!("{line}");
    }
    Ok(())
}

/// A line for each message of the mailbox.
pub(crate) async fn list(address: &str, user: &str, password: &str, mailbox: &str) -> anyhow::Result<Vec<String>> {
    let mut commands = VecDeque::new();
    for (command, arguments) in [("LOGIN", vec![user, password]), ("EXAMINE", vec![mailbox])] {
        let mut line = command.as_bytes().to_vec();
        for argument in arguments {
            line.push(b' ');
            // What has octets beyond ASCII would go as a literal, which `Told::Command` takes as well.
            line.extend(quoted(argument).ok_or_else(|| anyhow::anyhow!("only ASCII here"))?);
        }
        commands.push_back(line);
    }
    commands.push_back(b"FETCH 1:* (UID ENVELOPE)".to_vec());

    let stream = TcpStream::connect(address).await?;
    anyhow::ensure!(stream.peer_addr()?.ip().is_loopback(), "this example has no TLS");
    let config = Config { require_tls: false, ..Config::default() };
    let (lines, mut listed) = mpsc::unbounded_channel();
    drive(stream.into(), Client::new(config, Instant::now()), Lister { commands, lines }, Driving::undrained()).await;
    let mut all = Vec::new();
    while let Some(line) = listed.recv().await {
        all.push(line?);
    }
    Ok(all)
}

struct Lister {
    commands: VecDeque<Vec<u8>>,
    lines: mpsc::UnboundedSender<anyhow::Result<String>>,
}

impl Application for Lister {
    type Session = Client<Infallible>;

    async fn on_event(&mut self, event: Event) -> Option<Told> {
        let line = match event {
            Event::Ready(_) | Event::Done { kind: StatusKind::Ok, .. } => {
                let next = self.commands.pop_front().map(|command| Told::Command(command, Vec::new()));
                return Some(next.unwrap_or(Told::Quit));
            }
            Event::Done { text, .. } => Err(anyhow::anyhow!("refused: {text}")),
            Event::Closed(Err(failure)) => Err(failure.into()),
            Event::Response(Response::Data { number: Some(number), name, values }) if name == "FETCH" => {
                Ok(summary(number, values.first().map_or(&[], Value::list)))
            }
            Event::Response(_) | Event::Closed(Ok(())) => return None,
        };
        let failed = line.is_err();
        // The receiver outlives the connection.
        let _ = self.lines.send(line);
        failed.then_some(Told::Quit)
    }
}

/// `12 (UID 345): subject — sender`, from the items of a FETCH response.
fn summary(number: u64, items: &[Value]) -> String {
    let item = |name: &str| {
        let at = items.iter().position(|item| item.text() == Some(name));
        at.and_then(|at| items.get(at + 1))
    };
    let uid = item("UID").and_then(Value::text).unwrap_or("?");
    let envelope = item("ENVELOPE").map_or(&[][..], Value::list);
    let text = |value: Option<&Value>| match value {
        Some(Value::String(octets)) => mime::text(octets),
        _ => String::new(),
    };
    // RFC 9051 §7.5.2: date, subject, from; an address is name, route, mailbox, host.
    let from = envelope.get(2).and_then(|from| from.list().first()).map_or(&[][..], Value::list);
    let sender = match text(from.first()) {
        name if name.is_empty() => format!("{}@{}", text(from.get(2)), text(from.get(3))),
        name => name,
    };
    format!("{number} (UID {uid}): {} \u{2014} {sender}", text(envelope.get(1)))
}
