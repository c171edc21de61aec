//! JSON bodies: read once, field by field, with the text of each value at hand.

use super::{Error, Field, Problem};
use crate::json::{has_lone_surrogate, nests_within};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The levels that a body may be nested. A batch of events has three itself; the rest is for `data` that is sent as JSON
/// instead of as a string. Clients decode it with parsers of their own, of which some recurse.
pub(super) const MAX_DEPTH: usize = 64;

/// One JSON object.
pub(super) struct Object<'a> {
    /// Its place in a batch.
    event: Option<usize>,
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// # Errors
    /// 400 for everything that is not one well-formed JSON object that can be told in UTF-8.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Object<'a>, Error> {
        let text = std::str::from_utf8(body).map_err(|_| Error::BodyNotUtf8)?;
        let whole: &RawValue = serde_json::from_str(text)
            .map_err(|error| Error::BodyNotJson { line: error.line(), column: error.column() })?;
        if !nests_within(text, MAX_DEPTH) {
            return Err(Error::BodyTooDeep { limit: MAX_DEPTH });
        }
        if has_lone_surrogate(text) {
            return Err(Error::LoneSurrogate);
        }
        Object::of_value(whole, None).ok_or(Error::BodyNotObject)
    }

    /// `None` if the value is no object.
    pub(super) fn of_value(value: &'a RawValue, event: Option<usize>) -> Option<Object<'a>> {
        let Entries(entries) = serde_json::from_str(value.get()).ok()?;
        Some(Object { event, entries })
    }

    /// The value of a field; `null` is a value.
    pub(super) fn value(&self, name: &'static str) -> Result<Option<&'a RawValue>, Error> {
        let mut values = self.entries.iter().filter(|(known, _)| known == name).map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(self.wrong(name, Problem::Repeated)),
        }
    }

    /// The value of a field that may be absent; `null` is as good as absent, as some SDKs write every field they know.
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<&'a RawValue>, Error> {
        Ok(self.value(name)?.filter(|value| value.get() != "null"))
    }

    pub(super) fn optional_string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Error> {
        let Some(value) = self.optional(name)? else { return Ok(None) };
        let text = string(value).ok_or_else(|| self.wrong(name, Problem::Type { expected: "a string" }))?;
        Ok(Some(text))
    }

    pub(super) fn string(&self, name: &'static str) -> Result<Cow<'a, str>, Error> {
        let value = self.value(name)?.ok_or_else(|| self.wrong(name, Problem::Missing))?;
        string(value).ok_or_else(|| self.wrong(name, Problem::Type { expected: "a string" }))
    }

    pub(super) fn list(&self, name: &'static str) -> Result<Vec<&'a RawValue>, Error> {
        let value = self.value(name)?.ok_or_else(|| self.wrong(name, Problem::Missing))?;
        serde_json::from_str(value.get())
            .map_err(|_| self.wrong(name, Problem::Type { expected: "an array" }))
    }

    pub(super) fn field(&self, name: &'static str, item: Option<usize>) -> Field {
        Field { event: self.event, name, item }
    }

    pub(super) fn wrong(&self, name: &'static str, problem: Problem) -> Error {
        Error::Field { field: self.field(name, None), problem }
    }
}

/// The text of a JSON string; `None` for another value.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(value.get()).ok()?;
    Some(text)
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The entries of an object in their order, repeated names included.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadEntries;

        impl<'de> Visitor<'de> for ReadEntries {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(ReadEntries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(body: &str) -> Option<Error> {
        Object::of_body(body.as_bytes()).err()
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_wherever_it_stands() {
        for half in [
            r"\ud800",
            r"\uDC00",
            r"\uD83D\u0041",
            r"\ud83d ",
            r"\ude00\ud83d",
            r"\ud83d\ud83d\ude00",
            r"\\\udfff",
        ] {
            for body in [
                format!(r#"{{"a":"{half}"}}"#),
                format!(r#"{{"{half}":1}}"#),
                format!(r#"{{"a":[{{"b":"x{half}"}}]}}"#),
            ] {
                assert_eq!(error(&body), Some(Error::LoneSurrogate), "{body}");
            }
        }
        for whole in
            [r"\ud83d\ude00", r"\uD83D\uDE00\uD83D\uDE00", r"\\ud800", r"\\\\ud800", r#"\"\u00e9"#, "😀"]
        {
            assert_eq!(error(&format!(r#"{{"a":"{whole}"}}"#)), None, "{whole}");
        }
    }

    #[test]
    fn depth_has_a_limit_outside_strings_only() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert_eq!(error(&nested(MAX_DEPTH)), None);
        assert_eq!(error(&nested(MAX_DEPTH + 1)), Some(Error::BodyTooDeep { limit: MAX_DEPTH }));
        assert_eq!(error(&nested(100_000)), Some(Error::BodyTooDeep { limit: MAX_DEPTH }));
        assert_eq!(error(&format!(r#"{{"a":"{}"}}"#, r#"[\"{"#.repeat(100))), None);
        let wide = format!(r#"{{"a":[{}]}}"#, ["[[]]"; 100].join(","));
        assert_eq!(error(&wide), None);
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for body in [
            "",
            " ",
            "{",
            "{}}",
            "{} {}",
            r#"{"a":1,}"#,
            r#"{"a":"\x"}"#,
            "{'a':1}",
            "\u{feff}{}",
            "nul",
            r#"{"a":"\u12"}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(matches!(error(body), Some(Error::BodyNotJson { .. })), "{body:?}");
        }
        for body in ["null", "[]", "1", "\"{}\"", "true"] {
            assert_eq!(error(body), Some(Error::BodyNotObject), "{body}");
        }
        assert_eq!(Object::of_body(b"{\"a\":\"\xff\"}").err(), Some(Error::BodyNotUtf8));
        assert_eq!(error(" { } \n"), None);
    }

    #[test]
    fn a_repeated_field_is_refused_when_it_is_wanted() {
        let object = Object::of_body(br#"{"a":1,"b":2,"\u0061":3,"c":null}"#).expect("an object");
        assert!(matches!(object.value("a"), Err(Error::Field { problem: Problem::Repeated, .. })));
        assert_eq!(object.value("b").expect("once").map(RawValue::get), Some("2"));
        assert!(object.value("d").expect("absent").is_none());
        assert_eq!(object.value("c").expect("once").map(RawValue::get), Some("null"));
        assert!(object.optional("c").expect("once").is_none());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Object::of_body(&body);
        }

        #[test]
        fn a_body_is_taken_exactly_if_a_strict_parser_takes_it(
            body in r#"\{"a":("(x|\\u[dD][8-9a-fA-F][0-9]{2}|\\u0041|\\\\|\\"|é){0,6}"|[\[\]{}]{1,4}|null)\}"#
        ) {
            let strict = serde_json::from_str::<serde_json::Value>(&body);
            prop_assert_eq!(Object::of_body(body.as_bytes()).is_ok(), strict.is_ok(), "{}", body);
        }
    }
}
