//! The service's table of contents: bind, accept, drain.

use crate::{
    accept,
    http::{Fallback, Http},
    message::{TO_NODE, ToWorker},
    metrics::Metrics,
    node::{Node, Parts},
    settings::Settings,
    worker::{Common, Handle},
};
use broker::Broker;
use connection::Timing;
use futures_util::future::{join_all, select_all};
use ids::Shards;
use protocol::Apps;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use telemetry::{Part, Registry};
use tokio::{
    net::TcpListener,
    select,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Beyond the drain: for the last clients to finish the close handshake.
const LAST_HANDSHAKES: Duration = Duration::from_secs(6);

/// The thread of a worker has panicked, and its connections are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker's thread has panicked")]
pub struct WorkerPanicked;

/// A gateway that listens, and serves once it runs.
pub struct Gateway {
    settings: Settings,
    listener: TcpListener,
    address: SocketAddr,
    workers: Vec<Handle>,
    node: Node,
    http: Arc<Http>,
    ready: Part,
    known: CancellationToken,
    stop: CancellationToken,
}

impl Gateway {
    /// Listens, starts the workers' threads, and makes the node known to the cluster. With port 0 the system chooses
    /// one: see [`Gateway::local_addr`].
    ///
    /// # Errors
    /// If the address cannot be listened on, a thread cannot be started, or the broker does not answer.
    pub async fn bind(
        settings: Settings,
        apps: Arc<Apps>,
        shards: Shards,
        broker: Arc<dyn Broker>,
        fallback: Option<Fallback>,
        ready: Part,
        registry: &mut Registry,
    ) -> io::Result<Gateway> {
        let listener = accept::listen(settings.listen)?;
        let address = listener.local_addr()?;
        let http = Arc::new(Http {
            apps,
            path_prefix: settings.path_prefix.clone(),
            assume_protocol_7: settings.assume_protocol_7,
            max_frame_bytes: settings.max_frame_bytes,
            max_connections: settings.max_connections,
            connections: AtomicUsize::new(0),
            fallback,
        });
        let (to_node, from_workers) = mpsc::channel(TO_NODE);
        let stop = CancellationToken::new();
        let metrics = Metrics::register(registry);
        let common = Common {
            timing: Timing {
                activity_timeout: settings.activity_timeout,
                sign_in_deadline: settings.sign_in_deadline,
                frame_interval: Duration::from_secs(1) / settings.frames_per_second.get(),
            },
            shards,
            outbox_bytes: settings.outbox_bytes,
            http: Arc::clone(&http),
            broker: Arc::clone(&broker),
            node: to_node,
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let workers = (0..settings.workers.get()).map(|index| Handle::spawn(index, common.clone()));
        let workers = workers.collect::<io::Result<Vec<_>>>()?;
        let messages = workers.iter().map(|worker| worker.messages.clone()).collect();
        let known = CancellationToken::new();
        let parts =
            Parts { workers: messages, from_workers, ready: ready.clone(), known: known.clone(), metrics };
        let node = Node::start(&settings, shards, broker, parts).await.map_err(io::Error::other)?;
        Ok(Gateway { settings, listener, address, workers, node, http, ready, known, stop })
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then closes the connections over the drain time, and returns when they are closed and
    /// the node has taken leave.
    ///
    /// # Errors
    /// If a worker's thread has panicked: a bug. The other connections are drained then, too.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerPanicked> {
        let Gateway { settings, listener, workers, node, http, ready, known, stop, .. } = self;
        let (draining, drained) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(node.run(draining.clone(), drained.clone()));
        tasks.close();
        // Nobody may sign in before the node is known; until then the kernel queues whoever comes.
        let serve = async {
            known.cancelled().await;
            select! {
                () = accept::accept(&listener, &workers, settings.max_connections) => {}
                // Without one of its threads a gateway is better replaced.
                _ = select_all(workers.iter().map(|worker| Box::pin(worker.messages.closed()))) => {}
            }
        };
        shutdown.run_until_cancelled(serve).await;

        ready.not_ready();
        drop(listener); // new clients go elsewhere before the others are let go
        draining.cancel();
        let connections = http.connections.load(Ordering::Relaxed);
        info!(connections, "draining");
        let mut emptied = Vec::new();
        for worker in &workers {
            let (sender, receiver) = oneshot::channel();
            drop(worker.messages.send(ToWorker::Drain(settings.drain_time, sender)).await);
            emptied.push(receiver);
        }
        // A worker that has ended has no connections, either.
        if timeout(settings.drain_time + LAST_HANDSHAKES, join_all(emptied)).await.is_err() {
            warn!(
                connections = http.connections.load(Ordering::Relaxed),
                "drain deadline passed, closing the rest"
            );
        }
        drained.cancel();
        tasks.wait().await;
        stop.cancel();
        // The threads end on their own now; joining them blocks for that moment.
        let ended_well: Vec<_> = workers.into_iter().map(Handle::join).collect();
        if ended_well.contains(&false) { Err(WorkerPanicked) } else { Ok(()) }
    }
}
