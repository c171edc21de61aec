//! Frames from clients. What is not one of these never leaves this file. `docs/PROTOCOL.md` §1.5.

use crate::json::{self, Text};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Everything a client may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    Ping,
    /// The answer to a ping that we do not send; harmless.
    Pong,
    /// Fields that are absent or not strings are `None`: a sign-in is refused for that with a code of its own.
    SignIn {
        auth: Option<String>,
        user_data: Option<String>,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        channel: String,
    },
    ClientEvent(ClientEvent),
}

/// A subscription that is asked for; `channel` may be no channel's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub channel: String,
    pub auth: Option<String>,
    pub channel_data: Option<String>,
}

/// An event from one client for the others on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    pub event: String,
    pub channel: String,
    /// A string as it was; any other value as its JSON text.
    pub data: String,
}

/// What is wrong with a frame. Told to the client with code null; the connection stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    #[error("the frame is not a JSON object without duplicate keys")]
    NotAnObject,
    #[error("frames must be text, not binary")]
    Binary,
    #[error("the frame needs an `event` that is a string")]
    Event,
    #[error(
        "no such event: clients may send pusher:ping, pusher:pong, pusher:signin, pusher:subscribe, pusher:unsubscribe and client-… events"
    )]
    UnknownEvent,
    #[error("the frame needs `data` that is an object")]
    Data,
    #[error("the frame needs a `channel` that is a string")]
    Channel,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SignInData<'a> {
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    user_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    channel_data: Option<&'a RawValue>,
}

impl ClientFrame {
    /// # Errors
    /// See [`InvalidFrame`].
    pub fn parse(text: &str) -> Result<ClientFrame, InvalidFrame> {
        if json::has_lone_surrogate(text) {
            return Err(InvalidFrame::NotAnObject);
        }
        let envelope: Envelope<'_> = object(text).ok_or(InvalidFrame::NotAnObject)?;
        let event = Text::of(envelope.event).given().ok_or(InvalidFrame::Event)?;
        match event.as_str() {
            "pusher:ping" => Ok(ClientFrame::Ping),
            "pusher:pong" => Ok(ClientFrame::Pong),
            "pusher:signin" => sign_in(envelope.data),
            "pusher:subscribe" => subscribe(envelope.data).map(ClientFrame::Subscribe),
            "pusher:unsubscribe" => {
                subscribe(envelope.data).map(|asked| ClientFrame::Unsubscribe { channel: asked.channel })
            }
            _ if event.starts_with("client-") => {
                let channel = Text::of(envelope.channel).given().ok_or(InvalidFrame::Channel)?;
                let data = match (Text::of(envelope.data), envelope.data) {
                    (Text::Given(text), _) => text,
                    (Text::OfAnotherType, Some(raw)) => raw.get().to_owned(),
                    (Text::Absent | Text::OfAnotherType, _) => "null".to_owned(),
                };
                Ok(ClientFrame::ClientEvent(ClientEvent { event, channel, data }))
            }
            _ => Err(InvalidFrame::UnknownEvent),
        }
    }
}

fn sign_in(data: Option<&RawValue>) -> Result<ClientFrame, InvalidFrame> {
    with_data(data, |json| {
        let fields: SignInData<'_> = object(json)?;
        let (auth, user_data) = (Text::of(fields.auth).given(), Text::of(fields.user_data).given());
        Some(ClientFrame::SignIn { auth, user_data })
    })
}

fn subscribe(data: Option<&RawValue>) -> Result<Subscribe, InvalidFrame> {
    let (channel, auth, channel_data) = with_data(data, |json| {
        let fields: ChannelData<'_> = object(json)?;
        Some((Text::of(fields.channel), Text::of(fields.auth), Text::of(fields.channel_data)))
    })?;
    let channel = channel.given().ok_or(InvalidFrame::Channel)?;
    // What is not a string cannot have been signed, and so fails as if it were missing.
    Ok(Subscribe { channel, auth: auth.given(), channel_data: channel_data.given() })
}

/// `data` is an object, or a string that holds one.
fn with_data<T>(data: Option<&RawValue>, read: impl Fn(&str) -> Option<T>) -> Result<T, InvalidFrame> {
    let result = match Text::of(data) {
        Text::Given(json) if json::has_lone_surrogate(&json) => None,
        Text::Given(json) => read(&json),
        Text::OfAnotherType => data.and_then(|data| read(data.get())),
        Text::Absent => None,
    };
    result.ok_or(InvalidFrame::Data)
}

/// Reads a JSON object; serde alone would take an array for a struct as well.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    if json.trim_start().starts_with('{') { serde_json::from_str(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ClientFrame, InvalidFrame> {
        ClientFrame::parse(text)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_real_clients_send_is_understood() {
        assert_eq!(parse(r#"{"event":"pusher:ping","data":{}}"#), Ok(ClientFrame::Ping));
        assert_eq!(parse(r#"{"event": "pusher:ping"}"#), Ok(ClientFrame::Ping), "Java leaves data out");
        assert_eq!(parse(r#"{"event":"pusher:pong","data":{}}"#), Ok(ClientFrame::Pong));
        let sign_in = ClientFrame::SignIn { auth: some("k:s"), user_data: some(r#"{"id":"u"}"#) };
        let frame = r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{\"id\":\"u\"}"}}"#;
        assert_eq!(parse(frame), Ok(sign_in.clone()));
        let in_a_string = r#"{"event":"pusher:signin","data":"{\"auth\":\"k:s\",\"user_data\":\"{\\\"id\\\":\\\"u\\\"}\"}"}"#;
        assert_eq!(parse(in_a_string), Ok(sign_in));
        let subscribe = |channel: &str, auth| {
            ClientFrame::Subscribe(Subscribe { channel: channel.to_owned(), auth, channel_data: None })
        };
        assert_eq!(
            parse(r##"{"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u"}}"##),
            Ok(subscribe("#server-to-user-u", some("")))
        );
        assert_eq!(
            parse(r#"{"event":"pusher:subscribe","data":{"channel":"news","auth":null,"channel_data":7}}"#),
            Ok(subscribe("news", None))
        );
        assert_eq!(
            parse(r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#),
            Ok(ClientFrame::Unsubscribe { channel: "news".to_owned() })
        );
    }

    #[test]
    fn client_event_data_becomes_a_string() {
        let check = |data: &str, expected: &str| {
            let frame = parse(&format!(r#"{{"event":"client-x","channel":"private-a"{data}}}"#));
            let Ok(ClientFrame::ClientEvent(event)) = frame else { panic!("{frame:?}") };
            assert_eq!(event.data, expected);
        };
        check(r#","data":{"is_typing": true}"#, r#"{"is_typing": true}"#);
        check(r#","data":"text""#, "text");
        check(r#","data":12345678901234567890"#, "12345678901234567890");
        check(r#","data":null"#, "null");
        check("", "null");
    }

    #[test]
    fn every_field_may_be_missing_null_or_of_another_type() {
        use InvalidFrame::{Channel, Data, Event, NotAnObject, UnknownEvent};
        for frame in
            ["", "x", "[]", "null", "7", "\"pusher:ping\"", "{", "{}x", r#"["pusher:ping",null,null]"#]
        {
            assert_eq!(parse(frame), Err(NotAnObject), "{frame}");
        }
        assert_eq!(parse(r#"{"event":"pusher:ping","event":"pusher:ping"}"#), Err(NotAnObject));
        assert_eq!(parse(r#"{"event":"pusher:ping","data":"\ud800"}"#), Err(NotAnObject));
        for event in
            ["{}", r#"{"event":null}"#, r#"{"event":7}"#, r#"{"event":{}}"#, r#"{"event":["pusher:ping"]}"#]
        {
            assert_eq!(parse(event), Err(Event), "{event}");
        }
        for event in ["pusher:nonsense", "pusher_internal:member_added", "hello", ""] {
            assert_eq!(parse(&format!(r#"{{"event":"{event}"}}"#)), Err(UnknownEvent), "{event}");
        }
        for event in ["pusher:signin", "pusher:subscribe", "pusher:unsubscribe"] {
            for data in
                ["", r#","data":null"#, r#","data":7"#, r#","data":[]"#, r#","data":"""#, r#","data":"[]""#]
            {
                assert_eq!(parse(&format!(r#"{{"event":"{event}"{data}}}"#)), Err(Data), "{event} {data}");
            }
        }
        for field in ["", r#""channel":null"#, r#""channel":7"#, r#""channel":["a"]"#] {
            assert_eq!(parse(&format!(r#"{{"event":"pusher:subscribe","data":{{{field}}}}}"#)), Err(Channel));
            assert_eq!(parse(&format!(r#"{{"event":"client-x","data":{{{field}}}}}"#)), Err(Channel));
        }
        for fields in ["", r#""auth":null,"user_data":null"#, r#""auth":7,"user_data":{"id":"u"}"#] {
            let frame = parse(&format!(r#"{{"event":"pusher:signin","data":{{{fields}}}}}"#));
            assert_eq!(frame, Ok(ClientFrame::SignIn { auth: None, user_data: None }), "{fields}");
        }
        let twice = r#"{"event":"pusher:signin","data":{"auth":"a","auth":"b","user_data":"c"}}"#;
        assert_eq!(parse(twice), Err(Data));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parser_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_frame_with_hostile_data_makes_it_panic(
            event in "(pusher:(signin|subscribe|unsubscribe|ping)|client-x)",
            data in r#"(\{"?(auth|user_data|channel|channel_data)?"?:?.{0,20}\}|".{0,20}"|[\[\{]{0,50}.{0,9})"#,
        ) {
            let _ = parse(&format!(r#"{{"event":"{event}","channel":"c","data":{data}}}"#));
        }
    }
}
