//! What an application says of a user when it signs them in. `docs/PROTOCOL.md` §2.4.

use crate::json;
use ids::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// The signed text is kept as it came: echoed, never written anew, since any other spelling is another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    pub id: UserId,
    /// The users to hear about, without repetition, in the order given. Not cut to any limit yet.
    pub watchlist: Vec<UserId>,
    /// There was a watchlist, and it was no array: the application ought to be told.
    pub watchlist_ignored: bool,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserData {
    #[error("user_data must be at most 60 KiB")]
    TooLarge,
    #[error("user_data must not nest deeper than 32 levels")]
    TooDeep,
    #[error("user_data must be a JSON object without duplicate keys")]
    NotAnObject,
    #[error("user_data must have an `id` that is a string of 1 to 200 characters without control characters")]
    Id,
}

/// A sign-in may carry a long watchlist, but must fit a frame.
pub const MAX_USER_DATA_BYTES: usize = 60 * 1024;
const MAX_DEPTH: usize = 32;

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    /// Free, but parsers differ on which of two they take.
    #[serde(borrow, rename = "user_info")]
    _user_info: Option<&'a RawValue>,
    #[serde(borrow)]
    watchlist: Option<&'a RawValue>,
}

impl UserData {
    /// Reads the text of a sign-in whose signature has been verified.
    ///
    /// # Errors
    /// See [`InvalidUserData`]. A watchlist of another type than an array is no error, but empty; so are its entries of
    /// other types than string and integer left out.
    pub fn parse(text: String) -> Result<UserData, InvalidUserData> {
        if text.len() > MAX_USER_DATA_BYTES {
            return Err(InvalidUserData::TooLarge);
        }
        if !json::nests_within(&text, MAX_DEPTH) {
            return Err(InvalidUserData::TooDeep);
        }
        if json::has_lone_surrogate(&text) {
            return Err(InvalidUserData::NotAnObject);
        }
        if !text.trim_start().starts_with('{') {
            return Err(InvalidUserData::NotAnObject); // serde would take an array for a struct
        }
        let fields: Fields<'_> = serde_json::from_str(&text).map_err(|_| InvalidUserData::NotAnObject)?;
        let id =
            json::Text::of(fields.id).given().and_then(|id| id.parse().ok()).ok_or(InvalidUserData::Id)?;
        let (watchlist, watchlist_ignored) = match fields.watchlist.map(RawValue::get) {
            None | Some("null") => (Vec::new(), false),
            Some(list) => match serde_json::from_str(list) {
                Ok(entries) => (watchlist(entries), false),
                Err(_) => (Vec::new(), true),
            },
        };
        Ok(UserData { id, watchlist, watchlist_ignored, text })
    }
}

/// The entries that name users: strings, and integers in their decimal form.
fn watchlist(entries: Vec<&RawValue>) -> Vec<UserId> {
    let mut seen = HashSet::new();
    entries.into_iter().filter_map(entry).filter(|user| seen.insert(user.clone())).collect()
}

fn entry(entry: &RawValue) -> Option<UserId> {
    let raw = entry.get();
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return raw.parse().ok(); // as written: large integers must not pass through a float
    }
    serde_json::from_str::<String>(raw).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<UserData, InvalidUserData> {
        UserData::parse(text.to_owned())
    }

    fn watched(text: &str) -> Vec<String> {
        let data = parse(text).expect("valid user_data");
        data.watchlist.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_text_is_kept_as_it_came() {
        for text in
            [r#"{"id":"user-123","name":"Ada"}"#, r#"{"id": "u", "x": "\u00c4 \/"}"#, " {\"id\":\"u\"}\n"]
        {
            assert_eq!(parse(text).map(|data| data.text), Ok(text.to_owned()));
        }
        assert_eq!(
            parse(r#"{"\u0069d":"jos\u00e9"}"#).map(|data| data.id.to_string()),
            Ok("josé".to_owned())
        );
    }

    #[test]
    fn an_id_is_a_non_empty_string() {
        for id in [
            "null",
            "1",
            "1.5",
            "true",
            "[]",
            "{}",
            r#""""#,
            r#""a\nb""#,
            &format!("\"{}\"", "x".repeat(201)),
        ] {
            assert_eq!(parse(&format!(r#"{{"id":{id}}}"#)), Err(InvalidUserData::Id), "{id}");
        }
        assert_eq!(parse("{}"), Err(InvalidUserData::Id));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in [
            "",
            "null",
            "1",
            "\"x\"",
            "[]",
            r#"["u",null,[]]"#,
            "{",
            r#"{"id":"u"}{}"#,
            r#"{"id":"u",}"#,
            r#"{"id":"a","id":"b"}"#,
            r#"{"id":"a","\u0069d":"b"}"#,
            r#"{"id":"a","watchlist":[],"watchlist":["b"]}"#,
            r#"{"id":"\ud800"}"#,
            r#"{"id":"a","user_info":"\udc00"}"#,
        ] {
            assert_eq!(parse(text), Err(InvalidUserData::NotAnObject), "{text}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let nested = |depth: usize| format!(r#"{{"id":"u","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(31)).is_ok());
        assert_eq!(parse(&nested(32)), Err(InvalidUserData::TooDeep));
        assert_eq!(parse(&nested(20_000)), Err(InvalidUserData::TooDeep));
        let padded = |bytes: usize| format!("{}{{\"id\":\"u\"}}", " ".repeat(bytes - 10));
        assert!(parse(&padded(MAX_USER_DATA_BYTES)).is_ok());
        assert_eq!(parse(&padded(MAX_USER_DATA_BYTES + 1)), Err(InvalidUserData::TooLarge));
    }

    #[test]
    fn a_watchlist_has_strings_and_integers_once_each() {
        assert_eq!(watched(r#"{"id":"u","watchlist":["b","a","b"]}"#), ["b", "a"]);
        assert_eq!(
            watched(r#"{"id":"u","watchlist":[7,"7",-1,90071992547409931]}"#),
            ["7", "-1", "90071992547409931"]
        );
        assert_eq!(
            watched(r#"{"id":"u","watchlist":["",null,1.5,true,{},["x"],"a\u0000",1e3,"ok"]}"#),
            ["ok"]
        );
        assert!(watched(r#"{"id":"u"}"#).is_empty());
    }

    #[test]
    fn a_watchlist_that_is_no_array_is_ignored_and_that_is_known() {
        let check = |list: &str, ignored: bool| {
            let data = parse(&format!(r#"{{"id":"u","watchlist":{list}}}"#)).expect("valid user_data");
            assert_eq!((data.watchlist, data.watchlist_ignored), (Vec::new(), ignored), "{list}");
        };
        ["null", "[]", "[null]"].into_iter().for_each(|list| check(list, false));
        ["{}", "\"a\"", "7", "true"].into_iter().for_each(|list| check(list, true));
    }
}
