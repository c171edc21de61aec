//! Identifiers and names. Each is a type of its own and is checked when it is made, so that whoever holds one need
//! not ask again. Nothing here knows of sockets, clocks or randomness: who draws an id passes the random bits in.

mod app;
mod channel;
mod hash;
mod process;
mod shard;
mod socket;
mod user;

pub use app::{AppId, AppKey, InvalidAppId};
pub use channel::{ChannelKind, ChannelName, EventName, InvalidChannelName, InvalidEventName};
pub use hash::stable_hash;
pub use process::{Epoch, InvalidProcessId, NodeId, ProcessId};
pub use shard::{ShardId, Shards};
pub use socket::{InvalidSocketId, SocketId};
pub use user::{InvalidUserId, UserId, UserKey};
