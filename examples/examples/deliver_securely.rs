//! Delivers one message to a recipient's mail server, and only if that proves by DANE or MTA-STS who it is.
//!
//! ```text
//! cargo run -p mailwright-examples --example deliver_securely -- ann@example.org bob@example.net < message
//! cargo run -p mailwright-examples --example deliver_securely -- ann@example.org bob@sink.test 127.0.0.1:5353 2525 < message
//! ```

use std::{net::SocketAddr, sync::Arc, time::Instant};

use address::{ForwardPath, ReversePath};
use anyhow::Context as _;
use bytes::Bytes;
use jiff::Timestamp;
use net::{Answers, Application, ClientTls, Dialling, Driving, Resolver, ResolverSettings};
use routing::{Lookup, Plan, Settings, Step, Target};
use smtp::client::{Client, ClientConfig, ClientMode, Event, Outcome, StartTls, Told, Transaction};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = &arguments[..] else { anyhow::bail!("expected FROM TO [NAME-SERVER [PORT]]") };
    let message = std::io::read_to_string(std::io::stdin())?;
    let servers = rest.first().map(|server| server.parse()).transpose()?.into_iter().collect();
    let port = rest.get(1).map_or(Ok(25), |port| port.parse())?;
    let names = ResolverSettings { servers, ..ResolverSettings::default() };
    println!("{}", deliver(from, to, message.into(), names, port, Settings::default()).await?);
    Ok(())
}

/// Delivers; what the server said at the end.
pub(crate) async fn deliver(
    from: &str,
    to: &str,
    message: Bytes,
    names: ResolverSettings,
    port: u16,
    settings: Settings,
) -> anyhow::Result<String> {
    let recipient = ForwardPath::parse(to)?;
    let host = recipient.mailbox().context("an address has a domain")?.host.clone();
    let (tls, settings) = (ClientTls::new(None)?, Arc::new(settings));
    let answers = Answers::new(Resolver::new(names)?, tls.clone(), settings.reach.clone());
    let plan = plan(&answers, Target { port, ..Target::recipient(host) }, settings).await?;
    // Where the domain publishes nothing, nobody can know who answers: such a host is not for us.
    let host = plan.hosts.iter().find(|host| host.security.demand.authenticates());
    let host = host.context("the domain publishes neither DANE nor an MTA-STS policy to enforce")?;
    let handshake = tls.demanded(&host.security.demand, &host.security.names)?.context("TLS is demanded")?;
    let addresses: Vec<_> = host.addresses.iter().map(|address| SocketAddr::new(*address, plan.port)).collect();
    let (socket, _) = net::dial(&addresses, &Dialling::default()).await?;
    let mut config = ClientConfig::new(ClientMode::Smtp, "client.example".try_into()?);
    config.starttls = StartTls::Required;
    let (outcome, told) = oneshot::channel();
    let octets = message.len() as u64;
    let (reverse_path, recipients) = (ReversePath::parse(from)?, vec![(recipient, Default::default())]);
    let transaction = Transaction { reverse_path, parameters: Default::default(), recipients, body: message, octets };
    let sender = Sender { transaction: Some(Box::new(transaction)), outcome: Some(outcome) };
    let driving = Driving { tls: Some(handshake.role()), ..Driving::undrained() };
    let ended = net::drive(socket, Client::new(Arc::new(config), Instant::now()), sender, driving).await;
    let Ok(outcome) = told.await else { anyhow::bail!("nothing was sent: {ended:?}, {:?}", handshake.verdict()) };
    let answer = outcome.recipients.first().and_then(Option::as_ref).context("no answer")?;
    Ok(format!("{}: {}", host.name, answer.reply))
}

/// Where mail goes, and how each host must be secured.
async fn plan(answers: &Answers, target: Target, settings: Arc<Settings>) -> anyhow::Result<Plan> {
    let mut lookup = Lookup::new(target, settings, None, 0, Timestamp::now());
    while let Step::Ask(questions) = lookup.poll() {
        for question in questions {
            lookup.answer(&question, answers.answer(&question).await, Timestamp::now());
        }
    }
    if let Step::Done(result) = lookup.poll() { Ok(result?) } else { anyhow::bail!("a question is open") }
}

/// Says one message on one connection.
struct Sender {
    transaction: Option<Box<Transaction<Bytes>>>,
    outcome: Option<oneshot::Sender<Outcome>>,
}

impl Application for Sender {
    type Session = Client<Bytes>;

    async fn on_event(&mut self, event: Event) -> Option<Told<Bytes>> {
        match event {
            Event::Ready(_) => self.transaction.take().map(Told::Send),
            Event::Sent(outcome) => {
                // Nobody waits for it any more where the caller has gone.
                let _ = self.outcome.take().map(|told| told.send(outcome));
                Some(Told::Quit)
            }
            _ => None,
        }
    }
}
