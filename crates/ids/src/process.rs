//! The processes of a cluster and the numbers by which they succeed one another.

use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 16 lower-case hexadecimal digits")]
pub struct InvalidProcessId;

macro_rules! process_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// An id from 64 random bits, new on each start.
            #[must_use]
            pub fn from_random(bits: u64) -> Self {
                Self(bits)
            }

            #[must_use]
            pub fn bits(self) -> u64 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidProcessId;

            fn from_str(text: &str) -> Result<Self, InvalidProcessId> {
                let id = Self(u64::from_str_radix(text, 16).map_err(|_| InvalidProcessId)?);
                if id.to_string() == text { Ok(id) } else { Err(InvalidProcessId) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

process_id! {
    /// One life of a gateway: a gateway that starts again is another node.
    NodeId
}

process_id! {
    /// One life of a presence replica or of a control.
    ProcessId
}

/// Numbers the owners of a shard. The higher epoch wins everywhere, whatever any clock says.
///
/// The low 24 bits are the holder's, so that two owners never share an epoch, even if the broker forgot which
/// numbers it gave out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Below every owner's epoch: nobody has claimed the shard yet.
    pub const NONE: Epoch = Epoch(0);
    const HOLDER_BITS: u32 = 24;

    /// The epoch that `holder` takes next, above `floor`.
    #[must_use]
    pub fn above(floor: Epoch, holder: ProcessId) -> Epoch {
        let turn = (floor.0 >> Self::HOLDER_BITS) + 1;
        Epoch(turn << Self::HOLDER_BITS | holder.0 & ((1 << Self::HOLDER_BITS) - 1))
    }

    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The epoch that a message names.
    #[must_use]
    pub fn from_number(number: u64) -> Epoch {
        Epoch(number)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06x}", self.0 >> Self::HOLDER_BITS, self.0 & ((1 << Self::HOLDER_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_above_its_floor_and_its_holders_own() {
        let (a, b) =
            (ProcessId::from_random(0xaaaa_aaaa_aaaa_aaaa), ProcessId::from_random(0xbbbb_bbbb_bbbb_bbbb));
        let first = Epoch::above(Epoch::NONE, b);
        let second = Epoch::above(first, a);
        assert!(first > Epoch::NONE && second > first);
        assert_ne!(Epoch::above(first, a), Epoch::above(first, b));
    }

    #[test]
    fn a_process_id_has_one_spelling() {
        assert_eq!("00000000000000ff".parse(), Ok(NodeId::from_random(255)));
        for invalid in ["", "ff", "00000000000000FF", "+0000000000000ff", "00000000000000fff"] {
            assert_eq!(invalid.parse::<NodeId>(), Err(InvalidProcessId), "{invalid:?}");
        }
    }
}
