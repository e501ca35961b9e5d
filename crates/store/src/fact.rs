//! What happened, as it is written to the segments for salvage.
//!
//! A record holds facts of one kind, one behind the other: a tag, then fields of fixed order; numbers little-endian,
//! strings and octets with their length as u32 in front. A tag that is not known ends the reading of its record.

use crate::segment::record::Kind;

macro_rules! facts {
    ($($(#[$doc:meta])* $tag:literal $kind:ident $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        /// One thing that happened.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Fact {
            $($(#[$doc])* $name { $($field: $type),* },)*
        }

        impl Fact {
            /// The kind of record that it belongs to.
            pub(crate) fn kind(&self) -> Kind {
                match self { $(Self::$name { .. } => Kind::$kind,)* }
            }

            /// Appends the fact.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($field),* } => {
                    out.push($tag);
                    $(Field::put($field, out);)*
                })* }
            }

            /// Takes a fact from the front.
            pub(crate) fn decode(input: &mut &[u8]) -> Option<Self> {
                let tag = <u8 as Field>::take(input)?;
                match tag {
                    $($tag => Some(Self::$name { $($field: <$type as Field>::take(input)?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

facts! {
    /// A message is in a mailbox.
    1 Placement Placed {
        content: i64, account: i64, mailbox: i64, uid: u32, mod_seq: u64, flags: u64, received: i64, zone: i64,
        saved: i64, thread: i64, prefix: Vec<u8>,
    }
    /// A message has other flags.
    2 Flags Flagged { mailbox: i64, uid: u32, mod_seq: u64, flags: u64 }
    /// A message is gone.
    3 Expunge Expunged { mailbox: i64, uid: u32, mod_seq: u64 }
    /// A domain is there, or changed.
    4 Catalogue Domain { name: String, catch_all: Option<String> }
    /// A domain is gone.
    5 Catalogue DomainGone { name: String }
    /// An account is there, or changed.
    6 Catalogue Account {
        id: i64, key: String, address: String, enabled: u8, quota: Option<u64>, created: i64, grants: Vec<String>,
        credentials: Vec<(String, Vec<u8>)>,
    }
    /// An account is gone, its mailboxes with it.
    7 Catalogue AccountGone { id: i64 }
    /// An alias is there, or changed.
    8 Catalogue Alias { key: String, targets: Vec<String> }
    /// An alias is gone.
    9 Catalogue AliasGone { key: String }
    /// A mailbox is there, or was renamed.
    10 Catalogue Mailbox { id: i64, account: i64, name: String, uid_validity: u32, special_use: Option<String> }
    /// A mailbox is gone.
    11 Catalogue MailboxGone { id: i64 }
    /// A mailbox has a keyword.
    12 Catalogue Keyword { mailbox: i64, number: u32, name: String }
    /// An account subscribes to a name, or not.
    13 Catalogue Subscribed { account: i64, name: String, yes: u8 }
    /// A setting has a value.
    14 Catalogue Setting { key: String, value: Vec<u8> }
    /// A spool entry.
    15 Spool Spooled { queue_id: String, content: i64, sender: String, parameters: Vec<u8>, created: i64 }
    /// A spooled recipient is there, or changed, without a destination: what version 1 of the format wrote.
    16 Spool SpooledRecipient {
        queue_id: String, number: u32, address: String, parameters: Vec<u8>, held: u8, due: i64, attempts: u32,
        last: Vec<u8>,
    }
    /// A spooled recipient is done with.
    17 Spool SpooledRecipientGone { queue_id: String, number: u32 }
    /// A spooled recipient is there, or changed.
    18 Spool SpooledFor {
        queue_id: String, number: u32, address: String, destination: String, parameters: Vec<u8>, held: u8, due: i64,
        attempts: u32, last: Vec<u8>,
    }
}

/// A field of a fact.
trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(input: &mut &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty),*) => { $(impl Field for $type {
        fn put(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_le_bytes());
        }
        fn take(input: &mut &[u8]) -> Option<Self> {
            let (number, rest) = input.split_first_chunk()?;
            *input = rest;
            Some(Self::from_le_bytes(*number))
        }
    })* };
}
number!(u8, u32, u64, i64);

impl Field for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        out.extend_from_slice(self);
    }
    fn take(input: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::take(input)?).ok()?;
        let (octets, rest) = input.split_at_checked(length)?;
        *input = rest;
        Some(octets.to_vec())
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::take(input)?).ok()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(self.is_some()).put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(if u8::take(input)? == 0 { None } else { Some(T::take(input)?) })
    }
}

impl Field for Vec<String> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self, out, String::put);
    }
    fn take(input: &mut &[u8]) -> Option<Self> {
        take_list(input, String::take)
    }
}

impl Field for Vec<(String, Vec<u8>)> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self, out, |(name, value), out| {
            name.put(out);
            value.put(out);
        });
    }
    fn take(input: &mut &[u8]) -> Option<Self> {
        take_list(input, |input| Some((String::take(input)?, Vec::take(input)?)))
    }
}

fn put_list<T>(list: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    u32::try_from(list.len()).unwrap_or(u32::MAX).put(out);
    for item in list {
        put(item, out);
    }
}

fn take_list<T>(input: &mut &[u8], take: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = u32::take(input)?;
    // Every item takes at least four octets, so a hostile count costs no memory.
    let mut list = Vec::with_capacity(usize::try_from(count).ok()?.min(input.len() / 4));
    for _ in 0..count {
        list.push(take(input)?);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back() {
        let facts = [
            Fact::Placed {
                content: 1,
                account: 2,
                mailbox: 3,
                uid: 4,
                mod_seq: 5,
                flags: 6,
                received: -7,
                zone: 60,
                saved: 8,
                thread: 9,
                prefix: b"Return-Path: <>\r\n".to_vec(),
            },
            Fact::Account {
                id: 1,
                key: "a@b".into(),
                address: "A@b".into(),
                enabled: 1,
                quota: None,
                created: 0,
                grants: vec!["@c".into()],
                credentials: vec![("scram".into(), vec![0, 255])],
            },
            Fact::SpooledRecipientGone { queue_id: "x".into(), number: 1 },
        ];
        let mut octets = Vec::new();
        for fact in &facts {
            fact.encode(&mut octets);
        }
        let mut input = &octets[..];
        for fact in facts {
            assert_eq!(Fact::decode(&mut input), Some(fact));
        }
        assert_eq!(Fact::decode(&mut input), None);
        for cut in 0..octets.len() {
            let mut input = &octets[..cut];
            while Fact::decode(&mut input).is_some() {}
        }
    }
}
