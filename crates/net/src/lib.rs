//! Drives any `wire::Session` over TCP and TLS.
