//! What the node's task and the workers' threads say to each other.

use bytes::Bytes;
use connection::{SignedIn, Subject, Wanted, Wish};
use ids::{AppId, ChannelName, ShardId, SocketId, UserKey};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use termination::{Selector, Termination, TerminationId};
use tokio::sync::oneshot;

/// 1 024 events of 10 KiB, the largest: 10 MiB for one worker that lags. When it is full the node waits, and so does
/// the broker behind it.
pub(crate) const TO_WORKER: usize = 1_024;

/// Workers join what they want while it is full.
pub(crate) const TO_NODE: usize = 64;

pub(crate) enum ToWorker {
    /// Somebody has connected.
    Socket(std::net::TcpStream, SocketAddr),
    /// What the worker asked for under this number is in place.
    Confirmed(Subject, u64),
    Levels(Vec<(UserKey, bool)>),
    OwnerHeard(ShardId, bool),
    /// `reached`, if given, is answered with how many connections the event was pushed to.
    UserEvent {
        key: UserKey,
        frame: Bytes,
        except: Option<SocketId>,
        reached: Option<oneshot::Sender<u32>>,
    },
    ChannelEvent {
        app: AppId,
        channel: ChannelName,
        frame: Bytes,
        except: Option<SocketId>,
    },
    Terminate(Arc<Termination>),
    Count {
        key: UserKey,
        selector: Arc<Selector>,
        answer: oneshot::Sender<u32>,
    },
    List {
        key: UserKey,
        answer: oneshot::Sender<Vec<SignedIn>>,
    },
    /// Close all connections over this time; answered when the worker has none.
    Drain(Duration, oneshot::Sender<()>),
}

pub(crate) enum FromWorker {
    Wishes {
        worker: usize,
        wishes: Vec<(Wish, Wanted)>,
    },
    /// The worker has carried a termination out.
    Terminated {
        termination: TerminationId,
        closed: u32,
    },
}
