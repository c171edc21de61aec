//! Everything that can be wrong with a request, and the status it is answered with.

use super::{InvalidAudience, MAX_DATA_BYTES, MAX_PARAMETERS, MAX_QUERY_BYTES, TIMESTAMP_WINDOW};
use ids::{ChannelKind, InvalidEventName, InvalidUserId, NodeId};
use std::fmt;

/// Why a request is refused. The text is for the caller: it says what to change. It may repeat what the caller sent, so
/// it is not for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "no such endpoint: this server has POST /apps/{{app}}/events, /apps/{{app}}/batch_events, \
         /apps/{{app}}/users/{{user}}/events and /apps/{{app}}/users/{{user}}/terminate_connections"
    )]
    NoSuchEndpoint,
    /// The endpoints that read channels belong to the same API, but are not there yet.
    #[error("reading channels is not supported by this release")]
    ChannelsNotSupported,
    #[error("this endpoint takes POST only")]
    MethodNotAllowed,
    #[error("unknown app: the path names neither the id nor the key of an app of this server")]
    UnknownApp,
    #[error("the query string has more than {MAX_QUERY_BYTES} bytes")]
    QueryTooLong,
    #[error("the query string has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    /// Parsers differ on which of the two counts.
    #[error("the query parameter {0:?} is given more than once")]
    RepeatedParameter(String),
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error("the app is disabled")]
    AppDisabled,
    #[error("the user id in the path: {0}")]
    User(#[from] InvalidUserId),
    #[error("the percent-escapes of the user id in the path are not UTF-8")]
    UserNotUtf8,
    #[error("the escapes of the query string are not UTF-8")]
    QueryNotUtf8,
    #[error("the body is not UTF-8")]
    BodyNotUtf8,
    #[error("the body is not valid JSON (line {line}, column {column})")]
    BodyNotJson { line: usize, column: usize },
    #[error("the body must be a JSON object")]
    BodyNotObject,
    #[error("the body is nested too deeply: at most {limit} levels are taken")]
    BodyTooDeep { limit: usize },
    /// JSON can spell half a character (`"\ud800"`), which no UTF-8 frame to a client can carry.
    #[error("the body has half of a surrogate pair in a \\u escape, which is no character")]
    LoneSurrogate,
    #[error("{field}: {problem}")]
    Field { field: Field, problem: Problem },
    #[error("{field}: the data of an event has at most {MAX_DATA_BYTES} bytes, this one has {bytes}")]
    DataTooLarge { field: Field, bytes: usize },
    #[error("the body has more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("the body broke off")]
    BodyBrokeOff,
    #[error(
        "the message broker did not answer in time, so nothing is known of the effect: repeat the request"
    )]
    Unavailable,
    #[error(
        "the termination is under way, but not every node has confirmed that its connections are closed: \
         a retry is safe"
    )]
    Unconfirmed {
        /// The connections closed so far, by the nodes that did confirm.
        closed: u32,
        nodes: Vec<NodeId>,
    },
}

/// 401: who sent this has not shown that they know the app's secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("the query parameter {0} is required")]
    Missing(&'static str),
    #[error("auth_key is not the key of an app of this server")]
    UnknownKey,
    #[error("auth_key is not the key of the app in the path")]
    KeyOfAnotherApp,
    #[error("auth_version must be 1.0")]
    Version,
    #[error("auth_timestamp must be the time in seconds since 1970")]
    TimestampSyntax,
    #[error(
        "auth_timestamp {given} is not within {}s of the server's time, {now}: check the clocks",
        TIMESTAMP_WINDOW.as_secs()
    )]
    Timestamp { given: u64, now: u64 },
    #[error("auth_signature must be 64 hexadecimal digits")]
    SignatureSyntax,
    /// Names what is to be signed, which the caller knows, not the signature.
    #[error("auth_signature is not the HMAC-SHA256, under the app's secret, of {expected:?}")]
    Signature { expected: String },
    #[error("the query parameter body_md5 is required with a body")]
    BodyNotSigned,
    #[error("body_md5 is not the MD5 of the body")]
    BodyMd5,
}

/// Where in a body something is wrong: `name`, `batch[3].channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The event's place in a batch.
    pub event: Option<usize>,
    pub name: &'static str,
    /// The place in a list.
    pub item: Option<usize>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("required")]
    Missing,
    #[error("must be {expected}")]
    Type { expected: &'static str },
    /// Parsers differ on which of the two counts.
    #[error("given more than once")]
    Repeated,
    #[error("must not be empty")]
    Empty,
    #[error("has {count} entries, at most {limit} are taken")]
    TooMany { count: usize, limit: usize },
    #[error(transparent)]
    EventName(InvalidEventName),
    #[error(transparent)]
    Audience(InvalidAudience),
    #[error("must be a socket id: two decimal numbers joined by a dot, such as 1234.5678")]
    SocketId,
    #[error("give either `channel` or `channels`, not both")]
    ChannelAndChannels,
    #[error("an event for a private-encrypted- channel goes to that channel alone")]
    EncryptedAmongOthers,
    #[error("{} channels are not supported by this release", kind_name(*.0))]
    NotSupported(ChannelKind),
}

fn kind_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Public => "public",
        ChannelKind::Private => "private",
        ChannelKind::Encrypted => "encrypted",
        ChannelKind::Presence => "presence",
        ChannelKind::Cache => "cache",
    }
}

impl Error {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Error::QueryTooLong
            | Error::TooManyParameters
            | Error::RepeatedParameter(_)
            | Error::User(_)
            | Error::UserNotUtf8
            | Error::QueryNotUtf8
            | Error::BodyNotUtf8
            | Error::BodyNotJson { .. }
            | Error::BodyNotObject
            | Error::BodyTooDeep { .. }
            | Error::LoneSurrogate
            | Error::Field { .. }
            | Error::BodyBrokeOff => 400,
            Error::Unauthorized(_) => 401,
            Error::AppDisabled => 403,
            Error::NoSuchEndpoint | Error::ChannelsNotSupported | Error::UnknownApp => 404,
            Error::MethodNotAllowed => 405,
            Error::BodyTooSlow => 408,
            Error::DataTooLarge { .. } | Error::BodyTooLarge { .. } => 413,
            Error::Unavailable | Error::Unconfirmed { .. } => 503,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(event) = self.event {
            write!(f, "batch[{event}]")?;
            if !self.name.is_empty() {
                f.write_str(".")?;
            }
        }
        f.write_str(self.name)?;
        self.item.map_or(Ok(()), |item| write!(f, "[{item}]"))
    }
}
