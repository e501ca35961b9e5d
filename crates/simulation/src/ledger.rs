//! What was promised and what became of it: the accounts that must balance.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use queue::dsn::{self, Action};

/// Who is to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    /// An account of ours.
    Local,
    /// Somebody whose reports go by mail.
    Remote,
    /// Somebody who is not told by policy (rule 36).
    Stranger,
    /// `<>`
    Nobody,
}

/// A message that reached a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// In milliseconds since the beginning.
    pub(crate) at: i64,
    /// The reply to it never came to us.
    pub(crate) lost: bool,
}

/// One recipient of one message.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) queue_id: String,
    pub(crate) number: u32,
    pub(crate) sender: Sender,
    /// The sender wants to hear of failure.
    pub(crate) tell_failure: bool,
    /// The promise was given; else nobody heard whether it was.
    pub(crate) given: bool,
    pub(crate) removed: bool,
    pub(crate) arrivals: Vec<Arrival>,
    /// The ids of reports that reached the sender, by what they tell.
    pub(crate) reports: BTreeMap<&'static str, BTreeSet<String>>,
}

/// A time without power: from when on nothing was written, and when the process was gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) dead: i64,
    pub(crate) gone: i64,
}

/// How long after a message was taken its outcome may be unwritten: the reply is on its way, and the store at work.
const UNWRITTEN: i64 = 120_000;

/// The accounts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) promises: BTreeMap<String, Promise>,
    /// Reports on their way to remote senders, by their message ids.
    reports: BTreeMap<String, Vec<Arrival>>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) wrongs: Vec<String>,
    pub(crate) numbers: Numbers,
    hash: DefaultHasher,
    pub(crate) lines: Vec<String>,
    pub(crate) keep_lines: bool,
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Numbers {
    /// Recipients of messages that were accepted.
    pub accepted: u64,
    /// Those that arrived.
    pub delivered: u64,
    /// Those that were given up.
    pub failed: u64,
    /// Those that an operator removed, or a rule discarded.
    pub removed: u64,
    /// Arrivals beyond the first whose reply was lost before.
    pub again_after_loss: u64,
    /// Arrivals beyond the first with a power cut before.
    pub again_after_cut: u64,
    /// Reports that reached their readers.
    pub reports: u64,
    /// Connections.
    pub connections: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Restarts in good order.
    pub restarts: u64,
}

impl Numbers {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.removed += other.removed;
        self.again_after_loss += other.again_after_loss;
        self.again_after_cut += other.again_after_cut;
        self.reports += other.reports;
        self.connections += other.connections;
        self.cuts += other.cuts;
        self.restarts += other.restarts;
    }
}

/// Where an arrival is told of.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Promise(String, usize),
    Report(String, usize),
}

impl Ledger {
    /// Notes an event: the same seed has the same ones.
    pub(crate) fn log(&mut self, at: i64, what: &str) {
        (at, what).hash(&mut self.hash);
        if self.keep_lines {
            self.lines.push(format!("{:>9}.{:03} {what}", at / 1_000, at % 1_000));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn wrong(&mut self, at: i64, what: String) {
        self.log(at, &format!("WRONG {what}"));
        self.wrongs.push(what);
    }

    /// A server took a message for this recipient.
    pub(crate) fn arrived(&mut self, at: i64, sender: &str, recipient: &str, content: &[u8]) -> Option<Entry> {
        let arrival = Arrival { at, lost: false };
        if let Some(promise) = self.promises.get_mut(recipient) {
            promise.arrivals.push(arrival);
            return Some(Entry::Promise(recipient.to_owned(), promise.arrivals.len() - 1));
        }
        if sender.is_empty() && dsn::parse(content).is_ok() {
            let id = message_id(content);
            let arrivals = self.reports.entry(id.clone()).or_default();
            arrivals.push(arrival);
            let entry = Entry::Report(id, arrivals.len() - 1);
            if arrivals.len() == 1 {
                self.reported(at, content);
            }
            return Some(entry);
        }
        self.wrong(at, format!("{recipient} got a message that nobody sent"));
        None
    }

    /// The reply to it was lost.
    pub(crate) fn lost(&mut self, entry: &Entry) {
        let arrival = match entry {
            Entry::Promise(recipient, at) => {
                self.promises.get_mut(recipient).and_then(|promise| promise.arrivals.get_mut(*at))
            }
            Entry::Report(id, at) => self.reports.get_mut(id).and_then(|arrivals| arrivals.get_mut(*at)),
        };
        if let Some(arrival) = arrival {
            arrival.lost = true;
        }
    }

    /// A report reached its reader.
    pub(crate) fn reported(&mut self, at: i64, content: &[u8]) {
        let Ok(status) = dsn::parse(content) else {
            return self.wrong(at, "a report that cannot be read".into());
        };
        self.numbers.reports += 1;
        let id = message_id(content);
        for recipient in status.recipients {
            let word = match recipient.action {
                Action::Failed => "failed",
                Action::Delayed => "delayed",
                Action::Delivered => "delivered",
                Action::Relayed => "relayed",
                Action::Expanded => "expanded",
            };
            let address = recipient.final_recipient.text;
            match self.promises.get_mut(&address) {
                Some(promise) => _ = promise.reports.entry(word).or_default().insert(id.clone()),
                None => self.wrong(at, format!("a report of {address}, whom nobody wrote to")),
            }
        }
    }

    /// Judges arrivals of one message at one recipient.
    fn judge_arrivals(&mut self, whose: &str, arrivals: &[Arrival]) {
        for arrival in arrivals.iter().rev().skip(1) {
            let cut = self.cuts.iter().any(|cut| arrival.at <= cut.gone && arrival.at + UNWRITTEN >= cut.dead);
            if arrival.lost {
                self.numbers.again_after_loss += 1;
            } else if cut {
                self.numbers.again_after_cut += 1;
            } else {
                let times: Vec<i64> = arrivals.iter().map(|arrival| arrival.at).collect();
                self.wrong(0, format!("{whose} got it {} times, at {times:?}, for no reason", arrivals.len()));
            }
        }
    }

    /// Judges everything, once all is over. `ends`: how often the trace tells of an end, by recipient: delivered, failed,
    /// discarded.
    pub(crate) fn judge(&mut self, ends: &BTreeMap<String, [u32; 3]>) {
        for (id, arrivals) in std::mem::take(&mut self.reports) {
            self.judge_arrivals(&format!("the reader of the report {id}"), &arrivals);
        }
        for (recipient, promise) in self.promises.clone() {
            self.judge_arrivals(&recipient, &promise.arrivals);
            let [delivered, failed, discarded] = ends.get(&recipient).copied().unwrap_or_default();
            let all = delivered + failed + discarded;
            let no_cuts = self.cuts.is_empty();
            let mut wrong = |what: &str| {
                self.wrong(0, format!("{recipient} ({}): {what}: {promise:?}", promise.queue_id));
            };
            if all > 1 {
                wrong("more than one end");
            }
            if all == 0 && promise.given && !promise.removed {
                wrong("no end");
            }
            if delivered > 0 && promise.arrivals.is_empty() {
                wrong("told as delivered, and never arrived");
            }
            if failed > 0 && promise.arrivals.iter().any(|arrival| !arrival.lost) && no_cuts {
                wrong("arrived, and told as failed");
            }
            let reports = |word| promise.reports.get(word).map_or(0, BTreeSet::len);
            let is_told = matches!(promise.sender, Sender::Local | Sender::Remote) && promise.tell_failure;
            match (failed > 0 && is_told, reports("failed")) {
                (true, 1) | (false, 0) => {}
                (true, 0) => wrong("failed, and the sender was not told"),
                (true, _) => wrong("failed, and the sender was told more than once"),
                (false, _) => wrong("the sender was told of a failure that was none, or did not want to know"),
            }
            for word in ["delayed", "relayed", "delivered", "expanded"] {
                if reports(word) > 1 {
                    wrong(&format!("told as {word} more than once"));
                }
            }
            if promise.given {
                self.numbers.accepted += 1;
                self.numbers.delivered += u64::from(delivered > 0);
                self.numbers.failed += u64::from(failed > 0);
                self.numbers.removed += u64::from(all == 0 || discarded > 0);
            }
        }
        self.numbers.cuts = u64::try_from(self.cuts.len()).unwrap_or(0);
    }
}

/// The id of a message.
fn message_id(content: &[u8]) -> String {
    String::from_utf8_lossy(content)
        .lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix("Message-ID: ").map(str::to_owned))
        .unwrap_or_default()
}
