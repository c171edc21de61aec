//! The HTTP API that server SDKs call: paths, request signing, bodies, answers. A request passes three types, each of
//! which is made from the one before, so that no step can be left out:
//!
//! 1. [`Route::find`]: method and path are an endpoint's;
//! 2. [`Route::authorize`]: the signature holds, and the app is known;
//! 3. [`Authorized::call`]: the body is the one that was signed, and it is a [`Call`].
//!
//! Whatever is wrong on the way is an [`Error`], which knows its status. What was asked becomes an [`Answer`].
//! `docs/PROTOCOL.md` has the rules.

mod answer;
mod audience;
mod authorize;
mod call;
mod error;
mod events;
mod json;
mod percent;
mod query;
mod route;
mod sign;

pub use answer::{Answer, CONTENT_TYPE};
pub use audience::{Audience, InvalidAudience};
pub use authorize::{Authorized, TIMESTAMP_WINDOW};
pub use call::Call;
pub use error::{Error, Field, Problem, Unauthorized};
pub use events::{Batch, MAX_BATCH, MAX_CHANNELS, MAX_DATA_BYTES, Publication};
pub use query::{MAX_PARAMETERS, MAX_QUERY_BYTES};
pub use route::{AppName, Endpoint, Head, Route, UserSegment};
pub use sign::signed_query;
