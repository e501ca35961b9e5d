//! The application of an IMAP session: logins, and each command's way to the store.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use daemon::{Bursts, FailedLogin, Fetcher, FirstFetches, Memory};
use directory::{Directory, Failure, LoggedIn, Login, Outcome, Watched};
use imap::server::{Done, Enabled, Event, Piece, Server, Then, Told};
use imap::{Command, Tag};
use net::{Application, Peer};
use sasl::Mechanism;
use store::{AccountId, Error, Store, What};
use wire::TlsFacts;

use crate::append::Appending;
use crate::fetch::{Octets, Running};
use crate::view::View;
use crate::{changes, mailboxes, search, text};

/// The application of one session.
#[derive(Debug)]
pub struct ImapApplication {
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    bursts: Arc<Bursts>,
    memory: Memory,
    peer: Peer,
    append_limit: u64,
    fetches: Option<Arc<FirstFetches>>,
    fetcher: Option<Fetcher>,
    tls: Option<TlsFacts>,
    login: Option<Box<Login>>,
    account: Option<Watched>,
    view: Option<Box<View>>,
    running: Option<Box<Running>>,
    /// What a FETCH has to say before its first message.
    vanished: Option<Bytes>,
    appending: Option<Box<Appending>>,
    enabled: Enabled,
    idling: bool,
}

type Reply = Told<Octets>;

impl ImapApplication {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        bursts: Arc<Bursts>,
        memory: Memory,
        peer: Peer,
        append_limit: u64,
        fetches: Option<Arc<FirstFetches>>,
    ) -> Self {
        Self {
            store,
            directory,
            bursts,
            memory,
            peer,
            append_limit,
            fetches,
            fetcher: None,
            tls: None,
            login: None,
            account: None,
            view: None,
            running: None,
            vanished: None,
            appending: None,
            enabled: Enabled::default(),
            idling: false,
        }
    }

    async fn logged_in(&mut self, account: LoggedIn) -> Reply {
        let watched = match Watched::new(self.store.as_ref(), account.account).await {
            Ok(watched) => watched,
            Err(error) => return Told::Refuse(text::refused(&error)),
        };
        metrics::counter!("logins_total", "protocol" => "imap", "result" => "ok").increment(1);
        tracing::debug!(user = account.address, "logged in");
        self.account = Some(watched);
        let client = self.peer.ip().map(|ip| ip.to_string());
        self.fetcher =
            self.fetches.as_ref().map(|fetches| fetches.fetcher("imap", account.account, account.address, client));
        Told::Accept
    }

    async fn outcome(&mut self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Challenge(octets) => Told::Challenge(octets),
            Outcome::Success(account) => {
                self.login = None;
                self.logged_in(account).await
            }
            Outcome::Failure(failure, user) => {
                let mechanism = self.login.take().map_or("LOGIN", |login| login.mechanism());
                metrics::counter!("logins_total", "protocol" => "imap", "result" => "failed").increment(1);
                let failed = FailedLogin { peer: self.peer.ip(), user: &user, mechanism, failure: &failure };
                self.bursts.login_failed(failed, Instant::now());
                Told::Refuse(match failure {
                    Failure::Wrong | Failure::Disabled => {
                        Done::no("wrong user name or password").code("AUTHENTICATIONFAILED")
                    }
                    Failure::Throttled => Done::no("too many failed logins, try again in a minute").code("UNAVAILABLE"),
                    Failure::Unavailable => Done::no("logins cannot be checked now").code("UNAVAILABLE"),
                    Failure::Malformed => Done::bad("malformed response"),
                })
            }
        }
    }

    /// Carries out a command that answers with responses and a completion.
    async fn command(&mut self, tag: &Tag, command: Command, enabled: Enabled) -> Reply {
        self.enabled = enabled;
        let Some(account) = self.account.as_ref().map(Watched::id) else {
            return reply(BytesMut::new(), Done::bad("log in first"));
        };
        let mut out = BytesMut::new();
        let done = match self.carry_out(account, tag, command, enabled, &mut out).await {
            Ok(Some(done)) => done,
            Ok(None) => return self.more().await,
            Err(error) => text::refused(&error),
        };
        reply(out, done)
    }

    async fn carry_out(
        &mut self,
        account: AccountId,
        tag: &Tag,
        command: Command,
        enabled: Enabled,
        out: &mut BytesMut,
    ) -> store::Result<Option<Done>> {
        let store = Arc::clone(&self.store);
        let store = store.as_ref();
        let done = match command {
            Command::Select(select) => {
                // RFC 7162 §3.2.11
                if self.view.take().is_some() {
                    out.extend_from_slice(b"* OK [CLOSED] the mailbox selected before is closed\r\n");
                }
                match mailboxes::select(store, account, select, enabled, out).await {
                    Ok((view, done)) => {
                        self.view = Some(Box::new(view));
                        done
                    }
                    // A failed SELECT leaves none selected (RFC 9051 §6.3.2).
                    Err(error) => text::refused(&error).selected(false),
                }
            }
            Command::Create { mailbox, special_use } => {
                mailboxes::create(store, account, &mailbox, &special_use).await?
            }
            Command::Delete(mailbox) => {
                store.delete_mailbox(account, mailbox.as_str()).await?;
                Done::ok("deleted")
            }
            Command::Rename { from, to } => {
                store.rename_mailbox(account, from.as_str(), to.as_str()).await?;
                Done::ok("renamed")
            }
            Command::Subscribe(mailbox) => {
                store.subscribe(account, mailbox.as_str(), true).await?;
                Done::ok("subscribed")
            }
            Command::Unsubscribe(mailbox) => {
                store.subscribe(account, mailbox.as_str(), false).await?;
                Done::ok("unsubscribed")
            }
            Command::List(list) => mailboxes::list(store, account, list, enabled, self.append_limit, out).await?,
            Command::Lsub { reference, pattern } => {
                mailboxes::lsub(store, account, &reference, &pattern, enabled, out).await?
            }
            Command::Status { mailbox, items } => {
                mailboxes::status(store, account, &mailbox, &items, enabled, self.append_limit, out).await?
            }
            Command::Noop | Command::Check => {
                if let Some(view) = &mut self.view {
                    view.sync(store, out, enabled, true).await?;
                }
                Done::ok("done")
            }
            command => return self.selected(account, tag, command, enabled, out).await,
        };
        Ok(Some(done))
    }

    /// Commands of the selected state.
    async fn selected(
        &mut self,
        account: AccountId,
        tag: &Tag,
        command: Command,
        enabled: Enabled,
        out: &mut BytesMut,
    ) -> store::Result<Option<Done>> {
        let store = Arc::clone(&self.store);
        let store = store.as_ref();
        let Some(view) = &mut self.view else { return Ok(Some(Done::bad("no mailbox is selected"))) };
        Ok(Some(match command {
            Command::Close => {
                if !view.read_only {
                    changes::expunge(view, store, None).await?;
                }
                self.view = None;
                Done::ok("closed").selected(false)
            }
            Command::Unselect => {
                self.view = None;
                Done::ok("closed").selected(false)
            }
            Command::Expunge(set) => {
                let done = changes::expunge(view, store, set).await?;
                view.sync(store, out, enabled, true).await?;
                // RFC 7162 §3.2.7
                if enabled.condstore && done.code.is_none() {
                    done.code(format!("HIGHESTMODSEQ {}", view.snapshot.mod_seq))
                } else {
                    done
                }
            }
            Command::Store(command) => {
                let uid = command.uid;
                let done = changes::store(view, store, command, enabled, out).await?;
                view.sync(store, out, enabled, uid).await?;
                done
            }
            Command::Copy(command) => {
                let moves = command.moves;
                let done = changes::copy(view, store, account, command, out).await?;
                view.sync(store, out, enabled, true).await?;
                if moves && enabled.condstore && done.code.is_none() {
                    done.code(format!("HIGHESTMODSEQ {}", view.snapshot.mod_seq))
                } else {
                    done
                }
            }
            Command::Search(command) => {
                let uid = command.uid;
                let done = search::search(view, (store, &self.memory), command, enabled, tag, out).await?;
                view.sync(store, out, enabled, uid).await?;
                done
            }
            Command::Fetch(fetch) => {
                if fetch.vanished
                    && let Some(since) = fetch.changed_since
                    && let Some(wanted) = view.uids(&fetch.set, true)
                {
                    let changes = store.changes(view.mailbox, since).await?;
                    let vanished = changes.vanished.iter().flat_map(Clone::clone);
                    let told = vanished.filter(|uid| crate::view::contains(&wanted, *uid));
                    let told = crate::view::store_ranges(told);
                    if !told.is_empty() {
                        let told = imap::print_ranges(&told);
                        imap::encode::print(out, format_args!("* VANISHED (EARLIER) {told}\r\n"));
                    }
                    self.vanished = Some(out.split().freeze());
                }
                match Running::new(view, fetch, enabled) {
                    Some(running) => {
                        self.running = Some(Box::new(running));
                        return Ok(None);
                    }
                    None => changes::no_such_messages(),
                }
            }
            _ => Done::bad("this command is not for now"),
        }))
    }

    /// More of a FETCH that is under way.
    async fn more(&mut self) -> Reply {
        let (Some(view), Some(running)) = (&mut self.view, &mut self.running) else {
            return reply(BytesMut::new(), Done::bad("nothing is under way"));
        };
        let (mut pieces, then) =
            match running.next(view, self.store.as_ref(), &self.memory, self.fetcher.as_ref()).await {
                Ok(next) => next,
                Err(error) => (Vec::new(), Then::Done(text::refused(&error))),
            };
        if let Some(vanished) = self.vanished.take() {
            pieces.insert(0, Piece::Octets(vanished));
        }
        if matches!(then, Then::Done(_)) {
            self.running = None;
            let mut out = BytesMut::new();
            if let Err(error) = view.sync(self.store.as_ref(), &mut out, self.enabled, false).await {
                tracing::debug!(%error, "changes are told later");
            }
            if !out.is_empty() {
                pieces.push(Piece::Octets(out.freeze()));
            }
        }
        Told::Reply(pieces, then)
    }

    async fn append(&mut self, append: imap::Append, octets: u64) -> Reply {
        let Some(account) = self.account.as_ref().map(Watched::id) else {
            return Told::Refuse(Done::bad("log in first"));
        };
        if let Some(name) = &append.mailbox {
            match self.store.mailbox(account, name.as_str()).await {
                Ok(mailbox) => {
                    let memory = self.memory.clone();
                    self.appending = Some(Box::new(Appending::new(mailbox.id, mailbox.uid_validity, memory)));
                }
                Err(Error::NotFound(What::Mailbox)) => {
                    return Told::Refuse(Done::no("there is no such mailbox").code("TRYCREATE"));
                }
                Err(error) => return Told::Refuse(text::refused(&error)),
            }
        }
        let Some(appending) = &mut self.appending else { return Told::Refuse(Done::bad("APPEND names a mailbox")) };
        match appending.begin(append, octets, self.store.as_ref()).await {
            Ok(()) => Told::Accept,
            Err(error) => self.append_failed(&error),
        }
    }

    fn append_failed(&mut self, error: &Error) -> Reply {
        self.appending = None;
        Told::Refuse(text::refused(error))
    }

    async fn append_end(&mut self, enabled: Enabled) -> Reply {
        self.enabled = enabled;
        let Some(appending) = self.appending.take() else {
            return reply(BytesMut::new(), Done::bad("nothing to append"));
        };
        let done = appending.commit(self.store.as_ref()).await;
        let mut out = BytesMut::new();
        if let Some(view) = &mut self.view
            && let Err(error) = view.sync(self.store.as_ref(), &mut out, enabled, true).await
        {
            tracing::debug!(%error, "changes are told later");
        }
        reply(out, done)
    }

    async fn sync_reply(&mut self) -> Reply {
        let mut out = BytesMut::new();
        if let Some(view) = &mut self.view
            && let Err(error) = view.sync(self.store.as_ref(), &mut out, self.enabled, true).await
        {
            return reply(out, text::refused(&error));
        }
        reply(out, Done::ok("done"))
    }
}

fn reply(out: BytesMut, done: Done) -> Reply {
    let pieces = if out.is_empty() { Vec::new() } else { vec![Piece::Octets(out.freeze())] };
    Told::Reply(pieces, Then::Done(done))
}

impl Application for ImapApplication {
    type Session = Server<Octets>;

    async fn on_event(&mut self, event: Event) -> Option<Reply> {
        Some(match event {
            Event::Connected => Told::Accept,
            Event::Secured(tls) => {
                self.tls = Some(tls);
                return None;
            }
            Event::Login { user, password } => {
                let outcome = match self.directory.check(&user, &password, self.peer.ip()).await {
                    Ok(account) => Outcome::Success(account),
                    Err(failure) => Outcome::Failure(failure, user),
                };
                self.outcome(outcome).await
            }
            Event::Authenticate { mechanism, initial_response } => {
                let Some(mechanism) = Mechanism::from_name(&mechanism) else {
                    return Some(Told::Refuse(Done::no("mechanism not offered")));
                };
                let binding = self.tls.as_ref().and_then(|tls| tls.exporter.clone());
                let mut login = Login::new(&self.directory, mechanism, binding, self.peer.ip());
                let outcome = login.respond(initial_response).await;
                self.login = Some(Box::new(login));
                self.outcome(outcome).await
            }
            Event::AuthenticateResponse(response) => match &mut self.login {
                Some(login) => {
                    let outcome = login.respond(Some(response)).await;
                    self.outcome(outcome).await
                }
                None => Told::Refuse(Done::bad("no exchange")),
            },
            Event::AuthenticateCancelled => {
                self.login = None;
                return None;
            }
            Event::Command(tag, command, enabled) => self.command(&tag, command, enabled).await,
            Event::More => self.more().await,
            Event::Append { append, octets } => self.append(append, octets).await,
            Event::AppendOctets(octets) => {
                let Some(appending) = &mut self.appending else { return Some(Told::Refuse(Done::bad("no message"))) };
                match appending.push(&octets).await {
                    Ok(()) => Told::Accept,
                    Err(error) => self.append_failed(&error),
                }
            }
            Event::AppendMessageEnd => {
                if let Some(appending) = &mut self.appending {
                    appending.end().await;
                }
                return None;
            }
            Event::AppendEnd(enabled) => self.append_end(enabled).await,
            Event::AppendAborted => {
                self.appending = None;
                return None;
            }
            Event::Idle(enabled) => {
                self.enabled = enabled;
                self.idling = true;
                self.sync_reply().await
            }
            Event::IdleDone => {
                self.idling = false;
                self.sync_reply().await
            }
            Event::Closed => return None,
        })
    }

    async fn news(&mut self) -> Reply {
        loop {
            let Some(account) = &mut self.account else { return std::future::pending().await };
            let idle = self.idling;
            let mailbox = async {
                match self.view.as_mut().filter(|_| idle) {
                    Some(view) => view.watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // rule 8
                () = account.revoked(self.store.as_ref()) => {
                    return Told::Bye("the account has changed, log in again".into());
                }
                () = mailbox => {
                    let mut out = BytesMut::new();
                    if let Some(view) = &mut self.view
                        && let Err(error) = view.sync(self.store.as_ref(), &mut out, self.enabled, true).await
                    {
                        if matches!(error, Error::NotFound(What::Mailbox)) {
                            return Told::Bye("the mailbox is gone".into());
                        }
                        tracing::debug!(%error, "changes are told later");
                    }
                    if !out.is_empty() {
                        return Told::News(Bytes::from(out));
                    }
                }
            }
        }
    }
}
