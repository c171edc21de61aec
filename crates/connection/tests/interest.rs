//! What the workers of a node want together: one attachment and one presence for all of them, confirmed to each.

use connection::{InterestEffect, Interests, Subject, Wanted, Wish};
use ids::UserKey;
use std::time::{Duration, Instant};

struct Bench {
    interests: Interests,
    effects: Vec<InterestEffect>,
    now: Instant,
}

fn user(id: &str) -> UserKey {
    UserKey { app: "1".parse().expect("app id"), user: id.parse().expect("user id") }
}

fn ada() -> Subject {
    Subject::User(user("ada"))
}

fn news() -> (Wish, Subject) {
    let (app, channel): (ids::AppId, ids::ChannelName) =
        ("1".parse().expect("app"), "news".parse().expect("name"));
    (Wish::Channel(app.clone(), channel.clone()), Subject::Channel(app, channel))
}

const YES: fn(u64) -> Wanted = |ticket| Wanted::Yes { ticket };
const NO: Wanted = Wanted::No { grace: Duration::from_secs(3) };

impl Bench {
    fn new() -> Bench {
        Bench { interests: Interests::default(), effects: Vec::new(), now: Instant::now() }
    }

    fn wish(&mut self, worker: usize, wish: Wish, wanted: Wanted) -> Vec<InterestEffect> {
        self.interests.wish(worker, wish, wanted, self.now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn ada(&mut self, worker: usize, wanted: Wanted) -> Vec<InterestEffect> {
        self.wish(worker, Wish::User(user("ada")), wanted)
    }

    fn attached(&mut self, subject: &Subject) -> Vec<InterestEffect> {
        self.interests.attached(subject, self.now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn online(&mut self) -> Vec<InterestEffect> {
        self.interests.online(&user("ada"), &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn detached(&mut self) -> Vec<InterestEffect> {
        self.interests.detached(&ada(), &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn wait(&mut self, seconds: u64) -> Vec<InterestEffect> {
        self.now += Duration::from_secs(seconds);
        self.interests.tick(self.now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }
}

fn confirm(worker: usize, subject: Subject, ticket: u64) -> InterestEffect {
    InterestEffect::Confirm { worker, subject, ticket }
}

#[test]
fn a_user_is_confirmed_when_attached_and_online_in_either_order() {
    for attached_first in [true, false] {
        let mut bench = Bench::new();
        assert_eq!(
            bench.ada(0, YES(1)),
            [InterestEffect::Attach(ada()), InterestEffect::SignIn(user("ada"))]
        );
        assert_eq!(bench.ada(1, YES(7)), [], "asked already");
        let (first, second) = if attached_first {
            (bench.attached(&ada()), bench.online())
        } else {
            (bench.online(), bench.attached(&ada()))
        };
        assert_eq!(first, []);
        assert_eq!(second, [confirm(0, ada(), 1), confirm(1, ada(), 7)]);
        assert_eq!(bench.ada(2, YES(3)), [confirm(2, ada(), 3)], "everything is in place");
        assert_eq!(bench.interests.workers(&ada()).collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn a_worker_that_asks_again_is_confirmed_under_its_new_number() {
    let mut bench = Bench::new();
    bench.ada(0, YES(1));
    bench.online();
    assert_eq!(bench.ada(0, YES(2)), [], "what it asked before has been cancelled out");
    assert_eq!(bench.attached(&ada()), [confirm(0, ada(), 2)]);
}

#[test]
fn the_last_worker_signs_out_and_the_topic_lingers() {
    let mut bench = Bench::new();
    bench.ada(0, YES(1));
    bench.ada(1, YES(1));
    bench.attached(&ada());
    bench.online();
    assert_eq!(bench.ada(0, NO), []);
    assert_eq!(bench.ada(0, NO), [], "a repeat is harmless");
    assert_eq!(bench.ada(1, NO), [InterestEffect::SignOut(user("ada"), Duration::from_secs(3))]);
    assert_eq!(bench.wait(1), []);
    assert_eq!(
        bench.ada(0, YES(2)),
        [InterestEffect::SignIn(user("ada"))],
        "still attached, but online anew"
    );
    assert_eq!(bench.wait(5), [], "wanted again");
    assert_eq!(bench.online(), [confirm(0, ada(), 2)]);
    bench.ada(0, NO);
    assert_eq!(bench.wait(2), [InterestEffect::Detach(ada())]);
    assert_eq!(bench.detached(), []);
    assert_eq!(bench.ada(0, YES(3)).len(), 2, "nothing is left of it");
}

#[test]
fn who_comes_back_while_the_topic_is_detached_waits_until_it_is_attached_again() {
    let mut bench = Bench::new();
    bench.ada(0, YES(1));
    bench.attached(&ada());
    bench.ada(0, NO);
    assert_eq!(bench.wait(2), [InterestEffect::Detach(ada())]);
    assert_eq!(bench.ada(0, YES(2)), [InterestEffect::SignIn(user("ada"))]);
    assert_eq!(bench.online(), []);
    assert_eq!(bench.detached(), [InterestEffect::Attach(ada())]);
    assert_eq!(bench.attached(&ada()), [confirm(0, ada(), 2)]);
}

#[test]
fn an_attachment_that_nobody_wants_any_more_is_given_back() {
    let mut bench = Bench::new();
    bench.ada(0, YES(1));
    bench.ada(0, NO);
    assert_eq!(bench.online(), [], "nobody waits for it");
    assert_eq!(bench.attached(&ada()), []);
    assert_eq!(bench.wait(2), [InterestEffect::Detach(ada())]);
}

#[test]
fn a_channel_needs_an_attachment_only() {
    let mut bench = Bench::new();
    let (wish, channel) = news();
    assert_eq!(bench.wish(0, wish.clone(), YES(1)), [InterestEffect::Attach(channel.clone())]);
    assert_eq!(bench.attached(&channel), [confirm(0, channel.clone(), 1)]);
    assert_eq!(bench.wish(0, wish, NO), []);
    assert_eq!(bench.wait(2), [InterestEffect::Detach(channel)]);
}

#[test]
fn every_worker_that_watches_is_answered_and_the_last_ends_the_watch() {
    let mut bench = Bench::new();
    let watch = |bench: &mut Bench, worker, wanted| bench.wish(worker, Wish::Watch(user("bob")), wanted);
    for worker in [0, 1, 0] {
        let effect = InterestEffect::Watch { worker, user: user("bob") };
        assert_eq!(watch(&mut bench, worker, YES(1)), [effect], "repeated or not");
    }
    assert_eq!(bench.interests.watchers(&user("bob")), [0, 1]);
    assert_eq!(watch(&mut bench, 0, NO), []);
    assert_eq!(watch(&mut bench, 1, NO), [InterestEffect::Unwatch(user("bob"))]);
    assert_eq!(watch(&mut bench, 1, NO), []);
    assert!(bench.interests.watchers(&user("bob")).is_empty());
}

#[test]
fn a_node_that_leaves_signs_out_whoever_is_still_here() {
    let mut bench = Bench::new();
    bench.ada(0, YES(1));
    bench.wish(1, Wish::User(user("bob")), YES(1));
    bench.wish(1, news().0, YES(1));
    bench.wish(1, Wish::User(user("bob")), NO);
    bench.interests.sign_out_all(&mut bench.effects);
    assert_eq!(bench.effects, [InterestEffect::SignOut(user("ada"), Duration::ZERO)]);
}

#[test]
fn a_node_that_leaves_signs_out_whoever_no_worker_has_signed_out() {
    let mut bench = Bench::new();
    for (worker, id) in [(0, "eve"), (0, "ada"), (1, "ada"), (1, "bob")] {
        bench.wish(worker, Wish::User(user(id)), YES(1));
    }
    bench.wish(1, Wish::User(user("bob")), NO);
    let mut effects = Vec::new();
    bench.interests.sign_out_all(&mut effects);
    let sign_out = |id| InterestEffect::SignOut(user(id), Duration::ZERO);
    assert_eq!(effects, [sign_out("ada"), sign_out("eve")]);
    bench.interests.sign_out_all(&mut effects);
    assert_eq!(effects.len(), 2, "once");
}
