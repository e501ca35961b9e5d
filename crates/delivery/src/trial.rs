//! A world for tests: it answers at once, counts what it is asked, and connects nobody.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::Config;
use directory::{Directory, Hashing};
use jiff::{SignedDuration, Timestamp};
use queue::envelope::{Envelope, RecipientEnvelope};
use routing::{Answer, Missing, Mx, Proof, Question, Records};
use smtp::client::Client;
use store::{Delivery, Embedded, NewBody, NewContent, NewSpool, NewSpoolRecipient, Options, Store, ZonedTime};
use tokio::sync::mpsc;

use crate::hand::Hand;
use crate::octets::Octets;
use crate::office::Office;
use crate::settings::Settings;
use crate::world::{Call, Called, Line, Trouble, World};

/// The sender of [`spool`]: an account of ours.
pub(crate) const SENDER: &str = "ann@example.org";

/// What happened in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    Asked(String),
    Called,
    Forgot,
}

/// The world, ahead of its clock.
#[derive(Debug)]
pub(crate) struct Trial {
    ahead: SignedDuration,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Trial {
    pub(crate) fn new(ahead: SignedDuration) -> (Self, mpsc::UnboundedReceiver<Seen>) {
        let (seen, told) = mpsc::unbounded_channel();
        (Self { ahead, seen }, told)
    }

    fn see(&self, seen: Seen) {
        // A test need not listen.
        let _ = self.seen.send(seen);
    }
}

impl World for Trial {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }

    fn random(&self) -> u64 {
        Timestamp::now().as_nanosecond() as u64
    }

    async fn answer(&self, question: &Question) -> Answer {
        self.see(Seen::Asked(question.to_string()));
        let ttl = Duration::from_secs(3_600);
        let none = Missing::NxDomain { proof: Proof::Insecure, ttl };
        match question {
            Question::Mx(_) => Answer::Mx(Ok(Records::new(vec![Mx::new(10, "mx.far.example")], Proof::Insecure, ttl))),
            Question::Addresses { family: routing::Family::V4, .. } => {
                let address = IpAddr::from(Ipv4Addr::new(198, 18, 0, 1));
                Answer::Addresses(Ok(Records::new(vec![address], Proof::Insecure, ttl)))
            }
            Question::Addresses { .. } => Answer::Addresses(Err(none)),
            Question::Tlsa { .. } => Answer::Tlsa(Err(none)),
            Question::Txt(_) => Answer::Txt(Err(none)),
            Question::Policy { .. } => Answer::temporary(question, routing::Trouble::Unreachable),
        }
    }

    fn forget(&self) {
        self.see(Seen::Forgot);
    }

    async fn converse(&self, _: &Call, _: impl FnOnce(Line) -> (Client<Octets>, Hand<Self>) + Send) -> Called {
        self.see(Seen::Called);
        Called { trouble: Some(Trouble::NoConnection("nobody is there".into())), certificate: None }
    }

    async fn post(&self, _: &str, _: &str, _: Vec<u8>) -> Result<u16, String> {
        Err("nobody is there".into())
    }
}

/// An office over a store in a folder, where the sender has an account.
pub(crate) async fn office(folder: &tempfile::TempDir, world: Trial) -> Arc<Office<Trial>> {
    let options = Options { min_free_octets: 0, ..Options::default() };
    let store: Arc<dyn Store> = Embedded::open(folder.path(), &options).unwrap();
    let hashing = Hashing { memory_kib: 8, iterations: 1, parallelism: 1, scram_iterations: 4_096 };
    let directory = Directory::new(Arc::clone(&store), directory::Settings { hashing, ..Default::default() });
    directory.add_domain("example.org", None).await.unwrap();
    directory.add_account(SENDER, "secret").await.unwrap();
    let config =
        Config::parse("hostname = \"mx.example.org\"\n[routing]\nprivate_targets = [\"198.18.0.0/15\"]").unwrap();
    let settings = Settings::new(&config).unwrap();
    Office::new(Arc::new(world), store, directory, Arc::new(settings))
}

/// Spools a message to `bob@far.example`, due now; its queue id.
pub(crate) async fn spool(office: &Office<Trial>, text: &str) -> String {
    let queue_id = trace::queue_id(Timestamp::now(), office.world.random());
    let octets = Bytes::from(format!("Subject: hello\r\n\r\n{text}\r\n"));
    let delivery = Delivery {
        content: NewContent {
            head: Bytes::new(),
            digest: digest::Digest::of(&octets).encode().into(),
            thread: 1,
            body: NewBody::Memory(vec![octets]),
        },
        received: ZonedTime::default(),
        recipients: Vec::new(),
        spool: vec![NewSpool {
            queue_id: queue_id.clone(),
            sender: SENDER.into(),
            parameters: Envelope::default().encode(),
            recipients: vec![NewSpoolRecipient {
                address: "bob@far.example".into(),
                destination: "far.example".into(),
                parameters: RecipientEnvelope::default().encode(),
                due: office.world.now().as_millisecond(),
            }],
        }],
        trace: Vec::new(),
    };
    office.store.deliver(delivery).await.unwrap();
    queue_id
}
