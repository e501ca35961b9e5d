//! The greeting's reply: what is offered (RFC 5321 §4.1.1.1).

use std::fmt::Write as _;
use std::time::Instant;

use super::{Mode, Server};
use crate::command::Verb;
use crate::reply::Reply;
use crate::schedule::{MOST_SECONDS, is_priority_profile};
use crate::xclient::ATTRIBUTES;

impl Server {
    /// AUTH is a word of this port (RFC 6409 §4.3; never on port 25, rule 12).
    pub(super) fn offers_auth_here(&self) -> bool {
        self.config.mode == Mode::Submission && !self.mechanisms.is_empty()
    }

    /// AUTH may be used now.
    pub(super) fn offers_auth_now(&self) -> bool {
        self.offers_auth_here() && !self.authenticated && (self.tls || self.config.allow_plaintext_auth)
    }

    /// The answer to a greeting that the application let pass.
    pub(super) fn hello_reply(&self, now: Instant, verb: Verb) -> Reply {
        let config = &self.config;
        if verb == Verb::Helo {
            return Reply::plain(250, config.hostname.clone());
        }
        let mut text = String::with_capacity(256);
        text.push_str(&config.hostname);
        text.push_str("\nPIPELINING\n8BITMIME\nENHANCEDSTATUSCODES");
        // Writing to a String cannot fail.
        let _ = write!(text, "\nSIZE {}", config.limits.message_octets);
        if config.starttls && !self.tls {
            text.push_str("\nSTARTTLS");
        }
        if self.offers_auth_now() {
            text.push_str("\nAUTH");
            for mechanism in &self.mechanisms {
                let _ = write!(text, " {mechanism}");
            }
        }
        if config.smtputf8 {
            text.push_str("\nSMTPUTF8");
        }
        if config.chunking {
            text.push_str("\nCHUNKING");
            if config.binarymime {
                text.push_str("\nBINARYMIME");
            }
        }
        if config.dsn {
            text.push_str("\nDSN");
        }
        if config.offer_requiretls && self.tls {
            // RFC 8689 §2: only where it can be obeyed.
            text.push_str("\nREQUIRETLS");
        }
        if let Some((most, until)) = self.future_release(now) {
            let _ = write!(text, "\nFUTURERELEASE {most} {until}");
        }
        match config.deliver_by.map(|least| least.as_secs().min(u64::from(MOST_SECONDS))) {
            Some(0) => text.push_str("\nDELIVERBY"),
            Some(least) => {
                let _ = write!(text, "\nDELIVERBY {least}");
            }
            None => {}
        }
        if config.mt_priority {
            text.push_str("\nMT-PRIORITY");
            if let Some(profile) = config.priority_profile.as_deref().filter(|name| is_priority_profile(name)) {
                let _ = write!(text, " {profile}");
            }
        }
        // RFC 5321 §3.5.2: EXPN is listed where it works, VRFY may be.
        if config.verify {
            text.push_str("\nVRFY");
        }
        if config.expand {
            text.push_str("\nEXPN");
        }
        if self.trusts_xclient {
            let _ = write!(text, "\nXCLIENT {ATTRIBUTES}");
        }
        // RFC 9422 §4: six digits at most.
        let recipients = config.limits.recipients.clamp(1, 999_999);
        let transactions = config.limits.transactions.clamp(1, 999_999);
        let _ = write!(text, "\nLIMITS MAILMAX={transactions} RCPTMAX={recipients}");
        Reply::plain(250, text)
    }

    /// The `with` keyword of Received (RFC 3848, RFC 6531 §4.3).
    pub(super) fn protocol(&self, smtputf8: bool) -> &'static str {
        let secured = (self.tls, self.authenticated);
        match (self.config.mode, self.hello, smtputf8) {
            (Mode::Lmtp, _, false) => ["LMTP", "LMTPA", "LMTPS", "LMTPSA"][letter(secured)],
            (Mode::Lmtp, _, true) => ["UTF8LMTP", "UTF8LMTPA", "UTF8LMTPS", "UTF8LMTPSA"][letter(secured)],
            (_, Some(Verb::Ehlo), true) => ["UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"][letter(secured)],
            (_, Some(Verb::Ehlo), false) => ["ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA"][letter(secured)],
            _ => "SMTP",
        }
    }
}

fn letter((tls, authenticated): (bool, bool)) -> usize {
    usize::from(tls) * 2 + usize::from(authenticated)
}
