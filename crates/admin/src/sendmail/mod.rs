//! The command `sendmail`, as the programs of a machine call it (rule 29).
//!
//! It needs no privilege and talks to nobody: a message becomes a file in the drop directory, durable before the command
//! ends, whether or not `mta` runs. What every user may know of the system stands in [`daemon::LocalMail`].

mod compose;
mod deposit;
mod options;
mod queue;
mod session;

use std::ffi::OsString;
use std::io::{self, BufRead, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use daemon::LocalMail;
use nix::unistd::{User, getegid, geteuid, getgid, getuid};

use compose::{Stamp, Who};
use options::{Mode, Options};

/// The command line is wrong.
const EX_USAGE: u8 = 64;
/// The message or an address in it is wrong.
const EX_DATAERR: u8 = 65;
/// Mail from programs of this machine is switched off, or the message is too large.
const EX_UNAVAILABLE: u8 = 69;
/// The file cannot be made.
const EX_CANTCREAT: u8 = 73;
/// Reading or writing failed.
const EX_IOERR: u8 = 74;
/// The same may succeed later.
const EX_TEMPFAIL: u8 = 75;
/// The caller may not.
const EX_NOPERM: u8 = 77;
/// The system is not set up, or wrongly.
const EX_CONFIG: u8 = 78;

/// Why nothing was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    fn new(code: u8, reason: String) -> Self {
        Self { code, reason }
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        let code = if matches!(error, daemon::Error::Config(_)) { EX_CONFIG } else { EX_TEMPFAIL };
        Self::new(code, error.to_string())
    }
}

/// The names under which a program is this command.
pub const SENDMAIL_NAMES: [&str; 3] = ["sendmail", "mailq", "newaliases"];

const HELP: &str = "\
usage: sendmail [OPTION]… [--] [RECIPIENT]…     send the message on standard input
       sendmail -bs                             speak SMTP on standard input and output
       sendmail -bp, mailq                      print the queue

  -t               take the recipients from To, Cc and Bcc
  -i, -oi          a line with a lone dot does not end the message
  -f, -r ADDRESS   the sender; taken from root and trusted users, <> from all
  -F NAME          the sender's name, where the message has no From
  -N WHEN          report never, or on some of success,failure,delay
  -R full|hdrs     what a report returns
  -V ID            the envelope's id in reports
  -B 7BIT|8BITMIME what the message is made of
  -C, --config F   the configuration, instead of /etc/mailwright/mailwright.toml
  --help, --version

Other options of its namesakes are accepted and change nothing.
";

/// Carries out `sendmail` under one of its names; `config` is a configuration given by name.
#[must_use]
pub fn sendmail(name: &str, config: Option<PathBuf>, arguments: Vec<OsString>) -> ExitCode {
    let outcome = options::parse(name, arguments).and_then(|mut options| {
        options.config = options.config.take().or(config);
        run(&options)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {}", failure.reason);
            ExitCode::from(failure.code)
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    match options.mode {
        Mode::Nothing => return Ok(()),
        Mode::Help => return print(HELP),
        Mode::Version => return print(concat!("mailwright sendmail ", env!("CARGO_PKG_VERSION"), "\n")),
        Mode::Message | Mode::Smtp | Mode::PrintQueue => {}
    }
    if options.config.is_some() && (getuid() != geteuid() || getgid() != getegid()) {
        // rule 26: with rights that the caller has not, the caller names no files.
        return Err(Failure::new(
            EX_NOPERM,
            "no configuration may be named in a program with rights of its own".into(),
        ));
    }
    if options.mode == Mode::PrintQueue {
        return print(&queue::print(options.config.as_deref())?);
    }
    let system = LocalMail::find(options.config.as_deref())?;
    if !system.enabled {
        return Err(Failure::new(EX_UNAVAILABLE, "mail from programs of this machine is switched off here".into()));
    }
    let who = who(&system)?;
    if options.mode == Mode::Smtp {
        return session::speak(&system, &who, &mut io::stdin().lock(), &mut io::stdout().lock());
    }
    if options.recipients.is_empty() && !options.extract {
        return Err(Failure::new(EX_USAGE, "no recipients: name some, or use -t to take them from the message".into()));
    }
    let octets = read(&mut io::stdin().lock(), options.ignore_dots, system.message_octets)?;
    let stamp = Stamp::now().ok_or_else(|| Failure::new(EX_TEMPFAIL, "no randomness to be had".into()))?;
    let file = compose::compose(octets, options, &system, &who, &stamp)?;
    deposit::deposit(&system.drop, &file)
}

fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::new(EX_IOERR, format!("standard output: {error}")))
}

/// The caller.
fn who(system: &LocalMail) -> Result<Who, Failure> {
    let uid = geteuid();
    let user = User::from_uid(uid).map_err(|error| Failure::new(EX_TEMPFAIL, format!("user database: {error}")))?;
    // In a container a number often has no name; `mta` calls such an owner the same.
    let Some(user) = user else { return Who::new(&format!("uid{uid}"), "", &system.origin) };
    // The first field of GECOS; `&` is the login name (passwd(5) of old).
    let gecos = user.gecos.to_string_lossy();
    let name = gecos.split(',').next().unwrap_or_default().replace('&', &capitalised(&user.name));
    Who::new(&user.name, &name, &system.origin)
}

fn capitalised(name: &str) -> String {
    let mut rest = name.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Reads a message to its end, which is a line with a lone dot unless `ignore_dots`.
fn read(input: &mut impl BufRead, ignore_dots: bool, limit: u64) -> Result<Bytes, Failure> {
    let failed = |error: io::Error| Failure::new(EX_IOERR, format!("standard input: {error}"));
    let mut octets = Vec::new();
    let mut input = input.take(limit.saturating_add(1));
    if ignore_dots {
        input.read_to_end(&mut octets).map_err(failed)?;
    } else {
        loop {
            let start = octets.len();
            input.read_until(b'\n', &mut octets).map_err(failed)?;
            match octets.get(start..).unwrap_or_default() {
                [] => break,
                b".\n" | b".\r\n" | b"." => {
                    octets.truncate(start);
                    break;
                }
                _ => {}
            }
        }
    }
    if octets.len() as u64 > limit {
        return Err(Failure::new(EX_UNAVAILABLE, format!("the message is larger than {limit} octets")));
    }
    Ok(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_dot_ends_a_message() {
        let table = [
            ("a\n.\nb\n", false, "a\n"),
            ("a\r\n.\r\nb", false, "a\r\n"),
            ("a\n.", false, "a\n"),
            ("a\n..\n.b\n", false, "a\n..\n.b\n"),
            ("a\n.\nb\n", true, "a\n.\nb\n"),
            ("", false, ""),
        ];
        for (input, ignore_dots, expected) in table {
            assert_eq!(read(&mut input.as_bytes(), ignore_dots, 100).unwrap(), expected, "{input:?}");
        }
        for ignore_dots in [true, false] {
            assert_eq!(read(&mut &b"123\n567"[..], ignore_dots, 6).unwrap_err().code, EX_UNAVAILABLE);
            assert_eq!(read(&mut &b"123\n56"[..], ignore_dots, 6).unwrap(), "123\n56");
        }
    }

    #[test]
    fn an_ampersand_is_the_login_name() {
        assert_eq!(capitalised("root"), "Root");
        assert_eq!(capitalised(""), "");
    }
}
