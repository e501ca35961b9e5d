//! Local parts (RFC 5321 §4.1.2, RFC 6531 §3.3).

use std::fmt;

use nom::branch::alt;
use nom::bytes::complete::{take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, recognize, value};
use nom::multi::{many0, separated_list1};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};
use unicode_normalization::UnicodeNormalization as _;

use crate::{AddressError, MAX_LOCAL_PART};

/// What stands before the `@`, without the quoting it came with; in NFC (RFC 6532 §3.1).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LocalPart(String);

impl LocalPart {
    /// Reads a dot-string or a quoted string.
    ///
    /// # Errors
    /// `LocalPart`, `TooLong`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_LOCAL_PART {
            return Err(AddressError::TooLong { limit: MAX_LOCAL_PART });
        }
        let (_, content) =
            all_consuming(alt((quoted_string, dot_string))).parse(text).map_err(|_| AddressError::LocalPart)?;
        Ok(Self(content.nfc().collect()))
    }

    /// The content, quoting removed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user and the detail behind the first separator (RFC 5233 §1); a separator in front separates nothing.
    #[must_use]
    pub fn split_detail(&self, separator: char) -> (&str, Option<&str>) {
        match self.0.split_once(separator) {
            Some((user, detail)) if !user.is_empty() => (user, Some(detail)),
            _ => (&self.0, None),
        }
    }

    /// Whether it reads like an address of its own, `a%b`, `b!a` or `a@b`, which some system might route (rule 12).
    #[must_use]
    pub fn looks_routed(&self) -> bool {
        self.0.contains(['%', '!', '@'])
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if all_consuming(dot_string).parse(&self.0).is_ok() {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        f.write_str("\"")
    }
}

/// `atext` of RFC 5322 §3.2.3, with the UTF-8 of RFC 6531 §3.3.
fn is_atext(character: char) -> bool {
    if character.is_ascii() {
        character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character)
    } else {
        !character.is_control()
    }
}

/// `Dot-string = Atom *("." Atom)`
fn dot_string(input: &str) -> IResult<&str, String> {
    let atoms = separated_list1(char('.'), take_while1(is_atext));
    recognize(atoms).map(str::to_owned).parse(input)
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`
fn quoted_string(input: &str) -> IResult<&str, String> {
    let content = many0(alt((quoted_pair_smtp, qtext_smtp)));
    delimited(char('"'), content, char('"')).map(|pieces| pieces.concat()).parse(input)
}

/// `quoted-pairSMTP = %d92 %d32-126`
fn quoted_pair_smtp(input: &str) -> IResult<&str, &str> {
    preceded(char('\\'), take_while_m_n(1, 1, |character: char| matches!(character, ' '..='~'))).parse(input)
}

/// `qtextSMTP = %d32-33 / %d35-91 / %d93-126`, and UTF-8
fn qtext_smtp(input: &str) -> IResult<&str, &str> {
    let is_qtext = |character: char| match character {
        '"' | '\\' => false,
        ' '..='~' => true,
        _ => !character.is_ascii() && !character.is_control(),
    };
    value((), take_while1(is_qtext)).parse(input)?;
    take_while1(is_qtext).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts() {
        let table: [(&str, Option<(&str, &str)>); 16] = [
            ("ann", Some(("ann", "ann"))),
            ("ann.b+c", Some(("ann.b+c", "ann.b+c"))),
            ("\"ann\"", Some(("ann", "ann"))),
            ("\"a b\"", Some(("a b", "\"a b\""))),
            ("\"a\\\"b\"", Some(("a\"b", "\"a\\\"b\""))),
            ("\"a\\b\"", Some(("ab", "ab"))),
            ("\"a@b\"", Some(("a@b", "\"a@b\""))),
            ("\"\"", Some(("", "\"\""))),
            ("用户", Some(("用户", "用户"))),
            ("e\u{301}", Some(("\u{e9}", "\u{e9}"))),
            (".a", None),
            ("a..b", None),
            ("a.", None),
            ("", None),
            ("a b", None),
            ("\"a\nb\"", None),
        ];
        for (text, expected) in table {
            let parsed = LocalPart::parse(text).ok();
            let found = parsed.as_ref().map(|local| (local.as_str().to_owned(), local.to_string()));
            assert_eq!(found, expected.map(|(content, printed)| (content.to_owned(), printed.to_owned())), "{text}");
        }
        assert!(LocalPart::parse("a\0").is_err());
        assert!(LocalPart::parse(&"a".repeat(64)).is_ok());
        assert_eq!(LocalPart::parse(&"a".repeat(65)), Err(AddressError::TooLong { limit: 64 }));
    }

    #[test]
    fn details_and_routes() {
        let split = |text| {
            let local = LocalPart::parse(text).unwrap();
            let (user, detail) = local.split_detail('+');
            (user.to_owned(), detail.map(str::to_owned), local.looks_routed())
        };
        assert_eq!(split("a+b+c"), ("a".into(), Some("b+c".into()), false));
        assert_eq!(split("+b"), ("+b".into(), None, false));
        assert_eq!(split("a+"), ("a".into(), Some(String::new()), false));
        // rule 12
        assert!(split("a%b").2 && split("b!a").2 && split("\"a@b\"").2);
    }
}
