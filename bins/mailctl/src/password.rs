//! Where a new password comes from.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};

use daemon::Error;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::args::Password;

/// The password, and whether it was made up and so must be told.
pub(crate) fn obtain(source: Password) -> Result<(String, bool), Error> {
    if source.generate {
        let password = ::directory::generate_password().map_err(|error| Error::Failed(error.to_string()))?;
        return Ok((password, true));
    }
    if source.password_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|error| Error::Failed(format!("stdin: {error}")))?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        return if password.is_empty() {
            Err(Error::Failed("standard input holds no password".into()))
        } else {
            Ok((password, false))
        };
    }
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first != second {
        return Err(Error::Failed("the passwords differ".into()));
    }
    Ok((first, false))
}

/// Asks at the terminal, without showing what is typed.
fn ask(prompt: &str) -> Result<String, Error> {
    let failed = |_| Error::Config("no terminal to ask for a password: use --password-stdin or --generate".into());
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let read = |error: std::io::Error| Error::Failed(format!("terminal: {error}"));
    terminal.write_all(prompt.as_bytes()).map_err(read)?;
    let shown = tcgetattr(&terminal).map_err(|error| read(error.into()))?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden).map_err(|error| read(error.into()))?;
    let mut line = String::new();
    let typed = BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &shown).map_err(|error| read(error.into()))?;
    typed.map_err(read)?;
    terminal.write_all(b"\n").map_err(read)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
