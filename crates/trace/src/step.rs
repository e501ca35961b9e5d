//! The steps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A step in the life of a message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// We promised to look after it.
    Accepted(Accepted),
    /// A rule, a filter or a service had something to say.
    Judged {
        /// Who: the name of a milter, `hook`, `relay`, `size` …
        by: String,
        /// What: `accept`, `reject`, `discard`, `quarantine`, or a fact that is only recorded.
        verdict: String,
        /// Why, in words.
        why: String,
    },
    /// It is in a mailbox of ours.
    Stored {
        /// The address it came in under.
        recipient: String,
        /// The account's address.
        account: String,
        /// The mailbox's name.
        mailbox: String,
    },
    /// It waits in the queue.
    Queued {
        /// For whom.
        recipient: String,
        /// The address it was sent to first, where an alias led here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original: Option<String>,
    },
    /// It was tried to hand it on.
    Attempted(Attempt),
    /// It is given up for a recipient; the sender is told if the sender can be.
    Failed {
        /// For whom.
        recipient: String,
        /// Why, in words.
        why: String,
        /// Its enhanced status code.
        status: String,
    },
    /// A rule says that nobody gets it.
    Discarded {
        /// For whom.
        recipient: String,
        /// Which rule.
        why: String,
    },
    /// The sender is told something.
    Reported {
        /// `failed`, `delayed`, `delivered`, `relayed` or `expanded` (RFC 3464 §2.3.3).
        action: String,
        /// The queue id of the report; none where nobody can be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<String>,
        /// To whom it goes.
        to: String,
    },
    /// An operator did something.
    Operated {
        /// `hold`, `release`, `retry` or `remove`.
        what: String,
        /// For whom.
        recipient: String,
    },
    /// A client has read it for the first time.
    Fetched {
        /// `imap` or `pop3`.
        protocol: String,
        /// Whose client.
        account: String,
        /// Its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
}

/// What is known of a message when it is accepted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Accepted {
    /// The reverse-path, without angle brackets; empty for `<>`.
    pub sender: String,
    /// How many recipients it was accepted for.
    pub recipients: u32,
    /// Its octets.
    pub octets: u64,
    /// Its Message-ID, with angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// How it came: `smtp`, `submission`, `submissions`, `lmtp`, `sendmail`, `report`.
    pub by: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// The version and cipher of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who was logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// One attempt for one recipient.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Attempt {
    /// For whom.
    pub recipient: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The host that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The version and cipher of TLS; none in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What was asked of TLS and what was proved: `opportunistic`, `dane`, `mta-sts`, `clear after a failed handshake` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The remote's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Our own words, where the remote said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When it is tried again, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The next system has it.
    Delivered,
    /// It will be tried again.
    #[default]
    Deferred,
    /// It will not.
    Failed,
}

/// Octets that are no step that this version knows.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a step of an unknown form")]
pub struct Unknown;

impl Step {
    /// The octets to be kept: JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Nothing in a step can fail to be JSON: its keys are names.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The step that was kept.
    ///
    /// # Errors
    /// A newer version, or something else, wrote it.
    pub fn decode(octets: &[u8]) -> Result<Self, Unknown> {
        serde_json::from_slice(octets).map_err(|_| Unknown)
    }

    /// A small number for the kind of step, which never changes its meaning.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Accepted(_) => 1,
            Self::Judged { .. } => 2,
            Self::Stored { .. } => 3,
            Self::Queued { .. } => 4,
            Self::Attempted(_) => 5,
            Self::Failed { .. } => 6,
            Self::Discarded { .. } => 7,
            Self::Reported { .. } => 8,
            Self::Operated { .. } => 9,
            Self::Fetched { .. } => 10,
        }
    }
}

/// The form in which addresses and Message-IDs are looked up: without angle brackets and spaces around them, in lower
/// case.
#[must_use]
pub fn key(text: &str) -> String {
    text.trim().trim_start_matches('<').trim_end_matches('>').to_lowercase()
}

/// A new queue id: 15 digits and letters, which sort by time (rule 32). `random`: a number that nobody can foresee.
#[must_use]
pub fn queue_id(now: Timestamp, random: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let micros = u64::try_from(now.as_microsecond()).unwrap_or(0);
    let mut id = [b'0'; 15];
    for (mut number, places) in [(micros, 0..9), (random, 9..15)] {
        for place in places.rev() {
            id[place] = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
            number /= 62;
        }
    }
    String::from_utf8_lossy(&id).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_sort_by_time_and_differ() {
        // rule 32
        let at = |micros| Timestamp::from_microsecond(1_700_000_000_000_000 + micros).unwrap();
        let ids: Vec<String> = (0..1000_u32).map(|at_| queue_id(at(i64::from(at_)), u64::from(at_) * 77_777)).collect();
        assert!(ids.iter().all(|id| id.len() == 15 && id.bytes().all(|octet| octet.is_ascii_alphanumeric())));
        assert!(ids.is_sorted());
        assert_ne!(queue_id(at(0), 1), queue_id(at(0), 2));
    }
}
