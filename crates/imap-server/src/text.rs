//! Between the two vocabularies: flags, refusals, numbers.

use bytes::BytesMut;
use imap::encode;
use imap::server::Done;
use store::{Error, FlagNames, Flags, What};

/// The system flags by their bits.
const SYSTEM: [(Flags, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

/// The names of flags, given the mailbox's keywords.
pub(crate) fn flag_names(flags: Flags, keywords: &[String]) -> impl Iterator<Item = &str> {
    let system = SYSTEM.iter().filter(move |(bit, _)| flags.contains(*bit)).map(|(_, name)| *name);
    system.chain(flags.keywords().filter_map(|number| keywords.get(number).map(String::as_str)))
}

/// Flags as a client gives them.
pub(crate) fn flags(names: &[String]) -> FlagNames {
    let mut flags = FlagNames::default();
    for name in names {
        match SYSTEM.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
            Some((bit, _)) => flags.system = flags.system | *bit,
            None => flags.keywords.push(name.clone()),
        }
    }
    flags
}

/// The bit of one flag in a mailbox with these keywords; `None`: no message has it.
pub(crate) fn bit(name: &str, keywords: &[String]) -> Option<Flags> {
    if let Some((bit, _)) = SYSTEM.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
        return Some(*bit);
    }
    keywords.iter().position(|known| known.eq_ignore_ascii_case(name)).map(Flags::keyword)
}

/// Tells the flags of a mailbox, and those that can be set for good (RFC 9051 §7.1, §7.3.5).
pub(crate) fn tell_flags(out: &mut BytesMut, keywords: &[String], read_only: bool) {
    let names = || SYSTEM.iter().map(|(_, name)| *name).chain(keywords.iter().map(String::as_str));
    out.extend_from_slice(b"* FLAGS ");
    encode::flags(out, names());
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    if read_only {
        out.extend_from_slice(b"()");
    } else {
        encode::flags(out, names().chain(["\\*"]));
    }
    out.extend_from_slice(b"] flags that last\r\n");
}

/// The store's refusals as IMAP says them: one table (RFC 5530).
pub(crate) fn refused(error: &Error) -> Done {
    match error {
        Error::NotFound(What::Mailbox) => Done::no("there is no such mailbox").code("NONEXISTENT"),
        Error::AlreadyExists(_) => Done::no("there is such a mailbox already").code("ALREADYEXISTS"),
        Error::OverQuota => Done::no("over quota").code("OVERQUOTA"),
        Error::NoSpace => Done::no("no space left, try again later").code("UNAVAILABLE"),
        Error::Limit(what) => Done::no(format!("limit: {what}")).code("LIMIT"),
        error if error.is_temporary() => Done::no("the store is busy, try again later").code("UNAVAILABLE"),
        error => {
            tracing::error!(%error, "store");
            Done::no("this system has a problem that its operator must solve").code("SERVERBUG")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_both_ways() {
        let given = flags(&["\\seen".into(), "$Work".into(), "\\Draft".into()]);
        assert_eq!((given.system, given.keywords), (Flags::SEEN | Flags::DRAFT, vec!["$Work".to_owned()]));
        let keywords = ["a".to_owned(), "$Work".to_owned()];
        let names: Vec<&str> = flag_names(Flags::SEEN | Flags::keyword(1), &keywords).collect();
        assert_eq!(names, ["\\Seen", "$Work"]);
        assert_eq!(bit("$work", &keywords), Some(Flags::keyword(1)));
        assert_eq!(bit("other", &keywords), None);
    }
}
