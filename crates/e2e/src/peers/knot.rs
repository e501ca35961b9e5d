//! Knot: a name server whose zone is signed, well or not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Peer, command};

/// A name server for `test.` and the names of 192.0.2.0/24, and what is to be trusted of it.
#[derive(Debug)]
pub struct Knot {
    /// Where it listens, by UDP and TCP.
    pub place: SocketAddr,
    /// The key that signs, as a zone file has it.
    pub anchor: String,
    _peer: Peer,
}

fn configuration(folder: &Path, port: u16, zone: &str, signing: &str) -> String {
    let folder = folder.display();
    format!(
        "server:
  rundir: {folder}/run
  listen: 127.0.0.1@{port}
log:
  - target: {folder}/log
    any: info
database:
  storage: {folder}/keys
policy:
  - id: ours
    algorithm: ed25519
    single-type-signing: on
    rrsig-lifetime: 14d
    rrsig-refresh: 7d
zone:
  - domain: test.
    storage: {folder}
    file: {zone}
    dnssec-signing: {signing}
    dnssec-policy: ours
    semantic-checks: off
    zonefile-load: whole
  - domain: 2.0.192.in-addr.arpa.
    storage: {folder}
    file: reverse.zone
    semantic-checks: off
"
    )
}

impl Knot {
    /// Serves these records of `test.`, signed, and `reverse` of `2.0.192.in-addr.arpa.`, which is not. The signatures of the
    /// records of the names in `expired` are more than a year old, and those of the names in `forged` are not the key's.
    #[must_use]
    pub fn serve(folder: &Path, records: &str, reverse: &str, expired: &[&str], forged: &[&str]) -> Self {
        for name in ["run", "keys", "now", "then"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let port = super::free_port();
        let zone = format!(
            "$ORIGIN test.\n$TTL 300\n@ SOA ns hostmaster 1 7200 3600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}"
        );
        fs::write(folder.join("test.zone"), zone).unwrap();
        let reverse = format!(
            "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 300\n@ SOA ns.test. hostmaster.test. 1 7200 3600 86400 60\n\
             @ NS ns.test.\n{reverse}"
        );
        fs::write(folder.join("reverse.zone"), reverse).unwrap();
        let file = folder.join("knot.conf");
        fs::write(&file, configuration(folder, port, "test.zone", "on")).unwrap();
        // The first makes the key, which must be as old as the oldest signature.
        let then = sign(folder, "then", SystemTime::now() - Duration::from_secs(400 * 86_400));
        let now = sign(folder, "now", SystemTime::now());
        let mut signed = String::new();
        for line in now.lines() {
            let of = |names: &[&str]| names.iter().any(|name| line.starts_with(&format!("{name}.test.")));
            let is_signature = is_signature(line);
            if is_signature && of(expired) {
                continue;
            }
            if is_signature && of(forged) {
                signed.push_str(&forge(line));
            } else {
                signed.push_str(line);
            }
            signed.push('\n');
        }
        let of = |line: &&str| expired.iter().any(|name| line.starts_with(&format!("{name}.test.")));
        for line in then.lines().filter(of).filter(|line| is_signature(line)) {
            signed.push_str(line);
            signed.push('\n');
        }
        fs::write(folder.join("signed.zone"), signed).unwrap();
        fs::write(&file, configuration(folder, port, "signed.zone", "off")).unwrap();
        let key = now.lines().find_map(|line| line.split_once("\tDNSKEY\t")).unwrap().1;
        let anchor = format!("test. 300 IN DNSKEY {key}\n");
        let mut knotd = command("knot", "/usr/sbin/knotd");
        knotd.arg("-c").arg(&file);
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { place, anchor, _peer: Peer::start_at(knotd, place, Some(&folder.join("output"))) }
    }
}

/// Whether a line is a signature of a record. Those of denials stay good: they deny other names, too.
fn is_signature(line: &str) -> bool {
    line.contains("\tRRSIG\t") && !line.contains("\tRRSIG\tNSEC ")
}

/// The zone, signed as of a time.
fn sign(folder: &Path, into: &str, at: SystemTime) -> String {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let into = folder.join(into);
    let mut sign = command("knot", "/usr/bin/kzonesign");
    sign.arg("-c").arg(folder.join("knot.conf")).arg("-o").arg(&into).args(["-t", &at.to_string(), "test."]);
    let output = sign.output().unwrap();
    assert!(output.status.success(), "kzonesign: {output:?}");
    fs::read_to_string(into.join("test.zone")).unwrap()
}

/// Another signature of the same length.
fn forge(line: &str) -> String {
    let (rest, signature) = line.rsplit_once([' ', '\t']).unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{rest} {first}{}", &signature[1..])
}
