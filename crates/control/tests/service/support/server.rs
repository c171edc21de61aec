//! A control that serves, and clients of it.

use super::Fixture;
use contracts::control::v1::control_client::ControlClient;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// Far above what anything here takes: only a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) fixture: Fixture,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(mut fixture: Fixture) -> Server {
        let control = fixture.control.take().expect("not yet running");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let (grpc, http) = (listener.local_addr().expect("address"), control.http_addr());
        let shutdown = CancellationToken::new();
        let running = TaskTracker::new().spawn(control.run(listener, shutdown.clone()));
        Server { fixture, grpc, http, shutdown, running }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).expect("address");
        endpoint.connect().await.expect("connect")
    }

    pub(crate) async fn client(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await)
    }

    /// Waits until it has shut down.
    pub(crate) async fn ended(self) {
        timeout(PATIENCE, self.running).await.expect("the server hangs").expect("the server has panicked");
    }
}

pub(crate) fn with_token<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let header = format!("Bearer {token}").parse().expect("header");
    request.metadata_mut().insert("authorization", header);
    request
}
