//! Connections to one of several addresses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mailwright_net::{Dialling, dial};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

async fn listening(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that nobody listens at.
async fn closed(address: &str) -> SocketAddr {
    listening(address).await.1
}

/// A port that answers nothing: its queue of connections is full, and what is in it.
async fn silent(address: &str) -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    (address, listener, queued)
}

#[tokio::test]
async fn the_first_that_answers() {
    let (_listener, open) = listening("127.0.0.3:0").await;
    let refusing = closed("127.0.0.2:0").await;
    let patient = Dialling { stagger: LONG, ..Dialling::default() };
    // A refusal is news: the next address need not wait for its turn.
    let (_, address) = timeout(LONG, dial(&[refusing, open], &patient)).await.unwrap().unwrap();
    assert_eq!(address, open);
}

#[tokio::test]
async fn silence_costs_a_quarter_of_a_second() {
    let (silent, _listener, _queued) = silent("127.0.0.4:0").await;
    let (_open_listener, open) = listening("127.0.0.3:0").await;
    let began = Instant::now();
    let (_, address) = timeout(LONG, dial(&[silent, open], &Dialling::default())).await.unwrap().unwrap();
    assert_eq!(address, open);
    assert!(began.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn families_take_turns() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let open = listener.local_addr().unwrap();
    let (first, second) = (closed("127.0.0.2:0").await, silent("127.0.0.4:0").await);
    let patient = Dialling { stagger: LONG, ..Dialling::default() };
    let (_, address) = timeout(LONG, dial(&[first, second.0, open], &patient)).await.unwrap().unwrap();
    assert_eq!(address, open, "IPv6 comes second, though it stands last");
}

#[tokio::test]
async fn each_failure_is_told() {
    let (silent, _listener, _queued) = silent("127.0.0.4:0").await;
    let refusing = closed("127.0.0.2:0").await;
    let dialling = Dialling {
        attempt: Duration::from_millis(50),
        stagger: Duration::from_millis(1),
        source_v4: Some(Ipv4Addr::new(127, 0, 0, 9)),
        ..Dialling::default()
    };
    let error = dial(&[silent, refusing], &dialling).await.unwrap_err();
    let kind = |address| error.failures.iter().find(|one| one.address == address).map(|one| one.error.kind());
    assert_eq!(kind(silent), Some(ErrorKind::TimedOut));
    assert_eq!(kind(refusing), Some(ErrorKind::ConnectionRefused));
    assert_eq!(error.untried, 0);
    let text = error.to_string();
    assert!(text.contains(&format!("{refusing} from 127.0.0.9: Connection refused")), "{text}");
}

#[tokio::test]
async fn all_together_take_so_long() {
    let (silent, _listener, _queued) = silent("127.0.0.4:0").await;
    let dialling = Dialling { total: Duration::from_millis(50), stagger: LONG, ..Dialling::default() };
    let error = timeout(LONG, dial(&[silent, closed("127.0.0.2:0").await], &dialling)).await.unwrap().unwrap_err();
    assert_eq!((error.failures.len(), error.untried), (1, 1));
    assert_eq!(error.failures[0].error.kind(), ErrorKind::TimedOut);
    assert!(dial(&[], &dialling).await.unwrap_err().failures.is_empty());
}

#[tokio::test]
async fn from_the_address_that_is_set() {
    let (listener, open) = listening("127.0.0.3:0").await;
    let source = Ipv4Addr::new(127, 0, 0, 9);
    let dialling = Dialling { source_v4: Some(source), ..Dialling::default() };
    let (_socket, _) = dial(&[open], &dialling).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1.ip(), source);
    // An address that this machine has not.
    let dialling = Dialling { source_v4: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Dialling::default() };
    let error = dial(&[open], &dialling).await.unwrap_err();
    assert_eq!(error.failures[0].error.kind(), ErrorKind::AddrNotAvailable);
}
