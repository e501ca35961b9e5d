//! Log lines on standard error.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Error;
use crate::config::{Log, LogFormat};

/// RFC 3339 with the offset of this machine's zone.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

/// Starts the log; the second start in a process is without effect.
///
/// # Errors
/// The level is none.
pub fn start_log(log: &Log) -> Result<(), Error> {
    let filter = filter(&log.level).ok_or_else(|| Error::Config(expected(&log.level)))?;
    let lines = tracing_subscriber::fmt::layer().with_timer(Now).with_writer(std::io::stderr).with_ansi(false);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Somebody else's log, of a test or of an embedding program, stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(())
}

/// What is wrong with a level that is none.
pub(crate) fn expected(level: &str) -> String {
    format!(
        "log.level = {level:?}: expected error, warn, info, debug or trace, or a filter such as \"info,mailwright_store=debug\""
    )
}

/// A level, or levels of targets; a lone word that is no level would be a target whose every line is wanted, and a span in
/// brackets a part of its target's name.
pub(crate) fn filter(level: &str) -> Option<Targets> {
    let known = |part: &str| (part.contains('=') && !part.contains('[')) || part.parse::<LevelFilter>().is_ok();
    let parts = || level.split(',').map(str::trim);
    let filter: Targets = parts().all(|part| !part.is_empty() && known(part)).then(|| level.parse().ok())??;
    // It warns of answers that any stranger's zone may give, with all their octets.
    let asked_for = parts().any(|part| part.starts_with(DNS_LIBRARY));
    Some(if asked_for { filter } else { filter.with_target(DNS_LIBRARY, LevelFilter::OFF) })
}

/// How the targets of the library that asks name servers begin.
const DNS_LIBRARY: &str = "hickory";

/// Lines that strangers can cause, gathered in bursts (rule 33): the first of a kind is written, the others of the same
/// minute are counted and told with the next.
#[derive(Debug, Default)]
pub struct Bursts(Mutex<HashMap<String, (Instant, u64)>>);

/// Characters of a user name that are logged; an address has fewer.
const MAX_USER: usize = 320;
/// Kinds remembered; beyond it the oldest are forgotten.
const MAX_KINDS: usize = 10_000;
const BURST: Duration = Duration::from_secs(60);

/// A login that failed (rule 33).
#[derive(Clone, Copy, Debug)]
pub struct FailedLogin<'a> {
    /// Where the client is, if it has an address.
    pub peer: Option<IpAddr>,
    /// As whom it came.
    pub user: &'a str,
    /// How it tried.
    pub mechanism: &'a str,
    /// Why it failed.
    pub failure: &'a dyn std::fmt::Debug,
}

impl Bursts {
    /// Writes that a login failed: a line for each user from each address and minute.
    pub fn login_failed(&self, failed: FailedLogin<'_>, now: Instant) {
        let FailedLogin { peer, user, mechanism, failure } = failed;
        let peer = peer.map(|ip| ip.to_string()).unwrap_or_default();
        let shown: String = user.chars().take(MAX_USER).collect();
        if let Some(held) = self.admit(&format!("login {peer} {shown}"), now) {
            tracing::info!(peer, user = shown, mechanism, ?failure, more = held, "login failed");
        }
    }

    /// Whether a line of this kind is to be written at `now`, and how many were not since the last that was.
    pub fn admit(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= MAX_KINDS {
            kinds.retain(|_, (since, _)| now.duration_since(*since) < BURST);
            if kinds.len() >= MAX_KINDS {
                kinds.clear();
            }
        }
        match kinds.get_mut(kind) {
            Some((since, held)) if now.duration_since(*since) < BURST => {
                *held += 1;
                None
            }
            Some((since, held)) => {
                *since = now;
                Some(std::mem::take(held))
            }
            None => {
                kinds.insert(kind.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_levels_and_targets() {
        for good in ["info", "WARN", "off", "info,mailwright_store=debug", "mailwright_smtp_server=trace, error"] {
            assert!(filter(good).is_some(), "{good}");
        }
        for bad in ["", "loud", "info,store", "info,store=loud", "info,mailwright_net[session]=debug", "[{id}]=debug"] {
            assert!(filter(bad).is_none(), "{bad}");
        }
        let targets = filter("info,mailwright_store=debug").unwrap();
        assert!(targets.would_enable("mailwright_store::engine", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("mailwright_net", &tracing::Level::DEBUG));
    }

    #[test]
    fn what_any_zone_may_cause_is_not_logged_unless_it_is_asked_for() {
        // rule 33
        for level in ["info", "trace"] {
            assert!(!filter(level).unwrap().would_enable("hickory_net::dnssec", &tracing::Level::WARN), "{level}");
        }
        let asked_for = filter("info,hickory_net=warn").unwrap();
        assert!(asked_for.would_enable("hickory_net::dnssec", &tracing::Level::WARN));
        assert!(asked_for.would_enable("mailwright_net", &tracing::Level::INFO));
    }

    #[test]
    fn a_burst_is_one_line_and_a_count() {
        // rule 33
        let bursts = Bursts::default();
        let start = Instant::now();
        assert_eq!(bursts.admit("a", start), Some(0));
        for _ in 0..5 {
            assert_eq!(bursts.admit("a", start + Duration::from_secs(59)), None);
        }
        assert_eq!(bursts.admit("b", start), Some(0));
        assert_eq!(bursts.admit("a", start + Duration::from_secs(60)), Some(5));
        for number in 0..3 * MAX_KINDS {
            bursts.admit(&number.to_string(), start);
        }
        assert!(bursts.0.lock().unwrap().len() <= MAX_KINDS);
    }
}
