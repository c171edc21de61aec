//! gRPC through a real client.

use crate::support::{
    Fixture, Server, confirm, key, node, online, reached, server::PATIENCE, shard_of, user, with_token,
};
use broker::{Broker, Topic};
use contracts::{
    cluster::v1 as cluster,
    control::v1::{
        CloseClass, GetUserRequest, GetUsersRequest, ListOnlineUsersRequest, NodeCount, SendToUserRequest,
        TerminateUserConnectionsRequest, UserLevel, WatchUsersRequest,
    },
};
use ids::ShardId;
use prost::Message as _;
use tokio::{join, time::timeout};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

async fn server() -> Server {
    Server::start(Fixture::new().await).await
}

fn terminate(app: &str) -> TerminateUserConnectionsRequest {
    TerminateUserConnectionsRequest { app_id: app.into(), user_id: "ada".into(), ..Default::default() }
}

fn get_user(app: &str) -> GetUserRequest {
    GetUserRequest { app_id: app.into(), user_id: "ada".into() }
}

#[tokio::test]
async fn a_call_without_a_valid_token_is_unauthenticated() {
    let server = server().await;
    let mut client = server.client().await;
    let mut check = async |header: Option<&[u8]>| {
        let mut request = Request::new(terminate("1"));
        if let Some(header) = header {
            let header = header.try_into().expect("header");
            request.metadata_mut().insert("authorization", header);
        }
        let status = client.terminate_user_connections(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{header:?}");
        assert!(!status.message().contains("all-apps"));
    };
    check(None).await;
    for header in
        ["", "Bearer", "Bearer ", "Bearer x", "Bearer all-app", "all-apps", "Basic all-apps", "Bearer app-1x"]
    {
        check(Some(header.as_bytes())).await;
    }
    check(Some(b"Bearer \xff\xfe")).await;
    let status = client.watch_users(WatchUsersRequest::default()).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(server.fixture.metric("rollcall_control_unauthenticated_total"), 11);
}

#[tokio::test]
async fn a_token_opens_its_own_apps_only() {
    let server = server().await;
    let mut client = server.client().await;
    let mut check = async |token: &str, app: &str, expected: Code| {
        let answer = client.terminate_user_connections(with_token(token, terminate(app))).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{token} {app}");
    };
    check("app-1", "1", Code::Ok).await;
    check("all-apps", "1", Code::Ok).await;
    check("all-apps", "2", Code::Ok).await;
    check("app-1", "2", Code::PermissionDenied).await;
    // Not even whether it exists.
    check("app-1", "9", Code::PermissionDenied).await;
    check("all-apps", "9", Code::NotFound).await;
    // The disabled one.
    check("all-apps", "3", Code::PermissionDenied).await;
    let metric =
        |outcome| format!("rollcall_control_requests_total{{verb=\"terminate\",outcome=\"{outcome}\"}}");
    assert_eq!(server.fixture.metric(&metric("forbidden")), 3);
    assert_eq!(server.fixture.metric(&metric("unknown_app")), 1);
}

#[tokio::test]
async fn every_rpc_names_the_field_that_is_wrong() {
    let server = server().await;
    let mut client = server.client().await;
    let app_id = || "1".to_owned();
    let check = |status: Option<tonic::Status>, field: &str| {
        let status = status.expect("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{}", status.message());
    };
    let request = TerminateUserConnectionsRequest { reason: "x".repeat(124), ..terminate("1") };
    check(client.terminate_user_connections(with_token("app-1", request)).await.err(), "reason");
    let request = SendToUserRequest { app_id: app_id(), user_id: "ada".into(), ..Default::default() };
    check(client.send_to_user(with_token("app-1", request)).await.err(), "event");
    check(client.get_user(with_token("app-1", GetUserRequest::default())).await.err(), "app_id");
    let request = GetUsersRequest { app_id: app_id(), user_ids: vec![String::new()] };
    check(client.get_users(with_token("app-1", request)).await.err(), "user_ids[0]");
    let request = ListOnlineUsersRequest { app_id: app_id(), limit: 1_001, ..Default::default() };
    check(client.list_online_users(with_token("app-1", request)).await.err(), "limit");
    let request = WatchUsersRequest { app_id: app_id(), user_ids: vec![] };
    check(client.watch_users(with_token("app-1", request)).await.err(), "user_ids");
}

#[tokio::test]
async fn a_request_beyond_all_limits_is_refused_and_the_server_goes_on() {
    let server = server().await;
    let mut client = server.client().await;
    let request = SendToUserRequest { data: "x".repeat(10 << 20), ..Default::default() };
    client.send_to_user(with_token("app-1", request)).await.expect_err("refused");
    assert!(client.terminate_user_connections(with_token("app-1", terminate("1"))).await.is_ok());
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    let server = server().await;
    let channel = server.channel().await;
    for service in ["", "rollcall.control.v1.Control"] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(channel.clone()).check(request).await.expect("health").into_inner();
        assert_eq!(health.status, 1, "{service:?} is serving");
    }
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let answers =
        ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.expect("reflection").into_inner().message().await.expect("answer").expect("answer");
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"rollcall.control.v1.Control"), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test]
async fn a_termination_answers_with_what_each_node_closed() {
    let server = server().await;
    let broker = &server.fixture.broker;
    let registered = broker.register(node(0xab)).await.expect("register");
    let mut client = server.client().await;
    let request = TerminateUserConnectionsRequest {
        except_socket_ids: vec!["1.2".into()],
        close_class: CloseClass::Stop.into(),
        reason: "signed out".into(),
        ..terminate("1")
    };
    let node_side = async {
        let entry = broker.read_journal(registered).await.expect("journal").remove(0);
        let termination = cluster::Termination::decode(entry.entry).expect("termination");
        confirm(&**broker, termination.id, termination.asker, 0xab, 3).await;
        termination
    };
    let call = client.terminate_user_connections(with_token("app-1", request));
    let (answer, termination) = join!(call, node_side);
    let answer = answer.expect("answer").into_inner();
    assert_eq!((answer.closed, answer.complete), (3, true));
    assert_eq!(answer.nodes, [NodeCount { node_id: "00000000000000ab".into(), connections: 3 }]);
    assert_eq!(answer.unconfirmed_nodes, Vec::<String>::new());
    assert_eq!(termination.close_code, 4009);
    assert_eq!(termination.reason, "signed out");
    let ids = cluster::SocketIds { ids: vec!["1.2".into()] };
    let which = Some(cluster::selector::Which::Except(ids));
    assert_eq!(termination.selector, Some(cluster::Selector { which }));
}

#[tokio::test]
async fn a_dry_run_and_an_event_answer_with_what_they_reach() {
    let server = server().await;
    let mut holder = server.fixture.listen([Topic::user(&key("ada"))]).await;
    let mut client = server.client().await;
    let node_side = async {
        let mut said = Vec::new();
        for _ in 0..2 {
            let asked: cluster::ToUser = holder.next().await;
            holder.answer(asked.question, reached(0xab, 2)).await;
            said.push(asked.said);
        }
        said
    };
    let calls = async {
        let dry_run = TerminateUserConnectionsRequest { dry_run: true, ..terminate("1") };
        let counted = client.terminate_user_connections(with_token("app-1", dry_run)).await.expect("answer");
        let event = SendToUserRequest {
            app_id: "1".into(),
            user_id: "ada".into(),
            event: "hello".into(),
            data: "{}".into(),
            except_socket_id: String::new(),
        };
        let sent = client.send_to_user(with_token("app-1", event)).await.expect("answer");
        (counted.into_inner(), sent.into_inner())
    };
    let ((counted, sent), said) = join!(calls, node_side);
    let nodes = [NodeCount { node_id: "00000000000000ab".into(), connections: 2 }];
    assert_eq!((counted.closed, counted.complete, &counted.nodes[..]), (2, true, &nodes[..]));
    assert_eq!((sent.connections, sent.complete, &sent.nodes[..]), (2, true, &nodes[..]));
    assert!(matches!(said[0], Some(cluster::to_user::Said::CountConnections(_))), "{said:?}");
    assert!(matches!(said[1], Some(cluster::to_user::Said::Event(_))), "{said:?}");
}

#[tokio::test]
async fn users_are_answered_in_their_order_and_pages_have_a_cursor() {
    let server = server().await;
    let mut owners =
        server.fixture.listen((0..crate::support::SHARDS).map(|n| Topic::shard(ShardId(n)))).await;
    let mut client = server.client().await;
    let first = shard_of("ada");
    let elsewhere = (0..).map(|n| format!("bob-{n}")).find(|id| shard_of(id) != first).expect("some user");
    let second = shard_of(&elsewhere);
    let owner_side = async {
        // GetUsers asks both shards, in their order; each page asks all of them, in theirs.
        for shard in [first.min(second), first.max(second)] {
            let asked: cluster::ToShard = owners.next().await;
            let online_here: &[&str] = if shard == first { &["ada"] } else { &[] };
            owners.answer_owner(asked, online(shard, true, online_here)).await;
        }
        for page in [&["ada"][..], &[]] {
            for shard in 0..crate::support::SHARDS {
                let asked: cluster::ToShard = owners.next().await;
                let online_here = if ShardId(shard) == first { page } else { &[] };
                owners.answer_owner(asked, online(ShardId(shard), true, online_here)).await;
            }
        }
    };
    let calls = async {
        let request = GetUsersRequest { app_id: "1".into(), user_ids: vec![elsewhere.clone(), "ada".into()] };
        let users = client.get_users(with_token("app-1", request)).await.expect("answer").into_inner().users;
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let request = ListOnlineUsersRequest { app_id: "1".into(), cursor, limit: 1 };
            let page =
                client.list_online_users(with_token("app-1", request)).await.expect("answer").into_inner();
            pages.push(page.user_ids);
            cursor = page.next_cursor;
            if cursor.is_empty() {
                return (users, pages);
            }
        }
    };
    let ((users, pages), ()) = join!(calls, owner_side);
    let level = |id: &str, online| UserLevel { user_id: id.into(), online };
    assert_eq!(users, [level(&elsewhere, false), level("ada", true)]);
    assert_eq!(pages, [vec!["ada".to_owned()], vec![]]);
}

#[tokio::test]
async fn what_cannot_be_confirmed_is_unavailable_and_says_what_is_missing() {
    let server = server().await;
    let mut client = server.client().await;
    let status = client.get_user(with_token("app-1", get_user("1"))).await.expect_err("no owner");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&shard_of("ada").to_string()), "{}", status.message());
    server.fixture.broker.go_away();
    let status =
        client.terminate_user_connections(with_token("app-1", terminate("1"))).await.expect_err("away");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("broker"), "{}", status.message());
}

#[tokio::test]
async fn a_callers_deadline_is_honoured() {
    let server = server().await;
    server.fixture.broker.register(node(1)).await.expect("register");
    let mut client = server.client().await;
    let mut request = with_token("app-1", terminate("1"));
    request.set_timeout(std::time::Duration::from_millis(300));
    let status = client.terminate_user_connections(request).await.expect_err("the node never confirms");
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
}

#[tokio::test]
async fn a_watch_is_counted_as_long_as_it_is_open() {
    let server = server().await;
    let mut client = server.client().await;
    let request = WatchUsersRequest { app_id: "1".into(), user_ids: vec![user("ada").to_string()] };
    let watch = client.watch_users(with_token("app-1", request)).await.expect("watch");
    assert_eq!(server.fixture.metric("rollcall_control_watches"), 1);
    drop(watch);
    let closed = async {
        while server.fixture.metric("rollcall_control_watches") != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the watch is closed");
}
