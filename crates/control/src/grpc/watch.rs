//! A watch as a stream of answers. It keeps no queue of its own: what the caller has not read waits in the node's watch,
//! which is bounded and ends when it is full.

use super::{
    messages::level,
    refusal::{Refusal, watch_ended},
};
use crate::metrics::Metrics;
use contracts::control::v1::WatchUsersResponse;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use ids::UserKey;
use node::WatchEnded;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Streams open at once: each follows at most 10 000 users, of which the node keeps some 100 bytes: 1 GB at the very
/// worst, and 1 MB for watches of ten.
const MAX_WATCHES: usize = 1_024;

pub(super) type Levels = BoxStream<'static, Result<WatchUsersResponse, Status>>;

/// The places for streams.
pub(super) struct Watches {
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// One place, held as long as its stream is open.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Watches {
    pub(super) fn new(metrics: Arc<Metrics>) -> Watches {
        Watches { places: Arc::new(Semaphore::new(MAX_WATCHES)), metrics }
    }

    pub(super) fn enter(&self) -> Result<Place, Refusal> {
        let places = Arc::clone(&self.places);
        let permit = places.try_acquire_owned().map_err(|_| Refusal::TooManyWatches)?;
        self.metrics.watches().inc();
        Ok(Place { _permit: permit, metrics: Arc::clone(&self.metrics) })
    }
}

impl Place {
    pub(super) fn follow(self, watch: node::Watch) -> Levels {
        self.answers(stream::unfold(watch, |mut watch| async { Some((watch.next().await, watch)) }))
    }

    /// An answer for each batch of levels, and a status for the end, which is the last thing in the stream.
    fn answers(
        self,
        batches: impl Stream<Item = Result<Vec<(UserKey, bool)>, WatchEnded>> + Send + 'static,
    ) -> Levels {
        stream::unfold(Some((batches.boxed(), self)), |open| async move {
            let (mut batches, place) = open?;
            match batches.next().await? {
                Ok(levels) => {
                    let users = levels.into_iter().map(|(key, online)| level((key.user, online))).collect();
                    Some((Ok(WatchUsersResponse { users }), Some((batches, place))))
                }
                Err(why) => Some((Err(watch_ended(why)), None)),
            }
        })
        .boxed()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.watches().dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry::Registry;
    use tonic::Code;

    fn watches() -> Watches {
        Watches::new(Arc::new(Metrics::new(&mut Registry::default())))
    }

    fn levels(online: bool) -> Result<Vec<(UserKey, bool)>, WatchEnded> {
        let key = UserKey { app: "1".parse().expect("app id"), user: "ada".parse().expect("user id") };
        Ok(vec![(key, online)])
    }

    async fn read(
        watches: &Watches,
        batches: Vec<Result<Vec<(UserKey, bool)>, WatchEnded>>,
    ) -> Vec<Result<bool, Code>> {
        let answers = watches.enter().expect("place").answers(stream::iter(batches));
        let read = |answer: Result<WatchUsersResponse, Status>| {
            answer.map(|answer| answer.users[0].online).map_err(|status| status.code())
        };
        answers.map(read).collect().await
    }

    #[tokio::test]
    async fn the_last_answer_says_why_a_watch_has_ended() {
        let check = async |why, code| {
            let answers = read(&watches(), vec![levels(false), levels(true), Err(why), levels(false)]).await;
            assert_eq!(answers, [Ok(false), Ok(true), Err(code)]);
        };
        check(WatchEnded::TooSlow, Code::ResourceExhausted).await;
        check(WatchEnded::ShuttingDown, Code::Unavailable).await;
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_each_is_given_back() {
        let watches = watches();
        let mut places: Vec<_> = (0..MAX_WATCHES).map(|_| watches.enter().expect("place")).collect();
        assert!(watches.enter().is_err());
        assert_eq!(watches.metrics.watches().get(), MAX_WATCHES as i64);
        places.pop();
        assert_eq!(read(&watches, vec![levels(true)]).await, [Ok(true)]);
        assert!(watches.enter().is_ok(), "given back by the stream that has ended");
    }
}
