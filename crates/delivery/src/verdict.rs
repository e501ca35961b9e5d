//! From what a server answered to what becomes of a recipient (RFC 5321 §4.2.1, RFC 3463).

use queue::Trouble;
use smtp::Reply;
use smtp::client::{Answer, Failure, Outcome, Stage, Unsupported};
use wire::EnhancedCode;

/// What becomes of a recipient after an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The next system has it.
    Delivered(Reply),
    /// It is tried again.
    Deferred(Reason),
    /// It is not.
    Failed(Reason),
}

/// Why a recipient was not served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reason {
    /// In the class of what becomes of the recipient.
    pub(crate) status: EnhancedCode,
    /// The remote's words.
    pub(crate) reply: Option<Reply>,
    /// Ours, where the remote said nothing that explains it.
    pub(crate) words: Option<String>,
    /// How soon it is tried again.
    pub(crate) trouble: Trouble,
}

impl Reason {
    /// A reason in our own words.
    pub(crate) fn ours(status: EnhancedCode, words: impl Into<String>) -> Self {
        Self { status, reply: None, words: Some(words.into()), trouble: Trouble::Transient }
    }

    /// The remote's refusal.
    pub(crate) fn theirs(reply: &Reply, stage: Option<Stage>) -> Self {
        let bare =
            if is_permanent(reply, stage) { EnhancedCode::permanent(0, 0) } else { EnhancedCode::transient(0, 0) };
        let status = match reply.enhanced() {
            Some(code) if code.class() == bare.class() => code,
            // RFC 3463 §2: what a bare code means is no more than its class, but for the recipient's.
            _ if stage == Some(Stage::Rcpt) && matches!(reply.code(), 550 | 551 | 553) => EnhancedCode::permanent(1, 1),
            _ => bare,
        };
        let trouble = Trouble::of_reply(reply.code(), reply.enhanced(), reply.text());
        Self { status, reply: Some(reply.clone()), words: None, trouble }
    }

    /// A refusal that has the form of a reply, but that no mail system gave: a route's, or what a program made of a message.
    pub(crate) fn not_of_a_server(reply: &Reply, words: String) -> Self {
        Self { reply: None, words: Some(words), ..Self::theirs(reply, None) }
    }

    /// In one line: the remote's words, else ours.
    pub(crate) fn line(&self) -> String {
        match (&self.reply, &self.words) {
            (Some(reply), _) => reply.to_string(),
            (None, Some(words)) => words.clone(),
            (None, None) => self.status.to_string(),
        }
    }
}

/// RFC 5321 §4.5.3.1.10: 552 to RCPT means too many recipients, which passes.
fn is_permanent(reply: &Reply, stage: Option<Stage>) -> bool {
    reply.is_permanent() && !(stage == Some(Stage::Rcpt) && reply.code() == 552)
}

impl Verdict {
    /// The store or the disk of this system failed: nobody elsewhere is to blame, and mail waits.
    pub(crate) fn trouble_here(error: &impl std::fmt::Display) -> Self {
        Self::Deferred(Reason::ours(EnhancedCode::transient(3, 0), error.to_string()))
    }

    fn of_answer(answer: &Answer) -> Self {
        let Answer { stage, reply } = answer;
        if reply.is_positive() {
            return Self::Delivered(reply.clone());
        }
        let reason = Reason::theirs(reply, Some(*stage));
        if is_permanent(reply, Some(*stage)) { Self::Failed(reason) } else { Self::Deferred(reason) }
    }

    /// What a failure of the whole transaction means for a recipient without an answer of its own.
    pub(crate) fn of_failure(failure: &Failure, content_sent: bool) -> Self {
        let doubt = if content_sent { "; all of the message was sent, so it may arrive twice" } else { "" };
        match failure {
            Failure::Refused(reply) if reply.is_permanent() => Self::Failed(Reason::theirs(reply, None)),
            Failure::Refused(reply) | Failure::Closing(reply) => Self::Deferred(Reason::theirs(reply, None)),
            Failure::Unsupported(Unsupported::SmtpUtf8) => Self::Failed(Reason::ours(
                EnhancedCode::permanent(6, 7),
                "an address or a header field is not in ASCII, which the receiving system does not understand",
            )),
            Failure::Unsupported(Unsupported::Size) => Self::Failed(Reason::ours(
                EnhancedCode::permanent(3, 4),
                "the message is larger than the receiving system allows",
            )),
            Failure::Unsupported(Unsupported::RequireTls) => Self::Failed(Reason::ours(
                // RFC 8689 §4.2.1
                EnhancedCode::permanent(7, 30),
                "the sender demands REQUIRETLS, which the receiving system does not offer",
            )),
            Failure::Unsupported(Unsupported::DeliverBy) => Self::Failed(Reason::ours(
                // RFC 2852 §4.1.4.1
                EnhancedCode::permanent(3, 3),
                "the sender demands delivery by a time, which the receiving system does not promise",
            )),
            Failure::DeliverByPassed => Self::Failed(Reason::ours(
                EnhancedCode::permanent(4, 7),
                "the time by which the sender wanted it delivered has passed",
            )),
            Failure::BareNewline => {
                // rule 10
                Self::Failed(Reason::ours(
                    EnhancedCode::permanent(6, 1),
                    "a line of the message ends in a bare CR or LF, which may not be sent",
                ))
            }
            Failure::Unsupported(_) => Self::Failed(Reason::ours(
                EnhancedCode::permanent(6, 3),
                "the message has a form that the receiving system does not take",
            )),
            failure => Self::Deferred(Reason::ours(EnhancedCode::transient(4, 2), format!("{failure}{doubt}"))),
        }
    }

    /// One verdict for each recipient of a transaction.
    pub(crate) fn of_outcome(outcome: &Outcome) -> Vec<Self> {
        let unsaid = || match &outcome.failure {
            Some(failure) => Self::of_failure(failure, outcome.content_sent),
            None => Self::Deferred(Reason::ours(
                EnhancedCode::transient(5, 0),
                "the receiving system did not say what became of it",
            )),
        };
        outcome.recipients.iter().map(|answer| answer.as_ref().map_or_else(unsaid, Self::of_answer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stage: Stage, code: u16, text: &'static str) -> Answer {
        Answer { stage, reply: Reply::new(code, text) }
    }

    #[test]
    fn answers_become_verdicts() {
        for (answer, expected) in [
            (answer(Stage::Content, 250, "2.0.0 ok"), "delivered"),
            (answer(Stage::Rcpt, 550, "5.1.1 nobody"), "failed 5.1.1"),
            (answer(Stage::Rcpt, 550, "nobody"), "failed 5.1.1"),
            (answer(Stage::Mail, 550, "no"), "failed 5.0.0"),
            (answer(Stage::Rcpt, 552, "too many recipients"), "deferred 4.0.0"),
            (answer(Stage::Content, 552, "5.2.2 too large"), "failed 5.2.2"),
            (answer(Stage::Rcpt, 451, "4.7.1 greylisted"), "deferred 4.7.1"),
            // The enhanced code is of another class than the reply: the reply counts.
            (answer(Stage::Rcpt, 450, "5.1.1 odd"), "deferred 4.0.0"),
        ] {
            let found = match Verdict::of_answer(&answer) {
                Verdict::Delivered(_) => "delivered".to_owned(),
                Verdict::Deferred(reason) => format!("deferred {}", reason.status),
                Verdict::Failed(reason) => format!("failed {}", reason.status),
            };
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[test]
    fn greylisting_is_seen() {
        let greylisted = Reason::theirs(&Reply::new(451, "4.7.1 greylisted, come back"), Some(Stage::Rcpt));
        assert_eq!(greylisted.trouble, Trouble::Greylisted);
    }

    #[test]
    fn a_lost_reply_leaves_a_doubt_that_is_told() {
        let outcome = Outcome { recipients: vec![None], failure: Some(Failure::Eof), content_sent: true };
        let Verdict::Deferred(reason) = &Verdict::of_outcome(&outcome)[0] else { panic!("deferred") };
        assert!(reason.line().contains("may arrive twice"), "{}", reason.line());
    }
}
