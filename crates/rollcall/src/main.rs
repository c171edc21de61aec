//! Rollcall: a server of the Pusher Channels protocol that knows who is connected, and its command line.

mod banner;
mod credentials;
mod ctl;
mod demo;
mod limits;
mod serve;
mod settings;
mod sign;
mod verify;

use clap::{Parser, Subcommand};
use settings::Settings;
use std::{io, path::PathBuf, process::ExitCode};
use tokio::runtime;

/// As fast as the others here, and its build takes seconds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server of the Pusher Channels protocol that knows who is connected.
///
/// Without a command it runs a complete server in one process: with no settings at all, one with a development app on
/// loopback addresses, which prints how to try it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    /// The settings file; rollcall.example.toml documents it. Each setting can also be given in the environment:
    /// ROLLCALL_GATEWAY__LISTEN is gateway.listen.
    #[arg(long, value_name = "FILE", env = "ROLLCALL_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Call a running server: terminate, send, user, users, watch.
    Ctl(ctl::Args),
    /// Sign what an application's endpoint signs: a user's sign-in, or a subscription.
    Sign(sign::Args),
    /// Check what an application's endpoint answered, and say what is wrong with it.
    Verify(verify::Args),
}

const EXAMPLES: &str = "\
Examples:
  rollcall                                        a development server on 127.0.0.1, with a demo page
  rollcall --config rollcall.toml                 a server with your settings
  ROLLCALL_GATEWAY__LISTEN=127.0.0.1:7001 rollcall
  rollcall ctl terminate ada                      close every connection of the user ada
  rollcall sign user 1234.5678 ada --explain      see what a sign-in signs";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => serve::main(Settings::load(cli.config.as_deref())?),
        Some(Command::Ctl(args)) => {
            runtime::Builder::new_current_thread().enable_all().build()?.block_on(ctl::main(args))
        }
        Some(Command::Sign(args)) => sign::main(&args),
        Some(Command::Verify(args)) => verify::main(&args),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_understood() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        for line in [
            "rollcall",
            "rollcall --config rollcall.toml",
            "rollcall ctl terminate ada --except 1.2 --except 1.3 --close stop --reason bye --dry-run",
            "rollcall ctl terminate ada --only 1.2 --json",
            "rollcall ctl --server http://127.0.0.1:1 --token t --app 2 send ada hello {}",
            "rollcall ctl send ada hello --except 1.2",
            "rollcall ctl user ada",
            "rollcall ctl users",
            "rollcall ctl users ada bob --json",
            "rollcall ctl watch ada",
            "rollcall sign user 1.2 ada --watch bob,eve --info {} --explain",
            "rollcall sign user 1.2 --user-data {}",
            "rollcall sign channel 1.2 private-x --secret s --key k",
            "rollcall sign --config rollcall.toml channel 1.2 presence-x --channel-data {}",
            "rollcall sign user 1.2 ada --config rollcall.toml --app 7",
            "rollcall verify user 1.2 {}",
            "rollcall verify channel 1.2 private-x -",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "rollcall serve",
            "rollcall ctl",
            "rollcall ctl users --config rollcall.toml",
            "rollcall ctl terminate",
            "rollcall ctl terminate ada --except 1.2 --only 1.3",
            "rollcall ctl terminate ada --except 1:2",
            "rollcall ctl terminate ada --close never",
            "rollcall ctl send ada",
            "rollcall ctl send ada pusher:x",
            "rollcall ctl watch",
            "rollcall ctl --app a/b user ada",
            "rollcall sign user 1.2",
            "rollcall sign user 1.2 ada --user-data {}",
            "rollcall sign user 01.2 ada",
            "rollcall sign user 1.2 ada --secret s",
            "rollcall sign channel 1.2 :user::{}",
            "rollcall sign channel 1.2 #server-to-user-ada",
            "rollcall verify user 1.2",
        ] {
            assert!(!parses(line), "{line}");
        }
    }
}
