//! Octets of responses: strings in the form the client can read (rule 18), and the pieces FETCH is made of.

use std::io::Write as _;

use bytes::{BufMut, BytesMut};

/// The longest quoted string; longer ones are literals.
const MAX_QUOTED: usize = 1_000;

/// Whether octets may stand in a quoted string: no CR, LF or NUL ever, 8-bit only as valid UTF-8 where `utf8` is agreed.
fn is_quotable(octets: &[u8], utf8: bool) -> bool {
    octets.len() <= MAX_QUOTED
        && !octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0) || (!utf8 && *octet >= 0x80))
        && (!utf8 || std::str::from_utf8(octets).is_ok())
}

/// Appends `string`: quoted where it can be, else a literal. NUL, which neither can hold, is left out.
pub fn string(out: &mut BytesMut, octets: &[u8], utf8: bool) {
    if is_quotable(octets, utf8) {
        out.put_u8(b'"');
        for octet in octets {
            if matches!(octet, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(*octet);
        }
        out.put_u8(b'"');
    } else if octets.contains(&0) {
        let without: Vec<u8> = octets.iter().copied().filter(|octet| *octet != 0).collect();
        string(out, &without, utf8);
    } else {
        number(out, octets.len() as u64, "{", "}\r\n");
        out.put_slice(octets);
    }
}

/// Appends `nstring`.
pub fn nstring(out: &mut BytesMut, octets: Option<&[u8]>, utf8: bool) {
    match octets {
        Some(octets) => string(out, octets, utf8),
        None => out.put_slice(b"NIL"),
    }
}

/// Appends `astring`: an atom where it can be.
pub fn astring(out: &mut BytesMut, octets: &[u8], utf8: bool) {
    let atom = !octets.is_empty()
        && octets.iter().all(|octet| crate::parse::is_astring_octet(*octet))
        && !octets.eq_ignore_ascii_case(b"NIL");
    if atom { out.put_slice(octets) } else { string(out, octets, utf8) }
}

/// Appends a number between two texts.
pub fn number(out: &mut BytesMut, number: u64, before: &str, after: &str) {
    out.put_slice(before.as_bytes());
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
    out.put_slice(after.as_bytes());
}

/// Appends text made by `format_args!`.
pub fn print(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = out.writer().write_fmt(text);
}

/// Appends `date-time` in its quotes: seconds since 1970, minutes east.
pub fn date_time(out: &mut BytesMut, unix: i64, offset_minutes: i16) {
    let local = unix.saturating_add(i64::from(offset_minutes) * 60);
    let date = jiff::Timestamp::from_second(local).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let month =
        usize::try_from(date.month() - 1).ok().and_then(|month| crate::parse::MONTHS.get(month)).unwrap_or(&"Jan");
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let zone = offset_minutes.unsigned_abs();
    print(
        out,
        format_args!(
            "\"{:2}-{month}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}\"",
            date.day(),
            date.year(),
            date.hour(),
            date.minute(),
            date.second(),
            zone / 60,
            zone % 60
        ),
    );
}

/// Appends a list of flags in parentheses.
pub fn flags<'a>(out: &mut BytesMut, flags: impl IntoIterator<Item = &'a str>) {
    out.put_u8(b'(');
    for (at, flag) in flags.into_iter().enumerate() {
        if at > 0 {
            out.put_u8(b' ');
        }
        out.put_slice(flag.as_bytes());
    }
    out.put_u8(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(octets: &[u8], utf8: bool) -> String {
        let mut out = BytesMut::new();
        string(&mut out, octets, utf8);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings_take_the_form_that_can_hold_them() {
        // rule 18
        assert_eq!(encoded(b"a \"b\" \\", false), "\"a \\\"b\\\" \\\\\"");
        assert_eq!(encoded(b"a\r\nb", false), "{4}\r\na\r\nb");
        assert_eq!(encoded(b"a\rb", true), "{3}\r\na\rb");
        assert_eq!(encoded("é".as_bytes(), false), "{2}\r\né");
        assert_eq!(encoded("é".as_bytes(), true), "\"é\"");
        assert!(encoded(b"\xff", true).starts_with("{1}\r\n"));
        assert_eq!(encoded(b"a\0b", false), "\"ab\"");
        assert_eq!(encoded(b"", false), "\"\"");
        assert!(encoded(&[b'a'; 1_000], false).starts_with('"'));
        assert!(encoded(&[b'a'; 1_001], false).starts_with("{1001}"));
        let atom = |octets: &[u8]| {
            let mut out = BytesMut::new();
            astring(&mut out, octets, false);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!((atom(b"INBOX"), atom(b"nil"), atom(b"a b")), ("INBOX".into(), "\"nil\"".into(), "\"a b\"".into()));
    }

    #[test]
    fn dates_print_with_their_zone() {
        let mut out = BytesMut::new();
        date_time(&mut out, 837_561_600 + 9_863 + 7 * 3_600, -420);
        assert_eq!(&out[..], b"\"17-Jul-1996 02:44:23 -0700\"");
        out.clear();
        date_time(&mut out, 0, 90);
        assert_eq!(&out[..], b"\" 1-Jan-1970 01:30:00 +0130\"");
        out.clear();
        date_time(&mut out, i64::MAX, 0);
        assert_eq!(&out[..], b"\" 1-Jan-1970 00:00:00 +0000\"");
    }
}
