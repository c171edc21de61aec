//! Whether a request was signed by who knows the app's secret.
//!
//! The signature covers method, path and query string, and through `body_md5` the body, whose bytes nobody looks at
//! before they were found to be the ones that were signed.

use super::{
    AppName, Call, Endpoint, Error, Head, Route, Unauthorized, percent,
    query::{Query, Spelling},
    sign::{string_to_sign, unix_time},
};
use crate::{App, Apps, Signature};
use md5::{Digest, Md5};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use subtle::ConstantTimeEq;

/// How far `auth_timestamp` may be from the server's time, either way: how long a request can be replayed.
pub const TIMESTAMP_WINDOW: Duration = Duration::from_secs(600);

/// A request whose signature held. Its body has not been looked at.
#[derive(Clone)]
pub struct Authorized<'a> {
    app: Arc<App>,
    endpoint: Endpoint<'a>,
    query: Query<'a>,
    /// How the client meant the query.
    spelling: Spelling,
    body_md5: Option<[u8; 16]>,
}

impl<'a> Route<'a> {
    /// `now` is the time in the server's opinion.
    ///
    /// # Errors
    /// 400 for a query string that is out of bounds or ambiguous, 404 for an unknown app, 401 for all else.
    pub fn authorize(self, apps: &Apps, now: SystemTime) -> Result<Authorized<'a>, Error> {
        let query = Query::parse(self.head.query)?;
        let parameter = |name| query.value(name).ok_or(Unauthorized::Missing(name));

        let key = parameter("auth_key")?;
        let key = std::str::from_utf8(&key).unwrap_or_default();
        let app = match self.app {
            AppName::InPath(name) => apps.by_id_or_key(name).ok_or(Error::UnknownApp)?,
            AppName::ByAuthKey => apps.by_key(key).ok_or(Unauthorized::UnknownKey)?,
        };
        if app.key.as_str() != key {
            return Err(Unauthorized::KeyOfAnotherApp.into());
        }

        if &*parameter("auth_version")? != b"1.0" {
            return Err(Unauthorized::Version.into());
        }
        check_timestamp(&parameter("auth_timestamp")?, now)?;
        let body_md5 = query.value("body_md5").map(|digits| md5_of(&digits)).transpose()?;
        let spelling = check_signature(app, &self.head, &query, &parameter("auth_signature")?)?;
        Ok(Authorized { app: Arc::clone(app), endpoint: self.endpoint, query, spelling, body_md5 })
    }
}

impl Authorized<'_> {
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// What is asked for. The fields may stand in the query string in place of a body, except for lists.
    ///
    /// # Errors
    /// 401 for another body than was signed, 403 for a disabled app, 400 and 413 for a body that makes no sense.
    pub fn call(&self, body: &[u8]) -> Result<Call, Error> {
        self.check_body(body)?;
        if !self.app.enabled {
            return Err(Error::AppDisabled);
        }
        if body.is_empty() {
            Call::read(self.endpoint, self.query.to_body(self.spelling)?.as_bytes())
        } else {
            Call::read(self.endpoint, body)
        }
    }

    fn check_body(&self, body: &[u8]) -> Result<(), Unauthorized> {
        match self.body_md5 {
            // The Python SDK signs the empty body of a GET, too, so what is there is checked, whatever the method.
            Some(signed) if bool::from(Md5::digest(body)[..].ct_eq(&signed[..])) => Ok(()),
            Some(_) => Err(Unauthorized::BodyMd5),
            None if body.is_empty() => Ok(()),
            None => Err(Unauthorized::BodyNotSigned),
        }
    }
}

fn check_timestamp(text: &[u8], now: SystemTime) -> Result<(), Unauthorized> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let given: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(Unauthorized::TimestampSyntax)?;
    let now = unix_time(now).as_secs();
    if given.abs_diff(now) <= TIMESTAMP_WINDOW.as_secs() {
        Ok(())
    } else {
        Err(Unauthorized::Timestamp { given, now })
    }
}

fn md5_of(digits: &[u8]) -> Result<[u8; 16], Unauthorized> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(digits, &mut md5).map_err(|_| Unauthorized::BodyMd5)?;
    Ok(md5)
}

/// SDKs differ in what they sign, so every reading of the request is tried. Answers with the one that was meant.
fn check_signature(
    app: &App,
    head: &Head<'_>,
    query: &Query<'_>,
    presented: &[u8],
) -> Result<Spelling, Unauthorized> {
    let presented: Signature = std::str::from_utf8(presented)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(Unauthorized::SignatureSyntax)?;
    for spelling in Spelling::ALL {
        let parameters = query.to_sign(spelling);
        for path in signed_paths(head) {
            if app.secret.verify(&string_to_sign(head.method, &path, &parameters), &presented) {
                return Ok(spelling);
            }
        }
    }
    let parameters = query.to_sign(Spelling::Plus);
    let expected = string_to_sign(head.method, head.path.as_bytes(), &parameters).concat();
    Err(Unauthorized::Signature { expected: String::from_utf8_lossy(&expected).into_owned() })
}

/// The path raw and with its escapes resolved (the Node SDK signs what it does not send); also with the prefix, if a
/// proxy may have taken it away behind the client's back.
fn signed_paths(head: &Head<'_>) -> Vec<Vec<u8>> {
    let mut seen = vec![head.path.to_owned()];
    if head.path_behind_prefix().is_none() {
        seen.push(format!("{}{}", head.prefix, head.path));
    }
    let spellings = |path: &String| [path.as_bytes().to_vec(), percent::decode(path).into_owned()];
    let mut paths: Vec<_> = seen.iter().flat_map(spellings).collect();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, http::sign::signed_query};
    use proptest::prelude::*;

    const SECRET: &str = "7ad3773142a6692b25b8";
    const TERMINATE: &str = "/apps/3/users/ada/terminate_connections";

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_353_088_179)
    }

    fn apps() -> Apps {
        let app = |id: &str, key: &str, secret| {
            App::new(id.parse().expect("an id"), key.parse().expect("a key"), Secret::new(secret))
        };
        let disabled = App { enabled: false, ..app("5", "disabled-key", SECRET) };
        [app("3", "278d425bdf160c739803", SECRET), app("4", "other-key", "other-secret"), disabled]
            .into_iter()
            .collect()
    }

    /// The whole way of a request, with whatever it says about itself.
    fn ask(path: &str, query: &str, body: &str) -> Result<(String, Call), Error> {
        ask_behind("", path, query, body)
    }

    fn ask_behind(prefix: &str, path: &str, query: &str, body: &str) -> Result<(String, Call), Error> {
        let authorized =
            Route::find(Head { method: "POST", path, query, prefix })?.authorize(&apps(), now())?;
        Ok((authorized.app().id.to_string(), authorized.call(body.as_bytes())?))
    }

    /// The query string of a client that signs `path` and `to_sign`, and sends the parameters as `sent`.
    fn signed_as(path: &str, to_sign: &str, sent: &str) -> String {
        let signature = Secret::new(SECRET).sign(&[b"POST\n", path.as_bytes(), b"\n", to_sign.as_bytes()]);
        format!("{sent}&auth_signature={signature}")
    }

    fn parameters(body: &str) -> String {
        let md5 = hex::encode(Md5::digest(body));
        format!("auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5={md5}")
    }

    fn signed(path: &str, body: &str) -> String {
        signed_as(path, &parameters(body), &parameters(body))
    }

    fn terminate(user: &str) -> Result<(String, Call), Error> {
        Ok(("3".to_owned(), Call::TerminateConnections(user.parse().expect("a user id"))))
    }

    #[test]
    fn the_published_request_is_authorized() {
        let query = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
            &body_md5=ec365a775a4cd0599faeb73354201b6f\
            &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let (app, call) = ask("/apps/3/events", query, body).expect("authorized");
        let Call::Publish(publication) = call else { panic!("{call:?}") };
        assert_eq!((&*app, &*publication.data), ("3", r#"{"some":"data"}"#));
        // Names, and the digits of the signature, may come in upper case.
        let (signed, signature) = query.split_once("auth_signature=").expect("a signature");
        let upper =
            format!("{}&AUTH_SIGNATURE={}", signed.replace("auth_", "AUTH_"), signature.to_uppercase());
        assert_eq!(ask("/apps/3/events", &upper, body).map(|(app, _)| app), Ok("3".to_owned()));
    }

    #[test]
    fn an_app_is_named_by_id_or_key_in_the_path_or_by_the_signing_key_alone() {
        for path in [
            TERMINATE,
            "/apps/278d425bdf160c739803/users/ada/terminate_connections",
            "/users/ada/terminate_connections",
        ] {
            assert_eq!(ask(path, &signed(path, "{}"), "{}"), terminate("ada"), "{path}");
        }
    }

    #[test]
    fn a_path_is_signed_raw_or_decoded() {
        let check = |wire: &str, signed_path: &str, user: &str| {
            assert_eq!(
                ask(wire, &signed(signed_path, "{}"), "{}"),
                terminate(user),
                "{wire} signed as {signed_path}"
            );
        };
        let path = |user: &str| format!("/apps/3/users/{user}/terminate_connections");
        for (wire, user) in
            [("auth0%7C5f7c", "auth0|5f7c"), ("jos%C3%A9", "josé"), ("a%20b", "a b"), ("a/b+c", "a/b+c")]
        {
            check(&path(wire), &path(wire), user);
            check(&path(wire), &path(user), user);
        }
        let wire = path("a%7Cb");
        assert!(matches!(
            ask(&wire, &signed(&path("a%7cb"), "{}"), "{}"),
            Err(Error::Unauthorized(Unauthorized::Signature { .. }))
        ));
    }

    #[test]
    fn a_prefix_is_signed_whether_or_not_a_proxy_left_it() {
        let with_prefix = format!("/realtime{TERMINATE}");
        let query = signed(&with_prefix, "{}");
        assert_eq!(ask_behind("/realtime", &with_prefix, &query, "{}"), terminate("ada"));
        assert_eq!(ask_behind("/realtime", TERMINATE, &query, "{}"), terminate("ada"));
        // A backend inside the proxy sees no prefix.
        assert_eq!(ask_behind("/realtime", TERMINATE, &signed(TERMINATE, "{}"), "{}"), terminate("ada"));
        let without = ask_behind("/realtime", &with_prefix, &signed(TERMINATE, "{}"), "{}");
        assert!(matches!(without, Err(Error::Unauthorized(Unauthorized::Signature { .. }))));
    }

    #[test]
    fn parameters_are_signed_in_every_way_that_sdks_do_it() {
        let base = parameters("{}");
        let check = |to_sign: &str, sent: &str| {
            assert_eq!(
                ask(TERMINATE, &signed_as(TERMINATE, to_sign, sent), "{}"),
                terminate("ada"),
                "{sent}"
            );
        };
        check(&format!("{base}&info=a,b"), &format!("{base}&info=a%2Cb"));
        check(&format!("{base}&info=a%2Cb"), &format!("{base}&info=a%2Cb"));
        check(&format!("{base}&info=a+b"), &format!("{base}&info=a+b"));
        check(&format!("{base}&info=a b"), &format!("{base}&info=a+b"));
        check(&format!("{base}&info=100%"), &format!("{base}&info=100%"));
        check(&format!("{base}&unknown=1"), &format!("Unknown=1&{base}"));
        // The signature in the middle, as the Python SDK puts it.
        let signature = signed_as(TERMINATE, &format!("{base}&info=a"), "").replace('&', "");
        let (first, last) = base.split_once("&auth_timestamp").expect("a timestamp");
        let query = format!("{first}&{signature}&info=a&auth_timestamp{last}");
        assert_eq!(ask(TERMINATE, &query, "{}"), terminate("ada"));
    }

    #[test]
    fn an_empty_body_need_not_be_signed_and_may_be() {
        assert_eq!(ask(TERMINATE, &signed(TERMINATE, ""), ""), terminate("ada"));
        let base = parameters("");
        let (without_md5, _) = base.split_once("&body_md5").expect("an MD5");
        let query = signed_as(TERMINATE, without_md5, without_md5);
        assert_eq!(ask(TERMINATE, &query, ""), terminate("ada"));
        assert_eq!(ask(TERMINATE, &query, "{}"), Err(Unauthorized::BodyNotSigned.into()));
        assert_eq!(ask(TERMINATE, &signed(TERMINATE, ""), "{}"), Err(Unauthorized::BodyMd5.into()));
        assert_eq!(ask(TERMINATE, &signed(TERMINATE, "{}"), ""), Err(Unauthorized::BodyMd5.into()));
        assert_eq!(ask(TERMINATE, &signed(TERMINATE, "{}"), "{} "), Err(Unauthorized::BodyMd5.into()));
    }

    #[test]
    fn fields_may_stand_in_the_query_in_place_of_a_body() {
        let base = parameters("");
        let sent = format!("{base}&channel=news&data=a%20b&name=hello");
        let query = signed_as("/apps/3/events", &sent.replace("%20", " "), &sent);
        let Ok((_, Call::Publish(publication))) = ask("/apps/3/events", &query, "") else {
            panic!("{query}")
        };
        assert_eq!((publication.name.as_str(), &*publication.data), ("hello", "a b"));
    }

    #[test]
    fn a_missing_or_wrong_parameter_is_refused_by_name() {
        let good = signed(TERMINATE, "{}");
        assert_eq!(ask(TERMINATE, &good, "{}"), terminate("ada"));
        for name in ["auth_key", "auth_timestamp", "auth_version", "auth_signature"] {
            let without: Vec<_> = good.split('&').filter(|pair| !pair.starts_with(name)).collect();
            assert_eq!(ask(TERMINATE, &without.join("&"), "{}"), Err(Unauthorized::Missing(name).into()));
        }
        let check = |from: &str, to: &str, error: Unauthorized| {
            let base = parameters("{}").replace(from, to);
            assert_eq!(ask(TERMINATE, &signed_as(TERMINATE, &base, &base), "{}"), Err(error.into()), "{to}");
        };
        check("auth_version=1.0", "auth_version=1", Unauthorized::Version);
        check("auth_version=1.0", "auth_version", Unauthorized::Version);
        for timestamp in ["", "now", "-1", "+1353088179", "1353088179.0", "99999999999999999999", "%31%ff"] {
            check("1353088179", timestamp, Unauthorized::TimestampSyntax);
        }
        for md5 in [
            "",
            "99914b932bd37a50b983c5e7c90ae93",
            "99914b932bd37a50b983c5e7c90ae93g",
            "00914b932bd37a50b983c5e7c90ae93b",
        ] {
            check("99914b932bd37a50b983c5e7c90ae93b", md5, Unauthorized::BodyMd5);
        }
        for key in ["", "other-key", "no-key", "%ff", "278D425BDF160C739803"] {
            check("278d425bdf160c739803", key, Unauthorized::KeyOfAnotherApp);
        }
        assert_eq!(ask("/apps/9/events", &good, "{}"), Err(Error::UnknownApp));
        assert_eq!(ask("/apps//events", &good, "{}"), Err(Error::UnknownApp));
        let alias = "/users/ada/terminate_connections";
        let query = signed(alias, "{}").replace("278d425bdf160c739803", "no-key");
        assert_eq!(ask(alias, &query, "{}"), Err(Unauthorized::UnknownKey.into()));
    }

    #[test]
    fn a_timestamp_counts_for_ten_minutes_either_way() {
        let at = |seconds: u64| {
            let base = parameters("{}").replace("1353088179", &seconds.to_string());
            ask(TERMINATE, &signed_as(TERMINATE, &base, &base), "{}")
        };
        let now = 1_353_088_179;
        assert_eq!(at(now - 600), terminate("ada"));
        assert_eq!(at(now + 600), terminate("ada"));
        for given in [0, now - 601, now + 601, u64::MAX] {
            assert_eq!(at(given), Err(Unauthorized::Timestamp { given, now }.into()));
        }
    }

    #[test]
    fn another_signature_is_refused_with_what_should_have_been_signed() {
        let good = signed(TERMINATE, "{}");
        let expected = format!("POST\n{TERMINATE}\n{}", parameters("{}"));
        let wrong = Err(Error::Unauthorized(Unauthorized::Signature { expected }));
        let last = good.len() - 1;
        let flipped = if good.ends_with('0') { "1" } else { "0" };
        assert_eq!(ask(TERMINATE, &format!("{}{flipped}", &good[..last]), "{}"), wrong);
        // The key of this app with the secret of another.
        let (key, secret) = ("278d425bdf160c739803".parse().expect("a key"), Secret::new("other-secret"));
        assert_eq!(
            ask(TERMINATE, &signed_query(&key, &secret, "POST", TERMINATE, &[], b"{}", now()), "{}"),
            wrong
        );
        // Another path, another parameter.
        assert_eq!(ask(TERMINATE, &signed("/apps/3/users/bob/terminate_connections", "{}"), "{}"), wrong);
        assert!(matches!(
            ask(TERMINATE, &format!("{good}&info=a"), "{}"),
            Err(Error::Unauthorized(Unauthorized::Signature { .. }))
        ));
        for signature in ["", "00", &"g".repeat(64), &"%ff".repeat(64), &good[last - 62..]] {
            let query = format!("{}&auth_signature={signature}", parameters("{}"));
            assert_eq!(
                ask(TERMINATE, &query, "{}"),
                Err(Unauthorized::SignatureSyntax.into()),
                "{signature}"
            );
        }
        assert_eq!(
            ask(TERMINATE, &format!("{good}&auth_key=278d425bdf160c739803"), "{}"),
            Err(Error::RepeatedParameter("auth_key".to_owned()))
        );
    }

    #[test]
    fn what_is_wrong_behind_the_signature_shows_only_once_it_held() {
        let not_utf8 = "/apps/3/users/%ff/terminate_connections";
        assert_eq!(ask(not_utf8, &signed(not_utf8, "{}"), "{}"), Err(Error::UserNotUtf8));
        let unsigned = signed(TERMINATE, "{}");
        assert!(matches!(ask(not_utf8, &unsigned, "{}"), Err(Error::Unauthorized(_))));
        let path = "/apps/5/users/ada/terminate_connections";
        let base = parameters("{}").replace("278d425bdf160c739803", "disabled-key");
        assert_eq!(ask(path, &signed_as(path, &base, &base), "{}"), Err(Error::AppDisabled));
        assert!(matches!(ask(path, &signed_as(TERMINATE, &base, &base), "{}"), Err(Error::Unauthorized(_))));
        assert_eq!(ask(TERMINATE, &signed(TERMINATE, "[]"), "[]"), Err(Error::BodyNotObject));
        assert_eq!(
            ask(TERMINATE, &unsigned, "["),
            Err(Unauthorized::BodyMd5.into()),
            "an unsigned body is not parsed"
        );
    }

    #[test]
    fn a_head_keeps_its_signature_out_of_logs() {
        let head =
            Head { method: "POST", path: "/apps/3/events", query: "auth_signature=secret", prefix: "" };
        assert_eq!(format!("{head:?}"), "POST /apps/3/events");
    }

    proptest! {
        #[test]
        fn what_we_sign_we_authorize(
            user in "[^\\p{Cc}]{1,30}",
            parameters in prop::collection::btree_map("p[a-z]{1,5}", "\\PC{0,10}", 0..5),
            body in prop_oneof![Just(""), Just("{}"), Just(" {\"a\":1}")],
        ) {
            let path = format!("/apps/3/users/{}/terminate_connections", crate::http::percent::encode(&user));
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
            let (key, secret) = ("278d425bdf160c739803".parse().expect("a key"), Secret::new(SECRET));
            let query = signed_query(&key, &secret, "POST", &path, &parameters, body.as_bytes(), now());
            prop_assert_eq!(ask(&path, &query, body), terminate(&user));
        }

        #[test]
        fn no_query_panics_or_is_authorized(query in "(auth_key=278d425bdf160c739803&|auth_timestamp=1353088179&|auth_version=1.0&|body_md5=|auth_signature=|[0-9a-f]{64}|&|=|%|\\+|\\PC){0,12}") {
            let answer = ask(TERMINATE, &query, "{}");
            prop_assert!(answer.is_err());
        }
    }
}
