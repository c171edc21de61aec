//! What people get wrong when they sign by hand. A wrong signature is compared with what those mistakes would have made.

use ids::{ChannelName, SocketId};
use protocol::{App, Secret, Signature};
use serde_json::Value;

/// About fields that are missing or of the wrong type. `data` is signed beside the socket id.
pub(super) fn fields(answer: &Value, data: &str, data_required: bool) -> String {
    if !answer.is_object() {
        return "Answer with a JSON object.".to_owned();
    }
    for (field, required) in [("auth", true), (data, data_required)] {
        match answer.get(field) {
            None | Some(Value::Null) if required => return format!("`{field}` is missing in the answer."),
            None | Some(Value::Null | Value::String(_)) => {}
            Some(Value::Object(_)) if field != "auth" => {
                return format!(
                    "Answer with `{field}` as JSON text, in a string: the very text that was signed."
                );
            }
            Some(_) => return format!("`{field}` must be a string."),
        }
    }
    "`auth` must be a string.".to_owned()
}

/// About a signature that is not 64 hexadecimal digits.
pub(super) fn not_hexadecimal(auth: &str) -> String {
    let signature = auth.split_once(':').map_or(auth, |(_, signature)| signature);
    if signature.contains(':') {
        return "One colon is between the key and the signature, and nothing else.".to_owned();
    }
    if signature.len() != 64 && signature.contains(['=', '+', '/']) {
        return "It looks like base64: write the signature in hexadecimal.".to_owned();
    }
    format!("It has {} characters: write the whole HMAC-SHA256 in hexadecimal.", signature.chars().count())
}

/// About a sign-in whose signature is wrong.
pub(super) fn wrong_sign_in(app: &App, socket: SocketId, auth: &str, user_data: &str) -> String {
    let expected = format!("{socket}::user::{user_data}");
    let parsed = serde_json::from_str::<Value>(user_data).ok();
    let id = parsed.as_ref().and_then(|data| data.get("id")).and_then(Value::as_str).unwrap_or_default();
    let mut suspects = vec![
        (format!("{socket}:{user_data}"), "Between socket_id and user_data stands `::user::`, not a colon."),
        (format!("{socket}:user:{user_data}"), "Before and after `user` stand two colons."),
        (format!("{socket}::user::{id}"), "Sign the whole user_data, not the id alone."),
        (
            format!("{socket}::user::{}", Value::from(user_data)),
            "user_data was written once more as JSON before it was signed.",
        ),
        (user_data.to_owned(), "The socket_id is not part of what was signed."),
        (format!("::user::{user_data}"), "The socket_id is not part of what was signed."),
    ];
    for spelling in parsed.iter().flat_map(other_spellings) {
        suspects.push((
            format!("{socket}::user::{spelling}"),
            "Sign and answer the same bytes: user_data was written as JSON twice, with other spaces or in another order.",
        ));
    }
    recognise(app, auth, &expected, &suspects)
}

/// About a subscription whose signature is wrong.
pub(super) fn wrong_subscription(
    app: &App,
    socket: SocketId,
    channel: &ChannelName,
    auth: &str,
    channel_data: Option<&str>,
) -> String {
    let plain = format!("{socket}:{channel}");
    let expected = channel_data.map_or_else(|| plain.clone(), |data| format!("{plain}:{data}"));
    let mut suspects = vec![
        (channel.to_string(), "The socket_id is not part of what was signed."),
        (format!("{channel}:{socket}"), "The socket_id comes first."),
    ];
    if channel_data.is_some() {
        suspects.push((plain, "It was signed without channel_data, which the answer has."));
    }
    let parsed = channel_data.and_then(|data| serde_json::from_str::<Value>(data).ok());
    for spelling in parsed.iter().flat_map(other_spellings) {
        suspects.push((
            format!("{socket}:{channel}:{spelling}"),
            "Sign and answer the same bytes: channel_data was written as JSON twice, with other spaces or in another order.",
        ));
    }
    recognise(app, auth, &expected, &suspects)
}

fn recognise(app: &App, auth: &str, expected: &str, suspects: &[(String, &str)]) -> String {
    let Some(Ok(given)) = auth.split_once(':').map(|(_, signature)| signature.parse::<Signature>()) else {
        return String::new();
    };
    let made_of = |string: &str| app.secret.verify(&[string.as_bytes()], &given);
    let by_key = Secret::new(app.key.as_str());
    let found = if by_key.verify(&[expected.as_bytes()], &given) {
        Some("Sign with the app's secret, not with its key.")
    } else if made_of(&format!("{expected}\n")) {
        Some("An end of line was signed with it.")
    } else {
        suspects.iter().find(|(string, _)| made_of(string)).map(|(_, advice)| *advice)
    };
    let advice = found.unwrap_or("The secret is another one, or something else was signed.");
    format!("{advice} With this app's secret, sign exactly:\n  {expected}")
}

/// The same JSON as the serializers of other languages would write it.
fn other_spellings(value: &Value) -> Vec<String> {
    let compact = value.to_string();
    let mut spaced = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for character in compact.chars() {
        spaced.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ':' | ',' if !in_string => spaced.push(' '),
            _ => {}
        }
    }
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    vec![compact, spaced, pretty]
}
