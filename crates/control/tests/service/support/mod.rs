//! A control on the in-process broker, and the other side of what it says: whoever listens on a topic and replies.

mod flaky;
pub(crate) mod server;

pub(crate) use flaky::Flaky;
pub(crate) use server::{Server, with_token};

use broker::{Broker, InProcess, Incoming, Said, Subscription, Topic};
use contracts::{
    cluster::v1::{self, reply::Said as Reply},
    encode,
};
use control::{Control, Event, Settings, Token};
use ids::{NodeId, ShardId, Shards, UserId, UserKey};
use protocol::{App, Apps, Secret};
use std::{num::NonZeroU16, sync::Arc, time::Duration};
use telemetry::{Health, Registry, prometheus_client::encoding::text};

pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
pub(crate) const SHARDS: u16 = 4;

pub(crate) struct Fixture {
    pub(crate) broker: Arc<Flaky>,
    pub(crate) control: Option<Control>,
    pub(crate) app: Arc<App>,
    pub(crate) health: Health,
    registry: Registry,
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        Fixture::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Fixture {
        let broker = Arc::new(Flaky::new(InProcess::new()));
        let mut settings = Settings {
            grpc_listen: "127.0.0.1:0".parse().expect("address"),
            http_listen: None,
            path_prefix: String::new(),
            tokens: vec![
                Token::new("all-apps", None).expect("token"),
                Token::new("app-1", Some(vec!["1".parse().expect("app id")])).expect("token"),
            ],
            terminate_deadline: DEADLINE,
        };
        change(&mut settings);
        let app = |id: &str| {
            let key = format!("key-{id}").parse().expect("app key");
            App::new(id.parse().expect("app id"), key, Secret::new("secret"))
        };
        let disabled = App { enabled: false, ..app("3") };
        let apps = Arc::new(Apps::from_iter([app("1"), app("2"), disabled]));
        let (health, mut registry) = (Health::new(), Registry::default());
        let shards = Shards::new(NonZeroU16::new(SHARDS).expect("not zero"));
        let (part, shared) = (health.part("control"), Arc::clone(&broker));
        let control = Control::start(settings, Arc::clone(&apps), shards, shared, part, &mut registry)
            .await
            .expect("start");
        let app = Arc::clone(apps.by_key("key-1").expect("app"));
        Fixture { broker, control: Some(control), app, health, registry }
    }

    pub(crate) fn verbs(&self) -> control::Verbs {
        self.control.as_ref().expect("not yet running").verbs()
    }

    pub(crate) async fn listen(&self, topics: impl IntoIterator<Item = Topic>) -> Listener {
        let (subscription, incoming) = self.broker.subscribe();
        subscription.attach(topics.into_iter().collect()).await.expect("attach");
        Listener { broker: Arc::clone(&self.broker), subscription, incoming }
    }

    /// A value of the metrics page, by the beginning of its line; 0 if it is not there.
    pub(crate) fn metric(&self, name_and_labels: &str) -> u64 {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("encode");
        let line = page.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("number"))
    }
}

/// A node's or an owner's side: hears its topics and replies.
pub(crate) struct Listener {
    broker: Arc<Flaky>,
    #[expect(dead_code, reason = "dropping it detaches")]
    subscription: Arc<dyn Subscription>,
    incoming: Incoming,
}

impl Listener {
    /// The next message on any of the topics.
    pub(crate) async fn next<M: prost::Message + Default>(&mut self) -> M {
        match self.incoming.next().await.expect("open") {
            Said::Message { message, .. } => M::decode(message).expect("message"),
            said => panic!("{said:?}"),
        }
    }

    /// How many messages have arrived that nobody has looked at.
    pub(crate) fn waiting(&mut self) -> usize {
        std::iter::from_fn(|| self.incoming.try_next()).count()
    }

    pub(crate) async fn answer(&self, question: Option<v1::Question>, said: Reply) {
        let v1::Question { id, asker } = question.expect("question");
        reply(&*self.broker, asker, v1::Reply { question: id, said: Some(said) }).await;
    }

    /// Answers a question that was asked of a shard's owner.
    pub(crate) async fn answer_owner(&self, asked: v1::ToShard, said: Reply) {
        let Some(v1::to_shard::Said::Question(question)) = asked.said else { panic!("{asked:?}") };
        self.answer(question.question, said).await;
    }
}

pub(crate) async fn reply(broker: &dyn Broker, asker: u64, reply: v1::Reply) {
    let topic = Topic::replies(ids::ProcessId::from_random(asker));
    broker.publish(topic, encode(&reply)).await.expect("publish");
}

pub(crate) async fn confirm(broker: &dyn Broker, termination: u64, asker: u64, node: u64, closed: u32) {
    let said = Some(Reply::Confirmation(v1::Confirmation { termination, node, closed }));
    reply(broker, asker, v1::Reply { question: 0, said }).await;
}

pub(crate) fn reached(node: u64, connections: u32) -> Reply {
    Reply::Reached(v1::Reached { node, connections })
}

/// What an owner answers: these users are online, on node 1.
pub(crate) fn online(shard: ShardId, complete: bool, users: &[&str]) -> Reply {
    let users = users.iter().map(|user| v1::UserNodes { user: (*user).into(), online: true, nodes: vec![1] });
    Reply::Users(v1::Users { shard: shard.0.into(), complete, users: users.collect() })
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::from_random(number)
}

pub(crate) fn user(id: &str) -> UserId {
    id.parse().expect("user id")
}

pub(crate) fn key(id: &str) -> UserKey {
    UserKey { app: "1".parse().expect("app id"), user: user(id) }
}

pub(crate) fn event(data: &str) -> Event {
    Event { name: "hello".parse().expect("event name"), data: data.into(), except: None }
}

pub(crate) fn shard_of(id: &str) -> ShardId {
    Shards::new(NonZeroU16::new(SHARDS).expect("not zero")).of(&key(id))
}
