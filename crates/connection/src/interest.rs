//! What the workers of a node want together: which topics to attach, who counts as online here, who is watched.
//!
//! A sign-in is confirmed to a worker when both hold: the user's topic is attached, and the user's presence was taken.

use crate::worker::{Wanted, Wish};
use hashbrown::HashMap;
use ids::{AppId, ChannelName, UserKey};
use smallvec::SmallVec;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long a topic that nobody wants any more stays attached: a page reload does not attach anew.
const LINGER: Duration = Duration::from_secs(2);

/// Something with a topic of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    User(UserKey),
    Channel(AppId, ChannelName),
}

/// What the node's shell does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterestEffect {
    /// Attach the topic, then call [`Interests::attached`].
    Attach(Subject),
    /// Detach the topic, then call [`Interests::detached`].
    Detach(Subject),
    /// The user has a first connection here: say so, then call [`Interests::online`].
    SignIn(UserKey),
    SignOut(UserKey, Duration),
    /// The worker wants to know the user's level: tell it what is known.
    Watch {
        worker: usize,
        user: UserKey,
    },
    /// No worker wants to know it any more.
    Unwatch(UserKey),
    /// What this worker asked for under `ticket` is in place.
    Confirm {
        worker: usize,
        subject: Subject,
        ticket: u64,
    },
}

#[derive(Debug, Default)]
pub struct Interests {
    subjects: HashMap<Subject, Interest>,
    watched: HashMap<UserKey, SmallVec<[usize; 2]>>,
    lingering: BTreeSet<(Instant, Subject)>,
}

#[derive(Debug)]
struct Interest {
    workers: SmallVec<[Asker; 2]>,
    link: Link,
    /// The user's presence was taken; true for a channel.
    online: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asker {
    worker: usize,
    ticket: u64,
    confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Attaching,
    Attached,
    Lingering(Instant),
    Detaching,
}

impl Interests {
    /// A worker wants something, or no longer wants it.
    pub fn wish(
        &mut self,
        worker: usize,
        wish: Wish,
        wanted: Wanted,
        now: Instant,
        effects: &mut Vec<InterestEffect>,
    ) {
        match (wish, wanted) {
            (Wish::User(key), Wanted::Yes { ticket }) => {
                if self.want(worker, Subject::User(key.clone()), ticket, effects) {
                    effects.push(InterestEffect::SignIn(key));
                }
            }
            (Wish::User(key), Wanted::No { grace }) => {
                if self.unwant(worker, &Subject::User(key.clone()), now) {
                    effects.push(InterestEffect::SignOut(key, grace));
                }
            }
            (Wish::Channel(app, channel), Wanted::Yes { ticket }) => {
                self.want(worker, Subject::Channel(app, channel), ticket, effects);
            }
            (Wish::Channel(app, channel), Wanted::No { .. }) => {
                self.unwant(worker, &Subject::Channel(app, channel), now);
            }
            (Wish::Watch(user), Wanted::Yes { .. }) => {
                let workers = self.watched.entry(user.clone()).or_default();
                if !workers.contains(&worker) {
                    workers.push(worker);
                }
                effects.push(InterestEffect::Watch { worker, user });
            }
            (Wish::Watch(user), Wanted::No { .. }) => {
                let Some(workers) = self.watched.get_mut(&user) else { return };
                workers.retain(|watching| *watching != worker);
                if workers.is_empty() {
                    self.watched.remove(&user);
                    effects.push(InterestEffect::Unwatch(user));
                }
            }
        }
    }

    /// The topic is attached: what is published from now on arrives.
    pub fn attached(&mut self, subject: &Subject, now: Instant, effects: &mut Vec<InterestEffect>) {
        let Some(interest) = self.subjects.get_mut(subject) else { return };
        if interest.workers.is_empty() {
            interest.link = Link::Lingering(now + LINGER);
            self.lingering.insert((now + LINGER, subject.clone()));
        } else {
            interest.link = Link::Attached;
            interest.confirm(subject, effects);
        }
    }

    /// The topic is detached; if it is wanted again, it is attached again.
    pub fn detached(&mut self, subject: &Subject, effects: &mut Vec<InterestEffect>) {
        let Some(interest) = self.subjects.get_mut(subject) else { return };
        if interest.workers.is_empty() {
            self.subjects.remove(subject);
        } else {
            interest.link = Link::Attaching;
            effects.push(InterestEffect::Attach(subject.clone()));
        }
    }

    /// The user's presence here was taken.
    pub fn online(&mut self, user: &UserKey, effects: &mut Vec<InterestEffect>) {
        let subject = Subject::User(user.clone());
        if let Some(interest) =
            self.subjects.get_mut(&subject).filter(|interest| !interest.workers.is_empty())
        {
            interest.online = true;
            interest.confirm(&subject, effects);
        }
    }

    /// Detaches what nobody has wanted for a while.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<InterestEffect>) {
        while let Some((until, subject)) = self.lingering.pop_first() {
            if until > now {
                self.lingering.insert((until, subject));
                return;
            }
            let Some(interest) = self.subjects.get_mut(&subject) else { continue };
            if interest.link == Link::Lingering(until) {
                interest.link = Link::Detaching;
                effects.push(InterestEffect::Detach(subject));
            }
        }
    }

    /// The node leaves: signs out whoever is still here, should a worker not have said in time that they are gone.
    pub fn sign_out_all(&mut self, effects: &mut Vec<InterestEffect>) {
        let mut users = Vec::new();
        for (subject, interest) in &mut self.subjects {
            if let Subject::User(key) = subject
                && !interest.workers.is_empty()
            {
                interest.workers.clear();
                users.push(key.clone());
            }
        }
        users.sort_unstable(); // so that a run can be repeated
        effects.extend(users.into_iter().map(|key| InterestEffect::SignOut(key, Duration::ZERO)));
    }

    /// The workers to hand a message for this subject to.
    pub fn workers(&self, subject: &Subject) -> impl Iterator<Item = usize> {
        self.subjects
            .get(subject)
            .into_iter()
            .flat_map(|interest| interest.workers.iter().map(|asker| asker.worker))
    }

    /// The workers that watch this user.
    #[must_use]
    pub fn watchers(&self, user: &UserKey) -> &[usize] {
        self.watched.get(user).map_or(&[], |workers| workers)
    }

    /// Adds a worker's interest; answers with whether it is the first.
    fn want(
        &mut self,
        worker: usize,
        subject: Subject,
        ticket: u64,
        effects: &mut Vec<InterestEffect>,
    ) -> bool {
        let asker = Asker { worker, ticket, confirmed: false };
        let interest = self.subjects.entry(subject.clone()).or_insert_with(|| {
            effects.push(InterestEffect::Attach(subject.clone()));
            Interest { workers: SmallVec::new(), link: Link::Attaching, online: false }
        });
        if matches!(interest.link, Link::Lingering(_)) {
            interest.link = Link::Attached;
        }
        let first = interest.workers.is_empty();
        if first {
            interest.online = matches!(subject, Subject::Channel(..));
        }
        interest.workers.retain(|known| known.worker != worker);
        interest.workers.push(asker);
        interest.confirm(&subject, effects);
        first
    }

    /// Takes a worker's interest away; answers with whether it was the last.
    fn unwant(&mut self, worker: usize, subject: &Subject, now: Instant) -> bool {
        let Some(interest) = self.subjects.get_mut(subject) else { return false };
        let before = interest.workers.len();
        interest.workers.retain(|asker| asker.worker != worker);
        let last = interest.workers.is_empty() && before > 0;
        if last && interest.link == Link::Attached {
            interest.link = Link::Lingering(now + LINGER);
            self.lingering.insert((now + LINGER, subject.clone()));
        }
        last
    }
}

impl Interest {
    fn confirm(&mut self, subject: &Subject, effects: &mut Vec<InterestEffect>) {
        if self.link != Link::Attached || !self.online {
            return;
        }
        for asker in self.workers.iter_mut().filter(|asker| !asker.confirmed) {
            asker.confirmed = true;
            let (worker, subject, ticket) = (asker.worker, subject.clone(), asker.ticket);
            effects.push(InterestEffect::Confirm { worker, subject, ticket });
        }
    }
}
