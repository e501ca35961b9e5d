//! What the mail system says to a filter.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};

use crate::packet::put;
use crate::text::Reader;
use crate::{Options, Packet, PacketError, Text};

/// A command (`SMFIC_*`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// `O`: what the mail system offers.
    Negotiate(Options),
    /// `D`: names and values of macros for the command whose code is given.
    Macros(u8, Vec<(Text, Text)>),
    /// `C`: who connected.
    Connect(Connection),
    /// `H`: HELO or EHLO and its argument.
    Hello(Text),
    /// `M`: MAIL.
    Mail(Envelope),
    /// `R`: RCPT.
    Recipient(Envelope),
    /// `T`: DATA.
    Data,
    /// `U`: a command that is not known, as it came.
    Unknown(Text),
    /// `L`: a header field.
    Header {
        /// Its name.
        name: Text,
        /// Its value, lines parted by LF.
        value: Text,
    },
    /// `N`: the header ends.
    EndOfHeader,
    /// `B`: a piece of the body, at most [`crate::DATA_OCTETS`].
    Body(Bytes),
    /// `E`: the message ends, perhaps with a last piece of the body.
    End(Bytes),
    /// `A`: the message is given up, the connection stays.
    Abort,
    /// `Q`: the connection ends.
    Quit,
    /// `K`: the SMTP connection ends, another follows on this one.
    NextConnection,
}

/// Who connected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// The name of the client, or its address in brackets.
    pub name: Text,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a connection comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// `U`: it is not known.
    Unknown,
    /// `L`: a Unix socket of this path.
    Local(Text),
    /// `4`: an IPv4 address and its port.
    V4(Ipv4Addr, u16),
    /// `6`: an IPv6 address and its port.
    V6(Ipv6Addr, u16),
}

/// A path and what stands behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The path with its angle brackets.
    pub path: Text,
    /// The parameters, `KEYWORD=value` each.
    pub parameters: Vec<Text>,
}

impl Command {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Negotiate(_) => b'O',
            Self::Macros(..) => b'D',
            Self::Connect(_) => b'C',
            Self::Hello(_) => b'H',
            Self::Mail(_) => b'M',
            Self::Recipient(_) => b'R',
            Self::Data => b'T',
            Self::Unknown(_) => b'U',
            Self::Header { .. } => b'L',
            Self::EndOfHeader => b'N',
            Self::Body(_) => b'B',
            Self::End(_) => b'E',
            Self::Abort => b'A',
            Self::Quit => b'Q',
            Self::NextConnection => b'K',
        }
    }

    /// Writes it as a packet.
    pub fn encode(&self, out: &mut BytesMut) {
        put(self.code(), out, |out| match self {
            Self::Negotiate(options) => options.put(out),
            Self::Macros(code, macros) => {
                out.extend_from_slice(&[*code]);
                for (name, value) in macros {
                    name.put(out);
                    value.put(out);
                }
            }
            Self::Connect(connection) => connection.put(out),
            Self::Hello(text) | Self::Unknown(text) => text.put(out),
            Self::Mail(envelope) | Self::Recipient(envelope) => envelope.put(out),
            Self::Header { name, value } => {
                name.put(out);
                value.put(out);
            }
            Self::Body(octets) | Self::End(octets) => out.extend_from_slice(octets),
            Self::Data | Self::EndOfHeader | Self::Abort | Self::Quit | Self::NextConnection => {}
        });
    }

    /// Reads a packet, as a filter does.
    ///
    /// # Errors
    /// The packet is no command.
    pub fn parse(packet: &Packet) -> Result<Self, PacketError> {
        let mut reader = Reader::new(packet.code, packet.data.clone());
        Ok(match packet.code {
            b'O' => Self::Negotiate(Options::read(&mut reader)?),
            b'D' => {
                let code = reader.octet("the code of a command")?;
                let mut macros = Vec::new();
                while !reader.is_empty() {
                    let name = reader.text("a name")?;
                    macros.push((name, reader.text("a value")?));
                }
                Self::Macros(code, macros)
            }
            b'C' => Self::Connect(Connection::read(&mut reader)?),
            b'H' => Self::Hello(reader.text("a name")?),
            b'M' => Self::Mail(Envelope::read(&mut reader)?),
            b'R' => Self::Recipient(Envelope::read(&mut reader)?),
            b'T' => Self::Data,
            b'U' => Self::Unknown(reader.text("a command")?),
            b'L' => Self::Header { name: reader.text("a name")?, value: reader.text("a value")? },
            b'N' => Self::EndOfHeader,
            b'B' => Self::Body(reader.rest()),
            b'E' => Self::End(reader.rest()),
            b'A' => Self::Abort,
            b'Q' => Self::Quit,
            b'K' => Self::NextConnection,
            code => return Err(PacketError::UnknownCode { code }),
        })
    }
}

impl Connection {
    fn put(&self, out: &mut BytesMut) {
        self.name.put(out);
        let (family, port, address) = match &self.origin {
            Origin::Unknown => {
                out.extend_from_slice(b"U");
                return;
            }
            Origin::Local(path) => (b'L', 0, path.clone()),
            Origin::V4(address, port) => (b'4', *port, address.to_string().into()),
            Origin::V6(address, port) => (b'6', *port, address.to_string().into()),
        };
        out.extend_from_slice(&[family]);
        out.extend_from_slice(&port.to_be_bytes());
        address.put(out);
    }

    fn read(reader: &mut Reader) -> Result<Self, PacketError> {
        let name = reader.text("a name")?;
        let family = reader.octet("a family")?;
        if family == b'U' {
            return Ok(Self { name, origin: Origin::Unknown });
        }
        let port = reader.u16("a port")?;
        let address = reader.text("an address")?;
        let text = address.to_string_lossy();
        let origin = match family {
            b'L' => Origin::Local(address),
            b'4' => Origin::V4(text.parse().map_err(|_| reader.wrong("an IPv4 address"))?, port),
            b'6' => {
                // Sendmail writes the tag of an address literal in front.
                let bare = text.strip_prefix("IPv6:").unwrap_or(&text);
                Origin::V6(bare.parse().map_err(|_| reader.wrong("an IPv6 address"))?, port)
            }
            _ => return Err(reader.wrong("a family")),
        };
        Ok(Self { name, origin })
    }
}

impl Envelope {
    fn put(&self, out: &mut BytesMut) {
        self.path.put(out);
        for parameter in &self.parameters {
            parameter.put(out);
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, PacketError> {
        Ok(Self { path: reader.text("a path")?, parameters: reader.texts() })
    }
}
