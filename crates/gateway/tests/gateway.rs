//! A gateway on a real socket, with a broker that takes its time. There is no presence: nobody's level is ever known.

use broker::{
    Appended, BoxFuture, Broker, Entry, InProcess, Incoming, JournalError, LeaseError, Position,
    Subscription, Topic, Unavailable,
};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use gateway::{Gateway, Settings};
use ids::{Epoch, NodeId, ProcessId, ShardId, Shards};
use protocol::{App, Apps, Secret, signature};
use serde_json::{Value, json};
use std::{
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use telemetry::{Health, Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Much longer than anything here takes, and much shorter than what is not to be waited for.
const SOON: Duration = Duration::from_secs(20);

/// The in-process broker, which attaches users' topics only once `open`.
struct Gated {
    broker: InProcess,
    open: watch::Receiver<bool>,
}

struct GatedSubscription {
    subscription: Arc<dyn Subscription>,
    open: watch::Receiver<bool>,
}

impl Subscription for GatedSubscription {
    fn attach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>> {
        let mut open = self.open.clone();
        let gated = topics.iter().any(|topic| topic.as_str().starts_with("u:"));
        let attach = self.subscription.attach(topics);
        async move {
            if gated {
                open.wait_for(|open| *open).await.map_err(|_| Unavailable)?;
            }
            attach.await
        }
        .boxed()
    }

    fn detach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.subscription.detach(topics)
    }
}

impl Broker for Gated {
    fn publish(&self, topic: Topic, message: Bytes) -> BoxFuture<'static, Result<usize, Unavailable>> {
        self.broker.publish(topic, message)
    }

    fn subscribe(&self) -> (Arc<dyn Subscription>, Incoming) {
        let (subscription, incoming) = self.broker.subscribe();
        (Arc::new(GatedSubscription { subscription, open: self.open.clone() }), incoming)
    }

    fn take_lease(
        &self,
        shard: ShardId,
        holder: ProcessId,
        floor: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Epoch, LeaseError>> {
        self.broker.take_lease(shard, holder, floor, ttl)
    }

    fn renew_lease(
        &self,
        shard: ShardId,
        epoch: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<(), LeaseError>> {
        self.broker.renew_lease(shard, epoch, ttl)
    }

    fn release_lease(&self, shard: ShardId, epoch: Epoch) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.broker.release_lease(shard, epoch)
    }

    fn register(&self, node: NodeId) -> BoxFuture<'static, Result<Position, Unavailable>> {
        self.broker.register(node)
    }

    fn leave(&self, node: NodeId) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.broker.leave(node)
    }

    fn append(&self, entry: Bytes) -> BoxFuture<'static, Result<Appended, Unavailable>> {
        self.broker.append(entry)
    }

    fn read_journal(&self, after: Position) -> BoxFuture<'static, Result<Vec<Entry>, JournalError>> {
        self.broker.read_journal(after)
    }
}

/// A gateway that runs.
struct Server {
    address: std::net::SocketAddr,
    registry: Registry,
    open: watch::Sender<bool>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    async fn start(max_connections: usize) -> Server {
        let settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            workers: NonZeroUsize::MIN,
            activity_timeout: Duration::from_secs(120),
            max_frame_bytes: 65_536,
            outbox_bytes: 1 << 20,
            path_prefix: String::new(),
            drain_time: 10 * SOON,
            handover_grace: Duration::ZERO,
            sign_in_deadline: 10 * SOON,
            assume_protocol_7: false,
            frames_per_second: NonZeroU32::new(100).expect("not zero"),
            max_connections,
        };
        let app =
            App::new("1".parse().expect("id"), "app-key".parse().expect("key"), Secret::new("app-secret"));
        let apps = Arc::new(Apps::from_iter([app]));
        let shards = Shards::new(NonZeroU16::new(16).expect("not zero"));
        let (open, opened) = watch::channel(false);
        let broker = Arc::new(Gated { broker: InProcess::new(), open: opened });
        let part = Health::new().part("gateway");
        let mut registry = Registry::default();
        let gateway = Gateway::bind(settings, apps, shards, broker, None, part, &mut registry);
        let gateway = gateway.await.expect("a gateway");
        let (address, shutdown, tasks) = (gateway.local_addr(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(gateway.run(shutdown.clone()));
        tasks.close();
        Server { address, registry, open, shutdown, tasks }
    }

    async fn received_frames(&self, expected: u64) {
        let line = format!("rollcall_gateway_frames_received_total {expected}\n");
        let received = async {
            loop {
                let mut metrics = String::new();
                telemetry::prometheus_client::encoding::text::encode(&mut metrics, &self.registry)
                    .expect("metrics");
                if metrics.contains(&line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, received).await.expect("the frames are received");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(SOON, self.tasks.wait()).await.expect("a drain does not wait");
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
    id: String,
}

impl Client {
    async fn connect(server: &Server) -> Client {
        let stream = TcpStream::connect(server.address).await.expect("connect");
        let url = format!("ws://{}/app/app-key?protocol=7", server.address);
        let (socket, _) = client_async(url, stream).await.expect("upgrade");
        let mut client = Client { socket, id: String::new() };
        let data = client.next("pusher:connection_established").await;
        client.id = data["socket_id"].as_str().expect("a socket id").to_owned();
        client
    }

    async fn say(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("send");
    }

    async fn sign_in(&mut self, user_data: &Value) {
        let (socket, user_data) = (self.id.parse().expect("a socket id"), user_data.to_string());
        let proof = signature::sign_in(&Secret::new("app-secret"), socket, &user_data);
        let auth = format!("app-key:{proof}");
        self.say(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})).await;
    }

    /// The data of the next frame, which must be of this event.
    async fn next(&mut self, event: &str) -> Value {
        let message = timeout(SOON, self.socket.next()).await.unwrap_or_else(|_| panic!("no {event}"));
        let message = message.expect("a message").expect("no error");
        let frame: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
        assert_eq!(frame["event"], event);
        match &frame["data"] {
            Value::String(json) => serde_json::from_str(json).expect("JSON"),
            data => data.clone(),
        }
    }
}

#[tokio::test]
async fn a_client_is_read_again_once_its_sign_in_has_succeeded() {
    let server = Server::start(10).await;
    let mut client = Client::connect(&server).await;
    client.sign_in(&json!({"id": "ada"})).await;
    for _ in 0..6 {
        client.say(&json!({"event": "pusher:ping", "data": "x".repeat(5_000)})).await;
    }
    server.received_frames(5).await; // the sign-in and 20 000 bytes; the rest is not read
    server.open.send_replace(true);
    client.next("pusher:signin_success").await;
    for _ in 0..6 {
        client.next("pusher:pong").await;
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_comes_in_time_though_nobody_says_anything() {
    let server = Server::start(10).await;
    let mut client = Client::connect(&server).await;
    client.sign_in(&json!({"id": "ada", "watchlist": ["ada", "bob"]})).await;
    server.received_frames(1).await;
    server.open.send_replace(true);
    client.next("pusher:signin_success").await;
    let told = client.next("pusher_internal:watchlist_events").await;
    assert_eq!(told, json!({"events": [{"name": "online", "user_ids": ["ada"]}]}));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_the_rest_of_a_head() {
    let server = Server::start(10).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connect");
    stream.write_all(b"GET /one HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    assert!(stream.read(&mut [0; 1024]).await.expect("an answer") > 0);
    stream.write_all(b"GET /two").await.expect("write");
    let mut other = TcpStream::connect(server.address).await.expect("connect");
    other.write_all(b"GET").await.expect("write");
    Client::connect(&server).await; // behind the others in the acceptor's and the worker's queue
    server.stop().await;
}

#[tokio::test]
async fn sockets_that_say_nothing_have_a_limit() {
    let server = Server::start(1).await;
    let mut silent = Vec::new();
    for _ in 0..101 {
        silent.push(TcpStream::connect(server.address).await.expect("connect"));
    }
    let mut stream = TcpStream::connect(server.address).await.expect("connect");
    let closed = timeout(SOON, stream.read(&mut [0])).await.expect("closed");
    assert!(closed.is_ok_and(|bytes| bytes == 0));
    drop(silent);
    server.stop().await;
}
