//! Mail from programs of this machine: what `sendmail` put into the drop directory is taken from there (rule 29).
//!
//! Anybody may put anything there, so nothing about a file is trusted but what the kernel says of it: its kind, its links
//! and its owner, who is the sender. A file is unlinked after [`Accept`] has made its message durable; a crash in between
//! offers the same message again under the same queue id, which is made of what the user cannot choose.

mod directory;
mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use daemon::Config;
use nix::unistd::{Uid, User};
use smtp::{BodyType, DropLimits, MailParameters, RcptParameters, Reply};
use tokio::sync::watch as channel;
use tokio::task::JoinSet;

pub use directory::Trouble;

use directory::{Identity, Taken};

/// A message that a program of this machine sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Submission {
    /// The queue id (rule 32), the same whenever this file is offered.
    pub queue_id: String,
    /// Who is told of failures: the owner of the file, or whom a trusted user named.
    pub sender: ReversePath,
    /// Whom an untrusted user named instead.
    pub claimed_sender: Option<ReversePath>,
    /// At least one.
    pub recipients: Vec<(ForwardPath, RcptParameters)>,
    /// What was asked for the message: BODY, SMTPUTF8, RET, ENVID.
    pub parameters: MailParameters,
    /// The sender's own name, as `-F` or the user database has it.
    pub full_name: Option<String>,
    /// The message, with lines that end in CRLF (rule 10).
    pub octets: Bytes,
    /// The owner of the file.
    pub uid: u32,
    /// The owner's login name, if the number has one.
    pub login: Option<String>,
}

/// Why a submission is not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Not now: the file stays and is offered again.
    Temporary(Reply),
    /// Never: [`Accept::on_refused`] has to tell the sender.
    Permanent(Reply),
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        if reply.is_permanent() { Self::Permanent(reply) } else { Self::Temporary(reply) }
    }
}

/// Where submissions go.
pub trait Accept: Send + Sync + 'static {
    /// Makes a submission durable. One whose queue id was taken before is answered `Ok` and not taken twice.
    ///
    /// # Errors
    /// Why it is not taken.
    fn accept(&self, submission: Submission) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// A submission was refused for good: makes the report to its sender durable; the file is unlinked then. May be
    /// called again with the same queue id, as [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`Refusal::Temporary`], or whatever else: the file stays and all begins anew later.
    fn on_refused(&self, submission: Submission, refusal: Reply) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// How the drop directory is looked after.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub drop: PathBuf,
    /// The domain of the owners of files.
    pub origin: String,
    /// Login names of users who may name any sender; root may without being here.
    pub trusted_users: Vec<String>,
    /// What a file may have.
    pub limits: DropLimits,
    /// Files taken at once, each in memory.
    pub at_once: usize,
    /// How often the directory is looked at, whatever the kernel tells of it; default 5 s.
    pub every: Duration,
}

impl Settings {
    /// What the configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits =
            DropLimits { recipients: config.limits.recipients, message_octets: config.limits.message_octets.max(1) };
        // Half of the memory for messages, if all are as large as they may be.
        let at_once = (config.limits.memory_octets / 2 / limits.message_octets).clamp(1, 16);
        Self {
            drop: config.sendmail.drop.clone(),
            origin: config.origin().to_owned(),
            trusted_users: config.sendmail.trusted_users.clone(),
            limits,
            at_once: usize::try_from(at_once).unwrap_or(1),
            every: Duration::from_secs(5),
        }
    }

    /// The address of a user of this machine.
    fn owner(&self, uid: u32, login: Option<&str>) -> ReversePath {
        let by_name = login.and_then(|login| Mailbox::parse(&format!("{login}@{}", self.origin)).ok());
        let by_number = || Mailbox::parse(&format!("uid{uid}@{}", self.origin)).ok();
        by_name.or_else(by_number).map_or(ReversePath::Null, ReversePath::Mailbox)
    }

    /// Who is the sender, and who is not, though named (rule 29). `<>` harms nobody, and reports need it (rule 16).
    fn sender(&self, named: ReversePath, uid: u32, login: Option<&str>) -> (ReversePath, Option<ReversePath>) {
        let trusted = uid == 0 || login.is_some_and(|login| self.trusted_users.iter().any(|user| user == login));
        let owner = self.owner(uid, login);
        let same = match (&named, &owner) {
            (ReversePath::Mailbox(named), ReversePath::Mailbox(owner)) => named.key() == owner.key(),
            (ReversePath::Null, _) => true,
            _ => false,
        };
        if trusted || same { (named, None) } else { (owner, Some(named)) }
    }
}

/// When a file that was not taken is tried again.
#[derive(Clone, Copy, Debug)]
struct Later {
    tries: u32,
    at: Instant,
}

/// Files put off that are remembered; others are tried at every look.
const MAX_LATER: usize = 10_000;

/// Looks after a drop directory.
#[derive(Debug)]
pub struct Pickup<A> {
    settings: Arc<Settings>,
    accept: Arc<A>,
    later: HashMap<Identity, Later>,
}

/// What one look at the directory did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// Files taken and unlinked.
    pub taken: usize,
    /// Files to be tried again.
    pub later: usize,
    /// Files moved aside.
    pub aside: usize,
}

enum Outcome {
    Taken,
    Later(Option<Identity>),
    Aside,
    Gone,
}

impl<A: Accept> Pickup<A> {
    /// A pickup that has not looked yet.
    #[must_use]
    pub fn new(settings: Settings, accept: Arc<A>) -> Self {
        Self { settings: Arc::new(settings), accept, later: HashMap::new() }
    }

    /// Looks after the directory until `drain` says stop; what is being accepted then is finished.
    pub async fn run(mut self, mut drain: channel::Receiver<bool>) {
        let mut watch = match watch::Watch::new(&self.settings.drop) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(%error, "the drop directory is not watched, only looked at now and then");
                None
            }
        };
        while !*drain.borrow() {
            if let Err(error) = self.look(&drain).await {
                tracing::warn!(%error, "drop directory not read");
            }
            let changed = async {
                match &mut watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Whoever told it is gone if this fails.
                _ = drain.wait_for(|stop| *stop) => return,
                () = changed => {}
                () = tokio::time::sleep(self.settings.every) => {}
            }
        }
    }

    /// Looks once: every file that is due is taken, put off or moved aside.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn look(&mut self, drain: &channel::Receiver<bool>) -> std::io::Result<Look> {
        let now = Instant::now();
        let waiting = self.later.iter().filter(|(_, later)| later.at > now).map(|(identity, _)| *identity).collect();
        let drop = self.settings.drop.clone();
        let listed = blocking(move || directory::list(&drop, &waiting)).await?;
        // What is not there any more needs no memory.
        self.later.retain(|identity, later| later.at <= now || listed.seen.contains(identity));
        let mut look = Look { later: self.later.values().filter(|later| later.at > now).count(), ..Look::default() };
        let mut tasks = JoinSet::new();
        let mut names = listed.due.into_iter();
        loop {
            while tasks.len() < self.settings.at_once
                && !*drain.borrow()
                && let Some(name) = names.next()
            {
                let (settings, accept) = (Arc::clone(&self.settings), Arc::clone(&self.accept));
                tasks.spawn(async move { one(&settings, accept.as_ref(), settings.drop.join(name)).await });
            }
            let Some(outcome) = tasks.join_next().await else { break };
            // A task that panicked did not take its file.
            match outcome.unwrap_or(Outcome::Later(None)) {
                Outcome::Taken => look.taken += 1,
                Outcome::Aside => look.aside += 1,
                Outcome::Gone => {}
                Outcome::Later(identity) => {
                    look.later += 1;
                    self.put_off(identity, now);
                }
            }
        }
        self.later.retain(|_, later| later.at > now);
        if look.taken > 0 {
            let drop = self.settings.drop.clone();
            // Without it a power cut may bring back what was taken; its queue id says that it was.
            if let Err(error) = blocking(move || directory::sync(&drop)).await {
                tracing::warn!(%error, "drop directory not synced");
            }
        }
        Ok(look)
    }

    fn put_off(&mut self, identity: Option<Identity>, now: Instant) {
        let Some(identity) = identity else { return };
        if self.later.len() >= MAX_LATER && !self.later.contains_key(&identity) {
            return;
        }
        let later = self.later.entry(identity).or_insert(Later { tries: 0, at: now });
        later.tries += 1;
        // 5 s, 10 s, 20 s … 5 min
        later.at = now + Duration::from_secs((5 << later.tries.min(7).saturating_sub(1)).min(300));
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// One file.
async fn one<A: Accept>(settings: &Settings, accept: &A, path: PathBuf) -> Outcome {
    let (limits, at) = (settings.limits, path.clone());
    let taken = blocking(move || Ok((directory::take(&at, &limits), at))).await.map(|(taken, _)| taken);
    let taken = match taken {
        Ok(Ok(taken)) => taken,
        Ok(Err(Trouble::Gone)) => return Outcome::Gone,
        Ok(Err(Trouble::Changed(identity))) => return Outcome::Later(Some(identity)),
        Ok(Err(trouble)) => return aside(path, &trouble).await,
        Err(_) => return Outcome::Later(None),
    };
    let identity = taken.identity;
    let submission = submission(settings, taken).await;
    let (id, uid) = (submission.queue_id.clone(), submission.uid);
    let mut outcome = accept.accept(submission.clone()).await;
    if let Err(Refusal::Permanent(reply)) = outcome {
        tracing::info!(id, uid, reply = reply.text(), "local submission refused");
        outcome = accept.on_refused(submission, reply).await;
    }
    if let Err(Refusal::Temporary(reply) | Refusal::Permanent(reply)) = outcome {
        tracing::warn!(id, uid, reply = reply.text(), "local submission put off");
        return Outcome::Later(Some(identity));
    }
    match blocking(move || directory::unlink(&path, identity)).await {
        Ok(()) => Outcome::Taken,
        Err(error) => {
            tracing::warn!(id, uid, %error, "a message that was taken stays in the drop directory");
            Outcome::Later(Some(identity))
        }
    }
}

async fn submission(settings: &Settings, taken: Taken) -> Submission {
    let (uid, queue_id) = (taken.uid, taken.queue_id());
    // The user database may be slow.
    let login = blocking(move || Ok(User::from_uid(Uid::from_raw(uid)).ok().flatten())).await.ok().flatten();
    let login = login.map(|user| user.name);
    let file = taken.file;
    let (sender, claimed_sender) = settings.sender(file.sender, uid, login.as_deref());
    if claimed_sender.is_some() {
        tracing::info!(id = queue_id, uid, sender = %sender, "the sender is the owner of the file, not whom -f named");
    }
    let octets = wire::normalise_lines(file.octets);
    let mut parameters = file.parameters;
    if !octets.is_ascii() {
        parameters.body = Some(BodyType::EightBitMime);
    } else if parameters.body == Some(BodyType::BinaryMime) {
        // Its lines were normalised.
        parameters.body = Some(BodyType::SevenBit);
    }
    Submission {
        queue_id,
        sender,
        claimed_sender,
        recipients: file.recipients,
        parameters,
        full_name: file.full_name,
        octets,
        uid,
        login,
    }
}

/// What is no message is moved aside, so that it is looked at once and can be seen by the operator.
async fn aside(path: PathBuf, trouble: &Trouble) -> Outcome {
    let id = crate::message::queue_id();
    let name = format!("{}{id}", directory::ASIDE);
    let to = path.parent().unwrap_or(Path::new("")).join(&name);
    match blocking(move || std::fs::rename(path, to)).await {
        Ok(()) => {
            tracing::info!(name, reason = %trouble, uid = trouble.uid(), "a file in the drop directory is no message");
            Outcome::Aside
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Outcome::Gone,
        Err(error) => {
            tracing::debug!(%error, reason = %trouble, "a file in the drop directory is not moved aside");
            Outcome::Later(trouble.identity())
        }
    }
}
