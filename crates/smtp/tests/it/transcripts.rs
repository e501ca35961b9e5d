//! Conversations as text, played per line and per octet.
//!
//! Line 1 is the section. `S:` what the server says, `C:` what the client says, `E:` an event by its name, `@ +5m` time
//! that passes; `T:` what the application tells; `!` `tls`, `eof`, `shutdown`; `%` settings; `A:` what the server's
//! application answers to whom or what, instead of its usual words. `\r`, `\n`, `\0`, `\s`, `\xHH`, `\\` in a line stand
//! for octets; `C>` and `S>` have no CRLF added.
//!
//! Files whose names begin with `rfc` are the examples of that RFC, line for line as far as it goes: our side says our
//! words, and a comment says where it does something else, and why.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smtp::client::{Client, ClientConfig, ClientMode, StartTls, Told, Transaction};
use smtp::server::{Config, Mode, Tarpit};
use smtp::{Command, HelloName, Leniency, MailParameters, UtcTime};
use wire::{Secret, Session};

use crate::application::{mechanisms, serve_with};
use crate::drive::{Did, Driven};
use crate::smtp;

#[derive(Clone, Copy, Debug)]
enum Cut {
    Line,
    Octet,
}

fn scripts(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("a script")))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    scripts
}

#[test]
fn server_transcripts() {
    for (name, script) in scripts("server") {
        for cut in [Cut::Line, Cut::Octet] {
            let set = |wanted: &str| settings(&script).find(|(name, _)| *name == wanted).map(|(_, value)| value);
            let clock = set("clock").map(|clock| UtcTime::from_unix(clock.parse().expect("a number")));
            let (driven, got) = serve_with(server_config(&script), |session, now| {
                let session = match clock {
                    Some(time) => session.with_clock(now, time),
                    None => session,
                };
                if set("trusted").is_some() { session.trusting_xclient() } else { session }
            });
            got.borrow_mut().patient = set("patient").is_some();
            got.borrow_mut().words = answers(&script);
            play(&format!("{name} {cut:?}"), &script, cut, 'C', driven, |_, line| {
                panic!("{line}: the server's application has no lines of its own")
            });
        }
    }
}

#[test]
fn client_transcripts() {
    for (name, script) in scripts("client") {
        for cut in [Cut::Line, Cut::Octet] {
            let config = client_config(&script);
            let driven = Driven::new(|now| Client::new(Arc::new(config), now), |body: Vec<u8>| body, |_| None);
            play(&format!("{name} {cut:?}"), &script, cut, 'S', driven, client_told);
        }
    }
}

/// Plays a script: lines of `peer` are fed, the other side's are expected.
fn play<S: Session>(
    name: &str,
    script: &str,
    cut: Cut,
    peer: char,
    mut driven: Driven<S>,
    told: impl Fn(&mut Driven<S>, &str),
) where
    S::Event: std::fmt::Debug,
{
    assert!(script.starts_with("# RFC ") || script.starts_with("# rule "), "{name}: line 1 is the section");
    let mut said: VecDeque<Did> = VecDeque::new();
    for (at, line) in script.lines().enumerate() {
        let place = format!("{name}:{}: {line}", at + 1);
        let (mark, rest) = line.split_at(line.len().min(2));
        let rest = rest.trim_start_matches(' ');
        let text = octets(rest, mark.ends_with(':'));
        match mark {
            "" | "# " | "#" | "% " | "A:" => {}
            _ if mark.starts_with(peer) => match cut {
                Cut::Line => driven.feed(&text),
                Cut::Octet => text.iter().for_each(|octet| driven.feed(&[*octet])),
            },
            "C:" | "S:" | "C>" | "S>" => {
                driven.run();
                collect(&mut driven, &mut said);
                expect_said(&place, &mut said, &text);
            }
            "E:" => {
                driven.run();
                collect(&mut driven, &mut said);
                expect_event(&place, &mut said, rest);
            }
            "@ " => driven.pass(duration(rest)),
            "T:" => told(&mut driven, rest),
            "! " => match rest {
                "tls" => {
                    collect(&mut driven, &mut said);
                    said.retain(|did| *did != Did::StartTls);
                    driven.tls();
                }
                "eof" => driven.eof(),
                "shutdown" => driven.shutdown(),
                "closed" => {
                    driven.run();
                    assert!(driven.closed, "{place}: still open");
                }
                "silent" => {
                    driven.run();
                    collect(&mut driven, &mut said);
                    let spoken = said.iter().find(|did| matches!(did, Did::Sent(_)));
                    assert_eq!(spoken, None, "{place}");
                }
                _ => panic!("{place}: unknown"),
            },
            _ => panic!("{place}: unknown"),
        }
    }
    driven.run();
    collect(&mut driven, &mut said);
    let left: Vec<_> = said.iter().filter(|did| matches!(did, Did::Sent(_))).collect();
    assert!(left.is_empty(), "{name}: unexpected at the end: {left:?}");
}

fn collect<S: Session>(driven: &mut Driven<S>, said: &mut VecDeque<Did>) {
    said.append(&mut driven.log);
}

fn expect_said(place: &str, said: &mut VecDeque<Did>, text: &[u8]) {
    let mut left = text;
    while !left.is_empty() {
        match said.front_mut() {
            Some(Did::Sent(octets)) => {
                let length = octets.len().min(left.len());
                let shown = String::from_utf8_lossy(octets).into_owned();
                assert_eq!(
                    octets[..length].escape_ascii().to_string(),
                    left[..length].escape_ascii().to_string(),
                    "{place}: said {shown:?}"
                );
                octets.drain(..length);
                left = &left[length..];
                if octets.is_empty() {
                    said.pop_front();
                }
            }
            Some(_) => {
                said.pop_front();
            }
            None => panic!("{place}: nothing said"),
        }
    }
}

fn expect_event(place: &str, said: &mut VecDeque<Did>, name: &str) {
    loop {
        match said.pop_front() {
            Some(Did::Event(event)) if event.contains(name) => return,
            Some(Did::Closed) if name == "Close" => return,
            Some(Did::Sent(octets)) => panic!("{place}: said {:?} before", String::from_utf8_lossy(&octets)),
            Some(_) => {}
            None => panic!("{place}: no such event"),
        }
    }
}

fn octets(text: &str, line: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            octets.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('0') => octets.push(0),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                octets.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            Some('s') => octets.push(b' '),
            other => octets.extend(other.map(|char| char as u8)),
        }
    }
    if line {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

fn duration(text: &str) -> Duration {
    let text = text.trim_start_matches('+');
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().expect("a number");
    match unit {
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        _ => panic!("{text}: no duration"),
    }
}

fn settings(script: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = script.lines().filter_map(|line| line.strip_prefix("% ")).flat_map(str::split_ascii_whitespace);
    words.map(|word| word.split_once('=').unwrap_or((word, "")))
}

/// `A: WHO-OR-WHAT CODE TEXT`.
fn answers(script: &str) -> Vec<(String, u16, String)> {
    let text = |text: &str| String::from_utf8(octets(text, false)).expect("UTF-8");
    let answer = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (key, code) = (words.next().expect("a key"), words.next().expect("a code"));
        (text(key), code.parse().expect("a code"), text(words.next().unwrap_or_default()))
    };
    script.lines().filter_map(|line| line.strip_prefix("A: ")).map(answer).collect()
}

fn server_config(script: &str) -> Config {
    let mode = settings(script).find(|(name, _)| *name == "mode").map_or("smtp", |(_, mode)| mode);
    let mode = match mode {
        "submission" => Mode::Submission,
        "lmtp" => Mode::Lmtp,
        _ => Mode::Smtp,
    };
    let name = settings(script).find(|(name, _)| *name == "name").map_or("mx.example", |(_, name)| name);
    let mut config = Config::new(mode, name);
    let mut tarpit = Tarpit { delay: Duration::ZERO, after_errors: 0, refused_recipients: false };
    for (name, value) in settings(script) {
        let number = || value.parse::<u64>().expect("a number");
        match name {
            "mode" | "name" => {}
            "starttls" => config.starttls = true,
            "require-tls" => config.require_tls = true,
            "auth" => config.mechanisms = mechanisms(&value.split(',').collect::<Vec<_>>()),
            "plaintext" => config.allow_plaintext_auth = true,
            "no-auth" => config.require_auth = false,
            "dsn" => config.dsn = true,
            "future-release" => config.future_release = Some(Duration::from_secs(number())),
            "deliver-by" => config.deliver_by = Some(Duration::from_secs(number())),
            "priority" => (config.mt_priority, config.priority_profile) = (true, Some(value.to_owned().into())),
            "requiretls" => config.offer_requiretls = true,
            "verify" => config.verify = true,
            "expand" => config.expand = true,
            "greeting-delay" => config.greeting_delay = Duration::from_secs(number()),
            "tarpit" => tarpit.delay = Duration::from_secs(number()),
            "after-errors" => tarpit.after_errors = number() as u32,
            "tarpit-recipients" => tarpit.refused_recipients = true,
            "clock" | "trusted" | "patient" => {}
            "no-chunking" => config.chunking = false,
            "no-smtputf8" => config.smtputf8 = false,
            "strict" => config.leniency = Leniency::strict(),
            "message" => config.limits.message_octets = number(),
            "drain" => config.limits.drain_octets = number(),
            "recipients" => config.limits.recipients = number() as usize,
            "errors" => config.limits.errors = number() as u32,
            "transactions" => config.limits.transactions = number() as u32,
            _ => panic!("{name}: no such setting"),
        }
    }
    config.tarpit = (!tarpit.delay.is_zero()).then_some(tarpit);
    config
}

fn client_config(script: &str) -> ClientConfig {
    let name = settings(script).find(|(name, _)| *name == "name").map_or("client.example", |(_, name)| name);
    let name = HelloName::try_from(name).expect("a name");
    let mut config = ClientConfig::new(ClientMode::Smtp, name);
    for (name, value) in settings(script) {
        match name {
            "name" => {}
            "lmtp" => config.mode = ClientMode::Lmtp,
            "tls" => {
                config.starttls = match value {
                    "required" => StartTls::Required,
                    "never" => StartTls::Never,
                    _ => StartTls::Opportunistic,
                }
            }
            "plaintext" => config.allow_plaintext_auth = true,
            "no-chunking" => config.chunking = false,
            "no-ahead" => config.pipeline_transactions = false,
            _ => panic!("{name}: no such setting"),
        }
    }
    config
}

/// `send FROM TO[,TO…] [8BITMIME|BINARYMIME|PARAMETER…] BODY`, `transaction MAIL… | RCPT… | BODY` in the words of the
/// commands, `quit`, `auth MECHANISM [RESPONSE]` where `""` is an empty one, `respond TEXT`, `cancel`.
fn client_told(driven: &mut Driven<Client<Vec<u8>>>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let told = match words.as_slice() {
        ["quit"] => Told::Quit,
        ["cancel"] => Told::CancelAuthentication,
        ["respond", text] => Told::Response(Secret::new(octets(text, false))),
        ["auth", mechanism, rest @ ..] => Told::Authenticate {
            mechanism: mechanisms(&[mechanism]).remove(0),
            initial_response: rest.first().map(|text| Secret::new(octets(text.trim_matches('"'), false))),
        },
        ["transaction", ..] => Told::Send(Box::new(commands(line.trim_start_matches("transaction ")))),
        ["send", from, to, rest @ ..] => {
            let mut text = rest;
            let mut line = "MAIL FROM:<>".to_owned();
            let mut parameters = MailParameters::default();
            while let Some((word, behind)) = text.split_first() {
                let word = word.replace("8BITMIME", "BODY=8BITMIME").replace("BINARYMIME", "BODY=BINARYMIME");
                let longer = format!("{line} {word}");
                match Command::parse(longer.as_bytes(), &Leniency::strict()) {
                    Ok(Command::Mail { parameters: more, .. }) => parameters = more,
                    _ => break,
                }
                (line, text) = (longer, behind);
            }
            let content = octets(&text.join(" "), false);
            Told::Send(Box::new(transaction(from, to, parameters, content)))
        }
        _ => panic!("{line}: the application cannot tell that"),
    };
    driven.tell(told);
}

fn commands(line: &str) -> Transaction<Vec<u8>> {
    let mut parts: Vec<&str> = line.split(" | ").collect();
    let body = octets(parts.pop().expect("a body"), false);
    let mut parts =
        parts.iter().map(|part| Command::parse(&octets(part, false), &Leniency::strict()).expect("a command"));
    let Some(Command::Mail { reverse_path, parameters }) = parts.next() else { panic!("{line}: MAIL comes first") };
    let recipient = |command| match command {
        Command::Rcpt { forward_path, parameters } => (forward_path, parameters),
        _ => panic!("{line}: RCPT comes next"),
    };
    let recipients = parts.map(recipient).collect();
    Transaction { reverse_path, parameters, recipients, octets: body.len() as u64, body }
}

pub(crate) fn transaction(from: &str, to: &str, parameters: MailParameters, body: Vec<u8>) -> Transaction<Vec<u8>> {
    let line = |text: String| Command::parse(text.as_bytes(), &Leniency::default()).expect("a command");
    let Command::Mail { reverse_path, .. } = line(format!("MAIL FROM:<{from}>")) else {
        unreachable!("MAIL is MAIL");
    };
    let recipient = |to: &str| match line(format!("RCPT TO:<{to}> NOTIFY=NEVER")) {
        Command::Rcpt { forward_path, parameters } => (forward_path, parameters),
        _ => unreachable!("RCPT is RCPT"),
    };
    Transaction {
        reverse_path,
        parameters,
        recipients: to.split(',').filter(|to| !to.is_empty()).map(recipient).collect(),
        octets: body.len() as u64,
        body,
    }
}
