//! Values to octets and back.

use bytes::BytesMut;
use proptest::prelude::*;
use wire::Secret;

use crate::pop3::{
    Capability, Command, CommandError, Leniency, Mechanism, MessageNumber, Password, Response, ResponseCode, UserName,
};

fn message() -> impl Strategy<Value = MessageNumber> {
    (1..=u32::MAX).prop_map(|number| MessageNumber::new(number).unwrap())
}

fn command() -> impl Strategy<Value = Command> {
    let user = "[!-~é][ -~é]{0,60}[!-~é]".prop_map(|name| Command::User(UserName::try_from(name.as_str()).unwrap()));
    let pass = "[ -~é]{1,120}".prop_map(|word| Command::Pass(Password::try_from(word.as_bytes()).unwrap()));
    let mechanism = "[A-Z0-9_-]{1,20}".prop_map(|name| Mechanism::try_from(name.as_str()).unwrap());
    let response = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100));
    let auth = (mechanism, response)
        .prop_map(|(mechanism, response)| Command::Auth { mechanism, initial_response: response.map(Secret::new) });
    prop_oneof![
        prop::sample::select(vec![
            Command::Quit,
            Command::Stat,
            Command::Noop,
            Command::Rset,
            Command::Capa,
            Command::Stls,
            Command::Utf8,
            Command::AuthList,
        ]),
        proptest::option::of(message()).prop_map(Command::List),
        proptest::option::of(message()).prop_map(Command::Uidl),
        message().prop_map(Command::Retr),
        message().prop_map(Command::Dele),
        (message(), any::<u64>()).prop_map(|(message, lines)| Command::Top { message, lines }),
        user,
        pass,
        auth,
    ]
}

fn line_of(command: &Command) -> Vec<u8> {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.strip_suffix(b"\r\n").unwrap().to_vec()
}

proptest! {
    #[test]
    fn commands_come_back(command in command()) {
        let line = line_of(&command);
        prop_assert!(!line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
        prop_assert_eq!(Command::parse(&line, &Leniency::default()), Ok(command));
    }

    #[test]
    fn lines_come_back_as_what_they_were_read_as(
        line in "(RETR|top|List|UIDL|USER|PASS|AUTH PLAIN|AUTH|STAT|X)[ 0-9a-zA-Z=+/]{0,12}",
    ) {
        if let Ok(command) = Command::parse(line.as_bytes(), &Leniency::default()) {
            prop_assert_eq!(Command::parse(&line_of(&command), &Leniency::strict()).or_else(|error| match command {
                Command::AuthList => Ok(Command::AuthList),
                _ => Err(error),
            }), Ok(command));
        }
    }

    #[test]
    fn any_octets_are_a_command_or_an_error(line in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Err(CommandError::Argument { at, .. }) = Command::parse(&line, &Leniency::default()) {
            prop_assert!(at <= line.len());
        }
    }

    #[test]
    fn responses_come_back(positive in any::<bool>(), coded in any::<bool>(), text in "[ -~é\\r\\n]{0,600}") {
        let response = match (positive, coded) {
            (true, _) => Response::ok(text),
            (false, false) => Response::err(text),
            (false, true) => Response::coded(ResponseCode::SysTemp, text),
        };
        let mut out = BytesMut::new();
        response.encode(&mut out);
        prop_assert!(out.len() <= 512);
        let line = out.strip_suffix(b"\r\n").unwrap();
        prop_assert!(line.is_ascii() && !line.contains(&b'\n'));
        prop_assert_eq!(Response::parse(line), Ok(response));
    }

    #[test]
    fn any_line_is_a_capability(line in "[ -~]{0,60}") {
        let capability = Capability::parse(line.as_bytes());
        prop_assert_eq!(Capability::parse(capability.to_string().as_bytes()), capability);
    }
}
