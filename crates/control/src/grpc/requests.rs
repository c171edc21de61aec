//! Requests as they come, checked field by field into our own types. Nothing behind this sees prost.

use super::refusal::InvalidField;
use crate::verbs::{Event, TerminateOptions};
use contracts::control::v1;
use ids::{AppId, EventName, SocketId, UserId};
use protocol::TerminationClose;
use std::{fmt::Display, str::FromStr};
use termination::Selector;

/// What is asked, and for which app.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForApp<T> {
    pub(super) app: AppId,
    pub(super) asked: T,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Terminate {
    Close {
        user: UserId,
        options: TerminateOptions,
    },
    /// A dry run.
    Count {
        user: UserId,
        selector: Selector,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SendToUser {
    pub(super) user: UserId,
    pub(super) event: Event,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct OneUser(pub(super) UserId);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Users(pub(super) Vec<UserId>);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Online {
    pub(super) after: Option<UserId>,
    pub(super) limit: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Watched(pub(super) Vec<UserId>);

const MAX_SOCKETS: usize = 100;
const MAX_USERS: usize = 1_000;
const MAX_WATCHED: usize = 10_000;
const MAX_PAGE: u32 = 1_000;
const PAGE: u32 = 100;

impl TryFrom<v1::TerminateUserConnectionsRequest> for ForApp<Terminate> {
    type Error = InvalidField;

    fn try_from(request: v1::TerminateUserConnectionsRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        let user = required("user_id", &request.user_id)?;
        let selector = selector(&request.except_socket_ids, &request.only_socket_ids)?;
        let close = close(request.close_class)?;
        let reason = optional("reason", &request.reason)?;
        let asked = if request.dry_run {
            Terminate::Count { user, selector }
        } else {
            Terminate::Close { user, options: TerminateOptions { selector, close, reason } }
        };
        Ok(ForApp { app, asked })
    }
}

impl TryFrom<v1::SendToUserRequest> for ForApp<SendToUser> {
    type Error = InvalidField;

    fn try_from(request: v1::SendToUserRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        let user = required("user_id", &request.user_id)?;
        let name: EventName = required("event", &request.event)?;
        if request.data.len() > protocol::http::MAX_DATA_BYTES {
            return Err(invalid("data", format!("must be at most {} bytes", protocol::http::MAX_DATA_BYTES)));
        }
        let except = optional("except_socket_id", &request.except_socket_id)?;
        Ok(ForApp { app, asked: SendToUser { user, event: Event { name, data: request.data, except } } })
    }
}

impl TryFrom<v1::GetUserRequest> for ForApp<OneUser> {
    type Error = InvalidField;

    fn try_from(request: v1::GetUserRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        Ok(ForApp { app, asked: OneUser(required("user_id", &request.user_id)?) })
    }
}

impl TryFrom<v1::GetUsersRequest> for ForApp<Users> {
    type Error = InvalidField;

    fn try_from(request: v1::GetUsersRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        Ok(ForApp { app, asked: Users(list("user_ids", &request.user_ids, MAX_USERS)?) })
    }
}

impl TryFrom<v1::ListOnlineUsersRequest> for ForApp<Online> {
    type Error = InvalidField;

    fn try_from(request: v1::ListOnlineUsersRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        let after = optional("cursor", &request.cursor)?;
        let limit = match request.limit {
            0 => PAGE,
            1..=MAX_PAGE => request.limit,
            _ => return Err(invalid("limit", format!("must be at most {MAX_PAGE}"))),
        };
        Ok(ForApp { app, asked: Online { after, limit } })
    }
}

impl TryFrom<v1::WatchUsersRequest> for ForApp<Watched> {
    type Error = InvalidField;

    fn try_from(request: v1::WatchUsersRequest) -> Result<Self, InvalidField> {
        let app = required("app_id", &request.app_id)?;
        let mut users: Vec<UserId> = list("user_ids", &request.user_ids, MAX_WATCHED)?;
        if users.is_empty() {
            return Err(invalid("user_ids", "is required"));
        }
        users.sort();
        users.dedup();
        Ok(ForApp { app, asked: Watched(users) })
    }
}

fn selector(except: &[String], only: &[String]) -> Result<Selector, InvalidField> {
    let except: Vec<SocketId> = list("except_socket_ids", except, MAX_SOCKETS)?;
    let only: Vec<SocketId> = list("only_socket_ids", only, MAX_SOCKETS)?;
    match (except.is_empty(), only.is_empty()) {
        (true, true) => Ok(Selector::All),
        (false, true) => Ok(Selector::Except(except)),
        (true, false) => Ok(Selector::Only(only)),
        (false, false) => Err(invalid("only_socket_ids", "cannot stand together with except_socket_ids")),
    }
}

fn close(class: i32) -> Result<Option<TerminationClose>, InvalidField> {
    let class = v1::CloseClass::try_from(class).map_err(|_| invalid("close_class", "is not known"))?;
    Ok(match class {
        v1::CloseClass::Unspecified => None,
        v1::CloseClass::Reconnect => Some(TerminationClose::Reconnect),
        v1::CloseClass::Stop => Some(TerminationClose::Stop),
    })
}

fn required<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T, InvalidField> {
    optional(field, text)?.ok_or_else(|| invalid(field, "is required"))
}

/// A field that is absent when it is empty.
fn optional<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<Option<T>, InvalidField> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| invalid(field, error.to_string()))
}

fn list<T: FromStr<Err: Display>>(
    field: &'static str,
    texts: &[String],
    limit: usize,
) -> Result<Vec<T>, InvalidField> {
    if texts.len() > limit {
        return Err(invalid(field, format!("must have at most {limit} entries")));
    }
    let parse = |(at, text): (usize, &String)| {
        text.parse().map_err(|error: T::Err| invalid(format!("{field}[{at}]"), error.to_string()))
    };
    texts.iter().enumerate().map(parse).collect()
}

fn invalid(field: impl Into<String>, why: impl Into<String>) -> InvalidField {
    InvalidField { field: field.into(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    /// `Ok` or the field that the refusal names.
    fn refused<M, T: Debug>(request: M) -> Option<String>
    where
        ForApp<T>: TryFrom<M, Error = InvalidField>,
    {
        ForApp::<T>::try_from(request).err().map(|error| error.field)
    }

    fn terminate(change: impl FnOnce(&mut v1::TerminateUserConnectionsRequest)) -> Result<Terminate, String> {
        let mut request = v1::TerminateUserConnectionsRequest {
            app_id: "1".into(),
            user_id: "ada".into(),
            ..v1::TerminateUserConnectionsRequest::default()
        };
        change(&mut request);
        ForApp::try_from(request).map(|request| request.asked).map_err(|error: InvalidField| error.field)
    }

    #[test]
    fn a_termination_is_checked_field_by_field() {
        let user: UserId = "ada".parse().expect("user id");
        let socket: SocketId = "1.2".parse().expect("socket id");
        let all = TerminateOptions { selector: Selector::All, close: None, reason: None };
        assert_eq!(terminate(|_| ()), Ok(Terminate::Close { user: user.clone(), options: all.clone() }));
        let stop = TerminateOptions { close: Some(TerminationClose::Stop), ..all.clone() };
        assert_eq!(
            terminate(|r| r.close_class = 2),
            Ok(Terminate::Close { user: user.clone(), options: stop })
        );
        let only = TerminateOptions { selector: Selector::Only(vec![socket]), ..all };
        let close_only = Terminate::Close { user: user.clone(), options: only };
        assert_eq!(terminate(|r| r.only_socket_ids = vec!["1.2".into()]), Ok(close_only));
        let except = |r: &mut v1::TerminateUserConnectionsRequest| {
            r.except_socket_ids = vec!["1.2".into()];
            r.dry_run = true;
        };
        assert_eq!(
            terminate(except),
            Ok(Terminate::Count { user, selector: Selector::Except(vec![socket]) })
        );

        let check = |field: &str, change: fn(&mut v1::TerminateUserConnectionsRequest)| {
            assert_eq!(terminate(change), Err(field.to_owned()));
        };
        check("app_id", |r| r.app_id = String::new());
        check("app_id", |r| r.app_id = "a/b".into());
        check("user_id", |r| r.user_id = String::new());
        check("user_id", |r| r.user_id = "x".repeat(201));
        check("user_id", |r| r.user_id = "a\nb".into());
        check("except_socket_ids[1]", |r| r.except_socket_ids = vec!["1.2".into(), String::new()]);
        check("except_socket_ids", |r| r.except_socket_ids = vec!["1.2".into(); 101]);
        check("only_socket_ids[0]", |r| r.only_socket_ids = vec!["1".into()]);
        check("only_socket_ids", |r| r.only_socket_ids = vec!["1.2".into(); 101]);
        check("only_socket_ids", |r| {
            r.only_socket_ids = vec!["1.2".into()];
            r.except_socket_ids = vec!["1.3".into()];
        });
        check("close_class", |r| r.close_class = 3);
        check("close_class", |r| r.close_class = -1);
        check("reason", |r| r.reason = "x".repeat(124));
        check("reason", |r| {
            r.reason = "x".repeat(124);
            r.dry_run = true;
        });
    }

    #[test]
    fn an_event_is_checked_field_by_field() {
        let check = |field: Option<&str>, change: fn(&mut v1::SendToUserRequest)| {
            let mut request = v1::SendToUserRequest {
                app_id: "1".into(),
                user_id: "ada".into(),
                event: "hello".into(),
                ..v1::SendToUserRequest::default()
            };
            change(&mut request);
            assert_eq!(refused::<_, SendToUser>(request).as_deref(), field);
        };
        check(None, |_| ());
        check(None, |r| r.data = "x".repeat(10_240));
        check(None, |r| r.except_socket_id = "1.2".into());
        check(Some("app_id"), |r| r.app_id = String::new());
        check(Some("user_id"), |r| r.user_id = String::new());
        check(Some("event"), |r| r.event = String::new());
        check(Some("event"), |r| r.event = "pusher:ping".into());
        check(Some("event"), |r| r.event = "x".repeat(201));
        check(Some("data"), |r| r.data = "x".repeat(10_241));
        check(Some("except_socket_id"), |r| r.except_socket_id = "1.02".into());
    }

    #[test]
    fn users_and_pages_are_checked_field_by_field() {
        let app_id = || "1".to_owned();
        let one =
            |user: &str| refused::<_, OneUser>(v1::GetUserRequest { app_id: app_id(), user_id: user.into() });
        assert_eq!(one("ada"), None);
        assert_eq!(one("").as_deref(), Some("user_id"));

        let users = |user_ids| refused::<_, Users>(v1::GetUsersRequest { app_id: app_id(), user_ids });
        assert_eq!(users(vec!["ada".into(); 1_000]), None);
        assert_eq!(users(Vec::new()), None);
        assert_eq!(users(vec!["ada".into(); 1_001]).as_deref(), Some("user_ids"));
        assert_eq!(users(vec!["ada".into(), String::new()]).as_deref(), Some("user_ids[1]"));

        let watched = |user_ids| refused::<_, Watched>(v1::WatchUsersRequest { app_id: app_id(), user_ids });
        assert_eq!(watched(vec!["ada".into(); 10_000]), None);
        assert_eq!(watched(Vec::new()).as_deref(), Some("user_ids"));
        assert_eq!(watched(vec!["ada".into(); 10_001]).as_deref(), Some("user_ids"));

        let page = |cursor: &str, limit| {
            let request = v1::ListOnlineUsersRequest { app_id: app_id(), cursor: cursor.into(), limit };
            ForApp::<Online>::try_from(request).map(|page| page.asked.limit).map_err(|error| error.field)
        };
        assert_eq!(page("", 0), Ok(100));
        assert_eq!(page("ada", 1_000), Ok(1_000));
        assert_eq!(page("", 1_001), Err("limit".into()));
        assert_eq!(page("a\nb", 1), Err("cursor".into()));
    }
}
