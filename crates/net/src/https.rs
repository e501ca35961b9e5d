//! A small HTTP client: one request, one answer, no redirects (RFC 9110, RFC 9112).
//!
//! For MTA-STS policies (RFC 8461 §3.3), TLS reports (RFC 8460 §3) and hooks. The certificate is verified for the host of
//! the address, always; `http` is for this machine alone. Hosts in networks of our own are refused unless they are listed
//! (rule 30), after their names are resolved, and what was resolved is what is connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use routing::reach::{Reach, Special};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{ClientTls, DialError, Dialling, Distrust, Socket, dial, is_loopback};

/// Finds the addresses of a host.
#[async_trait]
pub trait LookUp: Send + Sync {
    /// The addresses of a host, in the order to try them, with the port to connect to: the given one, except in tests.
    ///
    /// # Errors
    /// There is none, or nobody knows.
    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookUpError>;
}

/// Why a host has no addresses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum LookUpError {
    /// It has none.
    #[error("host has no address")]
    None,
    /// Nobody knows, at present.
    #[error("addresses of the host cannot be found at present")]
    Temporary,
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of the answer's body that are kept; beyond them it is [`Response::cut`]. Default 64 KiB (RFC 8461 §3.3).
    pub octets: usize,
    /// How long all of it may take. Default 60 s (RFC 8461 §3.3).
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets: 64 << 10, timeout: Duration::from_secs(60) }
    }
}

/// What a server answered, whatever its status. Redirects are answers like any other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The status code (RFC 9110 §15).
    pub status: u16,
    /// The field Content-Type, as it came.
    pub media_type: Option<String>,
    /// The body, at most [`Limits::octets`] of it.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Not an `https` URL, nor an `http` one of this machine; or one with a user name.
    #[error("not an https URL")]
    Url,
    /// The host's addresses are not known.
    #[error(transparent)]
    LookUp(#[from] LookUpError),
    /// All addresses of the host are refused; the first one, and what it is (rule 30).
    #[error("{address} is {special} and not listed in private_targets")]
    Refused {
        /// The address.
        address: IpAddr,
        /// What it is.
        special: Special,
    },
    /// `http` to another machine.
    #[error("http is for this machine alone")]
    ClearText,
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The certificate does not show that the server is the host.
    #[error(transparent)]
    Certificate(Distrust),
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Not done in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("no answer that is HTTP: {0}")]
    Http(String),
}

/// The client. Cloning shares what it is made of.
#[derive(Clone)]
pub struct Https {
    /// How connections are made.
    pub dialling: Dialling,
    /// Which addresses may be connected to.
    pub reach: Reach,
    tls: ClientTls,
    look_up: Arc<dyn LookUp>,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("dialling", &self.dialling).field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Https {
    /// A client that trusts whom `tls` trusts and connects to public addresses and those that `reach` allows.
    #[must_use]
    pub fn new(tls: ClientTls, look_up: Arc<dyn LookUp>, reach: Reach) -> Self {
        Self { dialling: Dialling::default(), reach, tls, look_up }
    }

    /// Asks for what is at `url`.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, url: &str, limits: Limits) -> Result<Response, HttpsError> {
        self.request(Method::GET, url, None, limits).await
    }

    /// Sends `body` to `url`.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Bytes,
        limits: Limits,
    ) -> Result<Response, HttpsError> {
        self.request(Method::POST, url, Some((content_type, body)), limits).await
    }

    async fn request(
        &self,
        method: Method,
        url: &str,
        content: Option<(&str, Bytes)>,
        limits: Limits,
    ) -> Result<Response, HttpsError> {
        let target = Target::of(url)?;
        let request = target.request(method, content)?;
        let exchange = async {
            let stream = self.connect(&target).await?;
            if !target.tls {
                return exchange(stream, request, limits.octets).await;
            }
            let handshake = self
                .tls
                .verified(std::slice::from_ref(&target.host))
                .map_err(|error| HttpsError::Tls(error.to_string()))?;
            let (config, server) = handshake.config();
            match TlsConnector::from(config).connect(server, stream).await {
                Ok(stream) => exchange(stream, request, limits.octets).await,
                Err(error) => Err(match handshake.verdict() {
                    Some(Err(distrust)) => HttpsError::Certificate(distrust),
                    _ => HttpsError::Tls(error.to_string()),
                }),
            }
        };
        timeout(limits.timeout, exchange).await.unwrap_or(Err(HttpsError::Timeout))
    }

    async fn connect(&self, target: &Target) -> Result<TcpStream, HttpsError> {
        let found = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_) => self.look_up.look_up(&target.host, target.port).await?,
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for one in found {
            match self.reach.check(one.ip()) {
                Ok(()) if target.tls || is_loopback(one.ip()) => allowed.push(one),
                Ok(()) => refused = refused.or(Some(HttpsError::ClearText)),
                Err(special) => refused = refused.or(Some(HttpsError::Refused { address: one.ip(), special })),
            }
        }
        if allowed.is_empty() {
            return Err(refused.unwrap_or(HttpsError::LookUp(LookUpError::None)));
        }
        match dial(&allowed, &self.dialling).await? {
            (Socket::Tcp(stream), _) => Ok(stream),
            (Socket::Unix(_), _) => Err(HttpsError::Url),
        }
    }
}

/// Where a URL leads.
#[derive(Debug, Eq, PartialEq)]
struct Target {
    tls: bool,
    /// A-labels in lower case without final dot, or an address without brackets.
    host: String,
    port: u16,
    /// As the URL has it, for the field Host.
    authority: String,
    path: String,
}

impl Target {
    fn of(url: &str) -> Result<Self, HttpsError> {
        let uri: Uri = url.parse().map_err(|_| HttpsError::Url)?;
        let (tls, usual) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(HttpsError::Url),
        };
        let authority = uri.authority().ok_or(HttpsError::Url)?;
        if authority.as_str().contains('@') {
            return Err(HttpsError::Url);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let host = host.strip_suffix('.').map(str::to_owned).unwrap_or(host);
        if host.is_empty() {
            return Err(HttpsError::Url);
        }
        let port = authority.port_u16().unwrap_or(usual);
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    fn request(&self, method: Method, content: Option<(&str, Bytes)>) -> Result<Request<Full<Bytes>>, HttpsError> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("Mailwright/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header(CONNECTION, "close");
        let body = match content {
            Some((media_type, body)) => {
                request = request.header(CONTENT_TYPE, media_type);
                body
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(|error| HttpsError::Http(error.to_string()))
    }
}

/// One request and its answer over a stream. Bounded in time by the caller.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, most: usize) -> Result<Response, HttpsError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wrong = |error: hyper::Error| HttpsError::Http(error.to_string());
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(wrong)?;
        let status = response.status().as_u16();
        let media_type = response.headers().get(CONTENT_TYPE);
        let media_type = media_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut answer = Response { status, media_type, body: Vec::new(), cut: false };
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(octets) = frame.map_err(wrong)?.into_data() {
                let room = most - answer.body.len();
                answer.cut = octets.len() > room;
                answer.body.extend_from_slice(&octets[..octets.len().min(room)]);
                if answer.cut {
                    break;
                }
            }
        }
        Ok(answer)
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // What is wrong with the connection the answer tells, too.
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Octets that a status line with its fields may have, and that are read at once.
const HEAD: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let table = [
            ("https://mta-sts.Example.COM/.well-known/mta-sts.txt", true, "mta-sts.example.com", 443),
            ("https://example.com.:8443/?a=b", true, "example.com", 8443),
            ("http://127.0.0.1:8080/hook", false, "127.0.0.1", 8080),
            ("https://[::1]:1/", true, "::1", 1),
        ];
        for (url, tls, host, port) in table {
            let target = Target::of(url).unwrap();
            assert_eq!((target.tls, target.host.as_str(), target.port), (tls, host, port), "{url}");
        }
        for url in ["", "/path", "ftp://a/", "https://user@a/", "https:///", "mailto:a@b", "https://"] {
            assert!(matches!(Target::of(url), Err(HttpsError::Url)), "{url}");
        }
    }
}
