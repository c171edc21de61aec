//! Signing a request, as a server SDK does.

use super::percent;
use crate::Secret;
use ids::AppKey;
use md5::{Digest, Md5};
use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

/// What is signed: method, path and parameters on a line each.
pub(super) fn string_to_sign<'a>(method: &'a str, path: &'a [u8], parameters: &'a [u8]) -> [&'a [u8]; 5] {
    [method.as_bytes(), b"\n", path, b"\n", parameters]
}

/// The query string that makes a request one of `key`'s app: `parameters` and those of authentication, escaped.
///
/// `path` is signed as it is given, so give what goes over the wire, a proxy's prefix included. `parameters` must not
/// name one of the five of authentication. `now` may be off by ten minutes from the server's time.
#[must_use]
pub fn signed_query(
    key: &AppKey,
    secret: &Secret,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &[u8],
    now: SystemTime,
) -> String {
    let timestamp = unix_time(now).as_secs().to_string();
    let body_md5 = hex::encode(Md5::digest(body));
    let mut all =
        parameters.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect::<Vec<_>>();
    all.push(("auth_key".to_owned(), key.as_str()));
    all.push(("auth_timestamp".to_owned(), &timestamp));
    all.push(("auth_version".to_owned(), "1.0"));
    if !body.is_empty() {
        all.push(("body_md5".to_owned(), &body_md5));
    }
    all.sort();
    let joined = all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let signature = secret.sign(&string_to_sign(method, path.as_bytes(), joined.as_bytes()));

    let mut query = String::new();
    for (name, value) in &all {
        write!(query, "{}={}&", percent::encode(name), percent::encode(value))
            .expect("a String takes everything");
    }
    write!(query, "auth_signature={signature}").expect("a String takes everything");
    query
}

/// Time since 1970; zero before.
pub(super) fn unix_time(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::{Query, Spelling};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// Credentials, requests and signatures that Pusher's documentation publishes, or that follow from it.
    #[test]
    fn the_published_signatures_are_ours() {
        let (key, secret) =
            ("278d425bdf160c739803".parse().expect("a key"), Secret::new("7ad3773142a6692b25b8"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_353_088_179);
        let check = |method, path, parameters: &[_], body: &str, signature: &str| {
            let query = signed_query(&key, &secret, method, path, parameters, body.as_bytes(), now);
            assert_eq!(
                query.rsplit_once("&auth_signature=").map(|(_, signature)| signature),
                Some(signature)
            );
        };
        check(
            "POST",
            "/apps/3/events",
            &[],
            r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#,
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
        );
        check(
            "POST",
            "/apps/3/users/user-123/terminate_connections",
            &[],
            "{}",
            "d3ba03b1d3f955edbd07cdfe9b4b326f4f30273bbef0c66e83f4858f23cab7ce",
        );
        check(
            "GET",
            "/apps/3/channels",
            &[("info", "user_count"), ("filter_by_prefix", "presence-")],
            "",
            "16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291",
        );
    }

    #[test]
    fn values_are_signed_as_they_are_and_sent_escaped() {
        let (key, secret) = ("k".parse().expect("a key"), Secret::new("s"));
        let query = signed_query(&key, &secret, "GET", "/x", &[("Z", "a b&c=é+%")], b"", NOW);
        assert_eq!(
            query.rsplit_once('&').map(|(rest, _)| rest),
            Some("auth_key=k&auth_timestamp=0&auth_version=1.0&z=a%20b%26c%3D%C3%A9%2B%25")
        );
        let read = Query::parse(&query).expect("a query").to_sign(Spelling::Plus);
        let signed = "auth_key=k&auth_timestamp=0&auth_version=1.0&z=a b&c=é+%";
        assert_eq!(String::from_utf8(read).as_deref(), Ok(signed));
        let signature = secret.sign(&string_to_sign("GET", b"/x", signed.as_bytes()));
        assert!(query.ends_with(&format!("&auth_signature={signature}")));
    }
}
