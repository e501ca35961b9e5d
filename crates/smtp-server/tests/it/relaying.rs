//! For whom mail goes on, and how it is written down.

use std::time::Duration;

use daemon::Kind;
use queue::envelope::RequireTls;
use trace::Step;

use crate::world::{World, id_in};

const MESSAGE: &str =
    "From: ann@example.org\r\nTo: x@far.example\r\nBcc: secret@far.example\r\nSubject: x\r\n\r\nhello";

#[tokio::test]
async fn rule_12_no_relay_for_strangers() {
    let world = World::new(
        "[smtp]\nrelay_networks = [\"203.0.113.0/24\", \"::/0\", \"0.0.0.0/1\"]\nbackup_domains = [{ domain = \"backup.example\" }]",
    )
    .await;
    world.directory.add_alias("away@example.org", &["x@far.example".into()]).await.unwrap();
    for (client, recipient, code) in [
        ("198.51.100.1", "<ann@example.org>", "250"),
        ("198.51.100.1", "<@example.org:ann@example.org>", "250"),
        ("198.51.100.1", "<postmaster>", "550"),
        ("198.51.100.1", "<away@example.org>", "250"),
        ("198.51.100.1", "<x@far.example>", "550"),
        ("198.51.100.1", "<x@far.example.>", "5"),
        ("198.51.100.1", "<@example.org:x@far.example>", "550"),
        ("198.51.100.1", "<x%far.example@example.org>", "550"),
        ("198.51.100.1", "<far.example!x@example.org>", "550"),
        ("198.51.100.1", "<\"x@far.example\"@example.org>", "550"),
        ("198.51.100.1", "<x@[192.0.2.9]>", "550"),
        ("198.51.100.1", "<ann@[127.0.0.1]>", "550"),
        ("198.51.100.1", "<x@backup.example>", "250"),
        ("198.51.100.1", "<x%far.example@backup.example>", "550"),
        ("198.51.100.1", "<x@sub.backup.example>", "550"),
        ("203.0.113.9", "<x@far.example>", "250"),
        ("::ffff:203.0.113.9", "<x@far.example>", "250"),
        ("127.0.0.1", "<x@far.example>", "550"),
        ("::1", "<x@far.example>", "550"),
    ] {
        let mut client = world.client(Kind::Smtp, client).await;
        client.say("EHLO client.example").await;
        client.say("MAIL FROM:<y@other.example>").await;
        let told = client.say(&format!("RCPT TO:{recipient}")).await;
        assert!(told.starts_with(code), "{recipient}: {told}");
    }
    // A NUL is no address, and AUTH is not for port 25.
    let mut client = world.stranger().await;
    client.say("MAIL FROM:<y@other.example>").await;
    assert!(client.say("RCPT TO:<x\0@example.org>").await.starts_with('5'));
    assert!(client.say("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=").await.starts_with('5'));
}

#[tokio::test]
async fn rule_6_mailboxes_and_queue_in_one_transaction() {
    let world = World::new("").await;
    let mut ann = world.ann().await;
    let told = ann
        .send(
            "<ann@example.org> RET=HDRS ENVID=e1 SIZE=100 HOLDFOR=60",
            &["<bob@example.org>", "<x@Far.Example> NOTIFY=FAILURE ORCPT=rfc822;x@far.example", "<y@[192.0.2.9]>"],
            MESSAGE,
        )
        .await;
    let id = id_in(&told);
    assert_eq!(world.mailbox("bob@example.org", "INBOX").await.len(), 1);
    let queue = world.queue().await;
    let rows: Vec<_> = queue.iter().map(|row| (row.recipient.as_str(), row.destination.as_str())).collect();
    assert_eq!(rows, [("x@Far.Example", "far.example"), ("y@[192.0.2.9]", "[192.0.2.9]")]);
    assert!(queue.iter().all(|row| row.queue_id == id && row.sender == "ann@example.org" && !row.held));
    let envelope = &queue[0].envelope;
    assert_eq!(envelope.mail, " RET=HDRS ENVID=e1");
    assert!(envelope.account.is_some() && envelope.hold_until.is_some() && !envelope.bounce);
    assert_eq!(queue[0].facts.rcpt, " NOTIFY=FAILURE ORCPT=rfc822;x@far.example");
    // rule 16: who is in Bcc is told to nobody.
    assert!(queue[0].content.contains("Subject: x\r\n") && !queue[0].content.contains("secret"));
    // rule 32
    assert!(queue[0].content.contains(&format!("\tid {id};\r\n")), "{}", queue[0].content);
    let told = world.told.lock().unwrap().clone();
    assert_eq!(told, [("[192.0.2.9]".to_owned(), 1), ("far.example".to_owned(), 1)]);
    let story = world.story(&id).await;
    let kinds: Vec<u8> = story.iter().map(Step::kind).collect();
    assert_eq!(kinds, [1, 2, 2, 3, 4, 4], "{story:?}");
    let found = world.store.traced(store::TraceKey::Address("x@far.example".into()), 0, 10).await.unwrap();
    assert_eq!(found, [id]);
}

#[tokio::test]
async fn what_the_content_asks_for() {
    let world = World::new("[extensions]\nmt_priority = true").await;
    let mut ann = world.ann().await;
    let content = "From: ann@example.org\r\nTLS-Required: no\r\n\r\nh\u{e9}llo";
    let told = ann.send("<ann@example.org> MT-PRIORITY=3 BY=120;R", &["<x@far.example>"], content).await;
    let id = id_in(&told);
    let queue = world.queue().await;
    let envelope = &queue[0].envelope;
    assert_eq!((envelope.require_tls, envelope.priority), (RequireTls::Ignore, 3));
    assert!(envelope.mail.starts_with(" BODY=8BITMIME"), "{}", envelope.mail);
    assert!(envelope.deliver_by.is_some());
    // A refusal of content has a story, too.
    let refused = ann.send("<ann@example.org>", &["<x@far.example>"], "From: y@far.example\r\n\r\nno").await;
    assert!(refused.starts_with("550 5.7.1 "), "{refused}");
    let found = world.store.traced(store::TraceKey::Address("ann@example.org".into()), 0, 10).await.unwrap();
    let other = found.iter().find(|found| **found != id).unwrap();
    let story = world.story(other).await;
    assert!(matches!(story.last(), Some(Step::Judged { verdict, .. }) if verdict == "reject"), "{story:?}");
    assert!(!story.iter().any(|step| matches!(step, Step::Accepted(_))));
}

#[tokio::test]
async fn rule_36_strangers_are_told_nothing() {
    let world = World::new("[smtp]\nrelay_networks = [\"203.0.113.0/24\"]").await;
    world.directory.add_alias("away@example.org", &["x@far.example".into()]).await.unwrap();
    let content = "Subject: x\r\n\r\nhello";
    let mut stranger = world.stranger().await;
    id_in(&stranger.send("<bob@example.org>", &["<away@example.org>"], content).await);
    let asked = "<ann@example.org> NOTIFY=SUCCESS";
    id_in(&stranger.send("<bob@example.org>", &[asked], content).await);
    assert!(world.mailbox("bob@example.org", "INBOX").await.is_empty(), "no report");
    let queue = world.queue().await;
    // Whoever runs the queue tells strangers nothing: a client, and no account.
    assert_eq!(queue[0].envelope.client.as_deref(), Some("198.51.100.1"));
    assert_eq!(queue[0].envelope.account, None);
    // A network of ours is no stranger, nor is who has logged in.
    let mut relay = world.client(Kind::Smtp, "203.0.113.9").await;
    relay.say("EHLO client.example").await;
    id_in(&relay.send("<bob@example.org>", &["<x@far.example>"], content).await);
    assert_eq!(world.queue().await[1].envelope.client, None);
    let mut ann = world.ann().await;
    let told = ann.send("<ann@example.org> BY=120;N", &["<bob@example.org> NOTIFY=SUCCESS"], MESSAGE).await;
    let id = id_in(&told);
    let reports = world.mailbox("ann@example.org", "INBOX").await;
    let report = reports.last().unwrap();
    assert!(report.contains("Action: delivered\r\n") && report.contains("bob@example.org"), "{report}");
    let status = queue::dsn::parse(report.as_bytes()).unwrap();
    let arrival = status.arrival_date.unwrap();
    assert_eq!(status.deliver_by_date, Some(arrival + jiff::SignedDuration::from_secs(120)));
    assert!(world.story(&id).await.iter().any(|step| matches!(step, Step::Reported { .. })));
}

#[tokio::test]
async fn rule_37_an_account_has_a_limit_a_day() {
    let world = World::new("[rates]\nrecipients_a_day = 2").await;
    let mut ann = world.ann().await;
    ann.say("MAIL FROM:<ann@example.org>").await;
    for (recipient, code) in [("bob@example.org", "250"), ("x@far.example", "250"), ("y@far.example", "4")] {
        let told = ann.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(told.starts_with(code), "{recipient}: {told}");
    }
}

#[tokio::test]
async fn rule_37_connections_of_an_address() {
    let world = World::new("[rates.address]\nconnections_per_minute = 2").await;
    for _ in 0..2 {
        world.client(Kind::Smtp, "198.51.100.1").await;
    }
    let refused = world.greeting("198.51.100.1").await;
    assert!(refused.starts_with("421 4.7."), "{refused}");
    world.client(Kind::Smtp, "198.51.100.2").await;
}

#[tokio::test]
async fn rule_37_a_backup_mx_knows_whom_the_domain_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipients");
    std::fs::write(&file, "# who is there\nX@backup.example\n\ny@backup.example\n").unwrap();
    let world = World::new(&format!(
        "[smtp]\nbackup_domains = [{{ domain = \"backup.example\", recipients_file = {file:?} }}]"
    ))
    .await;
    let mut stranger = world.stranger().await;
    stranger.say("MAIL FROM:<y@other.example>").await;
    for (recipient, code) in
        [("x@Backup.Example", "250 "), ("z@backup.example", "550 5.1.1 "), ("x@far.example", "550 5.7.1 ")]
    {
        let told = stranger.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(told.starts_with(code), "{recipient}: {told}");
    }
}

#[tokio::test]
async fn who_talks_early_is_known_and_who_errs_waits() {
    let world = World::new("[smtp]\ngreeting_delay_ms = 5000\ntarpit_ms = 20000\ntarpit_after_errors = 2").await;
    let mut client = world.early(Kind::Smtp, "198.51.100.1", "EHLO client.example\r\n").await;
    assert!(client.waited >= Duration::from_secs(5), "{:?}", client.waited);
    let id = id_in(&client.send("<y@other.example>", &["<bob@example.org>"], "Subject: x\r\n\r\nhello").await);
    let early = |step: &Step| matches!(step, Step::Judged { by, .. } if by == "greeting");
    assert!(world.story(&id).await.iter().any(early));
    client.say("MAIL FROM:<y@other.example>").await;
    for late in [false, false, true] {
        let before = client.waited;
        client.say("RCPT TO:<nobody@example.org>").await;
        assert_eq!(client.waited - before >= Duration::from_secs(20), late);
    }
    let strict = World::new("[smtp]\ngreeting_delay_ms = 5000\nrefuse_early_talkers = true").await;
    let client = strict.early(Kind::Smtp, "198.51.100.1", "EHLO client.example\r\n").await;
    assert!(client.greeting.starts_with("554 5.5.0 "), "{}", client.greeting);
}

#[tokio::test]
async fn what_is_offered_is_what_is_configured() {
    let world = World::new("").await;
    let mut ann = world.client(Kind::Submission, "192.0.2.7").await;
    let offer = ann.say("EHLO client.example").await;
    for word in ["DSN", "FUTURERELEASE", "DELIVERBY", "CHUNKING", "8BITMIME", "SMTPUTF8"] {
        assert!(offer.contains(word), "{word} is not in {offer}");
    }
    for word in ["MT-PRIORITY", "REQUIRETLS", "XCLIENT", "ETRN"] {
        assert!(!offer.contains(word), "{word} is in {offer}");
    }
    let off = "[extensions]\ndsn = false\ndeliver_by = false\nfuture_release_hours = 0\nmt_priority = true";
    let mut ann = World::new(off).await.client(Kind::Submission, "192.0.2.7").await;
    let offer = ann.say("EHLO client.example").await;
    assert!(offer.contains("MT-PRIORITY"));
    for word in ["DSN", "FUTURERELEASE", "DELIVERBY"] {
        assert!(!offer.contains(word), "{word} is in {offer}");
    }
}

#[tokio::test]
async fn what_a_clients_name_says_is_a_fact() {
    // rule 13
    let world = World::new("").await;
    let mut client = world.client(Kind::Smtp, "198.51.100.1").await;
    client.say("EHLO localhost").await;
    let id = id_in(&client.send("<y@other.example>", &["<bob@example.org>"], "Subject: x\r\n\r\nhello").await);
    let told =
        |step: &Step| matches!(step, Step::Judged { by, why, .. } if by == "client" && why.contains("helo-localhost"));
    assert!(world.story(&id).await.iter().any(told));
}

#[tokio::test]
async fn sizes_for_some() {
    let world = World::new("[policy]\nmessage_octets_for = [{ address = \"bob@example.org\", octets = 300 }]").await;
    let mut stranger = world.stranger().await;
    stranger.say("MAIL FROM:<y@other.example> SIZE=1000").await;
    assert!(stranger.say("RCPT TO:<bob@example.org>").await.starts_with("552 5.3.4 "));
    assert!(stranger.say("RCPT TO:<ann@example.org>").await.starts_with("250 "));
    stranger.say("RSET").await;
    let told = stranger.send("<y@other.example>", &["<bob@example.org>"], &"long\r\n".repeat(100)).await;
    assert!(told.starts_with("552 5.3.4 "), "{told}");
}

#[tokio::test]
async fn rule_12_what_xclient_says_decides() {
    let world = World::new("[smtp]\nrelay_networks = [\"203.0.113.0/24\"]\nxclient_networks = [\"192.0.2.1\"]").await;
    let mut proxy = world.client(Kind::Smtp, "192.0.2.1").await;
    assert!(proxy.say("EHLO proxy.example").await.contains("XCLIENT"));
    for (address, code) in
        [("203.0.113.5", "250"), ("198.51.100.1", "550"), ("127.0.0.1", "550"), ("[UNAVAILABLE]", "550")]
    {
        assert!(proxy.say(&format!("XCLIENT ADDR={address} HELO=c.example")).await.starts_with("220 "));
        proxy.say("EHLO proxy.example").await;
        proxy.say("MAIL FROM:<y@other.example>").await;
        let told = proxy.say("RCPT TO:<x@far.example>").await;
        assert!(told.starts_with(code), "{address}: {told}");
        proxy.say("RSET").await;
    }
    let mut stranger = world.stranger().await;
    assert!(stranger.say("XCLIENT ADDR=203.0.113.5").await.starts_with("5"));
}

#[tokio::test]
async fn who_is_told_who_is_here() {
    let world =
        World::new("[smtp]\nvrfy = \"trusted\"\nexpn = \"trusted\"\nrelay_networks = [\"203.0.113.0/24\"]").await;
    world.directory.add_alias("team@example.org", &["ann@example.org".into(), "x@far.example".into()]).await.unwrap();
    let mut stranger = world.stranger().await;
    assert!(stranger.say("VRFY ann@example.org").await.starts_with("252 "));
    assert!(stranger.say("VRFY nobody@example.org").await.starts_with("252 "));
    assert!(stranger.say("EXPN team@example.org").await.starts_with("502 "));
    let mut known = world.client(Kind::Smtp, "203.0.113.5").await;
    known.say("EHLO client.example").await;
    assert!(known.say("VRFY <ann@example.org>").await.starts_with("250 "));
    assert!(known.say("VRFY nobody@example.org").await.starts_with("550 5.1.1 "));
    let members = known.say("EXPN team@example.org").await;
    assert!(
        members.starts_with("250-") && members.contains("<ann@example.org>") && members.contains("<x@far.example>")
    );
}
