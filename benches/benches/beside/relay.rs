//! Mail that only passes through: accepted durably, handed on, forgotten durably.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mailwright_e2e::peers::postfix::Postfix;
use mailwright_e2e::{Daemon, System, usage};

use crate::load::{Load, Sink, Tls};
use crate::report::{Better, Report};

const ROUNDS: usize = 3;

/// A relay that runs.
struct Relay {
    port: u16,
    ours: Option<Daemon>,
    peer: Option<Postfix>,
    home: Home,
}

enum Home {
    Ours(System),
    Peer { _folder: tempfile::TempDir },
}

impl Relay {
    /// Ours: everything for `sink.test` goes to the sink, everything for `dead.test` to where nobody listens.
    fn ours(sink: &Sink, tls: Option<&[PathBuf; 2]>) -> Self {
        let system = System::new();
        configure(&system, sink, tls);
        Self::again(system)
    }

    fn again(system: System) -> Self {
        let ours = Some(system.start("mta"));
        Self { port: system.port(25), ours, peer: None, home: Home::Ours(system) }
    }

    fn postfix(sink: &Sink, tls: Option<&[PathBuf; 2]>) -> Self {
        let home = tempfile::Builder::new().prefix("peer").tempdir().unwrap();
        let tls = tls.map(|[certificate, key]| (&**certificate, &**key));
        let peer = Some(Postfix::relay(&home.path().join("postfix"), 9_026, sink.port, tls));
        Self { port: 9_026, ours: None, peer, home: Home::Peer { _folder: home } }
    }

    /// Stops ours; what is left is its folder.
    fn stop(self) -> System {
        let Home::Ours(system) = self.home else { panic!("only ours is stopped") };
        assert!(self.ours.is_none_or(Daemon::stop));
        system
    }

    fn processes(&self) -> Vec<u32> {
        let first = self.ours.as_ref().map(Daemon::pid).into_iter().chain(self.peer.as_ref().map(Postfix::pid));
        first.flat_map(usage::family).collect()
    }
}

const FILES: [&str; 2] = ["tls/cert.pem", "tls/key.pem"];

fn configure(system: &System, sink: &Sink, tls: Option<&[PathBuf; 2]>) {
    let config = std::fs::read_to_string(system.config()).unwrap();
    let config = config
        .replace("transactions = 1000", "transactions = 10000000")
        .replace("relay_networks = []", "relay_networks = [\"127.0.0.0/8\"]");
    let demand = if tls.is_some() { "opportunistic" } else { "none" };
    let routes = format!(
        "\n[[route]]\nrecipient_domain = \"sink.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}\ntls = \"{demand}\"\n\
         \n[[route]]\nrecipient_domain = \"*.dead.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = 1\ntls = \"none\"\n",
        sink.port
    );
    std::fs::write(system.config(), config + &routes).unwrap();
    // The client trusts one certificate: both contenders show it.
    for (from, to) in tls.into_iter().flatten().zip(FILES) {
        std::fs::copy(from, system.path(to)).unwrap();
    }
}

/// How long a load takes to arrive at the sink, and the processor time that it costs.
fn pass(relay: &Relay, sink: &Sink, load: Load, tls: Option<&Tls>) -> (Duration, Duration) {
    let before = sink.taken();
    let processor = usage::processor(&relay.processes());
    let began = Instant::now();
    load.run(relay.port, tls);
    let wanted = before + load.messages * load.recipients as u64;
    while sink.taken() < wanted {
        assert!(began.elapsed() < Duration::from_secs(600), "{} of {wanted} arrived", sink.taken());
        std::thread::sleep(Duration::from_millis(5));
    }
    (began.elapsed(), usage::processor(&relay.processes()).saturating_sub(processor))
}

/// 10 KB from 20 sessions, in clear and with TLS on both sides.
pub(crate) fn relay(report: &mut Report) {
    let certificates = System::new();
    let files = FILES.map(|name| PathBuf::from(certificates.path(name)));
    for secured in [false, true] {
        let tls = secured.then(|| Tls::new(&files[0], &files[1]));
        let files = secured.then_some(&files);
        let sink = Sink::start(tls.as_ref());
        let mut figures = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ours in [true, false] {
                let relay = if ours { Relay::ours(&sink, files) } else { Relay::postfix(&sink, files) };
                let messages = if ours { 20_000 } else { 4_000 };
                let load = Load { sessions: 20, messages, octets: 10_240, recipients: 1 };
                let (time, processor) = pass(&relay, &sink, load, tls.as_ref());
                let at = usize::from(!ours);
                figures[at].push(rate(load, time));
                figures[2 + at].push(processor.as_secs_f64() * 1_000.0 / count(load));
            }
        }
        let how = if secured { "TLS on both sides" } else { "in clear" };
        let [rates, peer_rates, processor, peer_processor] = &figures;
        let wanted = if secured { "≥ 3 times" } else { "≥ 4 times" };
        report.add(&format!("relay, 10 KB, 20 sessions, {how}: messages/s"), Better::More, rates, peer_rates, wanted);
        let what = format!("relay, {how}: CPU seconds a 1,000 messages");
        report.add(&what, Better::Less, processor, peer_processor, if secured { "" } else { "≥ 5 times" });
    }
}

/// A million recipients that wait for 10,000 destinations, a tenth of which are due and cannot be reached: what that costs
/// the mail that can be delivered.
pub(crate) fn queue(report: &mut Report) {
    let sink = Sink::start(None);
    let relay = Relay::ours(&sink, None);
    let load = Load { sessions: 20, messages: 20_000, octets: 10_240, recipients: 1 };
    let rates =
        |relay: &Relay| -> Vec<f64> { (0..ROUNDS).map(|_| rate(load, pass(relay, &sink, load, None).0)).collect() };
    let empty = rates(&relay);
    let system = relay.stop();
    let began = Instant::now();
    crate::fill::fill(Path::new(&system.path("data")), 10_000, 100);
    eprintln!("1,000,000 recipients queued in {:.0} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let relay = Relay::again(system);
    let started = began.elapsed().as_secs_f64() * 1e3;
    let full = rates(&relay);
    let memory = usage::memory(&relay.processes());
    report.add(
        "relay beside 1,000,000 queued recipients, against none: messages/s",
        Better::More,
        &full,
        &empty,
        "≥ 0.8",
    );
    report.add("start with 1,000,000 queued: ms", Better::Less, &[started], &[], "≤ 2000");
    #[expect(clippy::cast_precision_loss, reason = "a size is a float")]
    report.add("memory with them: MB", Better::Less, &[memory as f64 / 1e6], &[], "≤ 300");
}

fn rate(load: Load, time: Duration) -> f64 {
    count(load) / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn count(load: Load) -> f64 {
    (load.messages * load.recipients as u64) as f64
}

/// Throughput by size and by recipients.
pub(crate) fn sizes(report: &mut Report) {
    let sink = Sink::start(None);
    let relay = Relay::ours(&sink, None);
    for (octets, messages) in [(1_024, 20_000), (10_240, 20_000), (102_400, 5_000), (1 << 20, 600), (10 << 20, 60)] {
        let load = Load { sessions: 20, messages, octets, recipients: 1 };
        let figures: Vec<f64> = (0..ROUNDS).map(|_| rate(load, pass(&relay, &sink, load, None).0)).collect();
        report.add(&format!("relay, {octets} octets, 1 recipient: recipients/s"), Better::More, &figures, &[], "");
    }
    for (recipients, messages) in [(10, 4_000), (100, 500)] {
        let load = Load { sessions: 20, messages, octets: 10_240, recipients };
        let figures: Vec<f64> = (0..ROUNDS).map(|_| rate(load, pass(&relay, &sink, load, None).0)).collect();
        let what = format!("relay, 10240 octets, {recipients} recipients: recipients/s");
        report.add(&what, Better::More, &figures, &[], "");
    }
}
