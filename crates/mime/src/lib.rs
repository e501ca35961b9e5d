//! Messages as octets: header fields, the structure tree, and the decoding of values.
//!
//! The structure is found by one linear pass that copies nothing ([`Part::parse`], RFC 2045 and RFC 2046); values are
//! decoded only when asked for (RFC 2047, RFC 2231, RFC 5322).
//!
//! ```
//! # use mailwright_mime as mime;
//! use mime::{Limits, Part, text};
//!
//! let message = b"Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n";
//! let part = Part::parse(message, &Limits::default());
//! assert_eq!(&message[part.body.clone()], b"Hello\r\n");
//! assert_eq!(text(&part.field(message, "subject").unwrap_or_default()), "Gr\u{fc}\u{df}e");
//! ```

mod decode;
mod header;
mod seven_bit;
mod surrogate;
mod tree;
mod value;

pub use decode::{decoded, part_text, preview};
pub use header::{Field, HeaderFacts, fields, header_facts, header_range, select_fields, unfold};
pub use seven_bit::{NotSevenBit, is_seven_bit, seven_bit};
pub use surrogate::{surrogate, surrogate_address, surrogate_header};
pub use tree::{Inner, Limits, Part};
pub use value::{AddressItem, Parameterised, addresses, date, message_ids, text};
