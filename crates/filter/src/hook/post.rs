//! HTTP/1.1 POST to a process of this machine, and the room for one that reaches further.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Posts a JSON document and brings back the answer.
#[async_trait]
pub trait Post: Send + Sync {
    /// Posts `document` to `url`: the status, and a body of at most `most` octets. The caller limits the time, and drops
    /// the future when it is up.
    ///
    /// # Errors
    /// There is no answer, or a longer one; why, in words.
    async fn post(&self, url: &str, document: Bytes, most: usize) -> Result<(u16, Bytes), String>;
}

/// Octets of the head of an answer, at most.
const ANSWER_HEAD: usize = 16 << 10;

/// `http` to loopback addresses, a connection for each document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loopback;

/// What a URL of a hook begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Loopback,
    Https,
}

/// What kind of URL it is; `None`: one that is not allowed.
pub(crate) fn scheme(url: &str) -> Option<Scheme> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    match uri.scheme_str()? {
        "http" => loopback(&uri).map(|_| Scheme::Loopback),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

/// The addresses of an `http` URL of this machine (rule 30): a literal or `localhost`, never a name to be looked up.
fn loopback(uri: &Uri) -> Option<Vec<SocketAddr>> {
    let host = uri.host()?;
    let port = uri.port_u16().unwrap_or(80);
    let addresses: Vec<IpAddr> = if host.eq_ignore_ascii_case("localhost") {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        vec![bare.parse::<IpAddr>().ok().filter(|address| address.to_canonical().is_loopback())?]
    };
    Some(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

#[async_trait]
impl Post for Loopback {
    async fn post(&self, url: &str, document: Bytes, most: usize) -> Result<(u16, Bytes), String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        let addresses = loopback(&uri).ok_or_else(|| "not a loopback address".to_owned())?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| format!("not reachable: {error}"))?;
        let words = |error: hyper::Error| format!("no answer that is HTTP: {error}");
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(ANSWER_HEAD).handshake(TokioIo::new(stream)).await.map_err(words)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(HOST, uri.authority().map_or("localhost", |authority| authority.as_str()))
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("mailwright/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(document))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(words)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), most).collect().await;
            let body = body.map_err(|error| format!("no whole answer: {error}"))?;
            Ok((status, body.to_bytes()))
        };
        // Both in this future: dropping it closes the connection.
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => return done,
            ended = connection => ended.map_err(words)?,
        }
        // The connection is over, and what it had is with the exchange.
        exchange.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let table = [
            ("http://127.0.0.1:8080/policy", Some(Scheme::Loopback)),
            ("http://127.9.9.9/", Some(Scheme::Loopback)),
            ("http://[::1]:8080/policy?x=1", Some(Scheme::Loopback)),
            ("http://[::ffff:127.0.0.1]/", Some(Scheme::Loopback)),
            ("http://localhost:1", Some(Scheme::Loopback)),
            ("https://policy.example/x", Some(Scheme::Https)),
            // rule 30
            ("http://policy.example/x", None),
            ("http://localhost.example/", None),
            ("http://192.0.2.1/", None),
            ("http://10.0.0.1/", None),
            ("http://169.254.169.254/", None),
            ("http://user:secret@127.0.0.1/", None),
            ("http://127.0.0.1@example.org/", None),
            ("ftp://127.0.0.1/", None),
            ("/policy", None),
            ("", None),
        ];
        for (url, expected) in table {
            assert_eq!(scheme(url), expected, "{url}");
        }
    }
}
