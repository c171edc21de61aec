//! The edge to gRPC: `rollcall.control.v1.Control`, with the standard health and reflection services, which need no token.

mod ending;
mod messages;
mod refusal;
mod requests;
mod service;
mod sockets;
mod watch;

use crate::{token::Tokens, verbs::Verbs};
use contracts::control::v1::control_server::ControlServer;
use ending::Ending;
use protocol::Apps;
use service::Service;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::interceptor::InterceptedService, transport::Server};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tracing::{error, warn};

/// 10 000 user ids of 200 characters of four bytes, the most that WatchUsers takes: 8 MB.
const MAX_REQUEST_BYTES: usize = 9 << 20;

/// Above the longest verb, where `terminate_deadline` is not longer still. Streams may go on for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A token of the longest kind and everything that proxies add.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Calls that one connection has in progress; streams count as long as they are open.
const CALLS_PER_CONNECTION: u32 = 256;

/// A peer from which nothing has been heard for this long is asked for a sign of life …
const KEEPALIVE: Duration = Duration::from_secs(30);

/// … and given up after this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What may be asked without a token is small.
const MAX_OPEN_REQUEST_BYTES: usize = 64 << 10;

/// What the service needs of its process.
pub(crate) struct Backend {
    pub(crate) verbs: Verbs,
    pub(crate) apps: Arc<Apps>,
    pub(crate) tokens: Tokens,
}

/// Serves until `shutdown`. Streams then end at once; calls in progress have `drain_time` to get their answers.
pub(crate) async fn serve(
    listener: TcpListener,
    Backend { verbs, apps, tokens }: Backend,
    drain_time: Duration,
    shutdown: CancellationToken,
) {
    let authenticate = refusal::authenticate(tokens, Arc::clone(verbs.metrics()));
    let control = ControlServer::new(Service::new(verbs, apps)).max_decoding_message_size(MAX_REQUEST_BYTES);
    let control = InterceptedService::new(control, authenticate);
    let reporter = HealthReporter::new();
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
        .max_decoding_message_size(MAX_OPEN_REQUEST_BYTES);
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(contracts::CONTROL_DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = descriptors()
        .build_v1()
        .expect("the descriptors were written by our own build")
        .max_decoding_message_size(MAX_OPEN_REQUEST_BYTES);
    // All that grpcurl before 1.8.8 asks.
    let reflection_v1alpha = descriptors()
        .build_v1alpha()
        .expect("the descriptors were written by our own build")
        .max_decoding_message_size(MAX_OPEN_REQUEST_BYTES);
    report(&reporter, ServingStatus::Serving).await;

    let cut = CancellationToken::new();
    let served = Server::builder()
        .timeout(CALL_TIMEOUT.max(drain_time))
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION as usize)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .add_service(Ending::new(control, &shutdown))
        .add_service(Ending::new(health, &shutdown))
        .add_service(Ending::new(reflection, &shutdown))
        .add_service(Ending::new(reflection_v1alpha, &shutdown))
        .serve_with_incoming_shutdown(
            sockets::accept(listener, shutdown.clone(), cut.clone()),
            shutdown.clone().cancelled_owned(),
        );
    let cut_late = async {
        shutdown.cancelled().await;
        report(&reporter, ServingStatus::NotServing).await;
        sleep(drain_time).await;
        warn!("gRPC calls were still open at the drain deadline, cutting them off");
        cut.cancel();
        pending().await
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                error!(%error, "the gRPC server has failed");
            }
        }
        () = cut_late => {}
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", <ControlServer<Service> as NamedService>::NAME] {
        reporter.set_service_status(service, status).await;
    }
}
