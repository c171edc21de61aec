//! How many sockets this process may have.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for listeners, backends' calls, the admin port, files and the runtime.
const RESERVED: usize = 200;
/// Where the system has no limit of its own: more than one process will see.
const ENOUGH: u64 = 10_000_000;

/// Raises the limit of open files as far as the system permits, and says how many clients it has room for.
///
/// `wanted` is the setting: 0 for as many as there is room for.
///
/// # Errors
/// If more are wanted than there is room for.
pub(crate) fn connections(wanted: usize) -> anyhow::Result<usize> {
    raise();
    let files = getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH).min(ENOUGH) as usize;
    share(wanted, files)
}

fn share(wanted: usize, files: usize) -> anyhow::Result<usize> {
    let room = files.saturating_sub(RESERVED).max(1);
    match wanted {
        0 => Ok(room),
        _ if wanted <= room => Ok(wanted),
        _ => bail!(
            "gateway.max_connections is {wanted}, but with {files} open files there is room for {room}: raise the limit \
             (`ulimit -n`, LimitNOFILE= of systemd) or lower the setting"
        ),
    }
}

fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // macOS names no maximum and still refuses what is above its own.
    for attempt in [maximum, Some(65_536), Some(10_240)] {
        let higher = current.is_some_and(|current| attempt.is_none_or(|attempt| attempt > current));
        if higher && setrlimit(Resource::Nofile, Rlimit { current: attempt, maximum }).is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_kept_for_ourselves() {
        assert_eq!(share(0, 1024).ok(), Some(824));
        assert_eq!(share(824, 1024).ok(), Some(824));
        assert!(share(825, 1024).is_err());
        assert_eq!(share(0, 10).ok(), Some(1));
    }

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_permits() {
        let room = connections(0).expect("zero is always possible");
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(room >= 1);
        if let Some(maximum) = maximum {
            assert_eq!(current, Some(maximum));
        }
    }
}
