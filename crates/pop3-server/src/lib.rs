//! What a POP3 session means.
