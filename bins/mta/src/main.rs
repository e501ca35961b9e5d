//! The `mta` daemon: receives mail, takes it from our users, and delivers it.

use std::process::ExitCode;

use clap::Parser;
use daemon::{Error, Kind, Started, Unconfined};

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
        return started.check();
    }
    started
        .bind(&[Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp, Kind::Http])? // low ports, while still allowed to
        .confine(Unconfined::No)? // give up root before a stranger's first octet
        .run(
            async |context| {
                let system = admin::open(&context.config, true)?;
                smtp_server::start(context, system.store.clone(), system.directory.clone()).await?;
                Ok(system)
            },
            async |_| std::future::pending().await,
            async |system| system.store.close().await,
        )
}
