//! What a JSON parser leaves unchecked in text that it passes through, and fields that may be of any type.

use serde_json::value::RawValue;

/// Whether objects and arrays in `json` nest at most `limit` deep. Reads bytes, so it takes no stack.
pub(crate) fn nests_within(json: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return false;
        }
    }
    true
}

/// Whether `json` escapes half of a UTF-16 surrogate pair without the other half: no character, though parsers that
/// pass a value through let it pass.
pub(crate) fn has_lone_surrogate(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    // Whether the escape right before was a leading surrogate.
    let mut leading = false;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            if leading {
                return true;
            }
            at += 1;
            continue;
        }
        let unit = match bytes.get(at + 1) {
            Some(b'u') => json.get(at + 2..at + 6).and_then(|digits| u16::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        match unit {
            Some(0xd800..=0xdbff) if !leading => leading = true,
            Some(0xdc00..=0xdfff) if leading => leading = false,
            Some(0xd800..=0xdfff) => return true,
            _ if leading => return true,
            _ => {}
        }
        at += if unit.is_some() { 6 } else { 2 };
    }
    leading
}

/// A field that ought to be a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Not there, or null.
    Absent,
    Given(String),
    /// There, and not a string.
    OfAnotherType,
}

impl Text {
    pub(crate) fn of(field: Option<&RawValue>) -> Text {
        match field.map(RawValue::get) {
            None | Some("null") => Text::Absent,
            Some(raw) => serde_json::from_str(raw).map_or(Text::OfAnotherType, Text::Given),
        }
    }

    pub(crate) fn given(self) -> Option<String> {
        match self {
            Text::Given(text) => Some(text),
            Text::Absent | Text::OfAnotherType => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(nests_within(r#"{"a":[1,{"b":2}]}"#, 3));
        assert!(!nests_within(r#"{"a":[1,{"b":2}]}"#, 2));
        assert!(nests_within(r#"{"a":"[[[[\"[["}"#, 1));
        assert!(nests_within(&r#"{"a":{}},"#.repeat(1000), 2));
        assert!(!nests_within(&"[".repeat(100_000), 32));
    }

    #[test]
    fn half_a_surrogate_pair_is_found() {
        let check = |json: &str, lone| assert_eq!(has_lone_surrogate(json), lone, "{json}");
        check(r#""\ud83d\ude00""#, false);
        check(r#""\uD83D\uDE00\n""#, false);
        check(r#""\ud83d""#, true);
        check(r#""\ud83dx\ude00""#, true);
        check(r#""\ud83d\n\ude00""#, true);
        check(r#""\ude00""#, true);
        check(r#""\ud83d\ud83d\ude00""#, true);
        check(r#""\\ud83d""#, false);
        check(r#""\u00e9 \u12""#, false);
        check("é日本😀", false);
        check("\\", false);
        check("\\u", false);
    }
}
