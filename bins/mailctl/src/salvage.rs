//! A new index for a store that has lost its own.

use daemon::{Config, Error};
use serde_json::json;

use crate::args::Salvage;

pub(crate) fn run(args: &daemon::Args, as_json: bool, request: &Salvage) -> Result<(), Error> {
    let (_, config) = Config::find(args.config.as_deref())?;
    let found = admin::salvage(&config, request.replace)?;
    if as_json {
        println!(
            "{}",
            json!({
                "segments": found.segments,
                "torn": found.torn,
                "accounts": found.accounts,
                "messages": found.placed,
                "recovered": found.recovered,
                "queued": found.spooled,
                "lost": found.lost,
                "old_index": found.old,
            })
        );
        return Ok(());
    }
    println!("{} segments read, {} of them torn at the end or damaged", found.segments, found.torn);
    println!("{} accounts, {} messages in their mailboxes", found.accounts, found.placed);
    if found.recovered > 0 {
        println!("{} messages that nobody can place, in the account Recovered, which is disabled", found.recovered);
        println!(
            "to look at them: `mailctl account passwd Recovered` and `account enable Recovered`, then log in as Recovered"
        );
        println!("every UIDVALIDITY is new: clients fetch their mail again");
    }
    println!("{} recipients in the queue, on hold: see `mailctl queue list`, then `queue release`", found.spooled);
    println!("{} messages or recipients lost: their content is in no segment", found.lost);
    println!("the trace of messages, and what was remembered of other systems, is lost");
    if let Some(old) = found.old {
        println!("the old index is {}", old.display());
    }
    Ok(())
}
