//! An HTTPS host for tests: policies that are fetched, reports that are posted.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Certified;

/// A request that was heard.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method and the path.
    pub line: String,
    /// The fields, names in lower case.
    pub fields: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A host that lives as long as the test.
#[derive(Debug)]
pub struct Https {
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Https {
    /// Listens on port 443 of an address of loopback, shows this certificate, and answers with the pages, other
    /// POST with 200, and all else with 404.
    #[must_use]
    pub fn serve(address: IpAddr, certified: &Certified, pages: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(address, 443)).unwrap();
        let pages: HashMap<String, String> =
            pages.iter().map(|(path, page)| ((*path).to_owned(), (*page).to_owned())).collect();
        let (heard, config) = (Arc::<Mutex<Vec<Request>>>::default(), certified.server());
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Clients who do not like the certificate go away.
                let _ = answer(stream, Arc::clone(&config), &pages, &kept);
            }
        });
        Self { heard }
    }

    /// What was asked so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Request> {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    pages: &HashMap<String, String>,
    heard: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut fields = HashMap::new();
    loop {
        let mut field = String::new();
        stream.read_line(&mut field)?;
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, page) = match pages.get(path) {
        Some(page) => ("200 OK", page.as_str()),
        _ if method == "POST" => ("200 OK", ""),
        _ => ("404 Not Found", ""),
    };
    heard.lock().unwrap().push(Request { line: format!("{method} {path}"), fields, body });
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{page}", page.len())?;
    stream.conn.send_close_notify();
    stream.flush()
}
