//! What a gateway needs to know.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Threads that own connections.
    pub workers: NonZeroUsize,
    /// Silence after which a client pings, and after which we ping it.
    pub activity_timeout: Duration,
    /// The largest message a client may send, in bytes.
    pub max_frame_bytes: usize,
    /// The most bytes that wait for one client to read them.
    pub outbox_bytes: usize,
    /// Before every path: empty, or `/` and something.
    pub path_prefix: String,
    /// Over how long connections are closed on shutdown.
    pub drain_time: Duration,
    /// How long the users of a drained gateway stay online, to come back elsewhere.
    pub handover_grace: Duration,
    /// How long a sign-in may wait for the broker.
    pub sign_in_deadline: Duration,
    /// Takes a connection that names no protocol version for version 7 instead of refusing it.
    pub assume_protocol_7: bool,
    /// Frames that one client may send per second, in bursts of twice as many.
    pub frames_per_second: NonZeroU32,
    /// The most connections at a time; more are refused with 4100.
    pub max_connections: usize,
}
