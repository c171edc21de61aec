//! Ids that nobody can guess or meet twice: 64 bits of a generator that the operating system seeds.

/// Never 0, which on the wire stands for "no question".
pub(crate) fn id() -> u64 {
    loop {
        let bits = rand::random();
        if bits != 0 {
            return bits;
        }
    }
}
