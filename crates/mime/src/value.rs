//! The values of structured fields: addresses, media types with their parameters, dates, text.
//!
//! Scanning is ours, since IMAP wants octets as they stand; decoding of words, charsets and dates is `mail-parser`'s,
//! behind functions of our own.

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::{DateTime, MessageParser};

/// A mailbox or a group's edge in an address list (RFC 5322 §3.4), undecoded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressItem {
    /// The display name.
    pub name: Option<Vec<u8>>,
    /// The local part; the name of a group that begins here; `None` where a group ends.
    pub mailbox: Option<Vec<u8>>,
    /// The domain; `None` for the edges of a group.
    pub host: Option<Vec<u8>>,
}

/// Most items of one list; the rest is not looked at.
const MAX_ADDRESSES: usize = 10_000;

/// The items of an address list, leniently: what cannot be read becomes a mailbox without domain.
#[must_use]
pub fn addresses(value: &[u8]) -> Vec<AddressItem> {
    let mut items = Vec::new();
    let mut tokens = Tokens { rest: value };
    // What stands before an angle, or is the address itself: the same octets, spaced otherwise.
    let mut phrase: Vec<u8> = Vec::new();
    let mut bare = AddressSpec::default();
    let mut comment: Option<Vec<u8>> = None;
    let mut angle: Option<AddressSpec> = None;
    let mut in_group = false;
    loop {
        let spaced = tokens.skip_space();
        let token = tokens.next();
        match token {
            Some(Token::Text(text)) => {
                if spaced && !phrase.is_empty() {
                    phrase.push(b' ');
                }
                phrase.extend_from_slice(&text);
                bare.push(&text, spaced);
            }
            Some(Token::Comment(text)) => comment = Some(text),
            Some(Token::Angle(address)) => angle = Some(address),
            Some(Token::Colon) => {
                if !in_group && angle.is_none() {
                    in_group = true;
                    let name = std::mem::take(&mut phrase);
                    bare = AddressSpec::default();
                    items.push(AddressItem { name: None, mailbox: Some(name), host: None });
                }
            }
            Some(Token::Comma | Token::Semicolon) | None => {
                let name = Some(std::mem::take(&mut phrase)).filter(|name| !name.is_empty());
                let bare = std::mem::take(&mut bare);
                let comment = comment.take();
                match (angle.take(), name) {
                    (Some(address), name) => items.push(address.item(name.or(comment))),
                    (None, Some(_)) => items.push(bare.item(comment)),
                    (None, None) => {}
                }
                if in_group && matches!(token, Some(Token::Semicolon) | None) {
                    in_group = false;
                    items.push(AddressItem::default());
                }
                if token.is_none() || items.len() >= MAX_ADDRESSES {
                    return items;
                }
            }
        }
    }
}

/// The pieces of an address, put together without the white space that RFC 5322 §4.4 allows between them.
#[derive(Debug, Default)]
struct AddressSpec {
    octets: Vec<u8>,
}

impl AddressSpec {
    fn push(&mut self, piece: &[u8], spaced: bool) {
        let joins = |octet: Option<&u8>| matches!(octet, None | Some(b'.' | b'@'));
        if spaced && !joins(self.octets.last()) && !joins(piece.first()) {
            self.octets.push(b' ');
        }
        self.octets.extend_from_slice(piece);
    }

    fn item(self, name: Option<Vec<u8>>) -> AddressItem {
        match self.octets.iter().rposition(|octet| *octet == b'@') {
            Some(at) => AddressItem {
                name,
                mailbox: Some(self.octets[..at].to_vec()),
                host: Some(self.octets[at + 1..].to_vec()),
            },
            None => AddressItem { name, mailbox: Some(self.octets), host: Some(Vec::new()) },
        }
    }
}

enum Token {
    Text(Vec<u8>),
    Comment(Vec<u8>),
    Angle(AddressSpec),
    Comma,
    Colon,
    Semicolon,
}

struct Tokens<'a> {
    rest: &'a [u8],
}

impl Tokens<'_> {
    /// Whether there was white space.
    fn skip_space(&mut self) -> bool {
        let rest = self.rest.trim_ascii_start();
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some
    }

    fn next(&mut self) -> Option<Token> {
        let (&first, rest) = self.rest.split_first()?;
        match first {
            b',' | b':' | b';' => {
                self.rest = rest;
                Some(match first {
                    b',' => Token::Comma,
                    b':' => Token::Colon,
                    _ => Token::Semicolon,
                })
            }
            b'"' => Some(Token::Text(self.quoted())),
            b'(' => Some(Token::Comment(self.comment())),
            b'<' => {
                self.rest = rest;
                Some(Token::Angle(self.angle()))
            }
            _ => {
                let end = encoded_word(self.rest).unwrap_or_else(|| {
                    let stop = |octet: &u8| b" \t\r\n,:;\"(<".contains(octet);
                    self.rest.iter().position(stop).unwrap_or(self.rest.len())
                });
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                Some(Token::Text(text.to_vec()))
            }
        }
    }

    /// An address in angles, the first of which is taken; source routes are nobody's address (RFC 5322 §4.4).
    fn angle(&mut self) -> AddressSpec {
        let mut address = AddressSpec::default();
        loop {
            let spaced = self.skip_space();
            match self.rest.first() {
                None => return address,
                Some(b'>') => {
                    self.rest = &self.rest[1..];
                    return address;
                }
                Some(b'"') => address.push(&self.quoted(), spaced),
                Some(b'(') => _ = self.comment(),
                Some(b':') if address.octets.starts_with(b"@") => {
                    self.rest = &self.rest[1..];
                    address = AddressSpec::default();
                }
                Some(_) => {
                    let stop = |octet: &u8| b" \t\r\n\":(>".contains(octet);
                    let behind = self.rest[1..].iter().position(stop).map_or(self.rest.len(), |at| at + 1);
                    address.push(&self.rest[..behind], spaced);
                    self.rest = &self.rest[behind..];
                }
            }
        }
    }

    /// A quoted string's content.
    fn quoted(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        let mut at = 1;
        while let Some(&octet) = self.rest.get(at) {
            match octet {
                b'\\' => {
                    at += 1;
                    content.extend(self.rest.get(at));
                }
                b'"' => break,
                b'\r' | b'\n' => {}
                _ => content.push(octet),
            }
            at += 1;
        }
        self.rest = self.rest.get(at + 1..).unwrap_or_default();
        content
    }

    fn comment(&mut self) -> Vec<u8> {
        let mut depth = 0_usize;
        let mut content = Vec::new();
        let mut at = 0;
        while let Some(&octet) = self.rest.get(at) {
            at += 1;
            match octet {
                b'\\' => {
                    content.extend(self.rest.get(at));
                    at += 1;
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            let opens = depth == 1 && octet == b'(';
            if !opens && !matches!(octet, b'\r' | b'\n') {
                content.push(octet);
            }
        }
        self.rest = self.rest.get(at..).unwrap_or_default();
        content
    }
}

/// The end of the encoded word at the front (RFC 2047 §2). In phrases of the wild it has commas and colons.
fn encoded_word(octets: &[u8]) -> Option<usize> {
    let inner = octets.strip_prefix(b"=?")?;
    let word = &inner[..inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len()).min(1_000)];
    let mut marks = memchr::memchr_iter(b'?', word);
    let (_, second) = (marks.next()?, marks.next()?);
    let end = memchr::memmem::find(&word[second + 1..], b"?=")?;
    Some(2 + second + 1 + end + 2)
}

fn without_breaks(octets: &[u8]) -> Vec<u8> {
    octets.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect()
}

/// A token with parameters: Content-Type, Content-Disposition (RFC 2045 §5.1, RFC 2183, RFC 2231).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parameterised {
    /// What stands before the first `;`, without comments.
    pub value: Vec<u8>,
    /// Parameters by name, continuations joined; charsets and percent octets of RFC 2231 as they stand.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Most parameters that are read.
const MAX_PARAMETERS: usize = 100;

impl Parameterised {
    /// Reads a value.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut pieces = split_parameters(value).into_iter();
        let mut value = pieces.next().unwrap_or_default();
        // Some leave out the first semicolon.
        let space = value.iter().position(u8::is_ascii_whitespace).filter(|at| value[*at..].contains(&b'='));
        let behind_space = space.map(|at| value.split_off(at));
        let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for piece in behind_space.into_iter().chain(pieces) {
            let Some(equals) = memchr::memchr(b'=', &piece) else { continue };
            let name = piece[..equals].trim_ascii().to_vec();
            let value = unquote(piece[equals + 1..].trim_ascii());
            if name.is_empty() {
                continue;
            }
            // RFC 2231 §3: `name*1`, `name*1*` continue `name*0`.
            let continued = name.iter().position(|octet| *octet == b'*').and_then(|star| {
                let number = name[star + 1..].strip_suffix(b"*").unwrap_or(&name[star + 1..]);
                let later = !number.is_empty() && number.iter().all(u8::is_ascii_digit) && number != b"0";
                later.then(|| name[..star].to_vec())
            });
            match continued.and_then(|base| {
                parameters
                    .iter_mut()
                    .rev()
                    .find(|(known, _)| known.get(..base.len()).is_some_and(|head| head.eq_ignore_ascii_case(&base)))
            }) {
                Some((_, whole)) => whole.extend_from_slice(&value),
                None => {
                    let name = match name.windows(2).position(|pair| pair == b"*0") {
                        Some(at) if name.ends_with(b"*") => [&name[..at], b"*"].concat(),
                        Some(at) => name[..at].to_vec(),
                        None => name,
                    };
                    parameters.push((name, value));
                }
            }
        }
        Self { value, parameters }
    }

    /// The parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| &value[..])
    }

    /// The parameter of this name, its extended form (RFC 2231 §4) undone.
    #[must_use]
    pub fn octets(&self, name: &str) -> Option<Vec<u8>> {
        let extended_value = || self.parameter(&format!("{name}*")).map(|value| extended(value).0);
        extended_value().or_else(|| self.parameter(name).map(<[u8]>::to_vec))
    }

    /// The parameter of this name as a reader sees it: in the charset it names, or with encoded words, which are not
    /// allowed there (RFC 2047 §5) and common all the same.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let Some(value) = self.parameter(&format!("{name}*")) else { return self.parameter(name).map(text) };
        let (octets, charset) = extended(value);
        Some(match charset_decoder(charset) {
            Some(decode) => decode(&octets),
            None => String::from_utf8_lossy(&octets).into_owned(),
        })
    }
}

/// An extended value without its charset, language and percent signs, and the charset (RFC 2231 §4).
fn extended(value: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut parts = value.splitn(3, |octet| *octet == b'\'');
    let (charset, coded) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(coded)) => (charset, coded),
        _ => (&b""[..], value),
    };
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let mut octets = Vec::with_capacity(coded.len());
    let mut at = 0;
    while let Some(&octet) = coded.get(at) {
        let pair = || Some(digit(*coded.get(at + 1)?)? << 4 | digit(*coded.get(at + 2)?)?);
        match pair().filter(|_| octet == b'%').and_then(|number| u8::try_from(number).ok()) {
            Some(coded) => {
                octets.push(coded);
                at += 3;
            }
            None => {
                octets.push(octet);
                at += 1;
            }
        }
    }
    (octets, charset)
}

/// The pieces between semicolons, comments and line breaks taken out; the value and [`MAX_PARAMETERS`] at most.
fn split_parameters(value: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut quoted = false;
    let mut comment = 0_usize;
    let mut escaped = false;
    for &octet in value {
        if matches!(octet, b'\r' | b'\n') {
            continue;
        }
        let last = pieces.len() - 1;
        if escaped {
            escaped = false;
        } else {
            match octet {
                b'\\' if quoted => escaped = true,
                b'"' if comment == 0 => quoted = !quoted,
                b'(' if !quoted => comment += 1,
                b')' if !quoted && comment > 0 => {
                    comment -= 1;
                    continue;
                }
                b';' if !quoted && comment == 0 => {
                    if pieces.len() > MAX_PARAMETERS {
                        break;
                    }
                    pieces.push(Vec::new());
                    continue;
                }
                _ => {}
            }
        }
        if comment == 0 {
            pieces[last].push(octet);
        }
    }
    pieces.into_iter().map(|piece| piece.trim_ascii().to_vec()).collect()
}

fn unquote(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"") else { return value.to_vec() };
    let mut out = Vec::with_capacity(inner.len());
    let mut octets = inner.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b'"' => break,
            b'\\' => out.extend(octets.next()),
            _ => out.push(octet),
        }
    }
    out
}

/// Text that names no charset and is not UTF-8: most often of this one.
pub(crate) fn latin(octets: &[u8]) -> String {
    charset_decoder(b"windows-1252")
        .map_or_else(|| String::from_utf8_lossy(octets).into_owned(), |decode| decode(octets))
}

/// The text of an unstructured value, its encoded words (RFC 2047) decoded.
#[must_use]
pub fn text(value: &[u8]) -> String {
    if value.is_ascii() && memchr::memmem::find(value, b"=?").is_none() {
        return String::from_utf8_lossy(&super::unfold(value)).into_owned();
    }
    if std::str::from_utf8(value).is_err() && memchr::memmem::find(value, b"=?").is_none() {
        return latin(&super::unfold(value));
    }
    let message = [b"Subject: ", &super::unfold(value)[..], b"\r\n\r\n"].concat();
    MessageParser::new()
        .parse_headers(&message[..])
        .and_then(|message| message.subject().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(value).into_owned())
}

/// The moment of a Date field, in seconds since 1970.
#[must_use]
pub fn date(value: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(value);
    DateTime::parse_rfc822(text.trim()).filter(DateTime::is_valid).map(|date| date.to_timestamp())
}

/// The message-ids in a value (Message-ID, In-Reply-To, References), with their brackets.
#[must_use]
pub fn message_ids(value: &[u8]) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    let mut rest = value;
    while let Some(start) = memchr::memchr(b'<', rest) {
        let Some(end) = memchr::memchr(b'>', &rest[start..]) else { break };
        ids.push(without_breaks(&rest[start..=start + end]));
        rest = &rest[start + end + 1..];
    }
    let word = value.trim_ascii();
    if ids.is_empty() && !word.is_empty() && !word.iter().any(|octet| octet.is_ascii_whitespace() || *octet == b'<') {
        // Some forget the brackets.
        ids.push([b"<", word, b">"].concat());
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: &str) -> String {
        let show =
            |text: Option<Vec<u8>>| text.map_or("-".to_owned(), |text| String::from_utf8_lossy(&text).into_owned());
        let items: Vec<String> = addresses(value.as_bytes())
            .into_iter()
            .map(|item| format!("{}|{}|{}", show(item.name), show(item.mailbox), show(item.host)))
            .collect();
        items.join(" ; ")
    }

    #[test]
    fn address_lists() {
        // RFC 5322 Appendix A
        let table = [
            ("John Doe <jdoe@machine.example>", "John Doe|jdoe|machine.example"),
            ("\"Joe Q. Public\" <john.q.public@example.com>", "Joe Q. Public|john.q.public|example.com"),
            (
                "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                "Mary Smith|mary|x.test ; -|jdoe|example.org ; Who?|one|y.test",
            ),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                "-|boss|nil.test ; Giant; \"Big\" Box|sysservices|example.net",
            ),
            (
                "A Group:Ed Jones <joe@where.test>,joe@where.test;",
                "-|A Group|- ; Ed Jones|joe|where.test ; -|joe|where.test ; -|-|-",
            ),
            ("Undisclosed recipients:;", "-|Undisclosed recipients|- ; -|-|-"),
            ("joe@where.test (Joe (the man))", "Joe (the man)|joe|where.test"),
            ("=?UTF-8?Q?J=C3=B6rg?= <j@x>", "=?UTF-8?Q?J=C3=B6rg?=|j|x"),
            ("<@a,@b:joe@where.test>", "-|joe|where.test"),
            ("nobody", "-|nobody|"),
            ("", ""),
            (",,;:", "-||- ; -|-|-"),
            ("a . b @ c", "-|a.b|c"),
            // RFC 5322 Appendix A.5 and A.6
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete|pete|silly.test"),
            (
                "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n  joe@example.org, John <jdoe@one.test> (my dear friend); (the end of the group)",
                "-|A Group|- ; Chris Jones|c|public.example ; -|joe|example.org ; John|jdoe|one.test ; -|-|-",
            ),
            ("Joe Q. Public <john.q.public@example.com>", "Joe Q. Public|john.q.public|example.com"),
            (
                "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
                "Mary Smith|mary|example.net ; -|jdoe|test.example",
            ),
            ("John Doe <jdoe@machine(comment).  example>", "John Doe|jdoe|machine.example"),
            ("\"a \\\" b\"@c, x <\"d > e\"@f>", "-|a \" b|c ; x|d > e|f"),
            ("=?utf-8?Q?Doe,_J:?= <j@x>, =?no, k@y", "=?utf-8?Q?Doe,_J:?=|j|x ; -|=?no| ; -|k|y"),
            ("D <>, <a@b, c@d", "D|| ; -|a@b, c|d"),
        ];
        for (value, expected) in table {
            assert_eq!(printed(value), expected, "{value}");
        }
    }

    #[test]
    fn parameters() {
        let parsed = Parameterised::parse(b"text/plain (note); charset=\"us-\\ascii\"; Name = a b;\r\n x");
        assert_eq!(parsed.value, b"text/plain");
        assert_eq!(parsed.parameter("CHARSET"), Some(&b"us-ascii"[..]));
        assert_eq!(parsed.parameter("name"), Some(&b"a b"[..]));
        // RFC 2231 §4.1
        let parsed =
            Parameterised::parse(b"x; title*0*=us-ascii'en'This%20is%20; title*1*=even%20more; title*2=\"it's\"");
        assert_eq!(parsed.parameters, [(b"title*".to_vec(), b"us-ascii'en'This%20is%20even%20moreit's".to_vec())]);
        assert_eq!(parsed.text("title").as_deref(), Some("This is even moreit's"));
        let many: Vec<String> = (0..2 * MAX_PARAMETERS).map(|number| format!("; p{number}=v")).collect();
        let parsed = Parameterised::parse(format!("x{}", many.concat()).as_bytes());
        assert_eq!(parsed.parameters.len(), MAX_PARAMETERS);
        let parsed = Parameterised::parse(b"attachment filename*=ISO-8859-1''na%EFve%zz%2; name==?utf-8?q?=c3=bc?=");
        assert_eq!(parsed.value, b"attachment");
        assert_eq!(parsed.text("filename").as_deref(), Some("na\u{ef}ve%zz%2"));
        assert_eq!((parsed.text("name").as_deref(), parsed.text("x")), (Some("\u{fc}"), None));
        let parsed = Parameterised::parse(b"x; a*0=\"1;\"; a*1=2");
        assert_eq!(parsed.parameters, [(b"a".to_vec(), b"1;2".to_vec())]);
    }

    #[test]
    fn texts_dates_and_ids() {
        assert_eq!(text(b"=?ISO-8859-1?Q?Andr=E9?= =?UTF-8?B?IMOp?="), "Andr\u{e9} \u{e9}");
        assert_eq!(text(b" plain\r\n folded "), "plain folded");
        assert_eq!(date(b"Fri, 21 Nov 1997 09:55:06 -0600"), Some(880_127_706));
        assert_eq!(date(b"nonsense"), None);
        assert_eq!(message_ids(b" a@b\r\n"), [b"<a@b>".to_vec()]);
        assert!(message_ids(b"Your message of Monday").is_empty() && message_ids(b" <").is_empty());
        assert_eq!(message_ids(b"<a@b>\r\n <c@d> x <e"), [b"<a@b>".to_vec(), b"<c@d>".to_vec()]);
        assert_eq!(text(b"caf\xe9"), "caf\u{e9}");
    }
}
