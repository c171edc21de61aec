//! What the server is told: a TOML file, and the environment over it, parsed once and whole into checked types. A wrong
//! value never falls back to a default, and all mistakes are reported together.
//!
//! `rollcall.example.toml` documents every setting; a test here keeps it true.

mod apps;
mod mistake;
mod parse;
mod section;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use apps::{DEVELOPMENT_ID, DEVELOPMENT_KEY, DEVELOPMENT_SECRET};
pub(crate) use mistake::{Mistake, Mistakes};

use apps::Tenants;
use ids::{AppId, Shards};
use protocol::Apps;
use section::{Item, Known, Notes, Section, Shown};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    path::Path,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};
use telemetry::{LogFormat, LogSettings};

/// Everything a process needs to know, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) log: LogSettings,
    /// `max_connections` may be 0 here: as many as the file descriptors allow, which is asked at start.
    pub(crate) gateway: gateway::Settings,
    pub(crate) presence: presence::Settings,
    /// Without tokens only in development, where one is drawn at start.
    pub(crate) control: control::Settings,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) apps: Arc<Apps>,
    /// No app is configured, so the built-in one runs, with the demo.
    pub(crate) development: bool,
    /// What is allowed and yet unwise.
    pub(crate) warnings: Vec<String>,
}

/// A settings file that has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    /// As it is named in messages.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

impl Settings {
    /// Reads this process's settings: the file, if one is named, and the environment.
    ///
    /// # Errors
    /// All mistakes, together.
    pub(crate) fn load(file: Option<&Path>) -> Result<Settings, Mistakes> {
        let mistake = |key: &str, text: String| Mistake { key: key.to_owned(), origin: None, text };
        let mut environment = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) =
                name.to_str().filter(|name| name.starts_with("ROLLCALL_") || *name == "RUST_LOG")
            else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(environment.insert(name.to_owned(), value)),
                Err(_) => mistakes.push(mistake(name, "is not UTF-8".to_owned())),
            }
        }
        let name = file.map(|path| path.display().to_string()).unwrap_or_default();
        let text = file.map(fs::read_to_string).transpose().unwrap_or_else(|error| {
            mistakes.push(mistake("", format!("{name} cannot be read: {error}")));
            None
        });
        let file = text.as_deref().map(|text| File { name: &name, text });
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match Settings::read(file, environment) {
            Ok(settings) if mistakes.is_empty() => Ok(settings),
            Ok(_) => Err(Mistakes(mistakes)),
            Err(Mistakes(more)) => {
                mistakes.extend(more);
                Err(Mistakes(mistakes))
            }
        }
    }

    /// Parses a file's text with the environment laid over it.
    ///
    /// # Errors
    /// All mistakes, together.
    pub(crate) fn read<'a>(
        file: Option<File<'_>>,
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Settings, Mistakes> {
        Settings::walk(file, environment).0
    }

    fn walk<'a>(
        file: Option<File<'_>>,
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Result<Settings, Mistakes>, Vec<Known>) {
        let mut mistakes = Vec::new();
        let mut table =
            file.map(|file| tree::from_file(file.name, file.text, &mut mistakes)).unwrap_or_default();
        tree::overlay(&mut table, environment, &mut mistakes);
        let notes = Notes::default();
        mistakes.into_iter().for_each(|mistake| notes.add(mistake));
        let settings = read_all(Section::root(table, &notes));
        let (checked, known) = notes.finish();
        (checked.map(|()| settings), known)
    }
}

fn read_all(mut root: Section<'_>) -> Settings {
    let log = read_log(root.section("log"));
    let tenants = apps::read(&mut root);
    let gateway = read_gateway(root.section("gateway"), &tenants);
    let presence = read_presence(root.section("presence"));
    let control = read_control(root.section("control"), &gateway.path_prefix, &tenants);
    root.section("broker").finish_with(Some(
        "this release has no broker settings yet: everything runs in one process, on an in-process broker",
    ));
    let admin_listen = read_admin(root.section("admin"), &tenants);
    root.finish();
    let Tenants { apps, development, public_secret: _, warnings } = tenants;
    let apps = Arc::new(apps.into_iter().collect());
    Settings { log, gateway, presence, control, admin_listen, apps, development, warnings }
}

fn read_log(mut section: Section<'_>) -> LogSettings {
    let format = section.value("format", "human", |text| match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be \"human\" or \"json\"".to_owned()),
    });
    let filter = section.value("filter", "info", |text| match telemetry::check_filter(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(format!("must be like info or warn,gateway=debug: {error}")),
    });
    section.finish();
    LogSettings { format, filter }
}

fn read_gateway(mut section: Section<'_>, tenants: &Tenants) -> gateway::Settings {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    let workers = section.value("workers", "0", parse::number(0..=1024)) as usize;
    let frames_per_second = section.value("frames_per_second", "100", parse::number(1..=1_000_000)) as u32;
    let settings = gateway::Settings {
        listen: section.value("listen", "127.0.0.1:6001", parse::address),
        workers: NonZeroUsize::new(workers)
            .or_else(|| available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN),
        activity_timeout: section.value(
            "activity_timeout",
            "120s",
            parse::whole_seconds(seconds(1)..=seconds(3600)),
        ),
        max_frame_bytes: section.value("max_frame_bytes", "65536", parse::number(1024..=1 << 20)) as usize,
        outbox_bytes: section.value("outbox_bytes", "1048576", parse::number(65_536..=1 << 28)) as usize,
        path_prefix: section.value("path_prefix", "", parse::path_prefix),
        drain_time: section.value("drain_time", "10s", parse::duration(Duration::ZERO..=seconds(3600))),
        handover_grace: section.value("handover_grace", "0s", parse::duration(Duration::ZERO..=seconds(300))),
        sign_in_deadline: section.value(
            "sign_in_deadline",
            "10s",
            parse::duration(millis(100)..=seconds(300)),
        ),
        assume_protocol_7: section.value("assume_protocol_7", "false", parse::flag),
        frames_per_second: NonZeroU32::new(frames_per_second).unwrap_or(NonZeroU32::MIN),
        max_connections: section.value("max_connections", "0", parse::number(0..=10_000_000)) as usize,
    };
    keep_public_secret_at_home(&section, "listen", settings.listen, tenants);
    section.finish();
    settings
}

fn read_presence(mut section: Section<'_>) -> presence::Settings {
    let shards = section.value("shards", "16", parse::number(1..=4096)) as u16;
    section.finish();
    // In one process the first beat reaches everybody there is.
    presence::Settings {
        shards: Shards::new(NonZeroU16::new(shards).unwrap_or(NonZeroU16::MIN)),
        listen_beats: 1,
    }
}

fn read_control(mut section: Section<'_>, path_prefix: &str, tenants: &Tenants) -> control::Settings {
    let settings = control::Settings {
        grpc_listen: section.value("grpc_listen", "127.0.0.1:50051", parse::address),
        http_listen: section.optional("http_listen", Shown::Plainly, parse::address),
        path_prefix: path_prefix.to_owned(),
        tokens: read_tokens(&mut section, tenants),
        terminate_deadline: section.value(
            "terminate_deadline",
            "5s",
            parse::duration(Duration::from_millis(100)..=Duration::from_secs(60)),
        ),
    };
    keep_public_secret_at_home(&section, "grpc_listen", settings.grpc_listen, tenants);
    if let Some(listen) = settings.http_listen {
        keep_public_secret_at_home(&section, "http_listen", listen, tenants);
    }
    section.finish();
    settings
}

fn read_tokens(section: &mut Section<'_>, tenants: &Tenants) -> Vec<control::Token> {
    if !tenants.development && !section.has("tokens") {
        section.mistake(
            "tokens",
            "are missing: whoever calls the gRPC API shows one, such as the output of `openssl rand -hex 16`",
        );
    }
    let (mut tokens, mut seen) = (Vec::new(), HashSet::new());
    let min = if tenants.development { 1 } else { 16 };
    let secret = |text: &str| match control::Token::new(text, None) {
        Err(wrong) => Err(wrong.to_string().replace("a token ", "")),
        Ok(_) if text.len() < min => Err(format!("must be at least {min} characters")),
        Ok(_) => Ok(text.to_owned()),
    };
    let items = section.list("tokens");
    let given = !items.is_empty();
    for item in items {
        let (token, apps) = match item {
            Item::Text(text) => {
                let token = text.read(Shown::Never, secret);
                if token.as_ref().is_some_and(|token| !seen.insert(token.clone())) {
                    text.mistake("is there twice");
                }
                (token, None)
            }
            Item::Section(mut item) => {
                let token = item.required("token", Shown::Never, secret);
                if token.as_ref().is_some_and(|token| !seen.insert(token.clone())) {
                    item.mistake("token", "is there twice");
                }
                let apps = item.has("apps").then(|| item.values("apps", |text| app_of(text, tenants)));
                item.finish();
                (token, apps)
            }
        };
        // What is no token has been noted above.
        tokens.extend(token.and_then(|secret| control::Token::new(&secret, apps).ok()));
    }
    if !tenants.development && !given && section.has("tokens") {
        section.mistake("tokens", "must not be empty: nobody could call the gRPC API");
    }
    tokens
}

fn app_of(text: &str, tenants: &Tenants) -> Result<AppId, String> {
    let id: AppId = parse::checked(text)?;
    let exists = tenants.apps.iter().any(|app| app.id == id);
    if exists { Ok(id) } else { Err("is not the id of an app".to_owned()) }
}

fn read_admin(mut section: Section<'_>, tenants: &Tenants) -> SocketAddr {
    let listen = section.value("listen", "127.0.0.1:9601", parse::address);
    keep_public_secret_at_home(&section, "listen", listen, tenants);
    section.finish();
    listen
}

/// Everybody knows the development secret, so with it nothing listens where others can reach it.
fn keep_public_secret_at_home(section: &Section<'_>, key: &str, listen: SocketAddr, tenants: &Tenants) {
    if tenants.public_secret && !listen.ip().is_loopback() {
        let text = if tenants.development {
            "must be a loopback address while the development app runs: configure [[apps]] first"
        } else {
            "must be a loopback address while an app has the development secret: give it a secret of its own"
        };
        section.mistake(key, text);
    }
}
