//! `rollcall sign`: what an application's endpoint does, by hand.

use crate::credentials::Credentials;
use anyhow::bail;
use clap::Subcommand;
use ids::{ChannelKind, ChannelName, SocketId, UserId};
use protocol::{App, UserData, signature};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use std::{
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show, on standard error, the string that was signed and how.
    #[arg(long, global = true)]
    explain: bool,
    #[command(flatten)]
    credentials: Credentials,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A user's sign-in: what `POST /pusher/user-auth` answers.
    User {
        /// The connection, as the server named it: a token is good for this one only.
        socket_id: SocketId,
        /// Who it is.
        #[arg(required_unless_present = "user_data", conflicts_with = "user_data")]
        user_id: Option<UserId>,
        /// The users to hear about, separated by commas or repeated.
        #[arg(long, value_name = "USER", value_delimiter = ',', conflicts_with = "user_data")]
        watch: Vec<UserId>,
        /// Anything about the user, as JSON.
        #[arg(long, value_name = "JSON", value_parser = json_text, conflicts_with = "user_data")]
        info: Option<Box<RawValue>>,
        /// All of it, to be signed exactly as it is given.
        #[arg(long, value_name = "JSON")]
        user_data: Option<String>,
    },
    /// A subscription to a private or presence channel: what `POST /pusher/auth` answers.
    Channel {
        /// The connection, as the server named it: a token is good for this one only.
        socket_id: SocketId,
        /// The channel's name.
        // Checked as a name: a signature over `…:` and `:user::{…}` would be a sign-in of anyone.
        channel: ChannelName,
        /// Who joins a presence channel, to be signed exactly as it is given.
        #[arg(long, value_name = "JSON", value_parser = json_text)]
        channel_data: Option<Box<RawValue>>,
    },
}

const EXAMPLES: &str = r#"Examples:
  rollcall sign user 1234.5678 ada --watch grace,alan
  rollcall sign user 1234.5678 --user-data '{"id":"ada"}' --explain
  rollcall sign channel 1234.5678 private-orders
  rollcall sign channel 1234.5678 presence-room --channel-data '{"user_id":"ada"}'
  ROLLCALL_KEY=… ROLLCALL_SECRET=… rollcall sign user 1234.5678 ada"#;

/// What was signed, and what the endpoint answers.
#[derive(Debug)]
struct Signed {
    string: String,
    signature: String,
    answer: String,
}

/// In this order.
#[derive(Serialize)]
struct User<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    watchlist: &'a [&'a str],
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let app = args.credentials.app()?;
    let signed = sign(&args.what, &app)?;
    if args.explain {
        let Signed { string, signature, .. } = &signed;
        let key = &app.key;
        writeln!(stderr(), "string to sign   {string}")?;
        writeln!(
            stderr(),
            "signature        {signature}  (HMAC-SHA256 with the secret of {key}, in hexadecimal)"
        )?;
        writeln!(stderr(), "auth             {key}:{signature}")?;
    }
    writeln!(stdout(), "{}", signed.answer)?;
    Ok(ExitCode::SUCCESS)
}

fn sign(what: &What, app: &App) -> anyhow::Result<Signed> {
    match what {
        What::User { socket_id, user_id, watch, info, user_data } => {
            let user_data = match (user_id, user_data) {
                (_, Some(given)) => given.clone(),
                (Some(user), None) => {
                    let watchlist: Vec<_> = watch.iter().map(UserId::as_str).collect();
                    serde_json::to_string(&User {
                        id: user.as_str(),
                        user_info: info.as_deref(),
                        watchlist: &watchlist,
                    })?
                }
                (None, None) => bail!("a user id is needed"),
            };
            UserData::parse(user_data.clone())?;
            let signature = signature::sign_in(&app.secret, *socket_id, &user_data).to_string();
            let answer =
                json!({ "auth": format!("{}:{signature}", app.key), "user_data": user_data }).to_string();
            Ok(Signed { string: format!("{socket_id}::user::{user_data}"), signature, answer })
        }
        What::Channel { socket_id, channel, channel_data } => {
            if !needs_token(channel) {
                bail!("{channel} is a public channel: nobody needs a token for it");
            }
            let data = channel_data.as_deref().map(RawValue::get);
            let signature = signature::subscribe(&app.secret, *socket_id, channel, data).to_string();
            let auth = format!("{}:{signature}", app.key);
            let (string, answer) = match data {
                None => (format!("{socket_id}:{channel}"), json!({ "auth": auth })),
                Some(data) => {
                    (format!("{socket_id}:{channel}:{data}"), json!({ "auth": auth, "channel_data": data }))
                }
            };
            Ok(Signed { string, signature, answer: answer.to_string() })
        }
    }
}

/// Whether the application must vouch for who subscribes.
fn needs_token(channel: &ChannelName) -> bool {
    match channel.kind() {
        ChannelKind::Public => false,
        ChannelKind::Private | ChannelKind::Encrypted | ChannelKind::Presence => true,
        ChannelKind::Cache => !channel.as_str().starts_with("cache-"),
    }
}

/// JSON, kept as it was written.
fn json_text(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use protocol::Secret;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// Signs with the credentials of the protocol's published examples.
    fn signed(line: &[&str]) -> anyhow::Result<Signed> {
        let line = Line::try_parse_from([&["sign"], line].concat())?;
        let key = "278d425bdf160c739803".parse()?;
        sign(&line.args.what, &App::new("1".parse()?, key, Secret::new("7ad3773142a6692b25b8")))
    }

    fn check(line: &[&str], string: &str, signature: &str) {
        let signed = signed(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!((&*signed.string, &*signed.signature), (string, signature));
        let answer: serde_json::Value = serde_json::from_str(&signed.answer).expect("JSON");
        assert_eq!(answer["auth"], format!("278d425bdf160c739803:{signature}"));
    }

    #[test]
    fn the_protocols_vectors_are_signed() {
        check(
            &["user", "1234.1234", "12345"],
            r#"1234.1234::user::{"id":"12345"}"#,
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
        );
        check(
            &["user", "1234.5678", "--user-data", r#"{"id":"user-123","name":"Ada"}"#],
            r#"1234.5678::user::{"id":"user-123","name":"Ada"}"#,
            "287ee7af5c4f9e76eef8ae78cdbc8661f535744a690ec2fa4afdf3c81c5e4b17",
        );
        check(
            &["user", "1234.5678", "--user-data", r#"{"id": "user-123", "name": "\u00c4da"}"#],
            r#"1234.5678::user::{"id": "user-123", "name": "\u00c4da"}"#,
            "9077e6fdbe29506643ff85a1717e1475ba40746e0bf73babbef148c33ea8a935",
        );
        check(
            &["channel", "1234.1234", "private-foobar"],
            "1234.1234:private-foobar",
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
        );
        check(
            &[
                "channel",
                "1234.1234",
                "presence-foobar",
                "--channel-data",
                r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#,
            ],
            r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#,
            "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
        );
    }

    #[test]
    fn user_data_is_composed_from_its_parts() {
        let signed =
            signed(&["user", "1.2", "ada", "--watch", "bob,eve", "--watch", "josé", "--info", r#"{"n": 1}"#]);
        let string = signed.expect("signed").string;
        assert_eq!(
            string,
            r#"1.2::user::{"id":"ada","user_info":{"n": 1},"watchlist":["bob","eve","josé"]}"#
        );
    }

    #[test]
    fn what_would_forge_or_fail_is_not_signed() {
        for line in [
            &["channel", "1.2", r#":user::{"id":"ada"}"#][..],
            &["channel", "1.2", "#server-to-user-ada"],
            &["channel", "1.2", "news"],
            &["channel", "1.2", "cache-news"],
            &["channel", "1.2:", "private-x"],
            &["channel", "1.2", "presence-x", "--channel-data", "{"],
            &["user", "1.2", "--user-data", r#"{"id":7}"#],
            &["user", "1.2", "--user-data", r#"{"id":"a","id":"b"}"#],
            &["user", "1.2", ""],
            &["user", "1.2", "ada", "--info", "x"],
        ] {
            assert!(signed(line).is_err(), "{line:?}");
        }
        assert!(signed(&["channel", "1.2", "private-cache-x"]).is_ok());
    }
}
