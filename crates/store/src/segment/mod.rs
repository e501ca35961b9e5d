//! Segments: append-only files of records, never overwritten or reused, only unlinked (rule 3).
//!
//! Every process that writes has one active segment, new at every start. Records are what an index can be rebuilt from:
//! messages, and what happened to them ([`record`]). [`writer`] appends, [`reader`] finds the records again.

pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod writer;
