//! A query string as a list of parameters, and the ways in which SDKs spell it when they sign it.

use super::{Error, percent};
use std::{borrow::Cow, collections::BTreeMap};

/// The most bytes of a query string: an event of 10 KiB would not fit one, but belongs into a body.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;

/// The most parameters of a query string. Five belong to authentication, and no endpoint has more than six others.
pub const MAX_PARAMETERS: usize = 32;

const AUTHENTICATION: [&[u8]; 5] =
    [b"auth_key", b"auth_timestamp", b"auth_version", b"body_md5", b"auth_signature"];

/// Checked: bounded, and every name is there once.
#[derive(Clone)]
pub(super) struct Query<'a>(Vec<Parameter<'a>>);

#[derive(Clone)]
struct Parameter<'a> {
    /// Decoded, in lower case.
    name: Vec<u8>,
    raw_name: &'a str,
    raw_value: &'a str,
}

/// What the client took for the values when it signed them. SDKs agree that names and values are joined unescaped, but
/// not on what is an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Escapes resolved, `+` is a plus.
    Plus,
    /// Escapes resolved, `+` is a space, as in a form.
    Space,
    /// As it stands in the request: nothing is an escape.
    Raw,
}

impl Spelling {
    pub(super) const ALL: [Spelling; 3] = [Spelling::Plus, Spelling::Space, Spelling::Raw];

    fn read(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Spelling::Plus => percent::decode(text),
            Spelling::Space if text.contains('+') => {
                // Before the escapes are resolved: `%2B` stays a plus.
                Cow::Owned(percent::decode(&text.replace('+', " ")).into_owned())
            }
            Spelling::Space => percent::decode(text),
            Spelling::Raw => Cow::Borrowed(text.as_bytes()),
        }
    }
}

impl<'a> Query<'a> {
    /// # Errors
    /// 400 if it is too long or names a parameter twice; names are the same in either case.
    pub(super) fn parse(query: &'a str) -> Result<Query<'a>, Error> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(Error::QueryTooLong);
        }
        let mut parameters = Vec::<Parameter<'a>>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent::decode(raw_name).to_ascii_lowercase();
            if parameters.iter().any(|known| known.name == name) {
                return Err(Error::RepeatedParameter(String::from_utf8_lossy(&name).into_owned()));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(Error::TooManyParameters);
            }
            parameters.push(Parameter { name, raw_name, raw_value });
        }
        Ok(Query(parameters))
    }

    /// A parameter's value, escapes resolved.
    pub(super) fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let parameter = self.0.iter().find(|parameter| parameter.name == name.as_bytes())?;
        Some(Spelling::Plus.read(parameter.raw_value))
    }

    /// The parameters that are not of authentication, as the JSON body that they stand for. Every value is a string.
    pub(super) fn to_body(&self, spelling: Spelling) -> Result<String, Error> {
        let utf8 =
            |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).map_err(|_| Error::QueryNotUtf8);
        let fields = self.0.iter().filter(|parameter| !AUTHENTICATION.contains(&&*parameter.name));
        let fields = fields
            .map(|field| Ok((utf8(Cow::Borrowed(&field.name))?, utf8(spelling.read(field.raw_value))?)))
            .collect::<Result<BTreeMap<_, _>, Error>>()?;
        Ok(serde_json::to_string(&fields).expect("a map of strings is JSON"))
    }

    /// What a client signs: all but the signature itself, wherever it stands, names in lower case and sorted by their
    /// bytes.
    pub(super) fn to_sign(&self, spelling: Spelling) -> Vec<u8> {
        let signed = self.0.iter().filter(|parameter| parameter.name != b"auth_signature");
        let mut pairs: Vec<_> = signed
            .map(|parameter| {
                (spelling.read(parameter.raw_name).to_ascii_lowercase(), spelling.read(parameter.raw_value))
            })
            .collect();
        pairs.sort();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| [name, &**value].join(&b'=')).collect();
        pairs.join(&b'&')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_sign(query: &str, spelling: Spelling) -> String {
        let query = Query::parse(query).expect("a query");
        String::from_utf8(query.to_sign(spelling)).expect("UTF-8")
    }

    #[test]
    fn what_is_signed_is_sorted_in_lower_case_and_without_the_signature() {
        assert_eq!(to_sign("b=2&auth_signature=x&A=1", Spelling::Plus), "a=1&b=2");
        assert_eq!(to_sign("AUTH_signature=x&b&&a=", Spelling::Plus), "a=&b=");
        assert_eq!(to_sign("auth%5Fsignature=x&a=1", Spelling::Raw), "a=1");
        assert_eq!(to_sign("a1=x&a=y&a_=z", Spelling::Plus), "a=y&a1=x&a_=z");
        assert_eq!(to_sign("a=b=c", Spelling::Plus), "a=b=c");
        assert_eq!(to_sign("", Spelling::Plus), "");
    }

    #[test]
    fn escapes_and_plus_have_three_readings() {
        let query = "a=1+2%2B3%2c%4&%42=%C3%A9";
        assert_eq!(to_sign(query, Spelling::Plus), "a=1+2+3,%4&b=é");
        assert_eq!(to_sign(query, Spelling::Space), "a=1 2+3,%4&b=é");
        assert_eq!(to_sign(query, Spelling::Raw), "%42=%C3%A9&a=1+2%2B3%2c%4");
    }

    #[test]
    fn a_repeated_parameter_is_refused_in_whatever_spelling() {
        for query in ["a=1&a=1", "a&b&A", "auth_key=1&AUTH_KEY=1", "a=1&%61=2"] {
            assert!(matches!(Query::parse(query), Err(Error::RepeatedParameter(_))), "{query}");
        }
    }

    #[test]
    fn the_other_parameters_stand_for_a_body() {
        let query =
            Query::parse("auth_key=k&name=a+b&body_md5=x&Data=%22%C3%A9&auth_signature=y").expect("a query");
        assert_eq!(query.to_body(Spelling::Plus).as_deref(), Ok(r#"{"data":"\"é","name":"a+b"}"#));
        assert_eq!(query.to_body(Spelling::Space).as_deref(), Ok(r#"{"data":"\"é","name":"a b"}"#));
        assert_eq!(query.to_body(Spelling::Raw).as_deref(), Ok(r#"{"data":"%22%C3%A9","name":"a+b"}"#));
        let no_text = Query::parse("name=%ff").expect("a query");
        assert_eq!(no_text.to_body(Spelling::Plus), Err(Error::QueryNotUtf8));
    }

    #[test]
    fn a_query_is_bounded() {
        let many = |count: usize| (0..count).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert!(Query::parse(&many(MAX_PARAMETERS)).is_ok());
        assert_eq!(Query::parse(&many(MAX_PARAMETERS + 1)).err(), Some(Error::TooManyParameters));
        assert!(Query::parse(&"a".repeat(MAX_QUERY_BYTES)).is_ok());
        assert_eq!(Query::parse(&"a".repeat(MAX_QUERY_BYTES + 1)).err(), Some(Error::QueryTooLong));
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "(\\PC{0,5}|%[0-9a-f]{0,2}|[&=+%]){0,40}") {
            if let Ok(query) = Query::parse(&query) {
                for spelling in Spelling::ALL {
                    let _ = (query.to_sign(spelling), query.to_body(spelling));
                }
            }
        }
    }
}
