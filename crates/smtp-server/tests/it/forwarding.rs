//! Aliases that lead elsewhere, and lists.

use trace::Step;

use crate::world::{World, id_in};

const MESSAGE: &str = "Subject: x\r\n\r\nhello";

#[tokio::test]
async fn forwarded_mail_has_a_sender_that_leads_back() {
    let world = World::new("").await;
    world.directory.add_alias("away@example.org", &["x@far.example".into()]).await.unwrap();
    let mut stranger = world.stranger().await;
    let id = id_in(&stranger.send("<y@other.example>", &["<away@example.org>"], MESSAGE).await);
    let queue = world.queue().await;
    let sender = queue[0].sender.clone();
    assert!(sender.starts_with("SRS0=") && sender.ends_with("=other.example=y@example.org"), "{sender}");
    assert_eq!(
        (queue[0].queue_id.as_str(), queue[0].facts.original.as_deref()),
        (id.as_str(), Some("away@example.org"))
    );
    // Only reports come back, and only to what was made here.
    let forged = sender.replacen("SRS0=", "SRS0=a", 1);
    for (mail, recipient, code) in
        [("<z@other.example>", &sender, "550 5.7.1"), ("<>", &forged, "550 5.1.1"), ("<>", &sender, "250")]
    {
        stranger.say(&format!("MAIL FROM:{mail}")).await;
        let told = stranger.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(told.starts_with(code), "{mail} {recipient}: {told}");
        stranger.say("RSET").await;
    }
    id_in(&stranger.send("<>", &[&format!("<{sender}>")], MESSAGE).await);
    let back = &world.queue().await[1];
    assert_eq!((back.sender.as_str(), back.recipient.as_str()), ("", "y@other.example"));
    // Our own senders stay, and so do those that would be too long.
    let mut ann = world.ann().await;
    id_in(&ann.send("<ann@example.org>", &["<away@example.org>"], "From: ann@example.org\r\n\r\nx").await);
    assert_eq!(world.queue().await[2].sender, "ann@example.org");
    let long = format!("{}@other.example", "y".repeat(60));
    let id = id_in(&stranger.send(&format!("<{long}>"), &["<away@example.org>"], MESSAGE).await);
    assert_eq!(world.queue().await[3].sender, long);
    let noted = |step: &Step| matches!(step, Step::Judged { by, .. } if by == "forward");
    assert!(world.story(&id).await.iter().any(noted));
}

#[tokio::test]
async fn lists_have_owners() {
    for verp in [false, true] {
        let world = World::new(&format!("[forwarding]\nverp = {verp}")).await;
        let members = ["x@far.example".to_owned(), "z@near.example".to_owned(), "bob@example.org".to_owned()];
        world.directory.add_alias("list@example.org", &members).await.unwrap();
        world.directory.add_alias("owner-list@example.org", &["ann@example.org".into()]).await.unwrap();
        let mut stranger = world.stranger().await;
        let recipients = ["<list@example.org> NOTIFY=SUCCESS", "<bob@example.org>"];
        let id = id_in(&stranger.send("<y@other.example> ENVID=e", &recipients, MESSAGE).await);
        let queue = world.queue().await;
        let mut senders: Vec<&str> = queue.iter().map(|row| row.sender.as_str()).collect();
        senders.sort_unstable();
        let expected = if verp {
            ["owner-list+x=far.example@example.org", "owner-list+z=near.example@example.org"]
        } else {
            ["owner-list@example.org"; 2]
        };
        assert_eq!(senders, expected);
        // The owner is told of failures; the author asked for no more than that.
        assert!(queue.iter().all(|row| row.envelope.client.is_none() && row.envelope.mail.is_empty()), "{queue:?}");
        assert!(queue.iter().all(|row| row.facts.rcpt.is_empty() && row.content.contains("hello")));
        let inbox = world.mailbox("bob@example.org", "INBOX").await;
        assert_eq!(inbox.len(), 1);
        assert!(inbox[0].starts_with("Return-Path: <owner-list@example.org>\r\n"), "{}", inbox[0]);
        // Each entry has its story, and the first tells of the others.
        for row in &queue {
            assert!(world.story(&row.queue_id).await.iter().any(|step| matches!(step, Step::Queued { .. })));
        }
        assert!(queue.iter().any(|row| row.queue_id == id));
        // A report to one of those senders goes to the owner.
        let to = format!("<{}>", senders[0]);
        id_in(&stranger.send("<>", &[&to], MESSAGE).await);
        assert_eq!(world.mailbox("ann@example.org", "INBOX").await.len(), 1);
    }
}
