//! Percent-escapes, as API paths and query strings carry them.

use std::{borrow::Cow, fmt::Write};

/// Replaces `%41` by the byte it stands for. What is no escape stays as it is: SDKs send values unescaped, so a `%` is
/// as likely to be a percent sign. `+` is a plus.
pub(super) fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(decoded)
}

/// Escapes everything but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
    }
    encoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_escape_is_literal() {
        let check = |text: &str, decoded: &[u8]| assert_eq!(&*decode(text), decoded, "{text}");
        check("a%7Cb", b"a|b");
        check("a%7cb", b"a|b");
        check("jos%C3%A9", "josé".as_bytes());
        check("%ff", b"\xff");
        check("%2541", b"%41");
        check("a+b", b"a+b");
        check("100%", b"100%");
        check("%4", b"%4");
        check("%zz%41", b"%zzA");
        check("%%41", b"%A");
        check("%+1", b"%+1");
        check("é%é", "é%é".as_bytes());
        check("", b"");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text: String) {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded).into_owned(), text.into_bytes());
        }
    }
}
