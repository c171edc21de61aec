//! The HTTP API, asked as a server SDK asks it, on a real in-process broker.

use broker::{Broker, InProcess, Incoming, Position, Said, Subscription, Topic};
use bytes::Bytes;
use contracts::{cluster::v1, encode};
use control::{Control, Settings, http::Api};
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use ids::{AppId, NodeId, ProcessId, Shards, UserKey};
use prost::Message as _;
use protocol::{App, Apps, Secret, TerminationClose, http::signed_query};
use std::{
    error::Error,
    io,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, SystemTime},
};
use telemetry::{Health, Registry};
use tokio_util::task::TaskTracker;

const TERMINATE: &str = "/apps/1/users/ada/terminate_connections";

struct Site {
    broker: InProcess,
    api: Api,
    control: Control,
}

impl Site {
    async fn start() -> Site {
        Site::start_behind("").await
    }

    async fn start_behind(path_prefix: &str) -> Site {
        let broker = InProcess::new();
        let app = |id: &str, key: &str| {
            App::new(id.parse().expect("an id"), key.parse().expect("a key"), Secret::new("app-secret"))
        };
        let stopped = App { enabled: false, ..app("2", "stopped-key") };
        let settings = Settings {
            grpc_listen: "127.0.0.1:0".parse().expect("an address"),
            http_listen: None,
            path_prefix: path_prefix.to_owned(),
            tokens: Vec::new(),
            terminate_deadline: Duration::from_secs(5),
        };
        let apps = Arc::new(Apps::from_iter([app("1", "app-key"), stopped]));
        let shards = Shards::new(NonZeroU16::new(16).expect("not zero"));
        let part = Health::new().part("control");
        let mut registry = Registry::default();
        let broker_too = Arc::new(broker.clone());
        let control = Control::start(settings, apps, shards, broker_too, part, &mut registry).await;
        let control = control.expect("control starts");
        Site { broker, api: control.http(), control }
    }

    /// Signs the request and asks; answers with status and body.
    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask("app-key", path, body.as_bytes(), Full::from(body.to_owned())).await
    }

    /// Signs `signed`, and sends `sent`.
    async fn ask<B>(&self, key: &str, path: &str, signed: &[u8], sent: B) -> (u16, String)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let key = key.parse().expect("a key");
        let secret = Secret::new("app-secret");
        let query = signed_query(&key, &secret, "POST", path, &[], signed, SystemTime::now());
        let request = Request::post(format!("{path}?{query}")).body(sent).expect("a request");
        let response = self.api.call(request).await;
        (response.status().as_u16(), text(response).await)
    }

    async fn hear(&self, topics: Vec<Topic>) -> Ear {
        let (subscription, incoming) = self.broker.subscribe();
        subscription.attach(topics).await.expect("attached");
        Ear { _subscription: subscription, incoming }
    }

    /// A gateway as terminations see one: it reads the journal, and confirms that it closed two connections.
    async fn join_node(&self, tasks: &TaskTracker) {
        let node = NodeId::from_random(0xabc);
        let position = self.broker.register(node).await.expect("registered");
        let broker = self.broker.clone();
        tasks.spawn(async move { confirm_terminations(&broker, node, position).await });
    }
}

async fn confirm_terminations(broker: &InProcess, node: NodeId, mut position: Position) {
    while let Ok(entries) = broker.read_journal(position).await {
        for entry in entries {
            position = entry.position;
            let termination = v1::Termination::decode(entry.entry).expect("a termination");
            assert_eq!(termination.user, Some(v1::User { app: "1".to_owned(), user: "ada".to_owned() }));
            assert_eq!(termination.close_code, u32::from(TerminationClose::Reconnect.code().number()));
            let confirmation = v1::Confirmation { termination: termination.id, node: node.bits(), closed: 2 };
            let said = Some(v1::reply::Said::Confirmation(confirmation));
            let topic = Topic::replies(ProcessId::from_random(termination.asker));
            broker.publish(topic, encode(&v1::Reply { question: 0, said })).await.expect("published");
        }
    }
}

/// Hears what is published.
struct Ear {
    _subscription: Arc<dyn Subscription>,
    incoming: Incoming,
}

impl Ear {
    /// The event that was published next: its topic, name, data, and whom it spares.
    fn event(&mut self) -> Option<[String; 4]> {
        let Said::Message { topic, message } = self.incoming.try_next()? else { panic!("interrupted") };
        let event = if topic.as_str().starts_with("u:") {
            match v1::ToUser::decode(message).expect("a message to a user").said {
                Some(v1::to_user::Said::Event(event)) => event,
                other => panic!("{other:?}"),
            }
        } else {
            v1::ToChannel::decode(message).expect("a message to a channel").event.expect("an event")
        };
        Some([topic.to_string(), event.name, event.data, event.except_socket_id])
    }
}

async fn text(response: Response<Full<Bytes>>) -> String {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert!(json.is_object(), "{json}");
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

fn done() -> (u16, String) {
    (200, "{}".to_owned())
}

fn user_topic(user: &str) -> Topic {
    Topic::user(&UserKey { app: app_id(), user: user.parse().expect("a user id") })
}

fn channel_topic(channel: &str) -> Topic {
    Topic::channel(&app_id(), &channel.parse().expect("a channel"))
}

fn app_id() -> AppId {
    "1".parse().expect("an id")
}

fn event(topic: &str, name: &str, data: &str, except: &str) -> Option<[String; 4]> {
    Some([topic, name, data, except].map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_the_users_and_channels_it_names_once_each() {
    let site = Site::start().await;
    let mut ear = site.hear(vec![user_topic("ada"), user_topic("bob"), channel_topic("news")]).await;
    let body = r##"{"name":"hello","data":"{\"a\":1}","channels":["news","#server-to-user-ada","news"],"socket_id":"1.2"}"##;
    assert_eq!(site.post("/apps/1/events", body).await, done());
    let mut heard = [ear.event(), ear.event()];
    heard.sort();
    assert_eq!(
        heard,
        [event("c:1:news", "hello", r#"{"a":1}"#, "1.2"), event("u:1:ada", "hello", r#"{"a":1}"#, "1.2")]
    );
    assert_eq!(ear.event(), None);

    assert_eq!(site.post("/apps/app-key/users/bob/events", r#"{"name":"n","data":[1]}"#).await, done());
    assert_eq!(ear.event(), event("u:1:bob", "n", "[1]", ""));
    assert_eq!(ear.event(), None);

    let with_info = r#"{"name":"n","data":"","channels":["nobody"],"info":"user_count"}"#;
    assert_eq!(
        site.post("/apps/1/events", with_info).await,
        (200, r#"{"channels":{"nobody":{}}}"#.to_owned()),
        "publishing to nobody is no error"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_published_in_order_or_not_at_all() {
    let site = Site::start().await;
    let mut ear = site.hear(vec![user_topic("ada"), channel_topic("news")]).await;
    let one = |name: &str, channel: &str| format!(r#"{{"name":"{name}","data":"","channel":"{channel}"}}"#);
    let batch = |events: &[String]| format!(r#"{{"batch":[{}]}}"#, events.join(","));

    let bad = batch(&[one("first", "news"), one("second", "presence-news")]);
    let (status, body) = site.post("/apps/1/batch_events", &bad).await;
    assert_eq!(
        (status, &*body),
        (
            400,
            r#"{"error":"batch[1].channel: presence channels are not supported by this release","code":400}"#
        )
    );
    assert_eq!(ear.event(), None);

    let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let channel = |n: usize| ["news", "#server-to-user-ada"][n % 2];
    let events: Vec<_> = names.iter().enumerate().map(|(n, name)| one(name, channel(n))).collect();
    assert_eq!(site.post("/apps/1/batch_events", &batch(&events)).await, done());
    let heard: Vec<_> = std::iter::from_fn(|| ear.event()).map(|[_, name, ..]| name).collect();
    assert_eq!(heard, names);
}

#[tokio::test(start_paused = true)]
async fn a_termination_is_done_when_every_node_has_confirmed() {
    let (site, tasks) = (Site::start().await, TaskTracker::new());
    assert_eq!(site.post(TERMINATE, "{}").await, done(), "no node, nothing to wait for");
    site.join_node(&tasks).await;
    assert_eq!(site.post(TERMINATE, "{}").await, done());
    assert_eq!(site.post(TERMINATE, "").await, done());
    assert_eq!(site.post("/users/ada/terminate_connections", "{}").await, done(), "the Python SDK's path");
}

#[tokio::test(start_paused = true)]
async fn a_termination_that_a_node_did_not_confirm_says_which() {
    let (site, tasks) = (Site::start().await, TaskTracker::new());
    site.join_node(&tasks).await;
    site.broker.register(NodeId::from_random(0xdead)).await.expect("registered");
    let (status, body) = site.post(TERMINATE, "{}").await;
    assert_eq!(status, 503);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["code"], 503);
    assert_eq!(body["closed"], 2);
    assert_eq!(body["unconfirmed"], serde_json::json!(["000000000000dead"]));
    assert!(body["error"].as_str().is_some_and(|error| error.contains("retry is safe")), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_nothing_is_503() {
    let site = Site::start().await;
    let ear = site.hear(vec![channel_topic("news")]).await;
    // Nobody drains `ear`, so at some time the broker has no more room for it.
    let fill = async { while site.broker.publish(channel_topic("news"), Bytes::new()).await.is_ok() {} };
    fill.await;
    let body = r#"{"name":"n","data":"","channel":"news"}"#;
    let (status, answer) = site.post("/apps/1/events", body).await;
    assert_eq!(status, 503, "{answer}");
    drop(ear);
    assert_eq!(site.post("/apps/1/events", body).await, done());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_in_size_and_time() {
    let site = Site::start().await;
    let large = vec![b' '; 256 * 1024 + 1];
    let chunk = |bytes: &[u8]| Ok::<_, io::Error>(Frame::data(Bytes::copy_from_slice(bytes)));
    let status = |answer: (u16, String)| answer.0;

    let announced = site.ask("app-key", TERMINATE, &large, Full::from(large.clone())).await;
    assert_eq!(announced, (413, r#"{"error":"the body has more than 262144 bytes","code":413}"#.to_owned()));
    let streamed = StreamBody::new(stream::iter(large.chunks(1000).map(chunk).collect::<Vec<_>>()));
    assert_eq!(status(site.ask("app-key", TERMINATE, &large, streamed).await), 413);
    let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, io::Error>>());
    assert_eq!(status(site.ask("app-key", TERMINATE, b"{}", endless).await), 408);
    let broken = StreamBody::new(stream::iter([chunk(b"{"), Err(io::ErrorKind::ConnectionReset.into())]));
    assert_eq!(status(site.ask("app-key", TERMINATE, b"{}", broken).await), 400);

    let spaces = " ".repeat(256 * 1024 - 2);
    assert_eq!(site.post(TERMINATE, &format!("{{{spaces}}}")).await, done());
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_of_escaped_data_fits_a_body() {
    let site = Site::start().await;
    let data = r#"\""#.repeat(10_240);
    let event = format!(r#"{{"name":"n","data":"{data}","channel":"{}"}}"#, "c".repeat(200));
    let batch = format!(r#"{{"batch":[{}]}}"#, vec![event; 10].join(","));
    assert_eq!(site.post("/apps/1/batch_events", &batch).await, done());
}

#[tokio::test(start_paused = true)]
async fn refusals_are_json_with_the_status_of_their_kind() {
    let site = Site::start().await;
    let status = |answer: (u16, String)| answer.0;
    assert_eq!(status(site.post("/", "{}").await), 404);
    assert_eq!(status(site.post("/apps/9/events", "{}").await), 404);
    assert_eq!(status(site.post("/apps/1/channels", "{}").await), 404);
    assert_eq!(status(site.post("/apps/1/users/%ff/terminate_connections", "{}").await), 400);
    assert_eq!(status(site.post("/apps/1/events", "[").await), 400);
    let stopped = site.ask("stopped-key", "/apps/2/events", b"{}", Full::from("{}")).await;
    assert_eq!(stopped, (403, r#"{"error":"the app is disabled","code":403}"#.to_owned()));
    let other = site.ask("app-key", TERMINATE, b"{}", Full::from("{ }")).await;
    assert_eq!(other, (401, r#"{"error":"body_md5 is not the MD5 of the body","code":401}"#.to_owned()));
    let unsigned = Request::post(TERMINATE).body(Full::<Bytes>::from("{}")).expect("a request");
    let unsigned = site.api.call(unsigned).await;
    assert_eq!(unsigned.status(), 401);
    assert_eq!(text(unsigned).await, r#"{"error":"the query parameter auth_key is required","code":401}"#);
    let get = site.api.call(Request::get(TERMINATE).body(Full::<Bytes>::default()).expect("a request")).await;
    assert_eq!(
        (get.status().as_u16(), &get.headers()[header::ALLOW]),
        (405, &"POST".parse().expect("a header"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_prefix_may_be_there_or_have_been_taken_away() {
    let site = Site::start_behind("/realtime/").await;
    for path in ["/apps/1/events", "/users/ada/terminate_connections", "/realtime/apps/1/events"] {
        assert!(site.api.serves(path), "{path}");
    }
    for path in
        ["/", "/app/app-key", "/realtime", "/realtime/app/app-key", "/other/apps/1/events", "/realtimeapps/1"]
    {
        assert!(!site.api.serves(path), "{path}");
    }
    assert_eq!(site.post(&format!("/realtime{TERMINATE}"), "{}").await, done());
    drop(site.control);
}
