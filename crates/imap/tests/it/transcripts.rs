//! Both sessions by themselves, in conversations.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailwright_imap::client;
use mailwright_imap::server::{Config, Done, Event, Server, Then, Told};
use testkit::{Application, Settings, Side, octets, replay_folder};

#[test]
fn server_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/server");
    let session = |now, settings: &Settings| Server::new(Arc::new(server_config(settings)), now);
    replay_folder(folder, Side::Server, session, |settings: &Settings| Ann { deferred: settings.has("deferred") });
}

#[test]
fn client_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/client");
    let session = |now, settings: &Settings| client::Client::new(client_config(settings), now);
    replay_folder(folder, Side::Client, session, |_: &Settings| Reader);
}

fn server_config(settings: &Settings) -> Config {
    let mut config = Config::new("imap.example");
    let names = |value: &str| value.split(',').map(str::to_owned).collect();
    for (name, value) in settings.iter() {
        let number = || settings.number(name).unwrap_or_default();
        match name {
            "starttls" => config.starttls = true,
            "plaintext" => config.allow_plaintext_auth = true,
            "mechanisms" => config.mechanisms = names(value),
            "binding" => config.binding_mechanisms = names(value),
            "errors" => config.limits.errors = number() as u32,
            "failed-logins" => config.limits.failed_logins = number() as u32,
            "append-octets" => config.limits.append_octets = number(),
            "line-octets" => config.limits.line_octets = number() as usize,
            "implicit-tls" | "deferred" => {}
            _ => panic!("{name}: no such setting"),
        }
    }
    config.limits.heartbeat = Some(Duration::from_secs(120));
    config
}

fn client_config(settings: &Settings) -> client::Config {
    let mut config = client::Config::default();
    for (name, value) in settings.iter() {
        match (name, value) {
            ("tls", "never") => config.require_tls = false,
            ("response-octets", value) => config.response_octets = value.parse().unwrap_or_default(),
            ("implicit-tls", _) => {}
            _ => panic!("{name}: no such setting"),
        }
    }
    config
}

/// The application for `ann` with `secret`, who has one mailbox.
struct Ann {
    deferred: bool,
}

impl Ann {
    fn login(right: bool) -> Vec<Told<Bytes>> {
        let wrong = Done::no("wrong user name or password").code("AUTHENTICATIONFAILED");
        vec![if right { Told::Accept } else { Told::Refuse(wrong) }]
    }
}

impl Application<Server<Bytes>> for Ann {
    fn on_event(&mut self, event: Event) -> Vec<Told<Bytes>> {
        let done = || vec![Told::Reply(Vec::new(), Then::Done(Done::ok("done")))];
        match event {
            Event::Connected => vec![Told::Accept],
            _ if self.deferred => Vec::new(),
            Event::Login { user, password } => Self::login(user == "ann" && password.expose() == b"secret"),
            Event::Authenticate { initial_response: Some(response), .. } | Event::AuthenticateResponse(response) => {
                Self::login(response.expose() == b"\0ann\0secret")
            }
            Event::Authenticate { .. } => vec![Told::Challenge(Vec::new())],
            Event::Append { append, .. } if append.mailbox.as_ref().is_some_and(|name| name.as_str() != "INBOX") => {
                vec![Told::Refuse(Done::no("there is no such mailbox").code("TRYCREATE"))]
            }
            Event::Append { .. } | Event::AppendOctets(_) => vec![Told::Accept],
            Event::Command(..) | Event::More | Event::AppendEnd(_) | Event::Idle(_) | Event::IdleDone => done(),
            _ => Vec::new(),
        }
    }

    fn told(&mut self, text: &str) -> Vec<Told<Bytes>> {
        vec![match text.split_once(' ').unwrap_or((text, "")) {
            ("accept", _) => Told::Accept,
            ("done", _) => Told::Reply(Vec::new(), Then::Done(Done::ok("done"))),
            ("news", line) => Told::News(format!("{line}\r\n").into()),
            _ => panic!("{text}: the application cannot tell that"),
        }]
    }
}

/// Says what the script says.
struct Reader;

impl Application<client::Client<Bytes>> for Reader {
    fn on_event(&mut self, _: client::Event) -> Vec<client::Told> {
        Vec::new()
    }

    fn told(&mut self, text: &str) -> Vec<client::Told> {
        let words: Vec<&str> = text.split(' ').collect();
        vec![match words.as_slice() {
            ["command", line] => client::Told::Command(octets(line), Vec::new()),
            ["literal", line, literal] => client::Told::Command(octets(line), vec![(octets(literal), Vec::new())]),
            ["line", line] => client::Told::Line(octets(line)),
            ["quit"] => client::Told::Quit,
            _ => panic!("{text}: the application cannot tell that"),
        }]
    }
}
