//! IMAP4rev1 and IMAP4rev2: codec, server session, client session.
