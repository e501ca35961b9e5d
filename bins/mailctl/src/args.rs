//! The command line of `mailctl`, as CONTRACT fixes it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sets up, runs and looks after a Mailwright system.
#[derive(Debug, Parser)]
#[command(name = "mailctl", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Configuration file [default: $MAILWRIGHT_CONFIG, ./mailwright.toml, /etc/mailwright/mailwright.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print data as JSON, one stable shape for scripts.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try the whole system on an empty machine: set up, send a message, read it back, keep serving.
    Quickstart(Quickstart),
    /// Create a configuration, a data directory and a TLS certificate.
    Init(Init),
    /// Run all daemons in one process.
    Serve(Serve),
    /// Accounts: who can log in and receive mail.
    #[command(subcommand)]
    Account(Account),
    /// Aliases: addresses that lead to accounts.
    #[command(subcommand)]
    Alias(Alias),
    /// Domains that this system receives mail for.
    #[command(subcommand)]
    Domain(Domain),
    /// Check the configuration, the store or the DNS.
    #[command(subcommand)]
    Check(Check),
    /// The queue of outgoing mail.
    #[command(subcommand)]
    Queue(Queue),
    /// Back up and restore (not in this version).
    Backup(Later),
    /// Import a Maildir, Maildir++ or mbox (not in this version).
    Import(Later),
    /// Export an account (not in this version).
    Export(Later),
    /// Make the store's index anew from the messages, when it is damaged or lost and no backup is at hand.
    Salvage(Salvage),
    /// Tell where a message has been, and where it is.
    Trace(Trace),
    /// Erase expunged mail at once (not in this version).
    History(Later),
    /// Queue a message from standard input, as the `sendmail` of other systems does.
    #[command(disable_help_flag = true)]
    Sendmail(Sendmail),
    /// Say what would happen to a message now, and why, without sending it.
    Explain(Explain),
}

/// `mailctl quickstart`.
#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where to keep everything.
    #[arg(default_value = "./mailwright-demo")]
    pub(crate) dir: PathBuf,
    /// Exit after the check: 0 only if all of it worked.
    #[arg(long)]
    pub(crate) once: bool,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    pub(crate) bind: IpAddr,
    /// Every listener is on this number plus its standard port.
    #[arg(long, default_value_t = 20000, value_name = "N")]
    pub(crate) base_port: u16,
}

/// `mailctl init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The directory to set up; it must not have a configuration yet.
    pub(crate) dir: PathBuf,
    /// The first domain to receive mail for.
    #[arg(long)]
    pub(crate) domain: String,
    /// The name of this host [default: mx.DOMAIN].
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Address to listen on; may be given several times [default: 0.0.0.0 and ::].
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<IpAddr>,
    /// Every listener is on this number plus its standard port.
    #[arg(long, value_name = "N")]
    pub(crate) base_port: Option<u16>,
    /// Where certificates come from.
    #[arg(long, value_enum, default_value = "self-signed")]
    pub(crate) tls: Tls,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Tls {
    /// A certificate made now, which no client trusts by itself.
    SelfSigned,
    /// Files that you name in the configuration.
    Files,
    /// From an ACME authority (not in this version).
    Acme,
}

/// `mailctl serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// How log lines look on standard error.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Read the configuration, try every file it names, and stop.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `mailctl account …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add an account.
    Add {
        /// Its address, which is also its user name.
        address: String,
        /// Where its password comes from.
        #[command(flatten)]
        password: Password,
    },
    /// List the accounts.
    List,
    /// Show one account.
    Show {
        /// Its address.
        address: String,
    },
    /// Remove an account and its mail.
    Remove {
        /// Its address.
        address: String,
    },
    /// Set a new password.
    Passwd {
        /// Its address.
        address: String,
        /// Where its password comes from.
        #[command(flatten)]
        password: Password,
    },
    /// Refuse logins and mail until it is enabled again.
    Disable {
        /// Its address.
        address: String,
    },
    /// Allow logins and mail again.
    Enable {
        /// Its address.
        address: String,
    },
    /// Add many: `address,password-or-hash[,quota]` a line, all or nothing.
    Import {
        /// The CSV file (RFC 4180 quoting).
        file: PathBuf,
    },
}

/// Where a password comes from; by default it is asked for twice.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Password {
    /// Read it from standard input, one line.
    #[arg(long, conflicts_with = "generate")]
    pub(crate) password_stdin: bool,
    /// Make one up and print it.
    #[arg(long)]
    pub(crate) generate: bool,
}

/// `mailctl alias …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Add targets to an alias, making it if it is new.
    Add {
        /// The alias.
        address: String,
        /// Where its mail goes.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List the aliases.
    List,
    /// Remove an alias, or some of its targets.
    Remove {
        /// The alias.
        address: String,
        /// The targets to take away; all of them if none is named.
        targets: Vec<String>,
    },
}

/// `mailctl domain …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Receive mail for a domain.
    Add {
        /// Its name.
        name: String,
        /// The address that gets what nobody else does.
        #[arg(long, value_name = "ADDRESS")]
        catch_all: Option<String>,
        /// The domain that it stands for: each address means the same address there.
        #[arg(long, value_name = "DOMAIN", conflicts_with = "catch_all")]
        alias_of: Option<String>,
    },
    /// List the domains.
    List,
    /// Stop receiving mail for a domain that has no accounts left.
    Remove {
        /// Its name.
        name: String,
    },
}

/// `mailctl check …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Read the configuration as the daemons would, and try every file it names.
    Config,
    /// Read the whole store back and check every hash (not in this version).
    Store,
    /// Compare what the DNS says with what it should (not in this version).
    Dns,
}

/// `mailctl queue …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List what waits, the oldest first.
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Numbers alone: by age, and by destination.
        #[arg(long, conflicts_with_all = ["id", "domain", "sender", "recipient", "held", "waiting", "limit"])]
        summary: bool,
        /// Recipients at most.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Show one message: envelope, recipients, attempts, header.
    Show {
        /// Its queue id, or how it begins.
        id: String,
    },
    /// Try now, whatever the schedule says.
    Retry(Chosen),
    /// Put on hold until it is released.
    Hold(Chosen),
    /// Take from hold.
    Release(Chosen),
    /// Remove; nobody is told.
    Remove(Chosen),
}

/// Which of the queue: all that fits.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// The queue id, or how it begins.
    pub(crate) id: Option<String>,
    /// Recipients in this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Messages of this sender: an address, @DOMAIN, or <>.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) sender: Option<String>,
    /// This recipient: an address, or @DOMAIN.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) recipient: Option<String>,
    /// What is on hold.
    #[arg(long, conflicts_with = "waiting")]
    pub(crate) held: bool,
    /// What waits for its time.
    #[arg(long)]
    pub(crate) waiting: bool,
}

/// Which of the queue, for what changes it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chosen {
    /// Which.
    #[command(flatten)]
    pub(crate) which: Which,
    /// All of it.
    #[arg(long, conflicts_with_all = ["id", "domain", "sender", "recipient", "held", "waiting"])]
    pub(crate) all: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `mailctl trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// A queue id, a Message-ID, or the address of a sender or recipient.
    #[arg(value_name = "QUEUE-ID|MESSAGE-ID|ADDRESS")]
    pub(crate) what: String,
    /// Nothing that ended before: 30m, 2h, 3d, a date, or RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Messages at most, the newest ones.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

/// `mailctl explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The envelope sender; <> for a report.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: String,
    /// The recipient.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: String,
    /// The address of the client.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<IpAddr>,
    /// The account that the client has logged in as.
    #[arg(long, visible_alias = "as", value_name = "ACCOUNT")]
    pub(crate) login: Option<String>,
    /// What the client says in EHLO.
    #[arg(long, value_name = "NAME")]
    pub(crate) helo: Option<String>,
}

/// `mailctl salvage`.
#[derive(Debug, Args)]
pub(crate) struct Salvage {
    /// Replace the index that is there; it is kept beside the new one.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Arguments of a command that comes with a later part.
#[derive(Debug, Args)]
pub(crate) struct Later {
    /// Whatever it will take.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) rest: Vec<String>,
}

/// `mailctl sendmail …`.
#[derive(Debug, Args)]
pub(crate) struct Sendmail {
    /// Options and recipients; `mailctl sendmail --help` tells them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|RECIPIENT")]
    pub(crate) arguments: Vec<OsString>,
}
