//! The part of a report that a person reads: what happened, whose words, what to do.

use std::fmt::Write as _;

use super::{Action, RecipientStatus, reply_lines};
use crate::dsn::build::{Report, date, plain};

/// The subject.
pub(super) fn subject(report: &Report<'_>) -> &'static str {
    match gravest(report) {
        Action::Failed => "Your message could not be delivered",
        Action::Delayed => "Your message is delayed; no action is needed yet",
        Action::Delivered => "Your message was delivered",
        Action::Relayed => "Your message was passed on",
        Action::Expanded => "Your message was passed on to a list of addresses",
    }
}

/// Lines of at most 76 octets where words allow, parted by CRLF.
pub(super) fn body(report: &Report<'_>) -> String {
    let mut out = String::new();
    let status = report.status;
    if let Some(arrival) = status.arrival_date {
        paragraph(&mut out, &format!("This is about the message that you sent on {}.", date(arrival)), "");
    }
    for action in Action::ALL {
        let recipients: Vec<_> = status.recipients.iter().filter(|found| found.action == action).collect();
        if recipients.is_empty() {
            continue;
        }
        paragraph(&mut out, introduction(action), "");
        for recipient in recipients {
            one(&mut out, report, recipient);
        }
    }
    let returned = match report.returned {
        super::Returned::Nothing => "",
        super::Returned::Header(_) => " The first lines of your message are attached.",
        super::Returned::Whole(_) => " Your message is attached.",
    };
    let host = plain(&status.reporting_mta.text, report.utf8);
    let end = format!(
        "This report was written by the mail server {host}. Nobody reads answers to it. If you ask your postmaster \
         about it, name the queue id {}.{returned}",
        plain(report.queue_id, false)
    );
    paragraph(&mut out, &end, "");
    out
}

fn one(out: &mut String, report: &Report<'_>, recipient: &RecipientStatus) {
    let address = plain(&recipient.final_recipient.text, report.utf8);
    match &recipient.original_recipient {
        Some(original) if !original.text.eq_ignore_ascii_case(&recipient.final_recipient.text) => {
            let original = plain(&original.text, report.utf8);
            paragraph(out, &format!("{original} (which leads to {address})"), "    ");
        }
        _ => paragraph(out, &address, "    "),
    }
    if let Some(words) = recipient.diagnostic_code.as_ref().filter(|_| recipient.action != Action::Delivered) {
        let quoted = plain(&words.text, report.utf8);
        match &recipient.remote_mta {
            Some(remote) if words.kind == "smtp" => {
                let remote = plain(&remote.text, report.utf8);
                paragraph(out, &format!("The mail server {remote} answered, in its own words:"), "    ");
                answer(out, &quoted);
            }
            _ if words.kind == "smtp" => {
                paragraph(out, "The other mail server answered, in its own words:", "    ");
                answer(out, &quoted);
            }
            _ => paragraph(out, &format!("The reason: {quoted}"), "    "),
        }
    }
    if let Some(advice) = advice(recipient) {
        paragraph(out, advice, "    ");
    }
    if let (Action::Delayed, Some(until)) = (recipient.action, recipient.will_retry_until) {
        paragraph(out, &format!("Delivery is tried again until {}.", date(until)), "    ");
    }
}

fn introduction(action: Action) -> &'static str {
    match action {
        Action::Failed => "It could not be delivered to the following address, and is not tried again:",
        Action::Delayed => {
            "It could not be delivered to the following address yet. You need not send it again: it is tried further, \
             and you will be told if that fails."
        }
        Action::Delivered => "It was delivered to the following address, as you asked to be told:",
        Action::Relayed => {
            "It was accepted by the mail server for the following address, which does not report deliveries. Unless it \
             tells you of a failure, you will hear nothing more:"
        }
        Action::Expanded => {
            "It was passed on to the addresses behind the following one. What becomes of it there is not reported:"
        }
    }
}

/// What the sender can do, by the status code (RFC 3463 §3; RFC 5248).
fn advice(recipient: &RecipientStatus) -> Option<&'static str> {
    if recipient.action != Action::Failed {
        return None;
    }
    Some(match (recipient.status.subject(), recipient.status.detail()) {
        (1, 1 | 3 | 6) => "What you can do: check the address for mistakes, or ask the recipient for the right one.",
        (1, 2 | 10) | (4, 3 | 4) => {
            "What you can do: check what stands behind the @ for mistakes; that domain does not exist or takes no mail."
        }
        (1, 7 | 8) => "What you can do: check your own address in your mail program; it was not accepted.",
        (2, 1) => "What you can do: reach the recipient in another way; the mailbox is switched off.",
        (2, 2) | (3, 1) => {
            "What you can do: try again later, or reach the recipient in another way; there is no room for mail."
        }
        (2, 3) | (3, 4) => {
            "What you can do: send it in smaller parts, or share the attachment in another way; it is too large."
        }
        (4, 7) | (4, 1 | 2) => {
            "What you can do: check the address, and try again later; the other side could not be reached in time."
        }
        (6, _) => "What you can do: send it in another form, as plain text; the other side cannot take it as it is.",
        (7, 1) => {
            "What you can do: reach the recipient in another way, or ask your postmaster; the other side does not accept \
             this mail from you."
        }
        (7, _) => "What you can do: show this report to your postmaster; a rule or a safeguard stood in the way.",
        _ => "What you can do: read the reason above; if it does not help, show this report to your postmaster.",
    })
}

fn gravest(report: &Report<'_>) -> Action {
    report.status.recipients.iter().map(|recipient| recipient.action).min().unwrap_or(Action::Failed)
}

/// What a server said, line by line.
fn answer(out: &mut String, words: &str) {
    for line in reply_lines(words) {
        lines(out, line, "    > ");
    }
    out.push_str("\r\n");
}

/// Words in lines, and an empty line.
fn paragraph(out: &mut String, text: &str, indent: &str) {
    lines(out, text, indent);
    out.push_str("\r\n");
}

/// Words in lines, each behind `indent`.
fn lines(out: &mut String, text: &str, indent: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        // A word that is too long is broken: a line has at most 998 octets (RFC 5322 §2.1.1).
        let mut rest = word;
        while !rest.is_empty() {
            let end = (1..=rest.len().min(200)).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
            let (piece, behind) = rest.split_at(end);
            rest = behind;
            if width > 0 && width + 1 + piece.len() > WIDTH {
                out.push_str("\r\n");
                width = 0;
            }
            let before = if width == 0 { indent } else { " " };
            // Writing to a String cannot fail.
            let _ = write!(out, "{before}{piece}");
            width += before.len() + piece.len();
        }
    }
    out.push_str("\r\n");
}

const WIDTH: usize = 76;
