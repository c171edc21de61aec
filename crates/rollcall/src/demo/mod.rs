//! What only the development process serves, beside the protocol: the demo page, the endpoint that signs users in, and
//! two verbs for the page. The development app's secret is public and everything listens on loopback, so whoever can
//! reach this may be anyone. What has to be kept out is other sites in the same browser: see [`guard`].

mod form;
mod guard;
mod page;
mod sign_in;

use bytes::{Bytes, BytesMut};
use control::{Event, TerminateOptions, Verbs};
use guard::LoopbackHost;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use ids::UserId;
use protocol::{App, TerminationClose};
use serde::Deserialize;
use serde_json::{Value, json};
use sign_in::Guests;
use std::{error::Error as StdError, sync::Arc, time::Duration};
use termination::Selector;
use tokio::time::timeout;

/// A watchlist of some hundred ids, or an event of the largest size.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// For a body to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The development app's own pages and endpoints.
pub(crate) struct Demo {
    app: Arc<App>,
    verbs: Verbs,
    /// What clients see before every path: empty, or `/` and something.
    path_prefix: String,
    guests: Guests,
}

/// A request that is not carried out, and what the answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    error: String,
}

/// What a body of ours is.
#[derive(Debug)]
struct Answer {
    content_type: &'static str,
    body: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    user_id: String,
    event: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terminate {
    user_id: String,
    /// `reconnect` or `stop`; absent: as the app's settings say.
    close: Option<String>,
}

impl Demo {
    pub(crate) fn new(app: Arc<App>, verbs: Verbs, path_prefix: String) -> Demo {
        Demo { app, verbs, path_prefix, guests: Guests::default() }
    }

    /// Answers any request: what is not here with 404.
    pub(crate) async fn call<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Sync + std::marker::Send>>,
    {
        let (parts, body) = request.into_parts();
        // Read even if the request is refused: who still writes when we close would see a reset, not the answer.
        let body = if parts.method == Method::POST { collect(body).await } else { Ok(Bytes::new()) };
        let host = LoopbackHost::of(&parts);
        let answer = match &host {
            Ok(host) => self.answer(&parts, host, body).await,
            Err(refusal) => Err(refusal.clone()),
        };
        response(answer, host.ok())
    }

    async fn answer(
        &self,
        parts: &request::Parts,
        host: &LoopbackHost,
        body: Result<Bytes, Refusal>,
    ) -> Result<Answer, Refusal> {
        // A proxy may have taken the prefix away.
        let path = parts.uri.path();
        let path = path.strip_prefix(&*self.path_prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        match (path, &parts.method) {
            ("/demo/info", &Method::GET | &Method::HEAD) => Ok(Answer::json(&self.info(host))),
            ("/pusher/user-auth", &Method::POST) => {
                guard::same_origin(parts, host)?;
                guard::content_type(parts, "application/x-www-form-urlencoded")?;
                let token = sign_in::token(&self.app, &self.guests, &parts.headers, &body?);
                token.map(|token| Answer::json(&token)).map_err(Refusal::forbidden)
            }
            ("/demo/send", &Method::POST) => {
                guard::same_origin(parts, host)?;
                guard::content_type(parts, "application/json")?;
                self.send(parse(&body?)?).await
            }
            ("/demo/terminate", &Method::POST) => {
                guard::same_origin(parts, host)?;
                guard::content_type(parts, "application/json")?;
                self.terminate(parse(&body?)?).await
            }
            ("/pusher/user-auth" | "/demo/send" | "/demo/terminate", _) => {
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here"))
            }
            (path, &Method::GET | &Method::HEAD) => page::file(path).ok_or_else(|| {
                Refusal::new(StatusCode::NOT_FOUND, "there is nothing here: the demo page is at /")
            }),
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "there is nothing here: the demo page is at /")),
        }
    }

    /// What the page needs in order to connect: nothing that is secret.
    fn info(&self, host: &LoopbackHost) -> Value {
        let key = self.app.key.as_str();
        json!({ "key": key, "host": host.as_str(), "path": format!("{}/app/{key}", self.path_prefix) })
    }

    async fn send(&self, Send { user_id, event, data }: Send) -> Result<Answer, Refusal> {
        let user: UserId = parsed("user_id", &user_id)?;
        let name = parsed("event", &event)?;
        if data.len() > protocol::http::MAX_DATA_BYTES {
            let error = format!("data must be at most {} bytes", protocol::http::MAX_DATA_BYTES);
            return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
        }
        let reached = self.verbs.send_to_user(&self.app, &user, Event { name, data, except: None }).await;
        let reached = reached.map_err(Refusal::unavailable)?;
        Ok(Answer::json(&json!({
            "connections": reached.connections(),
            "nodes": reached.nodes.len(),
            "complete": reached.complete,
        })))
    }

    async fn terminate(&self, Terminate { user_id, close }: Terminate) -> Result<Answer, Refusal> {
        let user: UserId = parsed("user_id", &user_id)?;
        let close = match close.as_deref() {
            None => None,
            Some("reconnect") => Some(TerminationClose::Reconnect),
            Some("stop") => Some(TerminationClose::Stop),
            Some(_) => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "close must be \"reconnect\" or \"stop\""));
            }
        };
        let options = TerminateOptions { selector: Selector::All, close, reason: None };
        let outcome = self.verbs.terminate(&self.app, &user, options).await.map_err(Refusal::unavailable)?;
        Ok(Answer::json(&json!({ "closed": outcome.closed(), "complete": outcome.complete() })))
    }
}

async fn collect<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Sync + std::marker::Send>>,
{
    let mut body = std::pin::pin!(Limited::new(body, MAX_BODY_BYTES));
    let read = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("a body has at most {MAX_BODY_BYTES} bytes"),
                )
            })?;
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        Ok(bytes.freeze())
    };
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    timeout(BODY_DEADLINE, read).await.map_err(late)?
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not what is expected: {error}"))
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|wrong| Refusal::new(StatusCode::BAD_REQUEST, format!("{field}: {wrong}")))
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Refusal {
        Refusal { status, error: error.into() }
    }

    /// What clients of the protocol expect of a sign-in endpoint that says no.
    fn forbidden(error: String) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, error)
    }

    fn unavailable(error: control::VerbError) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl Answer {
    fn json(value: &Value) -> Answer {
        Answer { content_type: "application/json", body: value.to_string().into() }
    }
}

fn response(answer: Result<Answer, Refusal>, host: Option<LoopbackHost>) -> Response<Full<Bytes>> {
    let (status, answer) = match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err(Refusal { status, error }) => (status, Answer::json(&json!({ "error": error }))),
    };
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    // A rebuilt binary brings another page on the same address; tokens are for one connection.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::try_from(page::content_security_policy(host.as_ref())) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests;
