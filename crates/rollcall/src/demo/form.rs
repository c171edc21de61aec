//! Bodies as HTML forms and the client SDKs send them.

/// The fields of an `application/x-www-form-urlencoded` body, in order. `None` if one is not UTF-8.
pub(super) fn fields(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let field = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((unescaped(&name.replace('+', " "))?, unescaped(&value.replace('+', " "))?))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(field).collect()
}

/// Resolves `%xx`. An escape that is none stays as it is. `None` if the result is not UTF-8.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let mut byte = [0];
        match digits.map(|digits| hex::decode_to_slice(digits, &mut byte)) {
            Some(Ok(())) => {
                bytes.push(byte[0]);
                rest = &tail[2..];
            }
            Some(Err(_)) | None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_apart() {
        let check = |body: &str, expected: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            assert_eq!(fields(body.as_bytes()), Some(expected.iter().map(owned).collect()), "{body}");
        };
        check("", &[]);
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("a=1&a=2&&c", &[("a", "1"), ("a", "2"), ("c", "")]);
        check("user_id=jos%C3%A9+x%2By&q=a=b", &[("user_id", "josé x+y"), ("q", "a=b")]);
        check("p=100%&q=%zz&r=%4", &[("p", "100%"), ("q", "%zz"), ("r", "%4")]);
        assert_eq!(fields(b"a=%ff"), None);
        assert_eq!(fields(b"a=\xff"), None);
    }
}
