//! `mailctl`: sets up, runs and looks after a Mailwright system.

mod args;
mod directory;
mod password;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use daemon::Error;

use args::{Check, Cli, Command};

fn main() -> ExitCode {
    daemon::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<(), Error> {
    let daemon = daemon::Args { config: cli.config.clone(), log_format: None, check: false, quiet: false };
    match cli.command {
        Command::Serve(serve) => {
            let daemon = daemon::Args { log_format: serve.log_format, check: serve.check, ..daemon };
            serve::serve(&daemon)
        }
        Command::Quickstart(quickstart) => serve::quickstart(&quickstart),
        Command::Init(init) => serve::init(&init, cli.json),
        Command::Check(Check::Config) => serve::check_config(&daemon),
        Command::Check(Check::Store) => later("check store"),
        Command::Check(Check::Dns) => later("check dns"),
        Command::Account(account) => directory::run(&daemon, cli.json, directory::Request::Account(account)),
        Command::Alias(alias) => directory::run(&daemon, cli.json, directory::Request::Alias(alias)),
        Command::Domain(domain) => directory::run(&daemon, cli.json, directory::Request::Domain(domain)),
        Command::Queue(_) => later("queue"),
        Command::Backup(_) => later("backup"),
        Command::Import(_) => later("import"),
        Command::Export(_) => later("export"),
        Command::Trace(_) => later("trace"),
        Command::History(_) => later("history"),
        Command::Sendmail(_) => later("sendmail"),
        Command::Explain(_) => later("explain"),
    }
}

/// rule 34: commands of later parts say so.
fn later(command: &str) -> Result<(), Error> {
    Err(Error::Config(format!("`mailctl {command}` is not in this version")))
}
