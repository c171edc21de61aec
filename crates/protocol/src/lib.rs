//! The Pusher Channels protocol, version 7, without I/O: frames from and to clients, close codes, signatures, and the
//! bodies and signing of the HTTP API. JSON is known here and nowhere else. `docs/PROTOCOL.md` has the rules and their
//! reasons.

mod app;
mod client;
mod close;
pub mod connect;
pub mod http;
mod json;
mod secret;
pub mod server;
pub mod signature;
mod user_data;
pub mod websocket;

pub use app::{App, Apps, SigninSuccessData, TerminationClose};
pub use client::{ClientEvent, ClientFrame, InvalidFrame, Subscribe};
pub use close::{Close, CloseCode, ErrorCode};
pub use secret::{InvalidSignature, Secret, Signature};
pub use user_data::{InvalidUserData, MAX_USER_DATA_BYTES, UserData};
