//! An SMTP sink in under 60 lines: it takes every message, says how long it was, and keeps nothing.
//!
//! ```text
//! cargo run -p mailwright-examples --example smtp_sink -- 127.0.0.1:2525
//! ```

use std::sync::Arc;
use std::time::Instant;

use net::{Application, Driving, drive};
use smtp::server::{Config, Event, Mode, Server, Told};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener).await
}

/// Serves each connection in a task of its own.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let config = Arc::new(Config::new(Mode::Smtp, "sink.example"));
    loop {
        let (stream, _) = listener.accept().await?;
        let session = Server::new(Arc::clone(&config), Instant::now());
        tokio::spawn(drive(stream.into(), session, Sink::default(), Driving::undrained()));
    }
}

/// Decides for one connection: yes to everything.
#[derive(Default)]
pub(crate) struct Sink {
    sender: String,
}

impl Application for Sink {
    type Session = Server;

    async fn on_event(&mut self, event: Event) -> Option<Told> {
        match event {
            Event::Mail(mail) => self.sender = mail.reverse_path.to_string(),
            Event::ContentEnd { octets } => println!("{octets} octets from {}", self.sender),
            // These ask nothing.
            Event::Secured(_) | Event::AuthenticateCancelled | Event::Reset | Event::Closed(_) => return None,
            _ => {}
        }
        Some(Told::Accept)
    }
}
