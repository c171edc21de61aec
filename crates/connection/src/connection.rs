//! One client's connection: who it is, what it has joined, and when it has to be looked at next.

use crate::{
    rate::Rate,
    watching::{Snapshot, Watching},
};
use ids::{ChannelName, SocketId, UserId, UserKey};
use protocol::{App, connect::Client};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use termination::Mark;

/// Names a connection within its worker, from its opening until [`crate::Worker::closed`].
pub type ConnectionId = usize;

/// Whether the next frame of a connection may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Now,
    /// It sends too fast: not before then.
    At(Instant),
    /// Enough frames wait for its sign-in to finish.
    Blocked,
}

/// Frames that come while a sign-in is under way wait for it; with this many bytes of them, reading pauses.
const DEFERRED_BYTES: usize = 16 * 1024;

/// How long a client may take to answer a ping.
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) app: Arc<App>,
    pub(crate) socket: SocketId,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    /// How many terminations had been read when it was opened.
    pub(crate) opened: Mark,
    pub(crate) state: State,
    pub(crate) failed_sign_ins: u8,
    /// Until then it must have signed in or joined a private channel; `None`: it need not, or has.
    pub(crate) authorize_by: Option<Instant>,
    pub(crate) channels: Vec<ChannelName>,
    /// When something last came from the client, and when it was pinged since.
    pub(crate) heard: Instant,
    pub(crate) pinged: Option<Instant>,
    pub(crate) frames: Rate,
    pub(crate) pause: Option<Instant>,
    pub(crate) client_events: Option<Rate>,
    /// Frames that wait for the sign-in under way.
    pub(crate) deferred: VecDeque<String>,
}

#[derive(Debug)]
pub(crate) enum State {
    Anonymous,
    SigningIn(Box<SigningIn>),
    SignedIn(Box<SignedInAs>),
    /// A close has been decided: nothing that it says counts any more. Keeps who it was, since what waits to be sent
    /// to it is still that user's.
    Closing(Option<UserId>),
}

/// A sign-in that was verified and waits for the broker.
#[derive(Debug)]
pub(crate) struct SigningIn {
    pub(crate) user: UserId,
    pub(crate) user_data: String,
    /// How many users the list named, if that was more than the app allows.
    pub(crate) cut_from: Option<usize>,
    pub(crate) deadline: Instant,
    pub(crate) watching: Watching,
}

#[derive(Debug)]
pub(crate) struct SignedInAs {
    pub(crate) user: UserId,
    pub(crate) since: Instant,
    pub(crate) watching: Watching,
}

impl Connection {
    /// Who it is, or is about to be.
    pub(crate) fn user(&self) -> Option<&UserId> {
        match &self.state {
            State::Anonymous | State::Closing(_) => None,
            State::SigningIn(signing_in) => Some(&signing_in.user),
            State::SignedIn(signed_in) => Some(&signed_in.user),
        }
    }

    pub(crate) fn user_key(&self) -> Option<UserKey> {
        self.user().map(|user| UserKey { app: self.app.id.clone(), user: user.clone() })
    }

    pub(crate) fn watching(&mut self) -> Option<&mut Watching> {
        match &mut self.state {
            State::Anonymous | State::Closing(_) => None,
            State::SigningIn(signing_in) => Some(&mut signing_in.watching),
            State::SignedIn(signed_in) => Some(&mut signed_in.watching),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_))
    }

    pub(crate) fn reading(&self, now: Instant) -> Reading {
        let deferred: usize = self.deferred.iter().map(String::len).sum();
        match self.pause {
            _ if deferred > DEFERRED_BYTES => Reading::Blocked,
            Some(until) if until > now => Reading::At(until),
            _ => Reading::Now,
        }
    }

    /// When it has to be looked at next, if nothing happens.
    pub(crate) fn deadline(&self, activity_timeout: Duration) -> Option<Instant> {
        let alive = self.pinged.map_or(self.heard + activity_timeout, |at| at + PONG_TIMEOUT);
        let step = match &self.state {
            State::Closing(_) => return None,
            State::Anonymous => self.authorize_by,
            // Whether it is authorized is known when the sign-in has ended.
            State::SigningIn(signing_in) => Some(signing_in.deadline),
            State::SignedIn(signed_in) => match signed_in.watching.snapshot {
                Snapshot::Due(at) => Some(at),
                Snapshot::NotYet | Snapshot::Told => None,
            },
        };
        Some(step.map_or(alive, |step| step.min(alive)))
    }
}
