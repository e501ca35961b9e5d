//! `-bs`: SMTP on standard input and output, as news readers and old mail programs like it. It needs no `mta`: each
//! message becomes a file in the drop directory before it is acknowledged.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use daemon::LocalMail;
use smtp::server::{BareNewline, Config, Event, Mode, Server, Told};
use smtp::{DropFile, MailParameters, Reply};
use wire::{Output, Session as _};

use super::compose::{self, Stamp, Who};
use super::{EX_IOERR, EX_TEMPFAIL, Failure, deposit};

/// Speaks until the client says QUIT or closes.
pub(super) fn speak(
    system: &LocalMail,
    who: &Who,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(EX_IOERR, format!("SMTP on standard input: {error}"));
    let mut session = Server::new(Arc::new(config(system)), Instant::now());
    let mut application = Application { system, who, transaction: None };
    let mut buffer = BytesMut::new();
    loop {
        match session.poll() {
            Output::Send(octets) => output.write_all(&octets).map_err(failed)?,
            Output::Event(event) => {
                if let Some(told) = application.on_event(event) {
                    session.handle_told(Instant::now(), told);
                }
            }
            Output::Close => return output.flush().map_err(failed),
            // Neither was offered.
            Output::SendBody { .. } | Output::StartTls | Output::Compress => {}
            Output::Wait { .. } => {
                // What was left is offered again, now that something has changed.
                let left = buffer.len();
                if left > 0 {
                    session.handle_input(Instant::now(), &mut buffer);
                    if buffer.len() < left {
                        continue;
                    }
                }
                output.flush().map_err(failed)?;
                let piece = input.fill_buf().map_err(failed)?;
                let octets = piece.len();
                buffer.extend_from_slice(piece);
                input.consume(octets);
                if octets == 0 {
                    session.handle_eof(Instant::now());
                } else {
                    session.handle_input(Instant::now(), &mut buffer);
                }
            }
        }
    }
}

fn config(system: &LocalMail) -> Config {
    let mut config = Config::new(Mode::Smtp, system.hostname.as_str());
    config.dsn = true;
    // rule 10: lines are normalised, so there is no binary.
    config.binarymime = false;
    config.bare_newline = BareNewline::Normalise;
    config.leniency.bare_line_feed = true;
    config.limits.message_octets = system.message_octets;
    config.limits.recipients = system.recipients;
    config
}

struct Application<'a> {
    system: &'a LocalMail,
    who: &'a Who,
    /// The envelope, and the content so far.
    transaction: Option<(DropFile, BytesMut)>,
}

impl Application<'_> {
    fn on_event(&mut self, event: Event) -> Option<Told> {
        let out_of_sequence = || Told::Reply(Reply::new(503, "5.5.1 MAIL comes first: no transaction"));
        Some(match event {
            Event::Connected | Event::Data(_) => Told::Accept,
            Event::Hello(_) => {
                self.transaction = None;
                Told::Accept
            }
            Event::Mail(mail) => {
                // What else there is, is none of a drop file's business.
                let parameters = MailParameters { size: None, auth: None, ..mail.parameters };
                let envelope = DropFile {
                    full_name: self.who.name.clone(),
                    sender: mail.reverse_path,
                    parameters,
                    recipients: Vec::new(),
                    octets: Bytes::new(),
                };
                self.transaction = Some((envelope, BytesMut::new()));
                Told::Accept
            }
            Event::Recipient(recipient) => match &mut self.transaction {
                Some((envelope, _)) => {
                    envelope.recipients.push((recipient.forward_path, recipient.parameters));
                    Told::Accept
                }
                None => out_of_sequence(),
            },
            Event::Content(piece) => match &mut self.transaction {
                Some((_, content)) => {
                    content.extend_from_slice(&piece);
                    Told::Accept
                }
                None => out_of_sequence(),
            },
            Event::ContentEnd { .. } => match self.transaction.take() {
                Some((envelope, content)) => Told::Reply(self.finish(envelope, content.freeze())),
                None => out_of_sequence(),
            },
            Event::Reset => {
                self.transaction = None;
                return None;
            }
            Event::Secured(_) | Event::AuthenticateCancelled | Event::EarlyTalker | Event::Closed(_) => return None,
            Event::Verify(_) => Told::Accept,
            Event::Client(_) | Event::Expand(_) => Told::Reply(Reply::new(502, "5.5.1 not here")),
            Event::Authenticate { .. } | Event::AuthenticateResponse(_) => {
                Told::Reply(Reply::new(504, "5.5.4 this mechanism is not offered"))
            }
        })
    }

    fn finish(&self, envelope: DropFile, content: Bytes) -> Reply {
        let Some(stamp) = Stamp::now() else { return Reply::new(451, "4.3.0 no randomness to be had") };
        let octets =
            compose::complete(&wire::normalise_lines(content), &envelope.sender, self.system, self.who, &stamp);
        match deposit::deposit(&self.system.drop, &DropFile { octets, ..envelope }) {
            Ok(()) => Reply::new(250, "2.0.0 queued"),
            Err(failure) => refusal(&failure),
        }
    }
}

/// A failure in the words of SMTP (rule 17).
fn refusal(failure: &Failure) -> Reply {
    let code = if failure.code == EX_TEMPFAIL { "4.3.0" } else { "4.3.5" };
    Reply::new(451, format!("{code} {}", failure.reason))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use smtp::DropLimits;

    use super::*;

    fn said(system: &LocalMail, input: &str) -> String {
        let who = Who::new("ann", "Ann Other", "example.org").unwrap();
        let mut output = Vec::new();
        // As little at once as a terminal gives.
        let mut input = io::BufReader::with_capacity(7, input.as_bytes());
        speak(system, &who, &mut input, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_message_becomes_a_file_before_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let mut system = LocalMail {
            enabled: true,
            drop: folder.path().into(),
            hostname: "mx.example.org".into(),
            origin: "example.org".into(),
            message_octets: 1 << 20,
            recipients: 100,
        };
        let talk = "EHLO me\r\nMAIL FROM:<ann@example.org> RET=HDRS\r\nRCPT TO:<bob@example.net> NOTIFY=NEVER\r\n\
            DATA\r\nSubject: x\r\nBcc: y@z\r\n\r\n..dot\nbare\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n";
        let heard = said(&system, talk);
        assert!(heard.starts_with("220 mx.example.org "), "{heard}");
        assert!(heard.contains("\r\n250 2.0.0 queued\r\n") && heard.contains("DSN\r\n"), "{heard}");
        assert!(heard.lines().last().unwrap().starts_with("221 "), "{heard}");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names.len(), 1);
        let octets = Bytes::from(fs::read(&names[0]).unwrap());
        let file = DropFile::parse(&octets, &DropLimits::default()).unwrap();
        let text = String::from_utf8_lossy(&file.octets).into_owned();
        assert!(text.starts_with("Subject: x\r\nFrom: Ann Other <ann@example.org>\r\nDate: "), "{text}");
        assert!(text.ends_with("\r\n\r\n.dot\r\nbare\r\n"), "{text}");
        assert_eq!((file.recipients.len(), file.parameters.ret), (1, Some(smtp::Ret::Hdrs)));
        // No file, no promise; and an end in the middle of everything is an end.
        system.drop = folder.path().join("none");
        let heard = said(&system, &talk.replace("QUIT\r\n", "RCPT TO:"));
        assert!(heard.contains("\r\n451 4.3.5 drop directory "), "{heard}");
    }
}
