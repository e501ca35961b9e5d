//! Policy services: a JSON document by HTTP POST at a stage, a JSON document with the decision back.

mod document;
mod post;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use smtp::Reply;
use tokio::time::timeout;

use crate::session::{Known, Said};
use crate::{HookSettings, Modifications, NoteKind, Stage, Verdict};
use document::{Action, Answer};

pub use post::{Loopback, Post};
pub(crate) use post::{Scheme, scheme};

/// A policy service as the process knows it.
pub(crate) struct Hook {
    pub(crate) name: Arc<str>,
    settings: HookSettings,
    post: Arc<dyn Post>,
    failing: AtomicBool,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A policy service in one SMTP connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) hook: Arc<Hook>,
    connection_done: bool,
    message_done: bool,
}

impl Hook {
    pub(crate) fn new(settings: HookSettings, post: Arc<dyn Post>) -> Self {
        Self { name: settings.name.as_str().into(), settings, post, failing: AtomicBool::new(false) }
    }

    async fn exchange(&self, document: Bytes) -> Result<Answer, String> {
        let settings = &self.settings;
        let (status, octets) =
            match timeout(settings.timeout, self.post.post(&settings.url, document, settings.answer_octets)).await {
                Ok(done) => done?,
                Err(_) => return Err("no answer in time".to_owned()),
            };
        if status != 200 {
            return Err(format!("status {status}"));
        }
        document::read(&octets).map_err(|error| format!("not an answer: {error}"))
    }
}

impl Member {
    pub(crate) fn new(hook: Arc<Hook>) -> Self {
        Self { hook, connection_done: false, message_done: false }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.connection_done || self.message_done
    }

    pub(crate) fn message_over(&mut self) {
        self.message_done = false;
    }

    /// Asks at a stage; `message` is its header and its octets in all.
    pub(crate) async fn ask(&mut self, known: &Known, stage: Stage, message: Option<(&Bytes, u64)>) -> Said {
        let hook = &self.hook;
        if !hook.settings.stages.contains(stage) || self.is_done() {
            return Said::nothing();
        }
        let document = document::write(known, stage, message, hook.settings.header_octets);
        match hook.exchange(document).await {
            Ok(answer) => {
                if hook.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(filter = &*hook.name, "hook answers again");
                }
                self.said(stage, answer)
            }
            Err(error) => {
                let then = hook.settings.on_failure.as_str();
                // rule 33: told once, until the hook answers.
                if hook.failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(filter = &*hook.name, url = hook.settings.url, %stage, error, then, "hook failed");
                } else {
                    tracing::warn!(filter = &*hook.name, url = hook.settings.url, %stage, error, then, "hook failed");
                }
                let note = (NoteKind::Failed, format!("{error}; then {then}"));
                Said::with(hook.settings.on_failure.verdict(), vec![note])
            }
        }
    }

    fn said(&mut self, stage: Stage, answer: Answer) -> Said {
        let text = answer.text;
        let refusal = |default: u16, words: &str| {
            // A code of the other class would say the opposite of the action.
            let code = answer.code.filter(|code| code / 100 == default / 100).unwrap_or(default);
            let words = if text.is_empty() { words } else { &text };
            match smtp::EnhancedCode::at_front_of(words) {
                Some((enhanced, _)) if enhanced.fits(code) => Reply::new(code, words.to_owned()),
                _ => Reply::new(code, format!("{}.7.1 {words}", code / 100)),
            }
        };
        let (verdict, kind) = match answer.action {
            Action::Continue => (Verdict::Continue, None),
            Action::Accept => {
                if stage <= Stage::Hello {
                    self.connection_done = true;
                } else {
                    self.message_done = true;
                }
                (Verdict::Continue, Some(NoteKind::Accepted))
            }
            Action::Reject => (Verdict::Reject(refusal(550, "refused by policy")), Some(NoteKind::Rejected)),
            Action::TempFail => {
                let reply = refusal(451, "not taken now by policy, try again later");
                (Verdict::TempFail(reply), Some(NoteKind::Deferred))
            }
            // There is no message yet to which these could apply.
            Action::Discard | Action::Quarantine | Action::Hold if stage <= Stage::Hello => {
                (Verdict::Continue, Some(NoteKind::Ignored))
            }
            Action::Discard => (Verdict::Discard, Some(NoteKind::Discarded)),
            Action::Quarantine => (Verdict::Quarantine(text.clone()), Some(NoteKind::Quarantined)),
            Action::Hold => (Verdict::Hold(text.clone()), Some(NoteKind::Held)),
        };
        let mut said = Said::with(verdict, kind.map(|kind| (kind, text.clone())).into_iter().collect());
        if !answer.header.is_empty() && stage <= Stage::Hello {
            said.notes.push((NoteKind::Ignored, "header fields for no message".to_owned()));
        } else if !answer.header.is_empty() {
            let names: Vec<&str> = answer.header.iter().map(crate::HeaderChange::name).collect();
            said.notes.push((NoteKind::Changed, format!("header ({})", names.join(", "))));
            said.modifications = Modifications { header: vec![answer.header], ..Modifications::default() };
        }
        said
    }
}
