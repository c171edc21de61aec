//! The verbs against nodes and owners that the test plays. Time is paused: it passes only when everybody waits.

use crate::support::{
    DEADLINE, Fixture, SHARDS, confirm, event, key, node, online, reached, reply, shard_of, user,
};
use broker::{Broker, Position, Topic};
use contracts::cluster::v1::{self, reply::Said as Reply, to_user::Said as ToUser};
use control::{Missing, Reached, TerminateOptions, VerbError};
use ids::ShardId;
use prost::Message as _;
use protocol::TerminationClose;
use protocol::http::Audience;
use std::time::Duration;
use termination::{Outcome, Selector, Termination};
use tokio::{join, time::Instant};

const START: Position = Position { memory: 0, number: 0 };

fn all() -> TerminateOptions {
    TerminateOptions { selector: Selector::All, close: None, reason: None }
}

/// The newest entry of the journal, as it comes.
async fn appended(broker: &dyn Broker, after: Position) -> (Position, Termination) {
    let entry = broker.read_journal(after).await.expect("journal").pop().expect("entry");
    let message = v1::Termination::decode(entry.entry).expect("termination");
    (entry.position, message.try_into().expect("termination"))
}

fn unavailable(missing: Missing) -> VerbError {
    VerbError::Unavailable { missing }
}

#[tokio::test(start_paused = true)]
async fn a_termination_is_complete_when_every_registered_node_has_confirmed() {
    let fixture = Fixture::new().await;
    for number in [1, 2] {
        fixture.broker.register(node(number)).await.expect("register");
    }
    let started = Instant::now();
    let nodes = async {
        let (_, termination) = appended(&*fixture.broker, START).await;
        let asker = termination.asker.bits();
        confirm(&*fixture.broker, termination.id.0, asker, 2, 0).await;
        confirm(&*fixture.broker, termination.id.0, asker, 1, 3).await;
        termination
    };
    let options = TerminateOptions {
        selector: Selector::Except(vec!["1.2".parse().expect("socket id")]),
        close: Some(TerminationClose::Stop),
        reason: Some("signed out".parse().expect("reason")),
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (outcome, termination) = join!(verbs.terminate(&fixture.app, &ada, options.clone()), nodes);
    let nodes = vec![(node(1), 3), (node(2), 0)];
    assert_eq!(outcome, Ok(Outcome { nodes, unconfirmed: vec![] }));
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody was waited for");
    assert_eq!(termination.user, key("ada"));
    assert_eq!(termination.selector, options.selector);
    assert_eq!(termination.close, TerminationClose::Stop);
    assert_eq!(termination.reason, "signed out");
    assert_eq!(fixture.metric("rollcall_control_terminations_total{complete=\"true\"}"), 1);
    assert_eq!(fixture.metric("rollcall_control_requests_total{verb=\"terminate\",outcome=\"ok\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_nodes_a_termination_is_complete_at_once() {
    let fixture = Fixture::new().await;
    let outcome = fixture.verbs().terminate(&fixture.app, &user("ada"), all()).await;
    assert_eq!(outcome, Ok(Outcome { nodes: vec![], unconfirmed: vec![] }));
    let (_, termination) = appended(&*fixture.broker, START).await;
    assert_eq!(termination.close, TerminationClose::Reconnect, "as the app's settings say");
    assert!(!termination.reason.is_empty(), "there is a standard text");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_confirms_is_asked_until_the_deadline_and_named() {
    let fixture = Fixture::new().await;
    for number in [1, 2] {
        fixture.broker.register(node(number)).await.expect("register");
    }
    let mut silent = fixture.listen([Topic::node(node(2))]).await;
    let mut prompt = fixture.listen([Topic::node(node(1))]).await;
    let started = Instant::now();
    let first_node = async {
        let (_, termination) = appended(&*fixture.broker, START).await;
        confirm(&*fixture.broker, termination.id.0, termination.asker.bits(), 1, 2).await;
        termination
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (outcome, termination) = join!(verbs.terminate(&fixture.app, &ada, all()), first_node);
    assert_eq!(outcome, Ok(Outcome { nodes: vec![(node(1), 2)], unconfirmed: vec![node(2)] }));
    assert_eq!(started.elapsed(), DEADLINE);
    let question = v1::ConfirmQuestion { termination: termination.id.0, asker: termination.asker.bits() };
    let asked: v1::ToNode = silent.next().await;
    assert_eq!(asked.said, Some(v1::to_node::Said::Confirm(question)));
    // At 250, 500 … 4 750 ms: 19 times, of which one has been looked at.
    assert_eq!(silent.waiting(), 18);
    assert_eq!(prompt.waiting(), 0, "who has confirmed is left alone");
    assert_eq!(fixture.metric("rollcall_control_terminations_total{complete=\"false\"}"), 1);
    assert_eq!(
        fixture.metric("rollcall_control_requests_total{verb=\"terminate\",outcome=\"incomplete\"}"),
        1
    );

    // The confirmation comes after all: too late for that answer, and no harm to the next.
    confirm(&*fixture.broker, termination.id.0, termination.asker.bits(), 2, 5).await;
    fixture.broker.leave(node(2)).await.expect("leave");
    let nodes = async {
        let (_, termination) = appended(&*fixture.broker, Position { memory: 0, number: 1 }).await;
        confirm(&*fixture.broker, termination.id.0, termination.asker.bits(), 1, 0).await;
    };
    let (outcome, ()) = join!(verbs.terminate(&fixture.app, &ada, all()), nodes);
    assert_eq!(outcome, Ok(Outcome { nodes: vec![(node(1), 0)], unconfirmed: vec![] }));
    assert_eq!(fixture.metric("rollcall_control_dropped_replies_total{why=\"late\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_got_lost_is_asked_for() {
    let fixture = Fixture::new().await;
    fixture.broker.register(node(1)).await.expect("register");
    let mut listener = fixture.listen([Topic::node(node(1))]).await;
    let started = Instant::now();
    let answers_the_third_time = async {
        for _ in 0..2 {
            let _: v1::ToNode = listener.next().await;
        }
        let v1::ToNode { said } = listener.next().await;
        let Some(v1::to_node::Said::Confirm(question)) = said else { panic!("{said:?}") };
        confirm(&*fixture.broker, question.termination, question.asker, 1, 7).await;
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (outcome, ()) = join!(verbs.terminate(&fixture.app, &ada, all()), answers_the_third_time);
    assert_eq!(outcome, Ok(Outcome { nodes: vec![(node(1), 7)], unconfirmed: vec![] }));
    assert_eq!(started.elapsed(), Duration::from_millis(750));
}

#[tokio::test(start_paused = true)]
async fn replies_that_fit_nothing_disturb_nothing() {
    let fixture = Fixture::new().await;
    let mut holder = fixture.listen([Topic::user(&key("ada"))]).await;
    let node_side = async {
        let asked: v1::ToUser = holder.next().await;
        let v1::Question { id, asker } = asked.question.expect("question");
        let broker = &*fixture.broker;
        reply(broker, asker, v1::Reply { question: id ^ 1, said: Some(reached(1, 9)) }).await;
        reply(broker, asker, v1::Reply { question: id, said: None }).await;
        reply(broker, asker, v1::Reply { question: id, said: Some(online(ShardId(0), true, &["ada"])) })
            .await;
        confirm(broker, id, asker, 1, 9).await;
        let replies = Topic::replies(ids::ProcessId::from_random(asker));
        broker.publish(replies, "not a message".into()).await.expect("publish");
        holder.answer(asked.question, reached(1, 2)).await;
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (answer, ()) = join!(verbs.send_to_user(&fixture.app, &ada, event("{}")), node_side);
    assert_eq!(answer, Ok(Reached { nodes: vec![(node(1), 2)], complete: true }));
    assert_eq!(fixture.metric("rollcall_control_dropped_replies_total{why=\"late\"}"), 2);
    assert_eq!(fixture.metric("rollcall_control_dropped_replies_total{why=\"invalid\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_user_says_whom_it_reached() {
    let fixture = Fixture::new().await;
    let topic = || [Topic::user(&key("ada"))];
    let (mut one, mut two) = (fixture.listen(topic()).await, fixture.listen(topic()).await);
    let started = Instant::now();
    let nodes = async {
        let asked: v1::ToUser = one.next().await;
        one.answer(asked.question, reached(1, 2)).await;
        one.answer(asked.question, reached(1, 2)).await;
        let asked: v1::ToUser = two.next().await;
        two.answer(asked.question, reached(2, 1)).await;
        asked.said
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let mut sent = event("{\"a\":1}");
    sent.except = Some("1.2".parse().expect("socket id"));
    let (answer, said) = join!(verbs.send_to_user(&fixture.app, &ada, sent), nodes);
    let answer = answer.expect("reached");
    assert_eq!(answer, Reached { nodes: vec![(node(1), 2), (node(2), 1)], complete: true });
    assert_eq!(answer.connections(), 3, "a repeated reply counts once");
    assert_eq!(started.elapsed(), Duration::ZERO);
    let (name, data) = ("hello".into(), "{\"a\":1}".into());
    assert_eq!(said, Some(ToUser::Event(v1::Event { name, data, except_socket_id: "1.2".into() })));
    assert_eq!(fixture.metric("rollcall_control_events_total{audience=\"user\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_makes_the_answer_incomplete_after_a_second() {
    let fixture = Fixture::new().await;
    let topic = || [Topic::user(&key("ada"))];
    let (mut one, _silent) = (fixture.listen(topic()).await, fixture.listen(topic()).await);
    let started = Instant::now();
    let node_side = async {
        let asked: v1::ToUser = one.next().await;
        one.answer(asked.question, reached(1, 2)).await;
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (answer, ()) = join!(verbs.send_to_user(&fixture.app, &ada, event("{}")), node_side);
    assert_eq!(answer, Ok(Reached { nodes: vec![(node(1), 2)], complete: false }));
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_event_for_nobody_is_answered_at_once() {
    let fixture = Fixture::new().await;
    let started = Instant::now();
    let answer = fixture.verbs().send_to_user(&fixture.app, &user("ada"), event("{}")).await;
    assert_eq!(answer, Ok(Reached { nodes: vec![], complete: true }));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_with_the_selector_and_appends_nothing() {
    let fixture = Fixture::new().await;
    let mut holder = fixture.listen([Topic::user(&key("ada"))]).await;
    let node_side = async {
        let asked: v1::ToUser = holder.next().await;
        holder.answer(asked.question, reached(1, 4)).await;
        asked.said
    };
    let verbs = fixture.verbs();
    let (ada, selector) = (user("ada"), Selector::Only(vec!["1.2".parse().expect("socket id")]));
    let (answer, said) = join!(verbs.count_connections(&fixture.app, &ada, &selector), node_side);
    assert_eq!(answer, Ok(Reached { nodes: vec![(node(1), 4)], complete: true }));
    let count = v1::CountConnections { selector: Some((&selector).into()) };
    assert_eq!(said, Some(ToUser::CountConnections(count)));
    let end = fixture.broker.register(node(1)).await.expect("register");
    assert_eq!(end, START);
}

#[tokio::test(start_paused = true)]
async fn a_published_event_goes_to_its_audience_only() {
    let fixture = Fixture::new().await;
    let news = "news".parse().expect("channel name");
    let mut channel = fixture.listen([Topic::channel(&fixture.app.id, &news)]).await;
    let mut ada = fixture.listen([Topic::user(&key("ada"))]).await;
    let mut bob = fixture.listen([Topic::user(&key("bob"))]).await;
    let verbs = fixture.verbs();
    let sent = v1::Event { name: "hello".into(), data: "x".into(), except_socket_id: String::new() };
    for (audience, at) in [(Audience::Channel(news), 0), (Audience::User(user("ada")), 1)] {
        verbs.publish(&fixture.app, audience, event("x")).await.expect("published");
        if at == 0 {
            let message: v1::ToChannel = channel.next().await;
            assert_eq!(message.event, Some(sent.clone()));
        } else {
            let message: v1::ToUser = ada.next().await;
            assert_eq!(message, v1::ToUser { question: None, said: Some(ToUser::Event(sent.clone())) });
        }
    }
    assert_eq!([channel.waiting(), ada.waiting(), bob.waiting()], [0; 3]);
    assert_eq!(fixture.metric("rollcall_control_events_total{audience=\"channel\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_broker_every_verb_is_unavailable() {
    let fixture = Fixture::new().await;
    fixture.broker.go_away();
    let (verbs, app, ada) = (fixture.verbs(), &fixture.app, user("ada"));
    let missing = || unavailable(Missing::Broker);
    assert_eq!(verbs.publish(app, Audience::User(ada.clone()), event("")).await, Err(missing()));
    assert_eq!(verbs.send_to_user(app, &ada, event("")).await, Err(missing()));
    assert_eq!(verbs.terminate(app, &ada, all()).await, Err(missing()));
    assert_eq!(verbs.count_connections(app, &ada, &Selector::All).await, Err(missing()));
    assert_eq!(verbs.user(app, &ada).await, Err(missing()));
    assert_eq!(verbs.users(app, &[ada]).await, Err(missing()));
    assert_eq!(verbs.online_users(app, None, 10).await, Err(missing()));
    assert_eq!(
        fixture.metric("rollcall_control_requests_total{verb=\"terminate\",outcome=\"unavailable\"}"),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_is_what_the_owner_and_the_nodes_say_together() {
    let fixture = Fixture::new().await;
    let mut owner = fixture.listen([Topic::shard(shard_of("ada"))]).await;
    let mut holder = fixture.listen([Topic::user(&key("ada"))]).await;
    let owner_side = async {
        let asked: v1::ToShard = owner.next().await;
        let Some(v1::to_shard::Said::Question(question)) = asked.said else { panic!("{asked:?}") };
        let look_up = v1::LookUp { app: "1".into(), users: vec!["ada".into()] };
        assert_eq!(question.asked, Some(v1::shard_question::Asked::LookUp(look_up)));
        owner.answer(question.question, online(shard_of("ada"), true, &["ada"])).await;
    };
    let node_side = async {
        let asked: v1::ToUser = holder.next().await;
        assert_eq!(asked.said, Some(ToUser::ListConnections(v1::ListConnections {})));
        let connection = |socket_id: &str| v1::Connection {
            socket_id: socket_id.into(),
            client: "js 8.6.0".into(),
            signed_in_at_ms: 1_500,
            address: "192.0.2.1:4711".into(),
        };
        let connections = vec![connection("9.9"), connection("1.2")];
        holder.answer(asked.question, Reply::Connections(v1::Connections { node: 7, connections })).await;
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (view, (), ()) = join!(verbs.user(&fixture.app, &ada), owner_side, node_side);
    let view = view.expect("view");
    assert!(view.online);
    assert_eq!(view.nodes, [node(1), node(7)]);
    let sockets: Vec<_> = view.connections.iter().map(|connection| connection.socket.to_string()).collect();
    assert_eq!(sockets, ["1.2", "9.9"]);
    assert_eq!(view.connections[0].node, node(7));
    assert_eq!(view.connections[0].client, "js 8.6.0");
    let signed_in_at = view.connections[0].signed_in_at;
    assert_eq!(signed_in_at, std::time::UNIX_EPOCH + Duration::from_millis(1_500));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_list_its_connections_leaves_the_user_unknown() {
    let fixture = Fixture::new().await;
    let mut owner = fixture.listen([Topic::shard(shard_of("ada"))]).await;
    let _silent = fixture.listen([Topic::user(&key("ada"))]).await;
    let owner_side = async {
        let asked: v1::ToShard = owner.next().await;
        let Some(v1::to_shard::Said::Question(question)) = asked.said else { panic!("{asked:?}") };
        owner.answer(question.question, online(shard_of("ada"), true, &["ada"])).await;
    };
    let verbs = fixture.verbs();
    let ada = user("ada");
    let (view, ()) = join!(verbs.user(&fixture.app, &ada), owner_side);
    assert_eq!(view, Err(unavailable(Missing::Nodes(1))));
}

#[tokio::test(start_paused = true)]
async fn while_a_shard_has_no_owner_its_users_are_unknown() {
    let fixture = Fixture::new().await;
    let started = Instant::now();
    let missing = || Err(unavailable(Missing::Owners(vec![shard_of("ada")])));
    assert_eq!(fixture.verbs().user(&fixture.app, &user("ada")).await.map(|_| ()), missing());
    assert_eq!(fixture.verbs().users(&fixture.app, &[user("ada")]).await.map(|_| ()), missing());
    assert_eq!(started.elapsed(), Duration::from_secs(2), "a second each");
    assert_eq!(fixture.verbs().users(&fixture.app, &[]).await, Ok(vec![]));
    let every = Missing::Owners((0..SHARDS).map(ShardId).collect());
    assert_eq!(fixture.verbs().online_users(&fixture.app, None, 1).await, Err(unavailable(every)));
}

#[tokio::test(start_paused = true)]
async fn who_is_online_is_asked_of_every_shard_and_paged_in_byte_order() {
    let fixture = Fixture::new().await;
    let mut owners = fixture.listen((0..SHARDS).map(|shard| Topic::shard(ShardId(shard)))).await;
    let owner_side = async {
        // The topic of each question is not looked at: the questions come in the order of the shards.
        for (shard, users) in [["b", "f"], ["c", "g"], ["d", "h"], ["e", "i"]].into_iter().enumerate() {
            let asked: v1::ToShard = owners.next().await;
            let Some(v1::to_shard::Said::Question(question)) = asked.said else { panic!("{asked:?}") };
            let page = v1::OnlineUsers { app: "1".into(), cursor: "a".into(), limit: 3 };
            assert_eq!(question.asked, Some(v1::shard_question::Asked::Online(page)));
            owners.answer(question.question, online(ShardId(shard as u16), true, &users)).await;
        }
    };
    let verbs = fixture.verbs();
    let after = user("a");
    let (page, ()) = join!(verbs.online_users(&fixture.app, Some(&after), 3), owner_side);
    assert_eq!(page, Ok(vec![user("b"), user("c"), user("d")]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    let mut holder = fixture.listen([Topic::user(&key("ada"))]).await;
    let verbs = fixture.verbs();
    let ada = user("ada");
    let asked: v1::ToUser = tokio::select! {
        answer = verbs.send_to_user(&fixture.app, &ada, event("{}")) => panic!("{answer:?}"),
        asked = holder.next() => asked,
    };
    holder.answer(asked.question, reached(1, 1)).await;
    // Behind it on the same topic: when this one is answered, that one has been dropped.
    let node_side = async {
        let asked: v1::ToUser = holder.next().await;
        holder.answer(asked.question, reached(1, 1)).await;
    };
    let (answer, ()) = join!(verbs.send_to_user(&fixture.app, &ada, event("{}")), node_side);
    assert!(answer.is_ok_and(|reached| reached.complete));
    assert_eq!(fixture.metric("rollcall_control_dropped_replies_total{why=\"late\"}"), 1);
}
