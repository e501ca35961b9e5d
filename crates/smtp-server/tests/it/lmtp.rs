//! LMTP: a reply for each recipient, and each of them true (RFC 2033 §4.2).

use daemon::Kind;
use directory::ImportRow;

use crate::world::World;

#[tokio::test]
async fn a_mailbox_that_is_full_by_its_own_fields_fails_alone() {
    // In memory, and on disk.
    for octets in [1_000, 2 << 20] {
        let world = World::new("").await;
        let content = format!("Subject: x\r\n\r\n{}", "0123456789abcdef0123456789abcd\r\n".repeat(octets / 32));
        let content = content.trim_end();
        let mut client = world.client(Kind::Lmtp, "127.0.0.1").await;
        client.say("LHLO client.example").await;
        let sender = "<x@client.example>";
        let to = ["<ann@example.org>", "<bob@example.org>"];
        let told = client.send(sender, &to, content).await;
        assert_eq!(told.matches("250 2.0.0 ").count(), 2, "{told}");
        // Return-Path and Delivered-To are no part of what came, and count all the same.
        let stored = world.mailbox("bob@example.org", "INBOX").await[0].len() as u64;
        let row = |line, name: &str, quota| ImportRow {
            line,
            address: format!("{name}@example.org"),
            password: "{PLAIN}secret".into(),
            quota_octets: Some(quota),
        };
        world.directory.import(vec![row(1, "cyd", stored - 20), row(2, "dan", stored)]).await.unwrap();
        let to = ["<cyd@example.org>", "<ann@example.org>", "<dan@example.org>"];
        let told = client.send(sender, &to, content).await;
        let codes: Vec<&str> = told.lines().map(|line| line.get(..9).unwrap_or(line)).collect();
        assert_eq!(codes, ["452 4.2.2", "250 2.0.0", "250 2.0.0"], "{told}");
        for (name, messages) in [("ann", 2), ("bob", 1), ("cyd", 0), ("dan", 1)] {
            assert_eq!(world.mailbox(&format!("{name}@example.org"), "INBOX").await.len(), messages, "{name}");
        }
    }
}
