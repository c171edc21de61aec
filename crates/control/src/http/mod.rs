//! The Pusher HTTP API. `protocol::http` decides what a request is and what is answered; here its body is collected, the
//! verb is called, and bytes go back. Nothing is decided here but how long to wait and how much to take.

mod body;

use crate::verbs::{Event, TerminateOptions, VerbError, Verbs};
use ::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::Full;
use hyper::body::Body;
use protocol::{
    App, Apps,
    http::{Answer, Batch, CONTENT_TYPE, Call, Error, Head, Publication, Route},
};
use std::{sync::Arc, time::SystemTime};
use termination::Selector;
use tracing::debug;

/// Answers API requests, on whichever port they come. Clones share everything.
#[derive(Clone)]
pub struct Api {
    verbs: Verbs,
    apps: Arc<Apps>,
    path_prefix: Arc<str>,
}

impl Api {
    /// `path_prefix`: what clients see before `/apps/…`, as in `/realtime`; a slash at its end does not count.
    #[must_use]
    pub fn new(verbs: Verbs, apps: Arc<Apps>, path_prefix: String) -> Api {
        Api { verbs, apps, path_prefix: path_prefix.trim_end_matches('/').into() }
    }

    /// Whether a path is of the API, so that a port which serves other things, too, knows whom to ask. The prefix may be
    /// there or have been taken away.
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        let behind_prefix = path.strip_prefix(&*self.path_prefix);
        let of_api = |path: &str| path.starts_with("/apps/") || path.starts_with("/users/");
        of_api(path) || behind_prefix.is_some_and(of_api)
    }

    /// Answers any request: what is not of the API with 404. Takes at most ten seconds to read the body, and then as
    /// long as the verb does.
    pub async fn call<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = self.answer(request).await.unwrap_or_else(|error| {
            // Not the error's text: it may repeat what was sent.
            debug!(status = error.status(), "API request refused");
            self.verbs.metrics().http_refusal(error.status());
            Answer::from(&error)
        });
        response(answer)
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Answer, Error>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        // Read even if the request is refused: closing a socket with unread bytes resets it, and the SDK would report a
        // lost connection in place of the reason.
        let body = body::collect(body).await;
        let head = Head {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            prefix: &self.path_prefix,
        };
        let authorized = Route::find(head)?.authorize(&self.apps, SystemTime::now())?;
        let call = authorized.call(&body?)?;
        self.perform(authorized.app(), call).await
    }

    async fn perform(&self, app: &Arc<App>, call: Call) -> Result<Answer, Error> {
        match call {
            Call::Publish(publication) => {
                self.publish(app, &publication).await?;
                Ok(Answer::published(&publication))
            }
            Call::PublishBatch(batch) => {
                let Batch(publications) = &batch;
                // One after the other: events for one audience keep their order.
                for publication in publications {
                    self.publish(app, publication).await?;
                }
                Ok(Answer::published_batch(&batch))
            }
            Call::TerminateConnections(user) => {
                let options = TerminateOptions { selector: Selector::All, close: None, reason: None };
                let outcome = self.verbs.terminate(app, &user, options).await?;
                if outcome.complete() {
                    Ok(Answer::done())
                } else {
                    Err(Error::Unconfirmed { closed: outcome.closed(), nodes: outcome.unconfirmed })
                }
            }
        }
    }

    async fn publish(&self, app: &Arc<App>, publication: &Publication) -> Result<(), VerbError> {
        let Publication { audiences, name, data, except, wants_info: _ } = publication;
        let publishes = audiences.iter().map(|audience| {
            let event = Event { name: name.clone(), data: data.clone(), except: *except };
            self.verbs.publish(app, audience.clone(), event)
        });
        try_join_all(publishes).await.map(|_| ())
    }
}

impl From<VerbError> for Error {
    fn from(error: VerbError) -> Error {
        match error {
            VerbError::Unavailable { missing: _ } => Error::Unavailable,
        }
    }
}

fn response(Answer { status, body, allow }: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Some(methods) = allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    response
}
