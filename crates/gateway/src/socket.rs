//! The task of one connection: reads frames, writes what its outbox holds, keeps its timer. It decides nothing.

use crate::{outbox::Outbox, worker::Shared};
use connection::{ConnectionId, Reading};
use futures_util::{Sink, Stream};
use protocol::{Close, CloseCode, server, websocket};
use socket2::SockRef;
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, error::CapacityError},
};

/// How long a close frame may take to be handed to the socket. Then the socket is reset.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How long a client may take to finish the close handshake. Then it is cut.
const CLOSE_HANDSHAKE: Duration = Duration::from_secs(5);

/// Where a connection's timer stands when nothing is due.
const FAR: Duration = Duration::from_secs(3600);

pub(crate) type WebSocket = WebSocketStream<TcpStream>;

enum Event {
    Text(String),
    Binary,
    Control,
    /// The client closes; the answer is on its way.
    ClosedByClient,
    /// The socket is gone.
    Gone,
    /// The client broke the rules of WebSocket.
    Broken(Close),
    Due,
    /// A close was decided.
    Finished,
}

/// Serves one connection until it is closed, and takes it out of the worker.
pub(crate) async fn run(mut socket: WebSocket, id: ConnectionId, outbox: Rc<Outbox>, shared: Rc<Shared>) {
    let mut timer = pin!(sleep_until(Instant::now() + FAR));
    loop {
        let event = poll_fn(|cx| {
            // Anew at each wake: what is pushed may come with another deadline, or with leave to read on.
            let reads = look(&shared, id, timer.as_mut());
            poll(&mut socket, &outbox, timer.as_mut(), reads, &shared, cx)
        });
        match event.await {
            Event::Text(text) => shared.text(id, text),
            Event::Binary => shared.binary(id),
            Event::Control => shared.heard(id),
            Event::Due => shared.timeout(id),
            Event::ClosedByClient => {
                // tungstenite has queued the answering close frame.
                let flush = poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx));
                drop(timeout(HAND_OVER, flush).await);
                break;
            }
            Event::Gone => break,
            Event::Broken(close) => {
                shared.close(id, close);
                finish(&mut socket, &outbox, &shared, id, false).await;
                break;
            }
            Event::Finished => {
                finish(&mut socket, &outbox, &shared, id, true).await;
                break;
            }
        }
    }
    shared.closed(id);
}

/// Refuses a client after the upgrade: an HTTP error would make browsers retry for ever.
pub(crate) async fn refuse(mut socket: WebSocket, close: Close, shared: Rc<Shared>) {
    let outbox = Outbox::new(0);
    outbox.finish(last_frames(&close), true);
    if hand_over(&mut socket, &outbox, &shared).await {
        await_close(&mut socket).await;
    }
}

/// The error frame, which is all that some clients look at, and the close frame.
pub(crate) fn last_frames(close: &Close) -> impl Iterator<Item = bytes::Bytes> {
    let error = close
        .code
        .has_error_frame()
        .then(|| websocket::text(&server::error(Some(close.code.number()), &close.reason)));
    error.into_iter().chain([websocket::close(close)])
}

/// Sets the timer for when the connection has to be looked at next; answers with whether its next frame may be read.
fn look(shared: &Shared, id: ConnectionId, timer: Pin<&mut Sleep>) -> bool {
    let (deadline, reading) = shared.look(id);
    let wake = match (deadline, reading) {
        (Some(deadline), Reading::At(at)) => Some(deadline.min(at)),
        (deadline, Reading::Now | Reading::Blocked) => deadline,
        (None, Reading::At(at)) => Some(at),
    };
    let wake = wake.map_or_else(|| Instant::now() + FAR, Instant::from_std);
    if timer.deadline() != wake {
        timer.reset(wake);
    }
    reading == Reading::Now
}

fn poll(
    socket: &mut WebSocket,
    outbox: &Outbox,
    timer: Pin<&mut Sleep>,
    reads: bool,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    outbox.register(cx);
    if outbox.is_finished() {
        return Poll::Ready(Event::Finished);
    }
    if poll_write(socket, outbox, shared, cx).is_err() {
        return Poll::Ready(Event::Gone);
    }
    // Reading may make tungstenite write a pong, which must not stand inside a frame of ours.
    if reads && !outbox.in_frame() {
        match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Ready(message) => return Poll::Ready(event(message)),
            Poll::Pending => {}
        }
    }
    timer.poll(cx).map(|()| Event::Due)
}

/// Writes what waits, but not inside a pong that tungstenite is writing. `Ready` when nothing is left.
fn poll_write(
    socket: &mut WebSocket,
    outbox: &Outbox,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> io::Result<Poll<()>> {
    if outbox.is_empty() {
        return Ok(Poll::Ready(()));
    }
    if !outbox.in_frame() {
        match Pin::new(&mut *socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(io::Error::other(error)),
            Poll::Pending => return Ok(Poll::Pending),
        }
    }
    match outbox.poll_write(cx, socket.get_mut(), &mut |frames, bytes| shared.count_sent(frames, bytes)) {
        Poll::Ready(result) => result.map(Poll::Ready),
        Poll::Pending => Ok(Poll::Pending),
    }
}

fn event(message: Option<Result<Message, tungstenite::Error>>) -> Event {
    match message {
        Some(Ok(Message::Text(text))) => Event::Text(text.as_str().to_owned()),
        Some(Ok(Message::Binary(_))) => Event::Binary,
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Event::Control,
        Some(Ok(Message::Close(_))) => Event::ClosedByClient,
        Some(Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { max_size, .. }))) => {
            Event::Broken(Close::new(
                CloseCode::TooBig,
                format!("a message may have at most {max_size} bytes"),
            ))
        }
        Some(Err(tungstenite::Error::Utf8(_))) => {
            Event::Broken(Close::new(CloseCode::InvalidUtf8, "a text message must be UTF-8"))
        }
        Some(Err(tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ))) => Event::Gone,
        Some(Err(tungstenite::Error::Protocol(error))) => {
            Event::Broken(Close::new(CloseCode::ProtocolError, error.to_string()))
        }
        Some(Err(_)) | None => Event::Gone,
    }
}

/// Writes what is left, says that it has been handed over, and waits for the client to close.
async fn finish(socket: &mut WebSocket, outbox: &Outbox, shared: &Shared, id: ConnectionId, sound: bool) {
    let handed_over = hand_over(socket, outbox, shared).await;
    shared.handed_over(id);
    match (handed_over, sound) {
        (true, true) => await_close(socket).await,
        (true, false) => drain(socket.get_mut()).await,
        (false, _) => {}
    }
}

/// Hands the last frames to the socket, or resets it when it does not take them. Answers with whether it took them.
async fn hand_over(socket: &mut WebSocket, outbox: &Outbox, shared: &Shared) -> bool {
    let write = poll_fn(|cx| match poll_write(socket, outbox, shared, cx) {
        Ok(Poll::Ready(())) => Poll::Ready(true),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(false),
    });
    let handed_over = timeout(HAND_OVER, write).await;
    if handed_over.is_err() {
        // Unread data is dropped and the peer told at once: nothing more can be delivered.
        drop(SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO)));
    }
    handed_over.unwrap_or(false)
}

/// Reads until the client answers the close frame or goes away.
async fn await_close(socket: &mut WebSocket) {
    let closed = poll_fn(|cx| {
        loop {
            match Pin::new(&mut *socket).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Poll::Ready(()),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    drop(timeout(CLOSE_HANDSHAKE, closed).await);
}

/// Reads and drops what a client that broke the rules still sends, so that the close frame is not lost in a reset.
async fn drain(stream: &mut TcpStream) {
    let mut scratch = [0; 1024];
    let drained = async { while stream.read(&mut scratch).await.is_ok_and(|bytes| bytes > 0) {} };
    drop(timeout(CLOSE_HANDSHAKE, drained).await);
}
