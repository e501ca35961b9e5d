//! The `mta` daemon: receives mail, takes it from our users, and delivers it.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use daemon::{Error, Kind, Started, Unconfined};
use smtp_server::Outgoing;

/// Receives mail, takes it from our users, and delivers it.
#[derive(Debug, Parser)]
#[command(name = "mta", version)]
struct Args {
    #[command(flatten)]
    daemon: daemon::Args,
}

fn main() -> ExitCode {
    daemon::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Error> {
    let started = Started::new("mta", &args.daemon)?; // unknown keys and bad values end here
    if args.daemon.check {
        delivery::check(started.config())?;
        smtp_server::check(started.config())?;
        admin::check(started.config())?;
        return started.check();
    }
    started
        .bind(&[Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp, Kind::Http])? // low ports, while still allowed to
        .confine(Unconfined::No)? // give up root before a stranger's first octet
        .run(
            async |context| {
                let system = admin::open(&context.config, true)?;
                let office = delivery::start(context, system.store.clone(), system.directory.clone())?;
                let table = Arc::clone(&office);
                let outgoing = Outgoing::new(move |destination, rows| office.fresh(destination, rows))
                    .refusing(move |sender, recipient| table.refusal(sender, recipient));
                smtp_server::start(context, system.store.clone(), system.directory.clone(), Some(outgoing)).await?;
                Ok(system)
            },
            async |_| std::future::pending().await,
            async |system| system.store.close().await,
        )
}
