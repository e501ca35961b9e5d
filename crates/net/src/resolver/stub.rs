//! Asks a validating resolver on this machine, and believes its AD bit (RFC 6840 §5.7, §5.8).
//!
//! The resolver remembers and follows aliases, so that nothing of the kind is done here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use routing::Trouble;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Octets of UDP that are taken; nothing is lost on the way to ourselves.
const UDP_OCTETS: u16 = 4096;

#[derive(Debug)]
pub(super) struct Stub {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) wait: Duration,
    pub(super) attempts: usize,
}

impl Stub {
    /// A response with NOERROR or NXDOMAIN.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Trouble> {
        let mut trouble = Trouble::Unreachable;
        for _ in 0..self.attempts {
            for server in &self.servers {
                match timeout(self.wait, exchange(*server, name, kind)).await {
                    Ok(Ok(message)) => match message.response_code {
                        ResponseCode::NoError | ResponseCode::NXDomain => return Ok(message),
                        code => trouble = Trouble::Rcode(code.into()),
                    },
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => trouble = Trouble::Malformed,
                    Ok(Err(_)) => trouble = Trouble::Unreachable,
                    Err(_) => trouble = Trouble::Timeout,
                }
            }
        }
        Err(trouble)
    }
}

async fn exchange(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let query = query(name, kind)?;
    let octets = query.to_vec().map_err(io::Error::other)?;
    let message = over_udp(server, &query, &octets).await?;
    if message.truncation { over_tcp(server, &query, &octets).await } else { Ok(message) }
}

fn query(name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut message = Message::query();
    message.metadata.id = u16::from_be_bytes(id);
    message.metadata.recursion_desired = true;
    // RFC 6840 §5.7: in a query it asks for the bit in the response, without the signatures that DO would bring.
    message.metadata.authentic_data = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_OCTETS);
    message.set_edns(edns);
    Ok(message)
}

async fn over_udp(server: SocketAddr, query: &Message, octets: &[u8]) -> io::Result<Message> {
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut buffer = vec![0; usize::from(UDP_OCTETS)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever else arrives is not for us.
        if let Ok(message) = response(query, &buffer[..length]) {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message, octets: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), octets].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    response(query, &buffer)
}

fn response(query: &Message, octets: &[u8]) -> io::Result<Message> {
    let message = Message::from_vec(octets).map_err(|_| io::ErrorKind::InvalidData)?;
    let is_ours = message.id == query.id
        && message.message_type == MessageType::Response
        && (message.queries == query.queries || message.queries.is_empty());
    if is_ours { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}
