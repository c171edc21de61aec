//! What the server says on standard output when it is up: where it is, and, in development, how to try it.

use crate::settings::{DEVELOPMENT_ID, DEVELOPMENT_KEY, DEVELOPMENT_SECRET};
use std::{
    env,
    fmt::Write as _,
    net::SocketAddr,
    path::{Component, Path},
};

/// What there is to say.
pub(crate) struct Banner<'a> {
    pub(crate) gateway: SocketAddr,
    /// The HTTP API's own address, if it has one.
    pub(crate) http: Option<SocketAddr>,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) path_prefix: &'a str,
    pub(crate) apps: Apps<'a>,
}

pub(crate) enum Apps<'a> {
    /// The built-in app runs, which has a token, and nothing to hide.
    /// `token`: the one drawn at start; `None` if the settings have their own, which are not shown.
    Development { token: Option<&'a str>, program: &'a str },
    /// Apps of the settings, by id.
    Configured { ids: Vec<String> },
}

impl Banner<'_> {
    pub(crate) fn text(&self) -> String {
        let Banner { gateway, http, grpc, admin, path_prefix, apps } = self;
        let key = match apps {
            Apps::Development { .. } => DEVELOPMENT_KEY,
            Apps::Configured { .. } => "<key>",
        };
        let mut text =
            format!("Rollcall {} is up. Ctrl-C drains and stops it.\n\n", env!("CARGO_PKG_VERSION"));
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<11}{value}"); // a String takes everything
        };
        if let Apps::Development { .. } = apps {
            line("demo page", format!("http://{gateway}{path_prefix}/   (open it twice)"));
        }
        line("WebSocket", format!("ws://{gateway}{path_prefix}/app/{key}"));
        line("HTTP API", format!("http://{}{path_prefix}/apps", http.as_ref().unwrap_or(gateway)));
        line("gRPC", format!("http://{grpc}"));
        line("admin", format!("http://{admin}/readyz, /metrics"));
        match apps {
            Apps::Configured { ids } => line("apps", ids.join(", ")),
            Apps::Development { token, program } => {
                line(
                    "app",
                    format!(
                        "id {DEVELOPMENT_ID}, key {DEVELOPMENT_KEY}, secret {DEVELOPMENT_SECRET}   (for development: on loopback only)"
                    ),
                );
                let shown = match token {
                    Some(token) => format!("{token}   (for gRPC; a new one at each start)"),
                    None => "yours, of control.tokens: give it as ROLLCALL_TOKEN".to_owned(),
                };
                line("token", shown);
                text += &tries(*gateway, *grpc, path_prefix, *token, program);
            }
        }
        text
    }
}

/// A line to paste for each verb.
fn tries(
    gateway: SocketAddr,
    grpc: SocketAddr,
    path_prefix: &str,
    token: Option<&str>,
    program: &str,
) -> String {
    let default_server = grpc == SocketAddr::from(([127, 0, 0, 1], 50051));
    let server = if default_server { String::new() } else { format!(" --server http://{grpc}") };
    let token = token.map(|token| format!(" --token {token}")).unwrap_or_default();
    let ctl = format!("{program} ctl{server}{token}");
    format!(
        "
Try it: open http://{gateway}{path_prefix}/?user=ada&watch=grace, and then
  sign in    curl -d 'socket_id=1234.5678&user_id=ada&watchlist=grace' http://{gateway}{path_prefix}/pusher/user-auth
             {program} sign user 1234.5678 ada --watch grace --explain
  watch      {ctl} watch ada grace
  send       {ctl} send ada hello '{{\"from\":\"the shell\"}}'
  terminate  {ctl} terminate ada
"
    )
}

/// How to call this very program from where it was started: it need not be on the PATH.
pub(crate) fn program() -> String {
    let here = env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    let program =
        env::current_exe().and_then(|program| program.canonicalize()).unwrap_or_else(|_| "rollcall".into());
    quoted(&relative(&program, &here))
}

fn relative(program: &Path, here: &Path) -> String {
    match program.strip_prefix(here) {
        // A name alone would be looked for on the PATH.
        Ok(inner) if inner.components().count() == 1 => {
            Path::new(&Component::CurDir).join(inner).display().to_string()
        }
        Ok(inner) => inner.display().to_string(),
        Err(_) => program.display().to_string(),
    }
}

/// As a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if path.bytes().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(apps: Apps<'_>, grpc: &str) -> String {
        let address = |text: &str| text.parse().expect("an address");
        Banner {
            gateway: address("127.0.0.1:6001"),
            http: None,
            grpc: address(grpc),
            admin: address("127.0.0.1:9601"),
            path_prefix: "/x",
            apps,
        }
        .text()
    }

    #[test]
    fn in_development_there_is_a_line_for_each_verb() {
        let apps = || Apps::Development { token: Some("t0ken"), program: "target/release/rollcall" };
        let text = banner(apps(), "127.0.0.1:50051");
        for line in [
            "http://127.0.0.1:6001/x/ ",
            "ws://127.0.0.1:6001/x/app/app-key\n",
            "http://127.0.0.1:6001/x/apps\n",
            "http://127.0.0.1:6001/x/pusher/user-auth\n",
            "target/release/rollcall sign user 1234.5678 ada --watch grace --explain\n",
            "target/release/rollcall ctl --token t0ken watch ada grace\n",
            "target/release/rollcall ctl --token t0ken send ada hello '{\"from\":\"the shell\"}'\n",
            "target/release/rollcall ctl --token t0ken terminate ada\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let elsewhere = banner(apps(), "127.0.0.1:7");
        assert!(
            elsewhere.contains("rollcall ctl --server http://127.0.0.1:7 --token t0ken terminate ada"),
            "{elsewhere}"
        );
    }

    #[test]
    fn a_token_of_the_settings_is_not_shown() {
        let text = banner(Apps::Development { token: None, program: "rollcall" }, "127.0.0.1:50051");
        assert!(text.contains("ROLLCALL_TOKEN\n") && text.contains("rollcall ctl terminate ada\n"), "{text}");
    }

    #[test]
    fn configured_apps_are_named_by_id_alone() {
        let text = banner(Apps::Configured { ids: vec!["1".to_owned(), "2".to_owned()] }, "127.0.0.1:50051");
        assert!(text.contains("apps       1, 2\n") && text.contains("/app/<key>"), "{text}");
        assert!(!text.contains("app-secret") && !text.contains("token") && !text.contains("demo"), "{text}");
    }

    #[test]
    fn the_program_is_named_from_where_one_is() {
        let check = |program: &str, here: &str, expected: &str| {
            assert_eq!(quoted(&relative(Path::new(program), Path::new(here))), expected);
        };
        check("/src/target/release/rollcall", "/src", "target/release/rollcall");
        check("/src/rollcall", "/src", "./rollcall");
        check("/usr/bin/rollcall", "/src", "/usr/bin/rollcall");
        check("/my files/rollcall", "/src", "'/my files/rollcall'");
        check("/it's/rollcall", "/src", r"'/it'\''s/rollcall'");
    }
}
