//! The store's and the directory's refusals as SMTP says them: one table (rules 6 and 17).

use directory::{Failure, Resolution};
use smtp::Reply;
use store::{Error, What};

/// What a client is told when the store refuses.
pub(crate) fn store(error: &Error) -> Reply {
    match error {
        Error::NoSpace => Reply::new(452, "4.3.1 insufficient storage, try again later"),
        Error::OverQuota => mailbox_full(),
        // One of several, perhaps: the others lose nothing by it, and who asks for it again at RCPT hears that it is gone.
        Error::NotFound(What::Account) => Reply::new(451, "4.2.1 a recipient has just gone, try again"),
        Error::Limit(_) => Reply::new(552, "5.3.4 the message exceeds a limit of this system"),
        error if error.is_temporary() => Reply::new(451, "4.3.0 mail cannot be stored now, try again later"),
        _ => Reply::new(451, "4.3.5 this system has a problem that its operator must solve"),
    }
}

/// What a client is told of a recipient in a domain of ours that is no account.
pub(crate) fn recipient(resolution: &Resolution) -> Reply {
    match resolution {
        Resolution::NoSuchUser => Reply::new(550, "5.1.1 there is nobody of that name here"),
        Resolution::Disabled => Reply::new(550, "5.2.1 this mailbox takes no mail"),
        Resolution::NotLocal => Reply::new(550, "5.7.1 relaying denied: this domain is not served here"),
        Resolution::Unavailable(_) | Resolution::Local(_) => {
            Reply::new(451, "4.3.0 recipients cannot be looked up now, try again later")
        }
    }
}

/// What a client is told of a failed login.
pub(crate) fn login(failure: Failure) -> Reply {
    match failure {
        Failure::Wrong | Failure::Disabled => Reply::new(535, "5.7.8 wrong user name or password"),
        Failure::Throttled => Reply::new(454, "4.7.0 too many failed logins, try again in a minute"),
        Failure::Unavailable => Reply::new(454, "4.7.0 logins cannot be checked now, try again later"),
        Failure::Malformed => Reply::new(501, "5.5.2 the response is not in the form of its mechanism"),
    }
}

/// An account has no room for the message.
pub(crate) fn mailbox_full() -> Reply {
    Reply::new(452, "4.2.2 mailbox full, try again later")
}

/// The memory for messages is spent.
pub(crate) fn too_much_at_once() -> Reply {
    Reply::new(452, "4.3.1 too much mail at once, try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_ours_never_costs_mail() {
        // rule 38: while the system volume fails nothing is accepted, and everything may come again; rule 6.
        let io = || Error::Io(std::io::Error::other("x"));
        let gone = Error::NotFound(What::Account);
        for error in [Error::ReadOnly, Error::Busy, Error::NoSpace, Error::Corrupt("x".into()), io(), gone] {
            let reply = store(&error);
            assert_eq!(reply.code() / 100, 4, "{error}: {reply}");
        }
        assert_eq!(recipient(&Resolution::Unavailable(Error::ReadOnly)).code(), 451);
        assert_eq!(recipient(&Resolution::NoSuchUser).code(), 550);
        assert_eq!(login(Failure::Unavailable).code(), 454);
    }
}
