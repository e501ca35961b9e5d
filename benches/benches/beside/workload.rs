//! What is measured.

use std::time::{Duration, Instant};

use mailwright_e2e::peers::postfix;
use mailwright_e2e::usage;

use crate::client::{Client, message};
use crate::contender::Contender;
use crate::report::{Better, Report};

const ROUNDS: usize = 3;

/// Measures both in turn, so that what disturbs one disturbs the other.
fn rounds(both: &mut [Contender; 2], mut measure: impl FnMut(&mut Contender) -> f64) -> [Vec<f64>; 2] {
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (contender, figures) in both.iter_mut().zip(&mut figures) {
            figures.push(measure(contender));
        }
    }
    figures
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e3
}

/// Mail from 20 sessions into one mailbox, until all of it is visible there.
pub(crate) fn inbound(report: &mut Report) {
    let mut both = Contender::both();
    let mut processor = [Vec::new(), Vec::new()];
    let rates = rounds(&mut both, |contender| {
        let ours = contender.name == "Mailwright";
        let messages = if ours { 20_000 } else { 2_000 };
        let mut reader = Client::imap(contender);
        let before = reader.messages();
        let processor_before = usage::processor(&contender.processes());
        let began = Instant::now();
        postfix::load(contender.smtp, 20, messages, 10_240);
        while reader.messages() < before + messages {
            std::thread::sleep(Duration::from_millis(5));
        }
        let rate = f64::from(messages) / began.elapsed().as_secs_f64();
        let spent = usage::processor(&contender.processes()).saturating_sub(processor_before);
        processor[usize::from(!ours)].push(spent.as_secs_f64() * 1_000.0 / f64::from(messages));
        rate
    });
    report.add("SMTP to mailbox, 10 KB, 20 sessions: messages/s", Better::More, &rates[0], &rates[1], "≥ 8 times");
    let [ours, peer] = &processor;
    report.add("the same: CPU seconds a 1,000 messages", Better::Less, ours, peer, "≥ 8 times");
}

const LARGE: u32 = 100_000;

fn filled(messages: u32, octets: usize) -> [Contender; 2] {
    let both = Contender::both();
    for contender in &both {
        let mut client = Client::imap(contender);
        let took = milliseconds(|| client.fill(messages, octets));
        eprintln!("{}: {messages} messages appended in {:.1} s", contender.name, took / 1e3);
        client.command("SELECT INBOX");
        client.command("FETCH 1:* ENVELOPE");
    }
    both
}

/// A mailbox of 100,000 messages, everything cached.
pub(crate) fn imap(report: &mut Report) {
    let mut both = filled(LARGE, 1_500);
    for command in ["SELECT INBOX", "FETCH 1:* (UID FLAGS)", "FETCH 1:* ENVELOPE"] {
        let times = rounds(&mut both, |contender| {
            let mut client = Client::imap(contender);
            if command != "SELECT INBOX" {
                client.command("SELECT INBOX");
            }
            milliseconds(|| {
                client.command(command);
            })
        });
        let what = format!("{command}, 100,000 messages, warm: ms");
        report.add(&what, Better::Less, &times[0], &times[1], "≥ 1 times");
    }
}

/// The same mailbox after a start on a machine that has nothing of it in memory; then also without the index files that
/// the peer keeps beside its messages.
pub(crate) fn cold(report: &mut Report) {
    let mut both = filled(LARGE, 1_500);
    for (how, forget, wanted) in [("cold", false, ""), ("cold, Dovecot's index files removed", true, "≥ 5 times")] {
        for (what, command) in [("log in and SELECT", None), ("FETCH 1:* ENVELOPE", Some("FETCH 1:* ENVELOPE"))] {
            let times = rounds(&mut both, |contender| {
                contender.stop();
                if forget {
                    contender.forget();
                }
                nix::unistd::sync();
                std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
                contender.start();
                let began = Instant::now();
                let mut client = Client::imap(contender);
                client.command("SELECT INBOX");
                let selected = began.elapsed();
                command.map_or(selected.as_secs_f64() * 1e3, |command| {
                    milliseconds(|| {
                        client.command(command);
                    })
                })
            });
            let what = format!("{what}, 100,000 messages, {how}: ms");
            report.add(&what, Better::Less, &times[0], &times[1], wanted);
        }
    }
}

/// Bodies of 10 KB, by IMAP and by POP3.
pub(crate) fn bodies(report: &mut Report) {
    const MESSAGES: u32 = 10_000;
    let mut both = filled(MESSAGES, 10_000);
    let rates = rounds(&mut both, |contender| {
        let mut client = Client::imap(contender);
        client.command("SELECT INBOX");
        f64::from(MESSAGES) * 1e3
            / milliseconds(|| {
                client.command("FETCH 1:* BODY.PEEK[]");
            })
    });
    report.add("FETCH BODY.PEEK[], 10 KB: messages/s", Better::More, &rates[0], &rates[1], "≥ 1 times");
    let rates = rounds(&mut both, |contender| {
        let mut client = Client::pop3(contender);
        let commands: Vec<String> = (1..=MESSAGES).map(|number| format!("RETR {number}\r\n")).collect();
        let began = Instant::now();
        for batch in commands.chunks(100) {
            client.say(batch.concat().as_bytes());
            client.multi_line(batch.len());
        }
        f64::from(MESSAGES) / began.elapsed().as_secs_f64()
    });
    report.add("POP3 RETR, pipelined by 100, 10 KB: messages/s", Better::More, &rates[0], &rates[1], "≥ 1 times");
}

/// Logged-in connections that wait, and the daemons at rest.
pub(crate) fn idle(report: &mut Report) {
    let both = Contender::both();
    let rest = |contender: &Contender| usage::memory(&contender.processes()) as f64 / 1e6;
    let (ours, peer) = (rest(&both[0]), rest(&both[1]));
    report.add("the daemons at rest: MB", Better::Less, &[ours], &[peer], "< 40 MB");
    let mut each = [Vec::new(), Vec::new()];
    for ((contender, connections), each) in both.iter().zip([2_000_u32, 200]).zip(&mut each) {
        // What the first logins bring with them is not the connections' own.
        drop((0..100).map(|_| Client::imap(contender)).collect::<Vec<_>>());
        let before = usage::memory(&contender.processes());
        let clients: Vec<Client> = (0..connections).map(|_| Client::imap(contender)).collect();
        let after = usage::memory(&contender.processes());
        each.push(after.saturating_sub(before) as f64 / f64::from(connections) / 1e3);
        drop(clients);
    }
    report.add("an idle IMAP connection: KB", Better::Less, &each[0], &each[1], "≤ 8 KB");
}

/// How long after its 250 a message shows itself to a client that idles.
pub(crate) fn push(report: &mut Report) {
    let mut both = Contender::both();
    let times = rounds(&mut both, |contender| {
        let mut reader = Client::imap(contender);
        reader.command("SELECT INBOX");
        reader.say(b"t IDLE\r\n");
        reader.read_line();
        let mut sender = Client::connect(contender.smtp);
        sender.say(b"HELO client.example\r\n");
        sender.read_line();
        let mut times: Vec<f64> = (0..20)
            .map(|number| {
                for line in ["MAIL FROM:<a@client.example>", "RCPT TO:<ann@example.test>", "DATA"] {
                    sender.say(format!("{line}\r\n").as_bytes());
                    sender.read_line();
                }
                sender.say(format!("{}.\r\n", message(number, 1_000)).as_bytes());
                assert!(sender.read_line().starts_with("250"));
                milliseconds(|| while !reader.read_line().contains("EXISTS") {})
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    report.add("EXISTS to an idling client after the 250: ms", Better::Less, &times[0], &times[1], "≤ 2 ms");
}

/// Logins with a password that is known already, by four clients at once.
pub(crate) fn login(report: &mut Report) {
    const EACH: u32 = 500;
    let mut both = Contender::both();
    let rates = rounds(&mut both, |contender| {
        let contender = &*contender;
        let count = if contender.name == "Mailwright" { EACH } else { EACH / 10 };
        let took = milliseconds(|| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..count).for_each(|_| drop(Client::imap(contender))));
                }
            });
        });
        f64::from(count) * 4.0 * 1e3 / took
    });
    report.add("IMAP connections and logins/s, 4 clients", Better::More, &rates[0], &rates[1], "≥ 2,000/s");
}

/// From the start of `imapd` to its `ready`, with a million messages stored.
pub(crate) fn start(report: &mut Report) {
    let mut ours = Contender::mailwright();
    let mut client = Client::imap(&ours);
    client.fill(1_000_000, 500);
    drop(client);
    let times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            ours.stop();
            milliseconds(|| ours.start())
        })
        .collect();
    report.add("start of all three to ready, 1,000,000 messages: ms", Better::Less, &times, &[], "< 100 ms");
}
