//! The queue and its stories, over a store of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use mailwright_admin::{Act, Acted, Selection, Wanted, act, list, show, summary, tell};
use queue::envelope::{Envelope, RecipientEnvelope};
use serde_json::Value;
use store::{
    Delivery, Embedded, NewBody, NewContent, NewSpool, NewSpoolRecipient, Options, SpoolState, Store as _, TraceEntry,
    TraceKey, ZonedTime,
};
use trace::Step;

struct Fixture {
    store: std::sync::Arc<Embedded>,
    _directory: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_octets: 1 << 20, min_free_octets: 0, ..Options::default() };
    Fixture { store: Embedded::open(directory.path(), &options).unwrap(), _directory: directory }
}

fn step(queue_id: &str, step: &Step, keys: &[&str]) -> TraceEntry {
    TraceEntry {
        queue_id: queue_id.into(),
        at: 1_800_000_000_000,
        recipient: None,
        kind: step.kind(),
        data: step.encode(),
        keys: keys.iter().map(|key| TraceKey::Address((*key).into())).collect(),
    }
}

impl Fixture {
    async fn queue(&self, queue_id: &str, sender: &str, recipients: impl IntoIterator<Item = String>) {
        let recipients = recipients.into_iter().map(|address| NewSpoolRecipient {
            destination: address.rsplit_once('@').unwrap().1.to_owned(),
            address,
            parameters: RecipientEnvelope::default().encode(),
            due: i64::MAX / 4,
        });
        let content = NewContent {
            head: Bytes::new(),
            body: NewBody::Memory(vec![Bytes::from_static(b"Subject: a\x1b\r\n b\r\n\r\nx")]),
            digest: Bytes::new(),
            thread: 0,
        };
        let accepted = Step::Judged { by: "test".into(), verdict: "accept".into(), why: queue_id.into() };
        self.store
            .deliver(Delivery {
                content,
                received: ZonedTime { unix: 0, offset_minutes: 0 },
                recipients: Vec::new(),
                spool: vec![NewSpool {
                    queue_id: queue_id.into(),
                    sender: sender.into(),
                    parameters: Envelope { mail: " BODY=8BITMIME".into(), ..Envelope::default() }.encode(),
                    recipients: recipients.collect(),
                }],
                trace: vec![step(queue_id, &accepted, &["ann@example.org"])],
            })
            .await
            .unwrap();
    }

    async fn listed(&self, selection: &Selection) -> Vec<Value> {
        let mut out = Vec::new();
        list(&*self.store, selection, None, true, &mut out).await.unwrap();
        serde_json::from_slice(&out).unwrap()
    }
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn pages_are_one_list_and_filters_fit_together() {
    let f = fixture();
    f.queue("q1", "ann@example.org", (0..1_203).map(|number| format!("u{number}@a.example"))).await;
    f.queue("q2", "", ["x@a.example".to_owned(), "x@b.example".to_owned()]).await;
    assert_eq!(f.listed(&Selection::default()).await.len(), 1_205);
    let on_a = Selection { domain: Some("A.example".into()), ..Selection::default() };
    let rows = f.listed(&on_a).await;
    let mut numbers: Vec<_> = rows.iter().map(|row| (row["id"].to_string(), row["number"].as_u64())).collect();
    assert!(numbers.len() == 1_204 && numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers.len(), 1_204, "each once");
    let reports = Selection { sender: Some("<>".into()), ..on_a.clone() };
    assert_eq!(f.listed(&reports).await[0]["recipient"], "x@a.example");
    let held = act(&*f.store, &Selection { id: Some("q1".into()), ..Selection::default() }, Act::Hold).await.unwrap();
    assert_eq!(held, Acted { recipients: 1_203, messages: 1, on_hold: 0 });
    assert_eq!(f.listed(&Selection { state: Some(SpoolState::Waiting), ..on_a.clone() }).await.len(), 1);
    let retried = act(&*f.store, &on_a, Act::Retry).await.unwrap();
    assert_eq!(retried, Acted { recipients: 1, messages: 1, on_hold: 1_203 });
    let released = act(&*f.store, &Selection::default(), Act::Release).await.unwrap();
    assert_eq!((released.recipients, released.messages), (1_203, 1));
    let mut out = Vec::new();
    list(&*f.store, &Selection::default(), Some(2), false, &mut out).await.unwrap();
    let out = text(out);
    assert!(out.starts_with("2 messages for 1205 recipients waiting and 0 on hold, 2 destinations"), "{out}");
    assert!(out.ends_with("-- 2 recipients of 1 messages\n"), "{out}");
    let mut out = Vec::new();
    summary(&*f.store, true, &mut out).await.unwrap();
    let numbers: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(numbers["largest"][0]["destination"], "a.example");
    assert!(list(&*f.store, &Selection { id: Some("q'1".into()), ..on_a }, None, true, &mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn one_message_is_shown_and_what_it_says_cannot_act() {
    let f = fixture();
    f.queue("q10", "ann@example.org", ["x@a.example".to_owned()]).await;
    f.queue("q11", "ann@example.org", ["x@a.example".to_owned()]).await;
    let mut out = Vec::new();
    let several = show(&*f.store, "q1", false, &mut out).await.unwrap_err().to_string();
    assert!(several.contains("q10 and q11"), "{several}");
    show(&*f.store, "q10", false, &mut out).await.unwrap();
    let shown = text(out);
    assert!(shown.contains(r"Subject:     a\u{1b} b"), "{shown}");
    assert!(shown.contains("parameters   BODY=8BITMIME") && shown.contains("recipient    x@a.example"), "{shown}");
    let mut out = Vec::new();
    show(&*f.store, "q10", true, &mut out).await.unwrap();
    let shown: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&shown["id"], &shown["recipients"][0]["attempts"]), (&Value::from("q10"), &Value::from(0)));
}

#[tokio::test]
async fn a_story_has_the_reports_it_caused() {
    let f = fixture();
    f.queue("q00000000001", "ann@example.org", ["x@a.example".to_owned()]).await;
    f.queue("q00000000002", "ann@example.org", ["x@a.example".to_owned()]).await;
    let reported =
        Step::Reported { action: "failed".into(), report: Some("q00000000003".into()), to: "ann@example.org".into() };
    let stored = Step::Stored {
        recipient: "ann@example.org".into(),
        account: "ann@example.org".into(),
        mailbox: "INBOX".into(),
    };
    f.store.trace(vec![step("q00000000001", &reported, &[]), step("q00000000003", &stored, &[])]).await.unwrap();
    let wanted = |what: &str, limit| Wanted { what: what.into(), since: None, limit };
    let mut out = Vec::new();
    tell(&*f.store, &wanted("<Ann@Example.org>", 10), false, &mut out).await.unwrap();
    let told = text(out);
    let second = told.find("q00000000002\n").unwrap();
    let first = told.find("\nq00000000001\n").unwrap();
    let report = told.find("\n  report q00000000003\n      20").unwrap();
    assert!(second < first && first < report, "the newest first: {told}");
    assert!(told.contains("in the queue for x@a.example: next try at"), "{told}");
    let mut out = Vec::new();
    tell(&*f.store, &wanted("ann@example.org", 1), true, &mut out).await.unwrap();
    let told: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert_eq!((told.len(), &told[0]["id"]), (1, &Value::from("q00000000002")));
    let mut out = Vec::new();
    tell(&*f.store, &wanted("q00000000001", 1), true, &mut out).await.unwrap();
    let told: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(told[0]["reports"][0]["steps"][0]["step"], "stored");
    assert!(tell(&*f.store, &wanted("q00000000009", 1), false, &mut Vec::new()).await.is_err());
}
