//! `rollcall verify`: why the server would refuse a token, for whoever writes the endpoint that makes it.

mod advice;

use crate::credentials::Credentials;
use anyhow::Context as _;
use clap::Subcommand;
use ids::{ChannelName, SocketId};
use protocol::{
    App, InvalidUserData,
    signature::{self, ProofRefusal, SignInRefusal},
};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _, stdin, stdout},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    credentials: Credentials,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A user's sign-in: the answer of `POST /pusher/user-auth`.
    User {
        /// The connection that the token is for.
        socket_id: SocketId,
        /// The endpoint's answer, {"auth": …, "user_data": …}; - reads it from standard input.
        answer: String,
    },
    /// A subscription: the answer of `POST /pusher/auth`.
    Channel {
        /// The connection that the token is for.
        socket_id: SocketId,
        /// The channel's name.
        channel: ChannelName,
        /// The endpoint's answer, {"auth": …} or {"auth": …, "channel_data": …}; - reads it from standard input.
        answer: String,
    },
}

const EXAMPLES: &str = r#"Exits with 0 if the server would take the token, with 1 if not.

Examples:
  curl -s -d socket_id=1234.5678 https://example.com/pusher/user-auth | rollcall verify user 1234.5678 -
  rollcall verify user 1234.5678 '{"auth":"app-key:…","user_data":"{\"id\":\"ada\"}"}'
  rollcall verify channel 1234.5678 private-orders '{"auth":"app-key:…"}'"#;

/// The checks in the server's order, the first that failed, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    checks: &'static [&'static str],
    failure: Option<Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// Its place among the checks.
    at: usize,
    what: String,
    advice: String,
}

const SIGN_IN_CHECKS: [&str; 6] = [
    "the app allows user authentication",
    "`auth` and `user_data` are strings, and not too large",
    "`auth` has the form key:signature, with this app's key",
    "the signature is 64 hexadecimal digits",
    "the signature is right",
    "`user_data` is a JSON object with an `id`",
];

const SUBSCRIPTION_CHECKS: [&str; 4] = [
    "`auth` is a string, and so is `channel_data` if it is there",
    "`auth` has the form key:signature, with this app's key",
    "the signature is 64 hexadecimal digits",
    "the signature is right",
];

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let app = args.credentials.app()?;
    let report = match &args.what {
        What::User { socket_id, answer } => sign_in(&app, *socket_id, &parse(answer)?),
        What::Channel { socket_id, channel, answer } => {
            subscription(&app, *socket_id, channel, &parse(answer)?)
        }
    };
    write!(stdout(), "{}", report.text())?;
    Ok(if report.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(answer: &str) -> anyhow::Result<Value> {
    let text = match answer {
        "-" => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).context("read the answer from standard input")?;
            text
        }
        text => text.to_owned(),
    };
    serde_json::from_str(&text).context("the endpoint must answer with JSON")
}

fn sign_in(app: &App, socket: SocketId, answer: &Value) -> Report {
    let text = |field: &str| answer.get(field).and_then(Value::as_str);
    let (auth, user_data) = (text("auth"), text("user_data"));
    let refusal = signature::verify_sign_in(app, socket, auth, user_data.map(str::to_owned)).err();
    let failure = refusal.map(|refusal| {
        let (at, advice) = match refusal {
            SignInRefusal::TurnedOff => (0, "Set user_authentication = true for this app.".to_owned()),
            SignInRefusal::Fields => (1, advice::fields(answer, "user_data", true)),
            SignInRefusal::UserData(InvalidUserData::TooLarge) => {
                (1, "Sign less: the id and the watchlist.".to_owned())
            }
            SignInRefusal::Proof(refusal) => {
                let (at, advice) = proof(refusal, app, auth.unwrap_or_default(), || {
                    advice::wrong_sign_in(
                        app,
                        socket,
                        auth.unwrap_or_default(),
                        user_data.unwrap_or_default(),
                    )
                });
                (at + 2, advice)
            }
            SignInRefusal::UserData(
                InvalidUserData::TooDeep | InvalidUserData::NotAnObject | InvalidUserData::Id,
            ) => (5, "Sign {\"id\": \"…\"}, the id a string also if it is a number.".to_owned()),
        };
        Failure { at, what: refusal.to_string(), advice }
    });
    Report { checks: &SIGN_IN_CHECKS, failure }
}

fn subscription(app: &App, socket: SocketId, channel: &ChannelName, answer: &Value) -> Report {
    let (auth, data) = (answer.get("auth").and_then(Value::as_str), answer.get("channel_data"));
    let text = data.and_then(Value::as_str);
    let failure = match auth {
        Some(auth) if data.is_none_or(Value::is_null) || text.is_some() => {
            let refusal = signature::verify_subscription(app, socket, channel, auth, text).err();
            refusal.map(|refusal| {
                let wrong = || advice::wrong_subscription(app, socket, channel, auth, text);
                let (at, advice) = proof(refusal, app, auth, wrong);
                Failure { at: at + 1, what: refusal.to_string(), advice }
            })
        }
        Some(_) | None => Some(Failure {
            at: 0,
            what: "a field is missing or not a string".to_owned(),
            advice: advice::fields(answer, "channel_data", false),
        }),
    };
    Report { checks: &SUBSCRIPTION_CHECKS, failure }
}

/// Which of the checks of a proof failed, counted from the first of them, and what to do.
fn proof(refusal: ProofRefusal, app: &App, auth: &str, wrong: impl Fn() -> String) -> (usize, String) {
    match refusal {
        ProofRefusal::Form => (0, format!("Answer with `auth` as \"{}:\" and the signature.", app.key)),
        ProofRefusal::Key => {
            let given = auth.split(':').next().unwrap_or_default();
            (
                0,
                format!(
                    "It names {given:?}, and this app's key is {:?}: use one app's key and secret.",
                    app.key.as_str()
                ),
            )
        }
        ProofRefusal::Signature => (1, advice::not_hexadecimal(auth)),
        ProofRefusal::Wrong => (2, wrong()),
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for (at, check) in self.checks.iter().enumerate() {
            let mark = match &self.failure {
                Some(failure) if failure.at == at => "FAILED",
                Some(failure) if failure.at < at => "-     ",
                Some(_) | None => "ok    ",
            };
            text += &format!("{mark}  {check}\n");
        }
        match &self.failure {
            None => text += "\nThe server would take this token, on this connection.\n",
            Some(Failure { what, advice, .. }) => text += &format!("\n{what}\n{advice}\n"),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Secret;
    use serde_json::json;

    const KEY: &str = "278d425bdf160c739803";
    const DATA: &str = r#"{"id":"user-123","name":"Ada"}"#;
    const HEX: &str = "287ee7af5c4f9e76eef8ae78cdbc8661f535744a690ec2fa4afdf3c81c5e4b17";

    /// The credentials of the protocol's published examples.
    fn app() -> App {
        App::new("1".parse().expect("id"), KEY.parse().expect("key"), Secret::new("7ad3773142a6692b25b8"))
    }

    fn socket() -> SocketId {
        "1234.5678".parse().expect("socket id")
    }

    fn signed(string: &str) -> String {
        format!("{KEY}:{}", app().secret.sign(&[string.as_bytes()]))
    }

    #[test]
    fn a_good_token_passes_every_check() {
        let report = sign_in(&app(), socket(), &json!({"auth": format!("{KEY}:{HEX}"), "user_data": DATA}));
        assert_eq!(report.failure, None);
        assert!(report.text().starts_with("ok      the app allows"), "{}", report.text());
        let answer = json!({"auth": signed("1234.5678:private-x")});
        assert_eq!(
            subscription(&app(), socket(), &"private-x".parse().expect("name"), &answer).failure,
            None
        );
        let answer = json!({"auth": signed("1234.5678:presence-x:{}"), "channel_data": "{}"});
        assert_eq!(
            subscription(&app(), socket(), &"presence-x".parse().expect("name"), &answer).failure,
            None
        );
    }

    /// The check that fails, and a part of the advice.
    fn check_sign_in(answer: &Value, at: usize, advice: &str) {
        let failure = sign_in(&app(), socket(), answer).failure.unwrap_or_else(|| panic!("{answer} passed"));
        assert_eq!(failure.at, at, "{answer}: {failure:?}");
        assert!(failure.advice.contains(advice), "{answer}: {failure:?}");
        assert!(!failure.advice.contains("7ad3773142a6692b25b8"), "the secret");
    }

    #[test]
    fn a_refused_sign_in_names_the_check_and_what_to_do() {
        let good = format!("{KEY}:{HEX}");
        check_sign_in(&json!({}), 1, "`auth` is missing");
        check_sign_in(&json!({"auth": good}), 1, "`user_data` is missing");
        check_sign_in(&json!({"auth": good, "user_data": {"id": "user-123"}}), 1, "JSON text, in a string");
        check_sign_in(&json!({"auth": 7, "user_data": DATA}), 1, "`auth` must be a string");
        check_sign_in(&json!({"auth": HEX, "user_data": DATA}), 2, KEY);
        check_sign_in(&json!({"auth": format!("other:{HEX}"), "user_data": DATA}), 2, "\"other\"");
        let base64 = "KH7nr1xPnnbu+K54zbyGYfU1dEppDsL6SvU4PIHF5LFw=";
        check_sign_in(&json!({"auth": format!("{KEY}:{base64}"), "user_data": DATA}), 3, "base64");
        check_sign_in(
            &json!({"auth": format!("{KEY}::user::{HEX}"), "user_data": DATA}),
            3,
            "between the key",
        );
        check_sign_in(
            &json!({"auth": format!("{KEY}:{}", &HEX[1..]), "user_data": DATA}),
            3,
            "63 characters",
        );
        let numeric = r#"{"id":7}"#;
        let auth = signed(&format!("1234.5678::user::{numeric}"));
        check_sign_in(&json!({"auth": auth, "user_data": numeric}), 5, "a string also if it is a number");
    }

    #[test]
    fn usual_mistakes_in_what_was_signed_are_recognised() {
        let check =
            |auth: String, advice: &str| check_sign_in(&json!({"auth": auth, "user_data": DATA}), 4, advice);
        check(signed(&format!("1234.5678:{DATA}")), "::user::");
        check(signed(&format!("1234.5678::user::{DATA}\n")), "end of line");
        check(signed(&format!("1234.5678:user:{DATA}")), "two colons");
        check(signed(DATA), "socket_id is not part");
        check(signed("1234.5678::user::user-123"), "not the id alone");
        check(signed("1234.5678::user::{\"id\": \"user-123\", \"name\": \"Ada\"}"), "same bytes");
        check(signed(&format!("1234.5678::user::{}", json!(DATA))), "once more as JSON");
        let by_key = Secret::new(KEY).sign(&[format!("1234.5678::user::{DATA}").as_bytes()]);
        check(format!("{KEY}:{by_key}"), "not with its key");
        check(signed(&format!("9.9::user::{DATA}")), "1234.5678::user::");
    }

    #[test]
    fn a_refused_subscription_names_the_check_and_what_to_do() {
        let check = |answer: &Value, at: usize, advice: &str| {
            let report = subscription(&app(), socket(), &"presence-x".parse().expect("name"), answer);
            let failure = report.failure.unwrap_or_else(|| panic!("{answer} passed"));
            assert_eq!(failure.at, at, "{answer}: {failure:?}");
            assert!(failure.advice.contains(advice), "{answer}: {failure:?}");
        };
        let plain = signed("1234.5678:presence-x");
        check(&json!({}), 0, "`auth` is missing");
        check(&json!({"auth": plain, "channel_data": {}}), 0, "JSON text, in a string");
        check(&json!({"auth": "x"}), 1, KEY);
        check(&json!({"auth": format!("{KEY}:xyz")}), 2, "3 characters");
        check(&json!({"auth": plain, "channel_data": "{}"}), 3, "without channel_data");
        check(&json!({"auth": signed("1234.5678:presence-x\n")}), 3, "end of line");
        check(&json!({"auth": signed("1234.5678::user::{}")}), 3, "1234.5678:presence-x");
    }
}
