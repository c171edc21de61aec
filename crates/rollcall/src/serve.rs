//! The default command: gateway, presence and control in one process, on the in-process broker.

use crate::{
    banner::{self, Apps, Banner},
    demo::Demo,
    limits,
    settings::Settings,
};
use anyhow::{Context as _, anyhow, bail};
use broker::{Broker, InProcess};
use control::{Control, StartError, Token, http::Api};
use gateway::{Fallback, Gateway};
use presence::Presence;
use std::{
    io::{self, ErrorKind, Write as _},
    net::SocketAddr,
    pin::pin,
    process::{self, ExitCode},
    sync::Arc,
};
use telemetry::{Health, Registry, prometheus_client::metrics::info::Info, serve_admin};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// What a shell expects of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Runs until it is told to stop, and drains.
pub(crate) fn main(mut settings: Settings) -> anyhow::Result<ExitCode> {
    telemetry::init(&settings.log).context("set up logging")?;
    settings.warnings.iter().for_each(|warning| warn!(%warning, "settings"));
    settings.gateway.max_connections = limits::connections(settings.gateway.max_connections)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(mut settings: Settings) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let signals = TaskTracker::new();
    signals.spawn(stop_on(
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        shutdown.clone(),
    ));
    let token = development_token(&mut settings)?;

    let (health, mut registry) = (Health::new(), Registry::default());
    registry.register(
        "rollcall_build",
        "The version that runs",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let broker: Arc<dyn Broker> = Arc::new(InProcess::new());
    let (apps, shards) = (Arc::clone(&settings.apps), settings.presence.shards);
    let path_prefix = settings.gateway.path_prefix.clone();

    let grpc = bind(settings.control.grpc_listen, "control.grpc_listen").await?;
    let admin = bind(settings.admin_listen, "admin.listen").await?;
    let (grpc_address, admin_address) = (grpc.local_addr()?, admin.local_addr()?);
    // First, so that it hears the first beats of the others: it listens for no more than one beat of its own.
    let presence =
        Presence::start(settings.presence, Arc::clone(&broker), health.part("presence"), &mut registry)
            .await
            .context("attach presence at the broker")?;
    let control = Control::start(
        settings.control,
        Arc::clone(&apps),
        shards,
        Arc::clone(&broker),
        health.part("control"),
        &mut registry,
    )
    .await
    .map_err(cannot_start_control)?;
    let demo = settings.development.then(|| apps.iter().next().cloned()).flatten();
    let demo = demo.map(|app| Arc::new(Demo::new(app, control.verbs(), path_prefix.clone())));
    let beside = Beside { api: control.http(), api_elsewhere: control.http_addr().is_some(), demo };
    let listen = settings.gateway.listen;
    let gateway = Gateway::bind(
        settings.gateway,
        Arc::clone(&apps),
        shards,
        Arc::clone(&broker),
        Some(beside.fallback()),
        health.part("gateway"),
        &mut registry,
    )
    .await
    .map_err(|error| cannot_bind(listen, "gateway.listen", error))?;
    let program = banner::program();
    let banner = Banner {
        gateway: gateway.local_addr(),
        http: control.http_addr(),
        grpc: grpc_address,
        admin: admin_address,
        path_prefix: &path_prefix,
        apps: if settings.development {
            Apps::Development { token: token.as_deref(), program: &program }
        } else {
            Apps::Configured { ids: apps.iter().map(|app| app.id.to_string()).collect() }
        },
    };
    let banner = banner.text();

    // The gateway goes first: until its users are told offline and its terminations confirmed it needs the others.
    let tasks = TaskTracker::new();
    let [stop_control, stop_presence, stop_admin] = [(); 3].map(|()| CancellationToken::new());
    let mut presence = tasks.spawn(presence.run(stop_presence.clone()));
    let mut control = tasks.spawn(control.run(grpc, stop_control.clone()));
    // Before anybody can hear that we are ready. Whoever started us may have closed our output, which is no reason not to
    // serve.
    let _ = writeln!(io::stdout(), "{banner}");
    let admin = tasks.spawn(serve_admin(admin, health, Arc::new(registry), stop_admin.clone()));

    let mut gateway = pin!(gateway.run(shutdown.clone()));
    let failed = tokio::select! {
        ended = &mut gateway => {
            ended.context("the gateway")?;
            None
        }
        _ = &mut presence => Some("presence"),
        _ = &mut control => Some("control"),
    };
    if let Some(service) = failed {
        error!(service, "a service has ended by itself: draining");
        shutdown.cancel();
        gateway.await.context("the gateway")?;
        bail!("the {service} service has ended by itself");
    }
    stop_control.cancel();
    control.await.context("stop control")?;
    stop_presence.cancel();
    presence.await.context("stop presence")?;
    stop_admin.cancel();
    admin.await.context("stop the admin endpoints")?;
    info!("drained");
    Ok(())
}

/// Draining may take its time; whoever asks twice does not want to wait for it.
async fn stop_on(mut interrupt: Signal, mut terminate: Signal, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if shutdown.is_cancelled() {
            process::exit(INTERRUPTED);
        }
        info!("draining: once more to stop at once");
        shutdown.cancel();
    }
}

/// A token for the development process to print, unless the settings have one.
fn development_token(settings: &mut Settings) -> anyhow::Result<Option<String>> {
    if !settings.development || !settings.control.tokens.is_empty() {
        return Ok(None);
    }
    let token = format!("{:032x}", rand::random::<u128>());
    settings.control.tokens.push(Token::new(&token, None)?);
    Ok(Some(token))
}

/// What the gateway's port serves beside WebSockets.
struct Beside {
    api: Api,
    /// The API has a port of its own: then it is not on the one that clients reach.
    api_elsewhere: bool,
    demo: Option<Arc<Demo>>,
}

impl Beside {
    fn fallback(self) -> Fallback {
        let beside = Arc::new(self);
        Arc::new(move |request, _peer| {
            let beside = Arc::clone(&beside);
            Box::pin(async move {
                match &beside.demo {
                    Some(demo) if beside.api_elsewhere || !beside.api.serves(request.uri().path()) => {
                        demo.call(request).await
                    }
                    None if beside.api_elsewhere => not_here(),
                    Some(_) | None => beside.api.call(request).await,
                }
            })
        })
    }
}

fn not_here() -> http::Response<http_body_util::Full<bytes::Bytes>> {
    let mut response = http::Response::new(http_body_util::Full::from("there is nothing here\n"));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| cannot_bind(address, setting, error))
}

fn cannot_start_control(error: StartError) -> anyhow::Error {
    match error {
        StartError::Bind { address, source } => cannot_bind(address, "control.http_listen", source),
        error @ StartError::Broker(_) => anyhow::Error::new(error).context("start control"),
    }
}

fn cannot_bind(address: SocketAddr, setting: &str, error: io::Error) -> anyhow::Error {
    let variable = format!("ROLLCALL_{}", setting.to_uppercase().replace('.', "__"));
    let change = format!("set {setting} in the settings file, or {variable}, to another address");
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!("{address} is in use: stop what listens there, or {change}"),
        ErrorKind::PermissionDenied => anyhow!("{address} may not be listened on by this user: {change}"),
        ErrorKind::AddrNotAvailable => anyhow!("{address} is no address of this machine: {change}"),
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address}: {change}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_names_the_setting_to_change() {
        let address = "127.0.0.1:6001".parse().expect("an address");
        let error = cannot_bind(address, "control.grpc_listen", ErrorKind::AddrInUse.into()).to_string();
        assert_eq!(
            error,
            "127.0.0.1:6001 is in use: stop what listens there, or set control.grpc_listen in the settings file, or \
             ROLLCALL_CONTROL__GRPC_LISTEN, to another address"
        );
    }

    #[test]
    fn only_development_draws_a_token_and_a_new_one_each_time() {
        let mut settings = Settings::read(None, []).expect("the defaults");
        let token = development_token(&mut settings).expect("a token").expect("in development");
        assert_eq!((token.len(), settings.control.tokens.len()), (32, 1));
        let again = development_token(&mut Settings::read(None, []).expect("the defaults"));
        assert_ne!(again.expect("a token").as_ref(), Some(&token));
        let given = [("ROLLCALL_CONTROL__TOKENS", "[\"mine\"]")];
        let mut settings = Settings::read(None, given).expect("settings");
        assert!(matches!(development_token(&mut settings), Ok(None)));
        assert_eq!(settings.control.tokens.len(), 1, "no second one");
    }
}
