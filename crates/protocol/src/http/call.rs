//! What an authorized request asks for.

use super::{Batch, Endpoint, Error, Publication, json::Object};
use ids::UserId;

/// Everything that a backend can ask for over the HTTP API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    Publish(Publication),
    PublishBatch(Batch),
    TerminateConnections(UserId),
}

impl Call {
    /// `body` is a JSON object; the empty body of a request has been replaced by one.
    pub(super) fn read(endpoint: Endpoint<'_>, body: &[u8]) -> Result<Call, Error> {
        match endpoint {
            Endpoint::Events => Publication::read(body).map(Call::Publish),
            Endpoint::BatchEvents => Batch::read(body).map(Call::PublishBatch),
            Endpoint::UserEvents(user) => Publication::read_for(user.decode()?, body).map(Call::Publish),
            Endpoint::TerminateConnections(user) => {
                let user = user.decode()?;
                // SDKs send `{}`. There is nothing to say in it, but what is no JSON is a mistake.
                Object::of_body(body)?;
                Ok(Call::TerminateConnections(user))
            }
        }
    }
}
