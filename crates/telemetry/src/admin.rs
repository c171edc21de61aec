//! The admin endpoints: health for an orchestrator, metrics for Prometheus. Not for the public; nothing here changes
//! anything.

use crate::{Health, Registry};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// A scraper, an orchestrator and a few people; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// For a request's head to arrive, also on a kept-alive connection: who is silent for so long makes room.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// For the answers under way when the process stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Between attempts to accept when that fails, as it does without file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves `GET /livez`, `/readyz`, `/startupz` and `/metrics` until `shutdown`.
///
/// `/livez` answers 200 as long as anything does; `/readyz` while all parts of `health` are ready, `/startupz` once all
/// have been, else 503. Both name the parts. Cancel `shutdown` after the services have drained, so that an orchestrator
/// sees a process that is not ready, not one that is gone.
pub async fn serve_admin(
    listener: TcpListener,
    health: Health,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = async || {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((socket, _)) => return (socket, permit),
                Err(error) => {
                    warn!(%error, "accept on the admin port");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    while let Some((socket, permit)) = shutdown.run_until_cancelled(accept()).await {
        let (health, registry, shutdown) = (health.clone(), Arc::clone(&registry), shutdown.clone());
        connections.spawn(async move {
            serve(socket, &health, &registry, &shutdown).await;
            drop(permit);
        });
    }
    connections.close();
    if timeout(LAST_ANSWERS, connections.wait()).await.is_err() {
        debug!(left = connections.len(), "admin connections are cut");
    }
}

async fn serve(socket: TcpStream, health: &Health, registry: &Registry, shutdown: &CancellationToken) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let answer = answer(request.method(), request.uri().path(), health, registry);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(8192);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(socket), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "admin connection");
    }
}

fn answer(method: &Method, path: &str, health: &Health, registry: &Registry) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let up_if = |good: bool| if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (status, kind, body) = match path {
        "/livez" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/readyz" => {
            let report = health.report();
            (up_if(report.is_ready()), TEXT, report.to_string())
        }
        "/startupz" => {
            let report = health.report();
            (up_if(report.has_started()), TEXT, report.to_string())
        }
        "/metrics" => {
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, OPEN_METRICS, text),
                Err(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n".to_owned())
                }
            }
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "here are /livez, /readyz, /startupz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    *response.status_mut() = status;
    if method != Method::GET && method != Method::HEAD {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        *response.body_mut() = Full::from("only GET and HEAD\n");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn status(method: Method, path: &str, health: &Health) -> u16 {
        answer(&method, path, health, &Registry::default()).status().as_u16()
    }

    #[test]
    fn the_endpoints_tell_live_ready_and_started_apart() {
        let health = Health::new();
        let part = health.part("gateway");
        let check = |expected: [u16; 3]| {
            assert_eq!(
                ["/livez", "/readyz", "/startupz"].map(|path| status(Method::GET, path, &health)),
                expected
            );
        };
        check([200, 503, 503]);
        part.ready();
        check([200, 200, 200]);
        part.not_ready();
        check([200, 503, 200]);
        drop(part);
        check([200, 503, 200]);
    }

    #[test]
    fn only_reads_of_known_paths_are_answered() {
        let health = Health::new();
        assert_eq!(status(Method::GET, "/", &health), 404);
        assert_eq!(status(Method::GET, "/readyz/", &health), 404);
        assert_eq!(status(Method::POST, "/livez", &health), 405);
        assert_eq!(status(Method::HEAD, "/livez", &health), 200);
    }

    #[tokio::test]
    async fn metrics_are_served_until_the_shutdown() -> std::io::Result<()> {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("frames", "Frames sent", counter.clone());
        counter.inc_by(7);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let server = tasks.spawn(serve_admin(listener, Health::new(), Arc::new(registry), shutdown.clone()));

        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
        );
        assert!(answer.ends_with("frames_total 7\n# EOF\n"), "{answer}");

        // An idle connection does not hold the shutdown up.
        let mut idle = TcpStream::connect(address).await?;
        idle.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        assert!(idle.read(&mut [0; 512]).await? > 0);
        shutdown.cancel();
        server.await?;
        assert_eq!(idle.read(&mut [0; 512]).await?, 0);
        assert!(TcpStream::connect(address).await.is_err());
        Ok(())
    }
}
