//! The rpcs: each reads its request, asks a verb, and writes the answer.

use super::{
    messages::{level, terminated},
    refusal::{InvalidField, Refusal},
    requests::{ForApp, OneUser, Online, SendToUser, Terminate, Users, Watched},
    watch::{Levels, Watches},
};
use crate::{metrics::Verb, token::Scope, verbs::Verbs};
use contracts::control::v1::{
    GetUserRequest, GetUserResponse, GetUsersRequest, GetUsersResponse, ListOnlineUsersRequest,
    ListOnlineUsersResponse, SendToUserRequest, SendToUserResponse, TerminateUserConnectionsRequest,
    TerminateUserConnectionsResponse, WatchUsersRequest, control_server::Control,
};
use protocol::{App, Apps};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Service {
    verbs: Verbs,
    apps: Arc<Apps>,
    watches: Watches,
}

impl Service {
    pub(super) fn new(verbs: Verbs, apps: Arc<Apps>) -> Service {
        let watches = Watches::new(Arc::clone(verbs.metrics()));
        Service { verbs, apps, watches }
    }

    /// What is asked in our own types, and the app that it is for, if the caller's token is, too.
    fn read<M, T>(&self, verb: Verb, request: Request<M>) -> Result<(Arc<App>, T), Status>
    where
        ForApp<T>: TryFrom<M, Error = InvalidField>,
    {
        let scope = request.extensions().get::<Scope>().cloned();
        self.admit(scope, request.into_inner()).map_err(|refusal| self.refuse(verb, refusal))
    }

    fn admit<M, T>(&self, scope: Option<Scope>, message: M) -> Result<(Arc<App>, T), Refusal>
    where
        ForApp<T>: TryFrom<M, Error = InvalidField>,
    {
        let ForApp { app, asked } = ForApp::try_from(message)?;
        // Before the look-up, so that a token for some apps does not tell which others exist.
        match scope {
            None => return Err(Refusal::Unauthenticated),
            Some(scope) if !scope.allows(&app) => return Err(Refusal::AppOutsideToken),
            Some(_) => {}
        }
        let app = self.apps.by_id(&app).ok_or(Refusal::UnknownApp)?;
        if app.enabled { Ok((Arc::clone(app), asked)) } else { Err(Refusal::AppDisabled) }
    }

    fn refuse(&self, verb: Verb, refusal: Refusal) -> Status {
        self.verbs.metrics().request(verb, refusal.outcome());
        refusal.into()
    }
}

#[tonic::async_trait]
impl Control for Service {
    async fn terminate_user_connections(
        &self,
        request: Request<TerminateUserConnectionsRequest>,
    ) -> Result<Response<TerminateUserConnectionsResponse>, Status> {
        let (app, terminate) = self.read(Verb::Terminate, request)?;
        let answer = match terminate {
            Terminate::Close { user, options } => {
                terminated(self.verbs.terminate(&app, &user, options).await?)
            }
            Terminate::Count { user, selector } => {
                self.verbs.count_connections(&app, &user, &selector).await?.into()
            }
        };
        Ok(Response::new(answer))
    }

    async fn send_to_user(
        &self,
        request: Request<SendToUserRequest>,
    ) -> Result<Response<SendToUserResponse>, Status> {
        let (app, SendToUser { user, event }) = self.read(Verb::Send, request)?;
        Ok(Response::new(self.verbs.send_to_user(&app, &user, event).await?.into()))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let (app, OneUser(user)) = self.read(Verb::User, request)?;
        Ok(Response::new(self.verbs.user(&app, &user).await?.into()))
    }

    async fn get_users(
        &self,
        request: Request<GetUsersRequest>,
    ) -> Result<Response<GetUsersResponse>, Status> {
        let (app, Users(users)) = self.read(Verb::Users, request)?;
        let users = self.verbs.users(&app, &users).await?;
        Ok(Response::new(GetUsersResponse { users: users.into_iter().map(level).collect() }))
    }

    async fn list_online_users(
        &self,
        request: Request<ListOnlineUsersRequest>,
    ) -> Result<Response<ListOnlineUsersResponse>, Status> {
        let (app, Online { after, limit }) = self.read(Verb::Online, request)?;
        let users = self.verbs.online_users(&app, after.as_ref(), limit).await?;
        let user_ids: Vec<_> = users.iter().map(ToString::to_string).collect();
        let full = u32::try_from(user_ids.len()).is_ok_and(|len| len >= limit);
        let next_cursor = user_ids.last().filter(|_| full).cloned().unwrap_or_default();
        Ok(Response::new(ListOnlineUsersResponse { user_ids, next_cursor }))
    }

    type WatchUsersStream = Levels;

    async fn watch_users(&self, request: Request<WatchUsersRequest>) -> Result<Response<Levels>, Status> {
        let (app, Watched(users)) = self.read(Verb::Watch, request)?;
        let place = self.watches.enter().map_err(|refusal| self.refuse(Verb::Watch, refusal))?;
        Ok(Response::new(place.follow(self.verbs.watch(&app, users).await)))
    }
}
