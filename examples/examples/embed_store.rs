//! The store without any server: makes an account, delivers messages, reads them back.
//!
//! ```text
//! cargo run -p mailwright-examples --example embed_store [-- DIRECTORY]
//! ```

use std::path::Path;

use bytes::Bytes;
use digest::{Digest, DigestRef};
use store::{
    Delivery, Embedded, FlagNames, FlagOperation, Flags, NewAccount, NewBody, NewContent, Options, Recipient, Store,
    ZonedTime,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    for line in run(&directory).await? {
        println!("{line}");
    }
    Ok(())
}

/// A line for each message in the inbox, after one more was delivered.
pub(crate) async fn run(directory: &Path) -> anyhow::Result<Vec<String>> {
    let store = Embedded::open(directory, &Options::default())?;
    let key = "ann@example.org".to_owned();
    let account = match store.account_by_key(&key).await? {
        Some(account) => account.id,
        None => {
            let new = NewAccount { address: key.clone(), key, quota_octets: None, credentials: Vec::new() };
            store.add_accounts(vec![new]).await?.first().copied().ok_or_else(|| anyhow::anyhow!("no account"))?
        }
    };

    let message = Bytes::from_static(b"From: Bob <bob@example.net>\r\nSubject: Lunch\r\n\r\nAt noon?\r\n");
    let placed = store
        .deliver(Delivery {
            content: NewContent {
                head: Bytes::new(),
                digest: Digest::of(&message).encode().into(),
                thread: digest::thread(&message),
                body: NewBody::Memory(vec![message]),
            },
            received: ZonedTime { unix: 1_700_000_000, offset_minutes: 60 },
            recipients: vec![Recipient {
                account,
                mailbox: None,
                prefix: Bytes::from_static(b"Return-Path: <bob@example.net>\r\n"),
                flags: FlagNames::default(),
            }],
            spool: Vec::new(),
            trace: Vec::new(),
        })
        .await?;
    // It would survive a power cut from here on.

    let inbox = store.mailbox(account, "INBOX").await?.id;
    let uids: Vec<_> = placed.iter().map(|placed| placed.uid..=placed.uid).collect();
    let flagged = FlagNames { system: Flags::FLAGGED, keywords: Vec::new() };
    store.set_flags(inbox, uids, FlagOperation::Add, flagged, None).await?;

    let mut lines = Vec::new();
    for message in store.messages(inbox, vec![1..=u32::MAX], true, 1_000).await? {
        let preview = DigestRef::parse(&message.digest)?.preview().to_vec();
        let octets = store.body(&message).await?.whole(1 << 20).await?;
        let first = octets.split(|octet| *octet == b'\r').next().unwrap_or_default();
        lines.push(format!(
            "UID {}, {} octets, {}flagged, \"{}\"; begins with {}",
            message.uid,
            octets.len(),
            if message.flags.contains(Flags::FLAGGED) { "" } else { "not " },
            String::from_utf8_lossy(&preview),
            String::from_utf8_lossy(first),
        ));
    }
    store.close().await;
    Ok(lines)
}
