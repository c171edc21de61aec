//! The Pusher Channels protocol, version 7, without I/O: frames from and to clients, close codes, signatures, and the
//! bodies and signing of the HTTP API. JSON is known here and nowhere else. `docs/PROTOCOL.md` has the rules and their
//! reasons.

mod app;
mod close;
pub mod http;
mod secret;

pub use app::{App, Apps, SigninSuccessData, TerminationClose};
pub use close::{Close, CloseCode, ErrorCode};
pub use secret::{InvalidSignature, Secret, Signature};
