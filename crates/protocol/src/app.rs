//! One tenant: its credentials and what it allows.

use crate::{CloseCode, Secret};
use hashbrown::HashMap;
use ids::{AppId, AppKey};
use std::{sync::Arc, time::Duration};

#[derive(Debug, Clone)]
pub struct App {
    pub id: AppId,
    pub key: AppKey,
    pub secret: Secret,
    /// A disabled app refuses connections (4003) and API requests (403).
    pub enabled: bool,
    /// Whether `pusher:signin` is allowed at all.
    pub user_authentication: bool,
    /// Whether watchlists are kept and online/offline events sent.
    pub watchlist_events: bool,
    /// Authorized connections: a connection that has neither signed in nor joined a private or presence channel
    /// within this time is closed with 4009. `None`: it may stay.
    pub authorization_timeout: Option<Duration>,
    /// How long a user stays online after the last connection closed.
    pub watchlist_offline_grace: Duration,
    /// What a termination that names no close class closes with.
    pub user_termination_close: TerminationClose,
    /// The most users one connection may watch; the rest of a longer list is cut with error 4302.
    pub watchlist_limit: usize,
    pub signin_success_data: SigninSuccessData,
    /// Whether `client-…` events are accepted on private channels.
    pub client_events: bool,
    /// If not empty, a browser's `Origin` must be one of these hosts (`example.com`, `*.example.com`,
    /// `https://example.com`).
    pub allowed_origins: Vec<String>,
}

/// What clients of a terminated user are made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminationClose {
    /// 4200: come back at once, on a new socket with a new token.
    Reconnect,
    /// 4009: stop (pusher-js and the mobile clients do; the .NET client comes back all the same).
    Stop,
}

impl TerminationClose {
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            TerminationClose::Reconnect => CloseCode::ReconnectImmediately,
            TerminationClose::Stop => CloseCode::Unauthorized,
        }
    }
}

/// How `data` of `pusher:signin_success` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigninSuccessData {
    /// A JSON object; a string only for the Java clients that take nothing else.
    Object,
    /// A JSON string for every client.
    String,
}

/// All apps, found by key (clients) or by id (the API).
#[derive(Debug, Default)]
pub struct Apps {
    by_id: HashMap<AppId, Arc<App>>,
    by_key: HashMap<AppKey, Arc<App>>,
}

impl Apps {
    #[must_use]
    pub fn by_key(&self, key: &str) -> Option<&Arc<App>> {
        self.by_key.get(&key.parse::<AppKey>().ok()?)
    }

    #[must_use]
    pub fn by_id(&self, id: &AppId) -> Option<&Arc<App>> {
        self.by_id.get(id)
    }

    /// The app that an API path names: by its id, or by its key, which Vask's paths carry in place of the id.
    #[must_use]
    pub fn by_id_or_key(&self, name: &str) -> Option<&Arc<App>> {
        name.parse::<AppId>().ok().and_then(|id| self.by_id.get(&id)).or_else(|| self.by_key(name))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.by_id.values()
    }
}

impl FromIterator<App> for Apps {
    /// Of two apps with one id or one key the later is found; the settings refuse such a pair.
    fn from_iter<I: IntoIterator<Item = App>>(apps: I) -> Apps {
        let mut all = Apps::default();
        for app in apps.into_iter().map(Arc::new) {
            all.by_key.insert(app.key.clone(), Arc::clone(&app));
            all.by_id.insert(app.id.clone(), app);
        }
        all
    }
}

impl App {
    /// An app with every switch at its default.
    #[must_use]
    pub fn new(id: AppId, key: AppKey, secret: Secret) -> App {
        App {
            id,
            key,
            secret,
            enabled: true,
            user_authentication: true,
            watchlist_events: true,
            authorization_timeout: None,
            watchlist_offline_grace: Duration::ZERO,
            user_termination_close: TerminationClose::Reconnect,
            watchlist_limit: 100,
            signin_success_data: SigninSuccessData::Object,
            client_events: false,
            allowed_origins: Vec::new(),
        }
    }
}
