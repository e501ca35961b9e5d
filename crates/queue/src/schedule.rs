//! When to try again, when to tell the sender that it takes long, and when to give up (RFC 5321 §4.5.4.1).
//!
//! Each answer is a function of the message's age and of what happened; nothing is remembered here.

use std::time::Duration;

use jiff::Timestamp;
use wire::EnhancedCode;

use crate::envelope::{DeliverBy, DeliverByMode};
use crate::random::spread;
use crate::time::{Micros, length, micros, timestamp};

/// How patient the queue is. [`Default`] has the documented defaults; [`RetryPolicy::bounded`] keeps any value within
/// the bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// The wait after the first failed attempt; it doubles with each further one. Default 5 min, 10 s to 1 day.
    /// RFC 5321 §4.5.4.1 asks for 30 min at least between attempts at a host that failed, and for more at the start of
    /// a message's life: receivers that greylist and short outages are the rule today.
    pub first: Duration,
    /// The longest wait. Default 4 h, `first` to 1 day.
    pub max: Duration,
    /// Each wait is longer or shorter by up to this share of it, so that what failed together is not tried together.
    /// Default 10, 0 to 50.
    pub jitter_percent: u8,
    /// The age at which a message is given up. Default 5 days, 1 h to 30 days (RFC 5321 §4.5.4.1: 4 to 5 days).
    pub expire: Duration,
    /// The age at which the sender is told that the message is late; `None`: never. Default 4 h, 5 min to `expire`
    /// (RFC 3461 §5.2.5 leaves it to the server).
    pub delay_notice: Option<Duration>,
    /// The wait after a first refusal that looks like greylisting. Default 2 min, 30 s to `max`: short enough to be
    /// hardly noticed, longer than the minute that most receivers ask for (RFC 6647 §5).
    pub greylist_first: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5 * 60),
            max: Duration::from_secs(4 * HOUR),
            jitter_percent: 10,
            expire: Duration::from_secs(5 * 24 * HOUR),
            delay_notice: Some(Duration::from_secs(4 * HOUR)),
            greylist_first: Duration::from_secs(2 * 60),
        }
    }
}

/// What is known of a recipient whose fate is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// When its time began, which its age counts from: see [`Case::begins`].
    pub accepted: Timestamp,
    /// Attempts made, the one that just failed among them.
    pub attempts: u32,
    /// The time.
    pub now: Timestamp,
    /// Whether the sender was told of the delay.
    pub delay_told: bool,
    /// The deadline that the sender set (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
}

impl Case {
    /// When the time of a recipient begins: when its message was accepted, when the hold that its sender asked for ends
    /// (RFC 4865), or when an operator took it from hold, whichever is the last. So a hold, however long, costs it nothing.
    #[must_use]
    pub fn begins(accepted: Timestamp, hold_until: Option<Timestamp>, released: Option<Timestamp>) -> Timestamp {
        [hold_until, released].into_iter().flatten().fold(accepted, Timestamp::max)
    }
}

/// What kind of trouble the last attempt had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The receiver asks strangers to come back (RFC 6647).
    Greylisted,
    /// Anything else that may pass.
    Transient,
}

impl Trouble {
    /// Judges a 4yz reply: its code, the enhanced status code and the text.
    ///
    /// Greylisting has no code of its own: RFC 6647 names 421 and 450 with 4.7.1; receivers use 450 and 451, mostly
    /// with 4.7.x, or say the word.
    #[must_use]
    pub fn of_reply(code: u16, enhanced: Option<EnhancedCode>, text: &str) -> Self {
        if !matches!(code, 421 | 450 | 451) {
            return Self::Transient;
        }
        let text: String = text.chars().take(500).collect::<String>().to_ascii_lowercase();
        let said =
            ["greylist", "graylist", "grey list", "grey-list", "gray list"].iter().any(|word| text.contains(word));
        let by_policy = |code: EnhancedCode| matches!((code.class(), code.subject(), code.detail()), (4, 7, 0 | 1));
        let coded = code != 421 && enhanced.is_some_and(by_policy);
        if said || coded { Self::Greylisted } else { Self::Transient }
    }
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Try again.
    Retry {
        /// When.
        at: Timestamp,
        /// The message is late and its sender does not know: tell, and remember it as told.
        tell_delay: bool,
    },
    /// Give up.
    Expired(Expiry),
}

/// Why a message is given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// It is older than [`RetryPolicy::expire`].
    Age,
    /// The deadline of its sender has passed: 5.4.7 (RFC 2852 §4.1.3, mode R).
    DeliverBy,
}

/// How a waiting recipient stands, without an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// It is to be given up, for this reason.
    pub expired: Option<Expiry>,
    /// Its sender is to be told of the delay.
    pub tell_delay: bool,
    /// When one of the two may change next; to be asked again then, whatever the attempts say.
    pub next: Timestamp,
}

impl RetryPolicy {
    /// The same policy, each value brought within its bounds.
    #[must_use]
    pub fn bounded(self) -> Self {
        let hours = |hours| Duration::from_secs(hours * HOUR);
        let first = self.first.clamp(Duration::from_secs(10), hours(24));
        let max = self.max.clamp(first, hours(24));
        let expire = self.expire.clamp(hours(1), hours(30 * 24));
        Self {
            first,
            max,
            jitter_percent: self.jitter_percent.min(50),
            expire,
            delay_notice: self.delay_notice.map(|notice| notice.clamp(Duration::from_secs(300), expire)),
            greylist_first: self.greylist_first.clamp(Duration::from_secs(30), max.max(Duration::from_secs(30))),
        }
    }

    /// When a message is due for the first time: at once, or when its hold ends (RFC 4865).
    #[must_use]
    pub fn first_due(&self, accepted: Timestamp, hold_until: Option<Timestamp>) -> Timestamp {
        hold_until.map_or(accepted, |hold| hold.max(accepted))
    }

    /// What follows from a failed attempt. `random` spreads the retries: any number.
    ///
    /// No retry is later than the time at which the message is given up, so that there is a last one.
    #[must_use]
    pub fn after(&self, case: &Case, trouble: Trouble, random: u64) -> Verdict {
        let standing = self.standing(case);
        if let Some(expired) = standing.expired {
            return Verdict::Expired(expired);
        }
        let now = micros(case.now);
        let wait = match trouble {
            Trouble::Greylisted if case.attempts <= 1 => length(self.greylist_first),
            _ => self.wait(case.attempts),
        };
        let at = now.saturating_add(spread(wait, self.jitter_percent, random).max(1));
        Verdict::Retry { at: timestamp(at.min(self.end(case).0).max(now + 1)), tell_delay: standing.tell_delay }
    }

    /// How a recipient stands at `case.now`. The runner asks before each attempt, and from time to time for what waits
    /// behind a destination that cannot be reached.
    #[must_use]
    pub fn standing(&self, case: &Case) -> Standing {
        let now = micros(case.now);
        let (end, why) = self.end(case);
        let late = [
            self.delay_notice.map(|notice| micros(case.accepted).saturating_add(length(notice))),
            // RFC 2852 §4.1.3: with mode N the sender is told when the deadline passes, and delivery goes on.
            case.deliver_by.filter(|by| by.mode == DeliverByMode::Notify).map(|by| micros(by.by)),
        ];
        let late = late.into_iter().flatten().min().filter(|_| !case.delay_told);
        let expired = (now >= end).then_some(why);
        let tell_delay = expired.is_none() && late.is_some_and(|late| now >= late);
        let next = late.filter(|late| *late > now).map_or(end, |late| late.min(end));
        Standing { expired, tell_delay, next: timestamp(next) }
    }

    fn end(&self, case: &Case) -> (Micros, Expiry) {
        let age = micros(case.accepted).saturating_add(length(self.expire));
        match case.deliver_by.filter(|by| by.mode == DeliverByMode::Return) {
            Some(by) if micros(by.by) < age => (micros(by.by), Expiry::DeliverBy),
            _ => (age, Expiry::Age),
        }
    }

    fn wait(&self, attempts: u32) -> Micros {
        let doublings = attempts.saturating_sub(1).min(30);
        length(self.first).saturating_mul(1 << doublings).min(length(self.max))
    }
}

const HOUR: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn case(attempts: u32, now: i64) -> Case {
        Case { accepted: at(0), attempts, now: at(now), delay_told: false, deliver_by: None }
    }

    fn exact() -> RetryPolicy {
        RetryPolicy { jitter_percent: 0, ..RetryPolicy::default() }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        for (attempts, minutes) in
            [(0, 5), (1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 240), (8, 240), (u32::MAX, 240)]
        {
            let verdict = exact().after(&case(attempts, 60), Trouble::Transient, 0);
            assert_eq!(verdict, Verdict::Retry { at: at(60 + minutes * 60), tell_delay: false }, "{attempts}");
        }
    }

    #[test]
    fn greylisting_is_tried_again_sooner_once() {
        let soon = exact().after(&case(1, 60), Trouble::Greylisted, 0);
        assert_eq!(soon, Verdict::Retry { at: at(180), tell_delay: false });
        let later = exact().after(&case(2, 60), Trouble::Greylisted, 0);
        assert_eq!(later, Verdict::Retry { at: at(660), tell_delay: false });
    }

    #[test]
    fn what_looks_like_greylisting() {
        use Trouble::{Greylisted, Transient};
        for (code, enhanced, text, expected) in [
            (450, "4.7.1", "try again later", Greylisted),
            (451, "4.7.0", "please retry", Greylisted),
            (450, "4.2.0", "<a@b>: Recipient address rejected: Greylisted, see http://x", Greylisted),
            (451, "", "GreyListing in action", Greylisted),
            (421, "4.7.0", "too many connections", Transient),
            (450, "4.2.1", "mailbox busy", Transient),
            (452, "4.7.1", "greylisted", Transient),
            (451, "4.7.500", "server busy", Transient),
        ] {
            let enhanced = EnhancedCode::parse(enhanced);
            assert_eq!(Trouble::of_reply(code, enhanced, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn told_once_and_given_up_at_last() {
        let day = 24 * 3600;
        let late = exact().after(&case(7, 4 * 3600), Trouble::Transient, 0);
        assert_eq!(late, Verdict::Retry { at: at(8 * 3600), tell_delay: true });
        let told = Case { delay_told: true, ..case(7, 4 * 3600) };
        assert_eq!(exact().after(&told, Trouble::Transient, 0), Verdict::Retry { at: at(8 * 3600), tell_delay: false });
        // The last attempt is at the end, not behind it.
        let last = Case { delay_told: true, ..case(40, 5 * day - 60) };
        assert_eq!(exact().after(&last, Trouble::Transient, 0), Verdict::Retry { at: at(5 * day), tell_delay: false });
        assert_eq!(exact().after(&case(41, 5 * day), Trouble::Transient, 0), Verdict::Expired(Expiry::Age));
        let standing = exact().standing(&case(0, 60));
        assert_eq!(standing, Standing { expired: None, tell_delay: false, next: at(4 * 3600) });
    }

    #[test]
    fn a_hold_costs_no_time() {
        let day = 24 * 3600;
        for (hold_until, released, begins) in [
            (None, None, 0),
            (Some(60), None, 60),
            (None, Some(60), 60),
            (Some(60), Some(90), 90),
            (Some(90), Some(60), 90),
        ] {
            assert_eq!(
                Case::begins(at(0), hold_until.map(at), released.map(at)),
                at(begins),
                "{hold_until:?} {released:?}"
            );
        }
        // Held for longer than it may live, and greylisted at the first attempt after that.
        let now = 7 * day + 10;
        let held = Case { accepted: Case::begins(at(0), None, Some(at(7 * day))), ..case(1, now) };
        let verdict = exact().after(&held, Trouble::Greylisted, 0);
        assert_eq!(verdict, Verdict::Retry { at: at(now + 120), tell_delay: false });
        // The deadline of its sender stands.
        let by = Some(DeliverBy { by: at(day), mode: DeliverByMode::Return, trace: false });
        let verdict = exact().after(&Case { deliver_by: by, ..held }, Trouble::Greylisted, 0);
        assert_eq!(verdict, Verdict::Expired(Expiry::DeliverBy));
    }

    #[test]
    fn deadlines_of_the_sender() {
        // RFC 2852 §4.1.3
        let by = |mode, seconds| Some(DeliverBy { by: at(seconds), mode, trace: false });
        let returned = Case { deliver_by: by(DeliverByMode::Return, 600), ..case(2, 100) };
        assert_eq!(exact().after(&returned, Trouble::Transient, 0), Verdict::Retry { at: at(600), tell_delay: false });
        let passed = Case { now: at(600), ..returned };
        assert_eq!(exact().after(&passed, Trouble::Transient, 0), Verdict::Expired(Expiry::DeliverBy));
        let notified = Case { deliver_by: by(DeliverByMode::Notify, 600), ..case(1, 600) };
        assert_eq!(exact().after(&notified, Trouble::Transient, 0), Verdict::Retry { at: at(900), tell_delay: true });
    }

    #[test]
    fn held_until_released() {
        assert_eq!(exact().first_due(at(0), Some(at(500))), at(500));
        assert_eq!(exact().first_due(at(0), Some(at(-500))), at(0));
        assert_eq!(exact().first_due(at(0), None), at(0));
    }

    #[test]
    fn bounds() {
        let zero = RetryPolicy {
            first: Duration::ZERO,
            max: Duration::ZERO,
            jitter_percent: 200,
            expire: Duration::MAX,
            delay_notice: Some(Duration::ZERO),
            greylist_first: Duration::ZERO,
        };
        let bounded = zero.bounded();
        assert_eq!(bounded.first, Duration::from_secs(10));
        assert_eq!(bounded.max, Duration::from_secs(10));
        assert_eq!(bounded.jitter_percent, 50);
        assert_eq!(bounded.expire, Duration::from_secs(30 * 24 * 3600));
        assert_eq!(RetryPolicy::default().bounded(), RetryPolicy::default());
    }
}
