use super::*;
use std::fmt::Write as _;

const APP: &str = "[[apps]]\nid = \"7\"\nkey = \"k\"\nsecret = \"0123456789abcdef\"\n";
const TOKENS: &str = "[control]\ntokens = [\"0123456789abcdef\"]\n";

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    Settings::read(Some(File { name: "f.toml", text }), environment.iter().copied())
}

fn good(text: &str, environment: &[(&str, &str)]) -> Settings {
    read(text, environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Each of `expected` is one mistake, by how it begins; there are no others.
fn check(text: &str, environment: &[(&str, &str)], expected: &[&str]) {
    let mistakes = match read(text, environment) {
        Ok(_) => Vec::new(),
        Err(Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
    };
    let as_expected = mistakes.len() == expected.len()
        && expected.iter().all(|begin| mistakes.iter().any(|mistake| mistake.starts_with(begin)));
    assert!(as_expected, "expected {expected:#?}, found {mistakes:#?} in\n{text}\n{environment:?}");
}

#[test]
fn without_settings_the_development_app_runs_on_loopback() {
    let settings = Settings::read(None, []).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(settings.development);
    let app = settings.apps.by_key("app-key").expect("the development app");
    assert_eq!(app.id.as_str(), "1");
    assert_eq!(settings.gateway.listen.to_string(), "127.0.0.1:6001");
    assert_eq!(settings.control.grpc_listen.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:9601");
    assert_eq!(settings.control.http_listen, None);
    assert!(settings.control.tokens.is_empty());
    assert!(settings.warnings.is_empty());
}

#[test]
fn the_file_is_read_into_checked_types() {
    let settings = good(
        r#"
        [log]
        format = "json"
        filter = "warn,gateway=debug"
        [gateway]
        listen = "0.0.0.0:6001"
        workers = 2
        activity_timeout = "30s"
        path_prefix = "/ws"
        assume_protocol_7 = true
        max_frame_bytes = 131_072
        [presence]
        shards = 4
        [control]
        tokens = ["0123456789abcdef", { token = "fedcba9876543210", apps = ["7"] }]
        terminate_deadline = "500ms"
        [[apps]]
        id = "7"
        key = "seven"
        secret = "0123456789abcdef"
        authorized_connections = true
        authorization_timeout = "5s"
        user_termination_close_code = 4009
        signin_success_data = "string"
        allowed_origins = ["example.com"]
        "#,
        &[],
    );
    assert!(!settings.development);
    assert_eq!(
        settings.log,
        LogSettings { format: LogFormat::Json, filter: "warn,gateway=debug".to_owned() }
    );
    assert_eq!(settings.gateway.workers.get(), 2);
    assert_eq!(settings.gateway.activity_timeout, Duration::from_secs(30));
    assert_eq!(settings.gateway.max_frame_bytes, 131_072);
    assert!(settings.gateway.assume_protocol_7);
    assert_eq!(settings.presence.shards.count(), 4);
    assert_eq!(settings.control.path_prefix, "/ws");
    assert_eq!(settings.control.terminate_deadline, Duration::from_millis(500));
    assert_eq!(settings.control.tokens.len(), 2);
    let app = settings.apps.by_id(&"7".parse().expect("id")).expect("app 7");
    assert_eq!(app.key.as_str(), "seven");
    assert_eq!(app.authorization_timeout, Some(Duration::from_secs(5)));
    assert_eq!(app.user_termination_close, protocol::TerminationClose::Stop);
    assert_eq!(app.signin_success_data, protocol::SigninSuccessData::String);
    assert_eq!(app.allowed_origins, ["example.com"]);
    assert!(settings.apps.by_key("app-key").is_none(), "the development app is gone");
}

#[test]
fn authorized_connections_are_off_unless_switched_on() {
    let settings = good(&format!("{TOKENS}{APP}authorization_timeout = \"5s\""), &[]);
    let app = settings.apps.by_key("k").expect("app");
    assert_eq!(app.authorization_timeout, None);
}

#[test]
fn the_environment_overrides_the_file_value_by_value() {
    let settings = good(
        &format!("[gateway]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n{TOKENS}{APP}"),
        &[
            ("ROLLCALL_GATEWAY__LISTEN", "127.0.0.1:2"),
            ("ROLLCALL_APPS__0__KEY", "other"),
            ("ROLLCALL_APPS__1__ID", "8"),
            ("ROLLCALL_APPS__1__KEY", "eight"),
            ("ROLLCALL_APPS__1__SECRET", "[not a list] 0123456789"),
            ("ROLLCALL_CONTROL__TOKENS__1__TOKEN", "fedcba9876543210"),
            ("ROLLCALL_CONTROL__TOKENS__1__APPS", "[\"8\"]"),
            ("ROLLCALL_CONFIG", "is not a setting"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(settings.gateway.listen.port(), 2);
    assert_eq!(settings.gateway.workers.get(), 3);
    assert!(settings.apps.by_key("k").is_none() && settings.apps.by_key("other").is_some());
    assert!(settings.apps.by_key("eight").is_some());
    assert_eq!(settings.control.tokens.len(), 2);
}

#[test]
fn a_variable_holds_a_list_as_a_toml_array() {
    let apps = r#"[{ id = "1", key = "a", secret = "0123456789abcdef" }, { id = "2", key = "b", secret = "0123456789abcdef" }]"#;
    let tokens = r#"["0123456789abcdef"]"#;
    let environment =
        [("ROLLCALL_APPS", apps), ("ROLLCALL_APPS__1__KEY", "changed"), ("ROLLCALL_CONTROL__TOKENS", tokens)];
    let settings = good("", &environment);
    assert!(settings.apps.by_key("a").is_some() && settings.apps.by_key("changed").is_some());
    check("", &[("ROLLCALL_APPS", "1,2")], &["ROLLCALL_APPS: apps must be a TOML array"]);
    check(
        "",
        &[("ROLLCALL_APPS__1__ID", "1")],
        &["ROLLCALL_APPS__1__ID: apps.1.id is item 1 of a list that has 0 so far"],
    );
}

#[test]
fn the_tenth_app_follows_the_second() {
    let mut environment = vec![("ROLLCALL_CONTROL__TOKENS__0".to_owned(), "0123456789abcdef".to_owned())];
    for index in 0..11 {
        environment.push((format!("ROLLCALL_APPS__{index}__ID"), index.to_string()));
        environment.push((format!("ROLLCALL_APPS__{index}__KEY"), format!("key-{index}")));
        environment.push((format!("ROLLCALL_APPS__{index}__SECRET"), "0123456789abcdef".to_owned()));
    }
    let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(good("", &pairs).apps.iter().count(), 11);
}

#[test]
fn rust_log_filters_unless_we_are_told_otherwise() {
    let filter = |environment: &[(&str, &str)]| good("[log]\nfilter = \"warn\"", environment).log.filter;
    assert_eq!(filter(&[]), "warn");
    assert_eq!(filter(&[("RUST_LOG", "debug")]), "debug");
    assert_eq!(filter(&[("RUST_LOG", "debug"), ("ROLLCALL_LOG__FILTER", "error")]), "error");
}

#[test]
fn all_mistakes_are_reported_together_with_key_and_line() {
    check(
        "[gateway]\nlisten = \"here\"\nworkers = -1\nactivity_timeout = 120\n[admin]\nlisten = 9601\n",
        &[("ROLLCALL_GATEWAY__OUTBOX_BYTES", "much")],
        &[
            "f.toml:2: gateway.listen must be an IP address and a port",
            "f.toml:3: gateway.workers must be a whole number from 0 to 1024 (is \"-1\")",
            "f.toml:4: gateway.activity_timeout must be a duration with its unit",
            "f.toml:6: admin.listen must be an IP address and a port",
            "ROLLCALL_GATEWAY__OUTBOX_BYTES: gateway.outbox_bytes must be a whole number",
        ],
    );
}

#[test]
fn an_unknown_key_is_a_mistake_with_a_hint() {
    check(
        "[gateway]\nlistne = \"127.0.0.1:1\"\n",
        &[],
        &["f.toml:2: gateway.listne is not a setting; did you mean gateway.listen?"],
    );
    check("[gatway]\n", &[], &["f.toml:1: gatway is not a setting; did you mean gateway?"]);
    check(
        "listen = \"127.0.0.1:1\"\n",
        &[],
        &["f.toml:1: listen is not a setting; did you mean gateway.listen or admin.listen?"],
    );
    check("[gateway]\nfrobnicate = []\n", &[], &["f.toml:2: gateway.frobnicate is not a setting"]);
    check(
        "",
        &[("ROLLCALL_GATEWAY__LISTN", "x")],
        &["ROLLCALL_GATEWAY__LISTN: gateway.listn is not a setting; did you mean gateway.listen?"],
    );
    check("", &[("ROLLCALL_LISTEN", "x")], &["ROLLCALL_LISTEN: listen is not a setting; did you mean"]);
    check(
        &format!("{TOKENS}{APP}secrt = \"x\"\n"),
        &[],
        &["f.toml:7: apps.0.secrt is not a setting; did you mean apps.secret?"],
    );
    check(
        "[broker]\nredis = \"redis://localhost\"\n",
        &[],
        &["f.toml:2: broker.redis is not a setting: this release"],
    );
}

#[test]
fn a_value_of_the_wrong_shape_is_a_mistake() {
    check("gateway = 1\n", &[], &["f.toml:1: gateway must be a section"]);
    check("apps = 1\n", &[], &["f.toml:1: apps must be a list"]);
    check(&format!("apps = [\"x\"]\n{TOKENS}"), &[], &["f.toml:1: apps.0 must be a section"]);
    check(
        "[gateway]\nlisten = [\"127.0.0.1:1\"]\n",
        &[],
        &["f.toml:2: gateway.listen must be a single value"],
    );
    check("[gateway.listen]\nport = 1\n", &[], &["f.toml:1: gateway.listen must be a single value"]);
    check("[control]\ntokens = [[\"a\"]]\n", &[], &["f.toml:2: control.tokens.0 must not be a list"]);
    check("[gateway]\nlisten = \n", &[], &["f.toml:2: "]);
}

#[test]
fn each_limit_is_checked() {
    for (section, key, too_small, too_large) in [
        ("gateway", "workers", "-1", "1025"),
        ("gateway", "activity_timeout", "\"0s\"", "\"2h\""),
        ("gateway", "max_frame_bytes", "1", "1048577"),
        ("gateway", "outbox_bytes", "1024", "268435457"),
        ("gateway", "drain_time", "\"-1s\"", "\"2h\""),
        ("gateway", "handover_grace", "\"-1s\"", "\"6m\""),
        ("gateway", "sign_in_deadline", "\"0s\"", "\"6m\""),
        ("gateway", "frames_per_second", "0", "1000001"),
        ("gateway", "max_connections", "-1", "10000001"),
        ("presence", "shards", "0", "4097"),
        ("control", "terminate_deadline", "\"0s\"", "\"61s\""),
    ] {
        for value in [too_small, too_large] {
            check(
                &format!("[{section}]\n{key} = {value}\n"),
                &[],
                &[&format!("f.toml:2: {section}.{key} must be")],
            );
        }
    }
    for (key, wrong) in [
        ("authorization_timeout", "\"0s\""),
        ("watchlist_offline_grace", "\"11m\""),
        ("user_termination_close_code", "4000"),
        ("watchlist_limit", "0"),
        ("signin_success_data", "\"array\""),
        ("client_events", "\"yes\""),
        ("enabled", "1"),
        ("allowed_origins", "[\"a/b\"]"),
    ] {
        let line = format!("{TOKENS}{APP}{key} = {wrong}\n");
        let path = if key == "allowed_origins" { "allowed_origins.0" } else { key };
        check(&line, &[], &[&format!("f.toml:7: apps.0.{path} must be")]);
    }
}

#[test]
fn an_app_needs_an_id_a_key_and_one_secret() {
    check(
        &format!("{TOKENS}[[apps]]\n"),
        &[],
        &[
            "f.toml:3: apps.0.id is missing",
            "f.toml:3: apps.0.key is missing",
            "f.toml:3: apps.0.secret is missing",
        ],
    );
    check(
        &format!("{TOKENS}[[apps]]\nid = \"a/b\"\nkey = \"\"\nsecret = \"\"\n"),
        &[],
        &[
            "f.toml:4: apps.0.id must be",
            "f.toml:5: apps.0.key must be",
            "f.toml:6: apps.0.secret must not be empty",
        ],
    );
    check(
        &format!("{TOKENS}{APP}secret_file = \"/nonexistent\"\n"),
        &[],
        &["f.toml:6: apps.0.secret and secret_file", "f.toml:7: apps.0.secret_file cannot be read"],
    );
}

#[test]
fn two_apps_share_neither_id_nor_key() {
    check(
        &format!("{TOKENS}{APP}{APP}"),
        &[],
        &["f.toml:8: apps.1.id is also the id of apps.0", "f.toml:9: apps.1.key is also the key of apps.0"],
    );
    let other = APP.replace("\"k\"", "\"x\"").replace("\"7\"", "\"k\"");
    check(&format!("{TOKENS}{APP}{other}"), &[], &["f.toml:8: apps.1.id or key is the other's of app 7"]);
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let app = format!("{TOKENS}[[apps]]\nid = \"7\"\nkey = \"k\"\nsecret_file = {:?}\n", file.path());
    check(&app, &[], &["f.toml:6: apps.0.secret_file names an empty file"]);
    fs::write(file.path(), "0123456789abcdef\n").expect("written");
    let settings = good(&app, &[]);
    let secret = &settings.apps.by_key("k").expect("app").secret;
    let signed = secret.sign(&[b"x"]);
    assert!(
        signed == protocol::Secret::new("0123456789abcdef").sign(&[b"x"]),
        "the end of line is not part of it"
    );
}

#[test]
fn a_short_secret_is_warned_of_and_never_shown() {
    let settings = good(&format!("{TOKENS}{}", APP.replace("0123456789abcdef", "hunter2")), &[]);
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    let shown = format!("{settings:?} {:?}", settings.warnings);
    assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn a_mistake_never_shows_a_secret() {
    let text =
        format!("[control]\ntokens = [\"hunter2\", {{ token = \"hunter2\" }}]\n{APP}secret_file = \"/x\"\n")
            .replace("0123456789abcdef", "hunter2");
    let mistakes = read(&text, &[]).expect_err("mistakes").to_string();
    assert!(mistakes.contains("control.tokens.0 must be at least 16 characters"), "{mistakes}");
    assert!(mistakes.contains("control.tokens.1.token must be at least 16 characters"), "{mistakes}");
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}

#[test]
fn the_development_secret_stays_on_loopback() {
    for (key, variable) in [
        ("gateway.listen", "ROLLCALL_GATEWAY__LISTEN"),
        ("control.grpc_listen", "ROLLCALL_CONTROL__GRPC_LISTEN"),
        ("control.http_listen", "ROLLCALL_CONTROL__HTTP_LISTEN"),
        ("admin.listen", "ROLLCALL_ADMIN__LISTEN"),
    ] {
        for address in ["0.0.0.0:6001", "[::]:6001", "192.0.2.1:6001"] {
            let expected = format!("{variable}: {key} must be a loopback address");
            check("", &[(variable, address)], &[&expected]);
            let configured = format!("{TOKENS}{}", APP.replace("0123456789abcdef", "app-secret"));
            check(&configured, &[(variable, address)], &[&expected]);
            check(&format!("{TOKENS}{APP}"), &[(variable, address)], &[]);
        }
        check("", &[(variable, "[::1]:6001")], &[]);
    }
}

#[test]
fn outside_development_there_must_be_tokens() {
    check(APP, &[], &["control.tokens are missing"]);
    check(&format!("[control]\ntokens = []\n{APP}"), &[], &["f.toml:2: control.tokens must not be empty"]);
    check(&format!("{TOKENS}{APP}"), &[], &[]);
    assert_eq!(
        good("[control]\ntokens = [\"t\"]\n", &[]).control.tokens.len(),
        1,
        "any will do in development"
    );
}

#[test]
fn a_token_names_existing_apps_and_stands_once() {
    check(
        &format!(
            "[control]\ntokens = [\"0123456789abcdef\", {{ token = \"0123456789abcdef\", apps = [\"8\"], app = 1 }}, \
             \"with spaces in between\"]\n{APP}"
        ),
        &[],
        &[
            "f.toml:2: control.tokens.1.token is there twice",
            "f.toml:2: control.tokens.1.apps.0 is not the id of an app",
            "f.toml:2: control.tokens.1.app is not a setting; did you mean control.tokens.apps?",
            "f.toml:2: control.tokens.2 must be 1 to 4096 printable ASCII",
        ],
    );
}

const EXAMPLE: &str = include_str!("../../../../rollcall.example.toml");

/// The example with each setting as if its `#` had been taken away; prose has a space after its `#`.
fn uncommented() -> String {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let setting = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
        // An app has one secret: it stands beside this.
        let setting = setting.filter(|line| !line.starts_with("secret_file")).unwrap_or(line);
        writeln!(text, "{setting}").expect("a string takes it");
    }
    text
}

#[test]
fn the_example_as_it_stands_changes_nothing() {
    let (file, none) = (good(EXAMPLE, &[]), Settings::read(None, []).expect("the defaults"));
    assert!(file.development);
    assert_eq!(format!("{file:?}"), format!("{none:?}"));
}

#[test]
fn every_setting_in_the_example_is_one() {
    check(&uncommented(), &[], &[]);
}

#[test]
fn every_setting_stands_in_the_example_with_its_default() {
    let text = uncommented();
    let (settings, known) = Settings::walk(Some(File { name: "example", text: &text }), []);
    assert!(settings.is_ok(), "{settings:?}");
    let mut mistakes = Vec::new();
    let table = tree::from_file("example", &text, &mut mistakes);
    let mut shown = BTreeMap::new();
    flatten(&tree::Node::Table(table), "", &mut shown);
    assert!(known.len() > 30, "the walk notes what it asks for");
    for Known { template, default } in known {
        if template == "apps.secret_file" {
            assert!(EXAMPLE.contains("\n#secret_file = "), "secret_file is missing in the example");
            continue;
        }
        let shown = shown.get(&template);
        assert!(shown.is_some(), "{template} is missing in the example");
        if let Some(default) = default {
            assert_eq!(shown.map(String::as_str), Some(default), "{template} in the example");
        }
    }
}

/// Each key with its text, list positions left out.
fn flatten(node: &tree::Node, path: &str, into: &mut BTreeMap<String, String>) {
    let text = match node {
        tree::Node::Text(text) => text.clone(),
        tree::Node::List(_) | tree::Node::Table(_) => String::new(),
    };
    into.insert(path.to_owned(), text);
    match node {
        tree::Node::Text(_) => {}
        tree::Node::List(items) => {
            items.iter().filter(|item| !matches!(item.node, tree::Node::Text(_))).for_each(|item| {
                flatten(&item.node, path, into);
            });
        }
        tree::Node::Table(table) => table.iter().for_each(|(key, entry)| {
            flatten(&entry.node, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, into);
        }),
    }
}
