//! The store alone: durable deliveries of 10 KB messages, and reading a mailbox of 100,000.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use digest::Digest;
use store::{
    AccountId, Delivery, Embedded, FlagNames, MailboxId, NewAccount, NewBody, NewContent, NewMessage, NewSpool,
    NewSpoolRecipient, Options, Recipient, Settlement, SpoolFilter, Store, TraceEntry, TraceKey, ZonedTime,
};

const MESSAGES: u64 = 100_000;

fn message(octets: usize) -> Bytes {
    let head = "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: a message of the benchmark\r\n\
                Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <1@example.org>\r\n\r\n";
    Bytes::from(format!("{head}{}", "a line of the body of this message\r\n".repeat(octets / 36)))
}

fn open(runtime: &tokio::runtime::Runtime, folder: &std::path::Path) -> (Arc<Embedded>, AccountId, MailboxId) {
    let store = Embedded::open(folder, &Options::default()).unwrap();
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = runtime.block_on(store.add_accounts(vec![new])).unwrap()[0];
    let inbox = runtime.block_on(store.mailbox(account, "INBOX")).unwrap().id;
    (store, account, inbox)
}

fn content(body: &Bytes, digest: &Bytes) -> NewContent {
    NewContent { head: Bytes::new(), body: NewBody::Memory(vec![body.clone()]), digest: digest.clone(), thread: 1 }
}

/// What an MTA traces of a message that it accepts: a step of 80 octets, found by Message-ID, sender and recipient.
fn accepted(number: u64) -> Vec<TraceEntry> {
    let keys = vec![
        TraceKey::MessageId(format!("<{number}@client.example>")),
        TraceKey::Address(format!("sender{}@client.example", number % 1_000)),
        TraceKey::Address("a@b".into()),
    ];
    let at = 1_700_000_000_000 + number.cast_signed();
    vec![TraceEntry { queue_id: format!("{number:016x}"), at, recipient: None, kind: 1, data: vec![0; 80], keys }]
}

fn deliver(criterion: &mut Criterion) {
    deliveries(criterion, "durable deliveries of 10 KB", false);
}

fn deliver_traced(criterion: &mut Criterion) {
    deliveries(criterion, "durable deliveries of 10 KB, traced", true);
}

/// Deliveries a second, all durable, by so many sessions at once.
fn deliveries(criterion: &mut Criterion, name: &str, traced: bool) {
    let number = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, account, _) = open(&runtime, folder.path());
    let body = message(10_000);
    let digest = Bytes::from(Digest::of(&body).encode());
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for sessions in [1_u64, 20, 100] {
        group.bench_function(format!("{sessions} sessions"), |bencher| {
            bencher.iter_custom(|count| {
                let began = Instant::now();
                runtime.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for session in 0..sessions {
                        let (store, body, digest) = (Arc::clone(&store), body.clone(), digest.clone());
                        let number = Arc::clone(&number);
                        let share = count / sessions + u64::from(session < count % sessions);
                        tasks.spawn(async move {
                            for _ in 0..share {
                                let recipient = Recipient {
                                    account,
                                    mailbox: None,
                                    prefix: Bytes::from_static(b"Return-Path: <x@client.example>\r\n"),
                                    flags: FlagNames::default(),
                                };
                                let delivery = Delivery {
                                    content: content(&body, &digest),
                                    received: ZonedTime::default(),
                                    recipients: vec![recipient],
                                    spool: Vec::new(),
                                    trace: if traced { accepted(number.fetch_add(1, Relaxed)) } else { Vec::new() },
                                };
                                store.deliver(delivery).await.unwrap();
                            }
                        });
                    }
                    tasks.join_all().await;
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

/// What SELECT and FETCH of a mailbox of 100,000 messages ask of the store.
fn read(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, _, inbox) = open(&runtime, folder.path());
    let body = message(500);
    let digest = Bytes::from(Digest::of(&body).encode());
    for _ in 0..MESSAGES / 1_000 {
        let message = || NewMessage {
            content: content(&body, &digest),
            received: ZonedTime::default(),
            flags: FlagNames::default(),
        };
        runtime.block_on(store.append(inbox, (0..1_000).map(|_| message()).collect())).unwrap();
    }
    let mut group = criterion.benchmark_group("mailbox of 100,000");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    group.bench_function("snapshot that is known", |bencher| {
        bencher.iter(|| runtime.block_on(store.snapshot(inbox)).unwrap());
    });
    group.bench_function("snapshot read anew", |bencher| {
        bencher.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let fresh = Embedded::open(folder.path(), &Options { listen: false, ..Options::default() }).unwrap();
                let began = Instant::now();
                runtime.block_on(fresh.snapshot(inbox)).unwrap();
                took += began.elapsed();
            }
            took
        });
    });
    group.bench_function("digests", |bencher| {
        bencher.iter(|| {
            let mut from = 1;
            loop {
                let rows = runtime.block_on(store.messages(inbox, vec![from..=u32::MAX], true, 500)).unwrap();
                match rows.last() {
                    Some(last) => from = last.uid + 1,
                    None => break,
                }
            }
        });
    });
    group.finish();
}

/// What a queue of 1,000,000 recipients for 10,000 destinations asks of the store.
fn queue(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, ..) = open(&runtime, folder.path());
    let body = message(500);
    for entry in 0..1_000_u64 {
        let recipient = |number: u64| {
            let destination = format!("host{}.remote.example", number * 10 + entry % 10);
            NewSpoolRecipient {
                address: format!("user{number}@{destination}"),
                destination,
                parameters: vec![0; 4],
                due: 1_700_000_000_000 + ((entry * 1_000 + number) % 77_777).cast_signed(),
            }
        };
        let spool = NewSpool {
            queue_id: format!("{entry:016x}"),
            sender: "list@b".into(),
            parameters: vec![0; 8],
            recipients: (0..1_000).map(recipient).collect(),
        };
        let delivery = Delivery {
            content: content(&body, &Bytes::new()),
            received: ZonedTime::default(),
            recipients: Vec::new(),
            spool: vec![spool],
            trace: Vec::new(),
        };
        runtime.block_on(store.deliver(delivery)).unwrap();
    }
    let mut group = criterion.benchmark_group("queue of 1,000,000 for 10,000 destinations");
    group.sample_size(10);
    group.bench_function("all destinations", |bencher| {
        bencher.iter(|| {
            let all = runtime.block_on(store.spool_destinations(None, 20_000)).unwrap();
            assert_eq!(all.len(), 10_000);
        });
    });
    group.bench_function("100 due of one", |bencher| {
        bencher.iter(|| {
            let due = runtime.block_on(store.spool_due(Some("host77.remote.example"), i64::MAX, 100)).unwrap();
            assert_eq!(due.len(), 100);
        });
    });
    group.bench_function("100 due of all", |bencher| {
        bencher.iter(|| runtime.block_on(store.spool_due(None, i64::MAX, 100)).unwrap());
    });
    group.bench_function("counts", |bencher| {
        bencher.iter(|| runtime.block_on(store.spool_counts(1_700_000_000_000, vec![60_000, 3_600_000], 20)).unwrap());
    });
    group.bench_function("100 listed of one destination", |bencher| {
        let filter = SpoolFilter { destination: Some("host77.remote.example".into()), ..SpoolFilter::default() };
        bencher.iter(|| runtime.block_on(store.spooled(filter.clone(), 100)).unwrap());
    });
    group.bench_function("none listed of a sender", |bencher| {
        let filter = SpoolFilter { sender: Some("nobody@b".into()), ..SpoolFilter::default() };
        bencher.iter(|| runtime.block_on(store.spooled(filter.clone(), 100)).unwrap());
    });
    group.bench_function("20 settled, each by itself", |bencher| {
        let all = SpoolFilter { destination: Some("host78.remote.example".into()), ..SpoolFilter::default() };
        let rows = runtime.block_on(store.spooled(all, 20)).unwrap();
        bencher.iter(|| {
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for mut row in rows.clone() {
                    row.attempts += 1;
                    let trace = vec![TraceEntry {
                        queue_id: row.queue_id.clone(),
                        at: 1_700_000_000_000,
                        recipient: Some(row.number),
                        kind: 2,
                        data: vec![0; 80],
                        keys: Vec::new(),
                    }];
                    let store = Arc::clone(&store);
                    let settlement = Settlement { updated: vec![row], trace, ..Settlement::default() };
                    tasks.spawn(async move { store.settle(settlement).await.unwrap() });
                }
                tasks.join_all().await;
            });
        });
    });
    group.finish();
}

criterion_group!(benches, deliver, deliver_traced, queue, read);
criterion_main!(benches);
