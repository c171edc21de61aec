//! The bodies that publish events.

use super::{
    Audience, Error, Field, Problem,
    json::{self, Object},
};
use ids::{ChannelKind, EventName, SocketId, UserId};
use serde_json::value::RawValue;

/// The most bytes of one event's `data`.
pub const MAX_DATA_BYTES: usize = 10_240;

/// The most channels of one event, repeated names included.
pub const MAX_CHANNELS: usize = 100;

/// The most events of one batch.
pub const MAX_BATCH: usize = 10;

/// One event, and whom it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// At least one; each once, in the order of the request.
    pub audiences: Vec<Audience>,
    pub name: EventName,
    /// As it goes to the clients: the string that was sent, or the JSON text of what was no string. At most
    /// [`MAX_DATA_BYTES`].
    pub data: String,
    /// A connection that does not get the event: the one it came from.
    pub except: Option<SocketId>,
    /// The caller asked for attributes of the channels. This release knows none of them, and an unknown attribute of a
    /// publish is omitted; but the answer then names the channels.
    pub wants_info: bool,
}

/// Events that are published together: all of them are valid, or none was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch(pub Vec<Publication>);

impl Publication {
    /// Reads `POST /apps/{app}/events`.
    pub(super) fn read(body: &[u8]) -> Result<Publication, Error> {
        let object = Object::of_body(body)?;
        let audiences = match (object.optional("channel")?, object.optional("channels")?) {
            (Some(_), Some(_)) => return Err(object.wrong("channels", Problem::ChannelAndChannels)),
            (Some(_), None) => vec![audience(&object)?],
            (None, _) => audiences(&object)?,
        };
        Publication::of(&object, audiences)
    }

    /// Reads `POST /apps/{app}/users/{user}/events`.
    pub(super) fn read_for(user: UserId, body: &[u8]) -> Result<Publication, Error> {
        let publication = Publication::of(&Object::of_body(body)?, vec![Audience::User(user)])?;
        Ok(Publication { wants_info: false, ..publication })
    }

    fn of(object: &Object<'_>, audiences: Vec<Audience>) -> Result<Publication, Error> {
        let name = object.string("name")?;
        Ok(Publication {
            audiences,
            name: name.parse().map_err(|error| object.wrong("name", Problem::EventName(error)))?,
            data: data(object)?,
            except: except(object)?,
            wants_info: object.optional_string("info")?.is_some(),
        })
    }
}

impl Batch {
    /// Reads `POST /apps/{app}/batch_events`.
    pub(super) fn read(body: &[u8]) -> Result<Batch, Error> {
        let object = Object::of_body(body)?;
        let events = object.list("batch")?;
        if events.is_empty() {
            return Err(object.wrong("batch", Problem::Empty));
        }
        if events.len() > MAX_BATCH {
            return Err(object.wrong("batch", Problem::TooMany { count: events.len(), limit: MAX_BATCH }));
        }
        events
            .iter()
            .enumerate()
            .map(|(index, event)| Batch::event(index, event))
            .collect::<Result<_, _>>()
            .map(Batch)
    }

    fn event(index: usize, event: &RawValue) -> Result<Publication, Error> {
        let field = Field { event: Some(index), name: "", item: None };
        let problem = Problem::Type { expected: "an object" };
        let object = Object::of_value(event, Some(index)).ok_or(Error::Field { field, problem })?;
        Publication::of(&object, vec![audience(&object)?])
    }
}

fn audiences(object: &Object<'_>) -> Result<Vec<Audience>, Error> {
    let names = object.list("channels")?;
    if names.is_empty() {
        return Err(object.wrong("channels", Problem::Empty));
    }
    if names.len() > MAX_CHANNELS {
        return Err(object.wrong("channels", Problem::TooMany { count: names.len(), limit: MAX_CHANNELS }));
    }
    let mut audiences = Vec::with_capacity(names.len());
    for (index, name) in names.into_iter().enumerate() {
        let field = || object.field("channels", Some(index));
        let expected = "a string";
        let name = json::string(name)
            .ok_or_else(|| Error::Field { field: field(), problem: Problem::Type { expected } })?;
        let audience = parse(&name, field())?;
        if !audiences.contains(&audience) {
            audiences.push(audience);
        }
    }
    // Each encrypted channel has a key of its own, so no ciphertext is meant for two.
    if audiences.len() > 1 && audiences.iter().any(is_encrypted) {
        return Err(object.wrong("channels", Problem::EncryptedAmongOthers));
    }
    audiences.into_iter().map(|audience| supported(audience, object.field("channels", None))).collect()
}

fn audience(object: &Object<'_>) -> Result<Audience, Error> {
    let field = || object.field("channel", None);
    supported(parse(&object.string("channel")?, field())?, field())
}

fn parse(name: &str, field: Field) -> Result<Audience, Error> {
    name.parse().map_err(|error| Error::Field { field, problem: Problem::Audience(error) })
}

fn is_encrypted(audience: &Audience) -> bool {
    matches!(audience, Audience::Channel(channel) if channel.as_str().starts_with("private-encrypted-"))
}

fn supported(audience: Audience, field: Field) -> Result<Audience, Error> {
    let kind = match &audience {
        Audience::User(_) => return Ok(audience),
        Audience::Channel(channel) => channel.kind(),
    };
    match kind {
        ChannelKind::Public | ChannelKind::Private => Ok(audience),
        ChannelKind::Encrypted | ChannelKind::Presence | ChannelKind::Cache => {
            Err(Error::Field { field, problem: Problem::NotSupported(kind) })
        }
    }
}

fn data(object: &Object<'_>) -> Result<String, Error> {
    let value = object.value("data")?.ok_or_else(|| object.wrong("data", Problem::Missing))?;
    let data = json::string(value).unwrap_or_else(|| value.get().into());
    if data.len() > MAX_DATA_BYTES {
        return Err(Error::DataTooLarge { field: object.field("data", None), bytes: data.len() });
    }
    Ok(data.into_owned())
}

/// Any two runs of digits are the id of a connection that may have been. Whether it was one of ours does not matter: who
/// is not there gets nothing anyway.
fn except(object: &Object<'_>) -> Result<Option<SocketId>, Error> {
    let Some(text) = object.optional_string("socket_id")? else { return Ok(None) };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((high, low)) if digits(high) && digits(low) => Ok(text.parse().ok()),
        _ => Err(object.wrong("socket_id", Problem::SocketId)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::InvalidAudience;
    use ids::{InvalidChannelName, InvalidEventName, InvalidUserId};
    use proptest::prelude::*;

    fn read(body: &str) -> Result<Publication, Error> {
        Publication::read(body.as_bytes())
    }

    fn publication(body: &str) -> Publication {
        read(body).unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    fn at(event: Option<usize>, name: &'static str, item: Option<usize>) -> Field {
        Field { event, name, item }
    }

    #[track_caller]
    fn refused(body: &str, name: &'static str, problem: Problem) {
        assert_eq!(read(body), Err(Error::Field { field: at(None, name, None), problem }), "{body}");
    }

    #[test]
    fn an_event_goes_to_each_audience_once_in_their_order() {
        let body = r##"{"name":"n","data":"d","channels":["b","private-a","#server-to-user-ada","b","#server-to-user-ada"]}"##;
        let names: Vec<_> = publication(body).audiences.iter().map(Audience::to_string).collect();
        assert_eq!(names, ["b", "private-a", "#server-to-user-ada"]);
        let body = r##"{"name":"n","data":"d","channel":"#server-to-user-ada","channels":null}"##;
        assert_eq!(publication(body).audiences, [Audience::User("ada".parse().expect("a user id"))]);
    }

    #[test]
    fn data_is_the_string_that_was_sent_or_the_text_of_what_was_none() {
        let check = |data: &str, expected: &str| {
            assert_eq!(publication(&format!(r#"{{"name":"n","channel":"a","data":{data}}}"#)).data, expected);
        };
        check(r#""""#, "");
        check(r#""{\"a\":1}""#, r#"{"a":1}"#);
        check(r#""\u00e9\ud83d\ude00\/""#, "é😀/");
        check(
            r#"{ "b": 1.0, "a": [12345678901234567890.10], "\u00e9": "\/" }"#,
            r#"{ "b": 1.0, "a": [12345678901234567890.10], "\u00e9": "\/" }"#,
        );
        check("null", "null");
        check("  17 ", "17");
        check("\"line\u{2028}\"", "line\u{2028}");
    }

    #[test]
    fn data_has_a_limit_in_bytes_of_what_goes_to_clients() {
        let body = |data: &str| format!(r#"{{"name":"n","channel":"a","data":{data}}}"#);
        let string = |bytes: usize| body(&format!("\"{}\"", "\\u0041".repeat(bytes)));
        assert!(read(&string(MAX_DATA_BYTES)).is_ok());
        let too_large = |bytes| Err(Error::DataTooLarge { field: at(None, "data", None), bytes });
        assert_eq!(read(&string(MAX_DATA_BYTES + 1)), too_large(MAX_DATA_BYTES + 1));
        assert_eq!(read(&body(&format!("\"{}\"", "é".repeat(5121)))), too_large(10_242));
        assert_eq!(read(&body(&format!("[{}]", " ".repeat(MAX_DATA_BYTES)))), too_large(MAX_DATA_BYTES + 2));
        assert_eq!(read(&string(MAX_DATA_BYTES + 1)).map_err(|error| error.status()), Err(413));
    }

    #[test]
    fn every_field_absent_null_repeated_or_of_another_type_is_refused_by_name() {
        let string = Problem::Type { expected: "a string" };
        let array = Problem::Type { expected: "an array" };
        let others = ["1", "true", "{}", "[]", "1e999"];
        refused(r#"{"data":"","channel":"a"}"#, "name", Problem::Missing);
        refused(r#"{"name":"n","channel":"a"}"#, "data", Problem::Missing);
        refused(r#"{"name":"n","data":""}"#, "channels", Problem::Missing);
        refused("{}", "channels", Problem::Missing);
        refused(r#"{"name":null,"data":"","channel":"a"}"#, "name", string.clone());
        refused(r#"{"name":"n","data":"","channel":null}"#, "channels", Problem::Missing);
        refused(r#"{"name":"n","data":"","channels":null}"#, "channels", array.clone());
        for other in others {
            refused(&format!(r#"{{"name":{other},"data":"","channel":"a"}}"#), "name", string.clone());
            refused(&format!(r#"{{"name":"n","data":"","channel":{other}}}"#), "channel", string.clone());
            refused(
                &format!(r#"{{"name":"n","data":"","channel":"a","socket_id":{other}}}"#),
                "socket_id",
                string.clone(),
            );
            refused(
                &format!(r#"{{"name":"n","data":"","channel":"a","info":{other}}}"#),
                "info",
                string.clone(),
            );
        }
        for other in ["1", "true", "{}", "\"a\""] {
            refused(&format!(r#"{{"name":"n","data":"","channels":{other}}}"#), "channels", array.clone());
        }
        for item in ["1", "null", "[\"a\"]", "{}"] {
            let body = format!(r#"{{"name":"n","data":"","channels":["a",{item}]}}"#);
            let field = at(None, "channels", Some(1));
            assert_eq!(read(&body), Err(Error::Field { field, problem: string.clone() }));
        }
        for name in ["name", "data", "channel", "channels", "socket_id", "info"] {
            let rest = ["name", "data", "channel"].into_iter().filter(|other| other != &name);
            let rest: String = rest.map(|other| format!(r#","{other}":"a""#)).collect();
            refused(&format!(r#"{{"{name}":"a","{name}":"a"{rest}}}"#), name, Problem::Repeated);
        }
        refused(
            r#"{"name":"n","data":"","channel":"a","channels":["b"]}"#,
            "channels",
            Problem::ChannelAndChannels,
        );
    }

    #[test]
    fn names_of_events_and_channels_are_checked() {
        let name = |name: &str| format!(r#"{{"name":"{name}","data":"","channel":"a"}}"#);
        refused(&name(""), "name", Problem::EventName(InvalidEventName::Length));
        refused(&name(&"é".repeat(201)), "name", Problem::EventName(InvalidEventName::Length));
        refused(&name("pusher:error"), "name", Problem::EventName(InvalidEventName::Reserved));
        refused(&name("pusher_internal:x"), "name", Problem::EventName(InvalidEventName::Reserved));
        refused(&name("\\u0070usher:error"), "name", Problem::EventName(InvalidEventName::Reserved));
        let channel = |channel: &str| format!(r#"{{"name":"n","data":"","channel":"{channel}"}}"#);
        let invalid: Problem = Problem::Audience(InvalidChannelName.into());
        for bad in ["", "a b", "a:b", "é", "a/b", &"x".repeat(201)] {
            refused(&channel(bad), "channel", invalid.clone());
        }
        refused(&channel("#a"), "channel", Problem::Audience(InvalidAudience::Reserved));
        refused(&channel("#server-to-user-"), "channel", Problem::Audience(InvalidUserId.into()));
        refused(&channel("#server-to-user-a\\n"), "channel", Problem::Audience(InvalidUserId.into()));
        refused(&channel("presence-a"), "channel", Problem::NotSupported(ChannelKind::Presence));
        refused(&channel("private-encrypted-a"), "channel", Problem::NotSupported(ChannelKind::Encrypted));
        for cache in ["cache-a", "private-cache-a", "presence-cache-a", "private-encrypted-cache-a"] {
            refused(&channel(cache), "channel", Problem::NotSupported(ChannelKind::Cache));
        }
        let several = |names: &str| format!(r#"{{"name":"n","data":"","channels":[{names}]}}"#);
        for names in [r#""a","private-encrypted-a""#, r#""private-encrypted-cache-a","private-encrypted-a""#]
        {
            refused(&several(names), "channels", Problem::EncryptedAmongOthers);
        }
        let encrypted = Problem::NotSupported(ChannelKind::Encrypted);
        refused(&several(r#""private-encrypted-a","private-encrypted-a""#), "channels", encrypted);
        refused(&several(r#""a","presence-a""#), "channels", Problem::NotSupported(ChannelKind::Presence));
        let body = r#"{"name":"n","data":"","channels":["a","b","a b"]}"#;
        assert_eq!(read(body), Err(Error::Field { field: at(None, "channels", Some(2)), problem: invalid }));
        assert_eq!(
            read(body).map_err(|error| error.to_string()),
            Err("channels[2]: a channel name must be 1 to 200 characters of A-Z, a-z, 0-9 and _ - = @ , . ;"
                .to_owned())
        );
    }

    #[test]
    fn an_event_has_one_to_a_hundred_channels() {
        let body = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| format!("\"c{n}\"")).collect();
            format!(r#"{{"name":"n","data":"","channels":[{}]}}"#, names.join(","))
        };
        assert_eq!(publication(&body(100)).audiences.len(), 100);
        refused(&body(0), "channels", Problem::Empty);
        refused(&body(101), "channels", Problem::TooMany { count: 101, limit: 100 });
    }

    #[test]
    fn a_socket_id_is_two_runs_of_digits() {
        let body = |id: &str| format!(r#"{{"name":"n","data":"","channel":"a","socket_id":{id}}}"#);
        assert_eq!(publication(&body("\"1234.5678\"")).except, "1234.5678".parse().ok());
        for nobody in ["null", "\"007.1\"", "\"1.99999999999999999999\""] {
            assert_eq!(publication(&body(nobody)).except, None, "{nobody}");
        }
        for bad in
            ["\"\"", "\"1\"", "\"1.\"", "\".1\"", "\"1.2.3\"", "\"+1.2\"", "\"1.2\\n\"", "\"a.b\"", "\"1.२\""]
        {
            refused(&body(bad), "socket_id", Problem::SocketId);
        }
    }

    #[test]
    fn an_event_for_a_user_names_no_channel() {
        let ada: UserId = "ada".parse().expect("a user id");
        let body = br#"{"name":"n","data":"d","socket_id":"1.2","channels":17}"#;
        let publication = Publication::read_for(ada.clone(), body).expect("a publication");
        assert_eq!(publication.audiences, [Audience::User(ada.clone())]);
        assert_eq!(publication.except, "1.2".parse().ok());
        let missing = Publication::read_for(ada, br#"{"data":"d"}"#);
        assert_eq!(missing, Err(Error::Field { field: at(None, "name", None), problem: Problem::Missing }));
    }

    #[test]
    fn a_batch_is_one_to_ten_events_all_of_which_are_valid() {
        let event = r##"{"name":"n","data":"d","channel":"#server-to-user-ada"}"##;
        let body = |events: &[&str]| format!(r#"{{"batch":[{}]}}"#, events.join(","));
        let read = |body: String| Batch::read(body.as_bytes());
        let refused = |body: String, field: Field, problem| {
            assert_eq!(read(body.clone()), Err(Error::Field { field, problem }), "{body}");
        };
        assert_eq!(read(body(&[event; 10])).map(|Batch(events)| events.len()), Ok(10));
        let batch = at(None, "batch", None);
        refused(body(&[event; 11]), batch.clone(), Problem::TooMany { count: 11, limit: 10 });
        refused(body(&[]), batch.clone(), Problem::Empty);
        refused("{}".to_owned(), batch.clone(), Problem::Missing);
        for other in ["null", "{}", "1", "\"\""] {
            refused(format!(r#"{{"batch":{other}}}"#), batch.clone(), Problem::Type { expected: "an array" });
        }
        for other in ["null", "[]", "1", "\"\""] {
            refused(body(&[event, other]), at(Some(1), "", None), Problem::Type { expected: "an object" });
        }
        refused(body(&[event, "{}"]), at(Some(1), "channel", None), Problem::Missing);
        refused(
            body(&[event, event, r#"{"name":"pusher:x","data":"d","channel":"a"}"#]),
            at(Some(2), "name", None),
            Problem::EventName(InvalidEventName::Reserved),
        );
        let large = format!(r#"{{"name":"n","data":"{}","channel":"a"}}"#, "x".repeat(MAX_DATA_BYTES + 1));
        assert_eq!(
            read(body(&[event, &large])).map_err(|error| (error.status(), error.to_string())),
            Err((
                413,
                "batch[1].data: the data of an event has at most 10240 bytes, this one has 10241".to_owned()
            ))
        );
        assert_eq!(
            read(body(&["null"])).map_err(|error| error.to_string()),
            Err("batch[0]: must be an object".to_owned())
        );
    }

    #[test]
    fn nested_and_halved_input_is_refused() {
        let body = |data: &str| format!(r#"{{"name":"n","channel":"a","data":{data}}}"#);
        let deep = body(&format!("{}{}", "[".repeat(5000), "]".repeat(5000)));
        assert!(matches!(read(&deep), Err(Error::BodyTooDeep { .. })));
        for half in [r#""\ud800""#, r#"{"a":"\udc00"}"#, r#"{"\ud800":1}"#] {
            assert_eq!(read(&body(half)), Err(Error::LoneSurrogate), "{half}");
        }
    }

    proptest! {
        #[test]
        fn no_event_panics(
            fields in prop::collection::vec(
                (
                    prop_oneof![Just("name"), Just("data"), Just("channel"), Just("channels"), Just("socket_id"), Just("info"), Just("batch")],
                    prop_oneof![Just("null"), Just("\"n\""), Just("[\"n\"]"), Just("[{}]"), Just("[{\"name\":\"n\",\"data\":1,\"channel\":\"a\"}]"), Just("\"1.2\""), Just("{}"), Just("0")],
                ),
                0..8,
            )
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let body = format!("{{{}}}", fields.join(","));
            if let Ok(publication) = read(&body) {
                prop_assert!(!publication.audiences.is_empty());
            }
            let _ = Batch::read(body.as_bytes());
        }
    }
}
