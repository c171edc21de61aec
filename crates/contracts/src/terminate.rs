//! Terminations, as they stand in the journal.

use crate::{InvalidMessage, cluster::v1};
use ids::{ProcessId, UserKey};
use protocol::TerminationClose;
use termination::{Selector, Termination, TerminationId};

impl From<&UserKey> for v1::User {
    fn from(key: &UserKey) -> v1::User {
        v1::User { app: key.app.to_string(), user: key.user.to_string() }
    }
}

impl TryFrom<v1::User> for UserKey {
    type Error = InvalidMessage;

    fn try_from(user: v1::User) -> Result<UserKey, InvalidMessage> {
        Ok(UserKey {
            app: user.app.parse().map_err(|_| InvalidMessage("app"))?,
            user: user.user.parse().map_err(|_| InvalidMessage("user"))?,
        })
    }
}

impl From<&Selector> for v1::Selector {
    fn from(selector: &Selector) -> v1::Selector {
        use v1::selector::Which;
        let ids = |sockets: &[ids::SocketId]| v1::SocketIds {
            ids: sockets.iter().map(ToString::to_string).collect(),
        };
        let which = match selector {
            Selector::All => None,
            Selector::Except(sockets) => Some(Which::Except(ids(sockets))),
            Selector::Only(sockets) => Some(Which::Only(ids(sockets))),
        };
        v1::Selector { which }
    }
}

impl TryFrom<v1::Selector> for Selector {
    type Error = InvalidMessage;

    fn try_from(selector: v1::Selector) -> Result<Selector, InvalidMessage> {
        use v1::selector::Which;
        let ids = |sockets: v1::SocketIds| {
            let sockets = sockets.ids.iter().map(|id| id.parse());
            sockets.collect::<Result<_, _>>().map_err(|_| InvalidMessage("socket id"))
        };
        match selector.which {
            None => Ok(Selector::All),
            Some(Which::Except(sockets)) => ids(sockets).map(Selector::Except),
            Some(Which::Only(sockets)) => ids(sockets).map(Selector::Only),
        }
    }
}

impl From<&Termination> for v1::Termination {
    fn from(termination: &Termination) -> v1::Termination {
        v1::Termination {
            id: termination.id.0,
            asker: termination.asker.bits(),
            user: Some((&termination.user).into()),
            selector: Some((&termination.selector).into()),
            close_code: termination.close.code().number().into(),
            reason: termination.reason.clone(),
        }
    }
}

impl TryFrom<v1::Termination> for Termination {
    type Error = InvalidMessage;

    fn try_from(termination: v1::Termination) -> Result<Termination, InvalidMessage> {
        Ok(Termination {
            id: TerminationId(termination.id),
            asker: ProcessId::from_random(termination.asker),
            user: termination.user.ok_or(InvalidMessage("user"))?.try_into()?,
            selector: termination.selector.unwrap_or_default().try_into()?,
            close: match termination.close_code {
                4200 => TerminationClose::Reconnect,
                4009 => TerminationClose::Stop,
                _ => return Err(InvalidMessage("close code")),
            },
            reason: termination.reason,
        })
    }
}
