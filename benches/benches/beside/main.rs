//! Mailwright beside Postfix and Dovecot: the same loads in one run, on one disk, both durable (Postfix syncs its queue
//! files, Dovecot its Maildir; we sync segment and index before every answer).
//!
//! `cargo bench -p mailwright-benches --bench beside -- [SECTION ...] [--markdown FILE]`, after
//! `cargo build --release --bins`; needs root, as the peers do. Every figure is the median of alternating rounds.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on has failed")]

mod client;
mod contender;
mod fill;
mod load;
mod relay;
mod report;
mod workload;

use report::Report;

/// A section: its name, and what it measures.
type Section = (&'static str, fn(&mut Report));

const SECTIONS: &[Section] = &[
    ("smtp", workload::inbound),
    ("bodies", workload::bodies),
    ("imap", workload::imap),
    ("cold", workload::cold),
    ("idle", workload::idle),
    ("push", workload::push),
    ("login", workload::login),
    ("start", workload::start),
    ("relay", relay::relay),
    ("queue", relay::queue),
    ("sizes", relay::sizes),
];

fn main() {
    let mut wanted = Vec::new();
    let mut markdown = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What `cargo bench` itself adds.
            "--bench" => {}
            "--markdown" => markdown = arguments.next(),
            name => match SECTIONS.iter().find(|(section, _)| *section == name) {
                Some(section) => wanted.push(section),
                None => panic!(
                    "no section {name}; there are: {:?}",
                    SECTIONS.iter().map(|(name, _)| name).collect::<Vec<_>>()
                ),
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(SECTIONS);
    }
    let mut report = Report::default();
    for (name, section) in wanted {
        eprintln!("== {name}");
        section(&mut report);
    }
    if let Some(file) = markdown {
        std::fs::write(file, report.markdown()).unwrap();
    }
}
