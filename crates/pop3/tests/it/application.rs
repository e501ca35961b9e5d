//! The applications of the transcripts.

use std::sync::Arc;

use testkit::{Application, Settings, octets};
use wire::Secret;

use crate::pop3::client::{self, Client};
use crate::pop3::server::{Event, Server, Told};
use crate::pop3::{Listed, MessageNumber, Password, Response, ResponseCode, TopCounter, UniqueId, UserName};

/// A maildrop for `mrose` with `tanstaaf`. The third message, if there is one, needs UTF8.
pub(crate) struct Maildrop {
    messages: Vec<Vec<u8>>,
    deferred: bool,
    commit_fails: bool,
}

impl Maildrop {
    pub(crate) fn new(settings: &Settings) -> Self {
        let texts = [
            "Subject: one\r\n\r\nHello.\r\n.\r\n..two dots\r\nend\r\n",
            "Subject: two\r\n\r\nno end",
            "Subject: drei \u{fc}\r\n\r\n",
        ];
        let many = (texts.len()..settings.number("messages").unwrap_or(2) as usize).map(|_| Vec::new());
        let messages = texts.iter().take(settings.number("messages").unwrap_or(2) as usize);
        Self {
            messages: messages.map(|text| text.as_bytes().to_vec()).chain(many).collect(),
            deferred: settings.has("deferred"),
            commit_fails: settings.has("commit-fails"),
        }
    }

    fn listed(&self) -> Arc<[Listed]> {
        let listed = |(index, message): (usize, &Vec<u8>)| Listed {
            octets: message.len() as u64,
            unique_id: UniqueId::try_from(format!("id{:04}", index + 1).as_str()).unwrap(),
        };
        self.messages.iter().enumerate().map(listed).collect()
    }

    fn login(&self, user: &str, password: &[u8]) -> Told<Vec<u8>> {
        match (user, password) {
            ("mrose", b"tanstaaf") => Told::Maildrop(self.listed()),
            ("locked", _) => Told::Refuse(Response::coded(ResponseCode::InUse, "another session has the maildrop")),
            _ => Told::Refuse(Response::coded(ResponseCode::Auth, "wrong name or password")),
        }
    }

    fn plain(&self, response: &[u8]) -> Told<Vec<u8>> {
        let mut parts = response.split(|octet| *octet == 0);
        let parts = (parts.next(), parts.next(), parts.next());
        let (Some(_), Some(user), Some(password)) = parts else { return self.login("", b"") };
        self.login(std::str::from_utf8(user).unwrap_or_default(), password)
    }

    fn message(&self, message: MessageNumber, top: Option<u64>, utf8: bool) -> Told<Vec<u8>> {
        if message.number() == 3 && !utf8 {
            return Told::Refuse(Response::coded(ResponseCode::Utf8, "this message needs UTF8"));
        }
        let mut octets = self.messages[message.index()].clone();
        if let Some(lines) = top {
            octets.truncate(TopCounter::new(lines).count(&octets));
        }
        Told::Body(octets)
    }
}

impl Application<Server<Vec<u8>>> for Maildrop {
    fn on_event(&mut self, event: Event) -> Vec<Told<Vec<u8>>> {
        if self.deferred {
            return Vec::new();
        }
        match event {
            Event::Login { user, password } => vec![self.login(&user, password.expose())],
            Event::Authenticate { mechanism, initial_response } => match (mechanism.as_str(), initial_response) {
                ("PLAIN", Some(response)) => vec![self.plain(response.expose())],
                ("PLAIN", None) => vec![Told::Challenge(Vec::new())],
                _ => vec![Told::Challenge(b"more".to_vec())],
            },
            Event::AuthenticateResponse(response) if response.expose() == b"again" => {
                vec![Told::Challenge(b"more".to_vec())]
            }
            Event::AuthenticateResponse(response) => vec![self.plain(response.expose())],
            Event::Retrieve { message, top, utf8 } => vec![self.message(message, top, utf8)],
            Event::Commit { .. } if self.commit_fails => {
                vec![Told::Refuse(Response::coded(ResponseCode::SysTemp, "some deleted messages not removed"))]
            }
            Event::Commit { .. } => vec![Told::Done],
            _ => Vec::new(),
        }
    }

    fn octets(&mut self, body: Vec<u8>) -> Vec<u8> {
        body
    }

    fn told(&mut self, text: &str) -> Vec<Told<Vec<u8>>> {
        let told = match text.split_once(' ').unwrap_or((text, "")) {
            ("login", _) => Told::Maildrop(self.listed()),
            ("refuse", text) => Told::Refuse(Response::err(text.to_owned())),
            ("done", _) => Told::Done,
            ("body", text) => Told::Body(octets(text)),
            ("mechanisms", names) => Told::Mechanisms(crate::mechanisms(names)),
            ("close", text) => Told::Close(Response::coded(ResponseCode::SysTemp, text.to_owned())),
            _ => panic!("{text}: the application cannot tell that"),
        };
        vec![told]
    }
}

/// Says what the script says; asks for more content at once.
pub(crate) struct Reader;

impl Application<Client> for Reader {
    fn on_event(&mut self, event: client::Event) -> Vec<client::Told> {
        match event {
            client::Event::Content(_) => vec![client::Told::More],
            _ => Vec::new(),
        }
    }

    fn told(&mut self, text: &str) -> Vec<client::Told> {
        use client::Told;
        let message = |number: &str| MessageNumber::new(number.parse().unwrap()).unwrap();
        let words: Vec<_> = text.split(' ').collect();
        let told = match words.as_slice() {
            ["login", user, password] => Told::Login {
                user: UserName::try_from(*user).unwrap(),
                password: Password::try_from(password.as_bytes()).unwrap(),
            },
            ["auth", name, rest @ ..] => Told::Authenticate {
                mechanism: crate::mechanisms(name).remove(0),
                initial_response: rest.first().map(|text| Secret::new(octets(text))),
            },
            ["respond", text] => Told::Respond(Secret::new(octets(text))),
            ["cancel"] => Told::Cancel,
            ["capa"] => Told::Capabilities,
            ["stat"] => Told::Stat,
            ["list"] => Told::List(None),
            ["list", number] => Told::List(Some(message(number))),
            ["uidl"] => Told::UniqueIds(None),
            ["uidl", number] => Told::UniqueIds(Some(message(number))),
            ["retr", number] => Told::Retrieve(message(number)),
            ["top", number, lines] => Told::Top { message: message(number), lines: lines.parse().unwrap() },
            ["dele", number] => Told::Delete(message(number)),
            ["noop"] => Told::Noop,
            ["rset"] => Told::Reset,
            ["utf8"] => Told::Utf8,
            ["quit"] => Told::Quit,
            _ => panic!("{text}: the application cannot tell that"),
        };
        vec![told]
    }
}
