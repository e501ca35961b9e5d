//! One request, one answer, and all that may go wrong between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailwright_net::https::Limits;
use mailwright_net::{
    Answers, ClientTls, Distrust, Https, HttpsError, LookUp, LookUpError, Resolver, ResolverSettings,
};
use routing::reach::{Reach, Special};
use routing::{Answer, FetchError, PolicyBody, Question};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Dates, Shown};

/// All names lead to one server; `private.example` to where it should not.
struct Names(SocketAddr);

#[async_trait]
impl LookUp for Names {
    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookUpError> {
        assert_eq!(port, 443);
        match host {
            "none.example" => Err(LookUpError::None),
            "unknown.example" => Err(LookUpError::Temporary),
            "private.example" => Ok(vec!["10.0.0.1:443".parse().unwrap(), "[::ffff:192.168.0.1]:443".parse().unwrap()]),
            "both.example" => Ok(vec!["10.0.0.1:443".parse().unwrap(), self.0]),
            _ => Ok(vec![self.0]),
        }
    }
}

/// A server, the client for it, and the requests it got.
struct World {
    https: Https,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

async fn world(shown: Option<Shown>, authority: &Authority) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    authority.write(&file);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&requests);
    let acceptor = shown.map(|shown| TlsAcceptor::from(shown.config()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            respond(stream, &log).await;
                        }
                    }
                    None => respond(stream, &log).await,
                }
            });
        }
    });
    let reach = Reach::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let https = Https::new(ClientTls::new(Some(&file)).unwrap(), Arc::new(Names(address)), reach);
    World { https, address, requests }
}

async fn served() -> World {
    let authority = Authority::new("Root");
    let shown = authority.issues("mta-sts.example.com", Dates::Now, &[]);
    world(Some(shown), &authority).await
}

/// Answers by path, and ends.
async fn respond<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, log: &Mutex<Vec<String>>) {
    let mut octets = Vec::new();
    while !octets.windows(4).any(|four| four == b"\r\n\r\n") || octets.starts_with(b"POST") && !octets.ends_with(b"!") {
        if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(octets).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    log.lock().unwrap().push(request);
    let answer: Vec<u8> = match path.as_str() {
        "/.well-known/mta-sts.txt" | "/" => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n\r\npolicy".to_vec()
        }
        "/chunked" => b"HTTP/1.1 201 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec(),
        "/until-end" => b"HTTP/1.0 200 OK\r\n\r\nabc".to_vec(),
        "/redirect" => {
            b"HTTP/1.1 302 Found\r\nLocation: https://mta-sts.example.com/\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        "/big" => [&b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"[..], &vec![b'x'; 1_000_000]].concat(),
        "/head" => [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 1_000_000]].concat(),
        "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec(),
        "/nonsense" => b"SSH-2.0-server\r\n".to_vec(),
        "/nothing" => Vec::new(),
        "/silent" => std::future::pending().await,
        other => panic!("{other}"),
    };
    // The client may have gone before the end.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

const URL: &str = "https://mta-sts.example.com";

#[tokio::test]
async fn get() {
    let World { https, requests, .. } = served().await;
    let response = https.get(&format!("{URL}/.well-known/mta-sts.txt"), Limits::default()).await.unwrap();
    assert_eq!((response.status, response.cut), (200, false));
    assert_eq!(response.media_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(response.body, b"policy");
    let request = requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nhost: mta-sts.example.com\r\n"), "{request}");
    for (path, status, body) in [("/chunked", 201, &b"abcde"[..]), ("/until-end", 200, b"abc")] {
        let response = https.get(&format!("{URL}{path}"), Limits::default()).await.unwrap();
        assert_eq!((response.status, &response.body[..], response.media_type), (status, body, None), "{path}");
    }
    // RFC 8461 §3.3: a redirect is an answer, and not followed.
    let before = requests.lock().unwrap().len();
    assert_eq!(https.get(&format!("{URL}/redirect"), Limits::default()).await.unwrap().status, 302);
    assert_eq!(requests.lock().unwrap().len(), before + 1);
}

#[tokio::test]
async fn post() {
    let World { https, requests, .. } = served().await;
    let body = Bytes::from_static(b"report!");
    let response = https.post(&format!("{URL}/"), "application/tlsrpt+gzip", body, Limits::default()).await.unwrap();
    assert_eq!(response.status, 200);
    let request = requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(request.starts_with("post / http/1.1\r\n") && request.ends_with("\r\n\r\nreport!"), "{request}");
    assert!(request.contains("content-type: application/tlsrpt+gzip\r\n"), "{request}");
    assert!(request.contains("content-length: 7\r\n"), "{request}");
}

#[tokio::test]
async fn limits() {
    let World { https, .. } = served().await;
    let limits = Limits { octets: 5000, ..Limits::default() };
    let response = https.get(&format!("{URL}/big"), limits).await.unwrap();
    assert_eq!((response.body.len(), response.cut), (5000, true));
    let exactly = Limits { octets: 6, ..Limits::default() };
    assert!(!https.get(&format!("{URL}/"), exactly).await.unwrap().cut);
    for path in ["/head", "/short", "/nonsense", "/nothing"] {
        let error = https.get(&format!("{URL}{path}"), Limits::default()).await.unwrap_err();
        assert!(matches!(error, HttpsError::Http(_)), "{path} {error}");
    }
    let brief = Limits { timeout: Duration::from_millis(100), ..Limits::default() };
    let error = https.get(&format!("{URL}/silent"), brief).await.unwrap_err();
    assert!(matches!(error, HttpsError::Timeout), "{error}");
}

#[tokio::test]
async fn certificates() {
    let authority = Authority::new("Root");
    for (shown, expected) in [
        (authority.issues("example.com", Dates::Now, &[]), Distrust::HostMismatch),
        (authority.issues("mta-sts.example.com", Dates::Past, &[]), Distrust::Expired),
        (Authority::new("Other").issues("mta-sts.example.com", Dates::Now, &[]), Distrust::NotTrusted),
    ] {
        let World { https, requests, .. } = world(Some(shown), &authority).await;
        let error = https.get(&format!("{URL}/"), Limits::default()).await.unwrap_err();
        assert!(matches!(error, HttpsError::Certificate(found) if found == expected), "{expected} {error}");
        assert!(requests.lock().unwrap().is_empty());
    }
    let World { https, .. } = world(None, &authority).await;
    let error = https.get(&format!("{URL}/"), Limits { timeout: Duration::from_secs(2), ..Limits::default() }).await;
    assert!(matches!(error, Err(HttpsError::Tls(_) | HttpsError::Timeout)), "{error:?}");
}

// rule 30
#[tokio::test]
async fn private_targets() {
    let World { mut https, address, .. } = served().await;
    for url in ["https://private.example/", "https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/"] {
        let error = https.get(url, Limits::default()).await.unwrap_err();
        assert!(matches!(error, HttpsError::Refused { .. }), "{url} {error}");
    }
    // What is refused is not connected to, what is allowed beside it is.
    let error = https.get("https://both.example/", Limits::default()).await.unwrap_err();
    assert!(matches!(error, HttpsError::Certificate(Distrust::HostMismatch)), "{error}");
    https.reach = Reach::default();
    let error = https.get(&format!("{URL}/"), Limits::default()).await.unwrap_err();
    let loopback = Special::Loopback;
    assert!(matches!(error, HttpsError::Refused { address: at, special } if at == address.ip() && special == loopback));
    for (url, expected) in
        [("https://none.example/", LookUpError::None), ("https://unknown.example/", LookUpError::Temporary)]
    {
        let error = https.get(url, Limits::default()).await.unwrap_err();
        assert!(matches!(error, HttpsError::LookUp(found) if found == expected), "{url}");
    }
}

#[tokio::test]
async fn clear_text_stays_at_home() {
    let World { mut https, address, .. } = world(None, &Authority::new("Root")).await;
    let response = https.get(&format!("http://{address}/"), Limits::default()).await.unwrap();
    assert_eq!(response.body, b"policy");
    https.reach = Reach::new(vec!["0.0.0.0/0".parse().unwrap()]);
    let error = https.get("http://192.0.2.1/", Limits::default()).await.unwrap_err();
    assert!(matches!(error, HttpsError::ClearText), "{error}");
}

#[tokio::test]
async fn policies_answer_questions() {
    let World { https, .. } = served().await;
    let nobody: IpAddr = "127.0.0.1".parse().unwrap();
    let settings = ResolverSettings { servers: vec![SocketAddr::new(nobody, 9)], ..ResolverSettings::default() };
    let answers = Answers::with_https(Resolver::new(settings).unwrap(), https);
    let ask = |domain: &str| Question::Policy { domain: domain.to_owned(), id: "1".into() };
    let policy = PolicyBody { octets: b"policy".to_vec(), media_type: Some("text/plain; charset=utf-8".into()) };
    assert_eq!(answers.answer(&ask("example.com")).await, Answer::Policy(Ok(policy)));
    assert_eq!(answers.answer(&ask("example.net")).await, Answer::Policy(Err(FetchError::Certificate)));
}
