//! Commands and replies to octets and back; commands against another crate's parser.

use bytes::BytesMut;
use proptest::prelude::*;
use smtp::{Argument, Command, HelloName, Leniency, Mechanism, Reply, UtcTime, Verb};
use wire::Secret;

use crate::smtp;

fn parse(line: &str) -> Command {
    Command::parse(line.as_bytes(), &Leniency::strict()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn line(command: &Command) -> Vec<u8> {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    assert!(out.ends_with(b"\r\n"));
    out[..out.len() - 2].to_vec()
}

fn mailbox() -> impl Strategy<Value = String> {
    ("[a-z0-9]{1,8}([.+-][a-z0-9]{1,8})?", "[a-z]{1,8}\\.[a-z]{2,5}")
        .prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn mail() -> impl Strategy<Value = Command> {
    let parameters = (
        proptest::option::of(any::<u64>()),
        prop_oneof![Just(""), Just(" BODY=7BIT"), Just(" BODY=8BITMIME"), Just(" BODY=BINARYMIME")],
        any::<bool>(),
        prop_oneof![Just(""), Just(" AUTH=<>"), Just(" AUTH=e+3Dmc2@example.com")],
        prop_oneof![Just(""), Just(" RET=FULL"), Just(" RET=HDRS")],
        prop_oneof![Just(""), Just(" ENVID=QQ314159+2B")],
        scheduled(),
    );
    let path = prop_oneof![Just(String::new()), mailbox()];
    (path, parameters).prop_map(|(path, (size, body, utf8, auth, ret, envid, scheduled))| {
        let size = size.map_or_else(String::new, |size| format!(" SIZE={size}"));
        let utf8 = if utf8 { " SMTPUTF8" } else { "" };
        parse(&format!("MAIL FROM:<{path}>{size}{body}{utf8}{auth}{ret}{envid}{scheduled}"))
    })
}

fn scheduled() -> impl Strategy<Value = String> {
    let hold = prop_oneof![
        Just(String::new()),
        (1_u32..1_000_000_000).prop_map(|seconds| format!(" HOLDFOR={seconds}")),
        (0_u64..253_402_300_800).prop_map(|time| format!(" HOLDUNTIL={}", UtcTime::from_unix(time))),
    ];
    let by = prop_oneof![
        Just(String::new()),
        (1..1_000_000_000, any::<bool>())
            .prop_map(|(seconds, trace)| format!(" BY={seconds};R{}", if trace { "T" } else { "" })),
        (-999_999_999..1_000_000_000).prop_map(|seconds| format!(" BY={seconds};N")),
    ];
    let priority = proptest::option::of(-9_i8..10);
    (hold, by, priority, any::<bool>()).prop_map(|(hold, by, priority, tls)| {
        let priority = priority.map_or_else(String::new, |priority| format!(" MT-PRIORITY={priority}"));
        format!("{hold}{by}{priority}{}", if tls { " REQUIRETLS" } else { "" })
    })
}

fn xclient() -> impl Strategy<Value = Command> {
    let attribute = prop_oneof![
        "NAME=[a-z.]{1,10}",
        "HELO=[a-z+]{0}x[a-z.]{0,10}",
        "LOGIN=a\\+2B[a-z]{1,10}",
        Just("ADDR=[UNAVAILABLE]".to_owned()),
        Just("PROTO=ESMTP".to_owned()),
        any::<u16>().prop_map(|port| format!("PORT={port}")),
        any::<u32>().prop_map(|bits| format!("DESTADDR={}", std::net::Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| format!("ADDR=IPV6:{}", std::net::Ipv6Addr::from_bits(bits))),
    ];
    proptest::collection::vec(attribute, 1..6).prop_filter_map("a command", |attributes| {
        Command::parse(format!("XCLIENT {}", attributes.join(" ")).as_bytes(), &Leniency::strict()).ok()
    })
}

fn rcpt() -> impl Strategy<Value = Command> {
    let notify =
        prop_oneof![Just(""), Just(" NOTIFY=NEVER"), Just(" NOTIFY=SUCCESS,FAILURE,DELAY"), Just(" NOTIFY=DELAY")];
    let orcpt = prop_oneof![Just(""), Just(" ORCPT=rfc822;Bob@Big-Bucks.COM"), Just(" ORCPT=utf-8;a+2Bb@c")];
    (mailbox(), notify, orcpt).prop_filter_map("a command", |(path, notify, orcpt)| {
        Command::parse(format!("RCPT TO:<{path}>{notify}{orcpt}").as_bytes(), &Leniency::strict()).ok()
    })
}

fn command() -> impl Strategy<Value = Command> {
    let name =
        prop_oneof!["[a-z]{1,10}(\\.[a-z]{1,10}){0,3}", Just("[192.0.2.1]".to_owned()), Just("[IPv6:::1]".to_owned())];
    let name = name.prop_map(|name| HelloName::try_from(name.as_str()).expect("a name"));
    let text = "[!-~]([ -~]{0,40}[!-~])?".prop_map(|text| Argument::try_from(text.as_str()).expect("an argument"));
    let mechanism = "[A-Z][A-Z0-9_-]{0,19}".prop_map(|name| Mechanism::try_from(name.as_str()).expect("a mechanism"));
    let response = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60));
    prop_oneof![
        mail(),
        rcpt(),
        xclient(),
        name.clone().prop_map(Command::Ehlo),
        name.clone().prop_map(Command::Helo),
        name.prop_map(Command::Lhlo),
        (any::<u64>(), any::<bool>()).prop_map(|(octets, last)| Command::Bdat { octets, last }),
        text.clone().prop_map(Command::Vrfy),
        text.clone().prop_map(Command::Expn),
        text.clone().prop_map(Command::Etrn),
        proptest::option::of(text.clone()).prop_map(Command::Noop),
        proptest::option::of(text).prop_map(Command::Help),
        (mechanism, response)
            .prop_map(|(mechanism, response)| Command::Auth { mechanism, initial_response: response.map(Secret::new) }),
        Just(Command::Data),
        Just(Command::Rset),
        Just(Command::Quit),
        Just(Command::StartTls),
        Just(Command::Turn),
    ]
}

proptest! {
    #[test]
    fn commands_there_and_back(command in command()) {
        let octets = line(&command);
        let again = Command::parse(&octets, &Leniency::strict());
        prop_assert_eq!(again.as_ref(), Ok(&command), "{:?}", octets.escape_ascii().to_string());
        let lenient = Command::parse(&octets, &Leniency::default());
        prop_assert_eq!(lenient.as_ref(), Ok(&command));
        // In any case of letters, too: only the verb's, since arguments keep theirs.
        let verb = command.verb().to_string().len();
        let mut lower = octets;
        lower[..verb].make_ascii_lowercase();
        prop_assert_eq!(Command::parse(&lower, &Leniency::strict()), Ok(command));
    }

    /// What we print, another crate understands.
    #[test]
    fn smtp_proto_reads_what_we_print(command in command()) {
        // Of these it knows only some arguments, or it refuses numbers over its own width.
        let known = match &command {
            Command::Turn | Command::Auth { .. } | Command::XClient(_) => false,
            Command::Mail { parameters, .. } => parameters.size.is_none_or(|size| size < 1 << 60),
            Command::Bdat { octets, .. } => *octets < 1 << 60,
            _ => true,
        };
        let mut out = BytesMut::new();
        command.encode(&mut out);
        let theirs = smtp_proto::Request::parse(&mut out.iter());
        // A free argument is a String there, whose quotes must match.
        let known = known && !out.contains(&b'"');
        prop_assert!(!known || theirs.is_ok(), "{:?}: {:?}", out, theirs);
    }

    #[test]
    fn whatever_parses_prints_and_parses_the_same(octets in "(MAIL FROM|RCPT TO|EHLO|HELO|AUTH|BDAT|NOOP|mail from):?[ -~\u{a0}-\u{ff}]{0,60}") {
        if let Ok(command) = Command::parse(octets.as_bytes(), &Leniency::default()) {
            let printed = line(&command);
            prop_assert_eq!(Command::parse(&printed, &Leniency::default()), Ok(command));
        }
    }

    #[test]
    fn any_octets_are_a_command_or_an_answer(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = Command::parse(&octets, &Leniency::default()) {
            let reply = error.reply();
            prop_assert!(reply.code() >= 400, "{}", reply);
            prop_assert!(reply.enhanced().is_some(), "rule 17: {}", reply);
        }
    }

    #[test]
    fn replies_are_printable(code in any::<u16>(), text in "\\PC{0,700}|[\\x00-\\x7f]{0,700}") {
        let reply = Reply::new(code, text);
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        let digits = reply.code().to_string();
        prop_assert!(out.ends_with(b"\r\n"));
        let lines: Vec<&[u8]> = out[..out.len() - 2].split(|octet| *octet == b'\n').collect();
        for (at, line) in lines.iter().enumerate() {
            let last = at + 1 == lines.len();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            prop_assert!(line.len() <= 510);
            prop_assert!(line.starts_with(digits.as_bytes()));
            prop_assert_eq!(line[3], if last { b' ' } else { b'-' });
            prop_assert!(line.iter().all(|octet| (b' '..=b'~').contains(octet)));
        }
    }
}

/// What another crate makes of the same line. It differs by design in leniency, so only lines that both know count.
#[test]
fn differs_from_smtp_proto_in_nothing_that_matters() {
    use smtp_proto::Request;

    let table = [
        ("EHLO bar.com", Verb::Ehlo),
        ("HELO bar.com", Verb::Helo),
        ("LHLO bar.com", Verb::Lhlo),
        ("MAIL FROM:<JQP@bar.com>", Verb::Mail),
        ("mail from:<>", Verb::Mail),
        ("MAIL FROM:<ned@ymir.claremont.edu> SIZE=500000 BODY=8BITMIME", Verb::Mail),
        ("MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ314159", Verb::Mail),
        ("RCPT TO:<Jones@XYZ.COM>", Verb::Rcpt),
        ("RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM", Verb::Rcpt),
        ("RCPT TO:<\"a b\"@example.com>", Verb::Rcpt),
        ("DATA", Verb::Data),
        ("BDAT 86 LAST", Verb::Bdat),
        ("BDAT 86", Verb::Bdat),
        ("RSET", Verb::Rset),
        ("VRFY Crispin", Verb::Vrfy),
        ("EXPN Example-People", Verb::Expn),
        ("HELP", Verb::Help),
        ("NOOP", Verb::Noop),
        ("QUIT", Verb::Quit),
        ("STARTTLS", Verb::StartTls),
        ("AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=", Verb::Auth),
        ("ETRN example.org", Verb::Etrn),
    ];
    for (line, verb) in table {
        let ours = Command::parse(line.as_bytes(), &Leniency::strict());
        assert_eq!(ours.as_ref().map(Command::verb), Ok(verb), "{line}");
        let octets = format!("{line}\r\n");
        let theirs = Request::parse(&mut octets.as_bytes().iter());
        let theirs = theirs.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        match (ours.expect("a command"), theirs) {
            (Command::Mail { reverse_path, parameters }, Request::Mail { from }) => {
                assert_eq!(reverse_path.to_string(), format!("<{}>", from.address));
                assert_eq!(parameters.size.unwrap_or_default(), from.size as u64);
                assert_eq!(parameters.envid.map(|id| id.as_str().to_owned()), from.env_id.map(|id| id.to_string()));
            }
            (Command::Rcpt { forward_path, .. }, Request::Rcpt { to }) => {
                assert_eq!(forward_path.to_string().replace('"', ""), format!("<{}>", to.address).replace('"', ""));
            }
            (Command::Bdat { octets, last }, Request::Bdat { chunk_size, is_last }) => {
                assert_eq!((octets, last), (chunk_size as u64, is_last));
            }
            (ours, theirs) => assert_eq!(
                format!("{:?}", ours.verb()).to_lowercase(),
                format!("{theirs:?}").split([' ', '{']).next().unwrap_or_default().to_lowercase(),
            ),
        }
    }
    // Both refuse.
    for line in ["MAIL FROM:<a@b", "BDAT x", "EHLO", "MAIL FROM:<a@b.example> SIZE=x"] {
        let octets = format!("{line}\r\n");
        assert!(Request::parse(&mut octets.as_bytes().iter()).is_err(), "{line}");
        assert!(Command::parse(line.as_bytes(), &Leniency::default()).is_err(), "{line}");
    }
}

proptest! {
    #[test]
    fn a_drop_file_reads_as_it_was_written(
        name in proptest::option::of("[^\\p{C}]{1,60}"),
        mail in mail(),
        recipients in proptest::collection::vec(mailbox(), 1..5),
        octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let Command::Mail { reverse_path: sender, mut parameters } = mail else { unreachable!("MAIL") };
        (parameters.size, parameters.auth) = (None, None);
        let path = |text: &String| address::ForwardPath::parse(text).unwrap();
        let recipients = recipients.iter().map(|text| (path(text), smtp::RcptParameters::default())).collect();
        let file = smtp::DropFile { full_name: name, sender, parameters, recipients, octets: octets.into() };
        let written = bytes::Bytes::from([&file.envelope()[..], &file.octets].concat());
        prop_assert_eq!(smtp::DropFile::parse(&written, &smtp::DropLimits::default()), Ok(file));
        // Cut short or lengthened, it is none.
        prop_assert!(smtp::DropFile::parse(&written.slice(..written.len() - 1), &smtp::DropLimits::default()).is_err());
        let longer = bytes::Bytes::from([&written[..], b"x"].concat());
        prop_assert!(smtp::DropFile::parse(&longer, &smtp::DropLimits::default()).is_err());
    }
}
