//! Why a connection is closed, or refused something: the codes of the protocol, and what clients make of them.

/// A code that closes a connection. It is sent twice: in a `pusher:error` frame, which is all that the .NET client looks
/// at, and in the close frame.
///
/// Clients act on the range: 4000–4099 stops pusher-js, Java and Swift for good, 4100–4199 makes them come back after
/// a pause, 4200–4299 at once. So load is never shed with 40xx, and nothing closes with 43xx, which pusher-js takes for
/// a reason to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 4001. Clients stop.
    UnknownApp,
    /// 4003. Clients stop.
    AppDisabled,
    /// 4005. Clients stop.
    PathNotFound,
    /// 4006. Clients stop.
    BadVersionFormat,
    /// 4007. Clients stop.
    UnsupportedVersion,
    /// 4008. Clients stop.
    NoVersion,
    /// 4009. Clients stop.
    Unauthorized,
    /// 4100. Clients come back after a second or more: the node is overloaded, or this client reads too slowly.
    OverCapacity,
    /// 4200. Clients come back at once: a drain, or a termination that lets them.
    ReconnectImmediately,
    /// 4201. Clients come back at once: nothing was heard of them, a pong neither.
    PongNotReceived,
    /// 1009 (RFC 6455): a frame above the limit. Clients come back.
    TooBig,
    /// 1002 (RFC 6455): not WebSocket. Clients back off.
    ProtocolError,
    /// 1007 (RFC 6455): a text frame that is not UTF-8. Clients come back.
    InvalidUtf8,
}

impl CloseCode {
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            CloseCode::UnknownApp => 4001,
            CloseCode::AppDisabled => 4003,
            CloseCode::PathNotFound => 4005,
            CloseCode::BadVersionFormat => 4006,
            CloseCode::UnsupportedVersion => 4007,
            CloseCode::NoVersion => 4008,
            CloseCode::Unauthorized => 4009,
            CloseCode::OverCapacity => 4100,
            CloseCode::ReconnectImmediately => 4200,
            CloseCode::PongNotReceived => 4201,
            CloseCode::TooBig => 1009,
            CloseCode::ProtocolError => 1002,
            CloseCode::InvalidUtf8 => 1007,
        }
    }

    /// Whether a `pusher:error` frame goes before the close frame: for the protocol's own codes.
    #[must_use]
    pub fn has_error_frame(self) -> bool {
        self.number() >= 4000
    }
}

/// A code that a `pusher:error` frame carries while the connection stays open. The protocol's null is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 4009: a sign-in or a subscription was refused.
    Unauthorized,
    /// 4301: a client event was refused, for its rate or since the app does not allow them.
    ClientEventRejected,
    /// 4302: a watchlist was cut.
    WatchlistLimit,
}

impl ErrorCode {
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            ErrorCode::Unauthorized => 4009,
            ErrorCode::ClientEventRejected => 4301,
            ErrorCode::WatchlistLimit => 4302,
        }
    }
}

/// A close frame's code and its reason, which is cut to [`Close::MAX_REASON_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: CloseCode,
    pub reason: String,
}

impl Close {
    /// What a control frame has room for beside the code (RFC 6455 §5.5).
    pub const MAX_REASON_BYTES: usize = 123;

    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Close {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(Self::MAX_REASON_BYTES));
        Close { code, reason }
    }
}
