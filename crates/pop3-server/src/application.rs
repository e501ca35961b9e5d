//! The application of a POP3 session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use daemon::{Bursts, FailedLogin, Fetcher, FirstFetches, Memory};
use digest::DigestRef;
use directory::{Directory, Failure, LoggedIn, Login, Outcome, Watched};
use net::{Application, Peer};
use pop3::server::{Event, Server, Told};
use pop3::{Listed, MessageNumber, Response, ResponseCode, UniqueId};
use sasl::Mechanism;
use store::{Error, MailboxId, MaildropLock, Message, Store};
use wire::TlsFacts;

use crate::body::{Octets, with_ascii_header};

/// Messages asked of the store at once.
const ROWS: usize = 500;
/// Octets of messages that are read at once; a larger message streams.
const WHOLE: usize = 256 << 10;
/// Messages read ahead for a client that takes one after the other.
const AHEAD: usize = 32;
/// The most octets of a message whose header is made plain.
const MOST: usize = 1 << 30;

/// The application of one session.
#[derive(Debug)]
pub struct Pop3Application {
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    bursts: Arc<Bursts>,
    memory: Memory,
    peer: Peer,
    fetches: Option<Arc<FirstFetches>>,
    fetcher: Option<Fetcher>,
    tls: Option<TlsFacts>,
    login: Option<Box<Login>>,
    maildrop: Option<Maildrop>,
}

#[derive(Debug)]
struct Maildrop {
    account: Watched,
    mailbox: MailboxId,
    /// The UIDs behind the message numbers.
    uids: Vec<u32>,
    /// The message that was taken last, and those read ahead behind it.
    taken: Option<MessageNumber>,
    ahead: VecDeque<(Message, Option<Bytes>)>,
    _lock: MaildropLock,
}

type Reply = Told<Octets>;

impl Pop3Application {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        bursts: Arc<Bursts>,
        memory: Memory,
        peer: Peer,
        fetches: Option<Arc<FirstFetches>>,
    ) -> Self {
        Self { store, directory, bursts, memory, peer, fetches, fetcher: None, tls: None, login: None, maildrop: None }
    }

    async fn outcome(&mut self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Challenge(octets) => Told::Challenge(octets),
            Outcome::Success(account) => {
                self.login = None;
                metrics::counter!("logins_total", "protocol" => "pop3", "result" => "ok").increment(1);
                match self.open(account).await {
                    Ok(reply) => reply,
                    Err(error) => Told::Refuse(refused(&error)),
                }
            }
            Outcome::Failure(failure, user) => {
                let mechanism = self.login.take().map_or("USER", |login| login.mechanism());
                metrics::counter!("logins_total", "protocol" => "pop3", "result" => "failed").increment(1);
                let failed = FailedLogin { peer: self.peer.ip(), user: &user, mechanism, failure: &failure };
                self.bursts.login_failed(failed, Instant::now());
                Told::Refuse(match failure {
                    Failure::Wrong | Failure::Disabled => {
                        Response::coded(ResponseCode::Auth, "wrong user name or password")
                    }
                    Failure::Throttled => Response::coded(ResponseCode::SysTemp, "too many failed logins, try later"),
                    Failure::Unavailable => Response::coded(ResponseCode::SysTemp, "logins cannot be checked now"),
                    Failure::Malformed => Response::err("malformed response"),
                })
            }
        }
    }

    /// Takes the maildrop's lock and lists it (RFC 1939 §4).
    async fn open(&mut self, account: LoggedIn) -> store::Result<Reply> {
        let Some(lock) = self.store.lock_maildrop(account.account).await? else {
            return Ok(Told::Refuse(Response::coded(ResponseCode::InUse, "another session has this maildrop")));
        };
        let inbox = self.store.mailbox(account.account, "INBOX").await?;
        let client = self.peer.ip().map(|ip| ip.to_string());
        self.fetcher =
            self.fetches.as_ref().map(|fetches| fetches.fetcher("pop3", account.account, account.address, client));
        let account = Watched::new(self.store.as_ref(), account.account).await?;
        let (mut listed, mut uids) = (Vec::new(), Vec::new());
        let mut from = 1;
        loop {
            let rows = self.store.messages(inbox.id, vec![from..=u32::MAX], false, ROWS).await?;
            for row in &rows {
                let unique_id = format!("{:x}.{:x}", inbox.uid_validity, row.uid);
                let Ok(unique_id) = UniqueId::try_from(unique_id.as_str()) else { continue };
                listed.push(Listed { octets: row.octets, unique_id });
                uids.push(row.uid);
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS && last.uid < u32::MAX => from = last.uid + 1,
                _ => break,
            }
        }
        let (mailbox, taken, ahead) = (inbox.id, None, VecDeque::new());
        self.maildrop = Some(Maildrop { account, mailbox, uids, taken, ahead, _lock: lock });
        Ok(Told::Maildrop(listed.into()))
    }

    async fn retrieve(&mut self, number: MessageNumber, top: Option<u64>, utf8: bool) -> store::Result<Reply> {
        let gone = || Told::Refuse(Response::err("this message is gone"));
        let Some(maildrop) = &mut self.maildrop else { return Ok(gone()) };
        let Some((message, whole)) = maildrop.take(self.store.as_ref(), number).await? else { return Ok(gone()) };
        if let Some(fetcher) = self.fetcher.as_ref().filter(|_| top.is_none()) {
            fetcher.fetched(&message);
        }
        let plain = !utf8 && DigestRef::parse(&message.digest).is_ok_and(|digest| digest.header_is_8bit());
        let mut share = None;
        let octets = match whole {
            Some(octets) => octets,
            None => {
                let body = self.store.body(&message).await?;
                if !plain {
                    return Ok(Told::Body(Octets::stored(body, top)));
                }
                // As it is stored, and with another header.
                share = self.memory.take(message.octets.saturating_mul(2)).await;
                if share.is_none() {
                    return Err(Error::Busy);
                }
                body.whole(MOST).await?
            }
        };
        let octets = if plain { with_ascii_header(&octets) } else { octets };
        Ok(Told::Body(Octets::memory(octets, top, share)))
    }

    async fn commit(&self, deleted: &[MessageNumber]) -> store::Result<Reply> {
        let Some(maildrop) = &self.maildrop else { return Ok(Told::Done) };
        let uids: Vec<_> =
            deleted.iter().filter_map(|message| maildrop.uids.get(message.index())).map(|uid| *uid..=*uid).collect();
        if !uids.is_empty() {
            self.store.expunge(maildrop.mailbox, uids, false).await?;
        }
        Ok(Told::Done)
    }
}

impl Maildrop {
    /// A message with its octets, where they are few enough. Whoever takes one message after the other gets the next from
    /// memory.
    async fn take(
        &mut self,
        store: &dyn Store,
        number: MessageNumber,
    ) -> store::Result<Option<(Message, Option<Bytes>)>> {
        let Some(&uid) = self.uids.get(number.index()) else { return Ok(None) };
        let follows = self.taken.is_none_or(|taken| taken.index() + 1 == number.index());
        self.taken = Some(number);
        while self.ahead.front().is_some_and(|(message, _)| message.uid < uid) {
            self.ahead.pop_front();
        }
        if self.ahead.front().is_none_or(|(message, _)| message.uid != uid) {
            let (last, most) = if follows { (u32::MAX, AHEAD) } else { (uid, 1) };
            self.ahead = store.whole_messages(self.mailbox, vec![uid..=last], true, most, WHOLE).await?.into();
        }
        Ok(self.ahead.pop_front_if(|(message, _)| message.uid == uid))
    }
}

/// The store's refusals as POP3 says them (RFC 3206).
fn refused(error: &Error) -> Response {
    if error.is_temporary() {
        return Response::coded(ResponseCode::SysTemp, "the store is busy, try again later");
    }
    tracing::error!(%error, "store");
    Response::coded(ResponseCode::SysPerm, "this system has a problem that its operator must solve")
}

impl Application for Pop3Application {
    type Session = Server<Octets>;

    async fn on_event(&mut self, event: Event) -> Option<Reply> {
        let reply = match event {
            Event::Tls(tls) => {
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
                let Some(mechanism) = Mechanism::from_name(mechanism.as_str()) else {
                    return Some(Told::Refuse(Response::err("mechanism not offered")));
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
                None => Told::Refuse(Response::err("no exchange")),
            },
            Event::Retrieve { message, top, utf8 } => {
                self.retrieve(message, top, utf8).await.unwrap_or_else(|error| Told::Refuse(refused(&error)))
            }
            Event::Commit { deleted } => {
                self.commit(&deleted).await.unwrap_or_else(|error| Told::Refuse(refused(&error)))
            }
            Event::AuthenticateCancelled => {
                self.login = None;
                return None;
            }
            _ => {
                self.maildrop = None;
                return None;
            }
        };
        Some(reply)
    }

    async fn news(&mut self) -> Reply {
        let Some(maildrop) = &mut self.maildrop else { return std::future::pending().await };
        // rule 8
        maildrop.account.revoked(self.store.as_ref()).await;
        Told::Close(Response::err("the account has changed, log in again"))
    }
}
