//! Playing a script against a session.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use wire::{Session, TlsFacts};

use crate::driver::{Application, Did, Driver};
use crate::script::{Script, Settings, Side, Step};

/// Where the octets that are fed to a session are cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// After each line of the script.
    Line,
    /// After each octet.
    Octet,
    /// Only where the script has something other than the peer's lines: they arrive pipelined.
    Whole,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Line, Self::Octet, Self::Whole];
}

/// Plays all scripts of a folder at every cut: the maker of the session and the maker of its application are called for
/// each play, with the script's settings. The setting `implicit-tls` has TLS come first.
///
/// # Panics
/// The session did not do what a script says; the message has the script's line.
pub fn replay_folder<S: Session, A: Application<S>>(
    folder: impl AsRef<Path>,
    side: Side,
    session: impl Fn(Instant, &Settings) -> S,
    application: impl Fn(&Settings) -> A,
) where
    S::Event: fmt::Debug,
{
    for script in Script::folder(folder) {
        for cut in Cut::ALL {
            replay(&script, cut, side, &session, &application);
        }
    }
}

/// Plays one script at one cut; see [`replay_folder`].
///
/// # Panics
/// The session did not do what the script says; the message has the script's line.
pub fn replay<S: Session, A: Application<S>>(
    script: &Script,
    cut: Cut,
    side: Side,
    session: impl FnOnce(Instant, &Settings) -> S,
    application: impl FnOnce(&Settings) -> A,
) where
    S::Event: fmt::Debug,
{
    let settings = script.settings();
    let application = application(settings);
    let session = |now| session(now, settings);
    let driver = if settings.has("implicit-tls") {
        Driver::under_tls(session, application, TlsFacts::default())
    } else {
        Driver::new(session, application)
    };
    let mut player = Player { script, cut, side, driver, unfed: Vec::new(), line: 1 };
    for (line, step) in &script.steps {
        player.line = *line;
        player.step(step);
    }
    player.feed();
    player.silent("at the end of the script");
}

struct Player<'a, S: Session, A> {
    script: &'a Script,
    cut: Cut,
    side: Side,
    driver: Driver<S, A>,
    unfed: Vec<u8>,
    line: usize,
}

impl<S: Session, A: Application<S>> Player<'_, S, A>
where
    S::Event: fmt::Debug,
{
    fn step(&mut self, step: &Step) {
        match step {
            Step::Say { side, octets } if *side != self.side => {
                self.unfed.extend_from_slice(octets);
                if self.cut != Cut::Whole {
                    self.feed();
                }
                return;
            }
            _ => self.feed(),
        }
        match step {
            Step::Say { octets, .. } => self.expect_octets(octets),
            Step::Like { side, parts } if *side == self.side => self.expect_like(parts),
            Step::Like { .. } => self.fail("`…` can only be expected, not said"),
            Step::Event(text) => self.expect_event(text),
            Step::Tell(text) => {
                for told in self.driver.application.told(text) {
                    self.driver.tell(told);
                }
            }
            Step::Pass(time) => self.driver.pass(*time),
            Step::Tls => {
                if !self.driver.log.contains(&Did::StartTls) {
                    self.fail("the session has not asked for TLS");
                }
                self.driver.log.retain(|did| *did != Did::StartTls);
                if self.driver.is_closed() {
                    self.fail("the session is closed");
                }
                self.driver.tls(TlsFacts::default());
            }
            Step::Compress => {
                if !self.driver.log.contains(&Did::Compress) {
                    self.fail("the session has not asked for compression");
                }
                self.driver.log.retain(|did| *did != Did::Compress);
            }
            Step::Eof => self.driver.eof(),
            Step::Shutdown => self.driver.shutdown(),
            Step::Close => {
                if !self.driver.is_closed() {
                    self.fail("the session is still open");
                }
            }
            Step::Silent => self.silent("where silence is expected"),
        }
    }

    fn feed(&mut self) {
        let octets = std::mem::take(&mut self.unfed);
        match self.cut {
            Cut::Octet => octets.chunks(1).for_each(|octet| self.driver.feed(octet)),
            Cut::Line | Cut::Whole if octets.is_empty() => {}
            Cut::Line | Cut::Whole => self.driver.feed(&octets),
        }
    }

    /// The octets said next, up to `length` of them; what stands before them in the log and is none is dropped.
    fn said(&mut self, length: impl Fn(&[u8]) -> usize) -> Vec<u8> {
        while let Some(front) = self.driver.log.front_mut() {
            match front {
                Did::Sent(octets) => {
                    let length = length(octets).min(octets.len());
                    let said = octets.drain(..length).collect();
                    if octets.is_empty() {
                        self.driver.log.pop_front();
                    }
                    return said;
                }
                Did::StartTls | Did::Compress => self.fail("expected here are octets, but the layer changes first"),
                Did::Event(_) | Did::Closed => {
                    self.driver.log.pop_front();
                }
            }
        }
        Vec::new()
    }

    fn expect_octets(&mut self, expected: &[u8]) {
        let mut said = Vec::new();
        while said.len() < expected.len() {
            let missing = expected.len() - said.len();
            let more = self.said(|_| missing);
            said.extend_from_slice(&more);
            if more.is_empty() || !expected.starts_with(&said) {
                said.extend(
                    self.said(|octets| octets.iter().position(|octet| *octet == b'\n').map_or(200, |at| at + 1)),
                );
                self.fail(&format!("expected {}\n   said {}", shown(expected), shown(&said)));
            }
        }
    }

    fn expect_like(&mut self, parts: &[Vec<u8>]) {
        let line =
            self.said(|octets| octets.iter().position(|octet| *octet == b'\n').map_or(octets.len(), |at| at + 1));
        let mut rest = line.as_slice();
        for (nth, part) in parts.iter().enumerate() {
            let at = match nth {
                0 => rest.starts_with(part).then_some(0),
                _ if nth + 1 == parts.len() => rest.ends_with(part).then(|| rest.len() - part.len()),
                _ => (0..rest.len()).find(|at| rest[*at..].starts_with(part)),
            };
            match at {
                Some(at) => rest = &rest[at + part.len()..],
                None => self.fail(&format!("said {}", shown(&line))),
            }
        }
    }

    fn expect_event(&mut self, text: &str) {
        loop {
            match self.driver.log.pop_front() {
                Some(Did::Event(event)) if event.starts_with(text) => return,
                Some(Did::Event(_)) => {}
                // A handshake that will never be.
                Some(Did::StartTls) if self.driver.is_closed() => {}
                Some(Did::Sent(octets)) => self.fail(&format!("before this event, {} was said", shown(&octets))),
                Some(other) => self.fail(&format!("before this event: {other:?}")),
                None => self.fail("no such event"),
            }
        }
    }

    fn silent(&self, place: &str) {
        for did in &self.driver.log {
            if let Did::Sent(octets) = did {
                self.fail(&format!("{place} the session says {}", shown(octets)));
            }
        }
    }

    fn fail(&self, problem: &str) -> ! {
        panic!("{}:{} (cut per {:?}): {problem}", self.script.name(), self.line, self.cut)
    }
}

fn shown(octets: &[u8]) -> String {
    if octets.is_empty() { "nothing".to_owned() } else { format!("\"{}\"", octets.escape_ascii()) }
}
