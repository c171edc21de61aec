//! The HTTP API on an address of its own.

use crate::http::Api;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

/// Backends keep some dozens of connections each, which cost some 20 KiB each. Above this, new ones wait in the
/// listener's backlog.
const MAX_CONNECTIONS: usize = 4_096;

/// How long a request's head may take, which is also how long a connection may idle between requests.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The largest request head: longer than any signed query.
const HEAD_BYTES: usize = 16 << 10;

/// A want of file descriptors passes when connections end.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; requests in progress then have `drain_time` to get their answers.
pub(crate) async fn serve(
    listener: TcpListener,
    api: Api,
    drain_time: Duration,
    shutdown: CancellationToken,
) {
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, api.clone(), drain_time, shutdown.clone());
                    connections.spawn(async move {
                        let _place = place;
                        connection.await;
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept an HTTP connection");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Ends when the client does, when it is too slow, or after the request in progress at a shutdown.
async fn connection(stream: TcpStream, api: Api, drain_time: Duration, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.call(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // What ends a connection with an error is the client's doing: there is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(drain_time, connection).await;
        }
    }
}
