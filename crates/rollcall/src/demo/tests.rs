use super::*;
use crate::settings::Settings;
use broker::InProcess;
use control::Control;
use ids::Shards;
use telemetry::{Health, Registry};

async fn demo(path_prefix: &str) -> Demo {
    let apps = Settings::read(None, []).expect("the defaults").apps;
    let app = Arc::clone(apps.by_key("app-key").expect("the development app"));
    let settings = control::Settings {
        grpc_listen: "127.0.0.1:0".parse().expect("an address"),
        http_listen: None,
        path_prefix: path_prefix.to_owned(),
        tokens: Vec::new(),
        terminate_deadline: Duration::from_secs(5),
    };
    let shards = Shards::new(std::num::NonZeroU16::MIN);
    let (broker, mut registry) = (Arc::new(InProcess::default()), Registry::default());
    let part = Health::new().part("control");
    let control =
        Control::start(settings, apps, shards, broker, part, &mut registry).await.expect("a control");
    Demo::new(app, control.verbs(), path_prefix.to_owned())
}

struct Sent {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

async fn call(demo: &Demo, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Sent {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    let (parts, body) = demo.call(request).await.into_parts();
    let body = body.collect().await.expect("never fails").to_bytes();
    Sent {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).expect("UTF-8"),
    }
}

const HOST: (&str, &str) = ("host", "127.0.0.1:6001");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn the_page_comes_with_a_strict_policy_and_without_the_secret() {
    let demo = demo("").await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/demo.js", "text/javascript; charset=utf-8"),
        ("/demo.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
        ("/demo/info", "application/json"),
    ] {
        let sent = call(&demo, Method::GET, path, &[HOST], "").await;
        assert_eq!((sent.status, sent.headers["content-type"].as_bytes()), (200, kind.as_bytes()), "{path}");
        assert!(!sent.body.contains("app-secret"), "{path}");
        let policy = sent.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(
            policy.contains("connect-src 'self' ws://127.0.0.1:6001;") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let info = call(&demo, Method::GET, "/demo/info", &[HOST], "").await.body;
    assert_eq!(info, r#"{"host":"127.0.0.1:6001","key":"app-key","path":"/app/app-key"}"#);
}

#[tokio::test]
async fn a_prefix_may_stand_before_every_path() {
    let demo = demo("/x").await;
    for path in ["/x/", "/", "/x/demo.js", "/x/demo/info"] {
        assert_eq!(call(&demo, Method::GET, path, &[HOST], "").await.status, 200, "{path}");
    }
    for path in ["/x", "/xdemo.js", "/y/"] {
        assert_eq!(call(&demo, Method::GET, path, &[HOST], "").await.status, 404, "{path}");
    }
    let info = call(&demo, Method::GET, "/x/demo/info", &[HOST], "").await.body;
    assert!(info.contains(r#""path":"/x/app/app-key""#), "{info}");
}

#[tokio::test]
async fn what_is_not_here_is_not_found() {
    let demo = demo("").await;
    assert_eq!(call(&demo, Method::GET, "/nothing", &[HOST], "").await.status, 404);
    assert_eq!(call(&demo, Method::POST, "/", &[HOST], "").await.status, 404);
    assert_eq!(call(&demo, Method::GET, "/demo/send", &[HOST], "").await.status, 405);
    assert_eq!(call(&demo, Method::GET, "/pusher/user-auth", &[HOST], "").await.status, 405);
}

#[tokio::test]
async fn only_this_machine_is_served() {
    let demo = demo("").await;
    let get = async |hosts: &[(&str, &str)]| call(&demo, Method::GET, "/", hosts, "").await.status;
    for host in ["127.0.0.1:6001", "localhost:6001", "LOCALHOST", "[::1]:6001", "127.9.9.9"] {
        assert_eq!(get(&[("host", host)]).await, 200, "{host}");
    }
    for host in
        ["evil.example:6001", "127.0.0.1.evil.example", "192.0.2.1", "localhost.", "a@127.0.0.1", "", "::1"]
    {
        assert_eq!(get(&[("host", host)]).await, 403, "{host}");
    }
    assert_eq!(get(&[]).await, 403);
    assert_eq!(get(&[HOST, ("host", "localhost")]).await, 403, "two hosts");
}

#[tokio::test]
async fn another_sites_page_cannot_post() {
    let demo = demo("").await;
    let form = "socket_id=1.2&user_id=ada";
    let json = r#"{"user_id":"ada"}"#;
    for (path, kind, body) in [("/pusher/user-auth", FORM, form), ("/demo/terminate", JSON, json)] {
        let post = async |more: &[(&str, &str)]| {
            call(&demo, Method::POST, path, &[&[HOST, kind], more].concat(), body).await.status
        };
        assert_eq!(post(&[]).await, 200, "a program");
        assert_eq!(post(&[("origin", "http://127.0.0.1:6001")]).await, 200, "the page");
        for origin in [
            "http://evil.example",
            "null",
            "https://127.0.0.1:6001",
            "http://127.0.0.1",
            "http://localhost:6001",
        ] {
            assert_eq!(post(&[("origin", origin)]).await, 403, "{origin}");
        }
        assert_eq!(
            post(&[("origin", "http://127.0.0.1:6001"), ("origin", "http://evil.example")]).await,
            403
        );
        assert_eq!(call(&demo, Method::POST, path, &[HOST], body).await.status, 415, "no content type");
        assert_eq!(
            call(&demo, Method::POST, path, &[HOST, ("content-type", "text/plain")], body).await.status,
            415
        );
    }
}

#[tokio::test]
async fn a_sign_in_form_is_answered_with_a_token() {
    let demo = demo("").await;
    let sent =
        call(&demo, Method::POST, "/pusher/user-auth", &[HOST, FORM], "socket_id=1.2&user_id=ada").await;
    assert_eq!(sent.status, 200);
    let answer: Value = serde_json::from_str(&sent.body).expect("JSON");
    assert!(answer["auth"].as_str().is_some_and(|auth| auth.starts_with("app-key:")), "{answer}");
    assert_eq!(answer["user_data"], r#"{"id":"ada","user_info":{"name":"ada"}}"#);
    let refused =
        call(&demo, Method::POST, "/pusher/user-auth", &[HOST, FORM], "socket_id=1:2&user_id=ada").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.starts_with(r#"{"error":"a socket id must be "#), "{}", refused.body);
}

#[tokio::test]
async fn the_pages_verbs_answer_with_counts() {
    let demo = demo("").await;
    let post = async |path: &str, body: &str| call(&demo, Method::POST, path, &[HOST, JSON], body).await;
    let sent = post("/demo/send", r#"{"user_id":"ada","event":"hello","data":"{}"}"#).await;
    assert_eq!((sent.status, &*sent.body), (200, r#"{"complete":true,"connections":0,"nodes":0}"#));
    for close in ["", r#","close":"stop""#, r#","close":"reconnect""#] {
        let sent = post("/demo/terminate", &format!(r#"{{"user_id":"ada"{close}}}"#)).await;
        assert_eq!((sent.status, &*sent.body), (200, r#"{"closed":0,"complete":true}"#));
    }
}

#[tokio::test]
async fn a_verb_with_wrong_fields_is_refused() {
    let demo = demo("").await;
    let check = async |path: &str, body: &str, status: u16, says: &str| {
        let sent = call(&demo, Method::POST, path, &[HOST, JSON], body).await;
        assert_eq!(sent.status, status, "{body}");
        assert!(sent.body.starts_with(r#"{"error":""#) && sent.body.contains(says), "{body}: {}", sent.body);
    };
    check("/demo/send", "", 400, "not what is expected").await;
    check("/demo/send", "[]", 400, "not what is expected").await;
    check("/demo/send", r#"{"user_id":"ada","event":"hello"}"#, 400, "data").await;
    check("/demo/send", r#"{"user_id":7,"event":"hello","data":""}"#, 400, "string").await;
    check("/demo/send", r#"{"user_id":"","event":"hello","data":""}"#, 400, "user_id: ").await;
    check("/demo/send", r#"{"user_id":"ada","event":"pusher:x","data":""}"#, 400, "event: ").await;
    let long = format!(
        r#"{{"user_id":"ada","event":"hello","data":"{}"}}"#,
        "x".repeat(protocol::http::MAX_DATA_BYTES + 1)
    );
    check("/demo/send", &long, 400, "at most 10240 bytes").await;
    check("/demo/send", &" ".repeat(MAX_BODY_BYTES + 1), 413, "at most 16384 bytes").await;
    check("/demo/terminate", r#"{"user_id":"ada","close":"never"}"#, 400, "reconnect").await;
    check("/demo/terminate", r#"{"user":"ada"}"#, 400, "unknown field").await;
    check("/demo/terminate", r#"{"user_id":"\u0000"}"#, 400, "user_id: ").await;
}
