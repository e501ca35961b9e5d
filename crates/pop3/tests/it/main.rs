//! Conversations, and both sessions against each other.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod application;
mod codec;
mod limits;
mod noise;
mod pair;

use std::path::Path;
use std::sync::Arc;

use mailwright_pop3 as pop3;
use pop3::client::{Client, ClientConfig, StartTls};
use pop3::server::{Config, Server};
use pop3::{Expire, Leniency, Mechanism};
use testkit::{Settings, Side, replay_folder};

use application::{Maildrop, Reader};

#[test]
fn server_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/server");
    let session = |now, settings: &Settings| Server::new(Arc::new(server_config(settings)), now);
    replay_folder(folder, Side::Server, session, Maildrop::new);
}

#[test]
fn client_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/client");
    let session = |now, settings: &Settings| Client::new(Arc::new(client_config(settings)), now);
    replay_folder(folder, Side::Client, session, |_: &Settings| Reader);
}

fn server_config(settings: &Settings) -> Config {
    let mut config = Config::new("dewey.example");
    for (name, value) in settings.iter() {
        let number = || settings.number(name).unwrap_or_default();
        match name {
            "stls" => config.stls = true,
            "plaintext" => config.allow_plaintext_auth = true,
            "no-user" => config.user = false,
            "no-utf8" => config.utf8 = false,
            "auth" => config.mechanisms = mechanisms(value),
            "implementation" => config.implementation = Some(value.to_owned().into()),
            "expire" => config.expire = Expire::Days(number() as u32),
            "strict" => config.leniency = Leniency::strict(),
            "bare-line-feed" => config.leniency.bare_line_feed = true,
            "errors" => config.limits.errors = number() as u32,
            "rounds" => config.limits.auth_rounds = number() as u32,
            "implicit-tls" | "deferred" | "commit-fails" | "messages" => {}
            _ => panic!("{name}: no such setting"),
        }
    }
    config
}

fn client_config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::default();
    for (name, value) in settings.iter() {
        match (name, value) {
            ("tls", "never") => config.stls = StartTls::Never,
            ("tls", "opportunistic") => config.stls = StartTls::Opportunistic,
            ("plaintext", _) => config.allow_plaintext_auth = true,
            ("implicit-tls", _) => {}
            _ => panic!("{name}: no such setting"),
        }
    }
    config
}

fn mechanisms(names: &str) -> Vec<Mechanism> {
    names.split(',').map(|name| Mechanism::try_from(name).unwrap()).collect()
}
