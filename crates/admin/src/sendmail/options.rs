//! The command line of `sendmail`, as the programs of three decades write it.

use std::ffi::OsString;
use std::path::PathBuf;

use smtp::{BodyType, Notify, Ret, Xtext};

use super::{EX_USAGE, Failure};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mode {
    /// `-bm`: take a message from standard input.
    #[default]
    Message,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-bp`: print the queue.
    PrintQueue,
    /// `-bi` and `newaliases`: aliases live in the store, there is nothing to build; `-q`: the queue is always run.
    Nothing,
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// What was asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Options {
    pub(super) mode: Mode,
    /// `-t`
    pub(super) extract: bool,
    /// `-i`, `-oi`
    pub(super) ignore_dots: bool,
    /// `-f`, `-r`
    pub(super) sender: Option<String>,
    /// `-F`
    pub(super) full_name: Option<String>,
    /// `-B`
    pub(super) body: Option<BodyType>,
    /// `-N`
    pub(super) notify: Option<Notify>,
    /// `-R`
    pub(super) ret: Option<Ret>,
    /// `-V`
    pub(super) envid: Option<Xtext>,
    /// `-C`, `--config`
    pub(super) config: Option<PathBuf>,
    pub(super) recipients: Vec<String>,
}

/// Options without a value. What they ask for happens anyway, or has no meaning here; `-i`, `-t` and `-I` apart.
const FLAGS: &str = "GIimnstUvx";

/// Options with a value, joined or as the next argument.
const VALUED: &str = "ABCDFfhLNOopRrVXb";

/// Options whose value, if any, is joined.
const JOINED: &str = "deq";

/// Reads the arguments behind the program's name.
///
/// The first argument that is no option ends the options, so that no recipient becomes one.
pub(super) fn parse(name: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<Options, Failure> {
    let mut options = Options::default();
    match name {
        "mailq" => options.mode = Mode::PrintQueue,
        "newaliases" => options.mode = Mode::Nothing,
        _ => {}
    }
    let mut arguments = arguments.into_iter().map(|argument| {
        argument.into_string().map_err(|_| Failure::new(EX_USAGE, "an argument is not UTF-8".to_owned()))
    });
    let mut run_queue = false;
    while let Some(argument) = arguments.next().transpose()? {
        if argument == "--" {
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            options.long(long, &mut arguments)?;
            continue;
        }
        let Some(cluster) = argument.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            options.recipients.push(argument);
            break;
        };
        let mut rest = cluster.chars();
        while let Some(option) = rest.next() {
            if FLAGS.contains(option) {
                options.flag(option);
                continue;
            }
            let joined = rest.as_str();
            if JOINED.contains(option) {
                run_queue |= option == 'q';
                break;
            }
            if !VALUED.contains(option) {
                return Err(Failure::new(EX_USAGE, format!("unknown option -{option}")));
            }
            let value = match joined {
                "" => arguments.next().transpose()?,
                joined => Some(joined.to_owned()),
            };
            let value = value.ok_or_else(|| Failure::new(EX_USAGE, format!("option -{option} needs a value")))?;
            options.valued(option, value)?;
            break;
        }
    }
    let options_ended = options.recipients.len();
    for argument in arguments {
        options.recipients.push(argument?);
    }
    // Behind the first recipient; behind `--` it would be the first.
    if options_ended > 0 && options.recipients.iter().any(|recipient| recipient.starts_with('-')) {
        let reason = "an option behind a recipient: options come first, and `--` before recipients that begin with `-`";
        return Err(Failure::new(EX_USAGE, reason.to_owned()));
    }
    if run_queue && options.mode == Mode::Message && options.recipients.is_empty() && !options.extract {
        options.mode = Mode::Nothing;
    }
    Ok(options)
}

impl Options {
    fn flag(&mut self, option: char) {
        match option {
            'i' => self.ignore_dots = true,
            't' => self.extract = true,
            'I' => self.mode = Mode::Nothing,
            _ => {}
        }
    }

    fn long(
        &mut self,
        option: &str,
        arguments: &mut impl Iterator<Item = Result<String, Failure>>,
    ) -> Result<(), Failure> {
        match option.split_once('=') {
            Some(("config", path)) => self.config = Some(path.into()),
            None if option == "config" => {
                let path = arguments.next().transpose()?;
                let path = path.ok_or_else(|| Failure::new(EX_USAGE, "option --config needs a value".to_owned()))?;
                self.config = Some(path.into());
            }
            None if option == "help" => self.mode = Mode::Help,
            None if option == "version" => self.mode = Mode::Version,
            _ => return Err(Failure::new(EX_USAGE, format!("unknown option --{option}"))),
        }
        Ok(())
    }

    fn valued(&mut self, option: char, value: String) -> Result<(), Failure> {
        let wrong = |expected: &str| Failure::new(EX_USAGE, format!("-{option} {value:?}: expected {expected}"));
        match option {
            'f' | 'r' => self.sender = Some(value),
            'F' => self.full_name = Some(value).filter(|name| !name.trim().is_empty()),
            'C' => self.config = Some(value.into()),
            'b' => {
                self.mode = match value.as_str() {
                    "m" => Mode::Message,
                    "s" => Mode::Smtp,
                    "p" => Mode::PrintQueue,
                    "i" => Mode::Nothing,
                    _ => return Err(wrong("m, s, p or i; the daemon is `mta`")),
                };
            }
            // -oi alone means something; `-o 7`, `-oem`, `-odb` and their like are how it is anyway.
            'o' => self.ignore_dots |= value == "i" || value.eq_ignore_ascii_case("IgnoreDots"),
            'O' => {
                let (name, on) = value.split_once('=').unwrap_or((&value, "true"));
                let on = !matches!(on.to_ascii_lowercase().as_str(), "false" | "f" | "no" | "0");
                self.ignore_dots |= name.eq_ignore_ascii_case("IgnoreDots") && on;
            }
            'B' => {
                self.body = Some(match value.to_ascii_uppercase().as_str() {
                    "7BIT" => BodyType::SevenBit,
                    "8BITMIME" => BodyType::EightBitMime,
                    _ => return Err(wrong("7BIT or 8BITMIME")),
                });
            }
            'N' => {
                let notify = Notify::from_wire(&value.replace(' ', ""));
                self.notify = Some(notify.ok_or_else(|| wrong("never, or some of success,failure,delay"))?);
            }
            'R' => self.ret = Some(Ret::from_wire(&value).ok_or_else(|| wrong("full or hdrs"))?),
            'V' => {
                // RFC 3461 §4.4: at most 100 octets, in xtext already where the caller knows of it.
                let envid = Xtext::from_wire(&value).unwrap_or_else(|| Xtext::encode(value.as_bytes()));
                if envid.as_str().is_empty() || envid.as_str().len() > 100 {
                    return Err(wrong("1 to 100 octets"));
                }
                self.envid = Some(envid);
            }
            // -A submission or server, -D -X logs, -h hops, -L tag, -p protocol: nothing here depends on them.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, Failure> {
        // `''` is an empty argument.
        let words = line.split_whitespace().map(|word| OsString::from(if word == "''" { "" } else { word }));
        parse("sendmail", words)
    }

    fn base() -> Options {
        Options::default()
    }

    #[test]
    fn what_real_callers_write() {
        let to = |recipients: &[&str]| recipients.iter().map(ToString::to_string).collect::<Vec<_>>();
        let dots = Options { ignore_dots: true, ..base() };
        let from = |sender: &str| Some(sender.to_owned());
        let table = [
            // cron of Debian
            (
                "-i -FCronDaemon -B8BITMIME -oem root",
                Options {
                    full_name: Some("CronDaemon".into()),
                    body: Some(BodyType::EightBitMime),
                    recipients: to(&["root"]),
                    ..dots.clone()
                },
            ),
            // PHP
            ("-t -i", Options { extract: true, ..dots.clone() }),
            ("-t -i -fwww@example.org", Options { extract: true, sender: from("www@example.org"), ..dots.clone() }),
            // bsd-mailx, s-nail
            ("-i -t", Options { extract: true, ..dots.clone() }),
            ("-i -- ann@example.org", Options { recipients: to(&["ann@example.org"]), ..dots.clone() }),
            (
                "-i -r me@x -- -odd@x b",
                Options { sender: from("me@x"), recipients: to(&["-odd@x", "b"]), ..dots.clone() },
            ),
            // mutt
            (
                "-oem -oi -f me@x -N failure,delay -R hdrs -- a@b c@d",
                Options {
                    sender: from("me@x"),
                    notify: Some(Notify { success: false, failure: true, delay: true }),
                    ret: Some(Ret::Hdrs),
                    recipients: to(&["a@b", "c@d"]),
                    ..dots.clone()
                },
            ),
            // git, clusters, the null sender
            ("-ti", Options { extract: true, ..dots.clone() }),
            ("-itf me@x", Options { extract: true, sender: from("me@x"), ..dots.clone() }),
            ("-f<> a", Options { sender: from("<>"), recipients: to(&["a"]), ..base() }),
            ("-f <> a", Options { sender: from("<>"), recipients: to(&["a"]), ..base() }),
            ("-f '' a", Options { sender: from(""), recipients: to(&["a"]), ..base() }),
            ("-om -oA/x -odb -o7 -U -n -v -h 3 -p smtp -L tag a", Options { recipients: to(&["a"]), ..base() }),
            ("-OIgnoreDots=true -O DeliveryMode=b a", Options { recipients: to(&["a"]), ..dots.clone() }),
            ("-V abc -Nnever a", {
                let envid = Some(Xtext::encode(b"abc"));
                Options { envid, notify: Some(Notify::default()), recipients: to(&["a"]), ..base() }
            }),
            ("-bm a", Options { recipients: to(&["a"]), ..base() }),
            ("-bs", Options { mode: Mode::Smtp, ..base() }),
            ("-b p", Options { mode: Mode::PrintQueue, ..base() }),
            ("-bi", Options { mode: Mode::Nothing, ..base() }),
            ("-q", Options { mode: Mode::Nothing, ..base() }),
            ("-q30m", Options { mode: Mode::Nothing, ..base() }),
            ("-qRexample.org", Options { mode: Mode::Nothing, ..base() }),
            ("-C /etc/x -I", Options { mode: Mode::Nothing, config: Some("/etc/x".into()), ..base() }),
            ("--config=/etc/x -bp", Options { mode: Mode::PrintQueue, config: Some("/etc/x".into()), ..base() }),
            ("--config /etc/x a", Options { config: Some("/etc/x".into()), recipients: to(&["a"]), ..base() }),
            ("--help", Options { mode: Mode::Help, ..base() }),
        ];
        for (line, expected) in table {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
        assert_eq!(parse("mailq", []).unwrap().mode, Mode::PrintQueue);
        assert_eq!(parse("newaliases", []).unwrap().mode, Mode::Nothing);
    }

    #[test]
    fn what_nobody_should_write() {
        for line in [
            "-f",
            "-Z",
            "-bd",
            "-bt",
            "-B BINARYMIME",
            "-N often",
            "-R none",
            "--verbose",
            "a -f x",
            "a -- -b",
            "--config",
        ] {
            assert_eq!(read(line).unwrap_err().code, EX_USAGE, "{line}");
        }
        assert_eq!(read(&format!("-V {}", "x".repeat(101))).unwrap_err().code, EX_USAGE);
    }
}
