//! `mailctl`: sets up, runs and looks after a Mailwright system.

mod args;
mod directory;
mod explain;
mod password;
mod queue;
mod salvage;
mod serve;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use daemon::Error;

use args::{Check, Cli, Command};

fn main() -> ExitCode {
    // rule 29: a link named sendmail, mailq or newaliases is that command, whose exit status is another.
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if admin::SENDMAIL_NAMES.contains(&name) {
        return admin::sendmail(name, None, arguments.collect());
    }
    let arguments: Vec<OsString> = arguments.collect();
    if let Some((config, rest)) = sendmail(&arguments) {
        return admin::sendmail("sendmail", config, rest);
    }
    daemon::exit(run(Cli::parse()))
}

/// `mailctl [--config FILE] [--json] sendmail …`: the configuration and all that follows, as it stands, a `--` in front too,
/// which the parser of all other commands would take for its own.
fn sendmail(arguments: &[OsString]) -> Option<(Option<PathBuf>, Vec<OsString>)> {
    let mut config = None;
    let mut rest = arguments;
    loop {
        let (first, behind) = rest.split_first()?;
        rest = match first.to_str()? {
            "sendmail" => return Some((config, behind.to_vec())),
            "--json" => behind,
            "--config" => {
                let (path, behind) = behind.split_first()?;
                config = Some(path.into());
                behind
            }
            other => {
                config = Some(other.strip_prefix("--config=")?.into());
                behind
            }
        };
    }
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
        Command::Queue(request) => queue::run(&daemon, cli.json, &queue::Request::Queue(request)),
        Command::Backup(_) => later("backup"),
        Command::Import(_) => later("import"),
        Command::Export(_) => later("export"),
        Command::Trace(request) => queue::run(&daemon, cli.json, &queue::Request::Trace(request)),
        Command::Salvage(request) => salvage::run(&daemon, cli.json, &request),
        Command::History(_) => later("history"),
        // Its arguments are its own to read, and were.
        Command::Sendmail(_) => Err(Error::Config("expected mailctl [--config FILE] sendmail …".into())),
        Command::Explain(request) => explain::run(&daemon, cli.json, &request),
    }
}

/// rule 34: commands of later parts say so.
fn later(command: &str) -> Result<(), Error> {
    Err(Error::Config(format!("`mailctl {command}` is not in this version")))
}

/// What the commands run on.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("runtime: {error}")))
}
