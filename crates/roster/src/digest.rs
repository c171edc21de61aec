//! A digest of a set of levels that does not depend on their order, so that adding and removing one is a single step.

use ids::UserKey;

/// What a level is about.
#[derive(Clone, Copy)]
pub(crate) enum About {
    SignedIn,
    Watched,
    Told,
}

/// One level's share; a set's digest is the exclusive or of its levels'. Both sides of a digest must compute the same,
/// so this is a fixed function (64-bit FNV-1a, then the finaliser of SplitMix64, without which shares would cancel out).
pub(crate) fn level(about: About, key: &UserKey, yes: bool) -> u64 {
    let bytes = key.app.as_str().bytes().chain([0]).chain(key.user.as_str().bytes());
    let hash = bytes.chain([0, about as u8, u8::from(yes)]).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
