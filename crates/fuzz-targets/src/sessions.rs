//! Sessions against arbitrary peers, cut anywhere, with an application that answers by the octets, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::{Output, Session};

/// Outputs between two inputs that no session should need.
const MOST: usize = 100_000;

/// Drives a session: the first octet says how the rest is cut, and every answer is chosen by `answer`.
pub(crate) fn drive<S: Session>(mut session: S, octets: &[u8], mut answer: impl FnMut(S::Event) -> Option<S::Told>) {
    let Some((cut, octets)) = octets.split_first() else { return };
    let mut now = Instant::now();
    let mut input = BytesMut::new();
    let mut pieces = octets.chunks(usize::from(*cut).max(1));
    let mut ended = false;
    for turn in 0.. {
        assert!(turn < MOST, "a session that never waits");
        match session.poll() {
            Output::Send(_) | Output::SendBody { .. } => {}
            Output::Event(event) => {
                if let Some(told) = answer(event) {
                    session.handle_told(now, told);
                }
            }
            Output::StartTls => {
                input.clear();
                session.handle_tls(now, wire::TlsFacts::default());
            }
            Output::Compress | Output::Close => return,
            Output::Wait { read, .. } => {
                now += Duration::from_millis(1);
                if read && !input.is_empty() {
                    let before = input.len();
                    session.handle_input(now, &mut input);
                    if input.len() < before {
                        continue;
                    }
                }
                match pieces.next() {
                    Some(piece) if read => {
                        input.extend_from_slice(piece);
                        session.handle_input(now, &mut input);
                    }
                    _ if !ended => {
                        ended = true;
                        session.handle_eof(now);
                    }
                    _ => return,
                }
            }
        }
    }
}

pub(crate) fn smtp(octets: &[u8]) {
    use smtp::server::{Config, Event, Mode, Server, Told};
    for mode in [Mode::Smtp, Mode::Submission, Mode::Lmtp] {
        let mut config = Config::new(mode, "mx.example");
        config.starttls = true;
        config.allow_plaintext_auth = true;
        config.require_auth = false;
        config.limits.message_octets = 1000;
        config.future_release = Some(Duration::from_secs(86_400));
        config.deliver_by = Some(Duration::from_secs(30));
        (config.mt_priority, config.offer_requiretls, config.dsn) = (true, true, true);
        (config.verify, config.expand) = (true, true);
        let now = Instant::now();
        let time = smtp::UtcTime::from_unix(1_800_000_000);
        let session = Server::new(Arc::new(config), now).with_clock(now, time).trusting_xclient();
        drive(session, octets, |event| match event {
            Event::Secured(_) | Event::AuthenticateCancelled | Event::Reset | Event::Closed(_) => None,
            Event::Content(octets) if octets.len() % 7 == 6 => Some(Told::Reply(smtp::Reply::new(451, "4.3.0 no"))),
            _ => Some(Told::Accept),
        });
    }
}

pub(crate) fn smtp_client(octets: &[u8]) {
    use smtp::client::{Client, ClientConfig, ClientMode, Event, StartTls, Told, Transaction};
    let Ok(name) = smtp::HelloName::try_from("client.example") else { return };
    let mut config = ClientConfig::new(ClientMode::Smtp, name);
    config.starttls = StartTls::Opportunistic;
    let session = Client::<Bytes>::new(Arc::new(config), Instant::now());
    drive(session, octets, |event| match event {
        Event::Ready(_) => {
            let forward = address::ForwardPath::parse("a@b.example").ok()?;
            Some(Told::Send(Box::new(Transaction {
                reverse_path: address::ReversePath::Null,
                parameters: smtp::MailParameters {
                    deliver_by: smtp::DeliverBy::new(60, smtp::ByMode::Notify, true).ok(),
                    priority: smtp::Priority::new(3),
                    require_tls: true,
                    ..smtp::MailParameters::default()
                },
                recipients: vec![(forward, smtp::RcptParameters::default())],
                body: Bytes::from_static(b"x\r\n"),
                octets: 3,
            })))
        }
        Event::Sent(_) => Some(Told::Quit),
        _ => None,
    });
}

pub(crate) fn imap(octets: &[u8]) {
    use imap::server::{Config, Done, Event, Piece, Server, Then, Told};
    let mut config = Config::new("imap.example");
    config.starttls = true;
    config.allow_plaintext_auth = true;
    config.mechanisms = vec!["PLAIN".into()];
    config.limits.append_octets = 1000;
    let session = Server::<Bytes>::new(Arc::new(config), Instant::now());
    let mut more = 0;
    drive(session, octets, |event| match event {
        Event::Secured(_)
        | Event::AuthenticateCancelled
        | Event::AppendMessageEnd
        | Event::AppendAborted
        | Event::Closed => None,
        Event::Command(_, imap::Command::Select(_), _) => {
            Some(Told::Reply(Vec::new(), Then::Done(Done::ok("done").selected(true))))
        }
        Event::Command(_, imap::Command::Fetch(_), _) => {
            more = 2;
            Some(Told::Reply(vec![Piece::Body(Bytes::from_static(b"x"))], Then::More))
        }
        Event::More if more > 0 => {
            more -= 1;
            Some(Told::Reply(Vec::new(), Then::More))
        }
        Event::Command(..) | Event::More | Event::AppendEnd(_) | Event::Idle(_) | Event::IdleDone => {
            Some(Told::Reply(Vec::new(), Then::Done(Done::ok("done"))))
        }
        Event::AppendOctets(octets) if octets.len() % 7 == 6 => Some(Told::Refuse(Done::no("no"))),
        _ => Some(Told::Accept),
    });
    let session = imap::client::Client::<Bytes>::new(imap::client::Config::default(), Instant::now());
    drive(session, octets, |event| match event {
        imap::client::Event::Ready(_) => Some(imap::client::Told::Command(b"NOOP".to_vec(), Vec::new())),
        _ => None,
    });
}

pub(crate) fn pop3(octets: &[u8]) {
    use pop3::server::{Config, Event, Server, Told};
    let mut config = Config::new("pop3.example");
    config.stls = true;
    config.allow_plaintext_auth = true;
    let session = Server::<Bytes>::new(Arc::new(config), Instant::now());
    drive(session, octets, |event| match event {
        Event::Login { .. } | Event::Authenticate { .. } | Event::AuthenticateResponse(_) => {
            let unique_id = pop3::UniqueId::try_from("a").ok()?;
            Some(Told::Maildrop(Arc::new([pop3::Listed { octets: 3, unique_id }])))
        }
        Event::Retrieve { .. } => Some(Told::Body(Bytes::from_static(b"x\r\n"))),
        Event::Commit { .. } => Some(Told::Done),
        _ => None,
    });
}
