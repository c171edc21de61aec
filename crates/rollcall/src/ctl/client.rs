//! The gRPC client, with errors that say what to do.

use anyhow::{Context as _, anyhow, bail};
use contracts::control::v1::{self, control_client::ControlClient};
use std::{error::Error as _, time::Duration};
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{self, Channel, Endpoint},
};

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Above the longest `terminate_deadline`.
const CALL_DEADLINE: Duration = Duration::from_secs(75);
/// Without answers to pings for so long a watch has lost its server.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

pub(super) struct Client {
    control: ControlClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

/// What a watch tells.
pub(super) struct Levels(Streaming<v1::WatchUsersResponse>);

impl Client {
    pub(super) async fn connect(server: &str, token: Option<&str>) -> anyhow::Result<Client> {
        if server.starts_with("https://") {
            bail!(
                "--server {server}: TLS is not supported yet: name an address of the form http://HOST:PORT"
            );
        }
        let endpoint = Endpoint::from_shared(server.to_owned())
            .ok()
            .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"))
            .with_context(|| format!("--server {server}: must be like http://127.0.0.1:50051"))?
            .connect_timeout(CONNECT_DEADLINE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let token = token.map(|token| format!("Bearer {token}").parse()).transpose();
        let token = token.map_err(|_| anyhow!("the token must be printable ASCII"))?;
        let channel = endpoint.connect().await.with_context(|| {
            format!("no server answers at {server}: is it running, and is --server its gRPC address?")
        })?;
        Ok(Client { control: ControlClient::new(channel), token })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = self.request(message);
        request.set_timeout(CALL_DEADLINE);
        request
    }

    pub(super) async fn terminate(
        &mut self,
        message: v1::TerminateUserConnectionsRequest,
    ) -> anyhow::Result<v1::TerminateUserConnectionsResponse> {
        answer(self.control.terminate_user_connections(self.call(message)).await)
    }

    pub(super) async fn send(
        &mut self,
        message: v1::SendToUserRequest,
    ) -> anyhow::Result<v1::SendToUserResponse> {
        answer(self.control.send_to_user(self.call(message)).await)
    }

    pub(super) async fn user(&mut self, message: v1::GetUserRequest) -> anyhow::Result<v1::GetUserResponse> {
        answer(self.control.get_user(self.call(message)).await)
    }

    pub(super) async fn users(
        &mut self,
        message: v1::GetUsersRequest,
    ) -> anyhow::Result<v1::GetUsersResponse> {
        answer(self.control.get_users(self.call(message)).await)
    }

    pub(super) async fn online_users(
        &mut self,
        message: v1::ListOnlineUsersRequest,
    ) -> anyhow::Result<v1::ListOnlineUsersResponse> {
        answer(self.control.list_online_users(self.call(message)).await)
    }

    pub(super) async fn watch(&mut self, message: v1::WatchUsersRequest) -> anyhow::Result<Levels> {
        answer(self.control.watch_users(self.request(message)).await).map(Levels)
    }
}

impl Levels {
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<v1::WatchUsersResponse>> {
        self.0.message().await.map_err(|status| explain(&status))
    }
}

fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> anyhow::Result<T> {
    answer.map(tonic::Response::into_inner).map_err(|status| explain(&status))
}

fn explain(status: &Status) -> anyhow::Error {
    let message = status.message();
    if status.source().is_some_and(|source| source.is::<transport::Error>()) {
        return anyhow!(
            "the connection failed: is the server still there, and is --server its gRPC address?"
        );
    }
    match status.code() {
        Code::Unauthenticated => {
            anyhow!(
                "the server wants another token: give one of its control.tokens with --token or ROLLCALL_TOKEN"
            )
        }
        Code::PermissionDenied => anyhow!("{message}: this token is for other apps"),
        Code::NotFound => anyhow!("{message}: name it with --app"),
        Code::Unavailable => anyhow!("the server cannot do it now: {message}"),
        Code::DeadlineExceeded => anyhow!("the server did not answer in time; try again"),
        Code::ResourceExhausted => anyhow!("{message}; run it again to go on from the present"),
        _ => anyhow!("{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    #[test]
    fn an_error_says_what_to_do() {
        let check = |status: Status, expected: &str| {
            let text = explain(&status).to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(Status::unauthenticated("no valid token"), "--token or ROLLCALL_TOKEN");
        check(Status::not_found("unknown app"), "--app");
        check(
            Status::unavailable("no presence process answered; repeat the call"),
            "now: no presence process answered",
        );
        check(Status::invalid_argument("reason: must be at most 123 bytes"), "reason");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        for (server, expected) in [
            ("https://127.0.0.1:1", "TLS is not supported"),
            ("127.0.0.1:50051", "must be like http://"),
            ("", "must be like http://"),
            ("http://127.0.0.1:1", "no server answers at http://127.0.0.1:1"),
        ] {
            let error = Client::connect(server, None).await.err().expect("no server").to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Client::connect("http://127.0.0.1:1", Some("a\nb")).await.is_err());
    }

    #[tokio::test]
    async fn a_server_of_another_kind_is_no_riddle() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let web_server = async {
            let (mut socket, _) = listener.accept().await.expect("a client");
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("an answer is sent");
            socket
        };
        let call = async {
            let mut client = Client::connect(&server, None).await?;
            client.user(v1::GetUserRequest::default()).await
        };
        let (answer, _open) = tokio::join!(call, web_server);
        let error = answer.expect_err("no gRPC is spoken there").to_string();
        assert!(error.contains("is --server its gRPC address?"), "{error}");
    }
}
