//! What is printed reads the same, whatever it is; what strangers wrote never panics.

use address::{Domain, Mailbox};
use jiff::Timestamp;
use mailwright_routing::reach::{Network, special};
use mailwright_routing::rewrite::{Srs, unverp, verp};
use mailwright_routing::sts::{self, CachedPolicy, Policy};
use mailwright_routing::table::Pattern;
use mailwright_routing::tlsrpt::{self, Tally};
use proptest::prelude::*;

/// Text made of the words of a grammar, so that some of it is nearly right.
fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 0..14).prop_map(|words| words.concat())
}

const POLICY: &[&str] = &[
    "version: STSv1\n",
    "mode: enforce\r\n",
    "mode: none\n",
    "mx: *.a.example\n",
    "mx: b.example",
    "max_age: 99\n",
    "max_age:",
    "mx:",
    "\n",
    "\r",
    ":",
    " ",
    "ü",
    "*",
    "x-y: z\n",
];
const RECORD: &[&str] = &[
    "v=STSv1",
    "v=TLSRPTv1",
    ";",
    "; ",
    "id=1",
    "id=",
    "rua=",
    "mailto:a@b.example",
    "https://c.example/x",
    ",",
    "x=y",
    "%",
    "%41",
    "%ff",
    "?",
    "=",
    " ",
    "ü",
];
const STORED: &[&str] =
    &["1\n", "failed 5 x\n", "kept 9 y\n", "version: STSv1\nmode: none\nmax_age: 5\n", "kept", " ", "-1"];

proptest! {
    #[test]
    fn policies(text in words(POLICY)) {
        if let Ok(policy) = Policy::parse(text.as_bytes()) {
            prop_assert_eq!(Policy::parse(policy.to_text().as_bytes()), Ok(policy));
        }
    }

    #[test]
    fn records(text in words(RECORD)) {
        let records = [text.into_bytes()];
        if let Ok(id) = sts::record(&records) {
            prop_assert!((1..=32).contains(&id.len()));
        }
        if let Ok(endpoints) = tlsrpt::record(&records) {
            prop_assert!(!endpoints.is_empty());
        }
    }

    #[test]
    fn stored(text in words(STORED)) {
        if let Some(cached) = CachedPolicy::decode(text.as_bytes()) {
            prop_assert_eq!(CachedPolicy::decode(&cached.encode()), Some(cached));
        }
        prop_assert_eq!(Tally::decode(text.as_bytes()), None);
    }

    #[test]
    fn senders_come_back(
        local in "[a-zA-Z0-9=+.@ \"\\\\-]{1,20}", domain in "[a-z0-9]{1,12}\\.example", day in 0i64..40_000, key: [u8; 32],
    ) {
        let quoted = format!("\"{}\"@{domain}", local.replace('\\', "\\\\").replace('"', "\\\""));
        let sender = Mailbox::parse(&quoted).unwrap();
        let now = Timestamp::from_second(day * 86_400).unwrap();
        let srs = Srs::new(key, Domain::parse("forward.example.org").unwrap());
        if let Ok(rewritten) = srs.forward(&sender, now) {
            let read = Mailbox::parse(&rewritten.to_string()).unwrap();
            prop_assert_eq!(&read, &rewritten);
            prop_assert_eq!(srs.back(&read, now), Ok(sender.clone()));
        }
        let owner = Mailbox::parse("owner-x@lists.example").unwrap();
        if let Ok(made) = verp(&owner, '+', &sender) {
            prop_assert_eq!(unverp(&Mailbox::parse(&made.to_string()).unwrap(), '+'), Some((owner, sender)));
        }
    }

    #[test]
    fn strangers_senders(local in "(SRS[01]|srs0)[=+-][a-z2-7=+-]{0,30}") {
        let srs = Srs::new([7; 32], Domain::parse("f.example").unwrap());
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        if let Ok(mailbox) = Mailbox::parse(&format!("{local}@f.example")) {
            prop_assert!(srs.back(&mailbox, now).is_err());
        }
        if let Ok(mailbox) = Mailbox::parse(&format!("{local}@g.example"))
            && let Ok(rewritten) = srs.forward(&mailbox, now)
        {
            prop_assert!(srs.is_rewritten(&rewritten));
            let _ = srs.back(&rewritten, now);
        }
    }

    #[test]
    fn patterns(text in "[*<>@a-c.\\[\\]0-9:]{0,12}") {
        if let Ok(pattern) = text.parse::<Pattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }

    #[test]
    fn networks(bits: u128, v6: bool, prefix in 0u8..=128, other: u128) {
        let address = |bits: u128| -> std::net::IpAddr {
            if v6 { std::net::Ipv6Addr::from_bits(bits).into() } else { std::net::Ipv4Addr::from_bits(bits as u32).into() }
        };
        let _ = special(address(bits));
        if let Ok(network) = format!("{}/{prefix}", address(bits)).parse::<Network>() {
            prop_assert!(network.contains(address(bits)));
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(prefix > 0 || network.contains(address(other)));
        }
    }
}
