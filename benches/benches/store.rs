//! The store alone: durable deliveries of 10 KB messages, and reading a mailbox of 100,000.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use digest::Digest;
use store::{
    AccountId, Delivery, Embedded, FlagNames, MailboxId, NewAccount, NewBody, NewContent, NewMessage, Options,
    Recipient, Store, ZonedTime,
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

/// Deliveries a second, all durable, by so many sessions at once.
fn deliver(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, account, _) = open(&runtime, folder.path());
    let body = message(10_000);
    let digest = Bytes::from(Digest::of(&body).encode());
    let mut group = criterion.benchmark_group("durable deliveries of 10 KB");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for sessions in [1_u64, 20, 100] {
        group.bench_function(format!("{sessions} sessions"), |bencher| {
            bencher.iter_custom(|count| {
                let began = Instant::now();
                runtime.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for session in 0..sessions {
                        let (store, body, digest) = (Arc::clone(&store), body.clone(), digest.clone());
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
                                    spool: None,
                                    trace: Vec::new(),
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

criterion_group!(benches, deliver, read);
criterion_main!(benches);
