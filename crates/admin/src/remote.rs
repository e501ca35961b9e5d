//! A client session driven in a task of its own, so that a conversation reads from top to bottom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::{Application, Driving, ReadBody, Socket, TlsRole};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use wire::Session;

/// The longest wait for a server in a conversation.
const PATIENCE: Duration = Duration::from_secs(30);

/// The far end of a session: what it tells comes here, what it is told goes there.
#[derive(Debug)]
pub(crate) struct Remote<S: Session> {
    events: mpsc::UnboundedReceiver<S::Event>,
    told: mpsc::UnboundedSender<S::Told>,
}

struct Passing<S: Session> {
    events: mpsc::UnboundedSender<S::Event>,
    told: mpsc::UnboundedReceiver<S::Told>,
}

impl<S> Application for Passing<S>
where
    S: Session<Event: Send, Told: Send, Body: ReadBody> + Send + 'static,
{
    type Session = S;

    async fn on_event(&mut self, event: S::Event) -> Option<S::Told> {
        // Nobody may be listening any more; then the session is about to be dropped.
        let _ = self.events.send(event);
        None
    }

    async fn news(&mut self) -> S::Told {
        match self.told.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }
}

/// TLS as a client has it.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl<S> Remote<S>
where
    S: Session<Event: Send, Told: Send, Body: ReadBody> + Send + 'static,
{
    /// Connects and lets `session` speak.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: &ClientTls,
        implicit_tls: bool,
        session: impl FnOnce(Instant) -> S,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
        let (events, from) = mpsc::unbounded_channel();
        let (to, told) = mpsc::unbounded_channel();
        let mut driving = Driving::undrained();
        driving.tls = Some(TlsRole::Client(Arc::clone(&tls.config), tls.name.clone()));
        driving.implicit_tls = implicit_tls;
        let session = session(Instant::now());
        tokio::spawn(net::drive(Socket::from(stream), session, Passing::<S> { events, told }, driving));
        Ok(Self { events: from, told: to })
    }

    pub(crate) fn tell(&self, told: S::Told) {
        // A session that is gone has said so among its events.
        let _ = self.told.send(told);
    }

    pub(crate) async fn next(&mut self) -> Result<S::Event, String> {
        match tokio::time::timeout(PATIENCE, self.events.recv()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err("the connection ended".into()),
            Err(_) => Err("the server did not answer in time".into()),
        }
    }
}
