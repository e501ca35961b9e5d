//! `kill -9` while mail comes in: what was answered 250 is there, once, octet for octet.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use mailwright_e2e::System;

const ROUNDS: usize = 20;
const SENDERS: usize = 6;

/// Sends messages until the connection breaks; those that were answered 250.
fn send(port: u16, round: usize, sender: usize, first: &mpsc::Sender<()>) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut acknowledged = Vec::new();
    let mut answer = |stream: &mut TcpStream, line: &str| -> std::io::Result<String> {
        stream.write_all(line.as_bytes())?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return Ok(line);
            }
        }
    };
    answer(&mut stream, "")?;
    answer(&mut stream, "EHLO client.example\r\n")?;
    for number in 0.. {
        let body = format!("{round}-{sender}-{number}-{}", "x".repeat(number * 37 % 3000));
        let step = (|| {
            answer(&mut stream, "MAIL FROM:<x@client.example>\r\n")?;
            answer(&mut stream, "RCPT TO:<ann@example.test>\r\n")?;
            answer(&mut stream, "DATA\r\n")?;
            answer(&mut stream, &format!("Subject: x\r\n\r\n{body}\r\n.\r\n"))
        })();
        match step {
            Ok(reply) if reply.starts_with("250") => {
                acknowledged.push(body);
                // The test counts on some having been answered before it kills.
                let _ = first.send(());
            }
            _ => return Ok(acknowledged),
        }
    }
    Ok(acknowledged)
}

#[test]
fn what_was_answered_250_is_there_once() {
    let system = System::new();
    let port = system.port(25);
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let mta = system.start("mta");
        let (first, answered) = mpsc::channel();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let first = first.clone();
                std::thread::spawn(move || send(port, round, sender, &first).unwrap_or_default())
            })
            .collect();
        for _ in 0..SENDERS + round {
            answered.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        }
        mta.kill();
        for sender in senders {
            all.extend(sender.join().unwrap());
        }
    }
    assert!(all.len() >= ROUNDS * SENDERS);
    let pop3d = system.start("pop3d");
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER ann@example.test", &["+OK"]);
    let count = pop3.ask("PASS ann-secret", &["+OK"]);
    let stat = pop3.ask("STAT", &["+OK"]);
    let count: usize = stat.split(' ').nth(1).unwrap_or(&count).parse().unwrap();
    let mut found = std::collections::HashMap::new();
    for number in 1..=count {
        let message = pop3.ask(&format!("RETR {number}"), &[".\r\n"]);
        let body = message.split_once("\r\n\r\n").unwrap().1.strip_suffix("\r\n.\r\n").unwrap().to_owned();
        *found.entry(body).or_insert(0) += 1;
    }
    for body in &all {
        assert_eq!(found.get(body), Some(&1), "{}", &body[..body.len().min(20)]);
    }
    // At most one message of each sender may have been stored without its answer having arrived.
    assert!(found.len() <= all.len() + ROUNDS * SENDERS);
    pop3.ask("QUIT", &["+OK"]);
    assert!(pop3d.stop());
}
