//! What the spool keeps of an envelope beside its paths, as values and as octets.
//!
//! The store keeps three opaque values: `parameters` of the entry ([`Envelope`]), `parameters` of a recipient
//! ([`RecipientEnvelope`]) and `last` of a recipient ([`LastAttempt`]). Their first octet is a version; an unknown
//! version or field is refused, never guessed: an older daemon must not send what it does not understand. No octets at
//! all are the default value.

mod codec;

use std::net::IpAddr;

use address::Mailbox;
use jiff::Timestamp;

use self::codec::{Writer, fields};

/// Why octets are no such value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Written by a version that is not known here.
    #[error("version {found} is not known")]
    Version {
        /// The version.
        found: u8,
    },
    /// A field that is not known here.
    #[error("field {tag} is not known")]
    Field {
        /// Its tag.
        tag: u8,
    },
    /// The value of a field is none.
    #[error("field {tag} has no such value")]
    Value {
        /// Its tag.
        tag: u8,
    },
    /// The octets end too early.
    #[error("cut off")]
    Cut,
    /// More octets than a record has.
    #[error("longer than {limit} octets")]
    TooLong {
        /// How many it may have.
        limit: usize,
    },
}

/// What is kept of a message's envelope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Envelope {
    /// The parameters of MAIL as on the wire, each with a space before it: ` BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x`.
    /// At most [`PARAMETER_OCTETS`].
    pub mail: String,
    /// What the sender demands of TLS.
    pub require_tls: RequireTls,
    /// MT-PRIORITY (RFC 6710 §3), -9 to 9.
    pub priority: i8,
    /// The sender's deadline.
    pub deliver_by: Option<DeliverBy>,
    /// Not to be sent before (RFC 4865).
    pub hold_until: Option<Timestamp>,
    /// Whose message it is, if it was submitted by an account; the sender is authenticated then (rule 36).
    pub account: Option<i64>,
    /// Where it came from, for Received-From-MTA and for rates: a host name or an address. At most [`NAME_OCTETS`].
    pub client: Option<String>,
    /// It is a report of our own: never reported on again, double bounces go to the postmaster (rule 36).
    pub bounce: bool,
}

/// What a sender demands of TLS (RFC 8689).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RequireTls {
    /// Nothing: the policy decides.
    #[default]
    No,
    /// REQUIRETLS: verified TLS to a server that offers REQUIRETLS, or a failure (RFC 8689 §4.2.1).
    Yes,
    /// `TLS-Required: no`: delivery matters more than any policy (RFC 8689 §3).
    Ignore,
}

/// The deadline that a sender set (RFC 2852).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliverBy {
    /// When.
    pub by: Timestamp,
    /// What then.
    pub mode: DeliverByMode,
    /// Whether relaying is reported (`T`).
    pub trace: bool,
}

/// What follows when a deadline passes (RFC 2852 §4.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliverByMode {
    /// `R`: the message is returned.
    Return,
    /// `N`: the sender is told, and delivery goes on.
    Notify,
}

/// What is kept of a recipient.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecipientEnvelope {
    /// The parameters of RCPT as on the wire, each with a space before it: ` NOTIFY=FAILURE ORCPT=rfc822;a@b.example`.
    /// At most [`PARAMETER_OCTETS`].
    pub rcpt: String,
    /// The address that the sender wrote, if an alias has led to another. At most [`NAME_OCTETS`].
    pub original: Option<String>,
    /// The sender was told of the delay.
    pub delay_told: bool,
}

/// What the last attempt said: what `mailctl queue show` prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastAttempt {
    /// When.
    pub at: Timestamp,
    /// What kind of end it had.
    pub kind: AttemptKind,
    /// The host's name, if it came so far. At most [`NAME_OCTETS`].
    pub host: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// How the connection was secured, in words (`TLSv1.3, verified by DANE`); `None` for clear text. At most
    /// [`NAME_OCTETS`].
    pub tls: Option<String>,
    /// How far it came: the command that was answered, `connect`, `EHLO`. At most [`NAME_OCTETS`].
    pub stage: String,
    /// The code of the reply, if there was one.
    pub code: Option<u16>,
    /// The text of the reply with its enhanced status code, or our own words. At most [`REPLY_OCTETS`], cut behind.
    pub text: String,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttemptKind {
    /// The other side answered.
    Reply,
    /// No route: the DNS or a policy.
    Route,
    /// No connection.
    Connect,
    /// No TLS where it must be.
    Tls,
    /// No answer in time.
    TimedOut,
    /// The connection ended in the midst.
    Closed,
    /// Trouble of our own.
    Own,
}

/// Octets of the parameters of MAIL, and of RCPT: the longest command line that is read.
pub const PARAMETER_OCTETS: usize = 4096;

/// Octets of a name, an address, a few words.
pub const NAME_OCTETS: usize = 1024;

/// Octets of a reply that are kept.
pub const REPLY_OCTETS: usize = 2048;

impl Envelope {
    /// A report's, whose content may be as the message's was.
    #[must_use]
    pub fn of_report() -> Self {
        Self { bounce: true, mail: " BODY=8BITMIME".into(), ..Self::default() }
    }

    /// As octets. Texts beyond their limit are cut: keep to the limits.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.text(1, &self.mail, PARAMETER_OCTETS);
        match self.require_tls {
            RequireTls::No => {}
            RequireTls::Yes => out.number(2, 1),
            RequireTls::Ignore => out.number(2, 2),
        }
        if self.priority != 0 {
            out.number(3, i64::from(self.priority));
        }
        if let Some(deliver_by) = self.deliver_by {
            out.time(4, deliver_by.by);
            out.flag(5, deliver_by.mode == DeliverByMode::Notify);
            out.flag(6, deliver_by.trace);
        }
        if let Some(hold_until) = self.hold_until {
            out.time(7, hold_until);
        }
        if let Some(account) = self.account {
            out.number(8, account);
        }
        out.option(9, self.client.as_deref(), NAME_OCTETS);
        out.flag(10, self.bounce);
        out.finish()
    }

    /// From octets.
    ///
    /// # Errors
    /// They are none, or were written by a version that is not known here.
    pub fn decode(octets: &[u8]) -> Result<Self, EnvelopeError> {
        let mut found = Self::default();
        fields(octets, |field| {
            match field.tag {
                1 => found.mail = field.text()?,
                2 => {
                    found.require_tls = match field.number()? {
                        1 => RequireTls::Yes,
                        2 => RequireTls::Ignore,
                        _ => return Err(field.wrong()),
                    }
                }
                3 => found.priority = field.small()?,
                4 => {
                    let by = field.time()?;
                    found.deliver_by = Some(DeliverBy { by, mode: DeliverByMode::Return, trace: false });
                }
                5 | 6 => {
                    let flag = field.flag()?;
                    let deliver_by = found.deliver_by.as_mut().ok_or(field.wrong())?;
                    match field.tag {
                        5 if flag => deliver_by.mode = DeliverByMode::Notify,
                        _ => deliver_by.trace = flag,
                    }
                }
                7 => found.hold_until = Some(field.time()?),
                8 => found.account = Some(field.number()?),
                9 => found.client = Some(field.text()?),
                10 => found.bounce = field.flag()?,
                _ => return Err(field.unknown()),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl RecipientEnvelope {
    /// The reader's of a report, which is never reported on (RFC 3461 §6.1); `original` if an alias of ours leads to the
    /// reader.
    #[must_use]
    pub fn of_report(original: Option<&Mailbox>) -> Self {
        Self { rcpt: " NOTIFY=NEVER".into(), original: original.map(ToString::to_string), ..Self::default() }
    }

    /// As octets. Texts beyond their limit are cut: keep to the limits.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.text(1, &self.rcpt, PARAMETER_OCTETS);
        out.option(2, self.original.as_deref(), NAME_OCTETS);
        out.flag(3, self.delay_told);
        out.finish()
    }

    /// From octets.
    ///
    /// # Errors
    /// They are none, or were written by a version that is not known here.
    pub fn decode(octets: &[u8]) -> Result<Self, EnvelopeError> {
        let mut found = Self::default();
        fields(octets, |field| {
            match field.tag {
                1 => found.rcpt = field.text()?,
                2 => found.original = Some(field.text()?),
                3 => found.delay_told = field.flag()?,
                _ => return Err(field.unknown()),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl LastAttempt {
    /// As octets. Texts beyond their limit are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.time(1, self.at);
        out.number(2, self.kind.number());
        out.option(3, self.host.as_deref(), NAME_OCTETS);
        match self.address {
            Some(IpAddr::V4(address)) => out.octets(4, &address.octets()),
            Some(IpAddr::V6(address)) => out.octets(4, &address.octets()),
            None => {}
        }
        out.option(5, self.tls.as_deref(), NAME_OCTETS);
        out.text(6, &self.stage, NAME_OCTETS);
        if let Some(code) = self.code {
            out.number(7, i64::from(code));
        }
        out.text(8, &self.text, REPLY_OCTETS);
        out.finish()
    }

    /// From octets; `None` if there are none: no attempt was made yet.
    ///
    /// # Errors
    /// They are none, or were written by a version that is not known here.
    pub fn decode(octets: &[u8]) -> Result<Option<Self>, EnvelopeError> {
        if octets.is_empty() {
            return Ok(None);
        }
        let mut found = Self {
            at: Timestamp::UNIX_EPOCH,
            kind: AttemptKind::Own,
            host: None,
            address: None,
            tls: None,
            stage: String::new(),
            code: None,
            text: String::new(),
        };
        fields(octets, |field| {
            match field.tag {
                1 => found.at = field.time()?,
                2 => found.kind = AttemptKind::of(field.number()?).ok_or(field.wrong())?,
                3 => found.host = Some(field.text()?),
                4 => found.address = Some(field.address()?),
                5 => found.tls = Some(field.text()?),
                6 => found.stage = field.text()?,
                7 => found.code = Some(field.small()?),
                8 => found.text = field.text()?,
                _ => return Err(field.unknown()),
            }
            Ok(())
        })?;
        Ok(Some(found))
    }
}

impl AttemptKind {
    const ALL: [Self; 7] =
        [Self::Reply, Self::Route, Self::Connect, Self::Tls, Self::TimedOut, Self::Closed, Self::Own];

    fn number(self) -> i64 {
        (0..).zip(Self::ALL).find(|(_, kind)| *kind == self).map_or(0, |(number, _)| number)
    }

    fn of(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        (-1_000_000_000_000_000_i64..4_000_000_000_000_000).prop_map(|at| Timestamp::from_microsecond(at).unwrap())
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let tls = prop::sample::select(vec![RequireTls::No, RequireTls::Yes, RequireTls::Ignore]);
        let mode = prop::sample::select(vec![DeliverByMode::Return, DeliverByMode::Notify]);
        let deliver_by =
            prop::option::of((time(), mode, any::<bool>()).prop_map(|(by, mode, trace)| DeliverBy { by, mode, trace }));
        let who = (any::<Option<i64>>(), prop::option::of("\\PC{0,40}"), any::<bool>());
        (" [ -~]{0,80}", tls, -9_i8..=9, deliver_by, prop::option::of(time()), who).prop_map(
            |(mail, require_tls, priority, deliver_by, hold_until, (account, client, bounce))| Envelope {
                mail,
                require_tls,
                priority,
                deliver_by,
                hold_until,
                account,
                client,
                bounce,
            },
        )
    }

    fn last() -> impl Strategy<Value = LastAttempt> {
        let kind = prop::sample::select(AttemptKind::ALL.to_vec());
        let place = (prop::option::of("\\PC{0,40}"), any::<Option<IpAddr>>(), prop::option::of("\\PC{0,40}"));
        (time(), kind, place, "[A-Za-z]{0,9}", any::<Option<u16>>(), "\\PC{0,200}").prop_map(
            |(at, kind, (host, address, tls), stage, code, text)| LastAttempt {
                at,
                kind,
                host,
                address,
                tls,
                stage,
                code,
                text,
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(envelope in envelope(), last in last(), rcpt in " [ -~]{0,80}", original in prop::option::of("\\PC{0,40}"), delay_told: bool) {
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
            let recipient = RecipientEnvelope { rcpt, original, delay_told };
            prop_assert_eq!(RecipientEnvelope::decode(&recipient.encode()), Ok(recipient));
            prop_assert_eq!(LastAttempt::decode(&last.encode()), Ok(Some(last)));
        }

        #[test]
        fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let octets = [&[1], &octets[..]].concat();
            if let Ok(found) = Envelope::decode(&octets) {
                prop_assert_eq!(Envelope::decode(&found.encode()), Ok(found));
            }
            let _ = (RecipientEnvelope::decode(&octets), LastAttempt::decode(&octets));
        }
    }

    #[test]
    fn small_and_strict() {
        assert_eq!(Envelope::default().encode(), [1]);
        assert_eq!(Envelope::decode(&[]), Ok(Envelope::default()));
        assert_eq!(LastAttempt::decode(&[]), Ok(None));
        for (octets, error) in [
            (&[2][..], EnvelopeError::Version { found: 2 }),
            (&[1, 99, 0], EnvelopeError::Field { tag: 99 }),
            (&[1, 1, 5, b'a'], EnvelopeError::Cut),
            (&[1, 1, 1, 0xFF], EnvelopeError::Value { tag: 1 }),
            (&[1, 5, 0], EnvelopeError::Value { tag: 5 }),
            (&[1, 3, 2, 0xFF, 0x7F], EnvelopeError::Value { tag: 3 }),
        ] {
            assert_eq!(Envelope::decode(octets), Err(error), "{octets:?}");
        }
        let long = RecipientEnvelope { rcpt: "\u{e9}".repeat(PARAMETER_OCTETS), ..RecipientEnvelope::default() };
        let found = RecipientEnvelope::decode(&long.encode()).unwrap();
        assert_eq!(found.rcpt.len(), PARAMETER_OCTETS);
    }
}
