//! SMTP and LMTP: codec, server session, client session.
