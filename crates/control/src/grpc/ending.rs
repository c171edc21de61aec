//! Ends the streams of a service when the process shuts down: without it one open watch, or one health check that
//! somebody keeps open, would keep the server from ending.

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body, codegen::Service, server::NamedService};

/// A service whose streams end with UNAVAILABLE at a shutdown. An answer that is ready is sent whole.
#[derive(Clone)]
pub(super) struct Ending<S> {
    service: S,
    shutdown: CancellationToken,
}

impl<S> Ending<S> {
    pub(super) fn new(service: S, shutdown: &CancellationToken) -> Ending<S> {
        Ending { service, shutdown: shutdown.clone() }
    }
}

impl<S: NamedService> NamedService for Ending<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R, B> Service<http::Request<R>> for Ending<S>
where
    S: Service<http::Request<R>, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let (response, shutdown) = (self.service.call(request), self.shutdown.clone());
        Box::pin(async move {
            let end = End::At(Box::pin(shutdown.cancelled_owned()));
            Ok(response.await?.map(|body| Body::new(EndingBody { body: Box::pin(body), end })))
        })
    }
}

struct EndingBody<B> {
    body: Pin<Box<B>>,
    end: End,
}

enum End {
    At(Pin<Box<WaitForCancellationFutureOwned>>),
    Ended,
}

impl<B: HttpBody<Data = Bytes, Error = Status>> HttpBody for EndingBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let End::At(shutdown) = &mut self.end else { return Poll::Ready(None) };
        let shutdown = shutdown.as_mut().poll(context).is_ready();
        match self.body.as_mut().poll_frame(context) {
            Poll::Pending if shutdown => {
                self.end = End::Ended;
                let mut trailers = http::HeaderMap::new();
                let status = Status::unavailable("the server is shutting down: call again");
                Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Ended) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
