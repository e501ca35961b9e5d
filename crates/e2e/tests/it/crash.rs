//! `kill -9` while mail comes in: what was answered 250 is there, once, octet for octet.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use mailwright_e2e::{System, program, run};

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
    let found = bodies(&system);
    for body in &all {
        assert_eq!(found.get(body), Some(&1), "{}", &body[..body.len().min(20)]);
    }
    // At most one message of each sender may have been stored without its answer having arrived.
    assert!(found.len() <= all.len() + ROUNDS * SENDERS);
}

/// The bodies of the messages that ann has, and how often.
fn bodies(system: &System) -> HashMap<String, usize> {
    let pop3d = system.start("pop3d");
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER ann@example.test", &["+OK"]);
    pop3.ask("PASS ann-secret", &["+OK"]);
    let stat = pop3.ask("STAT", &["+OK"]);
    let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    let mut found = HashMap::new();
    for number in 1..=count {
        let message = pop3.ask(&format!("RETR {number}"), &[".\r\n"]);
        let body = message.split_once("\r\n\r\n").unwrap().1.strip_suffix("\r\n.\r\n").unwrap().to_owned();
        *found.entry(body).or_insert(0) += 1;
    }
    pop3.ask("QUIT", &["+OK"]);
    assert!(pop3d.stop());
    found
}

#[test]
fn a_damaged_index_is_made_anew_from_the_messages() {
    // rule 2
    let system = System::new();
    let mta = system.start("mta");
    let port = system.port(25);
    let (first, answered) = mpsc::channel();
    let sender = std::thread::spawn(move || send(port, 0, 0, &first).unwrap_or_default());
    for _ in 0..5 {
        answered.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }
    let config = system.config();
    let refused = |arguments: &[&str]| {
        let output = run(program("mailctl"), &[&["--config", &config], arguments].concat(), "");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, words) = refused(&["salvage", "--replace"]);
    assert!(status == 2 && words.contains("stop the daemons first"), "{words}");
    mta.kill();
    let acknowledged = sender.join().unwrap();
    for part in ["", "-wal"] {
        let path = system.path(&format!("data/v00/index.db{part}"));
        let octets = std::fs::metadata(&path).unwrap().len();
        std::fs::write(path, vec![b'?'; usize::try_from(octets).unwrap()]).unwrap();
    }
    let (status, words) = refused(&["account", "list"]);
    assert!(status == 1 && words.contains("`mailctl salvage --replace`"), "{words}");
    let (status, words) = refused(&["salvage"]);
    assert!(status == 2 && words.contains("index.db is there"), "{words}");
    let told: serde_json::Value =
        serde_json::from_str(&system.mailctl(&["salvage", "--replace", "--json"], "")).unwrap();
    assert_eq!((&told["lost"], &told["queued"]), (&0.into(), &0.into()), "{told}");
    assert!(told["old_index"].as_str().unwrap().ends_with("/v00/index.db.lost"), "{told}");
    assert!(system.mailctl(&["account", "list"], "").contains("bob@example.test"));
    let found = bodies(&system);
    assert_eq!(told["messages"], found.len());
    // The record of where the last one is may not have been written: then it is in `Recovered`, with one whose answer has not
    // arrived.
    let (last, others) = acknowledged.split_last().unwrap();
    for body in others {
        assert_eq!(found.get(body), Some(&1), "{}", &body[..body.len().min(20)]);
    }
    assert!(found.get(last) == Some(&1) || told["recovered"].as_u64().unwrap() > 0, "{told}");
    // The same in words, of an index that is gone.
    std::fs::remove_file(system.path("data/v00/index.db")).unwrap();
    let (status, words) = refused(&["account", "list"]);
    assert!(status == 2 && words.contains("the index is missing"), "{words}");
    let told = system.mailctl(&["salvage"], "");
    for words in [format!("{} messages in their mailboxes", found.len()), "0 recipients in the queue, on hold".into()] {
        assert!(told.contains(&words), "{words}: {told}");
    }
    assert_eq!(bodies(&system), found);
}
