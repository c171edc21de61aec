//! How answers look: in sentences for people, in JSON for programs.

use contracts::control::v1;
use ids::UserId;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Render {
    Text,
    Json,
}

impl Render {
    pub(super) fn terminated(
        self,
        user: &UserId,
        answer: &v1::TerminateUserConnectionsResponse,
        dry_run: bool,
    ) -> String {
        let v1::TerminateUserConnectionsResponse { closed, nodes, unconfirmed_nodes, complete } = answer;
        if self == Render::Json {
            return json!({
                "user_id": user.as_str(),
                "closed": closed,
                "dry_run": dry_run,
                "nodes": counts(nodes),
                "unconfirmed_nodes": unconfirmed_nodes,
                "complete": complete,
            })
            .to_string();
        }
        let connections = number(*closed, "connection");
        let mut text = match dry_run {
            true => format!("{connections} of {user} would be closed"),
            false => format!("{connections} of {user} closed"),
        };
        text += &per_node(nodes);
        if !complete {
            let silent = match unconfirmed_nodes.as_slice() {
                [] => "some nodes".to_owned(),
                nodes => format!("node {}", nodes.join(", ")),
            };
            text += &format!("\nnot complete: {silent} did not confirm in time. Run it again.");
        }
        text
    }

    pub(super) fn sent(self, user: &UserId, answer: &v1::SendToUserResponse) -> String {
        let v1::SendToUserResponse { nodes, connections, complete } = answer;
        if self == Render::Json {
            return json!({
                "user_id": user.as_str(),
                "connections": connections,
                "nodes": counts(nodes),
                "complete": complete,
            })
            .to_string();
        }
        let mut text = match connections {
            0 => format!("{user} is not signed in anywhere: nobody has it"),
            n => format!("{user} has it on {}", number(*n, "connection")) + &per_node(nodes),
        };
        if !complete {
            text += "\nnot every node has answered: it may have reached more";
        }
        text
    }

    pub(super) fn user(self, user: &UserId, answer: &v1::GetUserResponse) -> String {
        let v1::GetUserResponse { online, connections, node_ids } = answer;
        if self == Render::Json {
            return json!({
                "user_id": user.as_str(),
                "online": online,
                "connections": connections.iter().map(connection_json).collect::<Vec<_>>(),
                "node_ids": node_ids,
            })
            .to_string();
        }
        let mut text = level(user.as_str(), *online);
        for connection in connections {
            let v1::Connection { node_id, socket_id, client, signed_in_at_ms, address } = connection;
            let since = since(*signed_in_at_ms);
            let client = if client.is_empty() { "an unnamed client" } else { client };
            text += &format!("\n  {socket_id} on node {node_id}, {client} at {address}, signed in {since}");
        }
        if *online && connections.is_empty() {
            text += &format!("\n  without connections now, kept online by node {}", node_ids.join(", "));
        }
        text
    }

    pub(super) fn level(self, user: &str, online: bool) -> String {
        match self {
            Render::Text => level(user, online),
            Render::Json => json!({ "user_id": user, "online": online }).to_string(),
        }
    }
}

fn level(user: &str, online: bool) -> String {
    format!("{user} is {}", if online { "online" } else { "offline" })
}

fn number(n: u32, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Only where there is something to tell apart.
fn per_node(nodes: &[v1::NodeCount]) -> String {
    let with: Vec<_> = nodes.iter().filter(|node| node.connections > 0).collect();
    let each = |node: &&v1::NodeCount| format!("{} on node {}", node.connections, node.node_id);
    match with.as_slice() {
        [] | [_] => String::new(),
        many => format!(" ({})", many.iter().map(each).collect::<Vec<_>>().join(", ")),
    }
}

fn counts(nodes: &[v1::NodeCount]) -> Vec<Value> {
    nodes.iter().map(|node| json!({ "node_id": node.node_id, "connections": node.connections })).collect()
}

fn connection_json(connection: &v1::Connection) -> Value {
    let v1::Connection { node_id, socket_id, client, signed_in_at_ms, address } = connection;
    json!({
        "node_id": node_id,
        "socket_id": socket_id,
        "client": client,
        "signed_in_at_ms": signed_in_at_ms,
        "address": address,
    })
}

fn since(ms: i64) -> String {
    let at = u64::try_from(ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    at.map_or_else(|| "at an unknown time".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> UserId {
        "ada".parse().expect("a user id")
    }

    fn node(id: &str, connections: u32) -> v1::NodeCount {
        v1::NodeCount { node_id: id.to_owned(), connections }
    }

    #[test]
    fn a_termination_says_what_was_closed_and_what_is_missing() {
        let mut answer = v1::TerminateUserConnectionsResponse {
            closed: 1,
            nodes: vec![node("a", 1)],
            unconfirmed_nodes: vec![],
            complete: true,
        };
        assert_eq!(Render::Text.terminated(&ada(), &answer, false), "1 connection of ada closed");
        assert_eq!(Render::Text.terminated(&ada(), &answer, true), "1 connection of ada would be closed");
        answer.closed = 3;
        answer.nodes.push(node("b", 2));
        answer.unconfirmed_nodes.push("c".to_owned());
        answer.complete = false;
        assert_eq!(
            Render::Text.terminated(&ada(), &answer, false),
            "3 connections of ada closed (1 on node a, 2 on node b)\n\
             not complete: node c did not confirm in time. Run it again."
        );
        assert_eq!(
            Render::Json.terminated(&ada(), &answer, false),
            r#"{"closed":3,"complete":false,"dry_run":false,"nodes":[{"connections":1,"node_id":"a"},{"connections":2,"node_id":"b"}],"unconfirmed_nodes":["c"],"user_id":"ada"}"#
        );
    }

    #[test]
    fn a_send_says_whom_it_reached() {
        let answer = |connections, complete| v1::SendToUserResponse { nodes: vec![], connections, complete };
        assert_eq!(Render::Text.sent(&ada(), &answer(2, true)), "ada has it on 2 connections");
        assert_eq!(
            Render::Text.sent(&ada(), &answer(0, true)),
            "ada is not signed in anywhere: nobody has it"
        );
        assert!(Render::Text.sent(&ada(), &answer(1, false)).ends_with("it may have reached more"));
        assert_eq!(
            Render::Json.sent(&ada(), &answer(2, true)),
            r#"{"complete":true,"connections":2,"nodes":[],"user_id":"ada"}"#
        );
    }

    #[test]
    fn a_user_is_shown_with_the_connections() {
        let connection = v1::Connection {
            node_id: "a".to_owned(),
            socket_id: "1.2".to_owned(),
            client: "js 8.6.0".to_owned(),
            signed_in_at_ms: 1_353_088_179_000,
            address: "127.0.0.1:4711".to_owned(),
        };
        let mut answer = v1::GetUserResponse {
            online: true,
            connections: vec![connection],
            node_ids: vec!["a".to_owned()],
        };
        assert_eq!(
            Render::Text.user(&ada(), &answer),
            "ada is online\n  1.2 on node a, js 8.6.0 at 127.0.0.1:4711, signed in 2012-11-16T17:49:39Z"
        );
        let json: Value = serde_json::from_str(&Render::Json.user(&ada(), &answer)).expect("JSON");
        assert_eq!(json["connections"][0]["socket_id"], "1.2");
        answer.connections.clear();
        assert_eq!(
            Render::Text.user(&ada(), &answer),
            "ada is online\n  without connections now, kept online by node a"
        );
        assert_eq!(Render::Text.user(&ada(), &v1::GetUserResponse::default()), "ada is offline");
    }

    #[test]
    fn a_level_is_a_line() {
        assert_eq!(Render::Text.level("ada", true), "ada is online");
        assert_eq!(Render::Json.level("ada", false), r#"{"online":false,"user_id":"ada"}"#);
    }
}
