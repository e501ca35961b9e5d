//! The `imapd` daemon: lets mail clients read mail by IMAP.

use std::process::ExitCode;

use clap::Parser;
use daemon::{Error, Kind, Started, Unconfined};

/// Lets mail clients read mail by IMAP.
#[derive(Debug, Parser)]
#[command(name = "imapd", version)]
struct Args {
    #[command(flatten)]
    daemon: daemon::Args,
}

fn main() -> ExitCode {
    daemon::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Error> {
    let started = Started::new("imapd", &args.daemon)?; // unknown keys and bad values end here
    if args.daemon.check {
        return started.check();
    }
    started
        .bind(&[Kind::Imap, Kind::Imaps, Kind::ImapdHttp])? // low ports, while still allowed to
        .confine(Unconfined::No)? // give up root before a stranger's first octet
        .run(
            async |context| {
                let system = admin::open(&context.config, true)?;
                imap_server::start(context, system.store.clone(), system.directory.clone()).await?;
                Ok(system)
            },
            async |_| std::future::pending().await,
            async |system| system.store.close().await,
        )
}
