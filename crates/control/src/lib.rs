//! The control service: what backends call, over gRPC and over the Pusher HTTP API. It keeps nothing that another
//! process needs: whatever it is asked it has from the nodes and from presence, over the broker.

mod answer;
mod grpc;
pub mod http;
mod listen;
mod metrics;
mod random;
mod replies;
mod token;
mod verbs;

pub use answer::Connection;
pub use token::{InvalidToken, Token};
pub use verbs::{
    Event, InvalidReason, Missing, Reached, Reason, TerminateOptions, UserView, VerbError, Verbs,
};

use crate::{metrics::Metrics, replies::Replies, token::Tokens, verbs::Inner};
use broker::Broker;
use ids::{NodeId, ProcessId, Shards};
use protocol::Apps;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use telemetry::{Part, Registry};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Where [`Control::run`]'s listener is expected to be bound, for who binds it.
    pub grpc_listen: SocketAddr,
    /// An address of its own for the HTTP API. `None`: only [`Control::http`] serves it.
    pub http_listen: Option<SocketAddr>,
    /// What a reverse proxy puts before the paths of the HTTP API: empty, or such as `/rollcall`.
    pub path_prefix: String,
    /// Who may call gRPC. Empty: nobody.
    pub tokens: Vec<Token>,
    /// How long a termination waits for the nodes to confirm.
    pub terminate_deadline: Duration,
}

/// Why control could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Start again when the broker can be reached.
    #[error("attach control at the broker")]
    Broker(#[from] broker::Unavailable),
    /// Free the address, or set another one in `control.http_listen`.
    #[error("bind the HTTP API to {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// One control, attached at the broker.
pub struct Control {
    settings: Settings,
    apps: Arc<Apps>,
    verbs: Verbs,
    http_listener: Option<TcpListener>,
    part: Part,
}

/// How long calls in progress may go on after a shutdown has begun, beyond a termination that nobody confirms.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

impl Control {
    /// Attaches control at the broker: verbs can be called from now on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: Settings,
        apps: Arc<Apps>,
        shards: Shards,
        broker: Arc<dyn Broker>,
        part: Part,
        registry: &mut Registry,
    ) -> Result<Control, StartError> {
        let http_listener = match settings.http_listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| StartError::Bind { address, source })?)
            }
            None => None,
        };
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let metrics = Arc::new(Metrics::new(registry));
        let process = ProcessId::from_random(random::id());
        let replies = Replies::start(process, &*broker, Arc::clone(&metrics), &tasks, stop.clone()).await?;
        let observed = NodeId::from_random(random::id());
        let observer = node::Observer::start(observed, shards, Arc::clone(&broker), &tasks, stop).await?;
        let verbs = Verbs::new(Inner {
            process,
            shards,
            broker,
            replies,
            observer,
            metrics,
            terminate_deadline: settings.terminate_deadline,
            _tasks: guard,
        });
        Ok(Control { settings, apps, verbs, http_listener, part })
    }

    #[must_use]
    pub fn verbs(&self) -> Verbs {
        self.verbs.clone()
    }

    /// The HTTP API, for whoever serves it beside something else.
    #[must_use]
    pub fn http(&self) -> http::Api {
        http::Api::new(self.verbs(), Arc::clone(&self.apps), self.settings.path_prefix.clone())
    }

    /// Where the HTTP API of `http_listen` is, with the port that port 0 became.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves gRPC on `grpc`, and HTTP on `http_listen` if that is set. At `shutdown` new calls are refused, streams end
    /// and calls in progress get their answers; returns when that is done. Clones of the verbs and of the HTTP API go on
    /// answering: a gateway that drains serves them a little longer.
    pub async fn run(self, grpc: TcpListener, shutdown: CancellationToken) {
        let api = self.http();
        let Control { settings, apps, verbs, http_listener, part } = self;
        let drain_time = settings.terminate_deadline + DRAIN_MARGIN;
        let serve_grpc = async {
            let backend = grpc::Backend { verbs, apps, tokens: Tokens::new(settings.tokens) };
            grpc::serve(grpc, backend, drain_time, shutdown.clone()).await;
            part.not_ready();
        };
        let serve_http = async {
            if let Some(listener) = http_listener {
                listen::serve(listener, api, drain_time, shutdown.clone()).await;
            }
        };
        let fail_readiness = async {
            shutdown.cancelled().await;
            part.not_ready();
        };
        part.ready();
        info!("control ready");
        tokio::join!(serve_grpc, serve_http, fail_readiness);
    }
}
