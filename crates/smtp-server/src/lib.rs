//! Receive, submit, LMTP: what an SMTP session means.
