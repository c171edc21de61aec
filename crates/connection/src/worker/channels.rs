//! Subscriptions and client events. `docs/PROTOCOL.md` §3 and §6.

use super::{Effect, Route, Wanted, Wish, Worker, error, send};
use crate::{
    audience::Subscribers,
    connection::{ConnectionId, State},
    rate::{Limit, Rate},
};
use ids::{AppId, ChannelKind, ChannelName, EventName};
use protocol::{
    ClientEvent, ErrorCode, Subscribe,
    server::{self, SubscriptionErrorKind, USER_CHANNEL_PREFIX},
    signature,
};
use std::time::{Duration, Instant};

/// 1 000 names of 200 bytes: 200 KB for one client.
const MAX_CHANNELS: usize = 1_000;

const MAX_CLIENT_EVENT_BYTES: usize = 10_240;

const CLIENT_EVENTS: Limit = Limit { interval: Duration::from_millis(100), burst: 10 };

/// A subscription that is refused: what the client is told, twice.
struct Refusal {
    kind: SubscriptionErrorKind,
    message: String,
}

impl Refusal {
    fn new(kind: SubscriptionErrorKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into() }
    }
}

impl Worker {
    pub(super) fn subscribe(&mut self, id: ConnectionId, asked: Subscribe, effects: &mut Vec<Effect>) {
        let Err(refusal) = self.try_subscribe(id, &asked, effects) else { return };
        // The first reaches `channel.bind('pusher:subscription_error')`; the second is all that .NET, Java and Swift see.
        send(effects, id, &server::subscription_error(&asked.channel, refusal.kind, &refusal.message));
        let code = match refusal.kind {
            SubscriptionErrorKind::Auth | SubscriptionErrorKind::Forbidden => Some(ErrorCode::Unauthorized),
            SubscriptionErrorKind::InvalidChannel | SubscriptionErrorKind::LimitReached => None,
        };
        error(effects, id, code, &refusal.message);
    }

    fn try_subscribe(
        &mut self,
        id: ConnectionId,
        asked: &Subscribe,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if let Some(user) = asked.channel.strip_prefix(USER_CHANNEL_PREFIX) {
            return self.subscribe_to_user(id, user, effects);
        }
        let channel: ChannelName = asked.channel.parse().map_err(|error: ids::InvalidChannelName| {
            Refusal::new(SubscriptionErrorKind::InvalidChannel, error.to_string())
        })?;
        let connection = &self.connections[id];
        match channel.kind() {
            ChannelKind::Public => {}
            ChannelKind::Private => {
                let auth = asked.auth.as_deref().filter(|auth| !auth.is_empty());
                let refusal = |message: String| Refusal::new(SubscriptionErrorKind::Auth, message);
                let auth = auth.ok_or_else(|| refusal("a private channel needs `auth`".to_owned()))?;
                let data = asked.channel_data.as_deref();
                signature::verify_subscription(&connection.app, connection.socket, &channel, auth, data)
                    .map_err(|error| refusal(error.to_string()))?;
            }
            ChannelKind::Encrypted | ChannelKind::Presence | ChannelKind::Cache => {
                let message = "encrypted, presence and cache channels are not supported by this release";
                return Err(Refusal::new(SubscriptionErrorKind::InvalidChannel, message));
            }
        }
        if !connection.channels.contains(&channel) && connection.channels.len() == MAX_CHANNELS {
            let message = format!("a connection may join {MAX_CHANNELS} channels");
            return Err(Refusal::new(SubscriptionErrorKind::LimitReached, message));
        }
        self.join(id, channel, effects);
        Ok(())
    }

    /// A user's own channel: nothing to join, since events for a user go by identity. .NET waits for the answer.
    fn subscribe_to_user(
        &mut self,
        id: ConnectionId,
        user: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match &self.connections[id].state {
            State::SignedIn(signed_in) if signed_in.user.as_str() == user => {
                send(effects, id, &server::subscription_succeeded(&server::user_channel(&signed_in.user)));
                Ok(())
            }
            _ => {
                let message =
                    "only a connection that is signed in as the user may subscribe to the user's channel";
                Err(Refusal::new(SubscriptionErrorKind::Forbidden, message))
            }
        }
    }

    fn join(&mut self, id: ConnectionId, channel: ChannelName, effects: &mut Vec<Effect>) {
        let ticket = self.tickets + 1;
        let connection = &mut self.connections[id];
        if channel.kind() != ChannelKind::Public {
            connection.authorize_by = None;
        }
        if !connection.channels.contains(&channel) {
            connection.channels.push(channel.clone());
        }
        let app = connection.app.id.clone();
        let channels = self.channels.entry(app.clone()).or_default();
        let subscribers = channels.entry(channel.clone()).or_insert_with(|| Subscribers::asked(ticket));
        subscribers.connections.insert(id);
        match subscribers.route {
            Route::Live => send(effects, id, &server::subscription_succeeded(channel.as_str())),
            Route::Asked(asked) if asked == ticket => {
                self.tickets = ticket;
                self.wish(Wish::Channel(app, channel), Wanted::Yes { ticket });
            }
            Route::Asked(_) => {} // acknowledged with the others
        }
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, channel: &str) {
        let connection = &mut self.connections[id];
        let app = connection.app.id.clone();
        if let Some(at) = connection.channels.iter().position(|joined| joined.as_str() == channel) {
            let channel = connection.channels.swap_remove(at);
            self.leave(&app, id, &channel);
        }
    }

    /// Takes a connection out of a channel's subscribers.
    pub(super) fn leave(&mut self, app: &AppId, id: ConnectionId, channel: &ChannelName) {
        let Some(channels) = self.channels.get_mut(app) else { return };
        let Some(subscribers) = channels.get_mut(channel) else { return };
        subscribers.connections.swap_remove(&id);
        if subscribers.connections.is_empty() {
            channels.remove(channel);
            if channels.is_empty() {
                self.channels.remove(app);
            }
            self.wish(Wish::Channel(app.clone(), channel.clone()), Wanted::No { grace: Duration::ZERO });
        }
    }

    pub(super) fn client_event(
        &mut self,
        id: ConnectionId,
        sent: ClientEvent,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let connection = &mut self.connections[id];
        let rejected = Some(ErrorCode::ClientEventRejected);
        let refusal = match (
            connection.channels.iter().find(|joined| joined.as_str() == sent.channel),
            sent.event.parse(),
        ) {
            _ if !connection.app.client_events => (rejected, "client events are turned off for this app"),
            (None, _) => (None, "client events need a subscription to their channel"),
            (Some(channel), _) if channel.kind() != ChannelKind::Private => {
                (None, "client events are allowed on private channels only")
            }
            (_, Err(_)) => (None, "the name of a client event must be at most 200 characters"),
            _ if sent.data.len() > MAX_CLIENT_EVENT_BYTES => {
                (None, "the data of a client event must be at most 10240 bytes")
            }
            (Some(channel), Ok(event)) => {
                let (app, channel, except) = (connection.app.id.clone(), channel.clone(), connection.socket);
                let rate = connection.client_events.get_or_insert(Rate::unused(now));
                if rate.admit(CLIENT_EVENTS, now) {
                    let event: EventName = event;
                    effects.push(Effect::Publish { app, channel, event, data: sent.data, except });
                    return;
                }
                (rejected, "at most 10 client events per second are allowed")
            }
        };
        error(effects, id, refusal.0, refusal.1);
    }
}
