//! Frames to clients, as JSON text. Rules that all of them keep (`docs/PROTOCOL.md` §1): `data` is always there; it is
//! a JSON string everywhere but in `pusher:error` and `pusher:signin_success`, where it is an object; ids are strings.

use crate::SigninSuccessData;
use ids::{SocketId, UserId};
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
struct Frame<'a, D> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    data: D,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them always serialise")
}

/// The first frame on a connection.
#[must_use]
pub fn connection_established(socket: SocketId, activity_timeout: Duration) -> String {
    #[derive(Serialize)]
    struct Data {
        socket_id: String,
        activity_timeout: u64,
    }
    // Zero makes pusher-js fail the handshake.
    let data = Data { socket_id: socket.to_string(), activity_timeout: activity_timeout.as_secs().max(1) };
    json(&Frame { event: "pusher:connection_established", channel: None, data: json(&data) })
}

#[must_use]
pub fn pong() -> String {
    json(&Frame { event: "pusher:pong", channel: None, data: "{}" })
}

/// `code` null where the protocol has no number for what went wrong.
#[must_use]
pub fn error(code: Option<u16>, message: &str) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        code: Option<u16>,
        message: &'a str,
    }
    json(&Frame { event: "pusher:error", channel: None, data: Data { code, message } })
}

/// Echoes the signed text exactly.
#[must_use]
pub fn signin_success(user_data: &str, form: SigninSuccessData) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        user_data: &'a str,
    }
    let (event, channel, data) = ("pusher:signin_success", None, Data { user_data });
    match form {
        SigninSuccessData::Object => json(&Frame { event, channel, data }),
        SigninSuccessData::String => json(&Frame { event, channel, data: json(&data) }),
    }
}

#[must_use]
pub fn subscription_succeeded(channel: &str) -> String {
    json(&Frame { event: "pusher_internal:subscription_succeeded", channel: Some(channel), data: "{}" })
}

/// Why a subscription is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionErrorKind {
    /// 401: the signature is missing or wrong.
    Auth,
    /// 403: the channel of somebody else.
    Forbidden,
    /// 400: no name of a channel, or of a kind that is not supported.
    InvalidChannel,
    /// 413: too many channels.
    LimitReached,
}

#[must_use]
pub fn subscription_error(channel: &str, kind: SubscriptionErrorKind, error: &str) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        error: &'a str,
        status: u16,
    }
    let (kind, status) = match kind {
        SubscriptionErrorKind::Auth => ("AuthError", 401),
        SubscriptionErrorKind::Forbidden => ("AuthError", 403),
        SubscriptionErrorKind::InvalidChannel => ("InvalidChannel", 400),
        SubscriptionErrorKind::LimitReached => ("LimitReached", 413),
    };
    let data = json(&Data { kind, error, status });
    json(&Frame { event: "pusher:subscription_error", channel: Some(channel), data })
}

/// A published event; `data` is given to the client as it was published.
#[must_use]
pub fn event(event: &str, channel: &str, data: &str) -> String {
    json(&Frame { event, channel: Some(channel), data })
}

/// The channel that a user's own events name: spelt as pusher-js builds it, or it drops them.
#[must_use]
pub fn user_channel(user: &UserId) -> String {
    format!("{USER_CHANNEL_PREFIX}{user}")
}

pub const USER_CHANNEL_PREFIX: &str = "#server-to-user-";

/// Who went offline, and who came online; an empty list is left out. Without `channel`: clients would look for one.
#[must_use]
pub fn watchlist_events(offline: &[UserId], online: &[UserId]) -> String {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        user_ids: Vec<&'a str>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        events: Vec<Entry<'a>>,
    }
    let lists = [("offline", offline), ("online", online)];
    let entries = lists.into_iter().filter(|(_, users)| !users.is_empty());
    let events =
        entries.map(|(name, users)| Entry { name, user_ids: users.iter().map(UserId::as_str).collect() });
    let data = json(&Data { events: events.collect() });
    json(&Frame { event: "pusher_internal:watchlist_events", channel: None, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spelt_as_clients_expect_them() {
        let socket = "1234.5678".parse().expect("socket id");
        assert_eq!(
            connection_established(socket, Duration::from_secs(120)),
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.5678\",\"activity_timeout\":120}"}"#
        );
        assert_eq!(pong(), r#"{"event":"pusher:pong","data":"{}"}"#);
        assert_eq!(
            error(Some(4009), "no"),
            r#"{"event":"pusher:error","data":{"code":4009,"message":"no"}}"#
        );
        assert_eq!(error(None, "no"), r#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#);
        assert_eq!(
            subscription_succeeded("my-channel"),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"my-channel","data":"{}"}"#
        );
        assert_eq!(
            subscription_error("private-x", SubscriptionErrorKind::Auth, "no"),
            r#"{"event":"pusher:subscription_error","channel":"private-x","data":"{\"type\":\"AuthError\",\"error\":\"no\",\"status\":401}"}"#
        );
        assert_eq!(
            event("hello", "#server-to-user-é/", "{\"a\":1}"),
            r##"{"event":"hello","channel":"#server-to-user-é/","data":"{\"a\":1}"}"##
        );
    }

    #[test]
    fn a_success_echoes_its_text_byte_for_byte() {
        let text = r#"{"id": "user-123", "name": "\u00c4da", "x": 1e400, "y":"\/"}"#;
        for form in [SigninSuccessData::Object, SigninSuccessData::String] {
            let frame: serde_json::Value = serde_json::from_str(&signin_success(text, form)).expect("JSON");
            let data = match form {
                SigninSuccessData::Object => frame["data"].clone(),
                SigninSuccessData::String => {
                    serde_json::from_str(frame["data"].as_str().expect("a string")).expect("JSON")
                }
            };
            assert_eq!(data["user_data"], text);
        }
    }

    #[test]
    fn watchlist_events_name_offline_first_and_no_empty_list() {
        let user = |id: &str| id.parse::<UserId>().expect("user id");
        assert_eq!(
            watchlist_events(&[user("user-789")], &[user("user-456")]),
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"user-789\"]},{\"name\":\"online\",\"user_ids\":[\"user-456\"]}]}"}"#
        );
        assert!(!watchlist_events(&[], &[user("a")]).contains("offline"));
    }
}
