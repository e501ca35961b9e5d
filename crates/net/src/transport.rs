//! Octets over a socket, in clear or through TLS, without a buffer that outlives its use.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig, ServerConnection};
use wire::TlsFacts;

use crate::socket::{NonBlocking, Socket};

/// Octets asked of the socket at once.
const READ: usize = 16 << 10;

/// Which side of TLS we are.
#[derive(Clone, Debug)]
pub enum TlsRole {
    /// The server's.
    Server(Arc<ServerConfig>),
    /// The client's, and the name its server must prove.
    Client(Arc<ClientConfig>, ServerName<'static>),
}

/// A socket with or without TLS.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) socket: Socket,
    tls: Option<Box<Connection>>,
}

impl Transport {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what is there onto the end of `input`: the octets read, 0 at the end, `WouldBlock` if there is nothing.
    pub(crate) fn try_read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        let before = input.len();
        input.resize(before + READ, 0);
        let done = match &mut self.tls {
            None => self.socket.try_read(&mut input[before..]),
            Some(tls) => read_tls(tls, &self.socket, &mut input[before..]),
        };
        input.truncate(before + done.as_ref().copied().unwrap_or(0));
        done
    }

    /// Whether decrypted octets are at hand although the socket may be silent.
    pub(crate) fn has_plaintext(&mut self) -> bool {
        self.tls
            .as_mut()
            .is_some_and(|tls| tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0))
    }

    /// Writes all of `out`, whose buffer is empty afterwards; each step of it within `stall`.
    pub(crate) async fn flush(&mut self, out: &mut BytesMut, stall: Duration) -> io::Result<()> {
        while !out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            match self.try_write(out) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match tokio::time::timeout(stall, self.socket.writable()).await {
                        Ok(ready) => ready?,
                        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        *out = BytesMut::new();
        Ok(())
    }

    fn try_write(&mut self, out: &mut BytesMut) -> io::Result<()> {
        match &mut self.tls {
            None => {
                let written = self.socket.try_write(out)?;
                out.advance(written);
            }
            Some(tls) => {
                if !out.is_empty() {
                    let taken = tls.writer().write(out)?;
                    out.advance(taken);
                }
                while tls.wants_write() {
                    tls.write_tls(&mut NonBlocking(&self.socket))?;
                }
            }
        }
        Ok(())
    }

    /// Makes the handshake, within `limit`.
    pub(crate) async fn handshake(&mut self, role: &TlsRole, limit: Duration) -> io::Result<TlsFacts> {
        let mut tls = match role {
            TlsRole::Server(config) => ServerConnection::new(Arc::clone(config)).map(Connection::from),
            TlsRole::Client(config, name) => {
                ClientConnection::new(Arc::clone(config), name.clone()).map(Connection::from)
            }
        }
        .map_err(io::Error::other)?;
        // What the session holds back is bounded by the driver, so the library need not bound it again.
        tls.set_buffer_limit(Some(64 << 10));
        let done = tokio::time::timeout(limit, handshake(&mut tls, &self.socket)).await;
        match done {
            Ok(result) => result?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        let facts = facts(&tls);
        self.tls = Some(Box::new(tls));
        Ok(facts)
    }

    /// Ends the sending side: TLS says so first, as RFC 8446 §6.1 asks.
    pub(crate) async fn close(&mut self, stall: Duration) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush(&mut BytesMut::new(), stall).await?;
        }
        self.socket.shutdown().await
    }
}

fn read_tls(tls: &mut Connection, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Ok(octets) => return Ok(octets),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A peer that closes without saying so is at its end all the same: no protocol here takes the end of the
            // stream for the end of something.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        }
        if tls.read_tls(&mut NonBlocking(socket))? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
}

async fn handshake(tls: &mut Connection, socket: &Socket) -> io::Result<()> {
    loop {
        while tls.wants_write() {
            match tls.write_tls(&mut NonBlocking(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                Err(error) => return Err(error),
            }
        }
        if !tls.is_handshaking() {
            return Ok(());
        }
        match tls.read_tls(&mut NonBlocking(socket)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                if let Err(error) = tls.process_new_packets() {
                    // The alert tells the peer why; whether it arrives changes nothing.
                    let _ = tls.write_tls(&mut NonBlocking(socket));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) => return Err(error),
        }
    }
}

fn facts(tls: &Connection) -> TlsFacts {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS1.2",
        _ => "",
    };
    // RFC 9266 §2: the binding of TLS 1.3; earlier versions would need the extended master secret.
    let exporter = if version == "TLS1.3" {
        tls.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
    } else {
        None
    };
    let server_name = match tls {
        Connection::Server(server) => server.server_name().map(str::to_ascii_lowercase),
        Connection::Client(_) => None,
    };
    TlsFacts {
        version: version.to_owned(),
        cipher: tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        server_name,
        exporter,
        client_names: Vec::new(),
    }
}
