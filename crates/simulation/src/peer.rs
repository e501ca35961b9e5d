//! The other side of a connection: a server that is good, or not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smtp::Reply;
use smtp::server::{Config, Event, Mode, Server, Told};

use crate::internet::{Host, Site, Tls};
use crate::ledger::Entry;
use crate::line::Inner;

/// How far a connection comes before something happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Greeting,
    Hello,
    Mail,
    Recipient,
    Data,
    Content,
    /// The message was taken, and is not answered.
    Taken,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Break {
    /// The connection is closed.
    Drop,
    /// It is cut off: what is on its way is lost.
    Reset,
    /// Nothing is said any more.
    Silence,
    /// A reply without end.
    Endless,
    /// No reply at all, but octets.
    Garbage,
    /// "Goodbye" out of turn.
    Goodbye,
    /// 250 where 354 belongs.
    Early,
}

/// What the server does about an event.
pub(crate) enum Reaction {
    Tell(Told),
    Nothing,
    Break(Break),
}

/// A server's side.
pub(crate) struct Peer {
    pub(crate) session: Server,
    site: Site,
    fault: Option<(Stage, Break, u32)>,
    sender: String,
    recipients: Vec<String>,
    content: Vec<u8>,
    messages: u32,
    /// Domains that mail was brought for.
    pub(crate) domains: BTreeSet<String>,
    /// Messages that were taken, and the answers to which have not reached the client.
    pub(crate) unanswered: Vec<Entry>,
}

impl Peer {
    pub(crate) fn new(inner: &mut Inner, host: &Host, now: Instant, elapsed: i64) -> Self {
        let site = inner.net.sites[host.site].clone();
        let mut config = Config::new(Mode::Smtp, host.name.clone());
        config.starttls = host.tls != Tls::None;
        config.dsn = site.dsn;
        config.chunking = site.chunking;
        config.deliver_by = site.deliver_by.then_some(Duration::ZERO);
        let dice = &mut inner.dice;
        let is_bad = elapsed < inner.net.well && dice.percent(site.bad);
        let fault = is_bad.then(|| {
            let stage = *dice.pick(&[
                Stage::Greeting,
                Stage::Hello,
                Stage::Mail,
                Stage::Recipient,
                Stage::Data,
                Stage::Content,
                Stage::Taken,
                Stage::Taken,
            ]);
            let how = match dice.between(0, 9) {
                0..=3 => Break::Drop,
                4 => Break::Reset,
                5 => Break::Silence,
                6 => Break::Endless,
                7 => Break::Garbage,
                8 => Break::Goodbye,
                _ => Break::Early,
            };
            let how = if how == Break::Early && stage != Stage::Data { Break::Drop } else { how };
            (stage, how, u32::try_from(dice.between(0, 2)).unwrap_or(0))
        });
        Self {
            session: Server::new(Arc::new(config), now),
            site,
            fault,
            sender: String::new(),
            recipients: Vec::new(),
            content: Vec::new(),
            messages: 0,
            domains: BTreeSet::new(),
            unanswered: Vec::new(),
        }
    }

    fn fault(&self, stage: Stage) -> Option<Break> {
        self.fault.filter(|(at, _, after)| *at == stage && *after <= self.messages).map(|(_, how, _)| how)
    }

    pub(crate) fn on_event(&mut self, event: Event, inner: &mut Inner, site: usize, now: i64) -> Reaction {
        let stage = match &event {
            Event::Connected => Some(Stage::Greeting),
            Event::Hello(_) => Some(Stage::Hello),
            Event::Mail(_) => Some(Stage::Mail),
            Event::Recipient(_) => Some(Stage::Recipient),
            Event::Data(_) => Some(Stage::Data),
            Event::Content(_) => Some(Stage::Content),
            _ => None,
        };
        // Whoever answers BDAT with 250 has the message: too early is only an answer to DATA.
        let is_chunked = matches!(&event, Event::Data(start) if start.chunked);
        let fault = stage.and_then(|stage| self.fault(stage));
        if let Some(how) = fault.filter(|how| *how != Break::Early || !is_chunked) {
            return Reaction::Break(how);
        }
        let told = match event {
            Event::Connected if now < inner.net.well && inner.dice.percent(self.site.bad / 4) => {
                Told::Reply(Reply::new(421, "4.3.2 too busy"))
            }
            Event::Connected | Event::Hello(_) | Event::Data(_) => Told::Accept,
            Event::Mail(mail) => {
                if self.site.per_session.is_some_and(|most| self.messages >= most) {
                    Told::Reply(Reply::new(421, "4.7.0 enough for one connection"))
                } else {
                    let text = mail.reverse_path.to_string();
                    self.sender = text.trim_matches(['<', '>']).to_owned();
                    (self.recipients, self.content) = (Vec::new(), Vec::new());
                    Told::Accept
                }
            }
            Event::Recipient(recipient) => {
                let text = recipient.forward_path.to_string();
                self.recipient(text.trim_matches(['<', '>']), inner, site, now)
            }
            Event::Content(octets) => {
                self.content.extend_from_slice(&octets);
                Told::Accept
            }
            Event::ContentEnd { .. } => return self.end(inner, now),
            _ => return Reaction::Nothing,
        };
        Reaction::Tell(self.slowly(told, inner))
    }

    fn slowly(&self, told: Told, inner: &mut Inner) -> Told {
        if self.site.slow > 1_000 && inner.dice.percent(30) {
            Told::After(inner.dice.millis(0, self.site.slow), Box::new(told))
        } else {
            told
        }
    }

    fn recipient(&mut self, address: &str, inner: &mut Inner, site: usize, now: i64) -> Told {
        if let Some((_, domain)) = address.rsplit_once('@')
            && self.domains.insert(domain.to_owned())
        {
            inner.enter(domain, now);
        }
        if let Some(wait) = self.site.greylist {
            let first = *inner.greylist.entry((site, self.sender.clone(), address.to_owned())).or_insert(now);
            if now < first + wait {
                return Told::Reply(Reply::new(450, "4.7.1 greylisted, come back later"));
            }
        }
        // Who is not there never is.
        let name = address.bytes().fold(7_u64, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(octet)));
        if address.starts_with('m') && (name >> 3) % 100 < self.site.refuses {
            return Told::Reply(Reply::new(550, "5.1.1 nobody of that name"));
        }
        if now < inner.net.well && inner.dice.percent(self.site.bad / 5) {
            return Told::Reply(Reply::new(452, "4.2.2 mailbox full"));
        }
        self.recipients.push(address.to_owned());
        Told::Accept
    }

    fn end(&mut self, inner: &mut Inner, now: i64) -> Reaction {
        let is_well = now >= inner.net.well;
        if !is_well && inner.dice.percent(self.site.bad / 5) {
            return Reaction::Tell(Told::Reply(Reply::new(451, "4.3.0 not now")));
        }
        if self.site.refuses > 10 && !self.sender.is_empty() && inner.dice.percent(3) {
            return Reaction::Tell(Told::Reply(Reply::new(554, "5.6.0 not such a message")));
        }
        for recipient in &self.recipients {
            inner.ledger.log(now, &format!("arrived at {recipient}"));
            self.unanswered.extend(inner.ledger.arrived(now, &self.sender, recipient, &self.content));
        }
        let fault = self.fault(Stage::Taken);
        self.messages += 1;
        match fault {
            Some(how) => Reaction::Break(how),
            None => Reaction::Tell(self.slowly(Told::Reply(Reply::new(250, "2.0.0 taken")), inner)),
        }
    }
}

impl Break {
    /// What is still said.
    pub(crate) fn last_words(self) -> Option<Bytes> {
        match self {
            Self::Drop | Self::Reset | Self::Silence => None,
            Self::Endless => Some(Bytes::from("250-and more\r\n".repeat(500))),
            Self::Garbage => Some(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            Self::Goodbye => Some(Bytes::from_static(b"421 4.3.2 goodbye\r\n")),
            Self::Early => Some(Bytes::from_static(b"250 2.0.0 thank you\r\n")),
        }
    }
}
