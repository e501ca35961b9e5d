//! What an SMTP server does besides its sessions.

mod pickup;
