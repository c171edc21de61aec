//! What a shutdown waits for, and what it does not.

use crate::support::{
    Fixture, Server, confirm, event, key, node, reached, server::PATIENCE, user, with_token,
};
use broker::{Broker, Topic};
use contracts::{
    cluster::v1 as cluster,
    control::v1::{TerminateUserConnectionsRequest, WatchUsersRequest},
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

async fn server() -> Server {
    Server::start(Fixture::new().await).await
}

/// The status that a stream ends with.
async fn end<M>(mut stream: Streaming<M>) -> Code {
    loop {
        match timeout(PATIENCE, stream.message()).await.expect("the stream hangs") {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

#[tokio::test]
async fn readiness_follows_the_service() {
    let fixture = Fixture::new().await;
    assert!(!fixture.health.is_ready());
    let server = Server::start(fixture).await;
    server.client().await;
    assert!(server.fixture.health.is_ready());
    server.shutdown.cancel();
    let health = server.fixture.health.clone();
    server.ended().await;
    assert!(!health.is_ready());
}

#[tokio::test]
async fn open_streams_end_with_unavailable_and_hold_nothing_up() {
    let server = server().await;
    let channel = server.channel().await;
    let request = WatchUsersRequest { app_id: "1".into(), user_ids: vec!["ada".into(), "bob".into()] };
    let watch =
        server.client().await.watch_users(with_token("app-1", request)).await.expect("watch").into_inner();
    let health =
        HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("watch").into_inner();
    let started = Instant::now();
    server.shutdown.cancel();
    let (watch, health, ()) = join!(end(watch), end(health), server.ended());
    assert_eq!([watch, health], [Code::Unavailable; 2]);
    assert!(started.elapsed() < NOTHING_WAS_CUT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_call_in_progress_gets_its_answer() {
    let server = server().await;
    let broker = server.fixture.broker.clone();
    broker.register(node(1)).await.expect("register");
    let mut listener = server.fixture.listen([Topic::node(node(1))]).await;
    let mut client = server.client().await;
    let request =
        TerminateUserConnectionsRequest { app_id: "1".into(), user_id: "ada".into(), ..Default::default() };
    let shutdown = server.shutdown.clone();
    let node_side = async {
        let asked: cluster::ToNode = listener.next().await;
        shutdown.cancel();
        let Some(cluster::to_node::Said::Confirm(asked)) = asked.said else { panic!("{asked:?}") };
        // Asked again after the shutdown has begun, and only then is it answered.
        let _: cluster::ToNode = listener.next().await;
        confirm(&*broker, asked.termination, asked.asker, 1, 2).await;
    };
    let call = client.terminate_user_connections(with_token("app-1", request));
    let (answer, (), ()) = join!(call, node_side, server.ended());
    let answer = answer.expect("answer").into_inner();
    assert_eq!((answer.closed, answer.complete), (2, true));
}

/// Before this, nothing is cut off: `terminate_deadline` and two seconds more.
const NOTHING_WAS_CUT: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_client_that_has_not_begun_to_speak_holds_nothing_up() {
    let server = server().await;
    let _silent = TcpStream::connect(server.grpc).await.expect("connect");
    // Accepted in order: when this one is served, that one has been accepted.
    server.client().await;
    let started = Instant::now();
    server.shutdown.cancel();
    server.ended().await;
    assert!(started.elapsed() < NOTHING_WAS_CUT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_falls_silent_is_cut_off_after_the_drain() {
    let fixture = Fixture::with(|settings| settings.terminate_deadline = Duration::from_millis(1)).await;
    let server = Server::start(fixture).await;
    let mut silent = TcpStream::connect(server.grpc).await.expect("connect");
    // HTTP/2's greeting and empty settings; then neither acknowledgements nor pings are answered.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("write");
    let mut settings = [0; 9];
    silent.read_exact(&mut settings).await.expect("the server's settings");
    server.shutdown.cancel();
    server.ended().await;
}

#[tokio::test]
async fn a_clone_of_the_verbs_outlives_the_service() {
    let fixture = Fixture::new().await;
    let (verbs, app) = (fixture.verbs(), fixture.app.clone());
    let mut holder = fixture.listen([Topic::user(&key("ada"))]).await;
    let server = Server::start(fixture).await;
    server.shutdown.cancel();
    server.ended().await;
    let node_side = async {
        let asked: cluster::ToUser = holder.next().await;
        holder.answer(asked.question, reached(1, 2)).await;
    };
    let ada = user("ada");
    let (answer, ()) = join!(verbs.send_to_user(&app, &ada, event("{}")), node_side);
    assert!(answer.is_ok_and(|reached| reached.complete && reached.connections() == 2));
}

#[tokio::test]
async fn the_http_api_has_an_address_of_its_own_if_it_is_given_one() {
    let address = "127.0.0.1:0".parse().ok();
    let server = Server::start(Fixture::with(|settings| settings.http_listen = address).await).await;
    let mut socket = TcpStream::connect(server.http.expect("address")).await.expect("connect");
    socket.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    let mut head = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut head)).await.expect("an answer").expect("read");
    assert_eq!(head, *b"HTTP/1.1 404");
    // The connection idles, which holds nothing up.
    server.shutdown.cancel();
    server.ended().await;
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.expect("closed in order");
}
