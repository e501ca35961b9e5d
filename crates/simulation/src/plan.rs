//! The plan of a seed: what its world is like, what is to happen in it, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delivery::Settings;
use queue::scheduler::Shaping;
use queue::{Rate, RetryPolicy};
use routing::TlsPolicy;
use routing::table::{Action, Conditions, Here, Rule, Table};
use smtp::HelloName;
use store::SpoolChange;

use crate::dice::Dice;
use crate::internet::{HOUR, Internet, MINUTE};
use crate::line::Bounds;
use crate::mail::{HOME, Message};

/// A fault that is planted, to see that it is found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Planted {
    /// None.
    #[default]
    None,
    /// SQLite does not sync each change: outcomes are told before they are stored.
    Unsynced,
    /// The replies that are lost are forgotten: messages seem to arrive twice for no reason.
    ForgottenLosses,
    /// An operator removes mail, and nobody notes it.
    Removed,
    /// The scheduler has other limits than the world allows.
    Limits,
    /// The scheduler gives out twice as many messages in a time.
    Rates,
    /// Destinations that failed are left alone for hours.
    LeftAlone,
    /// A report is thrown away.
    LostReport,
}

/// What is to happen, and when.
#[derive(Debug)]
pub(crate) enum Deed {
    Accept(Box<Message>),
    /// What an operator does with the recipients of a domain, or with all.
    Operate(SpoolChange, Option<String>),
    /// Removes what one recipient waits for.
    Remove,
    /// The power is cut, after so many more writes.
    Cut(Option<u64>),
    Restart,
    /// A domain becomes ours.
    Ours(String),
    Look,
}

/// All that a seed decides beforehand.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) net: Internet,
    pub(crate) settings: Settings,
    pub(crate) bounds: Bounds,
    /// When traffic is over, and all is well.
    pub(crate) well: i64,
    /// In their order, with their times.
    pub(crate) deeds: Vec<(i64, Deed)>,
    /// For the world.
    pub(crate) world: Dice,
    /// For whoever carries it out.
    pub(crate) rest: Dice,
}

impl Plan {
    pub(crate) fn new(seed: u64, planted: Planted) -> Self {
        let mut dice = Dice::new(seed);
        let domains = match dice.between(0, 9) {
            0..=5 => 8 + dice.below(20),
            6..=8 => 20 + dice.below(60),
            _ => 150 + dice.below(150),
        };
        let well = i64::try_from(dice.between(8, 24)).unwrap_or(8) * HOUR;
        let net = Internet::new(&mut dice, domains, well);
        let hours = |dice: &mut Dice, least, most| Duration::from_secs(dice.between(least, most) * 3_600);
        let retry = RetryPolicy {
            first: Duration::from_secs(300),
            max: hours(&mut dice, 1, 3),
            jitter_percent: 10,
            expire: hours(&mut dice, 6, 12),
            delay_notice: dice.percent(80).then(|| Duration::from_secs(3_600)),
            greylist_first: Duration::from_secs(120),
        }
        .bounded();
        let (sessions, group, destination) = (4 + dice.below(30), 1 + dice.below(6), 1 + dice.below(5));
        let number = |count: usize| u32::try_from(count).unwrap_or(1);
        let shaping = Shaping {
            sessions: number(destination),
            sessions_first: number(1 + dice.below(destination)),
            messages_per_session: number(1 + dice.below(20)),
            recipients_per_batch: number(1 + dice.below(30)),
            ..Shaping::default()
        };
        let mut overrides = BTreeMap::new();
        let mut apart = BTreeMap::new();
        for _ in 0..2 {
            let domain = format!("d{}.example", dice.below(domains));
            let count = number(1 + dice.below(4));
            let faster = 1 + u32::from(planted == Planted::Rates);
            let slow = Rate::new(count * faster, Duration::from_secs(60));
            apart.insert(domain.clone(), MINUTE * 1_000 / i64::from(count));
            overrides.insert(domain, Shaping { messages: Some(slow), ..shaping });
        }
        let more = usize::from(planted == Planted::Limits) * 3;
        let scheduler = queue::scheduler::Settings {
            sessions: number(sessions + more),
            sessions_per_group: number(group.min(sessions) + more),
            shaping,
            overrides,
            rows_per_load: number(10 + dice.below(30)),
            rows_handed: *dice.pick(&[0, 5, 1_000]),
            backoff_max: Duration::from_secs(if planted == Planted::LeftAlone { 6 * 3_600 } else { 1_800 }),
            source_messages: dice.percent(20).then(|| Rate::new(5, Duration::from_secs(60))),
            ..queue::scheduler::Settings::default()
        };
        let bounds = Bounds { sessions, per_site: group.min(sessions), per_domain: destination, apart };
        let settings = settings(scheduler, retry, &mut dice, domains);
        let world = Dice::new(dice.next());
        let deeds = deeds(&mut dice, &net, domains, well);
        Self { net, settings, bounds, well, deeds, world, rest: dice }
    }
}

/// Everything that is to happen, in its order.
fn deeds(dice: &mut Dice, net: &Internet, domains: usize, well: i64) -> Vec<(i64, Deed)> {
    let last = (well - HOUR).unsigned_abs();
    let mut deeds: Vec<(i64, Deed)> = Vec::new();
    let when = |dice: &mut Dice| i64::try_from(dice.between(1_000, last)).unwrap_or(0);
    let messages = 30 + dice.below(60);
    let mut burst = when(dice);
    for number in 0..messages {
        // Some come in bursts.
        if !dice.percent(40) {
            burst = when(dice);
        }
        let message = Message::new(dice, net, u64::try_from(number).unwrap_or(0));
        deeds.push((burst + i64::try_from(dice.between(0, 500)).unwrap_or(0), Deed::Accept(Box::new(message))));
    }
    for _ in 0..dice.between(0, 10) {
        let domain = dice.percent(80).then(|| format!("d{}.example", dice.below(domains)));
        let change = match dice.between(0, 3) {
            0 => SpoolChange::Hold,
            1 => SpoolChange::Release,
            _ => SpoolChange::RetryAt(0),
        };
        deeds.push((when(dice), Deed::Operate(change, domain)));
    }
    for _ in 0..dice.between(0, 4) {
        deeds.push((when(dice), Deed::Remove));
    }
    for _ in 0..*dice.pick(&[0, 0, 1, 3, 6]) {
        let writes = dice.percent(60).then(|| dice.between(0, 60));
        // At a time when something goes on.
        let at = deeds.get(dice.below(messages)).map_or(0, |(at, _)| *at);
        deeds.push((at + i64::try_from(dice.between(0, 4_000)).unwrap_or(0), Deed::Cut(writes)));
    }
    for _ in 0..*dice.pick(&[0, 1, 2]) {
        let at = deeds.get(dice.below(messages)).map_or(0, |(at, _)| *at);
        deeds.push((at + i64::try_from(dice.between(0, 4_000)).unwrap_or(0), Deed::Restart));
    }
    if dice.percent(20) && domains > 6 {
        deeds.push((when(dice), Deed::Ours(format!("d{}.example", 4 + dice.below(domains - 4)))));
    }
    let mut at = 0;
    while at < well {
        at += 20 * MINUTE;
        deeds.push((at, Deed::Look));
    }
    deeds.push((well, Deed::Operate(SpoolChange::Release, None)));
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

fn settings(scheduler: queue::scheduler::Settings, retry: RetryPolicy, dice: &mut Dice, domains: usize) -> Settings {
    let mut rules = Vec::new();
    if dice.percent(30) {
        // Not where reports go.
        let pattern = format!("d{}.example", 2 + dice.below(domains - 2));
        let conditions = Conditions { recipients: pattern.parse().into_iter().collect(), senders: Vec::new() };
        let action = if dice.percent(50) {
            Action::Discard
        } else {
            Action::Refuse { code: 550, text: "5.7.1 not there".into() }
        };
        rules.push(Rule { conditions, ..Rule::new(action) });
    }
    Settings {
        hostname: HOME.into(),
        hello_name: HelloName::try_from(HOME).unwrap_or_else(|_| unreachable!("a name")),
        sources: Vec::new(),
        port: 25,
        routing: Arc::new(routing::Settings { own_names: vec![HOME.into()], ..routing::Settings::default() }),
        table: Table::new(rules, &Here::default()).unwrap_or_default(),
        credentials: std::collections::HashMap::new(),
        pipes: std::collections::HashMap::new(),
        tls: TlsPolicy::Auto,
        scheduler,
        retry,
        retry_for: Vec::new(),
        recipients_per_message: 1 + dice.below(60),
        linger: Duration::from_secs(dice.between(0, 10)),
        bounce_strangers: false,
        trace: Duration::from_secs(30 * 86_400),
        tls_reports: dice.percent(70).then(|| format!("postmaster@{HOME}")),
    }
}
