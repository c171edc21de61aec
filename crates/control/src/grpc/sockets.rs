//! The sockets of the gRPC server: how many there may be, how long one may keep silent before it speaks HTTP/2, and a
//! way to cut them off.

use futures_util::stream::{self, Stream};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::warn;

/// Backends keep a few connections each. Above this, new ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;

/// A client begins to speak at once. Whoever has not said the 24 bytes of HTTP/2's greeting by then, or when a shutdown
/// begins, is cut off; after them the server itself watches over the connection.
const GREETING_TIME: Duration = Duration::from_secs(10);
const GREETING_BYTES: usize = 24;

/// A want of file descriptors passes when connections end.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The connections that come in. `shutdown` ends those that have not begun to speak, `cut` all of them.
pub(super) fn accept(
    listener: TcpListener,
    shutdown: CancellationToken,
    cut: CancellationToken,
) -> impl Stream<Item = Result<Socket, io::Error>> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((listener, places, shutdown, cut), |(listener, places, shutdown, cut)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    warn!(%error, "cannot accept a gRPC connection");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        };
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let socket = Socket {
            stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
            greeting: Some(Greeting {
                missing: GREETING_BYTES,
                deadline: Box::pin(sleep(GREETING_TIME)),
                shutdown: Box::pin(shutdown.clone().cancelled_owned()),
            }),
            _place: place,
        };
        Some((Ok(socket), (listener, places, shutdown, cut)))
    })
}

pub(super) struct Socket {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    greeting: Option<Greeting>,
    _place: OwnedSemaphorePermit,
}

struct Greeting {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Socket {
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(Greeting { deadline, shutdown, .. }) = &mut self.greeting
            && (deadline.as_mut().poll(context).is_ready() || shutdown.as_mut().poll(context).is_ready())
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if let Some(greeting) = &mut self.greeting {
            greeting.missing = greeting.missing.saturating_sub(read);
            if greeting.missing == 0 {
                self.greeting = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
