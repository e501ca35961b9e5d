//! A connection to a milter: the session of `milter::client` over a socket, driven within the call that asks.
//!
//! A milter says nothing unasked, so no task waits for it: what is idle costs its socket and the session's own octets.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use milter::Modification;
use milter::client::{Answer, Client, ClientConfig, Event, Failure, Macros, Step, Told};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{timeout, timeout_at};
use wire::{Output, Session as _};

use crate::Address;

/// Octets unsent beyond which they are sent although nobody waits for an answer.
const UNSENT: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection.
pub(crate) struct Link {
    stream: Box<dyn Stream>,
    client: Client,
    out: BytesMut,
    stall: Duration,
}

/// Why a milter has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No connection.
    #[error("not reachable: {0}")]
    Unreachable(io::Error),
    /// No connection in time.
    #[error("not reachable in time")]
    ConnectTimedOut,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// It does not take what it is sent.
    #[error("it does not read in time")]
    Stalled,
    /// It does not keep to the protocol, or to its time.
    #[error(transparent)]
    Protocol(#[from] Failure),
    /// The message cannot be read to be told.
    #[error("the message cannot be read: {0}")]
    Message(io::Error),
}

/// What an answer brings.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) changes: Vec<Modification>,
}

impl Link {
    /// Connects and negotiates.
    pub(crate) async fn open(
        address: &Address,
        wait: Duration,
        stall: Duration,
        config: Arc<ClientConfig>,
    ) -> Result<Self, LinkError> {
        let connected = timeout(wait, connect(address)).await.map_err(|_| LinkError::ConnectTimedOut)?;
        let stream = connected.map_err(LinkError::Unreachable)?;
        let client = Client::new(config, Instant::now());
        let mut link = Self { stream, client, out: BytesMut::new(), stall };
        link.run(true).await?;
        Ok(link)
    }

    /// Tells a step and waits for its answer. Dropped before it is done, the link is of no more use.
    pub(crate) async fn ask(&mut self, step: Step, macros: &Macros) -> Result<Answered, LinkError> {
        self.client.handle_told(Instant::now(), Told::Step(step, macros.clone()));
        let answered = self.run(true).await?;
        answered.ok_or(LinkError::Protocol(Failure::OutOfTurn))
    }

    /// Tells what has no answer.
    pub(crate) async fn tell(&mut self, told: Told) -> Result<(), LinkError> {
        self.client.handle_told(Instant::now(), told);
        self.run(false).await?;
        self.flush().await
    }

    /// Polls the session until it has what it was asked for.
    async fn run(&mut self, wanted: bool) -> Result<Option<Answered>, LinkError> {
        let (mut answer, mut changes, mut ready) = (None, Vec::new(), !wanted);
        loop {
            match self.client.poll() {
                Output::Send(octets) => {
                    self.out.extend_from_slice(&octets);
                    if self.out.len() >= UNSENT {
                        self.flush().await?;
                    }
                }
                Output::Event(Event::Ready(_)) => ready = true,
                Output::Event(Event::Changes(found)) => changes = found,
                Output::Event(Event::Answer(_, found)) => answer = Some(found),
                Output::Event(Event::Closed(Ok(()))) => ready = true,
                Output::Event(Event::Closed(Err(failure))) => return Err(failure.into()),
                Output::Wait { .. } if ready || answer.is_some() => {
                    return Ok(answer.map(|answer| Answered { answer, changes }));
                }
                Output::Wait { deadline, .. } => {
                    self.flush().await?;
                    self.read(deadline).await?;
                }
                Output::Close => return Ok(None),
                // The session knows none of these.
                Output::SendBody { body, .. } => match body {},
                Output::StartTls | Output::Compress => {}
            }
        }
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        if self.out.is_empty() {
            return Ok(());
        }
        match timeout(self.stall, self.stream.write_all(&self.out)).await {
            Ok(done) => done?,
            Err(_) => return Err(LinkError::Stalled),
        }
        self.out = BytesMut::new();
        Ok(())
    }

    async fn read(&mut self, deadline: Option<Instant>) -> Result<(), LinkError> {
        let mut input = BytesMut::with_capacity(4 << 10);
        let read = self.stream.read_buf(&mut input);
        let octets = match deadline {
            Some(deadline) => match timeout_at(deadline.into(), read).await {
                Ok(octets) => octets?,
                Err(_) => {
                    self.client.handle_timeout(Instant::now());
                    return Ok(());
                }
            },
            None => read.await?,
        };
        if octets == 0 {
            self.client.handle_eof(Instant::now());
        } else {
            self.client.handle_input(Instant::now(), &mut input);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("client", &self.client).finish_non_exhaustive()
    }
}

async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // Questions and answers alternate; waiting for more in the kernel only adds delay.
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}
