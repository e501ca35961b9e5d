//! The life of a daemon: start, bind, give up privileges, serve, end.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{Certificates, Connections, Listener, Service, Source};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, setsockopt, sockopt};
use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Kind, Place};
use crate::{Config, Error, Memory, http, start_log};

/// The configuration is read and the log is open.
#[derive(Debug)]
pub struct Started {
    config: Config,
    path: PathBuf,
    name: &'static str,
}

/// The ports are taken, while we were still allowed to.
#[derive(Debug)]
pub struct Bound {
    started: Started,
    listeners: Vec<(Kind, StdListener)>,
}

/// Root is given up, and nothing but our own files can be reached.
#[derive(Debug)]
pub struct Confined {
    bound: Bound,
    certificates: Option<Certificates>,
}

/// Says that a process was confined, or must not be: what shows a stranger's octets to nobody privileged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unconfined {
    /// Switch the user and confine the process.
    No,
    /// Stay as we are: `quickstart`, and tests within a process.
    Yes,
}

#[derive(Debug)]
enum StdListener {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

impl Started {
    /// Reads the configuration and opens the log. `name`: of the daemon, for the log.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(name: &'static str, args: &crate::Args) -> Result<Self, Error> {
        let (path, mut config) = Config::find(args.config.as_deref())?;
        if args.quiet {
            config.log.level = "warn".into();
        }
        match args.log_format.as_deref() {
            Some("json") => config.log.format = crate::LogFormat::Json,
            Some(_) => config.log.format = crate::LogFormat::Text,
            None => {}
        }
        start_log(&config.log)?;
        Ok(Self { config, path, name })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tries every file that the configuration names, as the user who will run (rule 27).
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        load_certificates(&self.config).map(|_| ())?;
        if self.config.data.exists() {
            readable_by_owner(&self.config)?;
        }
        Ok(())
    }

    /// Takes the ports of these kinds, those handed over by a service manager first.
    ///
    /// # Errors
    /// The first that cannot be taken, and the cure.
    pub fn bind(self, kinds: &[Kind]) -> Result<Bound, Error> {
        crate::data_is_there(&self.config)?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        raise_descriptors();
        let mut inherited = inherited();
        let mut listeners = Vec::new();
        for kind in kinds {
            for place in self.config.places(*kind) {
                let taken = inherited.iter().position(|(at, _)| *at == place);
                let listener = match taken {
                    Some(at) => Some(inherited.swap_remove(at).1),
                    None => bind(&self.config, &place)?,
                };
                if let Some(listener) = listener {
                    tracing::info!(listener = kind.name(), %place, "listening");
                    listeners.push((*kind, listener));
                }
            }
        }
        for (place, _) in inherited {
            tracing::warn!(%place, "a socket was handed over that no setting asks for");
        }
        if kinds.contains(&Kind::Smtp) {
            crate::make_drop(&self.config, &self.path)?;
        }
        Ok(Bound { started: self, listeners })
    }
}

/// Raises the soft limit of open files to the hard one (rule 28).
fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "limit of open files not raised");
    }
}

/// The sockets a service manager hands over.
fn inherited() -> Vec<(Place, StdListener)> {
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut found = Vec::new();
    for index in 0..descriptors.len() {
        if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
            if let Ok(address) = listener.local_addr() {
                found.push((Place::Tcp(address), StdListener::Tcp(listener)));
            }
        } else if let Ok(Some(listener)) = descriptors.take_unix_listener(index)
            && let Ok(address) = listener.local_addr()
            && let Some(path) = address.as_pathname()
        {
            found.push((Place::Unix(path.to_owned()), StdListener::Unix(listener)));
        }
    }
    found
}

fn bind(config: &Config, place: &Place) -> Result<Option<StdListener>, Error> {
    match place {
        Place::Tcp(address) => match bind_tcp(*address) {
            Ok(listener) => Ok(Some(StdListener::Tcp(listener))),
            // rule 28: a machine without IPv6 is no error where all addresses are asked for.
            Err(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL)
                if address.ip() == Ipv6Addr::UNSPECIFIED =>
            {
                Ok(None)
            }
            Err(nix::errno::Errno::EADDRINUSE) => Err(Error::Failed(format!(
                "{place} is in use: stop the program that has it, or set another `bind` or `base_port`"
            ))),
            Err(nix::errno::Errno::EACCES) => Err(Error::Failed(format!(
                "{place}: ports below 1024 need root, CAP_NET_BIND_SERVICE or socket activation; or set `base_port`"
            ))),
            Err(nix::errno::Errno::EADDRNOTAVAIL) => Err(Error::Failed(format!(
                "{place}: {} is no address of this machine: set another `bind`",
                address.ip()
            ))),
            Err(error) => Err(Error::Failed(format!("{place}: {error}"))),
        },
        Place::Unix(path) => {
            make_directory(config, path.parent().unwrap_or(Path::new(".")))?;
            let in_use = std::os::unix::net::UnixStream::connect(path).is_ok();
            if in_use {
                return Err(Error::Failed(format!("{place} is in use: another daemon of this configuration runs")));
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Failed(format!("{place}: {error}")));
                }
                _ => {}
            }
            let listener = StdUnixListener::bind(path).map_err(|error| Error::Failed(format!("{place}: {error}")))?;
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o660);
            std::fs::set_permissions(path, open).map_err(|error| Error::Failed(format!("{place}: {error}")))?;
            if let Some((user, group)) = runtime_user(config)? {
                nix::unistd::chown(path, Some(user), Some(group))
                    .map_err(|error| Error::Failed(format!("{place}: {error}")))?;
            }
            listener.set_nonblocking(true).map_err(|error| Error::Failed(format!("{place}: {error}")))?;
            Ok(Some(StdListener::Unix(listener)))
        }
    }
}

/// Makes a directory of our own, for the user who will run alone.
fn make_directory(config: &Config, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |error: String| Error::Failed(format!("{}: {error}", path.display()));
    if path.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(error.to_string()))?;
    if let Some((user, group)) = runtime_user(config)? {
        nix::unistd::chown(path, Some(user), Some(group)).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

fn bind_tcp(address: SocketAddr) -> nix::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket::socket(family, SockType::Stream, flags, None)?;
    setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(address) => socket::bind(descriptor.as_raw_fd(), &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => {
            // rule 28: IPv4 has listeners of its own.
            setsockopt(&descriptor, sockopt::Ipv6V6Only, &true)?;
            socket::bind(descriptor.as_raw_fd(), &SockaddrIn6::from(address))?;
        }
    }
    socket::listen(&descriptor, socket::Backlog::new(1024)?)?;
    Ok(descriptor.into())
}

/// The user to become: the one that is configured, or the owner of the data directory; `None` where we are not root.
pub(crate) fn runtime_user(config: &Config) -> Result<Option<(Uid, Gid)>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    if !config.user.is_empty() {
        return match User::from_name(&config.user) {
            Ok(Some(user)) => Ok(Some((user.uid, user.gid))),
            _ => Err(config.wrong(format_args!("user = {:?}: there is no such user", config.user))),
        };
    }
    match std::fs::metadata(&config.data) {
        Ok(facts) if facts.uid() == 0 => Err(Error::Config(format!(
            "{} belongs to root: chown it to an unprivileged user, or set user = \"root\"",
            config.data.display()
        ))),
        Ok(facts) => Ok(Some((Uid::from_raw(facts.uid()), Gid::from_raw(facts.gid())))),
        Err(error) => Err(Error::Config(format!("{}: {error}: make it with `mailctl init`", config.data.display()))),
    }
}

/// Started as root, becomes the user who may open the data (rule 25). Before any thread: each has its own user.
///
/// # Errors
/// There is no such user, or the data is root's and the configuration does not say so.
pub fn become_user(config: &Config) -> Result<Option<Uid>, Error> {
    let Some((user, group)) = runtime_user(config)? else { return Ok(None) };
    let failed = |error| Error::Failed(format!("user not switched to {user}: {error}"));
    setgroups(&[group]).map_err(failed)?;
    setresgid(group, group, group).map_err(failed)?;
    setresuid(user, user, user).map_err(failed)?;
    Ok(Some(user))
}

fn readable_by_owner(config: &Config) -> Result<(), Error> {
    let Some((user, group)) = runtime_user(config)? else { return Ok(()) };
    for file in config.certificates() {
        for path in [&file.certificate, &file.key] {
            let facts = std::fs::metadata(path)
                .map_err(|error| config.wrong(format_args!("tls: {}: {error}", path.display())))?;
            let readable = user.is_root()
                || (facts.uid() == user.as_raw() && facts.mode() & 0o400 != 0)
                || (facts.gid() == group.as_raw() && facts.mode() & 0o040 != 0)
                || facts.mode() & 0o004 != 0;
            if !readable {
                let reason = format!("user {user}, as whom the daemons run, could not read it again");
                return Err(config.wrong(format_args!("tls: {}: {reason}: change its owner or mode", path.display())));
            }
        }
    }
    Ok(())
}

fn load_certificates(config: &Config) -> Result<Option<Certificates>, Error> {
    let files = config.certificates();
    if files.is_empty() {
        return Ok(None);
    }
    Certificates::load(&files).map(Some).map_err(|error| config.wrong(format_args!("tls: {error}")))
}

impl Bound {
    /// Gives up what a daemon does not need: root, further privileges, files that are not its own (rule 25).
    ///
    /// # Errors
    /// The user cannot be switched, or a certificate could not be read afterwards.
    pub fn confine(self, unconfined: Unconfined) -> Result<Confined, Error> {
        let config = &self.started.config;
        make_directory(config, &config.run)?;
        if unconfined == Unconfined::No {
            readable_by_owner(config)?;
            if become_user(config)?.is_some_and(Uid::is_root) {
                tracing::warn!("running as root, as the configuration asks");
            }
            nix::sys::prctl::set_no_new_privs().map_err(|error| Error::Failed(format!("no_new_privs: {error}")))?;
        }
        let certificates = load_certificates(config)?;
        if unconfined == Unconfined::No
            && let Err(error) = crate::landlock::restrict_files(&self.started.config, &self.started.path)
        {
            tracing::warn!(%error, "files are not restricted: this kernel cannot");
        }
        Ok(Confined { bound: self, certificates })
    }
}

/// What a protocol's server is given.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// The certificates, if there are any.
    pub certificates: Option<Certificates>,
    /// The connections of the process.
    pub connections: Arc<Connections>,
    /// The octets of messages that may be in memory at once.
    pub memory: Memory,
    /// Becomes true when the process stops.
    pub drain: watch::Receiver<bool>,
    listeners: Vec<(Kind, StdListener)>,
    sessions: JoinSet<()>,
    reloads: Reloads,
}

/// What is read again on SIGHUP besides the certificates.
#[derive(Default)]
struct Reloads(Vec<(&'static str, Reload)>);

type Reload = Box<dyn Fn(&Config) -> Result<(), Error> + Send + Sync>;

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(what, _)| what)).finish()
    }
}

impl Context {
    /// Runs a task beside the sessions. It is waited for at the end, as they are, so it ends when [`Self::drain`] says so.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.sessions.spawn(task);
    }

    /// Calls this on SIGHUP with the new configuration. `what` it takes over, for the log; when it fails, the old one stays
    /// (rule 27).
    pub fn on_reload(
        &mut self,
        what: &'static str,
        reload: impl Fn(&Config) -> Result<(), Error> + Send + Sync + 'static,
    ) {
        self.reloads.0.push((what, Box::new(reload)));
    }

    /// Serves the listeners of a kind, each connection with a session of `service`.
    ///
    /// # Errors
    /// A listener cannot be used.
    pub fn serve<S: Service>(&mut self, kind: Kind, service: &Arc<S>) -> Result<(), Error> {
        let limits = &self.config.limits;
        let of_kind = self.listeners.extract_if(.., |(found, _)| *found == kind).collect::<Vec<_>>();
        for (_, listener) in of_kind {
            let failed = |error: std::io::Error| Error::Failed(format!("{}: {error}", kind.name()));
            let source = match listener {
                StdListener::Tcp(listener) => {
                    listener.set_nonblocking(true).map_err(failed)?;
                    Source::Tcp(tokio::net::TcpListener::from_std(listener).map_err(failed)?)
                }
                StdListener::Unix(listener) => {
                    listener.set_nonblocking(true).map_err(failed)?;
                    Source::Unix(tokio::net::UnixListener::from_std(listener).map_err(failed)?)
                }
            };
            let listener = Listener {
                source,
                certificates: self.certificates.clone(),
                implicit_tls: kind.implicit_tls(),
                proxy_networks: self.config.proxy_networks(kind),
                write_stall: Duration::from_secs(limits.write_stall_seconds),
                handshake_wait: Duration::from_secs(limits.handshake_seconds),
            };
            let (service, connections) = (Arc::clone(service), Arc::clone(&self.connections));
            self.sessions.spawn(net::serve(listener, service, connections, self.drain.clone()));
        }
        Ok(())
    }
}

impl Confined {
    /// Starts the runtime, lets `start` serve the listeners, and stays until SIGTERM, SIGINT or `until`. When all sessions
    /// have ended, `end` is given what `start` gave.
    ///
    /// # Errors
    /// What `start` or `until` says.
    pub fn run<T>(
        self,
        start: impl AsyncFnOnce(&mut Context) -> Result<T, Error>,
        until: impl AsyncFnOnce(&mut T) -> Result<(), Error>,
        end: impl AsyncFnOnce(T),
    ) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2))
            .thread_name("mailwright")
            .thread_stack_size(1 << 20)
            .enable_all()
            .build()
            .map_err(|error| Error::Failed(format!("runtime: {error}")))?;
        runtime.block_on(self.serve(start, until, end))
    }

    async fn serve<T>(
        self,
        start: impl AsyncFnOnce(&mut Context) -> Result<T, Error>,
        until: impl AsyncFnOnce(&mut T) -> Result<(), Error>,
        end: impl AsyncFnOnce(T),
    ) -> Result<(), Error> {
        let Self { bound: Bound { started, mut listeners }, certificates } = self;
        let (stop, drain) = watch::channel(false);
        let facts = http::Facts { metrics: http::recorder(), ready: Arc::new(AtomicBool::new(false)) };
        let config = Arc::new(started.config.clone());
        let http: Vec<_> = listeners.extract_if(.., |(kind, _)| kind.is_http()).collect();
        let limits = &config.limits;
        let mut context = Context {
            connections: Arc::new(Connections::new(limits.connections, limits.connections_per_address)),
            memory: Memory::new(limits.memory_octets),
            certificates: certificates.clone(),
            drain: drain.clone(),
            listeners,
            sessions: JoinSet::new(),
            reloads: Reloads::default(),
            config: Arc::clone(&config),
        };
        let mut signals = Signals::new()?;
        let mut state = start(&mut context).await?;
        for (_, listener) in http {
            if let StdListener::Tcp(listener) = listener {
                let listener = tokio::net::TcpListener::from_std(listener)
                    .map_err(|error| Error::Failed(format!("http: {error}")))?;
                context.sessions.spawn(http::serve(listener, facts.clone(), drain.clone()));
            }
        }
        facts.ready.store(true, Ordering::Relaxed);
        tracing::info!(daemon = started.name, version = env!("CARGO_PKG_VERSION"), "ready");
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::debug!(%error, "service manager not notified");
        }
        let outcome = tokio::select! {
            outcome = until(&mut state) => outcome,
            () = signals.until_stopped(&started, certificates.as_ref(), &context.reloads) => Ok(()),
        };
        facts.ready.store(false, Ordering::Relaxed);
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Stopping]) {
            tracing::debug!(%error, "service manager not notified");
        }
        // Whoever listened is gone already if this fails.
        let _ = stop.send(true);
        let grace = Duration::from_secs(config.shutdown_grace_seconds);
        let mut sessions = std::mem::take(&mut context.sessions);
        if tokio::time::timeout(grace, async { while sessions.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(connections = context.connections.open(), "sessions cut off at the end of the grace");
        }
        end(state).await;
        tracing::info!(daemon = started.name, "stopped");
        outcome
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Failed(format!("signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn until_stopped(&mut self, started: &Started, certificates: Option<&Certificates>, reloads: &Reloads) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(started, certificates, reloads),
            }
        }
    }
}

/// SIGHUP: new certificates are used from now on, and whatever else can be; other settings are named, since they need a
/// restart (rule 27).
fn reload(started: &Started, certificates: Option<&Certificates>, reloads: &Reloads) {
    let config = match Config::load(&started.path) {
        Ok(config) => config,
        Err(error) => return tracing::error!(%error, "configuration not reloaded; the old one stays"),
    };
    let restart = started.config.needs_restart(&config);
    if !restart.is_empty() {
        tracing::warn!(settings = restart.join(", "), "these settings need a restart");
    }
    if let Some(certificates) = certificates {
        match certificates.reload(&config.certificates()) {
            Ok(()) => tracing::info!("certificates reloaded"),
            Err(error) => tracing::error!(%error, "certificates not reloaded; the old ones stay"),
        }
    }
    for (what, reload) in &reloads.0 {
        match reload(&config) {
            Ok(()) => tracing::info!(what, "reloaded"),
            Err(error) => tracing::error!(what, %error, "not reloaded; the old one stays"),
        }
    }
}
