//! `kill -9` while mail passes through: what was answered 250 arrives, and arrives twice only where the reply to the end
//! of the message was lost or not yet written down.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mailwright_e2e::System;
use mailwright_e2e::sink::{Mood, Sink};

const SENDERS: usize = 6;

/// `MAILWRIGHT_ROUNDS`, else 20.
fn rounds() -> usize {
    std::env::var("MAILWRIGHT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

/// Sends messages until the connection breaks: those that were answered 250, and whether one more was on its way.
fn send(port: u16, round: usize, sender: usize, first: &mpsc::Sender<()>) -> (Vec<String>, Option<String>) {
    let mut acknowledged = Vec::new();
    let mut talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut ask = |lines: &str, answers: usize| -> std::io::Result<String> {
            stream.write_all(lines.as_bytes())?;
            let mut heard = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                heard += usize::from(line.as_bytes().get(3) == Some(&b' '));
                if heard == answers {
                    return Ok(line);
                }
            }
        };
        ask("", 1)?;
        ask("EHLO client.example\r\n", 1)?;
        for number in 0.. {
            let body = format!("{round}-{sender}-{number}-{}", "x".repeat(number * 37 % 3000));
            let envelope = "MAIL FROM:<x@client.example>\r\nRCPT TO:<y@sink.test>\r\nDATA\r\n";
            let step = ask(envelope, 3).and_then(|_| ask(&format!("Subject: x\r\n\r\n{body}\r\n.\r\n"), 1));
            match step {
                Ok(reply) if reply.starts_with("250") => {
                    acknowledged.push(body);
                    // The test counts on some having been answered before it kills.
                    let _ = first.send(());
                }
                _ => return Ok(body),
            }
        }
        unreachable!()
    };
    let doubtful = talk().ok();
    (acknowledged, doubtful)
}

#[test]
fn what_passes_through_arrives_although_its_relay_is_killed() {
    let system = System::relaying();
    system.set("smtp", "relay_networks", "[\"127.0.0.0/8\"]");
    system.set("delivery", "sessions_per_destination", "8");
    // At the end nothing goes wrong any more: a destination that closes connections would be left alone for a while.
    let calm = Arc::new(AtomicBool::new(false));
    let is_calm = Arc::clone(&calm);
    let sink = Sink::start(move |number| match number {
        _ if is_calm.load(Ordering::Relaxed) => Mood::Take,
        // Some replies are lost, some late: a kill between the two is what this is about.
        number if number % 97 == 50 => Mood::TakeInSilence,
        number if number % 5 == 0 => Mood::TakeSlowly(Duration::from_millis(5)),
        _ => Mood::Take,
    });
    system.route(&format!("recipient_domain = \"sink.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}", sink.port));
    let port = system.port(25);
    let (mut all, mut unanswered) = (Vec::new(), 0);
    for round in 0..rounds() {
        let mta = system.start("mta");
        let (first, answered) = mpsc::channel();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let first = first.clone();
                std::thread::spawn(move || send(port, round, sender, &first))
            })
            .collect();
        for _ in 0..SENDERS + round % 20 * 5 {
            answered.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        mta.kill();
        for sender in senders {
            let (acknowledged, one_more) = sender.join().unwrap();
            all.extend(acknowledged);
            unanswered += usize::from(one_more.is_some());
        }
    }
    calm.store(true, Ordering::Relaxed);
    let mta = system.start("mta");
    system.wait_until_queue_is_empty();
    let taken = sink.taken();
    let mut found: HashMap<String, usize> = HashMap::new();
    for message in &taken {
        let text = String::from_utf8_lossy(&message.octets);
        let body = text.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned();
        *found.entry(body).or_default() += 1;
    }
    for body in &all {
        assert!(found.contains_key(body), "lost: {}", &body[..body.len().min(20)]);
    }
    let twice: usize = found.values().map(|count| count - 1).sum();
    let (lost, in_doubt) = (sink.silent(), sink.doubtful());
    println!(
        "{} answered, {} arrived, {twice} of them again; {lost} replies lost, {in_doubt} in doubt after {} kills",
        all.len(),
        found.len(),
        rounds()
    );
    assert!(twice <= lost + in_doubt, "{twice} twice");
    // At most one message of each sender may have been stored without its answer having arrived.
    assert!(found.len() <= all.len() + unanswered, "{} of {}", found.len(), all.len());
    assert!(mta.stop());
}
