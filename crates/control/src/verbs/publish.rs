//! Publish: hand an event to the broker, for a user or for a channel.

use super::{VerbError, Verbs, key};
use crate::metrics::{Outcome, Verb};
use broker::Topic;
use contracts::{cluster::v1, encode};
use ids::{EventName, SocketId};
use protocol::{App, http::Audience};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: EventName,
    /// Given to clients as it is. At most [`protocol::http::MAX_DATA_BYTES`], which the APIs check.
    pub data: String,
    /// Leave out this connection.
    pub except: Option<SocketId>,
}

impl Verbs {
    /// Publishes an event; returns when the broker took it. Nobody may be listening.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take it in time. It may be delivered all the same.
    pub async fn publish(&self, app: &Arc<App>, audience: Audience, event: Event) -> Result<(), VerbError> {
        let (topic, message) = match &audience {
            Audience::User(user) => {
                let said = Some(v1::to_user::Said::Event(event.into()));
                (Topic::user(&key(app, user)), encode(&v1::ToUser { question: None, said }))
            }
            Audience::Channel(channel) => {
                let message = encode(&v1::ToChannel { event: Some(event.into()) });
                (Topic::channel(&app.id, channel), message)
            }
        };
        let taken = self.publish_message(topic, message).await.map(|_| ());
        if taken.is_ok() {
            self.0.metrics.published(&audience);
        }
        self.0.metrics.request(Verb::Publish, Outcome::of(&taken, |()| true));
        taken
    }
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> v1::Event {
        let except_socket_id = event.except.map(|socket| socket.to_string()).unwrap_or_default();
        v1::Event { name: event.name.as_str().to_owned(), data: event.data, except_socket_id }
    }
}
