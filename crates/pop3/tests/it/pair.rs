//! Both sessions against each other, and against a model.

use std::sync::Arc;

use proptest::prelude::*;
use testkit::{Application, Did, Driver};
use wire::TlsFacts;

use crate::pop3::client::{self, Client, ClientConfig};
use crate::pop3::server::{Config, Event, Server, Told};
use crate::pop3::{Listed, MessageNumber, Password, TopCounter, UniqueId, UserName};

/// What the client is told to do.
#[derive(Clone, Copy, Debug)]
enum Do {
    Stat,
    List,
    ListOne(u32),
    UniqueIds,
    Retrieve(u32),
    Top(u32, u64),
    Delete(u32),
    Reset,
    Noop,
}

fn what() -> impl Strategy<Value = Do> {
    let number = || 1_u32..7;
    prop_oneof![
        Just(Do::Stat),
        Just(Do::List),
        number().prop_map(Do::ListOne),
        Just(Do::UniqueIds),
        number().prop_map(Do::Retrieve),
        (number(), 0_u64..4).prop_map(|(number, lines)| Do::Top(number, lines)),
        number().prop_map(Do::Delete),
        Just(Do::Reset),
        Just(Do::Noop),
    ]
}

struct Drop {
    messages: Vec<Vec<u8>>,
    committed: Vec<u32>,
}

impl Application<Server<Vec<u8>>> for Drop {
    fn on_event(&mut self, event: Event) -> Vec<Told<Vec<u8>>> {
        match event {
            Event::Login { user, password } => {
                assert_eq!((user.as_str(), password.expose()), ("mrose", &b"tan staaf"[..]));
                let listed = |(index, message): (usize, &Vec<u8>)| Listed {
                    octets: message.len() as u64,
                    unique_id: UniqueId::try_from(format!("id{index}").as_str()).unwrap(),
                };
                vec![Told::Maildrop(self.messages.iter().enumerate().map(listed).collect())]
            }
            Event::Retrieve { message, top, .. } => {
                let mut octets = self.messages[message.index()].clone();
                if let Some(lines) = top {
                    octets.truncate(TopCounter::new(lines).count(&octets));
                }
                vec![Told::Body(octets)]
            }
            Event::Commit { deleted } => {
                self.committed = deleted.into_iter().map(MessageNumber::number).collect();
                vec![Told::Done]
            }
            _ => Vec::new(),
        }
    }

    fn octets(&mut self, body: Vec<u8>) -> Vec<u8> {
        body
    }
}

/// Collects what the client hears, content joined.
struct Hearing(Vec<String>);

impl Application<Client> for Hearing {
    fn on_event(&mut self, event: client::Event) -> Vec<client::Told> {
        use client::Event;
        match event {
            Event::Ready { .. } | Event::LoggedIn(_) => {}
            Event::Content(piece) => {
                match self.0.last_mut() {
                    Some(last) if last.starts_with("content ") => last.push_str(&piece.escape_ascii().to_string()),
                    _ => self.0.push(format!("content {}", piece.escape_ascii())),
                }
                return vec![client::Told::More];
            }
            Event::ContentEnd { .. } => match self.0.last() {
                Some(last) if last.starts_with("content ") => self.0.push("end".to_owned()),
                _ => self.0.extend(["content ".to_owned(), "end".to_owned()]),
            },
            Event::Stat { messages, octets } => self.0.push(format!("stat {messages} {octets}")),
            Event::Sizes(sizes) => {
                self.0.extend(sizes.iter().map(|(message, octets)| format!("size {message} {octets}")));
            }
            Event::UniqueIds(ids) => self.0.extend(ids.iter().map(|(message, id)| format!("id {message} {id}"))),
            Event::ListingEnd => self.0.push("end".to_owned()),
            Event::Done(_) => self.0.push("done".to_owned()),
            Event::Refused(_) => self.0.push("refused".to_owned()),
            Event::Closed(result) => self.0.push(format!("{result:?}")),
            other => panic!("{other:?}"),
        }
        Vec::new()
    }
}

/// What the client must hear.
fn model(messages: &[Vec<u8>], dos: &[Do]) -> (Vec<String>, Vec<u32>) {
    let mut heard = Vec::new();
    let mut deleted = vec![false; messages.len()];
    for what in dos {
        let there = |number: u32, deleted: &[bool]| deleted.get(number as usize - 1) == Some(&false);
        let left = || (0..messages.len()).filter(|index| !deleted[*index]);
        // What every client receives ends its last line.
        let sent = |octets: &[u8]| {
            let end: &[u8] = if octets.is_empty() || octets.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            [octets, end].concat().escape_ascii().to_string()
        };
        match *what {
            Do::Stat => {
                heard.push(format!(
                    "stat {} {}",
                    left().count(),
                    left().map(|index| messages[index].len()).sum::<usize>()
                ));
            }
            Do::List => {
                heard.extend(left().map(|index| format!("size {} {}", index + 1, messages[index].len())));
                heard.push("end".to_owned());
            }
            Do::UniqueIds => {
                heard.extend(left().map(|index| format!("id {} id{index}", index + 1)));
                heard.push("end".to_owned());
            }
            Do::Noop => heard.push("done".to_owned()),
            Do::Reset => {
                deleted.fill(false);
                heard.push("done".to_owned());
            }
            Do::ListOne(number) | Do::Retrieve(number) | Do::Top(number, _) | Do::Delete(number)
                if !there(number, &deleted) =>
            {
                heard.push("refused".to_owned());
            }
            Do::ListOne(number) => {
                heard.push(format!("size {number} {}", messages[number as usize - 1].len()));
                heard.push("end".to_owned());
            }
            Do::Retrieve(number) => {
                heard.push(format!("content {}", sent(&messages[number as usize - 1])));
                heard.push("end".to_owned());
            }
            Do::Top(number, lines) => {
                let message = &messages[number as usize - 1];
                let length = TopCounter::new(lines).count(message);
                heard.push(format!("content {}", sent(&message[..length])));
                heard.push("end".to_owned());
            }
            Do::Delete(number) => {
                deleted[number as usize - 1] = true;
                heard.push("done".to_owned());
            }
        }
    }
    heard.push("Ok(())".to_owned());
    let committed = (1..).zip(&deleted).filter(|(_, deleted)| **deleted).map(|(number, _)| number).collect();
    (heard, committed)
}

fn told(what: Do) -> client::Told {
    let message = |number| MessageNumber::new(number).unwrap();
    match what {
        Do::Stat => client::Told::Stat,
        Do::List => client::Told::List(None),
        Do::ListOne(number) => client::Told::List(Some(message(number))),
        Do::UniqueIds => client::Told::UniqueIds(None),
        Do::Retrieve(number) => client::Told::Retrieve(message(number)),
        Do::Top(number, lines) => client::Told::Top { message: message(number), lines },
        Do::Delete(number) => client::Told::Delete(message(number)),
        Do::Reset => client::Told::Reset,
        Do::Noop => client::Told::Noop,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_client_hears_what_the_maildrop_holds(
        messages in proptest::collection::vec("(a|\\.|\\r\\n|\\r|\\n|\\r\\n\\.\\r\\n){0,12}".prop_map(String::into_bytes), 0..6),
        dos in proptest::collection::vec(what(), 0..30),
        cut in 1_usize..40,
    ) {
        let config = Config { stls: true, ..Config::new("mx") };
        let drop = Drop { messages: messages.clone(), committed: Vec::new() };
        let mut server = Driver::new(|now| Server::new(Arc::new(config), now), drop);
        let mut client = Driver::new(|now| Client::new(Arc::new(ClientConfig::default()), now), Hearing(Vec::new()));
        let mut begun = false;
        loop {
            let (from_server, from_client) = (server.take_sent(), client.take_sent());
            for piece in from_server.chunks(cut) {
                client.feed(piece);
            }
            for piece in from_client.chunks(cut) {
                server.feed(piece);
            }
            if client.log.contains(&Did::StartTls) && server.log.contains(&Did::StartTls) {
                client.log.retain(|did| *did != Did::StartTls);
                server.log.retain(|did| *did != Did::StartTls);
                server.tls(TlsFacts::default());
                client.tls(TlsFacts::default());
            } else if !begun && client.take_events().iter().any(|event| event.starts_with("Ready")) {
                begun = true;
                client.tell(client::Told::Login {
                    user: UserName::try_from("mrose").unwrap(),
                    password: Password::try_from(&b"tan staaf"[..]).unwrap(),
                });
                for what in &dos {
                    client.tell(told(*what));
                }
                client.tell(client::Told::Quit);
            } else if from_server.is_empty() && from_client.is_empty() {
                break;
            }
        }
        let (heard, committed) = model(&messages, &dos);
        prop_assert_eq!(&client.application.0, &heard);
        prop_assert_eq!(&server.application.committed, &committed);
        prop_assert!(server.is_closed() && client.is_closed());
    }
}
