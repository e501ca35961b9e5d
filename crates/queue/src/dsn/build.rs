//! Writes a report: multipart/report (RFC 6522) with text, delivery-status (RFC 3464) and what is returned.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::decide::escape;
use super::{DeliveryStatus, REPORT_RECIPIENTS, RecipientStatus, Typed, one_line, reply_lines, text};

/// A report to be written. The caller gives every value that could differ: the same report is the same octets.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The address that the report comes from, as `mailer-daemon@mx.a.example`.
    pub from: &'a str,
    /// Whom it goes to: the reverse-path of the message, without brackets.
    pub to: &'a str,
    /// The Message-ID, with its brackets.
    pub message_id: &'a str,
    /// The date.
    pub date: Timestamp,
    /// The entry's queue id (rule 32), for the postmaster.
    pub queue_id: &'a str,
    /// What happened.
    pub status: &'a DeliveryStatus,
    /// What is returned of the message.
    pub returned: Returned<'a>,
    /// The message used SMTPUTF8, so its sender reads UTF-8: the `message/global` family may be used (RFC 6533 §4).
    pub utf8: bool,
}

/// What is returned of a message.
#[derive(Clone, Copy, Debug)]
pub enum Returned<'a> {
    /// Nothing.
    Nothing,
    /// Its header section; what follows an empty line is left out.
    Header(&'a [u8]),
    /// All of it. Content that no 8-bit path may carry (RFC 2045 §2.8: NUL, bare CR or LF, long lines) shrinks to its
    /// header section.
    Whole(&'a [u8]),
}

/// The octets of a report: lines end with CRLF, none has more than 998 octets, those of the report itself no more than
/// 78 where words allow. 8-bit octets occur if the text, or what is returned, has them.
#[must_use]
pub fn build(report: &Report<'_>) -> Vec<u8> {
    let body = text::body(report);
    let (status, is_global) = delivery_status(report);
    let returned = returned(report);
    let boundary = boundary(
        report.message_id,
        &[body.as_bytes(), status.as_bytes(), returned.as_ref().map_or(&[], |part| &part.octets)],
    );
    let mut out = String::new();
    header(&mut out, report, &boundary);
    let encoding = |ascii: bool| if ascii { "7bit" } else { "8bit" };
    let charset = if body.is_ascii() { "us-ascii" } else { "utf-8" };
    let _ = write!(
        out,
        "This is a report in several parts: a text, details for programs, and what is\r\nreturned of your message.\r\n\
         \r\n--{boundary}\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {}\r\n\r\n{body}\
         \r\n--{boundary}\r\nContent-Type: message/{}\r\nContent-Transfer-Encoding: {}\r\n\r\n{status}",
        encoding(body.is_ascii()),
        if is_global { "global-delivery-status" } else { "delivery-status" },
        encoding(status.is_ascii()),
    );
    let mut out = out.into_bytes();
    if let Some(part) = returned {
        let front = format!(
            "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n",
            part.kind,
            encoding(part.octets.is_ascii())
        );
        out.extend_from_slice(front.as_bytes());
        out.extend_from_slice(&part.octets);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// RFC 5322 §3.3, in UTC.
pub(super) fn date(time: Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&time.to_zoned(TimeZone::UTC))
        .unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned())
}

/// One line of what somebody else wrote; US-ASCII unless `utf8`.
pub(super) fn plain(text: &str, utf8: bool) -> String {
    let line = one_line(text);
    if utf8 { line } else { line.chars().map(|char| if char.is_ascii() { char } else { '?' }).collect() }
}

fn header(out: &mut String, report: &Report<'_>, boundary: &str) {
    // RFC 3834 §5: what answers automatically says so, and is not answered automatically.
    field(out, "Date", &date(report.date));
    field(out, "From", &format!("Mail Delivery System <{}>", one_line(report.from)));
    field(out, "To", &format!("<{}>", one_line(report.to)));
    field(out, "Subject", text::subject(report));
    field(out, "Message-ID", &one_line(report.message_id));
    field(out, "Auto-Submitted", "auto-replied");
    field(out, "MIME-Version", "1.0");
    field(out, "Content-Type", &format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\""));
    out.push_str("\r\n");
}

/// A field, folded at each LF, and at its spaces to lines of 78 octets (RFC 5322 §2.1.1).
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut width = name.len() + 1;
    // The first word stays with the name: a line of white space alone would end the header for some.
    let mut may_fold = false;
    for line in value.split('\n') {
        let mut must_fold = may_fold;
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            if must_fold || may_fold && width + 1 + word.len() > 78 {
                out.push_str("\r\n");
                width = 0;
            }
            out.push(' ');
            out.push_str(word);
            width += 1 + word.len();
            (may_fold, must_fold) = (true, false);
        }
    }
    out.push_str("\r\n");
}

/// The machine's part, and whether it is of the global kind.
fn delivery_status(report: &Report<'_>) -> (String, bool) {
    let status = report.status;
    let is_foreign = |typed: &Typed| !typed.text.is_ascii();
    let is_global = report.utf8
        && status.recipients.iter().any(|recipient| {
            is_foreign(&recipient.final_recipient) || recipient.original_recipient.as_ref().is_some_and(is_foreign)
        });
    let mut out = String::new();
    let typed = |out: &mut String, name, value: &Typed| {
        let text = match &*value.kind {
            // RFC 6533 §3: such an address has a form in US-ASCII, too.
            "utf-8" => escape(&one_line(&value.text), is_global),
            // RFC 3461 §9.2
            "smtp" => reply_lines(&plain(&value.text, is_global)).join("\n"),
            _ => plain(&value.text, is_global),
        };
        field(out, name, &format!("{}; {text}", atom(&value.kind)));
    };
    if let Some(envelope_id) = &status.original_envelope_id {
        field(&mut out, "Original-Envelope-Id", &plain(envelope_id, is_global));
    }
    typed(&mut out, "Reporting-MTA", &status.reporting_mta);
    if let Some(received_from) = &status.received_from_mta {
        typed(&mut out, "Received-From-MTA", received_from);
    }
    if let Some(arrival) = status.arrival_date {
        field(&mut out, "Arrival-Date", &date(arrival));
    }
    if let Some(deadline) = status.deliver_by_date {
        field(&mut out, "Deliver-By-Date", &date(deadline));
    }
    for recipient in status.recipients.iter().take(REPORT_RECIPIENTS) {
        out.push_str("\r\n");
        recipient_status(&mut out, recipient, typed);
    }
    (out, is_global)
}

fn recipient_status(out: &mut String, recipient: &RecipientStatus, typed: impl Fn(&mut String, &'static str, &Typed)) {
    if let Some(original) = &recipient.original_recipient {
        typed(out, "Original-Recipient", original);
    }
    typed(out, "Final-Recipient", &recipient.final_recipient);
    field(out, "Action", recipient.action.as_str());
    field(out, "Status", &recipient.status.to_string());
    if let Some(remote) = &recipient.remote_mta {
        typed(out, "Remote-MTA", remote);
    }
    if let Some(diagnostic) = &recipient.diagnostic_code {
        typed(out, "Diagnostic-Code", diagnostic);
    }
    if let Some(last_attempt) = recipient.last_attempt_date {
        field(out, "Last-Attempt-Date", &date(last_attempt));
    }
    if let Some(until) = recipient.will_retry_until {
        field(out, "Will-Retry-Until", &date(until));
    }
}

/// The type of a value: an atom (RFC 3464 §2.1.2).
fn atom(kind: &str) -> String {
    let fits = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    let kind: String = kind.chars().filter(fits).take(64).collect();
    if kind.is_empty() { "x-unknown".to_owned() } else { kind.to_ascii_lowercase() }
}

struct Part {
    kind: &'static str,
    octets: Vec<u8>,
}

fn returned(report: &Report<'_>) -> Option<Part> {
    match report.returned {
        Returned::Nothing => None,
        Returned::Whole(octets) if fits_in_lines(octets) => {
            let kind = if report.utf8 { "message/global" } else { "message/rfc822" };
            Some(Part { kind, octets: octets.to_vec() })
        }
        Returned::Whole(octets) | Returned::Header(octets) => {
            let octets = header_section(octets, report.utf8);
            // RFC 6533 §4.3: UTF-8 in a header section has a type of its own.
            let kind = if octets.is_ascii() { "text/rfc822-headers" } else { "message/global-headers" };
            Some(Part { kind, octets })
        }
    }
}

/// Whether an 8-bit path may carry it (RFC 2045 §2.8).
fn fits_in_lines(octets: &[u8]) -> bool {
    let mut rest = octets;
    while !rest.is_empty() {
        let end = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
        if end > LINE_OCTETS {
            return false;
        }
        rest = match rest.get(end..) {
            None | Some([]) => return true,
            Some([b'\r', b'\n', behind @ ..]) => behind,
            Some(_) => return false,
        };
    }
    true
}

/// The header section, in lines that may be sent: any line end becomes CRLF, long lines are folded, NUL and, unless
/// UTF-8 is allowed and this is UTF-8, 8-bit octets become `?`.
fn header_section(octets: &[u8], utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let keeps = utf8 && std::str::from_utf8(octets.get(..octets.len().min(HEADER_OCTETS)).unwrap_or_default()).is_ok();
    let mut lines = octets.split(|octet| *octet == b'\n');
    let mut taken = 0;
    for line in &mut lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        taken += line.len() + 2;
        if line.is_empty() || taken > HEADER_OCTETS {
            break;
        }
        let mut width = 0;
        for octet in line {
            // Between characters, not inside one.
            if width >= LINE_OCTETS - 4 && !matches!(octet, 0x80..=0xBF) {
                out.extend_from_slice(b"\r\n ");
                width = 1;
            }
            out.push(match octet {
                0 | b'\r' => b'?',
                0x80.. if !keeps => b'?',
                octet => *octet,
            });
            width += 1;
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A boundary that occurs in none of the parts (RFC 2046 §5.1.1).
fn boundary(seed: &str, parts: &[&[u8]]) -> String {
    // FNV-1a: any spreading will do, as the result is checked.
    let mut hash = seed
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01B3));
    loop {
        let boundary = format!("=_mw_{hash:016x}");
        let occurs = |part: &&[u8]| part.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !parts.iter().any(occurs) {
            return boundary;
        }
        hash = hash.wrapping_add(1);
    }
}

/// Octets of a line without its end (RFC 5322 §2.1.1).
const LINE_OCTETS: usize = 998;

/// Octets of a header section that are returned.
const HEADER_OCTETS: usize = 256 * 1024;
