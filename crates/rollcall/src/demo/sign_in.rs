//! The application's side of a sign-in, for the development app: says who is there, and signs it. A real application
//! looks at its session here; this one believes whatever it is told.

use super::form;
use http::{HeaderMap, header};
use ids::{InvalidSocketId, InvalidUserId, SocketId, UserId};
use protocol::{App, MAX_USER_DATA_BYTES, signature};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whom a guest, who names nobody, watches.
const GUESTS_WATCH: [&str; 3] = ["ada", "grace", "alan"];

/// Numbers those who do not say who they are.
#[derive(Default)]
pub(super) struct Guests(AtomicU64);

/// What is signed, in this order.
#[derive(Serialize)]
struct UserData<'a> {
    id: &'a str,
    user_info: UserInfo<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    watchlist: Vec<&'a str>,
}

#[derive(Serialize)]
struct UserInfo<'a> {
    name: &'a str,
}

/// Answers a sign-in form with `{"auth", "user_data"}`. `user_id` is taken from the form, else from the cookie
/// `rollcall_user`, else it is a new guest's; `watchlist` is separated by commas, or repeated.
pub(super) fn token(app: &App, guests: &Guests, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let fields = form::fields(body).ok_or("the form is not UTF-8")?;
    let values = |name: &'static str| {
        fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    };
    let one = |name: &'static str| {
        let mut all = values(name);
        let first = all.next();
        if all.next().is_some() { Err(format!("{name} is there twice")) } else { Ok(first) }
    };
    let socket = one("socket_id")?.ok_or("socket_id is missing")?;
    let socket: SocketId = socket.parse().map_err(|wrong: InvalidSocketId| wrong.to_string())?;
    let given = match one("user_id")? {
        Some(user) => Some(user.to_owned()),
        None => cookie(headers, "rollcall_user"),
    };
    let is_guest = given.is_none();
    let user = given.unwrap_or_else(|| format!("guest-{}", guests.0.fetch_add(1, Ordering::Relaxed) + 1));
    let user: UserId = user.parse().map_err(|wrong: InvalidUserId| wrong.to_string())?;
    let named = values("watchlist").chain(values("watchlist[]")).flat_map(|list| list.split(','));
    let mut watchlist: Vec<&str> = named.map(str::trim).filter(|user| !user.is_empty()).collect();
    if let Some(wrong) = watchlist.iter().find_map(|user| user.parse::<UserId>().err()) {
        return Err(format!("watchlist: {wrong}"));
    }
    if is_guest && watchlist.is_empty() {
        watchlist = GUESTS_WATCH.to_vec();
    }

    let user_data = UserData { id: user.as_str(), user_info: UserInfo { name: user.as_str() }, watchlist };
    let user_data = serde_json::to_string(&user_data).map_err(|error| error.to_string())?;
    if user_data.len() > MAX_USER_DATA_BYTES {
        return Err(format!("user_data would have more than {MAX_USER_DATA_BYTES} bytes"));
    }
    let signature = signature::sign_in(&app.secret, socket, &user_data);
    Ok(json!({ "auth": format!("{}:{signature}", app.key), "user_data": user_data }))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(given, _)| *given == name)?;
    form::unescaped(value.trim_matches('"')).filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Secret;

    fn app() -> App {
        App::new("1".parse().expect("id"), "app-key".parse().expect("key"), Secret::new("app-secret"))
    }

    fn headers(cookie: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.extend(cookie.map(|cookie| (header::COOKIE, cookie.parse().expect("a header"))));
        headers
    }

    /// The answer's `user_data`, after the server's own check of the signature.
    fn user_data(answer: &Value) -> Value {
        let text = |field: &str| answer[field].as_str().expect("a string").to_owned();
        let socket = "1234.5678".parse().expect("socket id");
        let verified =
            signature::verify_sign_in(&app(), socket, Some(&text("auth")), Some(text("user_data")));
        serde_json::from_str(&verified.expect("a valid token").text).expect("JSON")
    }

    fn signed(body: &str, cookie: Option<&str>) -> Value {
        let answer = token(&app(), &Guests::default(), &headers(cookie), body.as_bytes());
        user_data(&answer.unwrap_or_else(|wrong| panic!("{body}: {wrong}")))
    }

    #[test]
    fn a_form_becomes_a_token_that_the_server_takes() {
        assert_eq!(
            signed("socket_id=1234.5678&user_id=ada&watchlist=grace,+alan&watchlist=bob", None),
            json!({"id": "ada", "user_info": {"name": "ada"}, "watchlist": ["grace", "alan", "bob"]})
        );
        assert_eq!(
            signed("socket_id=1234.5678&user_id=jos%C3%A9", None),
            json!({"id": "josé", "user_info": {"name": "josé"}})
        );
    }

    #[test]
    fn without_a_name_it_is_the_cookies_or_a_guests() {
        let body = "socket_id=1234.5678";
        assert_eq!(signed(body, Some("a=b; rollcall_user=jos%C3%A9"))["id"], "josé");
        assert_eq!(signed(&format!("{body}&user_id=ada"), Some("rollcall_user=bob"))["id"], "ada");
        let guests = Guests::default();
        let guest = || {
            user_data(
                &token(&app(), &guests, &headers(Some("rollcall_user=")), body.as_bytes()).expect("token"),
            )
        };
        assert_eq!([guest()["id"].clone(), guest()["id"].clone()], ["guest-1", "guest-2"]);
        assert_eq!(guest()["watchlist"], json!(GUESTS_WATCH));
    }

    #[test]
    fn a_form_that_is_wrong_says_why() {
        let check = |body: &str, expected: &str| {
            let wrong =
                token(&app(), &Guests::default(), &HeaderMap::new(), body.as_bytes()).expect_err(body);
            assert!(wrong.starts_with(expected), "{body}: {wrong}");
        };
        check("", "socket_id is missing");
        check("socket_id=", "a socket id must be");
        check("socket_id=1234.5678:private-x", "a socket id must be");
        check("socket_id=01.2&user_id=ada", "a socket id must be");
        check("socket_id=1.2&socket_id=1.3", "socket_id is there twice");
        check("socket_id=1.2&user_id=", "a user id must be");
        check("socket_id=1.2&user_id=a%0Ab", "a user id must be");
        check("socket_id=1.2&user_id=a&user_id=b", "user_id is there twice");
        check("socket_id=1.2&user_id=%ff", "the form is not UTF-8");
        check("socket_id=1.2&user_id=a&watchlist=a%00", "watchlist: a user id must be");
    }
}
