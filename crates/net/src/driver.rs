//! The one loop that drives every session.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::watch;
use wire::{BodyCoder, BodyCoding, Output, Session};

use crate::transport::{TlsRole, Transport};
use crate::{Application, ReadBody, Socket};

/// Octets unsent beyond which nothing more is asked of a session.
const UNSENT: usize = 64 << 10;
/// Octets received and not taken beyond which a session is at fault.
const UNTAKEN: usize = 256 << 10;

/// How a session is driven.
#[derive(Clone, Debug)]
pub struct Driving {
    /// What STARTTLS, or a TLS port, uses; `None`: there is no TLS.
    pub tls: Option<TlsRole>,
    /// Whether TLS comes first.
    pub implicit_tls: bool,
    /// How long a peer may read nothing while something is to be sent. Default 2 min.
    pub write_stall: Duration,
    /// How long a TLS handshake may take. Default 30 s.
    pub handshake_wait: Duration,
    /// Becomes true when the process wants to stop.
    pub drain: watch::Receiver<bool>,
}

impl Driving {
    /// The defaults, without TLS.
    #[must_use]
    pub fn new(drain: watch::Receiver<bool>) -> Self {
        let (write_stall, handshake_wait) = (Duration::from_secs(120), Duration::from_secs(30));
        Self { tls: None, implicit_tls: false, write_stall, handshake_wait, drain }
    }

    /// The defaults, without TLS and without anybody who could stop it.
    #[must_use]
    pub fn undrained() -> Self {
        Self::new(watch::channel(false).1)
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The session closed it.
    Closed,
    /// Octets in clear stood behind STARTTLS (rule 11).
    ClearTextBehindStartTls,
    /// The session asked for what this driver has not.
    Unsupported,
    /// The connection, TLS or a body failed; `TimedOut`: the peer did not read, or did not finish its handshake.
    Failed(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Drives a session and its application over a socket until one of them ends it.
pub async fn drive<A: Application>(
    socket: Socket,
    mut session: A::Session,
    mut application: A,
    mut driving: Driving,
) -> Ended {
    let mut driver = Driver { transport: Transport::new(socket), input: BytesMut::new(), out: BytesMut::new() };
    let ended = match driver.run(&mut session, &mut application, &mut driving).await {
        Ok(()) => Ended::Closed,
        Err(ended) => ended,
    };
    if !matches!(ended, Ended::Closed) {
        // The application must hear that it is over, whatever ended it.
        session.handle_eof(Instant::now());
        for _ in 0..16 {
            match session.poll() {
                Output::Event(event) => {
                    if let Some(told) = Box::pin(application.on_event(event)).await {
                        session.handle_told(Instant::now(), told);
                    }
                }
                Output::Wait { .. } | Output::Close => break,
                _ => {}
            }
        }
    }
    ended
}

struct Driver {
    transport: Transport,
    input: BytesMut,
    out: BytesMut,
}

/// What woke a waiting driver.
enum Woken<T> {
    Readable(io::Result<()>),
    Deadline,
    News(T),
    Drain,
}

impl Driver {
    async fn run<A: Application>(
        &mut self,
        session: &mut A::Session,
        application: &mut A,
        driving: &mut Driving,
    ) -> Result<(), Ended> {
        if driving.implicit_tls {
            self.start_tls(session, driving).await?;
        }
        if *driving.drain.borrow_and_update() {
            session.handle_shutdown(Instant::now());
        }
        let mut ended = false;
        loop {
            let Some((deadline, read)) = self.poll_all(session, application, driving).await? else {
                self.transport.flush(&mut self.out, driving.write_stall).await?;
                self.transport.close(driving.write_stall).await?;
                return Ok(());
            };
            // Nothing is begun any more for a client that has sent many commands ahead.
            if driving.drain.has_changed().unwrap_or(false) {
                driving.drain.mark_unchanged();
                session.handle_shutdown(Instant::now());
                continue;
            }
            if read && !self.input.is_empty() {
                let before = self.input.len();
                session.handle_input(Instant::now(), &mut self.input);
                if self.input.len() < before {
                    continue;
                }
                if before > UNTAKEN {
                    return Err(Ended::Unsupported);
                }
            }
            self.transport.flush(&mut self.out, driving.write_stall).await?;
            if read && ended {
                return Ok(());
            }
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            if read && self.transport.has_plaintext() {
                ended = self.read(session)?;
                continue;
            }
            match self.wait(application, driving, deadline, read).await {
                Woken::Readable(ready) => {
                    ready?;
                    ended |= self.read(session)?;
                }
                Woken::Deadline => session.handle_timeout(Instant::now()),
                Woken::News(told) => session.handle_told(Instant::now(), told),
                Woken::Drain => session.handle_shutdown(Instant::now()),
            }
        }
    }

    /// Asks the session until it waits (its deadline, and whether it reads) or closes.
    async fn poll_all<A: Application>(
        &mut self,
        session: &mut A::Session,
        application: &mut A,
        driving: &Driving,
    ) -> Result<Option<(Option<Instant>, bool)>, Ended> {
        loop {
            if self.out.len() >= UNSENT {
                self.transport.flush(&mut self.out, driving.write_stall).await?;
            }
            match session.poll() {
                Output::Send(octets) if self.out.is_empty() => {
                    self.out = octets.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                }
                Output::Send(octets) => self.out.extend_from_slice(&octets),
                Output::SendBody { body, coding } => {
                    if !Box::pin(self.send_body(body, coding, driving)).await? {
                        session.handle_unfit_body(Instant::now());
                    }
                }
                Output::Event(event) => {
                    let told = {
                        let mut work = Box::pin(application.on_event(event));
                        let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
                        match at_once {
                            Poll::Ready(told) => told,
                            Poll::Pending => {
                                // What is to be sent need not wait for the work.
                                self.transport.flush(&mut self.out, driving.write_stall).await?;
                                work.await
                            }
                        }
                    };
                    if let Some(told) = told {
                        session.handle_told(Instant::now(), told);
                    }
                }
                Output::StartTls => {
                    self.transport.flush(&mut self.out, driving.write_stall).await?;
                    if !self.input.is_empty() {
                        return Err(Ended::ClearTextBehindStartTls);
                    }
                    self.start_tls(session, driving).await?;
                }
                Output::Compress => return Err(Ended::Unsupported),
                Output::Wait { deadline, read } => return Ok(Some((deadline, read))),
                Output::Close => return Ok(None),
            }
        }
    }

    async fn start_tls(&mut self, session: &mut impl Session, driving: &Driving) -> Result<(), Ended> {
        let Some(role) = driving.tls.as_ref().filter(|_| !self.transport.is_tls()) else {
            return Err(Ended::Unsupported);
        };
        let facts = Box::pin(self.transport.handshake(role, driving.handshake_wait)).await?;
        session.handle_tls(Instant::now(), facts);
        Ok(())
    }

    /// False: the body does not fit its coding, and nothing of what is unsent leaves any more (rule 10).
    async fn send_body(
        &mut self,
        mut body: impl ReadBody,
        coding: BodyCoding,
        driving: &Driving,
    ) -> Result<bool, Ended> {
        let mut coder = BodyCoder::new(coding);
        while let Some(piece) = body.read(UNSENT).await? {
            if coder.code(&piece, &mut self.out).is_err() {
                self.out.clear();
                return Ok(false);
            }
            if self.out.len() >= UNSENT {
                self.transport.flush(&mut self.out, driving.write_stall).await?;
            }
        }
        let fits = coder.finish(&mut self.out).is_ok();
        if !fits {
            self.out.clear();
        }
        Ok(fits)
    }

    /// Reads what is there and hands it over; true at the end of the stream.
    fn read(&mut self, session: &mut impl Session) -> Result<bool, Ended> {
        match self.transport.try_read(&mut self.input) {
            Ok(0) => {
                session.handle_eof(Instant::now());
                Ok(true)
            }
            Ok(_) => {
                session.handle_input(Instant::now(), &mut self.input);
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait<A: Application>(
        &self,
        application: &mut A,
        driving: &mut Driving,
        deadline: Option<Instant>,
        read: bool,
    ) -> Woken<<A::Session as Session>::Told> {
        let news = pin!(application.news());
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let drain = async {
            if driving.drain.changed().await.is_err() {
                // Nobody is left who could ask.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ready = self.transport.socket.readable(), if read => Woken::Readable(ready),
            told = news => Woken::News(told),
            () = timer => Woken::Deadline,
            () = drain => Woken::Drain,
        }
    }
}
