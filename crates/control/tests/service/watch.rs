//! WatchUsers, from an owner's statuses to a client's stream.

use crate::support::{Fixture, Listener, Server, key, server::PATIENCE, shard_of, with_token};
use broker::{Broker, Topic};
use contracts::{
    cluster::v1,
    control::v1::{WatchUsersRequest, WatchUsersResponse, control_client::ControlClient},
    encode,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Endpoint};

const EPOCH: u64 = 1 << 24;

/// The owner of the shard of ada, who is the only user that anybody watches here.
struct Owner {
    listener: Listener,
    node: u64,
    base: u64,
    after: u64,
    next: u64,
}

impl Owner {
    /// Claims the shard and answers the full report that follows.
    async fn claim(fixture: &Fixture) -> Owner {
        let mut listener = fixture.listen([Topic::shard(shard_of("ada"))]).await;
        let owned = vec![v1::ShardEpoch { shard: shard_of("ada").0.into(), epoch: EPOCH }];
        let claim = v1::ReplicaBeat { replica: 1, number: 1, owned, needs: Vec::new() };
        let beat = v1::Beat { said: Some(v1::beat::Said::Replica(claim)) };
        fixture.broker.publish(Topic::all(), encode(&beat)).await.expect("publish");
        let report = report(&mut listener).await;
        assert!(report.full);
        let mut owner = Owner { listener, node: report.node, base: report.seq, after: report.seq, next: 0 };
        owner.say(fixture, None).await;
        owner
    }

    /// Waits until the node asks for ada.
    async fn asked(&mut self) {
        let report = report(&mut self.listener).await;
        assert_eq!(report.watched, [v1::Level { user: Some((&key("ada")).into()), yes: true }]);
        self.after = report.seq;
    }

    /// The next status, with ada's level or none.
    async fn say(&mut self, fixture: &Fixture, online: Option<bool>) {
        let levels = online.map(|yes| v1::Level { user: Some((&key("ada")).into()), yes });
        let status = v1::Status {
            shard: shard_of("ada").0.into(),
            epoch: EPOCH,
            base: self.base,
            seq: self.next,
            after: self.after,
            levels: levels.into_iter().collect(),
        };
        self.next += 1;
        let message = encode(&v1::ToNode { said: Some(v1::to_node::Said::Status(status)) });
        let topic = Topic::node(ids::NodeId::from_random(self.node));
        fixture.broker.publish(topic, message).await.expect("publish");
    }
}

async fn report(listener: &mut Listener) -> v1::Report {
    loop {
        let message: v1::ToShard = timeout(PATIENCE, listener.next()).await.expect("a report");
        if let Some(v1::to_shard::Said::Report(report)) = message.said {
            return report;
        }
    }
}

fn watch_ada() -> tonic::Request<WatchUsersRequest> {
    with_token("app-1", WatchUsersRequest { app_id: "1".into(), user_ids: vec!["ada".into(), "ada".into()] })
}

/// What the next answer says of ada.
async fn next(stream: &mut Streaming<WatchUsersResponse>) -> Result<bool, Status> {
    let answer = timeout(PATIENCE, stream.message()).await.expect("an answer")?.expect("not the end");
    assert_eq!(answer.users.len(), 1);
    assert_eq!(answer.users[0].user_id, "ada");
    Ok(answer.users[0].online)
}

#[tokio::test]
async fn a_watch_tells_the_present_and_then_each_change() {
    let server = Server::start(Fixture::new().await).await;
    let mut owner = Owner::claim(&server.fixture).await;
    let mut client = server.client().await;
    let mut stream = client.watch_users(watch_ada()).await.expect("watch").into_inner();
    owner.asked().await;
    for online in [false, true, false] {
        owner.say(&server.fixture, Some(online)).await;
        assert_eq!(next(&mut stream).await.expect("level"), online);
    }
    // A second watch starts from the present, which is known.
    let mut second = client.watch_users(watch_ada()).await.expect("watch").into_inner();
    assert!(!next(&mut second).await.expect("level"));
    owner.say(&server.fixture, Some(true)).await;
    assert!(next(&mut stream).await.expect("level"));
    assert!(next(&mut second).await.expect("level"));
}

#[tokio::test]
async fn who_reads_too_slowly_gets_what_there_is_and_is_told_to_call_again() {
    let server = Server::start(Fixture::new().await).await;
    let mut owner = Owner::claim(&server.fixture).await;
    // The stream's window takes some forty answers; the rest has to wait in the server.
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).expect("address");
    let channel = endpoint.initial_stream_window_size(1_024).connect().await.expect("connect");
    let mut stream = ControlClient::new(channel).watch_users(watch_ada()).await.expect("watch").into_inner();
    owner.asked().await;
    let mut online = false;
    owner.say(&server.fixture, Some(online)).await;
    assert_eq!(next(&mut stream).await.expect("level"), online);
    for _ in 0..2_000 {
        online = !online;
        owner.say(&server.fixture, Some(online)).await;
        // The node hears each one by itself.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
    let mut told = false;
    let status = loop {
        match next(&mut stream).await {
            Ok(online) => {
                assert_ne!(online, told, "levels alternate to the last");
                told = online;
            }
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    // Called again, the watch starts from the present.
    let mut again = server.client().await.watch_users(watch_ada()).await.expect("watch").into_inner();
    assert_eq!(next(&mut again).await.expect("level"), online);
}
