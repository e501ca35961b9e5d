//! The `pop3d` daemon: lets mail clients fetch mail by POP3.

use std::process::ExitCode;

use clap::Parser;
use daemon::{Error, Kind, Started, Unconfined};

/// Lets mail clients fetch mail by POP3.
#[derive(Debug, Parser)]
#[command(name = "pop3d", version)]
struct Args {
    #[command(flatten)]
    daemon: daemon::Args,
}

fn main() -> ExitCode {
    daemon::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Error> {
    let started = Started::new("pop3d", &args.daemon)?; // unknown keys and bad values end here
    if args.daemon.check {
        return started.check();
    }
    started
        .bind(&[Kind::Pop3, Kind::Pop3s, Kind::Pop3dHttp])? // low ports, while still allowed to
        .confine(Unconfined::No)? // give up root before a stranger's first octet
        .run(
            async |context| {
                let system = admin::open(&context.config, true)?;
                pop3_server::start(context, system.store.clone(), system.directory.clone()).await?;
                Ok(system)
            },
            async |_| std::future::pending().await,
            async |system| system.store.close().await,
        )
}
