//! What a sender wishes to be told (RFC 3461 §4): said in SMTP and by programs of this machine, obeyed by the queue.

use std::fmt;

/// `RET`: how much of a message the report of a failure returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header section.
    Hdrs,
}

impl Ret {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Hdrs => "HDRS",
        }
    }

    /// The value that `word` is: `ret-value = "FULL" / "HDRS"` (RFC 3461 §4.3).
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        [Self::Full, Self::Hdrs].into_iter().find(|ret| word.eq_ignore_ascii_case(ret.as_str()))
    }
}

/// `NOTIFY`: of what a report is wanted (RFC 3461 §4.1). Nothing set is `NEVER`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it failed for good.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

impl Notify {
    /// The value that `words` are: `notify-esmtp-value = "NEVER" / 1#notify-list-element` (RFC 3461 §4.1).
    #[must_use]
    pub fn from_wire(words: &str) -> Option<Self> {
        if words.eq_ignore_ascii_case("NEVER") {
            return Some(Self::default());
        }
        words.split(',').try_fold(Self::default(), |notify, word| match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => Some(Self { success: true, ..notify }),
            "FAILURE" => Some(Self { failure: true, ..notify }),
            "DELAY" => Some(Self { delay: true, ..notify }),
            _ => None,
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut words = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).peekable();
        if words.peek().is_none() {
            return f.write_str("NEVER");
        }
        while let Some(word) = words.next() {
            f.write_str(word)?;
            if words.peek().is_some() {
                f.write_str(",")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_and_read_again() {
        for ret in [Ret::Full, Ret::Hdrs] {
            assert_eq!(Ret::from_wire(&ret.as_str().to_ascii_lowercase()), Some(ret));
        }
        for bits in 0..8 {
            let notify = Notify { success: bits & 1 > 0, failure: bits & 2 > 0, delay: bits & 4 > 0 };
            assert_eq!(Notify::from_wire(&notify.to_string()), Some(notify));
        }
        assert_eq!(Notify::from_wire("never"), Some(Notify::default()));
        assert_eq!(Notify::from_wire("delay,Success").unwrap().to_string(), "SUCCESS,DELAY");
        for words in ["", "often", "SUCCESS,", "SUCCESS, DELAY", "NEVER,DELAY", "SUCCESS;DELAY"] {
            assert_eq!((Ret::from_wire(words), Notify::from_wire(words)), (None, None), "{words}");
        }
    }
}
