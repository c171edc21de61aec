//! The binary as a person meets it: started, tried as it says, and stopped.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

const BINARY: &str = env!("CARGO_BIN_EXE_rollcall");
/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, without the settings that the environment of the tests may have.
fn rollcall(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROLLCALL_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG").args(arguments);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// A development server on free ports. Killed when dropped.
struct Server {
    child: Child,
    /// What it printed.
    banner: String,
}

impl Server {
    fn start() -> Server {
        Server::start_with(&[], " terminate ada\n")
    }

    /// `last` is what the banner ends with.
    fn start_with(arguments: &[&str], last: &str) -> Server {
        let mut command = rollcall(arguments);
        for setting in ["ROLLCALL_GATEWAY__LISTEN", "ROLLCALL_CONTROL__GRPC_LISTEN", "ROLLCALL_ADMIN__LISTEN"]
        {
            command.env(setting, "127.0.0.1:0");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut banner = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        while !banner.ends_with(last) {
            let line = lines.next().expect("the banner goes on").expect("text");
            banner.push_str(&line);
            banner.push('\n');
        }
        let server = Server { child, banner };
        server.until_ready();
        server
    }

    /// What stands behind the first `before` in the banner, up to a space.
    fn after(&self, before: &str) -> &str {
        let (_, rest) =
            self.banner.split_once(before).unwrap_or_else(|| panic!("{before} in\n{}", self.banner));
        rest.split_whitespace().next().unwrap_or_default()
    }

    fn gateway(&self) -> &str {
        self.after("http://").trim_end_matches('/')
    }

    fn until_ready(&self) {
        let admin = self.after("admin      http://").split('/').next().unwrap_or_default().to_owned();
        let until = Instant::now() + PATIENCE;
        while !http(&admin, "GET /readyz HTTP/1.1", "").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "not ready in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs the line of the banner that begins with `verb`, as if it were pasted into a shell.
    fn paste(&self, verb: &str) -> Output {
        let line = self.banner.lines().find_map(|line| line.trim_start().strip_prefix(verb));
        let line = line.unwrap_or_else(|| panic!("{verb} in\n{}", self.banner));
        Command::new("sh").args(["-c", line]).output().expect("a shell")
    }

    fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it has not stopped in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http(address: &str, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = body.len();
    write!(socket, "{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n")
        .expect("sent");
    write!(socket, "content-type: application/x-www-form-urlencoded\r\n\r\n{body}").expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_development_server_can_be_tried_as_it_says_and_drains_on_ctrl_c() {
    let mut server = Server::start();
    let gateway = server.gateway().to_owned();
    assert!(http(&gateway, "GET / HTTP/1.1", "").starts_with("HTTP/1.1 200"), "the demo page");
    assert!(http(&gateway, "GET /nothing HTTP/1.1", "").starts_with("HTTP/1.1 404"));
    assert!(http(&gateway, "GET /apps/1/channels HTTP/1.1", "").starts_with("HTTP/1.1 4"), "not signed");

    let signed = server.paste("sign in");
    assert!(signed.status.success() && text(&signed).contains(r#"{"auth":"app-key:"#), "{}", text(&signed));
    let answer = http(&gateway, "POST /pusher/user-auth HTTP/1.1", "socket_id=1234.5678&user_id=ada");
    let (_, token) = answer.split_once("\r\n\r\n").expect("a body");
    let verified = rollcall(&["verify", "user", "1234.5678", token]).output().expect("runs");
    assert!(verified.status.success(), "{}", text(&verified));

    let sent = server.paste("send");
    assert!(sent.status.success(), "{}", text(&sent));
    assert_eq!(text(&sent), "ada is not signed in anywhere: nobody has it\n");
    let terminated = server.paste("terminate");
    assert!(terminated.status.success(), "{}", text(&terminated));
    assert_eq!(text(&terminated), "0 connections of ada closed\n");
    let watch =
        server.banner.lines().find_map(|line| line.trim_start().strip_prefix("watch")).expect("a line");
    let mut watching = Command::new("sh")
        .args(["-c", &format!("exec {}", watch.trim_start())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let mut levels = [(); 2].map(|()| lines.next().expect("a level").expect("text"));
    levels.sort();
    assert_eq!(levels, ["ada is offline", "grace is offline"]);

    server.signal();
    assert_eq!(server.wait().code(), Some(0));
    // The stream has ended with the server.
    assert_eq!(watching.wait().expect("a child").code(), Some(1));
    assert!(TcpStream::connect(gateway).is_err());
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_the_drain() {
    let mut server = Server::start();
    let gateway = server.gateway().to_owned();
    // A client that never answers a close frame.
    let mut mute = TcpStream::connect(&gateway).expect("a connection");
    write!(
        mute,
        "GET /app/app-key?protocol=7 HTTP/1.1\r\nhost: {gateway}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
    )
    .expect("sent");
    let mut answer = [0; 12];
    mute.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    server.signal();
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(&gateway).is_ok() {
        assert!(Instant::now() < until, "still accepting");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.signal();
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn a_configured_server_has_no_demo_and_wants_a_token() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(
        b"[control]\ntokens = [{ token = \"0123456789abcdef\", apps = [\"7\"] }]\n\
          [[apps]]\nid = \"7\"\nkey = \"seven\"\nsecret = \"fedcba9876543210\"\n",
    )
    .expect("written");
    let path = file.path().to_str().expect("a plain path");
    let server = Server::start_with(&["--config", path], "apps       7\n");
    for secret in ["0123456789abcdef", "fedcba9876543210", "demo"] {
        assert!(!server.banner.contains(secret), "{}", server.banner);
    }
    let gateway = server.after("ws://").split('/').next().unwrap_or_default();
    for path in ["/", "/demo/info", "/demo.js"] {
        assert!(http(gateway, &format!("GET {path} HTTP/1.1"), "").starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(http(gateway, "POST /pusher/user-auth HTTP/1.1", "socket_id=1.2").starts_with("HTTP/1.1 404"));

    let grpc = server.after("gRPC       ");
    let user = |more: &[&str]| {
        rollcall(&[&["ctl", "--server", grpc, "user", "ada"], more].concat()).output().expect("runs")
    };
    assert_eq!(text(&user(&["--token", "0123456789abcdef", "--app", "7"])), "ada is offline\n");
    for (wrong, expected) in [
        (&["--app", "7"][..], "--token or ROLLCALL_TOKEN"),
        (&["--app", "7", "--token", "0123456789abcdeX"], "--token or ROLLCALL_TOKEN"),
        (&["--token", "0123456789abcdef"], "app"),
    ] {
        let refused = user(wrong);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains(expected), "{wrong:?}: {}", text(&refused));
    }
    // The same file signs.
    let signed = rollcall(&["sign", "--config", path, "user", "1.2", "ada"]).output().expect("runs");
    assert!(text(&signed).contains(r#""auth":"seven:"#), "{}", text(&signed));
}

#[test]
fn all_mistakes_are_told_before_a_port_opens() {
    let output = rollcall(&[])
        .env("ROLLCALL_GATEWAY__LISTEN", "0.0.0.0:6001")
        .env("ROLLCALL_GATEWAY__WORKER", "2")
        .env("ROLLCALL_PRESENCE__SHARDS", "none")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    for part in [
        "error: the settings have 3 mistakes",
        "ROLLCALL_GATEWAY__LISTEN: gateway.listen must be a loopback address",
        "ROLLCALL_GATEWAY__WORKER: gateway.worker is not a setting; did you mean gateway.workers?",
        "ROLLCALL_PRESENCE__SHARDS: presence.shards must be a whole number",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn a_settings_file_that_is_not_there_is_named() {
    let output = rollcall(&["--config", "/nonexistent.toml"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("/nonexistent.toml cannot be read: No such file"), "{}", text(&output));
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    for setting in ["GATEWAY__LISTEN", "CONTROL__GRPC_LISTEN", "CONTROL__HTTP_LISTEN", "ADMIN__LISTEN"] {
        let mut command = rollcall(&[]);
        for other in ["GATEWAY__LISTEN", "CONTROL__GRPC_LISTEN", "ADMIN__LISTEN"] {
            command.env(format!("ROLLCALL_{other}"), "127.0.0.1:0");
        }
        let output = command.env(format!("ROLLCALL_{setting}"), &taken).output().expect("runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("error: {taken} is in use")), "{said}");
        assert!(said.contains(&format!("ROLLCALL_{setting}")), "{said}");
    }
    drop(holder);
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    let code = |arguments: &[&str]| rollcall(arguments).output().expect("runs").status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["ctl", "frobnicate"]), Some(2));
    assert_eq!(code(&["ctl", "--server", "http://127.0.0.1:1", "users"]), Some(1));
    assert_eq!(code(&["sign", "channel", "1.2", "news"]), Some(1));
    // A settings file in the environment is the server's, and no hindrance to others.
    let elsewhere =
        rollcall(&["ctl", "--help"]).env("ROLLCALL_CONFIG", "/nonexistent").output().expect("runs");
    assert_eq!(elsewhere.status.code(), Some(0));
    let output =
        rollcall(&["ctl", "--server", "http://127.0.0.1:1", "users"]).env("ROLLCALL_CONFIG", "x").output();
    assert!(text(&output.expect("runs")).contains("no server answers at http://127.0.0.1:1"));
}
