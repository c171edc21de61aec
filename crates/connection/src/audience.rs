//! Who an event reaches on this worker: the connections of a user, the subscribers of a channel.

use crate::connection::ConnectionId;
use indexmap::IndexSet;
use smallvec::SmallVec;

/// The connections of one user, signed in or signing in.
#[derive(Debug)]
pub(crate) struct UserConnections {
    pub(crate) connections: SmallVec<[ConnectionId; 2]>,
    pub(crate) route: Route,
}

/// The connections on one channel. They are acknowledged, and reached, once the route is live.
#[derive(Debug)]
pub(crate) struct Subscribers {
    pub(crate) connections: IndexSet<ConnectionId, foldhash::fast::RandomState>,
    pub(crate) route: Route,
}

impl UserConnections {
    pub(crate) fn asked(ticket: u64) -> UserConnections {
        UserConnections { connections: SmallVec::new(), route: Route::Asked(ticket) }
    }
}

impl Subscribers {
    pub(crate) fn asked(ticket: u64) -> Subscribers {
        Subscribers { connections: IndexSet::default(), route: Route::Asked(ticket) }
    }
}

/// Whether what is addressed to it would arrive here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Asked of the node under this number, so that an answer to an earlier question does not count.
    Asked(u64),
    Live,
}

impl Route {
    /// The node's answer under `ticket`: whether that makes the route live. An answer to an earlier question does not.
    pub(crate) fn confirm(&mut self, ticket: u64) -> bool {
        let confirmed = *self == Route::Asked(ticket);
        if confirmed {
            *self = Route::Live;
        }
        confirmed
    }
}
