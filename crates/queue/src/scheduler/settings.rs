//! What the scheduler allows: each setting with its default and bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rate::Rate;

/// The settings of a scheduler. [`Default`] has the documented defaults; values out of bounds are brought within them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sessions at once, over all destinations. Default 200, 1 to 20,000.
    pub sessions: u32,
    /// The share of `sessions` that mail which was tried before never takes. Default 20, 0 to 90.
    pub fresh_percent: u8,
    /// The share of `sessions` that destinations may take whose last attempt failed as a whole. Default 25, 1 to 90.
    pub probe_percent: u8,
    /// Sessions at once to one group of mail exchangers. Default 40, 1 to `sessions`.
    pub sessions_per_group: u32,
    /// Other numbers of sessions for groups, by their name.
    pub groups: BTreeMap<String, u32>,
    /// What each destination gets.
    pub shaping: Shaping,
    /// What destinations get that have their own settings, by key.
    pub overrides: BTreeMap<String, Shaping>,
    /// Messages of one source (an account, an address). Default: no limit. What exceeds it is put off.
    pub source_messages: Option<Rate>,
    /// Sources whose rate is remembered. Default 10,000, 100 to 1,000,000; with more at once, the newest wait.
    pub sources: usize,
    /// Destinations known at once. Default 200,000, 10 to 10,000,000; those beyond are learnt when others are done.
    pub destinations: usize,
    /// Rows asked for at once. Default 200, 10 to 10,000. An active destination keeps no more than these.
    pub rows_per_load: u32,
    /// Rows kept beside the ones of active destinations, so that fresh mail need not be read back. Default 10,000, 0 to
    /// 1,000,000.
    pub rows_handed: usize,
    /// The time after which a session ends while others wait for one; the batch at hand is finished. By time, not by
    /// messages: who is slow gets less done, and takes nothing from others. Default 5 s, 0 to 5 min.
    pub quantum: Duration,
    /// The longest time that an open session waits for a rate to allow more. Default 10 s, 0 to 5 min.
    pub linger: Duration,
    /// The wait after a destination failed as a whole; it doubles. Default 1 min, 1 s to `backoff_max`.
    pub backoff_first: Duration,
    /// The longest such wait. Default 1 h, 1 s to 1 day.
    pub backoff_max: Duration,
    /// Each such wait is longer or shorter by up to this share. Default 20, 0 to 50.
    pub backoff_jitter_percent: u8,
    /// The seed of all jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions: 200,
            fresh_percent: 20,
            probe_percent: 25,
            sessions_per_group: 40,
            groups: BTreeMap::new(),
            shaping: Shaping::default(),
            overrides: BTreeMap::new(),
            source_messages: None,
            sources: 10_000,
            destinations: 200_000,
            rows_per_load: 200,
            rows_handed: 10_000,
            quantum: Duration::from_secs(5),
            linger: Duration::from_secs(10),
            backoff_first: Duration::from_secs(60),
            backoff_max: Duration::from_secs(3600),
            backoff_jitter_percent: 20,
            seed: 0,
        }
    }
}

impl Settings {
    pub(super) fn bounded(mut self) -> Self {
        self.sessions = self.sessions.clamp(1, 20_000);
        self.fresh_percent = self.fresh_percent.min(90);
        self.probe_percent = self.probe_percent.clamp(1, 90);
        self.sessions_per_group = self.sessions_per_group.clamp(1, self.sessions);
        for sessions in self.groups.values_mut() {
            *sessions = (*sessions).clamp(1, self.sessions);
        }
        self.sources = self.sources.clamp(100, 1_000_000);
        self.destinations = self.destinations.clamp(10, 10_000_000);
        self.rows_per_load = self.rows_per_load.clamp(10, 10_000);
        self.rows_handed = self.rows_handed.min(1_000_000);
        self.quantum = self.quantum.min(Duration::from_secs(300));
        self.linger = self.linger.min(Duration::from_secs(300));
        self.backoff_max = self.backoff_max.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
        self.backoff_first = self.backoff_first.clamp(Duration::from_secs(1), self.backoff_max);
        self.backoff_jitter_percent = self.backoff_jitter_percent.min(50);
        self.shaping = self.shaping.bounded(self.sessions);
        for shaping in self.overrides.values_mut() {
            *shaping = shaping.bounded(self.sessions);
        }
        self
    }

    /// Sessions that mail which was tried before may take.
    pub(super) fn retried_sessions(&self) -> u32 {
        self.sessions - share(self.sessions, self.fresh_percent).min(self.sessions - 1)
    }

    /// Sessions that destinations which failed may take.
    pub(super) fn probe_sessions(&self) -> u32 {
        share(self.sessions, self.probe_percent).max(1)
    }
}

/// How kind we are to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Shaping {
    /// Sessions at once. Default 20, 1 to the total.
    pub sessions: u32,
    /// Sessions at once before anything is known of it. Default 2, 1 to `sessions`.
    pub sessions_first: u32,
    /// Messages in one session. Default 100, 1 to 1,000,000.
    pub messages_per_session: u32,
    /// Recipients in one batch. Default 100 (RFC 5321 §4.5.3.1.8), 1 to 10,000.
    pub recipients_per_batch: u32,
    /// Messages in a time. Default: no limit.
    pub messages: Option<Rate>,
    /// Recipients in a time. Default: no limit.
    pub recipients: Option<Rate>,
    /// Connections in a time. Default: no limit.
    pub connections: Option<Rate>,
}

impl Default for Shaping {
    fn default() -> Self {
        Self {
            sessions: 20,
            sessions_first: 2,
            messages_per_session: 100,
            recipients_per_batch: 100,
            messages: None,
            recipients: None,
            connections: None,
        }
    }
}

impl Shaping {
    fn bounded(self, total: u32) -> Self {
        let sessions = self.sessions.clamp(1, total);
        Self {
            sessions,
            sessions_first: self.sessions_first.clamp(1, sessions),
            messages_per_session: self.messages_per_session.clamp(1, 1_000_000),
            recipients_per_batch: self.recipients_per_batch.clamp(1, 10_000),
            ..self
        }
    }
}

fn share(of: u32, percent: u8) -> u32 {
    u32::try_from(u64::from(of) * u64::from(percent) / 100).unwrap_or(of)
}
