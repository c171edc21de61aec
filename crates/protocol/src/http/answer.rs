//! What is answered: a status and a JSON body.

use super::{Batch, Error, Publication};
use ids::NodeId;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// The media type of every answer, to the letter.
pub const CONTENT_TYPE: &str = "application/json";

/// An answer as it goes out. The body is JSON of [`CONTENT_TYPE`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// 200 for every success: some SDKs take no other.
    pub status: u16,
    pub body: String,
    /// The methods of the path, for the `Allow` header that a 405 must have.
    pub allow: Option<&'static str>,
}

impl Answer {
    /// It is done, and there is nothing to say about it.
    #[must_use]
    pub fn done() -> Answer {
        Answer::ok(&Empty {})
    }

    /// The event was taken by the broker.
    #[must_use]
    pub fn published(publication: &Publication) -> Answer {
        if publication.wants_info {
            Answer::ok(&Published { channels: Channels(publication) })
        } else {
            Answer::done()
        }
    }

    /// Every event was taken by the broker.
    #[must_use]
    pub fn published_batch(Batch(publications): &Batch) -> Answer {
        if publications.iter().any(|publication| publication.wants_info) {
            Answer::ok(&PublishedBatch { batch: publications.iter().map(|_| Empty {}).collect() })
        } else {
            Answer::done()
        }
    }

    fn ok(body: &impl Serialize) -> Answer {
        Answer { status: 200, body: encode(body), allow: None }
    }
}

impl From<&Error> for Answer {
    fn from(error: &Error) -> Answer {
        let (code, text) = (error.status(), error.to_string());
        let body = match error {
            Error::Unconfirmed { closed, nodes } => {
                let unconfirmed = nodes.iter().map(NodeId::to_string).collect();
                encode(&Unconfirmed { error: &text, code, closed: *closed, unconfirmed })
            }
            _ => encode(&Refused { error: &text, code }),
        };
        let allow = matches!(error, Error::MethodNotAllowed).then_some("POST");
        Answer { status: code, body, allow }
    }
}

fn encode(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("strings, numbers and maps with string keys are JSON")
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Published<'a> {
    channels: Channels<'a>,
}

/// One entry for each channel. It has no attributes: see [`Publication::wants_info`].
struct Channels<'a>(&'a Publication);

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.audiences.len()))?;
        for audience in &self.0.audiences {
            map.serialize_entry(&audience.to_string(), &Empty {})?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct PublishedBatch {
    batch: Vec<Empty>,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
    code: u16,
}

#[derive(Serialize)]
struct Unconfirmed<'a> {
    error: &'a str,
    code: u16,
    closed: u32,
    unconfirmed: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Unauthorized, call::Call, route::Endpoint};

    fn publish(body: &str) -> Answer {
        match Call::read(Endpoint::Events, body.as_bytes()) {
            Ok(Call::Publish(publication)) => Answer::published(&publication),
            other => panic!("{other:?}"),
        }
    }

    fn batch(body: &str) -> Answer {
        match Call::read(Endpoint::BatchEvents, body.as_bytes()) {
            Ok(Call::PublishBatch(batch)) => Answer::published_batch(&batch),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_publish_is_answered_with_its_channels_if_info_was_asked_for() {
        let check = |answer: Answer, body: &str| assert_eq!((answer.status, &*answer.body), (200, body));
        check(publish(r#"{"name":"e","data":"","channels":["a"]}"#), "{}");
        check(publish(r#"{"name":"e","data":"","channels":["a"],"info":null}"#), "{}");
        check(
            publish(
                r##"{"name":"e","data":"","channels":["b","a","b","#server-to-user-\""],"info":"user_count"}"##,
            ),
            r##"{"channels":{"b":{},"a":{},"#server-to-user-\"":{}}}"##,
        );
        check(batch(r#"{"batch":[{"name":"e","data":"","channel":"a"}]}"#), "{}");
        check(
            batch(
                r#"{"batch":[{"name":"e","data":"","channel":"a"},{"name":"e","data":"","channel":"a","info":"x"}]}"#,
            ),
            r#"{"batch":[{},{}]}"#,
        );
    }

    #[test]
    fn an_error_is_one_sentence_and_its_code() {
        let check = |error: Error, status, body: &str| {
            let answer = Answer::from(&error);
            assert_eq!((answer.status, &*answer.body), (status, body));
        };
        check(
            Unauthorized::Missing("auth_key").into(),
            401,
            r#"{"error":"the query parameter auth_key is required","code":401}"#,
        );
        check(
            Unauthorized::Timestamp { given: 1, now: 1000 }.into(),
            401,
            r#"{"error":"auth_timestamp 1 is not within 600s of the server's time, 1000: check the clocks","code":401}"#,
        );
        check(
            Error::RepeatedParameter("\"\u{0}".to_owned()),
            400,
            r#"{"error":"the query parameter \"\\\"\\0\" is given more than once","code":400}"#,
        );
        check(
            Error::Unconfirmed { closed: 3, nodes: vec![NodeId::from_random(255)] },
            503,
            concat!(
                r#"{"error":"the termination is under way, but not every node has confirmed that its connections are "#,
                r#"closed: a retry is safe","code":503,"closed":3,"unconfirmed":["00000000000000ff"]}"#
            ),
        );
        assert_eq!(Answer::from(&Error::MethodNotAllowed).allow, Some("POST"));
    }
}
