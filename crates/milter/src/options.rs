//! What both sides agree on before the first command: actions, steps, and lists of macros.

use std::fmt;

use bytes::BytesMut;

use crate::Text;
use crate::text::Reader;

macro_rules! flags {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $flag:ident = $value:expr;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Default, Eq, PartialEq)]
        pub struct $name(u32);

        impl $name {
            $($(#[$inner])* pub const $flag: Self = Self($value);)*
            /// All that version 6 has.
            pub const ALL: Self = Self(0 $(| $value)*);

            /// From the bits of the protocol, known or not.
            #[must_use]
            pub const fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            /// The bits of the protocol.
            #[must_use]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether all of `other` are among these.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// These and those.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// These but those.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut set = f.debug_set();
                $(if self.contains(Self::$flag) { set.entry(&stringify!($flag)); })*
                let unknown = self.without(Self::ALL).0;
                if unknown != 0 { set.entry(&unknown); }
                set.finish()
            }
        }
    };
}

flags! {
    /// What a filter may ask for at the end of a message (`SMFIF_*`).
    Actions {
        /// Fields added and inserted.
        ADD_HEADERS = 0x001;
        /// The body replaced.
        CHANGE_BODY = 0x002;
        /// Recipients added.
        ADD_RECIPIENTS = 0x004;
        /// Recipients deleted.
        DELETE_RECIPIENTS = 0x008;
        /// Fields changed and deleted.
        CHANGE_HEADERS = 0x010;
        /// The message put aside.
        QUARANTINE = 0x020;
        /// Another sender.
        CHANGE_SENDER = 0x040;
        /// Recipients added with parameters.
        ADD_RECIPIENTS_WITH_PARAMETERS = 0x080;
        /// Lists of the macros it wants, told in the negotiation.
        SET_MACRO_LISTS = 0x100;
    }
}

flags! {
    /// What a filter does not want to hear, what it does not answer, and how it hears the rest (`SMFIP_*`).
    Steps {
        /// Connections are not told.
        NO_CONNECT = 0x0000_0001;
        /// HELO is not told.
        NO_HELLO = 0x0000_0002;
        /// MAIL is not told.
        NO_MAIL = 0x0000_0004;
        /// RCPT is not told.
        NO_RECIPIENTS = 0x0000_0008;
        /// The body is not told.
        NO_BODY = 0x0000_0010;
        /// Header fields are not told.
        NO_HEADERS = 0x0000_0020;
        /// The end of the header is not told.
        NO_END_OF_HEADER = 0x0000_0040;
        /// Header fields are not answered.
        NO_REPLY_HEADER = 0x0000_0080;
        /// Unknown commands are not told.
        NO_UNKNOWN = 0x0000_0100;
        /// DATA is not told.
        NO_DATA = 0x0000_0200;
        /// The filter may say that it has seen enough of a body.
        SKIP = 0x0000_0400;
        /// Refused recipients are told, too.
        REFUSED_RECIPIENTS = 0x0000_0800;
        /// Connections are not answered.
        NO_REPLY_CONNECT = 0x0000_1000;
        /// HELO is not answered.
        NO_REPLY_HELLO = 0x0000_2000;
        /// MAIL is not answered.
        NO_REPLY_MAIL = 0x0000_4000;
        /// RCPT is not answered.
        NO_REPLY_RECIPIENT = 0x0000_8000;
        /// DATA is not answered.
        NO_REPLY_DATA = 0x0001_0000;
        /// Unknown commands are not answered.
        NO_REPLY_UNKNOWN = 0x0002_0000;
        /// The end of the header is not answered.
        NO_REPLY_END_OF_HEADER = 0x0004_0000;
        /// Pieces of the body are not answered.
        NO_REPLY_BODY = 0x0008_0000;
        /// Values of header fields come and go with the white space behind their colon.
        HEADER_LEADING_SPACE = 0x0010_0000;
    }
}

/// The steps for which a filter may name the macros it wants (`SMFIM_*`).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum MacroStage {
    /// The connection.
    Connect,
    /// HELO or EHLO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The end of the message.
    End,
    /// The end of the header.
    EndOfHeader,
}

impl MacroStage {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Hello, Self::Mail, Self::Recipient, Self::Data, Self::End, Self::EndOfHeader];

    fn number(self) -> u32 {
        match self {
            Self::Connect => 0,
            Self::Hello => 1,
            Self::Mail => 2,
            Self::Recipient => 3,
            Self::Data => 4,
            Self::End => 5,
            Self::EndOfHeader => 6,
        }
    }
}

/// The data of the negotiation, both ways.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// The version of the protocol.
    pub version: u32,
    /// What the filter may ask for.
    pub actions: Actions,
    /// What it does not hear or answer.
    pub steps: Steps,
    /// Which macros it wants at a stage: names parted by white space. Lists for unknown stages are left out.
    pub macros: Vec<(MacroStage, Text)>,
}

impl Options {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        for number in [self.version, self.actions.bits(), self.steps.bits()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for (stage, names) in &self.macros {
            out.extend_from_slice(&stage.number().to_be_bytes());
            names.put(out);
        }
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, crate::PacketError> {
        let version = reader.u32("a version")?;
        let actions = Actions::from_bits(reader.u32("actions")?);
        let steps = Steps::from_bits(reader.u32("steps")?);
        let mut macros = Vec::new();
        while !reader.is_empty() {
            let number = reader.u32("a stage")?;
            let names = reader.text("names of macros")?;
            if let Some(stage) = MacroStage::ALL.into_iter().find(|stage| stage.number() == number) {
                macros.push((stage, names));
            }
        }
        Ok(Self { version, actions, steps, macros })
    }
}
