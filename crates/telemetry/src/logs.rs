//! Where log lines go and how they look.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::{
    EnvFilter, filter::ParseError, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives as `tracing-subscriber` takes them: `info`, or `warn,gateway=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, coloured on a terminal.
    Human,
    /// One JSON object a line, for a collector.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("the log filter is not valid")]
    Filter(#[from] ParseError),
    /// A subscriber was installed before: `init` is called once, by `main`.
    #[error("logging has been set up already")]
    Twice,
}

/// Sends this process's logs to standard error, which leaves standard output to answers.
///
/// # Errors
/// See [`InitError`].
pub fn init(settings: &LogSettings) -> Result<(), InitError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(&settings.filter)?);
    let lines = fmt::layer().with_writer(io::stderr);
    match settings.format {
        LogFormat::Human => registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|_| InitError::Twice)
}

/// Whether `init` would take this filter, so that settings can be refused before anything has started.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), ParseError> {
    EnvFilter::try_new(filter).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        for valid in ["info", "warn,gateway=debug", "off"] {
            assert!(check_filter(valid).is_ok(), "{valid:?}");
        }
        for invalid in ["gateway=loud", "a=b=c"] {
            assert!(check_filter(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn logging_is_set_up_once() {
        let settings = LogSettings { format: LogFormat::Json, filter: "off".to_owned() };
        assert!(init(&settings).is_ok());
        assert!(matches!(init(&settings), Err(InitError::Twice)));
        let bad = LogSettings { format: LogFormat::Human, filter: "a=b=c".to_owned() };
        assert!(matches!(init(&bad), Err(InitError::Filter(_))));
    }
}
