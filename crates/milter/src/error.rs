//! Why octets are not a packet of the protocol.

/// Why octets are not a packet of the protocol. Codes are the octets that name commands and responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A packet of no octets: it lacks even its code.
    #[error("packet without a code")]
    Empty,
    /// A packet that announces more than `limit` octets behind its code.
    #[error("packet of {octets} octets, more than {limit}")]
    TooLong {
        /// What was announced, in octets.
        octets: usize,
        /// The limit, in octets.
        limit: usize,
    },
    /// No command or response has this code.
    #[error("unknown code 0x{code:02x}")]
    UnknownCode {
        /// The code.
        code: u8,
    },
    /// The data of the packet is not what its code asks for.
    #[error("packet 0x{code:02x}: expected {expected}")]
    Data {
        /// The code.
        code: u8,
        /// What was expected.
        expected: &'static str,
    },
}
