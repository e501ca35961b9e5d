//! POP3: codec, server session, client session.
