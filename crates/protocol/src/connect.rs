//! What a client says when it connects: `/app/{key}?protocol=7&client=js&version=8.6.0`. `docs/PROTOCOL.md` §1.1.

use crate::{App, Close, CloseCode, SigninSuccessData};

/// A client that may connect, as far as its URL goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub client: Client,
}

/// The library that a client says it is. For people to read, and for one quirk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    name: Box<str>,
    version: Box<str>,
}

/// The protocol versions that are spoken: Java and .NET clients ask for 5.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=7;

impl Hello {
    /// Reads the query of a connection's URL. Parameters may come in any order; unknown ones are ignored, and of one
    /// that is repeated the first counts.
    ///
    /// # Errors
    /// The code to close with, once the upgrade has succeeded: a plain HTTP error looks like a broken network to
    /// browsers, which then retry for ever.
    pub fn parse(query: &str, assume_protocol_7: bool) -> Result<Hello, Close> {
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let version = match parameter("protocol") {
            None if assume_protocol_7 => Some(7),
            None => {
                return Err(Close::new(
                    CloseCode::NoVersion,
                    "no protocol version given: add protocol=7 to the URL",
                ));
            }
            // `u32::from_str` alone would take `+7`.
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u32>().ok(),
            Some(_) => None,
        };
        match version {
            Some(version) if VERSIONS.contains(&version) => {
                let text = |name| Box::from(short(parameter(name).unwrap_or_default()));
                Ok(Hello { client: Client { name: text("client"), version: text("version") } })
            }
            Some(_) => {
                Err(Close::new(CloseCode::UnsupportedVersion, "protocol versions 4 to 7 are supported"))
            }
            None => Err(Close::new(CloseCode::BadVersionFormat, "the protocol version must be an integer")),
        }
    }
}

/// At most 40 bytes of what names a client: it is kept as long as the connection lives.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(40)]
}

impl Client {
    /// How this client must be told of a sign-in: Java 2.3.0 to 2.4.1 casts `data` to a string.
    #[must_use]
    pub fn signin_success_data(&self, app: &App) -> SigninSuccessData {
        let strings_only =
            matches!((&*self.name, &*self.version), ("java-client", "2.3.0" | "2.4.0" | "2.4.1"));
        if strings_only { SigninSuccessData::String } else { app.signin_success_data }
    }
}

/// `name version`, either of which may be missing.
impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&*self.name, &*self.version) {
            ("", "") => Ok(()),
            (name, "") => f.write_str(name),
            ("", version) => f.write_str(version),
            (name, version) => write!(f, "{name} {version}"),
        }
    }
}

/// Whether a browser's `Origin` is one of the allowed: `example.com`, `*.example.com` (any depth below), or with a
/// scheme and port, `https://example.com:8443`, which must be equal. No `Origin` means no browser, so it passes.
#[must_use]
pub fn origin_allowed(allowed: &[String], origin: Option<&str>) -> bool {
    let Some(origin) = origin else { return true };
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host);
    let matches = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == origin || pattern == authority || pattern == host,
    };
    allowed.is_empty() || allowed.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn versions_4_to_7_may_connect() {
        let check = |query: &str, expected: Result<(), CloseCode>| {
            let result = Hello::parse(query, false).map(drop).map_err(|close| close.code);
            assert_eq!(result, expected, "{query}");
        };
        for version in 4..=7 {
            check(&format!("protocol={version}&client=js&version=8.6.0&flash=false"), Ok(()));
        }
        check("flash=false&version=0.0.0-dev&client=java-client&protocol=5", Ok(()));
        for unsupported in ["0", "1", "3", "8", "99", "4294967295"] {
            check(&format!("protocol={unsupported}"), Err(CloseCode::UnsupportedVersion));
        }
        for malformed in
            ["", "-1", "7.0", "seven", "0x7", "+7", "%37", "4294967296", "99999999999999999999999"]
        {
            check(&format!("protocol={malformed}"), Err(CloseCode::BadVersionFormat));
        }
        for absent in ["", "client=js", "protocol", "Protocol=7", "xprotocol=7"] {
            check(absent, Err(CloseCode::NoVersion));
        }
        assert!(Hello::parse("client=js", true).is_ok());
    }

    #[test]
    fn three_java_releases_take_success_data_as_a_string() {
        let app = App::new("1".parse().expect("id"), "k".parse().expect("key"), Secret::new("s"));
        let check = |query: &str, expected| {
            let hello = Hello::parse(query, false).expect("a valid query");
            assert_eq!(hello.client.signin_success_data(&app), expected, "{query}");
        };
        check("protocol=5&client=java-client&version=2.4.1", SigninSuccessData::String);
        check("protocol=5&client=java-client&version=2.4.2", SigninSuccessData::Object);
        check("protocol=7&client=js&version=2.4.1", SigninSuccessData::Object);
    }

    #[test]
    fn a_long_client_name_is_cut() {
        let hello =
            Hello::parse(&format!("protocol=7&client={}&version=1", "é".repeat(99)), false).expect("valid");
        assert_eq!(hello.client.to_string(), format!("{} 1", "é".repeat(20)));
    }

    #[test]
    fn an_origin_is_allowed_by_host_by_parent_or_whole() {
        let check = |allowed: &[&str], origin: Option<&str>, expected: bool| {
            let allowed: Vec<_> = allowed.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(origin_allowed(&allowed, origin), expected, "{allowed:?} {origin:?}");
        };
        check(&[], Some("https://evil.com"), true);
        check(&["example.com"], None, true);
        check(&["example.com"], Some("https://example.com"), true);
        check(&["example.com"], Some("https://example.com:8443"), true);
        check(&["example.com"], Some("https://evil-example.com"), false);
        check(&["example.com"], Some("https://example.com.evil.com"), false);
        check(&["*.example.com"], Some("https://a.b.example.com"), true);
        check(&["*.example.com"], Some("https://example.com"), false);
        check(&["*.example.com"], Some("https://evilexample.com"), false);
        check(&["https://example.com"], Some("http://example.com"), false);
        check(&["example.com"], Some("null"), false);
    }
}
