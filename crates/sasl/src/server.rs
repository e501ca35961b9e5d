//! The server's side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::Secret;

use crate::Mechanism;
use crate::scram::{Verifier, hmac, same, sha256, xor};

/// An exchange with one client.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    /// The channel's binding (`tls-exporter`, RFC 9266), if there is one.
    binding: Option<Vec<u8>>,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Begin,
    LoginUser,
    LoginPassword { user: String },
    ScramAsked { user: String, own: bool, gs2: String, bare: String, nonce: String },
    ScramProof { user: String, gs2: String, messages: String, nonce: String, verifier: Verifier, real: bool },
    ScramEnd { user: String },
    Over,
}

/// What an exchange asks for next.
#[derive(Debug)]
pub enum Step {
    /// Send this to the client, and bring its response.
    Challenge(Vec<u8>),
    /// Check this password, and act upon the result: the exchange is over.
    CheckPassword {
        /// Who it is.
        user: String,
        /// As whom to act; empty: as the same.
        authorization: String,
        /// The password.
        password: Secret,
    },
    /// Look up this user's verifier and tell it by [`Exchange::verifier`].
    NeedVerifier {
        /// Who it is.
        user: String,
    },
    /// This user proved the password: the exchange is over.
    Done {
        /// Who it is.
        user: String,
    },
    /// Check this token: the exchange is over.
    CheckToken {
        /// Who it claims to be, where it says.
        user: Option<String>,
        /// The bearer token.
        token: Secret,
    },
    /// The client proved itself below us (EXTERNAL): the exchange is over.
    External {
        /// As whom to act; empty: as the certificate says.
        authorization: String,
    },
    /// It failed, for a reason that is not told: wrong proof, unknown user, wrong binding.
    Failed,
    /// What came is not of this mechanism.
    Malformed,
}

/// The longest response, in octets.
const MAX_RESPONSE: usize = 12_288;

impl Exchange {
    /// An exchange. `nonce`: printable, without a comma, new each time; `binding`: the channel's, if there is one.
    #[must_use]
    pub fn new(mechanism: Mechanism, binding: Option<Vec<u8>>, nonce: String) -> Self {
        Self { mechanism, binding, nonce, state: State::Begin }
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The client's response; `None` where there was no initial one.
    pub fn respond(&mut self, response: Option<Secret>) -> Step {
        let Some(response) = response else {
            return match (self.mechanism, &self.state) {
                (Mechanism::Login, State::Begin) => {
                    self.state = State::LoginUser;
                    Step::Challenge(b"Username:".to_vec())
                }
                _ => Step::Challenge(Vec::new()),
            };
        };
        if response.expose().len() > MAX_RESPONSE {
            return Step::Malformed;
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.step(state, &response).unwrap_or(Step::Malformed)
    }

    fn step(&mut self, state: State, response: &Secret) -> Option<Step> {
        let octets = response.expose();
        match (state, self.mechanism) {
            (State::Begin, Mechanism::Plain) => plain(octets),
            (State::Begin | State::LoginUser, Mechanism::Login) => {
                self.state = State::LoginPassword { user: text(octets)? };
                Some(Step::Challenge(b"Password:".to_vec()))
            }
            (State::LoginPassword { user }, _) => {
                Some(Step::CheckPassword { user, authorization: String::new(), password: Secret::new(octets) })
            }
            (State::Begin, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus) => self.scram_first(&text(octets)?),
            (State::ScramProof { user, gs2, messages, nonce, verifier, real }, _) => {
                self.scram_proof(user, &gs2, &messages, &nonce, &verifier, real, &text(octets)?)
            }
            (State::ScramEnd { user }, _) => octets.is_empty().then_some(Step::Done { user }),
            (State::Begin, Mechanism::External) => Some(Step::External { authorization: text(octets)? }),
            (State::Begin, Mechanism::OAuthBearer) => oauth(&text(octets)?, true),
            (State::Begin, Mechanism::XOAuth2) => oauth(&text(octets)?, false),
            _ => None,
        }
    }

    /// `client-first-message` (RFC 5802 §7).
    fn scram_first(&mut self, message: &str) -> Option<Step> {
        let (flag, rest) = message.split_once(',')?;
        let (authorization, bare) = rest.split_once(',')?;
        let plus = self.mechanism == Mechanism::ScramSha256Plus;
        match flag {
            "n" if !plus => {}
            // RFC 5802 §6: the client could bind and thinks that we cannot; if we can, somebody took our offer away.
            "y" if !plus && self.binding.is_none() => {}
            "p=tls-exporter" if plus && self.binding.is_some() => {}
            "n" | "y" => return Some(Step::Failed),
            _ => return None,
        }
        let saslname = |name: &str| name.replace("=2C", ",").replace("=3D", "=");
        let mut attributes = bare.split(',');
        let user = saslname(attributes.next()?.strip_prefix("n=")?);
        let client_nonce = attributes.next()?.strip_prefix("r=")?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        self.state = State::ScramAsked {
            user: crate::prepared(&user),
            // RFC 5802 §5.1: nobody acts as somebody else here; it is said only after the proof.
            own: authorization.is_empty() || saslname(authorization.strip_prefix("a=")?) == user,
            gs2: format!("{flag},{authorization},"),
            bare: bare.to_owned(),
            nonce: format!("{client_nonce}{}", self.nonce),
        };
        Some(Step::NeedVerifier { user })
    }

    /// Answers [`Step::NeedVerifier`]; for an unknown user with an invented one (`real` = false) that is the same each
    /// time, so that nobody learns who exists (rule 31).
    pub fn verifier(&mut self, verifier: Verifier, real: bool) -> Step {
        let State::ScramAsked { user, own, gs2, bare, nonce } = std::mem::replace(&mut self.state, State::Over) else {
            return Step::Malformed;
        };
        let first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let messages = format!("{bare},{first}");
        self.state = State::ScramProof { user, gs2, messages, nonce, verifier, real: real && own };
        Step::Challenge(first.into_bytes())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a state that ends here")]
    fn scram_proof(
        &mut self,
        user: String,
        gs2: &str,
        messages: &str,
        nonce: &str,
        verifier: &Verifier,
        real: bool,
        message: &str,
    ) -> Option<Step> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let told_nonce = attributes.next()?.strip_prefix("r=")?;
        let proof: [u8; 32] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let mut expected = gs2.as_bytes().to_vec();
        if self.mechanism == Mechanism::ScramSha256Plus {
            expected.extend_from_slice(self.binding.as_deref()?);
        }
        let all = format!("{messages},{without_proof}");
        let signature = hmac(&verifier.stored_key, all.as_bytes());
        let proved = same(&sha256(&xor(proof, signature)), &verifier.stored_key);
        if !(same(&binding, &expected) && same(told_nonce.as_bytes(), nonce.as_bytes()) && proved && real) {
            return Some(Step::Failed);
        }
        self.state = State::ScramEnd { user };
        Some(Step::Challenge(format!("v={}", STANDARD.encode(hmac(&verifier.server_key, all.as_bytes()))).into_bytes()))
    }
}

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd` (RFC 4616 §2)
fn plain(octets: &[u8]) -> Option<Step> {
    let mut parts = octets.split(|octet| *octet == 0);
    let (authorization, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || user.is_empty() || password.is_empty() {
        return None;
    }
    Some(Step::CheckPassword {
        user: text(user)?,
        authorization: text(authorization)?,
        password: Secret::new(password),
    })
}

/// RFC 7628 §3.1, and XOAUTH2's `user=` form.
fn oauth(message: &str, standard: bool) -> Option<Step> {
    let mut user = None;
    let mut token = None;
    let pairs = if standard {
        let (header, pairs) = message.split_once('\x01')?;
        let authorization = header.split(',').nth(1)?;
        user = authorization.strip_prefix("a=").map(|name| name.replace("=2C", ",").replace("=3D", "="));
        pairs
    } else {
        message
    };
    for pair in pairs.split('\x01').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("auth", value) => {
                let (scheme, value) = value.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("Bearer") {
                    return None;
                }
                token = Some(Secret::new(value));
            }
            ("user", value) if !standard => user = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(Step::CheckToken { user, token: token? })
}

fn text(octets: &[u8]) -> Option<String> {
    String::from_utf8(octets.to_vec()).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mechanism: Mechanism) -> Exchange {
        Exchange::new(mechanism, None, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into())
    }

    #[test]
    fn the_example_of_rfc_7677() {
        // RFC 7677 §3
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::of("pencil", &salt, 4096);
        assert_eq!(Verifier::decode(&verifier.encode()), Some(verifier.clone()));
        let mut server = exchange(Mechanism::ScramSha256);
        let first = Secret::new("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert!(matches!(server.respond(Some(first)), Step::NeedVerifier { user } if user == "user"));
        let Step::Challenge(challenge) = server.verifier(verifier, true) else { panic!("a challenge") };
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8_lossy(&challenge), expected);
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let Step::Challenge(last) = server.respond(Some(Secret::new(proof))) else { panic!("a proof") };
        assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(matches!(server.respond(Some(Secret::default())), Step::Done { user } if user == "user"));
    }

    #[test]
    fn downgrades_and_lies_fail() {
        let first = |mechanism, binding: Option<&[u8]>, message: &str| {
            let mut server = Exchange::new(mechanism, binding.map(<[u8]>::to_vec), "x".into());
            server.respond(Some(Secret::new(message)))
        };
        let plus = Mechanism::ScramSha256Plus;
        let bare = Mechanism::ScramSha256;
        assert!(matches!(first(bare, Some(b"b"), "y,,n=u,r=n"), Step::Failed));
        assert!(matches!(first(bare, None, "y,,n=u,r=n"), Step::NeedVerifier { .. }));
        assert!(matches!(first(plus, Some(b"b"), "n,,n=u,r=n"), Step::Failed));
        assert!(matches!(first(plus, Some(b"b"), "p=tls-unique,,n=u,r=n"), Step::Malformed));
        assert!(matches!(first(plus, Some(b"b"), "p=tls-exporter,,n=u,r=n"), Step::NeedVerifier { .. }));
        for message in ["", "n", "n,", "n,,", "n,,n=u", "n,,m=x,n=u,r=n", "n,x,n=u,r=n", "n,,n=u,r="] {
            assert!(matches!(first(bare, None, message), Step::Malformed), "{message:?}");
        }
        let mut server = Exchange::new(bare, None, "x".into());
        server.respond(Some(Secret::new("n,,n=u,r=n")));
        server.verifier(Verifier::of("p", b"salt", 4096), false);
        let proof = format!("c=biws,r=nx,p={}", STANDARD.encode([0; 32]));
        assert!(matches!(server.respond(Some(Secret::new(proof))), Step::Failed));
    }

    #[test]
    fn nobody_acts_as_somebody_else() {
        // RFC 5802 §5.1
        let proves = |gs2: &str| {
            let verifier = Verifier::of("p", b"salt", 4096);
            let mut server = Exchange::new(Mechanism::ScramSha256, None, "x".into());
            server.respond(Some(Secret::new(format!("{gs2}n=u,r=n"))));
            let Step::Challenge(first) = server.verifier(verifier.clone(), true) else { return false };
            let without = format!("c={},r=nx", STANDARD.encode(gs2));
            let all = format!("n=u,r=n,{},{without}", String::from_utf8_lossy(&first));
            let client_key = hmac(&crate::scram::salted_password("p", b"salt", 4096), b"Client Key");
            let proof = xor(client_key, hmac(&verifier.stored_key, all.as_bytes()));
            let last = format!("{without},p={}", STANDARD.encode(proof));
            matches!(server.respond(Some(Secret::new(last))), Step::Challenge(_))
        };
        assert!(proves("n,,") && proves("n,a=u,"));
        assert!(!proves("n,a=other,"));
    }

    #[test]
    fn passwords_and_tokens() {
        let plain = |message: &str| exchange(Mechanism::Plain).respond(Some(Secret::new(message)));
        assert!(matches!(plain("act\0ann\0pw"), Step::CheckPassword { user, authorization, .. }
            if user == "ann" && authorization == "act"));
        for message in ["", "ann\0pw", "\0ann\0", "\0\0pw", "\0a\0b\0c"] {
            assert!(matches!(plain(message), Step::Malformed), "{message:?}");
        }
        let mut login = exchange(Mechanism::Login);
        assert!(matches!(login.respond(None), Step::Challenge(words) if words == b"Username:"));
        assert!(matches!(login.respond(Some(Secret::new("ann"))), Step::Challenge(words) if words == b"Password:"));
        assert!(matches!(login.respond(Some(Secret::new("pw"))), Step::CheckPassword { user, .. } if user == "ann"));
        assert!(matches!(login.respond(Some(Secret::new("again"))), Step::Malformed));
        // RFC 7628 §4.1
        let message = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let step = exchange(Mechanism::OAuthBearer).respond(Some(Secret::new(message)));
        assert!(matches!(step, Step::CheckToken { user: Some(user), token }
            if user == "user@example.com" && token.expose().starts_with(b"vF9d")));
        let message = "user=ann@example.com\x01auth=Bearer tok\x01\x01";
        let step = exchange(Mechanism::XOAuth2).respond(Some(Secret::new(message)));
        assert!(matches!(step, Step::CheckToken { user: Some(user), .. } if user == "ann@example.com"));
    }
}
