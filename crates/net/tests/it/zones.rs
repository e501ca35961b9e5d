//! A name server for tests: one signed zone, one that is not, and answers that are wrong in every way.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::dnssec::{DnssecSigner, SigningKey as _, TBS};
use hickory_proto::op::{Metadata, ResponseCode};
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType, RrKey, SerialNumber};
use hickory_proto::serialize::txt::Parser;
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

const SIGNED: &str = r#"
@ 300 IN SOA ns hostmaster 1 7200 3600 86400 60
@ 300 IN NS ns
ns 300 IN A 127.0.0.1
example 300 IN MX 10 mx.example
example 300 IN MX 20 MX2.Example
example 300 IN TXT "v=STSv1; " "id=1;"
mx.example 200 IN A 192.0.2.1
mx.example 200 IN A 192.0.2.2
mx.example 200 IN AAAA 2001:db8::1
_25._tcp.mx.example 300 IN TLSA 3 1 1 0101010101010101010101010101010101010101010101010101010101010101
null 300 IN MX 0 .
alias 100 IN CNAME mx.example
chain 300 IN CNAME alias
out 300 IN CNAME mx.plain.test.
dead 300 IN CNAME nothing
loop1 300 IN CNAME loop2
loop2 300 IN CNAME loop1
forged 300 IN A 192.0.2.3
expired 300 IN A 192.0.2.4
stripped 300 IN A 192.0.2.5
plain 300 IN NS ns.plain
ns.plain 300 IN A 127.0.0.1
"#;

const PLAIN: &str = r#"
@ 300 IN SOA ns hostmaster 1 7200 3600 86400 60
@ 300 IN NS ns
@ 300 IN MX 10 mx
ns 300 IN A 127.0.0.1
mx 300 IN A 192.0.2.9
"#;

/// The names of 192.0.2.0/24.
const REVERSE: &str = r#"
@ 300 IN SOA ns.test. hostmaster.test. 1 7200 3600 86400 60
@ 300 IN NS ns.test.
1 300 IN PTR MX.Example.test.
1 300 IN PTR other.test.
"#;

/// The name server; it ends with its runtime.
pub(crate) struct Zones {
    pub(crate) address: SocketAddr,
    anchor: String,
    _server: Server<Front>,
}

impl Zones {
    pub(crate) async fn serve() -> Self {
        let pkcs8 = Ed25519SigningKey::generate_pkcs8().unwrap();
        let key = || Ed25519SigningKey::from_pkcs8(&pkcs8).unwrap();
        let dnskey = DNSKEY::from_key(&key().to_public_key().unwrap());
        let anchor = format!("test. 300 IN DNSKEY {dnskey}\n");
        let origin = Name::from_ascii("test.").unwrap();
        let day = Duration::from_secs(86_400);
        let signer = || DnssecSigner::new(dnskey.clone(), Box::new(key()), origin.clone(), day);
        let mut signed = zone(&origin, SIGNED, Some(NxProofKind::Nsec));
        signed.add_zone_signing_key_mut(signer()).unwrap();
        signed.secure_zone_mut().unwrap();
        spoil(&mut signed, &signer());
        let signed: Arc<dyn hickory_server::zone_handler::ZoneHandler> = Arc::new(signed);
        let below = Name::from_ascii("plain.test.").unwrap();
        let mut all = Catalog::new();
        all.upsert(LowerName::new(&origin), vec![Arc::clone(&signed)]);
        all.upsert(LowerName::new(&below), vec![Arc::new(zone(&below, PLAIN, None))]);
        let reverse = Name::from_ascii("2.0.192.in-addr.arpa.").unwrap();
        all.upsert(LowerName::new(&reverse), vec![Arc::new(zone(&reverse, REVERSE, None))]);
        let mut parents = Catalog::new();
        parents.upsert(LowerName::new(&origin), vec![signed]);
        let mut server = Server::new(Front { all, parents });
        let (udp, tcp) = both().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Self { address, anchor, _server: server }
    }

    pub(crate) fn write_anchor(&self, file: &Path) {
        std::fs::write(file, &self.anchor).unwrap();
    }
}

/// A port of both kinds. What is free for UDP may be taken for TCP: then another one.
pub(crate) async fn both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

fn zone(origin: &Name, text: &str, denial: Option<NxProofKind>) -> Zone {
    let (_, records) = Parser::new(text, None, Some(origin.clone())).parse().unwrap();
    Zone::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny, denial).unwrap()
}

/// Makes the signatures of three record sets what their names say.
fn spoil(zone: &mut Zone, signer: &DnssecSigner) {
    let key_of = |name: &str| RrKey::new(LowerName::new(&Name::from_ascii(name).unwrap()), RecordType::A);
    let records = zone.records_get_mut();
    for (name, how) in [("forged.test.", 0), ("expired.test.", 1), ("stripped.test.", 2)] {
        let set = Arc::make_mut(records.get_mut(&key_of(name)).unwrap());
        let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = set.rrsigs()[0].data.clone() else { panic!("signed") };
        let mut input = rrsig.input().clone();
        let mut signature = rrsig.sig().to_vec();
        if how == 0 {
            signature[7] ^= 1;
        } else {
            input.sig_inception = SerialNumber::new(1_000_000_000);
            input.sig_expiration = SerialNumber::new(1_000_086_400);
            let tbs = TBS::from_input(set.name(), DNSClass::IN, &input, set.records_without_rrsigs()).unwrap();
            signature = signer.sign(&tbs).unwrap();
        }
        set.clear_rrsigs();
        if how < 2 {
            let rdata = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
            set.insert_rrsig(Record::from_rdata(set.name().clone(), set.ttl(), rdata));
        }
    }
}

/// What answers as a recursive resolver would, or worse.
struct Front {
    all: Catalog,
    /// Zones that delegate: DS records are theirs, not the child's (RFC 4035 §3.1.4.1).
    parents: Catalog,
}

#[async_trait::async_trait]
impl RequestHandler for Front {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let (name, kind) = (info.query.name().to_string(), info.query.query_type());
        match name.as_str() {
            "silent.test." => std::future::pending().await,
            "servfail.test." | "notimp.test." => {
                let code = if name.starts_with('s') { ResponseCode::ServFail } else { ResponseCode::NotImp };
                let mut metadata = Metadata::response_from_request(&request.metadata);
                metadata.response_code = code;
                let message = MessageResponseBuilder::from_message_request(request).build_no_records(metadata);
                response.send_response(message).await.unwrap()
            }
            // Denials that are none, with records of a zone that has nothing to say here.
            "denied.test." | "denied-beside.test." | "denied-ns.test." | "denied-additional.test." => {
                let metadata = Metadata::response_from_request(&request.metadata);
                let all = Parser::new(PLAIN, None, Some(Name::from_ascii("plain.test.").unwrap())).parse().unwrap().1;
                let of = |kind: RecordType| -> Vec<Record> {
                    let sets = all.values().filter(|set| set.record_type() == kind);
                    sets.flat_map(|set| set.records_without_rrsigs().cloned().collect::<Vec<_>>()).collect()
                };
                let (soa, ns, a) = (of(RecordType::SOA), of(RecordType::NS), of(RecordType::A));
                let mut here = a.clone();
                here.iter_mut().for_each(|record| record.name = Name::from(info.query.name().clone()));
                let (answers, authorities, additionals) = match name.as_str() {
                    "denied.test." => (vec![], soa, vec![]),
                    "denied-beside.test." => (a, soa, vec![]),
                    "denied-ns.test." => (a, ns, vec![]),
                    _ => (vec![], soa, here),
                };
                let message = MessageResponseBuilder::from_message_request(request);
                let message = message.build(metadata, &answers, &authorities, [], &additionals);
                response.send_response(message).await.unwrap()
            }
            // A server that says nothing at all where it has nothing.
            "empty.plain.test." => {
                let metadata = Metadata::response_from_request(&request.metadata);
                let message = MessageResponseBuilder::from_message_request(request).build_no_records(metadata);
                response.send_response(message).await.unwrap()
            }
            "plain.test." if kind == RecordType::DS => self.parents.handle_request::<R, T>(request, response).await,
            _ => self.all.handle_request::<R, T>(request, response).await,
        }
    }
}
