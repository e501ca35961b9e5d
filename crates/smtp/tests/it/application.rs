//! The application of the tests: it decides by what addresses are called.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use smtp::server::{Config, Event, Mode, Server, Told};
use smtp::{Mechanism, Reply};
use wire::Secret;

use crate::drive::Driven;
use crate::smtp;

/// What the application has got, as a store would have.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) messages: Vec<Message>,
    open: Option<Message>,
    login: Vec<u8>,
    /// Early talkers are forgiven.
    pub(crate) patient: bool,
    /// What is answered instead of the usual: a part of the address, of the argument, of the mechanism or response, or
    /// `.` for the end of the content, `.` and a part of an address for that recipient's reply there; code and text.
    /// A 334 is a challenge.
    pub(crate) words: Vec<(String, u16, String)>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
    pub(crate) protocol: &'static str,
    pub(crate) pieces: usize,
    pub(crate) parameters: String,
}

impl Got {
    fn answer(&mut self, event: &Event) -> Option<Told> {
        if let Some(told) = self.words_for(event) {
            return Some(told);
        }
        let no = |code, text: &'static str| Some(Told::Reply(Reply::new(code, text)));
        match event {
            Event::Connected | Event::Data(_) => {}
            Event::EarlyTalker if self.patient => {}
            Event::EarlyTalker => return no(554, "5.5.1 you talk before you are greeted"),
            Event::Client(facts) => {
                let known = |address: &Option<smtp::Attribute<std::net::IpAddr>>| {
                    address.as_ref().and_then(|address| address.known().copied())
                };
                match known(&facts.address).map(|address| address.to_string()).as_deref() {
                    Some("192.0.2.66") => return no(554, "5.7.1 this client is not welcome"),
                    Some("192.0.2.67") => return no(501, "5.5.4 no such client"),
                    _ => {}
                }
            }
            Event::Verify(who) => match who.as_str() {
                "Crispin" => return no(250, "2.1.5 Mark Crispin <Admin.MRC@foo.com>"),
                "Nobody" => return no(550, "5.1.1 there is nobody of that name here"),
                _ => {}
            },
            Event::Expand(list) => match list.as_str() {
                "Example-People" => return no(250, "Jon Postel <Postel@isi.edu>\nFred <Fonebone@physics.foo-u.edu>"),
                _ => return no(550, "5.1.1 access denied to you"),
            },
            Event::Secured(_) | Event::AuthenticateCancelled | Event::Closed(_) => return None,
            Event::Reset => {
                self.open = None;
                return None;
            }
            Event::Hello(hello) => match hello.name.as_str() {
                "refused.example" => return no(550, "5.7.1 not you"),
                "gone.example" => return no(421, "4.3.2 come back later"),
                _ => {}
            },
            Event::Authenticate { mechanism, initial_response } => {
                self.login.clear();
                match (mechanism.as_str(), initial_response) {
                    ("PLAIN", Some(response)) => return Some(login(response)),
                    ("PLAIN", None) => return Some(Told::Challenge(Vec::new())),
                    ("ENDLESS", _) => return Some(Told::Challenge(b"again".to_vec())),
                    _ => return Some(Told::Challenge(b"Username:".to_vec())),
                }
            }
            Event::AuthenticateResponse(response) => {
                return Some(match response.expose() {
                    octets if octets.contains(&0) => login(response),
                    b"again" => Told::Challenge(b"again".to_vec()),
                    b"user" => Told::Challenge(b"Password:".to_vec()),
                    b"pass" => Told::Accept,
                    _ => Told::Reply(Reply::new(535, "5.7.8 wrong user or password")),
                });
            }
            Event::Mail(mail) => {
                let sender = mail.reverse_path.to_string();
                if sender.contains("refused") {
                    return no(550, "5.7.1 sender refused");
                }
                let (protocol, parameters) = (mail.protocol, mail.parameters.to_string());
                self.open = Some(Message { sender, protocol, parameters, ..Message::default() });
            }
            Event::Recipient(recipient) => {
                let path = recipient.forward_path.to_string();
                if path.contains("unknown") {
                    return no(550, "5.1.1 no such user here");
                }
                if path.contains("later") {
                    return no(451, "4.3.0 try again later");
                }
                if let Some(open) = &mut self.open {
                    open.recipients.push(path);
                }
            }
            Event::Content(piece) => {
                if let Some(open) = &mut self.open {
                    open.pieces += 1;
                    open.content.extend_from_slice(piece);
                    if open.content.windows(4).any(|octets| octets == b"STOP") {
                        return no(554, "5.7.1 no more of this");
                    }
                }
            }
            Event::ContentEnd { .. } => {
                let message = self.open.take().unwrap_or_default();
                if message.content.starts_with(b"virus") {
                    return no(550, "5.7.1 refused after a look at it");
                }
                let each = message.content.starts_with(b"each");
                let recipients = message.recipients.clone();
                self.messages.push(message);
                if each {
                    let reply = |path: &String| {
                        if path.contains("full") {
                            Reply::new(452, "4.2.2 mailbox full")
                        } else {
                            Reply::new(250, "2.1.5 delivered")
                        }
                    };
                    return Some(Told::Replies(recipients.iter().map(reply).collect()));
                }
                return no(250, "2.0.0 queued as 1");
            }
        }
        Some(Told::Accept)
    }

    fn words_for(&mut self, event: &Event) -> Option<Told> {
        let secret = |response: &Secret| String::from_utf8_lossy(response.expose()).into_owned();
        let of_recipient = |path: &str| {
            self.words
                .iter()
                .find(|(key, ..)| key.strip_prefix('.').is_some_and(|key| !key.is_empty() && path.contains(key)))
        };
        let subject = match event {
            Event::Verify(argument) | Event::Expand(argument) => argument.as_str().to_owned(),
            Event::Mail(mail) => mail.reverse_path.to_string(),
            Event::Recipient(recipient) => recipient.forward_path.to_string(),
            Event::Authenticate { initial_response: Some(response), .. } if !response.expose().is_empty() => {
                secret(response)
            }
            Event::Authenticate { mechanism, .. } => mechanism.as_str().to_owned(),
            Event::AuthenticateResponse(response) => secret(response),
            Event::ContentEnd { .. } => {
                let recipients = &self.open.as_ref()?.recipients;
                if recipients.iter().any(|path| of_recipient(path).is_some()) {
                    let reply = |path: &String| {
                        of_recipient(path).map_or(Reply::new(250, "2.1.5 delivered"), |(_, code, text)| {
                            Reply::new(*code, text.clone())
                        })
                    };
                    return Some(Told::Replies(recipients.iter().map(reply).collect()));
                }
                ".".to_owned()
            }
            _ => return None,
        };
        let is_end = matches!(event, Event::ContentEnd { .. });
        let fits = |key: &str| if is_end { key == "." } else { !key.starts_with('.') && subject.contains(key) };
        let (_, code, text) = self.words.iter().find(|(key, ..)| fits(key))?;
        Some(match code {
            235 => Told::Accept,
            334 => Told::Challenge(text.clone().into_bytes()),
            _ => Told::Reply(Reply::new(*code, text.clone())),
        })
    }
}

fn login(response: &Secret) -> Told {
    match response.expose() {
        b"\0user\0pass" => Told::Accept,
        _ => Told::Reply(Reply::new(535, "5.7.8 wrong user or password")),
    }
}

pub(crate) type Driver = Driven<Server>;

/// A server session with this application.
pub(crate) fn serve(config: Config) -> (Driver, Rc<RefCell<Got>>) {
    serve_with(config, |session, _| session)
}

/// As [`serve`], with a session that is told more.
pub(crate) fn serve_with(config: Config, more: impl FnOnce(Server, Instant) -> Server) -> (Driver, Rc<RefCell<Got>>) {
    let got = Rc::new(RefCell::new(Got::default()));
    let application = Rc::clone(&got);
    let driver = Driven::new(
        move |now| more(Server::new(Arc::new(config), now), now),
        |never| match never {},
        move |event| application.borrow_mut().answer(event),
    );
    (driver, got)
}

/// As [`serve`], the greeting and the reply to EHLO behind it.
pub(crate) fn greeted(config: Config) -> (Driver, Rc<RefCell<Got>>) {
    let hello = if config.mode == Mode::Lmtp { "LHLO" } else { "EHLO" };
    let (mut driver, got) = serve(config);
    driver.run();
    driver.feed(format!("{hello} client.example\r\n").as_bytes());
    driver.log.clear();
    (driver, got)
}

pub(crate) fn mechanisms(names: &[&str]) -> Vec<Mechanism> {
    names.iter().map(|name| Mechanism::try_from(*name).expect("a mechanism")).collect()
}
