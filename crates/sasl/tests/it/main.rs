//! Both sides against each other.

use mailwright_sasl::scram::Verifier;
use mailwright_sasl::{Mechanism, client, server};
use proptest::prelude::*;
use server::Step;
use wire::Secret;

/// Runs an exchange; the user whom the server believes, if any.
fn run(
    mechanism: Mechanism,
    user: &str,
    password: &str,
    right: &str,
    bindings: [Option<Vec<u8>>; 2],
) -> Option<String> {
    let [theirs, ours] = bindings;
    let mut client = client::Exchange::new(mechanism, user, Secret::new(password), theirs, "client".into());
    let mut server = server::Exchange::new(mechanism, ours, "server".into());
    let mut step = server.respond(client.initial());
    for _ in 0..5 {
        step = match step {
            Step::Challenge(challenge) => server.respond(Some(client.respond(&challenge).ok()?)),
            Step::NeedVerifier { .. } => server.verifier(Verifier::of(right, b"salt", 4096), true),
            Step::CheckPassword { user, password, .. } => {
                return (password.expose() == right.as_bytes()).then_some(user);
            }
            Step::Done { user } => return Some(user),
            _ => return None,
        };
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_right_password_is_believed_and_a_wrong_one_is_not(
        user in "[a-z,=@.]{1,20}", password in "[!-~é]{1,20}", wrong in "[!-~]{1,20}",
    ) {
        for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
            prop_assert_eq!(run(mechanism, &user, &password, &password, [None, None]), Some(user.clone()));
            if wrong != password {
                prop_assert_eq!(run(mechanism, &user, &wrong, &password, [None, None]), None);
            }
        }
    }

    #[test]
    fn hostile_octets_are_no_proof(octets in prop::collection::vec(any::<u8>(), 0..100)) {
        for (mechanism, _) in Mechanism::ALL {
            let mut server = server::Exchange::new(mechanism, None, "server".into());
            let mut step = server.respond(Some(Secret::new(octets.clone())));
            for _ in 0..4 {
                step = match step {
                    Step::NeedVerifier { .. } => server.verifier(Verifier::of("x", b"salt", 4096), true),
                    Step::Challenge(_) => server.respond(Some(Secret::new(octets.clone()))),
                    other => other,
                };
                let done = matches!(step, Step::Done { .. });
                prop_assert!(!done);
            }
        }
    }
}

#[test]
fn a_channel_bound_exchange_fails_between_two_channels() {
    let bound = |theirs: &[u8], ours: &[u8]| {
        let bindings = [Some(theirs.to_vec()), Some(ours.to_vec())];
        run(Mechanism::ScramSha256Plus, "ann", "pw", "pw", bindings)
    };
    assert_eq!(bound(b"one", b"one"), Some("ann".into()));
    assert_eq!(bound(b"one", b"other"), None);
}
