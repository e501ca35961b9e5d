//! The arithmetic of SCRAM-SHA-256 (RFC 5802 §3).

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::pbkdf2;

/// What a server keeps instead of a password. Weaker than a good password hash: who steals it can try passwords at the
/// speed of PBKDF2 (rule 31).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// What proves the client.
    pub stored_key: [u8; 32],
    /// What proves the server.
    pub server_key: [u8; 32],
}

impl Verifier {
    /// The verifier of a password.
    #[must_use]
    pub fn of(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&hmac(&salted, b"Client Key")),
            server_key: hmac(&salted, b"Server Key"),
        }
    }

    /// The verifier as octets to be kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.iterations.to_le_bytes().to_vec();
        out.extend_from_slice(&self.stored_key);
        out.extend_from_slice(&self.server_key);
        out.extend_from_slice(&self.salt);
        out
    }

    /// The other direction.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let (iterations, rest) = octets.split_first_chunk()?;
        let (stored_key, rest) = rest.split_first_chunk()?;
        let (server_key, salt) = rest.split_first_chunk()?;
        let iterations = u32::from_le_bytes(*iterations);
        Some(Self { iterations, salt: salt.to_vec(), stored_key: *stored_key, server_key: *server_key })
    }
}

/// `Hi` of RFC 5802 §2.2.
pub(crate) fn salted_password(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut out = [0; 32];
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, crate::prepared(password).as_bytes(), &mut out);
    out
}

/// HMAC-SHA-256.
#[must_use]
pub fn hmac(key: &[u8], octets: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), octets);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, octets).as_ref());
    out
}

pub(crate) fn xor(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// Whether octets are the same, in a time that tells nothing of where they differ.
#[must_use]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(left, right).is_ok()
}
