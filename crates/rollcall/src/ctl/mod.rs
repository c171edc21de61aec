//! `rollcall ctl`: the verbs, for people and scripts, over the same gRPC that backends use.

mod client;
mod render;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use client::Client;
use contracts::control::v1;
use ids::{AppId, EventName, SocketId, UserId};
use render::Render;
use std::{
    io::{Read as _, Write as _, stdin, stdout},
    process::ExitCode,
};

/// Some nodes have not confirmed: what was asked may still happen there.
const INCOMPLETE: u8 = 3;
/// What `GetUsers` takes at a time.
const USERS_AT_A_TIME: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every call")]
struct Options {
    /// The server's gRPC address.
    #[arg(
        long,
        global = true,
        env = "ROLLCALL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,
    /// A token of the server's control.tokens; the development server prints one.
    #[arg(long, global = true, env = "ROLLCALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The app's id.
    #[arg(long, global = true, value_name = "ID", default_value = "1")]
    app: AppId,
    /// Answer as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Close a user's connections, on every node, and say how many were closed.
    ///
    /// Exits with 3 if a node did not confirm: run it again.
    Terminate {
        /// The user's id.
        user: UserId,
        /// Spare this connection; may be repeated.
        #[arg(long, value_name = "SOCKET_ID", conflicts_with = "only")]
        except: Vec<SocketId>,
        /// Close this connection only; may be repeated.
        #[arg(long, value_name = "SOCKET_ID")]
        only: Vec<SocketId>,
        /// What the clients are made to do; without it as the app's settings say.
        #[arg(long)]
        close: Option<Close>,
        /// Told to the clients: at most 123 bytes.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Say how many connections would be closed, and close none.
        #[arg(long)]
        dry_run: bool,
    },
    /// Send an event to every connection of a user, and say how many it reached.
    Send {
        /// The user's id.
        user: UserId,
        /// The event's name.
        event: EventName,
        /// Handed to the clients as it is: JSON by custom. - reads it from standard input.
        #[arg(default_value = "{}")]
        data: String,
        /// Leave out this connection.
        #[arg(long, value_name = "SOCKET_ID")]
        except: Option<SocketId>,
    },
    /// Say whether a user is online, and list the connections.
    User {
        /// The user's id.
        user: UserId,
    },
    /// Say which of these users are online; without names, list everybody who is.
    Users {
        /// The users' ids.
        users: Vec<UserId>,
    },
    /// Follow users: first what each is, then each change, until interrupted.
    Watch {
        /// The users' ids.
        #[arg(required = true)]
        users: Vec<UserId>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Close {
    /// Come back at once, with a new token (4200).
    Reconnect,
    /// Stop (4009).
    Stop,
}

const EXAMPLES: &str = r#"Exit codes: 0 done; 1 failed; 2 wrong usage; 3 a node did not confirm a termination.

Examples:
  rollcall ctl terminate ada                            log ada out everywhere
  rollcall ctl terminate ada --except 1234.5678         …everywhere else
  rollcall ctl terminate ada --close stop --reason "account closed"
  rollcall ctl send ada order-filled '{"order":7}'
  rollcall ctl user ada
  rollcall ctl users ada grace --json
  rollcall ctl watch ada grace
  ROLLCALL_SERVER=http://10.0.0.7:50051 ROLLCALL_TOKEN=… rollcall ctl users"#;

pub(crate) async fn main(Args { options, verb }: Args) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&options.server, options.token.as_deref()).await?;
    let app_id = options.app.to_string();
    let render = if options.json { Render::Json } else { Render::Text };
    match verb {
        Verb::Terminate { user, except, only, close, reason, dry_run } => {
            let request = v1::TerminateUserConnectionsRequest {
                app_id,
                user_id: user.to_string(),
                except_socket_ids: texts(&except),
                only_socket_ids: texts(&only),
                close_class: close_class(close).into(),
                reason: reason.unwrap_or_default(),
                dry_run,
            };
            let answer = client.terminate(request).await?;
            print(&render.terminated(&user, &answer, dry_run))?;
            return Ok(if answer.complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) });
        }
        Verb::Send { user, event, data, except } => {
            let request = v1::SendToUserRequest {
                app_id,
                user_id: user.to_string(),
                event: event.to_string(),
                data: if data == "-" { read_data()? } else { data },
                except_socket_id: except.map(|socket| socket.to_string()).unwrap_or_default(),
            };
            print(&render.sent(&user, &client.send(request).await?))?;
        }
        Verb::User { user } => {
            let answer = client.user(v1::GetUserRequest { app_id, user_id: user.to_string() }).await?;
            print(&render.user(&user, &answer))?;
        }
        Verb::Users { users } if users.is_empty() => {
            let mut cursor = String::new();
            loop {
                let first = cursor.is_empty();
                let request = v1::ListOnlineUsersRequest { app_id: app_id.clone(), cursor, limit: 1000 };
                let page = client.online_users(request).await?;
                if first && page.user_ids.is_empty() && render == Render::Text {
                    print("nobody is online")?;
                }
                page.user_ids.iter().try_for_each(|user| print(&render.level(user, true)))?;
                cursor = page.next_cursor;
                if cursor.is_empty() {
                    break;
                }
            }
        }
        Verb::Users { users } => {
            for users in users.chunks(USERS_AT_A_TIME) {
                let request = v1::GetUsersRequest { app_id: app_id.clone(), user_ids: texts(users) };
                print_levels(render, &client.users(request).await?.users)?;
            }
        }
        Verb::Watch { users } => {
            let request = v1::WatchUsersRequest { app_id, user_ids: texts(&users) };
            let mut levels = client.watch(request).await?;
            while let Some(more) = levels.next().await? {
                print_levels(render, &more.users)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn texts<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn close_class(close: Option<Close>) -> v1::CloseClass {
    match close {
        None => v1::CloseClass::Unspecified,
        Some(Close::Reconnect) => v1::CloseClass::Reconnect,
        Some(Close::Stop) => v1::CloseClass::Stop,
    }
}

fn read_data() -> anyhow::Result<String> {
    let mut data = String::new();
    stdin().read_to_string(&mut data).context("read the data from standard input")?;
    // A shell's end of line is not part of it.
    data.truncate(data.trim_end_matches(['\r', '\n']).len());
    Ok(data)
}

fn print_levels(render: Render, levels: &[v1::UserLevel]) -> anyhow::Result<()> {
    levels.iter().try_for_each(|level| print(&render.level(&level.user_id, level.online)))
}

/// Line by line, so that a pipe sees each when it comes.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
