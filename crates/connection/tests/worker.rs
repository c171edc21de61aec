//! The worker's rules, each shown from outside: frames in, frames out.

use bytes::Bytes;
use connection::{ConnectionId, Effect, Opening, Reading, SignIns, Timing, Wanted, Wish, Worker};
use ids::{ProcessId, ShardId, Shards, SocketId, UserKey};
use protocol::{App, Close, CloseCode, Secret, TerminationClose, connect::Hello, signature, websocket};
use serde_json::{Value, json};
use std::{
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};
use termination::{Selector, Termination, TerminationId};

const TIMING: Timing = Timing {
    activity_timeout: Duration::from_secs(120),
    sign_in_deadline: Duration::from_secs(10),
    frame_interval: Duration::from_millis(10),
};

/// A worker, its effects, and a node that confirms when it is told to.
struct Bench {
    worker: Worker,
    app: Arc<App>,
    now: Instant,
    effects: Vec<Effect>,
    asked: Vec<(Wish, u64)>,
    sockets: u64,
}

fn app() -> App {
    App::new("1".parse().expect("id"), "app-key".parse().expect("key"), Secret::new("app-secret"))
}

fn user(id: &str) -> UserKey {
    UserKey { app: "1".parse().expect("app id"), user: id.parse().expect("user id") }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(app())
    }

    fn with(app: App) -> Bench {
        let shards = Shards::new(NonZeroU16::new(16).expect("not zero"));
        let mut worker = Worker::new(TIMING, shards);
        shards.iter().for_each(|shard| worker.owner_heard(shard, true, &mut Vec::new()));
        let now = Instant::now() + Duration::from_secs(1000);
        Bench { worker, app: Arc::new(app), now, effects: Vec::new(), asked: Vec::new(), sockets: 0 }
    }

    fn socket(id: ConnectionId) -> SocketId {
        format!("1.{id}").parse().expect("socket id")
    }

    /// Opens a connection and drops the first frame. Its socket id ends in its connection id.
    fn open(&mut self) -> ConnectionId {
        self.open_as("protocol=7&client=js&version=8.6.0")
    }

    fn open_as(&mut self, query: &str) -> ConnectionId {
        let client = Hello::parse(query, false).expect("a valid query").client;
        let socket = Bench::socket(self.worker.sizes().0);
        self.sockets += 1;
        let address = "127.0.0.1:1".parse().expect("address");
        let opening = Opening { app: Arc::clone(&self.app), socket, address, client };
        let id = self.worker.open(opening, self.now, &mut self.effects);
        assert_eq!(Bench::socket(id), socket, "connections of this bench stay open");
        self.effects.clear();
        id
    }

    fn say(&mut self, id: ConnectionId, frame: Value) {
        self.worker.text(id, frame.to_string(), self.now, &mut self.effects);
    }

    fn sign_in(&mut self, id: ConnectionId, user_data: &Value) {
        let user_data = user_data.to_string();
        let proof = signature::sign_in(&self.app.secret, Bench::socket(id), &user_data);
        let auth = format!("app-key:{proof}");
        self.say(id, json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}));
    }

    /// Signs in, and confirms.
    fn signed_in(&mut self, id: ConnectionId, user_data: &Value) {
        self.sign_in(id, user_data);
        self.confirm();
    }

    fn collect(&mut self) -> Vec<Wish> {
        let wishes = self.worker.take_wishes();
        let asked = wishes.iter().filter_map(|(wish, wanted)| match wanted {
            Wanted::Yes { ticket } => Some((wish.clone(), *ticket)),
            Wanted::No { .. } => None,
        });
        self.asked.extend(asked);
        wishes.into_iter().map(|(wish, _)| wish).collect()
    }

    /// The node has done all that was asked of it.
    fn confirm(&mut self) {
        self.collect();
        for (wish, ticket) in std::mem::take(&mut self.asked) {
            match wish {
                Wish::User(key) => self.worker.user_confirmed(&key, ticket, self.now, &mut self.effects),
                Wish::Channel(app, channel) => {
                    self.worker.channel_confirmed(&app, &channel, ticket, &mut self.effects);
                }
                Wish::Watch(_) => {}
            }
        }
    }

    fn levels(&mut self, levels: &[(&str, bool)]) {
        let levels: Vec<_> = levels.iter().map(|(id, online)| (user(id), *online)).collect();
        self.worker.levels(&levels, &mut self.effects);
    }

    fn terminate(&mut self, id: &str, selector: Selector) -> u32 {
        let termination = Termination {
            id: TerminationId(7),
            asker: ProcessId::from_random(1),
            user: user(id),
            selector,
            close: TerminationClose::Reconnect,
            reason: "bye".to_owned(),
        };
        self.worker.terminate(&Arc::new(termination), &mut self.effects)
    }

    fn wait(&mut self, id: ConnectionId, time: Duration) {
        self.now += time;
        self.worker.timeout(id, self.now, &mut self.effects);
    }

    /// What has been sent since the last call: to whom, and a short form of it.
    fn sent(&mut self) -> Vec<(ConnectionId, String)> {
        let effects = std::mem::take(&mut self.effects);
        effects.into_iter().map(|effect| short(&effect)).collect()
    }
}

fn short(effect: &Effect) -> (ConnectionId, String) {
    match effect {
        Effect::Send { to, frame } if *frame == websocket::ping() => (*to, "PING".to_owned()),
        Effect::Send { to, frame } => (*to, short_frame(frame)),
        Effect::Close { connection, close, flush, .. } => {
            let flush = if *flush { "" } else { " at once" };
            (*connection, format!("close {}{flush}", close.code.number()))
        }
        Effect::Discard { connection } => (*connection, "discard".to_owned()),
        Effect::WatchlistIgnored { connection, .. } => (*connection, "watchlist ignored".to_owned()),
        Effect::Publish { channel, event, data, .. } => {
            (usize::MAX, format!("publish {channel} {event} {data}"))
        }
    }
}

fn short_frame(frame: &Bytes) -> String {
    let start = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let frame: Value = serde_json::from_slice(&frame[start..]).expect("JSON");
    let event = frame["event"].as_str().expect("an event");
    let data = match &frame["data"] {
        Value::String(json) => serde_json::from_str(json).unwrap_or_else(|_| json!(json)),
        data => data.clone(),
    };
    match event {
        "pusher:error" => format!("error {}", data["code"]),
        "pusher:signin_success" => "success".to_owned(),
        "pusher_internal:subscription_succeeded" => {
            format!("joined {}", frame["channel"].as_str().expect("channel"))
        }
        "pusher:subscription_error" => format!("not joined {} {}", data["type"], data["status"]),
        "pusher_internal:watchlist_events" => {
            let entry = |entry: &Value| {
                let users: Vec<_> = entry["user_ids"]
                    .as_array()
                    .expect("ids")
                    .iter()
                    .map(|id| id.as_str().expect("a string"))
                    .collect();
                format!("{} {}", entry["name"].as_str().expect("a name"), users.join(","))
            };
            let entries: Vec<_> = data["events"].as_array().expect("events").iter().map(entry).collect();
            assert!(frame.get("channel").is_none(), "clients would look for a channel");
            entries.join("; ")
        }
        event => event.to_owned(),
    }
}

fn to(id: ConnectionId, what: &[&str]) -> Vec<(ConnectionId, String)> {
    what.iter().map(|what| (id, (*what).to_owned())).collect()
}

#[test]
fn success_is_said_when_the_routes_are_live_and_not_before() {
    let mut bench = Bench::new();
    let (first, second) = (bench.open(), bench.open());
    bench.sign_in(first, &json!({"id": "ada"}));
    bench.sign_in(second, &json!({"id": "ada"}));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.collect(), [Wish::User(user("ada"))], "one question for both");
    let frame = websocket::text(r#"{"event":"x","data":""}"#);
    assert_eq!(
        bench.worker.user_event(&user("ada"), &frame, None, &mut bench.effects),
        0,
        "nothing was promised"
    );
    bench.confirm();
    assert_eq!(bench.sent(), [to(first, &["success"]), to(second, &["success"])].concat());
    let third = bench.open();
    bench.sign_in(third, &json!({"id": "ada"}));
    assert_eq!(bench.sent(), to(third, &["success"]), "the routes are live already");
}

#[test]
fn an_answer_to_an_earlier_question_confirms_nothing() {
    let mut bench = Bench::new();
    let first = bench.open();
    bench.sign_in(first, &json!({"id": "ada"}));
    bench.collect();
    let early = bench.asked.clone();
    bench.worker.close(first, Close::new(CloseCode::OverCapacity, ""), &mut bench.effects);
    let second = bench.open();
    bench.sign_in(second, &json!({"id": "ada"}));
    bench.sent();
    let (Wish::User(key), ticket) = &early[0] else { panic!("a user") };
    bench.worker.user_confirmed(key, *ticket, bench.now, &mut bench.effects);
    assert_eq!(bench.sent(), []);
    bench.confirm();
    assert_eq!(bench.sent(), to(second, &["success"]));
}

#[test]
fn a_sign_in_that_is_not_confirmed_in_time_closes() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.sign_in(id, &json!({"id": "ada"}));
    assert_eq!(bench.worker.deadline(id), Some(bench.now + Duration::from_secs(10)));
    bench.wait(id, Duration::from_secs(10));
    assert_eq!(bench.sent(), to(id, &["close 4100"]));
    bench.confirm();
    assert_eq!(bench.sent(), [], "too late");
}

#[test]
fn frames_wait_for_the_sign_in_before_them() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.sign_in(id, &json!({"id": "ada"}));
    bench.say(id, json!({"event": "pusher:ping", "data": {}}));
    bench.say(id, json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-ada"}}));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.worker.reading(id, bench.now), Reading::Now);
    bench.worker.text(id, " ".repeat(20_000), bench.now, &mut bench.effects);
    assert_eq!(bench.worker.reading(id, bench.now), Reading::Blocked, "enough of them wait");
    bench.confirm();
    assert_eq!(bench.sent(), to(id, &["success", "pusher:pong", "joined #server-to-user-ada", "error null"]));
    assert_eq!(bench.worker.reading(id, bench.now), Reading::Now);
}

#[test]
fn signing_in_again_is_for_the_same_user_only() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.signed_in(id, &json!({"id": "ada", "watchlist": ["bob", "eve"]}));
    bench.levels(&[("bob", true), ("eve", false)]);
    assert_eq!(bench.sent(), to(id, &["success", "offline eve; online bob"]));
    bench.sign_in(id, &json!({"id": "eve"}));
    assert_eq!(bench.sent(), to(id, &["error 4009"]));
    assert_eq!(bench.worker.signed_in(&user("ada")).len(), 1, "the first identity is kept");
    bench.collect();
    bench.sign_in(id, &json!({"id": "ada", "watchlist": ["eve", "zoe"]}));
    assert_eq!(bench.sent(), to(id, &["success"]), "zoe's level is not known");
    assert_eq!(bench.collect(), [Wish::Watch(user("zoe")), Wish::Watch(user("bob"))]);
    bench.levels(&[("zoe", true), ("bob", false)]);
    assert_eq!(bench.sent(), to(id, &["offline eve; online zoe"]), "bob is not watched any more");
    assert_eq!(bench.worker.sizes(), (1, 1, 2));
}

#[test]
fn ten_failed_sign_ins_close() {
    let mut bench = Bench::new();
    let id = bench.open();
    let forged = json!({"event": "pusher:signin", "data": {"auth": format!("app-key:{}", "0".repeat(64)), "user_data": "{\"id\":\"ada\"}"}});
    for _ in 0..9 {
        bench.say(id, forged.clone());
    }
    assert_eq!(bench.sent(), to(id, &["error 4009"; 9]));
    bench.say(id, forged);
    assert_eq!(bench.sent(), to(id, &["error 4009", "close 4009"]));
}

#[test]
fn an_event_for_a_user_reaches_that_users_connections_once_each() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..3).map(|_| bench.open()).collect();
    bench.signed_in(ids[0], &json!({"id": "ada"}));
    bench.signed_in(ids[1], &json!({"id": "ada"}));
    bench.signed_in(ids[2], &json!({"id": "bob"}));
    bench.say(
        ids[0],
        json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-ada", "auth": ""}}),
    );
    bench.sent();
    let frame = websocket::text(r#"{"event":"hello","data":""}"#);
    assert_eq!(bench.worker.user_event(&user("ada"), &frame, None, &mut bench.effects), 2);
    assert_eq!(bench.sent(), [to(ids[0], &["hello"]), to(ids[1], &["hello"])].concat());
    let except = Some(Bench::socket(ids[0]));
    assert_eq!(bench.worker.user_event(&user("ada"), &frame, except, &mut bench.effects), 1);
    assert_eq!(bench.sent(), to(ids[1], &["hello"]));
}

#[test]
fn only_the_user_may_subscribe_to_the_users_channel() {
    let mut bench = Bench::new();
    let id = bench.open();
    let subscribe = |bench: &mut Bench, channel: &str| {
        bench.say(id, json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": ""}}));
        bench.sent()
    };
    let forbidden = to(id, &["not joined \"AuthError\" 403", "error 4009"]);
    let invalid = to(id, &["not joined \"InvalidChannel\" 400", "error null"]);
    assert_eq!(subscribe(&mut bench, "#server-to-user-ada"), forbidden, "not signed in");
    bench.signed_in(id, &json!({"id": "ada"}));
    bench.sent();
    assert_eq!(subscribe(&mut bench, "#server-to-user-ada"), to(id, &["joined #server-to-user-ada"]));
    assert_eq!(
        subscribe(&mut bench, "#server-to-user-ada"),
        to(id, &["joined #server-to-user-ada"]),
        "again"
    );
    for other in ["bob", "ADA", "ada ", " ada", "", "#server-to-user-ada", "%61da"] {
        assert_eq!(subscribe(&mut bench, &format!("#server-to-user-{other}")), forbidden, "{other:?}");
    }
    for other in ["#", "#ada", "#server-to-users-ada", ":user::{\"id\":\"ada\"}", "", "a b"] {
        assert_eq!(subscribe(&mut bench, other), invalid, "{other:?}");
    }
}

#[test]
fn a_private_channel_needs_a_signature_for_this_socket() {
    let mut bench = Bench::new();
    let (id, other) = (bench.open(), bench.open());
    let channel = "private-x".parse().expect("a channel");
    let auth =
        |id| format!("app-key:{}", signature::subscribe(&app().secret, Bench::socket(id), &channel, None));
    let subscribe = |bench: &mut Bench, auth: Value| {
        bench.say(id, json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": auth}}));
    };
    for refused in [json!(null), json!(""), json!(7), json!(auth(other)), json!("app-key:00")] {
        subscribe(&mut bench, refused);
        assert_eq!(bench.sent(), to(id, &["not joined \"AuthError\" 401", "error 4009"]));
    }
    subscribe(&mut bench, json!(auth(id)));
    subscribe(&mut bench, json!(auth(id)));
    assert_eq!(bench.sent(), []);
    bench.confirm();
    assert_eq!(bench.sent(), to(id, &["joined private-x"]));
    subscribe(&mut bench, json!(auth(id)));
    assert_eq!(bench.sent(), to(id, &["joined private-x"]), "acknowledged again");
    bench.say(id, json!({"event": "pusher:unsubscribe", "data": {"channel": "private-x"}}));
    bench.say(id, json!({"event": "pusher:unsubscribe", "data": {"channel": "private-x"}}));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.collect().len(), 1, "nobody is left");
}

#[test]
fn other_kinds_of_channel_are_refused_clearly() {
    let mut bench = Bench::new();
    let id = bench.open();
    for channel in ["presence-x", "private-encrypted-x", "cache-x", "private-cache-x", "presence-cache-x"] {
        bench.say(
            id,
            json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": "app-key:00"}}),
        );
        assert_eq!(bench.sent(), to(id, &["not joined \"InvalidChannel\" 400", "error null"]), "{channel}");
    }
}

#[test]
fn a_snapshot_waits_for_levels_half_a_second_and_no_longer() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.signed_in(id, &json!({"id": "ada", "watchlist": ["ada", "bob", "eve", "zoe"]}));
    bench.levels(&[("bob", true)]);
    bench.levels(&[("eve", false)]);
    assert_eq!(bench.sent(), to(id, &["success"]));
    bench.wait(id, Duration::from_millis(500));
    assert_eq!(bench.sent(), to(id, &["offline eve; online ada,bob"]), "its own id is online");
    bench.levels(&[("zoe", false)]);
    assert_eq!(bench.sent(), to(id, &["offline zoe"]), "what was unknown follows as an ordinary event");
    bench.levels(&[("zoe", false), ("bob", true)]);
    assert_eq!(bench.sent(), [], "nothing is said twice");
    bench.levels(&[("zoe", true), ("bob", false)]);
    assert_eq!(bench.sent(), to(id, &["offline bob; online zoe"]));
}

#[test]
fn there_and_back_within_one_batch_is_two_frames() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.signed_in(id, &json!({"id": "ada", "watchlist": ["bob"]}));
    bench.levels(&[("bob", false)]);
    bench.sent();
    bench.levels(&[("bob", true), ("bob", false), ("bob", true)]);
    assert_eq!(bench.sent(), to(id, &["online bob", "offline bob", "online bob"]));
}

#[test]
fn without_a_levels_owner_a_snapshot_names_the_online_only() {
    let mut bench = Bench::new();
    let (first, second) = (bench.open(), bench.open());
    bench.signed_in(first, &json!({"id": "ada", "watchlist": ["bob", "eve"]}));
    bench.levels(&[("bob", true), ("eve", false)]);
    bench.sent();
    let all = (0..16).map(ShardId);
    all.clone().for_each(|shard| bench.worker.owner_heard(shard, false, &mut bench.effects));
    bench.signed_in(second, &json!({"id": "ada", "watchlist": ["bob", "eve"]}));
    assert_eq!(bench.sent(), to(second, &["success", "online bob"]));
    all.for_each(|shard| bench.worker.owner_heard(shard, true, &mut bench.effects));
    assert_eq!(bench.sent(), to(second, &["offline eve"]), "said when the owner is heard again");
}

#[test]
fn a_watchlist_is_cut_before_success_is_said() {
    let mut app = app();
    app.watchlist_limit = 2;
    let mut bench = Bench::with(app);
    let id = bench.open();
    bench.signed_in(id, &json!({"id": "ada", "watchlist": ["a", "b", "a", "c"]}));
    assert_eq!(bench.sent(), to(id, &["error 4302", "success"]));
    bench.levels(&[("a", true), ("b", true), ("c", true)]);
    assert_eq!(bench.sent(), to(id, &["online a,b"]));
}

#[test]
fn a_watchlist_of_another_type_does_not_fail_the_sign_in() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.signed_in(id, &json!({"id": "ada", "watchlist": "bob"}));
    assert_eq!(bench.sent(), to(id, &["watchlist ignored", "success"]));
    assert_eq!(bench.worker.sizes(), (1, 1, 0));
}

#[test]
fn without_watchlist_events_nobody_is_told_anything() {
    let mut app = app();
    (app.watchlist_events, app.watchlist_limit) = (false, 1);
    let mut bench = Bench::with(app);
    let id = bench.open();
    bench.sign_in(id, &json!({"id": "ada", "watchlist": ["a", "b", "ada"]}));
    assert_eq!(bench.collect(), [Wish::User(user("ada"))]);
    bench.confirm();
    bench.wait(id, Duration::from_secs(1));
    assert_eq!(bench.sent(), to(id, &["success"]));
}

#[test]
fn a_termination_closes_who_is_signed_in_or_signing_in_and_fences_who_was_open() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..4).map(|_| bench.open()).collect();
    bench.signed_in(ids[0], &json!({"id": "ada"}));
    bench.signed_in(ids[3], &json!({"id": "bob"}));
    bench.sent();
    // One more that is signing in while the route is not live.
    bench.worker.close(ids[0], Close::new(CloseCode::OverCapacity, ""), &mut bench.effects);
    bench.sign_in(ids[1], &json!({"id": "ada"}));
    bench.sent();
    assert_eq!(bench.worker.count(&user("ada"), &Selector::All), 1);
    assert_eq!(bench.terminate("ada", Selector::All), 1);
    assert_eq!(bench.sent(), [to(ids[0], &["discard"]), to(ids[1], &["close 4200 at once"])].concat());
    bench.confirm();
    assert_eq!(bench.sent(), [], "a closed connection does not sign in");
    bench.sign_in(ids[2], &json!({"id": "ada"}));
    assert_eq!(bench.sent(), to(ids[2], &["close 4200"]), "opened before: an old token");
    let newer = bench.open();
    bench.signed_in(newer, &json!({"id": "ada"}));
    assert_eq!(bench.sent(), to(newer, &["success"]), "opened after");
    assert_eq!(bench.worker.signed_in(&user("bob")).len(), 1, "nobody else is concerned");
    assert_eq!(bench.worker.sign_ins(), SignIns { succeeded: 3, fenced: 1, ..SignIns::default() });
}

#[test]
fn a_termination_spares_or_means_single_sockets() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..3).map(|_| bench.open()).collect();
    ids.iter().for_each(|id| bench.signed_in(*id, &json!({"id": "ada"})));
    bench.sent();
    assert_eq!(bench.terminate("ada", Selector::Only(vec![Bench::socket(ids[0])])), 1);
    assert_eq!(bench.terminate("ada", Selector::Except(vec![Bench::socket(ids[1])])), 1);
    assert_eq!(
        bench.sent(),
        [to(ids[0], &["close 4200 at once"]), to(ids[2], &["close 4200 at once"])].concat()
    );
    assert_eq!(bench.worker.signed_in(&user("ada")).len(), 1);
}

#[test]
fn a_grace_is_asked_for_unless_the_user_was_terminated() {
    let mut app = app();
    app.watchlist_offline_grace = Duration::from_secs(3);
    let mut bench = Bench::with(app);
    let ids = ["ada", "bob", "eve"].map(|name| {
        let id = bench.open();
        bench.signed_in(id, &json!({"id": name}));
        id
    });
    for closed in [ids[0], ids[2]] {
        bench.worker.close(closed, Close::new(CloseCode::OverCapacity, ""), &mut bench.effects);
    }
    bench.terminate("bob", Selector::All);
    bench.terminate("eve", Selector::All); // who has just gone by herself
    let wanted: Vec<_> = bench.worker.take_wishes().into_iter().map(|(_, wanted)| wanted).collect();
    let no = |seconds| Wanted::No { grace: Duration::from_secs(seconds) };
    assert_eq!(wanted, [no(3), no(0), no(0)], "ada, eve, bob");
}

#[test]
fn silence_is_pinged_and_then_closed() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.wait(id, Duration::from_secs(119));
    assert_eq!(bench.sent(), []);
    bench.wait(id, Duration::from_secs(1));
    assert_eq!(bench.sent(), to(id, &["PING"]));
    bench.wait(id, Duration::from_secs(29));
    assert_eq!(bench.sent(), []);
    bench.worker.heard(id, bench.now);
    bench.wait(id, Duration::from_secs(120));
    assert_eq!(bench.sent(), to(id, &["PING"]), "a pong starts it anew");
    bench.wait(id, Duration::from_secs(30));
    assert_eq!(bench.sent(), to(id, &["close 4201"]));
    assert_eq!(bench.worker.deadline(id), None);
}

#[test]
fn an_authorized_connection_must_sign_in_or_join_a_private_channel_in_time() {
    let mut app = app();
    app.authorization_timeout = Some(Duration::from_secs(30));
    let mut bench = Bench::with(app);
    let ids: Vec<_> = (0..3).map(|_| bench.open()).collect();
    bench.signed_in(ids[0], &json!({"id": "ada"}));
    let channel = "private-x".parse().expect("a channel");
    let auth =
        format!("app-key:{}", signature::subscribe(&bench.app.secret, Bench::socket(ids[1]), &channel, None));
    bench.say(ids[1], json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": auth}}));
    bench.say(ids[2], json!({"event": "pusher:subscribe", "data": {"channel": "public"}}));
    bench.confirm();
    bench.sent();
    bench.now += Duration::from_secs(30);
    ids.iter().for_each(|id| bench.worker.timeout(*id, bench.now, &mut bench.effects));
    assert_eq!(bench.sent(), to(ids[2], &["close 4009"]));
}

#[test]
fn a_sign_in_under_way_outlives_the_time_to_authorize() {
    let mut app = app();
    app.authorization_timeout = Some(Duration::from_secs(1));
    let mut bench = Bench::with(app);
    let id = bench.open();
    bench.sign_in(id, &json!({"id": "ada"}));
    bench.wait(id, Duration::from_secs(1));
    assert_eq!(bench.sent(), []);
    let deadline = bench.worker.deadline(id).expect("a deadline");
    assert!(deadline > bench.now, "a deadline that passed and stayed would keep the timer going off");
    bench.confirm();
    assert_eq!(bench.sent(), to(id, &["success"]));
}

#[test]
fn client_events_have_their_conditions() {
    let mut app = app();
    app.client_events = true;
    let mut bench = Bench::with(app);
    let id = bench.open();
    let channel = "private-x".parse().expect("a channel");
    let auth =
        format!("app-key:{}", signature::subscribe(&bench.app.secret, Bench::socket(id), &channel, None));
    let event = |channel: &str| json!({"event": "client-typing", "channel": channel, "data": {"a": 1}, "user_id": "forged"});
    bench.say(id, event("private-x"));
    assert_eq!(bench.sent(), to(id, &["error null"]), "not subscribed");
    bench.say(id, json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": auth}}));
    bench.say(id, json!({"event": "pusher:subscribe", "data": {"channel": "public"}}));
    bench.confirm();
    bench.sent();
    bench.say(id, event("public"));
    assert_eq!(bench.sent(), to(id, &["error null"]));
    for _ in 0..10 {
        bench.say(id, event("private-x"));
    }
    assert_eq!(bench.sent(), to(usize::MAX, &[r#"publish private-x client-typing {"a":1}"#; 10]));
    bench.say(id, event("private-x"));
    assert_eq!(bench.sent(), to(id, &["error 4301"]), "the eleventh within a second");
    bench.now += Duration::from_millis(100);
    bench.say(id, json!({"event": "client-x", "channel": "private-x", "data": "x".repeat(10_241)}));
    assert_eq!(bench.sent(), to(id, &["error null"]));
    let mut off = Bench::new();
    let id = off.open();
    off.say(id, event("private-x"));
    assert_eq!(off.sent(), to(id, &["error 4301"]), "turned off");
}

#[test]
fn a_client_that_sends_too_fast_is_not_read_for_a_while() {
    let mut bench = Bench::new();
    let id = bench.open();
    for _ in 0..200 {
        assert_eq!(bench.worker.reading(id, bench.now), Reading::Now);
        bench.say(id, json!({"event": "pusher:pong"}));
    }
    bench.say(id, json!({"event": "pusher:pong"}));
    assert_eq!(bench.worker.reading(id, bench.now), Reading::At(bench.now + Duration::from_millis(10)));
    assert_eq!(bench.sent(), [], "without an error");
}

#[test]
fn binary_and_control_frames_count_towards_the_limit() {
    let mut bench = Bench::new();
    let [pings, binary] = [bench.open(), bench.open()];
    for _ in 0..=200 {
        bench.worker.heard(pings, bench.now);
        bench.worker.binary(binary, bench.now, &mut bench.effects);
    }
    let later = Reading::At(bench.now + Duration::from_millis(10));
    assert_eq!([pings, binary].map(|id| bench.worker.reading(id, bench.now)), [later; 2]);
}

#[test]
fn three_java_releases_get_success_data_as_a_string() {
    let mut bench = Bench::new();
    let id = bench.open_as("protocol=5&client=java-client&version=2.4.0");
    bench.signed_in(id, &json!({"id": "ada"}));
    let Some(Effect::Send { frame, .. }) = bench.effects.first() else { panic!("a frame") };
    let text = String::from_utf8_lossy(&frame[2..]);
    assert!(text.contains(r#""data":"{\"user_data\""#), "{text}");
}

#[test]
fn a_celebritys_watchers_are_each_told_once_and_may_all_leave() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..40).map(|_| bench.open()).collect();
    for id in &ids {
        bench.signed_in(*id, &json!({"id": format!("fan-{id}"), "watchlist": ["star"]}));
        bench.levels(&[("star", false)]);
    }
    bench.sent();
    bench.sign_in(ids[7], &json!({"id": "fan-7", "watchlist": ["star"]}));
    assert_eq!(
        bench.sent(),
        to(ids[7], &["success", "offline star"]),
        "a list that is given again begins anew"
    );
    bench.levels(&[("star", true)]);
    let told = bench.sent();
    assert_eq!(told, ids.iter().flat_map(|id| to(*id, &["online star"])).collect::<Vec<_>>());
    bench.levels(&[("star", true)]);
    assert_eq!(bench.sent(), []);
    ids.iter().for_each(|id| bench.worker.closed(*id));
    assert_eq!(bench.worker.sizes(), (0, 0, 0));
}

#[test]
fn whoever_closes_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..3).map(|_| bench.open()).collect();
    for id in &ids {
        bench.signed_in(*id, &json!({"id": format!("user-{id}"), "watchlist": ["a", "b", "user-0"]}));
        bench.say(*id, json!({"event": "pusher:subscribe", "data": {"channel": "news"}}));
    }
    bench.confirm();
    bench.worker.close(ids[0], Close::new(CloseCode::OverCapacity, ""), &mut bench.effects);
    bench.collect();
    ids.iter().for_each(|id| bench.worker.closed(*id));
    assert_eq!(bench.worker.sizes(), (0, 0, 0));
    let unwanted = bench.worker.take_wishes();
    assert!(unwanted.iter().all(|(_, wanted)| matches!(wanted, Wanted::No { .. })), "{unwanted:?}");
    assert_eq!(unwanted.len(), 2 + 3 + 1, "two users, three watched, one channel");
}
