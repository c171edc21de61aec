//! What is refused, and with which status: the one table of them.

use crate::{
    metrics::{Metrics, Outcome},
    token::Tokens,
    verbs::VerbError,
};
use node::WatchEnded;
use std::sync::Arc;
use tonic::{Code, Request, Status};

/// Why a call is refused before a verb sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("send `authorization: Bearer <token>` with a token of the server's settings (control.tokens)")]
    Unauthenticated,
    #[error("this token is not for this app")]
    AppOutsideToken,
    #[error("this app is disabled")]
    AppDisabled,
    #[error("there is no app with this id")]
    UnknownApp,
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    #[error("too many watches are open: close some, or ask another control")]
    TooManyWatches,
}

/// A field of a request that is missing, outside its limits, or at odds with another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub(super) struct InvalidField {
    pub(super) field: String,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Refusal::Unauthenticated | Refusal::AppOutsideToken | Refusal::AppDisabled => Outcome::Forbidden,
            Refusal::UnknownApp => Outcome::UnknownApp,
            Refusal::Invalid(_) => Outcome::Invalid,
            Refusal::TooManyWatches => Outcome::TooMany,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let code = match refusal {
            Refusal::Unauthenticated => Code::Unauthenticated,
            Refusal::AppOutsideToken | Refusal::AppDisabled => Code::PermissionDenied,
            Refusal::UnknownApp => Code::NotFound,
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::TooManyWatches => Code::ResourceExhausted,
        };
        Status::new(code, refusal.to_string())
    }
}

impl From<VerbError> for Status {
    fn from(error: VerbError) -> Status {
        match error {
            VerbError::Unavailable { .. } => Status::unavailable(error.to_string()),
        }
    }
}

/// Why a stream ended. Not a `From`: neither type is of this crate.
pub(super) fn watch_ended(why: WatchEnded) -> Status {
    let code = match why {
        WatchEnded::TooSlow => Code::ResourceExhausted,
        WatchEnded::ShuttingDown => Code::Unavailable,
    };
    Status::new(code, format!("{why}: call again, which starts from the present"))
}

/// Lets only calls with a token through, before anything of their body is read. What the token opens goes along.
pub(super) fn authenticate(
    tokens: Tokens,
    metrics: Arc<Metrics>,
) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |mut request| {
        let presented = request.metadata().get("authorization").and_then(|header| header.to_str().ok());
        match presented.and_then(|header| tokens.scope(header)).cloned() {
            Some(scope) => {
                request.extensions_mut().insert(scope);
                Ok(request)
            }
            None => {
                metrics.unauthenticated();
                Err(Refusal::Unauthenticated.into())
            }
        }
    }
}
