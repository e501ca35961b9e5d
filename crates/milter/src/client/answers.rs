//! What a response means where the dialogue is.

use std::time::{Duration, Instant};

use super::{Answer, Client, Event, Failure, Negotiated, Passed, Phase, Place, Stage};
use crate::options::{Actions, Options, Steps};
use crate::{DATA_OCTETS, Modification, Response, Text, VERSION};

impl Client {
    /// The wait for one answer.
    pub(super) fn patience(&self, stage: Stage) -> Duration {
        let limits = &self.config.limits;
        match stage {
            Stage::Header | Stage::EndOfHeader | Stage::Body => limits.content_wait,
            Stage::End => limits.end_wait,
            _ => limits.command_wait,
        }
    }

    pub(super) fn on_response(&mut self, now: Instant, response: Response) {
        let code = response.code();
        if self.phase == Phase::Negotiating {
            match response {
                Response::Negotiate(options) => self.on_negotiated(options),
                _ => self.fail(Failure::Unexpected { code }),
            }
            return;
        }
        let Some(asked) = self.asked else {
            self.fail(Failure::Unexpected { code });
            return;
        };
        let stage = asked.stage;
        let answer = match response {
            Response::Progress => {
                let deadline = now + self.patience(stage);
                self.deadline = Some(self.last.map_or(deadline, |last| last.min(deadline)));
                return;
            }
            Response::Modify(modification) if stage == Stage::End => {
                // A change shows that it is at work, like a word of progress.
                let deadline = now + self.patience(stage);
                self.deadline = Some(self.last.map_or(deadline, |last| last.min(deadline)));
                if let Err(failure) = self.on_modification(modification, code) {
                    self.fail(failure);
                }
                return;
            }
            Response::Continue => Answer::Continue,
            Response::Accept => Answer::Accept,
            Response::Reject => Answer::Reject,
            Response::TempFail => Answer::TempFail,
            Response::Reply(reply) => Answer::Reply(reply),
            Response::Shutdown => Answer::Shutdown,
            Response::ConnectionFailed => Answer::ConnectionFailed,
            Response::Discard if !matches!(stage, Stage::Connect | Stage::Hello | Stage::Unknown) => Answer::Discard,
            Response::Skip if stage == Stage::Body && self.negotiated.steps.contains(Steps::SKIP) => Answer::Skip,
            Response::Negotiate(_) | Response::Modify(_) | Response::Discard | Response::Skip => {
                self.fail(Failure::Unexpected { code });
                return;
            }
        };
        if asked.refused {
            self.answered(stage, Answer::Continue);
            return;
        }
        if stage == Stage::Body && answer == Answer::Continue && !self.body.is_empty() {
            self.next_piece();
            self.ask(now, asked);
            return;
        }
        self.on_answer(stage, answer);
    }

    fn on_answer(&mut self, stage: Stage, answer: Answer) {
        match (stage, &answer) {
            (Stage::End, _) => {
                let mut changes = std::mem::take(&mut self.changes);
                let body = self.new_body.drain(..);
                changes.extend(body.map(|octets| Modification::ReplaceBody(octets.freeze())));
                self.message_over();
                if matches!(answer, Answer::Continue | Answer::Accept) && !changes.is_empty() {
                    self.tell(Event::Changes(changes));
                }
            }
            (_, Answer::Continue) => {}
            (_, Answer::Skip) => self.passed = Passed::Body,
            (Stage::Connect | Stage::Hello, Answer::Accept) => self.passed = Passed::Connection,
            // The command alone was refused.
            (Stage::Connect | Stage::Hello | Stage::Unknown, _) => {}
            (Stage::Recipient, Answer::Reject | Answer::TempFail | Answer::Reply(_)) => {}
            // The rest of the message is not told, and the filter is ready for the next.
            _ => {
                self.send(&crate::Command::Abort);
                self.passed = Passed::Message;
            }
        }
        self.answered(stage, answer);
    }

    fn answered(&mut self, stage: Stage, answer: Answer) {
        (self.asked, self.deadline, self.last) = (None, None, None);
        self.body.clear();
        self.answer(stage, answer);
        if self.quitting {
            self.quit();
        }
    }

    fn on_negotiated(&mut self, options: Options) {
        // Version 1 cannot add or change what is agreed on here; libmilter has spoken 2 and more since 2001.
        if !(2..=VERSION).contains(&options.version) {
            self.fail(Failure::Version(options.version));
            return;
        }
        let actions = options.actions.without(self.config.actions);
        let steps = options.steps.without(self.config.steps);
        if actions != Actions::default() || steps != Steps::default() {
            self.fail(Failure::NotOffered { actions, steps });
            return;
        }
        let allowed = options.actions.contains(Actions::SET_MACRO_LISTS);
        let macros = options.macros.into_iter().filter(|_| allowed).map(|(stage, names)| (stage, split(&names)));
        self.negotiated = Negotiated {
            version: options.version,
            actions: options.actions,
            steps: options.steps,
            macros: macros.collect(),
        };
        self.phase = Phase::Open;
        self.place = Place::Start;
        self.deadline = None;
        self.tell(Event::Ready(self.negotiated.clone()));
        if self.quitting {
            self.quit();
        }
    }

    fn on_modification(&mut self, mut modification: Modification, code: u8) -> Result<(), Failure> {
        let actions = match &modification {
            Modification::AddRecipient { parameters: None, .. } => Actions::ADD_RECIPIENTS,
            Modification::AddRecipient { .. } => Actions::ADD_RECIPIENTS_WITH_PARAMETERS,
            Modification::DeleteRecipient(_) => Actions::DELETE_RECIPIENTS,
            Modification::ReplaceBody(_) => Actions::CHANGE_BODY,
            Modification::ChangeSender { .. } => Actions::CHANGE_SENDER,
            Modification::AddHeader { .. } | Modification::InsertHeader { .. } => Actions::ADD_HEADERS,
            Modification::ChangeHeader { .. } => Actions::CHANGE_HEADERS,
            Modification::Quarantine(_) => Actions::QUARANTINE,
        };
        if !self.negotiated.actions.contains(actions) {
            return Err(Failure::NotAgreed { code });
        }
        let limits = &self.config.limits;
        if let Modification::ReplaceBody(octets) = modification {
            self.body_octets += octets.len();
            if self.body_octets > limits.body_octets {
                return Err(Failure::TooManyChanges);
            }
            self.gather(&octets);
            return Ok(());
        }
        self.changed_octets += octets(&modification);
        if self.changed_octets > limits.modification_octets || self.changes.len() >= limits.modifications {
            return Err(Failure::TooManyChanges);
        }
        if !self.negotiated.steps.contains(Steps::HEADER_LEADING_SPACE) {
            spaced(&mut modification);
        }
        self.changes.push(modification);
        Ok(())
    }

    /// Octets of a new body, gathered so that its pieces are few whatever pieces they came in.
    fn gather(&mut self, octets: &[u8]) {
        match self.new_body.last_mut() {
            Some(last) if last.len() + octets.len() <= DATA_OCTETS => last.extend_from_slice(octets),
            _ => self.new_body.push(octets.into()),
        }
    }
}

/// Names of macros, parted by white space or commas, with or without braces.
fn split(names: &Text) -> Vec<String> {
    names
        .to_string_lossy()
        .split(|c: char| c.is_ascii_whitespace() || c == ',')
        .map(|name| name.trim_start_matches('{').trim_end_matches('}'))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn octets(modification: &Modification) -> usize {
    match modification {
        Modification::AddRecipient { path, parameters } | Modification::ChangeSender { path, parameters } => {
            path.len() + parameters.as_ref().map_or(0, Text::len)
        }
        Modification::DeleteRecipient(text) | Modification::Quarantine(text) => text.len(),
        Modification::ReplaceBody(octets) => octets.len(),
        Modification::AddHeader { name, value }
        | Modification::InsertHeader { name, value, .. }
        | Modification::ChangeHeader { name, value, .. } => name.len() + value.len(),
    }
}

/// The space behind the colon, where the filter leaves it to us.
fn spaced(modification: &mut Modification) {
    if let Modification::AddHeader { value, .. }
    | Modification::InsertHeader { value, .. }
    | Modification::ChangeHeader { value, .. } = modification
        && !value.is_empty()
    {
        *value = [b" ", value.as_bytes()].concat().into();
    }
}
