//! `XCLIENT`: what a trusted client, a proxy or a filter, says of the client behind it. Postfix's extension, as its
//! XCLIENT_README describes it.
//!
//! `xclient-command = "XCLIENT" 1*( SP attribute-name "=" attribute-value )`; values are xtext.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::command::{Argument, HelloName};
use crate::parameter::Xtext;

/// A value that may be missing for a reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attribute<T> {
    /// This one.
    Known(T),
    /// `[UNAVAILABLE]`: there is none.
    Unavailable,
    /// `[TEMPUNAVAIL]`: it could not be found out now.
    TemporarilyUnavailable,
}

impl<T> Attribute<T> {
    /// The value, if there is one.
    #[must_use]
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unavailable | Self::TemporarilyUnavailable => None,
        }
    }
}

/// What XCLIENT overrides; `None` leaves it as it was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientFacts {
    /// `NAME`: the client's host name, from its address.
    pub name: Option<Attribute<HelloName>>,
    /// `ADDR`: its address; IPv4-mapped addresses are IPv4 (rule 12).
    pub address: Option<Attribute<IpAddr>>,
    /// `PORT`: its port.
    pub port: Option<Attribute<u16>>,
    /// `PROTO`: whether it said EHLO (`ESMTP`), not HELO (`SMTP`).
    pub extended: Option<bool>,
    /// `HELO`: what it called itself.
    pub hello: Option<Attribute<HelloName>>,
    /// `LOGIN`: whom it logged in as.
    pub login: Option<Attribute<Argument>>,
    /// `DESTADDR`: our address, as the client saw it.
    pub destination_address: Option<Attribute<IpAddr>>,
    /// `DESTPORT`: our port, as the client saw it.
    pub destination_port: Option<Attribute<u16>>,
}

/// The attributes, as EHLO announces them.
pub(crate) const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

impl ClientFacts {
    /// One more attribute; `None` if it is not known, was there before, or has no such value.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> Option<()> {
        let text = String::from_utf8(Xtext::from_wire(value)?.decode()).ok()?;
        let text = text.as_str();
        match name.to_ascii_uppercase().as_str() {
            "NAME" => once(&mut self.name, attribute(text, |text| HelloName::try_from(text).ok())?),
            "ADDR" => once(&mut self.address, attribute(text, address)?),
            "PORT" => once(&mut self.port, attribute(text, port)?),
            "PROTO" if text.eq_ignore_ascii_case("SMTP") => once(&mut self.extended, false),
            "PROTO" if text.eq_ignore_ascii_case("ESMTP") => once(&mut self.extended, true),
            "HELO" => once(&mut self.hello, attribute(text, |text| HelloName::try_from(text).ok())?),
            "LOGIN" => once(&mut self.login, attribute(text, |text| Argument::try_from(text).ok())?),
            "DESTADDR" => once(&mut self.destination_address, attribute(text, address)?),
            "DESTPORT" => once(&mut self.destination_port, attribute(text, port)?),
            _ => None,
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

fn attribute<T>(text: &str, known: impl FnOnce(&str) -> Option<T>) -> Option<Attribute<T>> {
    if text.eq_ignore_ascii_case(UNAVAILABLE) {
        Some(Attribute::Unavailable)
    } else if text.eq_ignore_ascii_case(TEMPORARILY_UNAVAILABLE) {
        Some(Attribute::TemporarilyUnavailable)
    } else {
        known(text).map(Attribute::Known)
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => text.get(5..)?.parse::<Ipv6Addr>().ok()?.into(),
        _ => text.parse::<Ipv4Addr>().ok()?.into(),
    };
    Some(address.to_canonical())
}

fn port(text: &str) -> Option<u16> {
    let plain = (1..=5).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

const UNAVAILABLE: &str = "[UNAVAILABLE]";
const TEMPORARILY_UNAVAILABLE: &str = "[TEMPUNAVAIL]";

impl fmt::Display for ClientFacts {
    /// Each with a space before it, as it follows the verb.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put(f, "NAME", self.name.as_ref(), ToString::to_string)?;
        put(f, "ADDR", self.address.as_ref(), printed)?;
        put(f, "PORT", self.port.as_ref(), ToString::to_string)?;
        match self.extended {
            Some(true) => f.write_str(" PROTO=ESMTP")?,
            Some(false) => f.write_str(" PROTO=SMTP")?,
            None => {}
        }
        put(f, "HELO", self.hello.as_ref(), ToString::to_string)?;
        put(f, "LOGIN", self.login.as_ref(), ToString::to_string)?;
        put(f, "DESTADDR", self.destination_address.as_ref(), printed)?;
        put(f, "DESTPORT", self.destination_port.as_ref(), ToString::to_string)
    }
}

fn printed(address: &IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

fn put<T>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: Option<&Attribute<T>>,
    print: impl FnOnce(&T) -> String,
) -> fmt::Result {
    match value {
        None => Ok(()),
        Some(Attribute::Unavailable) => write!(f, " {name}={UNAVAILABLE}"),
        Some(Attribute::TemporarilyUnavailable) => write!(f, " {name}={TEMPORARILY_UNAVAILABLE}"),
        Some(Attribute::Known(value)) => write!(f, " {name}={}", Xtext::encode(print(value).as_bytes()).as_str()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Command, Leniency};

    #[test]
    fn attributes() {
        for (line, printed) in [
            // XCLIENT_README, the example; the bare `spike.porcupine.org` forms of it too.
            (
                "XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2",
                Some("XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2"),
            ),
            ("XCLIENT PROTO=SMTP HELO=client.example", Some("XCLIENT PROTO=SMTP HELO=client.example")),
            ("xclient addr=[UNAVAILABLE]  name=[tempunavail]", Some("XCLIENT NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]")),
            ("XCLIENT ADDR=ipv6:::1 PORT=65535", Some("XCLIENT ADDR=IPV6:::1 PORT=65535")),
            ("XCLIENT ADDR=IPV6:::ffff:192.0.2.1", Some("XCLIENT ADDR=192.0.2.1")),
            ("XCLIENT LOGIN=ann+2Bx@b.example PROTO=esmtp", Some("XCLIENT PROTO=ESMTP LOGIN=ann+2Bx@b.example")),
            ("XCLIENT DESTADDR=192.0.2.1 DESTPORT=25", Some("XCLIENT DESTADDR=192.0.2.1 DESTPORT=25")),
            ("XCLIENT HELO=j+C3+BC.example", Some("XCLIENT HELO=j+C3+BC.example")),
            ("XCLIENT", None),
            ("XCLIENT NAME", None),
            ("XCLIENT NAME=", None),
            ("XCLIENT NAME=a NAME=b", None),
            ("XCLIENT COLOUR=red", None),
            ("XCLIENT ADDR=::1", None),
            ("XCLIENT ADDR=IPV6:192.0.2.1", None),
            ("XCLIENT ADDR=192.0.2", None),
            ("XCLIENT PORT=65536", None),
            ("XCLIENT PORT=+25", None),
            ("XCLIENT PROTO=HTTP", None),
            ("XCLIENT HELO=a+0D+0Ab", None),
            ("XCLIENT HELO=+FF", None),
            ("XCLIENT LOGIN=+20a", None),
        ] {
            let parsed = Command::parse(line.as_bytes(), &Leniency::strict());
            let found = parsed.map(|command| {
                let mut out = bytes::BytesMut::new();
                command.encode(&mut out);
                String::from_utf8_lossy(&out).trim_end().to_owned()
            });
            assert_eq!(found.as_deref().ok(), printed, "{line}: {found:?}");
        }
    }
}
