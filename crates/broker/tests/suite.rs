//! What every broker promises. Each test takes the broker as an argument, so that another implementation adds a list of
//! calls, not tests.

use broker::{Broker, InProcess, Incoming, JournalError, LeaseError, Outbound, Position, Said, Topic};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use ids::{AppId, ChannelName, Epoch, NodeId, ProcessId, ShardId, UserKey};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

macro_rules! suite {
    ($broker:expr => $($test:ident)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                super::$test($broker).await;
            }
        )*
    };
}

mod in_process {
    use super::{Broker, InProcess};
    use std::sync::Arc;

    fn broker() -> Arc<dyn Broker> {
        Arc::new(InProcess::new())
    }

    suite! { broker() =>
        what_is_published_after_an_attachment_arrives
        what_is_published_after_a_detachment_does_not
        a_topic_has_one_order_for_all_who_listen
        a_subscriber_that_lags_loses_nothing
        outbound_messages_keep_their_order
        topics_of_different_things_differ
        a_lease_has_one_holder_and_a_higher_epoch_each_time
        the_journal_is_read_in_order_by_everybody
        an_append_answers_with_the_registered_nodes
        a_dropped_subscription_is_gone
    }
}

/// Long enough for a slow machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn topic(name: &str) -> Topic {
    let (app, channel): (AppId, ChannelName) = ("1".parse().expect("app"), name.parse().expect("channel"));
    Topic::channel(&app, &channel)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next(incoming: &mut Incoming) -> (Topic, String) {
    match timeout(PATIENCE, incoming.next()).await.expect("something arrives").expect("the broker lives") {
        Said::Message { topic, message } => (topic, String::from_utf8(message.to_vec()).expect("text")),
        said => panic!("{said:?}"),
    }
}

async fn what_is_published_after_an_attachment_arrives(broker: Arc<dyn Broker>) {
    let (subscription, mut incoming) = broker.subscribe();
    for n in 0..500 {
        let topic = topic(&format!("t{n}"));
        assert_eq!(broker.publish(topic.clone(), bytes("early")).await, Ok(0), "nobody listens yet");
        subscription.attach(vec![topic.clone()]).await.expect("attached");
        assert_eq!(broker.publish(topic.clone(), bytes("now")).await, Ok(1));
        assert_eq!(next(&mut incoming).await, (topic.clone(), "now".to_owned()));
        subscription.attach(vec![topic.clone()]).await.expect("attaching again is harmless");
        assert_eq!(broker.publish(topic.clone(), bytes("once")).await, Ok(1));
        assert_eq!(next(&mut incoming).await, (topic, "once".to_owned()));
    }
}

async fn what_is_published_after_a_detachment_does_not(broker: Arc<dyn Broker>) {
    let (subscription, mut incoming) = broker.subscribe();
    subscription.attach(vec![topic("a"), topic("b")]).await.expect("attached");
    subscription.detach(vec![topic("a")]).await.expect("detached");
    assert_eq!(broker.publish(topic("a"), bytes("lost")).await, Ok(0));
    assert_eq!(broker.publish(topic("b"), bytes("kept")).await, Ok(1));
    assert_eq!(next(&mut incoming).await, (topic("b"), "kept".to_owned()));
    subscription.attach(vec![topic("a")]).await.expect("attached again");
    broker.publish(topic("a"), bytes("back")).await.expect("taken");
    assert_eq!(next(&mut incoming).await, (topic("a"), "back".to_owned()));
}

async fn a_topic_has_one_order_for_all_who_listen(broker: Arc<dyn Broker>) {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let (subscription, incoming) = broker.subscribe();
        subscription.attach(vec![topic("log")]).await.expect("attached");
        listeners.push((subscription, incoming));
    }
    let publishers = (0..8).map(|publisher| {
        let broker = Arc::clone(&broker);
        async move {
            for n in 0..100 {
                broker.publish(topic("log"), bytes(&format!("{publisher}.{n}"))).await.expect("taken");
                tokio::task::yield_now().await;
            }
        }
    });
    let readers = listeners.into_iter().map(|(subscription, mut incoming)| async move {
        let mut read = Vec::new();
        while read.len() < 800 {
            read.push(next(&mut incoming).await.1);
        }
        drop(subscription);
        read
    });
    let (_, read) = join(join_all(publishers), join_all(readers)).await;
    assert!(read.iter().all(|order| *order == read[0]), "one order");
    for publisher in 0..8 {
        let prefix = format!("{publisher}.");
        let own: Vec<_> = read[0].iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
        assert_eq!(own, (0..100).map(|n| format!("{publisher}.{n}")).collect::<Vec<_>>());
    }
}

async fn a_subscriber_that_lags_loses_nothing(broker: Arc<dyn Broker>) {
    const MANY: usize = 5_000;
    let (subscription, mut incoming) = broker.subscribe();
    subscription.attach(vec![topic("a")]).await.expect("attached");
    let publish = async {
        for n in 0..MANY {
            broker.publish(topic("a"), bytes(&n.to_string())).await.expect("taken, if late");
        }
    };
    let read = async {
        for n in 0..MANY {
            assert_eq!(next(&mut incoming).await.1, n.to_string());
        }
    };
    join(publish, read).await;
}

async fn outbound_messages_keep_their_order(broker: Arc<dyn Broker>) {
    let (subscription, mut incoming) = broker.subscribe();
    subscription.attach(vec![topic("a"), topic("b")]).await.expect("attached");
    let mut outbound = Outbound::new(Arc::clone(&broker));
    for n in 0..3_000 {
        outbound.push(topic(if n % 2 == 0 { "a" } else { "b" }), bytes(&n.to_string()));
    }
    assert_eq!(outbound.len(), 3_000);
    let read = async {
        for n in 0..3_000 {
            assert_eq!(next(&mut incoming).await.1, n.to_string());
        }
    };
    let (result, ()) = join(outbound.flush(), read).await;
    assert_eq!((result, outbound.is_empty()), (Ok(()), true));
}

async fn topics_of_different_things_differ(broker: Arc<dyn Broker>) {
    let user = |app: &str, id: &str| {
        Topic::user(&UserKey { app: app.parse().expect("app"), user: id.parse().expect("user") })
    };
    let topics = [
        user("1", "a"),
        user("1", "a:a"),
        user("1", "2:a"),
        user("2", "a"),
        topic("a"),
        Topic::shard(ShardId(1)),
        Topic::node(NodeId::from_random(1)),
        Topic::replies(ProcessId::from_random(1)),
        Topic::all(),
    ];
    let (subscription, mut incoming) = broker.subscribe();
    for attached in &topics {
        subscription.attach(vec![attached.clone()]).await.expect("attached");
        for published in &topics {
            let expected = usize::from(published == attached);
            assert_eq!(
                broker.publish(published.clone(), bytes("x")).await,
                Ok(expected),
                "{attached} {published}"
            );
        }
        assert_eq!(next(&mut incoming).await.0, *attached);
        subscription.detach(vec![attached.clone()]).await.expect("detached");
    }
}

async fn a_lease_has_one_holder_and_a_higher_epoch_each_time(broker: Arc<dyn Broker>) {
    let (a, b) = (ProcessId::from_random(1), ProcessId::from_random(2));
    let (shard, ttl) = (ShardId(3), Duration::from_secs(30));
    let first = broker.take_lease(shard, a, Epoch::NONE, ttl).await.expect("free");
    assert_eq!(broker.take_lease(shard, b, Epoch::NONE, ttl).await, Err(LeaseError::Held));
    assert!(broker.take_lease(ShardId(4), b, Epoch::NONE, ttl).await.is_ok(), "another shard's is free");
    assert_eq!(broker.renew_lease(shard, first, ttl).await, Ok(()));
    assert_eq!(
        broker.release_lease(shard, Epoch::above(first, b)).await,
        Ok(()),
        "not its holder: no effect"
    );
    assert_eq!(broker.renew_lease(shard, first, ttl).await, Ok(()));
    broker.release_lease(shard, first).await.expect("released");
    assert_eq!(broker.renew_lease(shard, first, ttl).await, Err(LeaseError::Held), "it was given up");
    let second = broker.take_lease(shard, b, Epoch::NONE, ttl).await.expect("free");
    assert!(second > first);
    broker.release_lease(shard, second).await.expect("released");
    let floor = Epoch::above(Epoch::above(second, a), a);
    let third = broker.take_lease(shard, a, floor, Duration::from_millis(1)).await.expect("free");
    assert!(third > floor);
    let after = async {
        loop {
            match broker.take_lease(shard, b, Epoch::NONE, ttl).await {
                Ok(epoch) => return epoch,
                Err(LeaseError::Held) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert!(timeout(PATIENCE, after).await.expect("it lapses") > third);
    assert_eq!(broker.renew_lease(shard, third, ttl).await, Err(LeaseError::Held));
}

async fn the_journal_is_read_in_order_by_everybody(broker: Arc<dyn Broker>) {
    let start = broker.register(NodeId::from_random(1)).await.expect("registered");
    let waiting = broker.read_journal(start);
    let mut positions = Vec::new();
    for n in 0..10 {
        positions.push(broker.append(bytes(&n.to_string())).await.expect("appended").position);
    }
    let first = timeout(PATIENCE, waiting).await.expect("entries").expect("the journal");
    assert_eq!(first[0].entry, bytes("0"));
    let rest = broker.read_journal(positions[4]).await.expect("the journal");
    let texts: Vec<_> = rest.iter().map(|entry| entry.entry.clone()).collect();
    assert_eq!(texts, (5..10).map(|n| bytes(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(rest.last().map(|entry| entry.position), positions.last().copied());
}

/// For the implementation that keeps its journal by number of entries.
#[tokio::test]
async fn a_reader_that_is_too_far_behind_is_told() {
    let broker = InProcess::new();
    let start = broker.register(NodeId::from_random(1)).await.expect("registered");
    for _ in 0..65_537 {
        broker.append(Bytes::new()).await.expect("appended");
    }
    assert_eq!(broker.read_journal(start).await, Err(JournalError::Trimmed));
    let next = Position { number: start.number + 1, ..start };
    assert_eq!(broker.read_journal(next).await.map(|entries| entries.len()), Ok(65_536));
}

async fn an_append_answers_with_the_registered_nodes(broker: Arc<dyn Broker>) {
    let (a, b) = (NodeId::from_random(1), NodeId::from_random(2));
    assert_eq!(broker.append(bytes("x")).await.expect("appended").registered, []);
    broker.register(a).await.expect("registered");
    broker.register(b).await.expect("registered");
    broker.register(b).await.expect("registering again is harmless");
    assert_eq!(broker.append(bytes("x")).await.expect("appended").registered, [a, b]);
    broker.leave(a).await.expect("left");
    broker.leave(a).await.expect("leaving again is harmless");
    assert_eq!(broker.append(bytes("x")).await.expect("appended").registered, [b]);
}

async fn a_dropped_subscription_is_gone(broker: Arc<dyn Broker>) {
    let (subscription, incoming) = broker.subscribe();
    subscription.attach(vec![topic("a")]).await.expect("attached");
    drop((subscription, incoming));
    assert_eq!(broker.publish(topic("a"), bytes("x")).await, Ok(0));
    // A stream that was dropped alone takes nothing, and holds nobody up.
    let (subscription, incoming) = broker.subscribe();
    subscription.attach(vec![topic("a")]).await.expect("attached");
    drop(incoming);
    assert_eq!(timeout(PATIENCE, broker.publish(topic("a"), bytes("x"))).await.expect("no wait"), Ok(0));
}
