//! A hash that is the same in every process and every release, which a library's hasher does not promise.

/// 64-bit FNV-1a, then the finaliser of SplitMix64: FNV alone hardly mixes the last bytes into the high bits.
///
/// Part of the cluster's contract: whoever changes it splits a cluster in two while it is upgraded. Not for tables whose
/// keys clients choose.
#[must_use]
pub fn stable_hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let hash = bytes.into_iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fixed_for_ever() {
        let hashes = ["", "a", "ab"].map(|text| stable_hash(text.bytes()));
        assert_eq!(hashes, [0xf52a_15e9_a9b5_e89b, 0x02c0_bdbf_4814_20f8, 0x9ffe_50a6_57e4_a147]);
    }
}
