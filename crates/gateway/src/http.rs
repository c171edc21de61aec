//! HTTP on the gateway's port: the upgrade to WebSocket, and whatever else the process serves there.

use crate::{socket::WebSocket, worker::Shared};
use bytes::Bytes;
use connection::Opening;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use ids::SocketId;
use protocol::{
    Apps, Close, CloseCode,
    connect::{self, Hello},
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

/// What else answers on the gateway's port, given the client's address.
pub type Fallback =
    Arc<dyn Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Full<Bytes>>> + Send + Sync>;

/// How long a request's head may take, and how long a connection without requests is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request that is under way when the gateway drains may take yet.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// The buffer that a connection reads through, and keeps while it is idle.
const READ_BUFFER: usize = 1024;

/// What requests are answered from: the same for all workers.
pub(crate) struct Http {
    pub(crate) apps: Arc<Apps>,
    pub(crate) path_prefix: String,
    pub(crate) assume_protocol_7: bool,
    pub(crate) max_frame_bytes: usize,
    pub(crate) max_connections: usize,
    /// Connections of clients on this node, over all workers.
    pub(crate) connections: AtomicUsize,
    pub(crate) fallback: Option<Fallback>,
}

/// Serves one TCP connection until it ends or becomes a WebSocket.
pub(crate) async fn serve(stream: TcpStream, address: SocketAddr, shared: Rc<Shared>) {
    drop(stream.set_nodelay(true));
    let drain = shared.drain.clone();
    let service = service_fn(|request| {
        let shared = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(request, address, shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // hyper would wait for the rest of a head as long as ever.
            timeout(LAST_REQUEST, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        debug!(%error, "a client's HTTP connection ended");
    }
}

async fn respond(
    request: Request<Incoming>,
    address: SocketAddr,
    shared: Rc<Shared>,
) -> Response<Full<Bytes>> {
    let http = Arc::clone(&shared.common.http);
    let path = request.uri().path().strip_prefix(http.path_prefix.as_str()).unwrap_or_default();
    let key = path.strip_prefix("/app/").map(str::to_owned);
    match (key, &http.fallback) {
        // An unknown path, too, is refused in the protocol.
        (key, _) if is_upgrade(request.headers()) => websocket(request, key, address, shared),
        (Some(_), _) => plain(StatusCode::UPGRADE_REQUIRED, "this address is for WebSocket clients"),
        (None, Some(fallback)) => fallback(request, address).await,
        (None, None) => plain(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// Completes the upgrade, whoever asks; whether the client may stay is told in the protocol.
fn websocket(
    mut request: Request<Incoming>,
    key: Option<String>,
    address: SocketAddr,
    shared: Rc<Shared>,
) -> Response<Full<Bytes>> {
    let mut response = match create_response_with_body(&request, Full::default) {
        Ok(response) => response,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("not a WebSocket handshake: {error}")),
    };
    if let Some(subprotocol) = subprotocol(request.headers()) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    let decision = decide(&shared.common.http, key.as_deref(), &request, address);
    let upgrade = hyper::upgrade::on(&mut request);
    let max_frame_bytes = shared.common.http.max_frame_bytes;
    // The drain waits for it, too.
    let clients = shared.clients.clone();
    clients.spawn_local(async move {
        let Some(socket) = upgraded(upgrade, max_frame_bytes).await else { return };
        match decision {
            Ok(opening) => shared.open(socket, opening),
            Err(close) => shared.refuse(socket, close),
        }
    });
    response
}

/// Who the client says it is, or why it may not stay.
fn decide(
    http: &Http,
    key: Option<&str>,
    request: &Request<Incoming>,
    address: SocketAddr,
) -> Result<Opening, Close> {
    let key = key.ok_or_else(|| Close::new(CloseCode::PathNotFound, "connect to /app/ and the app's key"))?;
    let hello = Hello::parse(request.uri().query().unwrap_or_default(), http.assume_protocol_7)?;
    let app =
        http.apps.by_key(key).ok_or_else(|| Close::new(CloseCode::UnknownApp, "no app has this key"))?;
    if !app.enabled {
        return Err(Close::new(CloseCode::AppDisabled, "the app is disabled"));
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    if !connect::origin_allowed(&app.allowed_origins, origin) {
        return Err(Close::new(CloseCode::Unauthorized, "this origin is not allowed for the app"));
    }
    if http.connections.load(Ordering::Relaxed) >= http.max_connections {
        return Err(Close::new(CloseCode::OverCapacity, "the server has as many connections as it may"));
    }
    let socket = SocketId::from_random(rand::random());
    Ok(Opening { app: Arc::clone(app), socket, address, client: hello.client })
}

/// iOS breaks unless its subprotocol is echoed: exactly the one value that was offered.
fn subprotocol(headers: &HeaderMap) -> Option<http::HeaderValue> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',').map(str::trim));
    let ours = offered.find(|name| {
        let version = name.strip_prefix("pusher-channels-protocol-");
        version
            .is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
    });
    ours.and_then(|name| name.parse().ok())
}

async fn upgraded(upgrade: OnUpgrade, max_frame_bytes: usize) -> Option<WebSocket> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    // Nothing is written through tungstenite but pongs and answering close frames.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
    Some(WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    }
    response
}
