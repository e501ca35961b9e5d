//! The real world.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use net::https::Limits;
use net::{Answers, ClientTls, Dialling, Driving, Ended, Resolver, Socket};
use routing::{Answer, Question};
use smtp::client::Client;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::hand::Hand;
use crate::octets::Octets;
use crate::world::{Call, Called, Line, Place, Trouble, World};

/// Name servers, sockets and TLS.
#[derive(Debug)]
pub struct Internet {
    answers: Answers,
    tls: ClientTls,
    connect: Duration,
    drain: watch::Receiver<bool>,
}

impl Internet {
    /// The world as these see it. `connect`: how long a connection attempt may take; `drain`: becomes true when
    /// connections are to end.
    #[must_use]
    pub fn new(answers: Answers, tls: ClientTls, connect: Duration, drain: watch::Receiver<bool>) -> Self {
        Self { answers, tls, connect, drain }
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        self.answers.resolver()
    }

    pub(crate) fn tls(&self) -> &ClientTls {
        &self.tls
    }

    async fn connect(&self, call: &Call) -> Result<(Socket, Line), String> {
        match &call.place {
            Place::Tcp(addresses) => {
                let connected = net::dial(addresses, &self.dialling(&call.sources)).await;
                let (socket, address) = connected.map_err(|error| error.to_string())?;
                Ok((socket, Line { address: Some(address.ip()) }))
            }
            Place::Unix(path) => {
                let connected = tokio::time::timeout(self.connect, UnixStream::connect(path)).await;
                let stream = match connected {
                    Ok(connected) => connected.map_err(|error| format!("{}: {error}", path.display()))?,
                    Err(_) => return Err(format!("{}: no answer in time", path.display())),
                };
                Ok((stream.into(), Line { address: None }))
            }
        }
    }

    fn dialling(&self, sources: &[IpAddr]) -> Dialling {
        let mut dialling = Dialling { attempt: self.connect, ..Dialling::default() };
        for source in sources {
            match source {
                IpAddr::V4(address) => dialling.source_v4 = Some(*address),
                IpAddr::V6(address) => dialling.source_v6 = Some(*address),
            }
        }
        dialling
    }
}

impl World for Internet {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        // Retries that are spread less well are no reason to stop.
        getrandom::u64().unwrap_or_default()
    }

    async fn answer(&self, question: &Question) -> Answer {
        self.answers.answer(question).await
    }

    fn forget(&self) {
        self.resolver().forget();
    }

    async fn converse(&self, call: &Call, open: impl FnOnce(Line) -> (Client<Octets>, Hand<Self>) + Send) -> Called {
        let none = |trouble| Called { trouble: Some(trouble), certificate: None };
        let handshake = match self.tls.demanded(&call.security.demand, &call.security.names) {
            Ok(handshake) => handshake,
            Err(error) => return none(Trouble::Broken(error.to_string())),
        };
        let (socket, line) = match self.connect(call).await {
            Ok(connected) => connected,
            Err(words) => return none(Trouble::NoConnection(words)),
        };
        let (session, hand) = open(line);
        let mut driving = Driving::new(self.drain.clone());
        driving.tls = handshake.as_ref().map(net::ClientHandshake::role);
        driving.implicit_tls = call.implicit_tls;
        let trouble = match net::drive(socket, session, hand, driving).await {
            Ended::Closed => None,
            Ended::Failed(error) => Some(Trouble::Broken(error.to_string())),
            Ended::ClearTextBehindStartTls => Some(Trouble::Broken("octets in clear behind STARTTLS".into())),
            Ended::Unsupported => Some(Trouble::Broken("more octets than a reply can have".into())),
        };
        Called { trouble, certificate: handshake.and_then(|handshake| handshake.verdict()) }
    }

    async fn post(&self, url: &str, media_type: &str, document: Vec<u8>) -> Result<u16, String> {
        let answer = self.answers.https().post(url, media_type, document.into(), Limits::default()).await;
        answer.map(|response| response.status).map_err(|error| error.to_string())
    }
}
