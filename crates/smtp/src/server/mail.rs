//! MAIL: what its parameters ask for, and whether it can be had (RFC 5321 §4.1.1.11, and each extension's own).

use std::time::Instant;

use address::ReversePath;
use wire::Ret;

use super::commands::too_big;
use super::{Mode, Server};
use crate::parameter::{BodyType, MailParameters};
use crate::reply::Reply;
use crate::schedule::{ByMode, Hold, MOST_SECONDS, Priority, UtcTime};

impl Server {
    /// The wall clock, where it was told.
    pub(super) fn utc(&self, now: Instant) -> Option<UtcTime> {
        let (then, time) = self.clock?;
        Some(UtcTime::from_unix(time.unix().saturating_add(now.saturating_duration_since(then).as_secs())))
    }

    /// The longest hold in seconds, and when it would end: FUTURERELEASE is for submission alone (RFC 4865 §4.2).
    pub(super) fn future_release(&self, now: Instant) -> Option<(u32, UtcTime)> {
        let most = self.config.future_release.filter(|_| self.config.mode == Mode::Submission)?;
        let most = u32::try_from(most.as_secs()).unwrap_or(MOST_SECONDS).clamp(1, MOST_SECONDS);
        Some((most, Hold::For(most).ends(self.utc(now)?)))
    }

    /// Why MAIL is refused for what it asks. Notes in `parameters` what is granted instead.
    pub(super) fn parameters_refused(
        &self,
        now: Instant,
        reverse_path: &ReversePath,
        parameters: &mut MailParameters,
    ) -> Option<Reply> {
        let config = &self.config;
        if parameters.smtputf8 && !config.smtputf8 {
            return Some(not_offered("SMTPUTF8"));
        }
        if parameters.body == Some(BodyType::BinaryMime) && !(config.binarymime && config.chunking) {
            return Some(not_offered("BODY=BINARYMIME"));
        }
        if parameters.size.is_some_and(|size| size > config.limits.message_octets) {
            return Some(too_big(config.limits.message_octets));
        }
        if !parameters.smtputf8 && !reverse_path.is_ascii() {
            // RFC 6531 §3.5
            return Some(Reply::new(550, "5.6.7 a sender address outside US-ASCII needs the SMTPUTF8 parameter"));
        }
        if parameters.require_tls {
            if !config.offer_requiretls {
                return Some(not_offered("REQUIRETLS"));
            }
            if !self.tls {
                // RFC 8689 §2
                return Some(Reply::new(530, "5.7.10 REQUIRETLS needs TLS: use STARTTLS first"));
            }
            if parameters.ret == Some(Ret::Full) {
                // RFC 8689 §5: such a message is returned without its body.
                parameters.ret = Some(Ret::Hdrs);
            }
        }
        self.time_refused(now, parameters).or_else(|| self.priority_refused(parameters))
    }

    fn time_refused(&self, now: Instant, parameters: &MailParameters) -> Option<Reply> {
        if let Some(hold) = parameters.hold {
            let Some((most, until)) = self.future_release(now) else {
                return Some(not_offered("FUTURERELEASE"));
            };
            let (too_long, limit) = match hold {
                Hold::For(seconds) => (seconds > most, format!("for {most} seconds")),
                Hold::Until(time) => (time > until, format!("until {until}")),
            };
            if too_long {
                // RFC 4865 §4.2
                return Some(Reply::new(501, format!("5.5.4 MAIL: messages are held {limit} at most")));
            }
        }
        let by = parameters.deliver_by?;
        let Some(least) = self.config.deliver_by else { return Some(not_offered("BY")) };
        let seconds = u64::try_from(by.seconds()).unwrap_or(0);
        if by.mode() == ByMode::Return && seconds < least.as_secs() {
            // RFC 2852 §3
            let least = least.as_secs();
            return Some(Reply::new(555, format!("5.5.4 MAIL: BY with R needs at least {least} seconds here")));
        }
        let time = self.utc(now)?;
        let deadline = i64::try_from(time.unix()).unwrap_or(i64::MAX).saturating_add(i64::from(by.seconds()));
        let held_until = i64::try_from(parameters.hold?.ends(time).unix()).unwrap_or(i64::MAX);
        // RFC 4865 §5.2.2
        (held_until > deadline)
            .then(|| Reply::new(501, "5.5.4 MAIL: the message is to be held for longer than BY gives it"))
    }

    /// RFC 6710 §4.1: a priority above the usual is for those who are known.
    fn priority_refused(&self, parameters: &MailParameters) -> Option<Reply> {
        (parameters.priority.is_some() && !self.config.mt_priority).then(|| not_offered("MT-PRIORITY"))
    }

    /// Whether a priority is lowered to 0.
    pub(super) fn lowers(&self, parameters: &MailParameters) -> bool {
        let trusted = self.authenticated || self.config.trust_priorities || self.config.mode == Mode::Lmtp;
        !trusted && parameters.priority.is_some_and(|priority| priority > Priority::default())
    }
}

fn not_offered(what: &str) -> Reply {
    Reply::new(555, format!("5.5.4 MAIL: {what} is not offered here"))
}
