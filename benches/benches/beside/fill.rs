//! A queue as it is after a bad day.

use std::path::Path;

use queue::envelope::{Envelope, RecipientEnvelope};
use store::{Delivery, Embedded, NewBody, NewContent, NewSpool, NewSpoolRecipient, Options, Store as _, ZonedTime};

/// Queues so many recipients for each of so many destinations: a tenth of them due now and dead, the others in an hour.
pub(crate) fn fill(data: &Path, destinations: u32, recipients: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { min_free_octets: 0, listen: false, ..Options::default() };
        let store = Embedded::open(data, &options).unwrap();
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let mut deliveries = tokio::task::JoinSet::new();
        for number in 0..destinations * recipients / 100 {
            let store = store.clone();
            let message = crate::client::message(number, 1_024);
            deliveries
                .spawn(async move { store.deliver(delivery(number, destinations, now, message)).await.map(|_| ()) });
            if deliveries.len() >= 200 {
                deliveries.join_next().await.unwrap().unwrap().unwrap();
            }
        }
        while let Some(done) = deliveries.join_next().await {
            done.unwrap().unwrap();
        }
        store.close().await;
    });
}

/// A message for a hundred destinations.
fn delivery(number: u32, destinations: u32, now: i64, message: String) -> Delivery {
    let recipients = (0..100)
        .map(|at| {
            let destination = (number * 100 + at) % destinations;
            let dead = destination.is_multiple_of(10);
            let domain = if dead { format!("d{destination}.dead.test") } else { format!("w{destination}.sink.test") };
            NewSpoolRecipient {
                address: format!("r{number}@{domain}"),
                destination: domain,
                parameters: RecipientEnvelope::default().encode(),
                due: if dead { now } else { now + 3_600_000 },
            }
        })
        .collect();
    let spool = NewSpool {
        queue_id: format!("{number:015}"),
        sender: "sender@source.test".into(),
        parameters: Envelope::default().encode(),
        recipients,
    };
    Delivery {
        content: NewContent {
            head: bytes::Bytes::new(),
            digest: digest::Digest::of(message.as_bytes()).encode().into(),
            body: NewBody::Memory(vec![message.into()]),
            thread: 0,
        },
        received: ZonedTime { unix: now / 1_000, offset_minutes: 0 },
        recipients: Vec::new(),
        spool: vec![spool],
        trace: Vec::new(),
    }
}
