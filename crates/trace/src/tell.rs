//! Steps in plain words.

use std::fmt;

use jiff::Timestamp;

use crate::step::{Accepted, Attempt, Outcome, Step};

/// What others said, with control characters escaped.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if char.is_control() { write!(f, "{}", char.escape_default())? } else { write!(f, "{char}")? }
        }
        Ok(())
    }
}

/// An address, or the words for none.
fn sender(address: &str) -> Said<'_> {
    Said(if address.is_empty() { "<> (a report)" } else { address })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(accepted) => accepted.fmt(f),
            Self::Judged { by, verdict, why } => write!(f, "{}: {}: {}", Said(by), Said(verdict), Said(why)),
            Self::Stored { recipient, account, mailbox } if recipient == account => {
                write!(f, "stored for {} in {}", Said(account), Said(mailbox))
            }
            Self::Stored { recipient, account, mailbox } => {
                write!(f, "stored for {} in {} of {}", Said(recipient), Said(mailbox), Said(account))
            }
            Self::Queued { recipient, original: None } => write!(f, "queued for {}", Said(recipient)),
            Self::Queued { recipient, original: Some(original) } => {
                write!(f, "queued for {}, where {} leads", Said(recipient), Said(original))
            }
            Self::Attempted(attempt) => attempt.fmt(f),
            Self::Failed { recipient, why, status } => {
                write!(f, "given up for {}: {} ({})", Said(recipient), Said(why), Said(status))
            }
            Self::Discarded { recipient, why } => write!(f, "discarded for {}: {}", Said(recipient), Said(why)),
            Self::Reported { action, report: Some(report), to } => {
                write!(f, "report ({action}) to {} as {report}", sender(to))
            }
            Self::Reported { action, report: None, .. } => write!(f, "no report ({action}): there is nobody to tell"),
            Self::Operated { what, recipient } => write!(f, "{what} by the operator, for {}", Said(recipient)),
            Self::Fetched { protocol, account, client } => {
                write!(f, "fetched by {} over {protocol}", Said(account))?;
                client.as_ref().map_or(Ok(()), |client| write!(f, " from {}", Said(client)))
            }
        }
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted from {} by {}", sender(&self.sender), self.by)?;
        if let Some(account) = &self.account {
            write!(f, " (logged in as {})", Said(account))?;
        }
        match (&self.hello, &self.client) {
            (Some(hello), Some(client)) => write!(f, " of {} [{client}]", Said(hello))?,
            (None, Some(client)) => write!(f, " of [{client}]")?,
            _ => {}
        }
        match &self.tls {
            Some(tls) => write!(f, " over {tls}")?,
            None if self.client.is_some() => f.write_str(" in clear")?,
            None => {}
        }
        write!(f, ", {} octets for {}", self.octets, self.recipients)?;
        f.write_str(if self.recipients == 1 { " recipient" } else { " recipients" })?;
        self.message_id.as_ref().map_or(Ok(()), |id| write!(f, ", Message-ID {}", Said(id)))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipient = Said(&self.recipient);
        match self.outcome {
            Outcome::Delivered => write!(f, "delivered to {recipient}")?,
            Outcome::Deferred => write!(f, "not delivered to {recipient} yet")?,
            Outcome::Failed => write!(f, "refused for {recipient}")?,
        }
        if let Some(host) = &self.host {
            write!(f, " by {}", Said(host))?;
        }
        // A host without a name is told by its address already.
        if let Some(address) = self.address.as_ref().filter(|address| {
            let literal = [format!("[{address}]"), format!("[IPv6:{address}]")];
            self.host.as_ref().is_none_or(|host| !literal.contains(host))
        }) {
            write!(f, " [{address}]")?;
        }
        // What was not sent was not sent in clear.
        let was_sent = self.outcome == Outcome::Delivered || self.reply.is_some();
        match (&self.tls, &self.policy) {
            (Some(tls), Some(policy)) => write!(f, " over {tls} ({policy})")?,
            (Some(tls), None) => write!(f, " over {tls}")?,
            (None, Some(policy)) if was_sent => write!(f, " in clear ({policy})")?,
            (None, Some(policy)) => write!(f, " (TLS: {policy})")?,
            (None, None) => {}
        }
        if let Some(reply) = &self.reply {
            write!(f, "; it said: {}", Said(reply))?;
        }
        if let Some(trouble) = &self.trouble {
            write!(f, "; {}", Said(trouble))?;
        }
        match self.next.and_then(|next| Timestamp::from_second(next).ok()) {
            Some(next) => write!(f, "; next try at {next}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_plain_words() {
        let attempt = Attempt {
            recipient: "bob@example.net".into(),
            host: Some("mx.example.net".into()),
            address: Some("192.0.2.1".into()),
            tls: Some("TLS1.3".into()),
            policy: Some("dane".into()),
            reply: Some("451 4.7.1 greylisted\r\nagain".into()),
            next: Some(0),
            ..Attempt::default()
        };
        let delivered = Attempt {
            outcome: Outcome::Delivered,
            reply: Some("250 2.0.0 ok".into()),
            next: None,
            tls: None,
            ..attempt.clone()
        };
        let unmet = Attempt {
            policy: Some("encrypted".into()),
            trouble: Some("the host offers none".into()),
            reply: None,
            next: None,
            tls: None,
            ..attempt.clone()
        };
        for (step, words) in [
            (
                Step::Accepted(Accepted {
                    sender: "ann@example.org".into(),
                    recipients: 2,
                    octets: 10,
                    message_id: Some("<1@example.org>".into()),
                    by: "submission".into(),
                    client: Some("192.0.2.7".into()),
                    hello: Some("laptop".into()),
                    tls: None,
                    account: Some("ann@example.org".into()),
                }),
                "accepted from ann@example.org by submission (logged in as ann@example.org) of laptop [192.0.2.7] in clear, 10 octets for 2 recipients, Message-ID <1@example.org>",
            ),
            (
                Step::Attempted(attempt),
                "not delivered to bob@example.net yet by mx.example.net [192.0.2.1] over TLS1.3 (dane); it said: 451 4.7.1 greylisted\\r\\nagain; next try at 1970-01-01T00:00:00Z",
            ),
            (
                Step::Attempted(Attempt {
                    host: Some("[192.0.2.1]".into()),
                    policy: Some("opportunistic".into()),
                    ..delivered
                }),
                "delivered to bob@example.net by [192.0.2.1] in clear (opportunistic); it said: 250 2.0.0 ok",
            ),
            (
                Step::Attempted(unmet),
                "not delivered to bob@example.net yet by mx.example.net [192.0.2.1] (TLS: encrypted); the host offers none",
            ),
            (
                Step::Reported { action: "failed".into(), report: None, to: String::new() },
                "no report (failed): there is nobody to tell",
            ),
            (
                Step::Queued { recipient: "a@b.example".into(), original: Some("list@example.org".into()) },
                "queued for a@b.example, where list@example.org leads",
            ),
        ] {
            assert_eq!(step.to_string(), words);
            assert_eq!(Step::decode(&step.encode()), Ok(step));
        }
    }

    #[test]
    fn the_json_is_the_interface_that_scripts_rely_on() {
        let step = Step::Failed { recipient: "a@b".into(), why: "no".into(), status: "5.1.1".into() };
        let json = r#"{"step":"failed","recipient":"a@b","why":"no","status":"5.1.1"}"#;
        assert_eq!(String::from_utf8_lossy(&step.encode()), json);
        assert_eq!(step.kind(), 6);
    }
}
