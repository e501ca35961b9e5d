//! From what a program wrote to a message: its recipients, the fields that are missing, the lines as they must be.

use std::ops::Range;

use address::{ForwardPath, Mailbox, ReversePath};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use daemon::LocalMail;
use mime::AddressItem;
use smtp::{BodyType, DropFile, MailParameters, RcptParameters};

use super::options::Options;
use super::{EX_DATAERR, EX_USAGE, Failure};

/// The caller: an address of this machine, and a name if the user database has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Who {
    pub(super) mailbox: Mailbox,
    pub(super) name: Option<String>,
}

impl Who {
    pub(super) fn new(login: &str, name: &str, origin: &str) -> Result<Self, Failure> {
        let mailbox = mailbox(login, origin).ok_or_else(|| not_an_address(login))?;
        Ok(Self { mailbox, name: full_name(name) })
    }
}

/// When, and which message of all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// RFC 5322 §3.3
    pub(super) date: String,
    /// What stands before the host's name in a Message-ID.
    pub(super) unique: String,
}

impl Stamp {
    /// Now.
    pub(super) fn now() -> Option<Self> {
        let now = jiff::Zoned::now();
        let random = getrandom::u64().ok()?;
        Some(Self {
            date: now.strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
            unique: format!("{}.{random:016x}", now.strftime("%Y%m%d%H%M%S")),
        })
    }
}

/// Makes the message and its envelope.
pub(super) fn compose(
    octets: Bytes,
    options: &Options,
    system: &LocalMail,
    who: &Who,
    stamp: &Stamp,
) -> Result<DropFile, Failure> {
    let sender = match &options.sender {
        Some(text) => sender(text, &system.origin)?,
        None => ReversePath::Mailbox(who.mailbox.clone()),
    };
    let mut paths = Vec::new();
    for argument in &options.recipients {
        let found = paths_of(argument.as_bytes(), &system.origin)?;
        if found.is_empty() {
            return Err(not_an_address(argument));
        }
        paths.extend(found);
    }
    let message = wire::normalise_lines(octets);
    let parts = Parts::of(&message);
    if options.extract {
        paths.extend(parts.recipients(&message, &system.origin)?);
        if paths.is_empty() {
            return Err(Failure::new(EX_DATAERR, "there is no recipient in To, Cc or Bcc".into()));
        }
    }
    let parameters = RcptParameters { notify: options.notify, orcpt: None };
    let recipients = distinct(paths, system.recipients)?;
    let octets = parts.complete(&message, options.full_name.as_deref(), &sender, system, who, stamp);
    let eight_bit = if octets.is_ascii() { options.body } else { Some(BodyType::EightBitMime) };
    Ok(DropFile {
        full_name: options.full_name.as_deref().and_then(full_name).or_else(|| who.name.clone()),
        parameters: MailParameters {
            body: eight_bit,
            smtputf8: !sender.is_ascii() || recipients.iter().any(|path| !path.is_ascii()),
            ret: options.ret,
            envid: options.envid.clone(),
            ..MailParameters::default()
        },
        sender,
        recipients: recipients.into_iter().map(|path| (path, parameters.clone())).collect(),
        octets,
    })
}

/// A message that came with its envelope, with the fields that are missing.
pub(super) fn complete(message: &Bytes, sender: &ReversePath, system: &LocalMail, who: &Who, stamp: &Stamp) -> Bytes {
    Parts::of(message).complete(message, None, sender, system, who, stamp)
}

/// What may stand in a drop file as a name.
fn full_name(name: &str) -> Option<String> {
    let name: String = name.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let name = name.trim();
    let end = (0..=name.len().min(DropFile::MAX_NAME)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    Some(name[..end].to_owned()).filter(|name| !name.is_empty())
}

fn not_an_address(text: &str) -> Failure {
    Failure::new(EX_DATAERR, format!("{text:?} is not an address"))
}

/// `-f`: with or without its brackets, with or without a domain; nothing is the null sender.
fn sender(text: &str, origin: &str) -> Result<ReversePath, Failure> {
    let bare = text.trim();
    let bare = bare.strip_prefix('<').and_then(|bare| bare.strip_suffix('>')).unwrap_or(bare);
    if bare.is_empty() {
        return Ok(ReversePath::Null);
    }
    match &paths_of(text.as_bytes(), origin)?[..] {
        [ForwardPath::Mailbox(only)] => Ok(ReversePath::Mailbox(only.clone())),
        _ => Err(Failure::new(EX_USAGE, format!("-f {text:?}: expected one address"))),
    }
}

/// The paths of an address list (RFC 5322 §3.4). All of them are addresses, or nothing is sent.
fn paths_of(list: &[u8], origin: &str) -> Result<Vec<ForwardPath>, Failure> {
    let mut paths = Vec::new();
    for item in mime::addresses(list) {
        // The edges of a group have no host.
        let AddressItem { mailbox: Some(local), host: Some(host), .. } = item else { continue };
        if local.is_empty() && host.is_empty() {
            continue;
        }
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let shown = || if host.is_empty() { text(&local) } else { format!("{}@{}", text(&local), text(&host)) };
        let wrong = || not_an_address(&shown());
        let (local, host) = (std::str::from_utf8(&local), std::str::from_utf8(&host));
        let (Ok(local), Ok(host)) = (local, host) else { return Err(wrong()) };
        // Words without a domain are somebody's name, not an address.
        if host.is_empty() && local.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let host = if host.is_empty() { origin } else { host };
        paths.push(ForwardPath::Mailbox(mailbox(local, host).ok_or_else(wrong)?));
    }
    Ok(paths)
}

/// A mailbox whose local part came without its quotes.
fn mailbox(local: &str, host: &str) -> Option<Mailbox> {
    let quoted = || {
        // `a@@b` is a slip, not somebody whose name has an @.
        let slip = local.contains('@');
        let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
        (!slip).then(|| Mailbox::parse(&format!("\"{escaped}\"@{host}")).ok()).flatten()
    };
    Mailbox::parse(&format!("{local}@{host}")).ok().or_else(quoted)
}

/// Each path once.
fn distinct(paths: Vec<ForwardPath>, limit: usize) -> Result<Vec<ForwardPath>, Failure> {
    let mut known = std::collections::HashSet::new();
    let key = |path: &ForwardPath| path.mailbox().map_or_else(|| "postmaster".to_owned(), Mailbox::key);
    let distinct: Vec<ForwardPath> = paths.into_iter().filter(|path| known.insert(key(path))).collect();
    if distinct.len() > limit {
        return Err(Failure::new(EX_DATAERR, format!("more than {limit} recipients")));
    }
    Ok(distinct)
}

/// Where the header and the body of a message are.
struct Parts {
    header: Range<usize>,
    body: Range<usize>,
}

impl Parts {
    /// A first line `From …` of mailbox files is no part of the message. A body may follow without an empty line, or
    /// without a header.
    fn of(message: &[u8]) -> Self {
        let line_end = |from: usize| memchr::memchr(b'\n', &message[from..]).map_or(message.len(), |at| from + at + 1);
        let start = if message.starts_with(b"From ") { line_end(0) } else { 0 };
        let mut at = start;
        while at < message.len() {
            let end = line_end(at);
            let line = &message[at..end];
            if line == b"\r\n" {
                return Self { header: start..at, body: end..message.len() };
            }
            let folded = at > start && matches!(line.first(), Some(b' ' | b'\t'));
            if !folded && !is_field(line) {
                break;
            }
            at = end;
        }
        Self { header: start..at, body: at..message.len() }
    }

    /// Whom To, Cc and Bcc name; Resent-To, Resent-Cc and Resent-Bcc alone where there are any (RFC 5322 §3.6.6).
    fn recipients(&self, message: &[u8], origin: &str) -> Result<Vec<ForwardPath>, Failure> {
        let header = &message[self.header.clone()];
        let among = |names: [&str; 3]| -> Vec<Vec<u8>> {
            let fields = mime::fields(header).filter(|field| names.iter().any(|name| field.is(name)));
            fields.map(|field| field.unfolded()).collect()
        };
        let mut values = among(["Resent-To", "Resent-Cc", "Resent-Bcc"]);
        if values.is_empty() {
            values = among(["To", "Cc", "Bcc"]);
        }
        let mut paths = Vec::new();
        for value in values {
            paths.extend(paths_of(&value, origin)?);
        }
        Ok(paths)
    }

    /// The message without what nobody is to see, with what it must have (RFC 5322 §3.6, RFC 6409 §8).
    fn complete(
        &self,
        message: &[u8],
        name: Option<&str>,
        sender: &ReversePath,
        system: &LocalMail,
        who: &Who,
        stamp: &Stamp,
    ) -> Bytes {
        let header = &message[self.header.clone()];
        let mut out = BytesMut::with_capacity(message.len() + 512);
        let (mut from, mut date, mut message_id) = (false, false, false);
        for field in mime::fields(header) {
            // rule 29, rule 15
            if ["Bcc", "Resent-Bcc", "Return-Path"].iter().any(|hidden| field.is(hidden)) {
                continue;
            }
            from |= field.is("From");
            date |= field.is("Date");
            message_id |= field.is("Message-ID");
            out.extend_from_slice(&header[field.start..field.end]);
        }
        if !from {
            let mailbox = sender.mailbox().unwrap_or(&who.mailbox);
            let name = name.and_then(full_name).or_else(|| who.name.clone());
            let field = match name.as_deref().map(phrase) {
                Some(phrase) => format!("From: {phrase} <{mailbox}>\r\n"),
                None => format!("From: {mailbox}\r\n"),
            };
            out.extend_from_slice(field.as_bytes());
        }
        if !date {
            out.extend_from_slice(format!("Date: {}\r\n", stamp.date).as_bytes());
        }
        if !message_id {
            out.extend_from_slice(format!("Message-ID: <{}@{}>\r\n", stamp.unique, system.hostname).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&message[self.body.clone()]);
        out.freeze()
    }
}

/// Whether a line begins a field, as [`mime::fields`] finds them.
fn is_field(line: &[u8]) -> bool {
    memchr::memchr(b':', line).is_some_and(|colon| {
        let name = line[..colon].trim_ascii_end();
        !name.is_empty() && name.iter().all(|octet| matches!(octet, 33..=126))
    })
}

/// A name before an address (RFC 5322 §3.2.5; RFC 2047 §5 where it is not ASCII).
fn phrase(name: &str) -> String {
    let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&octet);
    if name.bytes().all(is_atom) && !name.contains("=?") {
        return name.to_owned();
    }
    if name.is_ascii() {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    // RFC 2047 §2: a word is at most 75 octets, and whole characters.
    let mut words = vec![String::new()];
    for char in name.chars() {
        if words.last().is_none_or(|word| word.len() + char.len_utf8() > 45) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(char);
        }
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> LocalMail {
        LocalMail {
            enabled: true,
            drop: "/nowhere".into(),
            hostname: "mx.example.org".into(),
            origin: "example.org".into(),
            message_octets: 1000,
            recipients: 3,
        }
    }

    fn composed(message: &str, options: &Options) -> Result<DropFile, Failure> {
        let system = system();
        let who = Who::new("ann", "Ann Other", &system.origin)?;
        let stamp = Stamp { date: "DATE".into(), unique: "UNIQUE".into() };
        compose(Bytes::copy_from_slice(message.as_bytes()), options, &system, &who, &stamp)
    }

    fn to(recipients: &[&str]) -> Options {
        Options { recipients: recipients.iter().map(ToString::to_string).collect(), ..Options::default() }
    }

    fn extracting() -> Options {
        Options { extract: true, ..Options::default() }
    }

    fn recipients(file: &DropFile) -> Vec<String> {
        file.recipients.iter().map(|(path, _)| path.to_string()).collect()
    }

    const ADDED: &str =
        "From: Ann Other <ann@example.org>\r\nDate: DATE\r\nMessage-ID: <UNIQUE@mx.example.org>\r\n\r\n";

    #[test]
    fn a_message_gets_what_it_lacks() {
        let table = [
            ("hello\n", format!("{ADDED}hello\r\n")),
            ("", ADDED.to_owned()),
            ("\nSubject: body\n", format!("{ADDED}Subject: body\r\n")),
            ("Subject: x\nhello\n", format!("Subject: x\r\n{ADDED}hello\r\n")),
            ("Subject: x\n y\n\nhello", format!("Subject: x\r\n y\r\n{ADDED}hello\r\n")),
            ("From ann Mon\nSubject: x\n\nb\n", format!("Subject: x\r\n{ADDED}b\r\n")),
            ("Bcc: a@b\n , c@d\nReturn-Path: <x>\nSubject: x\n\n", format!("Subject: x\r\n{ADDED}")),
            (
                "From: a@b\nDate: d\nMessage-Id: <m>\n\nb\rc\n",
                "From: a@b\r\nDate: d\r\nMessage-Id: <m>\r\n\r\nb c\r\n".into(),
            ),
            (" indented\n", format!("{ADDED} indented\r\n")),
        ];
        for (message, expected) in table {
            let file = composed(message, &to(&["bob"])).unwrap();
            assert_eq!(String::from_utf8_lossy(&file.octets), expected, "{message:?}");
            assert_eq!(recipients(&file), ["<bob@example.org>"]);
            assert_eq!(file.sender.to_string(), "<ann@example.org>");
        }
    }

    #[test]
    fn t_takes_recipients_from_the_header() {
        // rule 29
        let table = [
            ("To: bob\n\nTo: x@y\n", Ok(vec!["<bob@example.org>"])),
            (
                "To: Bob <bob@b.example>,\n \"C, D\" <c@d.example>\nSubject: x\nBCC: e@f.example\n\n",
                Ok(vec!["<bob@b.example>", "<c@d.example>", "<e@f.example>"]),
            ),
            ("Cc: team: a@b.example, c@d.example;, A@b.example\n\n", Ok(vec!["<a@b.example>", "<c@d.example>"])),
            ("To: undisclosed-recipients:;\nBcc: a@b.example\n\n", Ok(vec!["<a@b.example>"])),
            (
                "To: a@b.example\nResent-To: c@d.example\nResent-Bcc: e@f.example\n\n",
                Ok(vec!["<c@d.example>", "<e@f.example>"]),
            ),
            ("To: \"a b\"@c.example, (comment) d@e.example (x)\n\n", Ok(vec!["<\"a b\"@c.example>", "<d@e.example>"])),
            ("To: postmaster\n\n", Ok(vec!["<postmaster@example.org>"])),
            ("To: |/bin/sh\n\n", Ok(vec!["<|/bin/sh@example.org>"])),
            ("To: -oQ/tmp@b.example\n\n", Ok(vec!["<-oQ/tmp@b.example>"])),
            ("To: Bob Smith\n\n", Err(EX_DATAERR)),
            ("To: a@b@\n\n", Err(EX_DATAERR)),
            ("To: a@b.example, c@-d-\n\n", Err(EX_DATAERR)),
            ("Subject: x\n\n", Err(EX_DATAERR)),
            ("To: undisclosed-recipients:;\n\n", Err(EX_DATAERR)),
            ("To: a@x.example, b@x.example, c@x.example, d@x.example\n\n", Err(EX_DATAERR)),
        ];
        for (message, expected) in table {
            let found = composed(message, &extracting());
            match expected {
                Ok(expected) => {
                    let file = found.unwrap();
                    assert_eq!(recipients(&file), expected, "{message:?}");
                    let octets = String::from_utf8_lossy(&file.octets).to_lowercase();
                    assert!(!octets.contains("bcc") && !octets.contains("e@f.example"), "{octets}");
                }
                Err(code) => assert_eq!(found.unwrap_err().code, code, "{message:?}"),
            }
        }
        // Arguments are added to.
        let both = Options { recipients: vec!["x@y.example, z".into()], ..extracting() };
        let both = composed("To: a@b.example\n\n", &both).unwrap();
        assert_eq!(recipients(&both), ["<x@y.example>", "<z@example.org>", "<a@b.example>"]);
    }

    #[test]
    fn senders_and_names() {
        let sent = |sender: &str| {
            let options = Options { sender: Some(sender.into()), ..to(&["bob"]) };
            composed("x\n", &options).map(|file| file.sender.to_string())
        };
        for (given, expected) in [
            ("", "<>"),
            ("<>", "<>"),
            ("root", "<root@example.org>"),
            ("<a@b.example>", "<a@b.example>"),
            ("Ann <a@b.example>", "<a@b.example>"),
        ] {
            assert_eq!(sent(given).unwrap(), expected, "{given:?}");
        }
        assert_eq!(sent("a@b.example, c@d.example").unwrap_err().code, EX_USAGE);
        assert_eq!(sent("a@").unwrap(), "<a@example.org>");
        assert_eq!(sent("a@b..c").unwrap_err().code, EX_DATAERR);
        for (name, expected) in [
            ("Cron Daemon", "Cron Daemon"),
            ("O'Neil, Ann \"x\"", "\"O'Neil, Ann \\\"x\\\"\""),
            ("Änne\nBcc: x", "=?UTF-8?B?w4RubmUgQmNjOiB4?="),
        ] {
            let options = Options { full_name: Some(name.into()), ..to(&["bob"]) };
            let file = composed("x\n", &options).unwrap();
            let octets = String::from_utf8_lossy(&file.octets).into_owned();
            assert!(octets.starts_with(&format!("From: {expected} <ann@example.org>\r\n")), "{octets}");
        }
        assert_eq!(phrase(&"ä".repeat(30)).lines().count(), 2);
    }

    #[test]
    fn parameters_say_what_the_message_is() {
        let file = composed("Subject: ä\n\n", &to(&["bob"])).unwrap();
        assert_eq!((file.parameters.body, file.parameters.smtputf8), (Some(BodyType::EightBitMime), false));
        let file = composed("x\n", &to(&["ä@example.net"])).unwrap();
        assert_eq!((file.parameters.body, file.parameters.smtputf8), (None, true));
        assert_eq!(composed("x\n", &to(&["", "bob"])).unwrap_err().code, EX_DATAERR);
    }
}
