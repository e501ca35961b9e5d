//! A TLS handshake in memory.

use rustls::{ClientConnection, ConnectionCommon, ServerConnection, SideData};

/// Shakes hands; whether it succeeded on both sides.
pub(crate) fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) -> bool {
    while client.is_handshaking() || server.is_handshaking() {
        if !(pass(client, server) && pass(server, client)) {
            return false;
        }
    }
    true
}

/// Passes on all that one side has to say; whether the other bears it.
fn pass<A: SideData, B: SideData>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> bool {
    let mut octets = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut octets).unwrap();
    }
    let mut rest = &octets[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        if to.process_new_packets().is_err() {
            return false;
        }
    }
    true
}
