//! Which endpoint a method and a path are.

use super::{Error, percent};
use ids::UserId;
use std::fmt;

/// The first line of a request, as it came.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Raw: escapes as they are, without the query.
    pub path: &'a str,
    /// What follows the `?`, or nothing.
    pub query: &'a str,
    /// `""`, or a path such as `/realtime` without a slash at its end. Clients see all paths below it; a reverse proxy
    /// may leave it in front or take it away.
    pub prefix: &'a str,
}

/// An endpoint of one app, as the path names them. Nothing is known yet of who asks.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    pub(super) head: Head<'a>,
    pub app: AppName<'a>,
    pub endpoint: Endpoint<'a>,
}

/// How a request names its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppName<'a> {
    /// `/apps/…`: by id or by key.
    InPath(&'a str),
    /// Only by the `auth_key` it is signed with: the Python SDK leaves `/apps/…` out when it terminates.
    ByAuthKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    Events,
    BatchEvents,
    UserEvents(UserSegment<'a>),
    TerminateConnections(UserSegment<'a>),
}

/// A user id as the path spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserSegment<'a>(&'a str);

impl<'a> Head<'a> {
    /// `None` if the path does not have the prefix.
    pub(super) fn path_behind_prefix(&self) -> Option<&'a str> {
        self.path.strip_prefix(self.prefix).filter(|rest| rest.starts_with('/'))
    }
}

/// Without the query, which has the signature.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl<'a> Route<'a> {
    /// # Errors
    /// 404 for a path of no endpoint, 405 for a method that the endpoint does not have.
    pub fn find(head: Head<'a>) -> Result<Route<'a>, Error> {
        let path = head.path_behind_prefix().unwrap_or(head.path);
        let (app, endpoint) = if let Some(rest) = path.strip_prefix("/apps/") {
            let (app, endpoint) = rest.split_once('/').ok_or(Error::NoSuchEndpoint)?;
            (AppName::InPath(app), Endpoint::find(endpoint)?)
        } else {
            let rest = path.strip_prefix('/').filter(|rest| rest.starts_with("users/"));
            match Endpoint::find(rest.ok_or(Error::NoSuchEndpoint)?)? {
                endpoint @ Endpoint::TerminateConnections(_) => (AppName::ByAuthKey, endpoint),
                Endpoint::Events | Endpoint::BatchEvents | Endpoint::UserEvents(_) => {
                    return Err(Error::NoSuchEndpoint);
                }
            }
        };
        if head.method == "POST" { Ok(Route { head, app, endpoint }) } else { Err(Error::MethodNotAllowed) }
    }
}

impl<'a> Endpoint<'a> {
    fn find(path: &'a str) -> Result<Endpoint<'a>, Error> {
        // A user id may hold anything, slashes too: the Node SDK leaves them as they are. So it ends at the last
        // `/events` or `/terminate_connections`, and never at the first.
        let user = |path: &'a str, verb| path.strip_suffix(verb).map(UserSegment);
        match (path, path.strip_prefix("users/")) {
            ("events", _) => Ok(Endpoint::Events),
            ("batch_events", _) => Ok(Endpoint::BatchEvents),
            (_, Some(of_user)) => user(of_user, "/terminate_connections")
                .map(Endpoint::TerminateConnections)
                .or_else(|| user(of_user, "/events").map(Endpoint::UserEvents))
                .ok_or(Error::NoSuchEndpoint),
            (_, None) if path == "channels" || path.starts_with("channels/") => {
                Err(Error::ChannelsNotSupported)
            }
            (_, None) => Err(Error::NoSuchEndpoint),
        }
    }
}

impl UserSegment<'_> {
    /// The id: escapes are resolved once, `+` is a plus.
    ///
    /// # Errors
    /// 400 if the escapes are not UTF-8, or the id is empty, too long or has control characters.
    pub fn decode(self) -> Result<UserId, Error> {
        let decoded = percent::decode(self.0);
        let text = std::str::from_utf8(&decoded).map_err(|_| Error::UserNotUtf8)?;
        Ok(text.parse::<UserId>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Found<'a> = Result<(AppName<'a>, Endpoint<'a>), Error>;

    fn find<'a>(method: &'a str, path: &'a str, prefix: &'a str) -> Found<'a> {
        Route::find(Head { method, path, query: "", prefix }).map(|route| (route.app, route.endpoint))
    }

    fn post(path: &str) -> Found<'_> {
        find("POST", path, "")
    }

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        let check = |path: &str, app, endpoint| assert_eq!(post(path), Ok((app, endpoint)), "{path}");
        let (app, user) = (AppName::InPath("1"), UserSegment("ada"));
        check("/apps/1/events", app, Endpoint::Events);
        check("/apps/1/batch_events", app, Endpoint::BatchEvents);
        check("/apps/1/users/ada/events", app, Endpoint::UserEvents(user));
        check("/apps/1/users/ada/terminate_connections", app, Endpoint::TerminateConnections(user));
        check("/users/ada/terminate_connections", AppName::ByAuthKey, Endpoint::TerminateConnections(user));
        check("/apps/app-key/events", AppName::InPath("app-key"), Endpoint::Events);
    }

    #[test]
    fn another_path_or_method_is_refused() {
        for path in [
            "",
            "/",
            "*",
            "events",
            "/apps",
            "/apps/",
            "/apps/1",
            "/apps/1/",
            "/apps/1/event",
            "/apps/1/events/",
            "/apps/1/users",
            "/apps/1/users/ada",
            "/apps/1/users/ada/",
            "/apps/1/users/events",
            "/users/ada/events",
            "/users/terminate_connections",
            "/app/1",
            "/apps/1/%65vents",
            "//apps/1/events",
            "/APPS/1/events",
            "/apps/1/channelsx",
        ] {
            assert_eq!(post(path), Err(Error::NoSuchEndpoint), "{path}");
        }
        for path in ["/apps/1/channels", "/apps/1/channels/a", "/apps/1/channels/a/users"] {
            assert_eq!(find("GET", path, ""), Err(Error::ChannelsNotSupported), "{path}");
        }
        for method in ["GET", "PUT", "DELETE", "post", ""] {
            assert_eq!(find(method, "/apps/1/events", ""), Err(Error::MethodNotAllowed), "{method}");
        }
    }

    #[test]
    fn a_user_id_ends_at_the_last_verb_and_is_decoded_once() {
        let check = |path: &str, user: &str| {
            let Ok((_, Endpoint::TerminateConnections(segment))) = post(path) else {
                panic!("{path} is no termination");
            };
            assert_eq!(segment.decode().map(|user| user.to_string()), Ok(user.to_owned()), "{path}");
        };
        check("/apps/1/users/auth0%7C5f7c/terminate_connections", "auth0|5f7c");
        check("/apps/1/users/jos%C3%A9/terminate_connections", "josé");
        check("/apps/1/users/a%20b/terminate_connections", "a b");
        check("/apps/1/users/a+b@x.com/terminate_connections", "a+b@x.com");
        check("/apps/1/users/a/b/terminate_connections", "a/b");
        check("/apps/1/users/a%2Fb/terminate_connections", "a/b");
        check("/apps/1/users/x/terminate_connections/terminate_connections", "x/terminate_connections");
        check("/apps/1/users/x/events/terminate_connections", "x/events");
        check("/apps/1/users/users/users/terminate_connections", "users/users");
        check("/apps/1/users/100%/terminate_connections", "100%");
        check("/apps/1/users/%zz/terminate_connections", "%zz");
        check("/apps/1/users/%2541/terminate_connections", "%41");
        check("/users/a%7Cb/terminate_connections", "a|b");
    }

    #[test]
    fn an_impossible_user_id_is_refused_when_it_is_decoded() {
        let decode = |id: &str| UserSegment(id).decode();
        assert_eq!(decode("%ff"), Err(Error::UserNotUtf8));
        for id in ["", "a%00b", "%0A", &"x".repeat(201)] {
            assert_eq!(decode(id), Err(Error::User(ids::InvalidUserId)), "{id}");
        }
        assert_eq!(
            post("/apps/1/users//events"),
            Ok((AppName::InPath("1"), Endpoint::UserEvents(UserSegment(""))))
        );
    }

    #[test]
    fn a_prefix_is_taken_off_if_it_is_there() {
        let events = Ok((AppName::InPath("1"), Endpoint::Events));
        assert_eq!(find("POST", "/realtime/apps/1/events", "/realtime"), events);
        assert_eq!(find("POST", "/apps/1/events", "/realtime"), events);
        for path in ["/realtimeapps/1/events", "/other/apps/1/events", "/realtime/realtime/apps/1/events"] {
            assert_eq!(find("POST", path, "/realtime"), Err(Error::NoSuchEndpoint), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(method: String, path: String, prefix: String) {
            let _ = find(&method, &path, &prefix);
        }

        #[test]
        fn no_user_segment_panics_or_is_lost(id in "\\PC{0,40}(%[0-9a-fA-F]{0,2}|/|/events){0,8}") {
            let path = format!("/apps/1/users/{id}/events");
            let Ok((_, Endpoint::UserEvents(user))) = post(&path) else {
                panic!("{path} is no user event");
            };
            prop_assert_eq!(user, UserSegment(&id));
            let _ = user.decode();
        }
    }
}
