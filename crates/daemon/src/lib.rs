//! What every daemon shares: configuration, logging, listeners, privileges, metrics, signals and the end.
//!
//! The types fix the order of events: [`Started`] → [`Bound`] → [`Confined`] → [`Confined::run`]. No thread and no runtime exists
//! before `Confined`, since a thread started earlier would escape the confinement.

mod config;
mod data;
mod drop_directory;
mod first_fetches;
mod http;
mod incoming;
mod landlock;
mod log;
mod memory;
mod outgoing;
mod process;

use std::path::PathBuf;
use std::process::ExitCode;

pub use config::{
    Auth, Certificate, Config, Http, Imap, Kind, Limits, Lmtp, Log, LogFormat, Place, Pop3, Sendmail, Store,
    Submission, TEMPLATE, Tls, networks,
};
pub use data::data_is_there;
pub use drop_directory::{LocalMail, make_drop};
pub use first_fetches::{Fetcher, FirstFetches};
pub use incoming::{
    BackupDomain, Extensions, Forwarding, Hook, Macros, Milter, OnFailure, Policy, Rate, Rates, SizeFor, Smtp, Tells,
};
pub use log::{Bursts, FailedLogin, start_log};
pub use memory::{Memory, Share};
pub use outgoing::{Delivery, Dns, Retry, RetryFor, Route, RouteAction, Routing, Shape};
pub use process::{Bound, Confined, Context, Started, Unconfined, become_user};

/// Why a command or a daemon ends without having done its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line or the configuration: exit status 2.
    #[error("{0}")]
    Config(String),
    /// The operation: exit status 1.
    #[error("{0}")]
    Failed(String),
}

/// One line to standard error, and the exit status that scripts rely on.
#[must_use]
pub fn exit(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Config(_)) { 2 } else { 1 })
        }
    }
}

/// The command line of a daemon.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "daemon")]
pub struct Args {
    /// Configuration file [default: $MAILWRIGHT_CONFIG, ./mailwright.toml, /etc/mailwright/mailwright.toml].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines look on standard error: text or json.
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,
    /// Read the configuration, try every file it names, and stop.
    #[arg(long)]
    pub check: bool,
    /// Log warnings and errors alone.
    #[arg(long)]
    pub quiet: bool,
}
