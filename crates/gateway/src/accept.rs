//! One acceptor hands each new socket to the worker that has the fewest.

use crate::{message::ToWorker, worker::Handle};
use std::{io, net::SocketAddr, sync::atomic::Ordering, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tracing::{debug, warn};

/// After an error that concerns the process, not one client: out of file descriptors, for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel completes before they are accepted: a herd that comes back fits.
const BACKLOG: i32 = 4_096;

/// Sockets beyond the clients' connections: for calls of the HTTP API, and for clients that are told that there is no
/// room for them.
const BESIDE: usize = 100;

/// Listens on `address`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until it is dropped. Sockets that say nothing do not count as connections, but must not take the files that
/// the rest of the process needs: with `max_connections` and some more, a new one is closed at once.
pub(crate) async fn accept(listener: &TcpListener, workers: &[Handle], max_connections: usize) {
    let most = max_connections.saturating_add(BESIDE);
    let sockets = |worker: &Handle| worker.sockets.load(Ordering::Relaxed);
    loop {
        match listener.accept().await {
            Ok(_) if workers.iter().map(sockets).sum::<usize>() >= most => {
                debug!("too many sockets: a new one was closed");
            }
            Ok((socket, address)) => {
                let Some(worker) = workers.iter().min_by_key(|worker| sockets(worker)) else { return };
                // A tokio socket belongs to the runtime that made it.
                let Ok(socket) = socket.into_std() else { continue };
                worker.sockets.fetch_add(1, Ordering::Relaxed);
                if worker.messages.send(ToWorker::Socket(socket, address)).await.is_err() {
                    return;
                }
            }
            Err(error) if of_one_client(&error) => debug!(%error, "a client was gone before it was accepted"),
            Err(error) => {
                warn!(%error, "cannot accept connections; raise the limit of open files if that is it");
                sleep(PAUSE).await;
            }
        }
    }
}

fn of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
