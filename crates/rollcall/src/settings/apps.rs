//! The `[[apps]]` of the settings, or the development app when there are none.

use super::{
    parse,
    section::{Item, Section, Shown},
};
use ids::{AppId, AppKey};
use protocol::{App, Secret, SigninSuccessData, TerminationClose};
use std::{collections::HashMap, fs, time::Duration};

/// The credentials of the app that runs when none is configured. Everybody knows them.
pub(crate) const DEVELOPMENT_ID: &str = "1";
pub(crate) const DEVELOPMENT_KEY: &str = "app-key";
pub(crate) const DEVELOPMENT_SECRET: &str = "app-secret";

/// Below this a secret invites guessing, and one signature is enough to try guesses on.
const SHORT_SECRET: usize = 16;

/// What `[[apps]]` says.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) apps: Vec<App>,
    /// No app is configured: the built-in one runs.
    pub(super) development: bool,
    /// Where the development secret is used, if it is.
    pub(super) public_secret: bool,
    pub(super) warnings: Vec<String>,
}

fn development_app() -> App {
    let (id, key) = (DEVELOPMENT_ID.parse(), DEVELOPMENT_KEY.parse());
    App::new(id.expect("an app id"), key.expect("an app key"), Secret::new(DEVELOPMENT_SECRET))
}

pub(super) fn read(root: &mut Section<'_>) -> Tenants {
    let mut tenants = Tenants::default();
    let mut ids: HashMap<AppId, usize> = HashMap::new();
    let mut keys: HashMap<AppKey, usize> = HashMap::new();
    let items = root.list("apps");
    tenants.development = items.is_empty();
    for (index, item) in items.into_iter().enumerate() {
        let mut section = match item {
            Item::Section(section) => section,
            Item::Text(text) => {
                text.mistake("must be a section: [[apps]] and its settings below");
                continue;
            }
        };
        let app = read_app(&mut section, &mut tenants, index);
        if let Some(app) = app {
            if let Some(first) = ids.insert(app.id.clone(), index) {
                section.mistake("id", format!("is also the id of apps.{first}"));
            }
            if let Some(first) = keys.insert(app.key.clone(), index) {
                section.mistake("key", format!("is also the key of apps.{first}"));
            }
            // API paths may carry either, so one app's id must not be another's key.
            if let Some(other) = tenants
                .apps
                .iter()
                .find(|other| other.id.as_str() == app.key.as_str() || other.key.as_str() == app.id.as_str())
            {
                section.mistake(
                    "id",
                    format!("or key is the other's of app {}: API paths may name either", other.id),
                );
            }
            tenants.apps.push(app);
        }
        section.finish();
    }
    if tenants.development {
        tenants.apps.push(development_app());
        tenants.public_secret = true;
    }
    tenants
}

fn read_app(section: &mut Section<'_>, tenants: &mut Tenants, index: usize) -> Option<App> {
    let id: Option<AppId> = section.required("id", Shown::Plainly, parse::checked);
    let key: Option<AppKey> = section.required("key", Shown::Plainly, parse::checked);
    let secret = read_secret(section);
    if let Some(secret) = &secret {
        tenants.public_secret |= secret == DEVELOPMENT_SECRET;
        if secret.chars().count() < SHORT_SECRET && secret != DEVELOPMENT_SECRET {
            let name = id.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            tenants.warnings.push(format!(
                "the secret of app {name} has fewer than {SHORT_SECRET} characters: draw one, as with `openssl rand -hex 16`"
            ));
        }
    }

    let enabled = section.value("enabled", "true", parse::flag);
    let user_authentication = section.value("user_authentication", "true", parse::flag);
    let watchlist_events = section.value("watchlist_events", "true", parse::flag);
    let authorized_connections = section.value("authorized_connections", "false", parse::flag);
    let seconds = Duration::from_secs;
    let authorization_timeout =
        section.value("authorization_timeout", "30s", parse::duration(seconds(1)..=seconds(3600)));
    let watchlist_offline_grace =
        section.value("watchlist_offline_grace", "0s", parse::duration(Duration::ZERO..=seconds(600)));
    let user_termination_close = section.value("user_termination_close_code", "4200", |text| match text {
        "4200" => Ok(TerminationClose::Reconnect),
        "4009" => Ok(TerminationClose::Stop),
        _ => Err("must be 4200 (clients come back) or 4009 (clients stop)".to_owned()),
    });
    let watchlist_limit = section.value("watchlist_limit", "100", parse::number(1..=10_000)) as usize;
    let signin_success_data = section.value("signin_success_data", "object", |text| match text {
        "object" => Ok(SigninSuccessData::Object),
        "string" => Ok(SigninSuccessData::String),
        _ => Err("must be \"object\" or \"string\"".to_owned()),
    });
    let client_events = section.value("client_events", "false", parse::flag);
    let allowed_origins = section.values("allowed_origins", parse::origin);

    Some(App {
        enabled,
        user_authentication,
        watchlist_events,
        authorization_timeout: authorized_connections.then_some(authorization_timeout),
        watchlist_offline_grace,
        user_termination_close,
        watchlist_limit,
        signin_success_data,
        client_events,
        allowed_origins,
        ..App::new(id?, key?, Secret::new(&secret?))
    })
}

/// The secret itself, or the first line of the file that holds it.
fn read_secret(section: &mut Section<'_>) -> Option<String> {
    let not_empty = |secret: &str| match secret {
        "" => Err("must not be empty".to_owned()),
        secret => Ok(secret.to_owned()),
    };
    let from_file = |path: &str| {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
        // An editor ends the line; the secret has no such end.
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err("names an empty file".to_owned()),
            secret => Ok(secret.to_owned()),
        }
    };
    let (plain_given, file_given) = (section.has("secret"), section.has("secret_file"));
    let plain = section.optional("secret", Shown::Never, not_empty);
    let file = section.optional("secret_file", Shown::Plainly, from_file);
    match (plain_given, file_given) {
        (true, true) => section.mistake("secret", "and secret_file are both there: keep one"),
        (false, false) => section.mistake("secret", "is missing: set it, or secret_file"),
        (true, false) | (false, true) => {}
    }
    plain.or(file)
}
