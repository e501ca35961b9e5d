//! The client's side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::Secret;

use crate::Mechanism;
use crate::scram::{hmac, salted_password, same, sha256, xor};

/// An exchange with a server, by user name and password.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    user: String,
    password: Secret,
    binding: Option<Vec<u8>>,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Begin,
    LoginPassword,
    ScramFirst { bare: String },
    ScramProof { server_signature: [u8; 32] },
    Over,
}

/// Why an exchange cannot go on: the server is not what it says, or not of this mechanism.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the server's challenge is malformed, or proves nothing")]
pub struct Refused;

/// The rounds of PBKDF2 a client will do for a server.
const MAX_ITERATIONS: u32 = 1_000_000;

impl Exchange {
    /// An exchange. `nonce`: printable, without a comma, new each time; `binding`: the channel's, for SCRAM-…-PLUS.
    #[must_use]
    pub fn new(mechanism: Mechanism, user: &str, password: Secret, binding: Option<Vec<u8>>, nonce: String) -> Self {
        Self { mechanism, user: user.to_owned(), password, binding, nonce, state: State::Begin }
    }

    /// The initial response, where the mechanism has one.
    pub fn initial(&mut self) -> Option<Secret> {
        match self.mechanism {
            Mechanism::Plain => {
                self.state = State::Over;
                Some(Secret::new([b"\0", self.user.as_bytes(), b"\0", self.password.expose()].concat()))
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let user = crate::prepared(&self.user).replace('=', "=3D").replace(',', "=2C");
                let bare = format!("n={user},r={}", self.nonce);
                let first = format!("{}{bare}", self.gs2());
                self.state = State::ScramFirst { bare };
                Some(Secret::new(first))
            }
            Mechanism::External => {
                self.state = State::Over;
                Some(Secret::default())
            }
            _ => None,
        }
    }

    fn gs2(&self) -> &'static str {
        if self.mechanism == Mechanism::ScramSha256Plus { "p=tls-exporter,," } else { "n,," }
    }

    /// The response to a challenge.
    ///
    /// # Errors
    /// The server is not to be trusted, or speaks another mechanism.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Secret, Refused> {
        let text = std::str::from_utf8(challenge).map_err(|_| Refused)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begin if self.mechanism == Mechanism::Login => {
                self.state = State::LoginPassword;
                Ok(Secret::new(self.user.as_bytes()))
            }
            State::Begin => self.initial().ok_or(Refused),
            State::LoginPassword => Ok(self.password.clone()),
            State::ScramFirst { bare } => self.proof(&bare, text).ok_or(Refused),
            State::ScramProof { server_signature } => {
                let proof = text.strip_prefix("v=").and_then(|proof| STANDARD.decode(proof).ok()).ok_or(Refused)?;
                if same(&proof, &server_signature) { Ok(Secret::default()) } else { Err(Refused) }
            }
            State::Over => Err(Refused),
        }
    }

    fn proof(&mut self, bare: &str, first: &str) -> Option<Secret> {
        let mut attributes = first.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?.strip_prefix(self.nonce.as_str())?;
        let salt = STANDARD.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
        let iterations: u32 = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        if nonce.is_empty() || !(1..=MAX_ITERATIONS).contains(&iterations) {
            return None;
        }
        let password = String::from_utf8(self.password.expose().to_vec()).ok()?;
        let salted = salted_password(&password, &salt, iterations);
        let mut binding = self.gs2().as_bytes().to_vec();
        if self.mechanism == Mechanism::ScramSha256Plus {
            binding.extend_from_slice(self.binding.as_deref()?);
        }
        let without_proof = format!("c={},r={}{nonce}", STANDARD.encode(binding), self.nonce);
        let messages = format!("{bare},{first},{without_proof}");
        let client_key = hmac(&salted, b"Client Key");
        let proof = xor(client_key, hmac(&sha256(&client_key), messages.as_bytes()));
        let server_signature = hmac(&hmac(&salted, b"Server Key"), messages.as_bytes());
        self.state = State::ScramProof { server_signature };
        Some(Secret::new(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }
}
