//! The messages of a life.

use address::Mailbox;
use bytes::Bytes;
use digest::Digest;
use queue::envelope::{DeliverBy, DeliverByMode, Envelope, RecipientEnvelope};
use queue::scheduler::Row;
use store::{AccountId, Delivery, NewBody, NewContent, NewSpool, NewSpoolRecipient, Recipient, ZonedTime};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::internet::{HOUR, Internet, MINUTE};
use crate::ledger::Sender;

/// Our domain.
pub(crate) const HOME: &str = "home.example";

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    number: u64,
    pub(crate) sender: Sender,
    reverse_path: String,
    /// Addresses, and what RCPT says of them.
    pub(crate) recipients: Vec<(String, String)>,
    /// One of our own mailboxes gets it, too.
    local: bool,
    octets: u64,
    mail: String,
    priority: i8,
    /// Held for so many milliseconds (RFC 4865).
    hold: Option<i64>,
    /// So many milliseconds to deliver it in, and what then (RFC 2852).
    by: Option<(i64, DeliverByMode)>,
}

impl Message {
    pub(crate) fn new(dice: &mut Dice, net: &Internet, number: u64) -> Self {
        let sender = match dice.between(0, 9) {
            0..=4 => Sender::Local,
            5..=7 => Sender::Remote,
            8 => Sender::Stranger,
            _ => Sender::Nobody,
        };
        let reverse_path = match sender {
            Sender::Local => format!("ann@{HOME}"),
            Sender::Remote | Sender::Stranger => format!("s{number}@d{}.example", dice.below(2)),
            Sender::Nobody => String::new(),
        };
        let count = match dice.between(0, 9) {
            0..=5 => dice.between(1, 3),
            6..=8 => dice.between(2, 8),
            _ => dice.between(10, 50),
        };
        // Large mailings go to few domains.
        let domains: Vec<u64> = (0..dice.between(1, 6)).map(|_| dice.between(0, net.count() - 1)).collect();
        let wishes = if dice.percent(30) {
            *dice.pick(&[" NOTIFY=NEVER", " NOTIFY=SUCCESS", " NOTIFY=SUCCESS,FAILURE,DELAY", " NOTIFY=FAILURE"])
        } else {
            ""
        };
        let recipients = (0..count)
            .map(|at| (format!("m{number}r{at}@d{}.example", dice.pick(&domains)), wishes.to_owned()))
            .collect();
        let by = dice.percent(8).then(|| {
            let by = i64::try_from(dice.between(10, 300)).unwrap_or(0) * MINUTE;
            (by, if dice.percent(50) { DeliverByMode::Return } else { DeliverByMode::Notify })
        });
        let mut mail = String::new();
        if dice.percent(20) {
            mail.push_str(if dice.percent(50) { " RET=FULL" } else { " RET=HDRS" });
        }
        if let Some((by, mode)) = by {
            let letter = if mode == DeliverByMode::Return { "R" } else { "N" };
            mail.push_str(&format!(" BY={};{letter}", by / 1_000));
        }
        let hold = dice.percent(8).then(|| i64::try_from(dice.between(5, 180)).unwrap_or(0) * MINUTE);
        let priority = if dice.percent(20) { *dice.pick(&[-4, 2, 6]) } else { 0 };
        Self {
            number,
            sender,
            reverse_path,
            recipients,
            local: dice.percent(20),
            octets: dice.between(50, 4_000),
            mail,
            priority,
            hold,
            by,
        }
    }

    /// Whether the sender wants to hear of failures.
    pub(crate) fn tell_failure(wishes: &str) -> bool {
        wishes.is_empty() || wishes.contains("FAILURE")
    }

    /// As it is accepted at a time, under a queue id.
    pub(crate) fn delivery(&self, queue_id: &str, account: AccountId, elapsed: i64) -> Delivery {
        let mut text = format!(
            "Message-ID: <m{}@{HOME}>\r\nFrom: <{}>\r\nSubject: {}\r\n\r\n",
            self.number, self.reverse_path, self.number
        );
        while u64::try_from(text.len()).unwrap_or(u64::MAX) < self.octets {
            text.push_str(".. and so it goes\r\n");
        }
        let octets = Bytes::from(text);
        let at = |after: i64| Clock::timestamp(elapsed + after);
        let envelope = Envelope {
            mail: self.mail.clone(),
            priority: self.priority,
            deliver_by: self.by.map(|(by, mode)| DeliverBy { by: at(by), mode, trace: false }),
            hold_until: self.hold.map(at),
            account: (self.sender == Sender::Local).then_some(account.0),
            client: (self.sender == Sender::Stranger).then(|| "stranger.example".into()),
            ..Envelope::default()
        };
        let due = at(self.hold.unwrap_or(0)).as_millisecond();
        let spool = NewSpool {
            queue_id: queue_id.to_owned(),
            sender: self.reverse_path.clone(),
            parameters: envelope.encode(),
            recipients: self
                .recipients
                .iter()
                .map(|(address, wishes)| NewSpoolRecipient {
                    address: address.clone(),
                    destination: Mailbox::parse(address)
                        .map(|mailbox| directory::destination(&mailbox))
                        .unwrap_or_default(),
                    parameters: RecipientEnvelope { rcpt: wishes.clone(), ..RecipientEnvelope::default() }.encode(),
                    due,
                })
                .collect(),
        };
        let local = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: store::FlagNames::default() };
        Delivery {
            content: NewContent {
                head: Bytes::new(),
                digest: Digest::of(&octets).encode().into(),
                thread: digest::thread(&octets),
                body: NewBody::Memory(vec![octets]),
            },
            received: ZonedTime { unix: at(0).as_second(), offset_minutes: 0 },
            recipients: if self.local { vec![local] } else { Vec::new() },
            spool: vec![spool],
            trace: Vec::new(),
        }
    }

    /// The rows that are handed over in memory, by destination.
    pub(crate) fn rows(&self, queue_id: &str, account: AccountId, elapsed: i64) -> Vec<(String, Row)> {
        let source = if self.sender == Sender::Local { account.0.to_string() } else { String::new() };
        let due = Clock::timestamp(elapsed + self.hold.unwrap_or(0));
        (0..)
            .zip(&self.recipients)
            .filter_map(|(number, (address, _))| {
                let destination = directory::destination(&Mailbox::parse(address).ok()?);
                let row = Row {
                    queue_id: queue_id.into(),
                    number,
                    due,
                    priority: self.priority,
                    attempts: 0,
                    source: source.as_str().into(),
                };
                Some((destination, row))
            })
            .collect()
    }

    /// The longest that a hold lasts, in milliseconds.
    pub(crate) const LONGEST_HOLD: i64 = 3 * HOUR;
}
