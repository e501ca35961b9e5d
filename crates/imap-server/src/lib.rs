//! What an IMAP session means: protocol vocabulary to store vocabulary.
