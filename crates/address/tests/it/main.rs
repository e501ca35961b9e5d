//! What is printed reads back as the same address.

use mailwright_address::{ForwardPath, LocalPart, Mailbox, ReversePath};
use proptest::prelude::*;

proptest! {
    #[test]
    fn printed_local_parts_come_back(content in "[ -~é用]{1,20}") {
        let quoted = format!("\"{}\"", content.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(local) = LocalPart::parse(&quoted) {
            prop_assert_eq!(local.as_str(), content);
            prop_assert_eq!(LocalPart::parse(&local.to_string()), Ok(local));
        }
    }

    #[test]
    fn whatever_is_read_prints_and_reads_back(text in "[a-zA-Z0-9.@\\[\\]\":+%!\\\\ é-]{0,40}") {
        if let Ok(path) = ReversePath::parse(&text) {
            let printed = path.to_string();
            let inner = printed.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            prop_assert_eq!(inner.map(ReversePath::parse), Some(Ok(path)));
        }
        if let Ok(path) = ForwardPath::parse(&text) {
            let printed = path.to_string();
            let inner = printed.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            prop_assert_eq!(inner.map(ForwardPath::parse), Some(Ok(path)));
        }
        if let Ok(mailbox) = Mailbox::parse(&text) {
            let key = mailbox.key();
            prop_assert_eq!(Mailbox::parse(&key).map(|again| again.key()), Ok(key));
        }
    }
}
