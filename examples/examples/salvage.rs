//! Rebuilds a lost or damaged index from the segments alone, while no daemon runs, as `mailctl salvage` does:
//!
//! ```text
//! cargo run --release -p mailwright-examples --example salvage -- /srv/mail/data
//! ```
//!
//! Run it as the owner of the data directory. The old index is kept beside the new one as `index.db.lost`; messages that
//! nobody can place go to a disabled account `Recovered`; queue entries come back on hold. Without an argument it shows
//! itself on a store of its own.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use store::{
    Delivery, Embedded, FlagNames, NewAccount, NewBody, NewContent, Options, Recipient, Store as _, ZonedTime, salvage,
};

fn main() -> anyhow::Result<()> {
    let own = tempfile::tempdir()?;
    let directory = match std::env::args_os().nth(1) {
        Some(directory) => PathBuf::from(directory),
        None => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(trouble(own.path()))?;
            own.path().to_owned()
        }
    };
    println!("{}", run(&directory)?);
    Ok(())
}

/// What was found in the segments.
pub(crate) fn run(directory: &Path) -> anyhow::Result<String> {
    let found = salvage(directory, &Options::default(), true)?;
    Ok(format!(
        "{} segments read, {} of them torn\n{} messages in their mailboxes, {} in Recovered\n{} recipients queued, on hold",
        found.segments, found.torn, found.placed, found.recovered, found.spooled
    ))
}

/// A store with one message, whose index is lost.
pub(crate) async fn trouble(directory: &Path) -> anyhow::Result<()> {
    let store = Embedded::open(directory, &Options { min_free_octets: 0, ..Options::default() })?;
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = store.add_accounts(vec![new]).await?[0];
    let body = NewBody::Memory(vec![Bytes::from_static(b"Subject: hello\r\n\r\n")]);
    let content = NewContent { head: Bytes::new(), body, digest: Bytes::new(), thread: 0 };
    let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
    let delivery = Delivery {
        content,
        received: ZonedTime::default(),
        recipients: vec![to],
        spool: Vec::new(),
        trace: Vec::new(),
    };
    store.deliver(delivery).await?;
    store.close().await;
    drop(store);
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let path = directory.join("v00").join(name);
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
