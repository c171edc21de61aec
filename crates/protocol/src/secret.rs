//! An app's secret, and the signatures made with it. The secret itself never leaves this file.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// A secret as a keyed HMAC-SHA256, so that a signature does not key it anew.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// An HMAC-SHA256 as it is presented: 64 hexadecimal digits of either case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature must be 64 hexadecimal digits")]
pub struct InvalidSignature;

impl Secret {
    #[must_use]
    pub fn new(secret: &str) -> Secret {
        Secret(Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// Signs the concatenation of `parts`.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> Signature {
        Signature(self.mac(parts).finalize().into_bytes().into())
    }

    /// Whether `signature` was made over the concatenation of `parts`; takes the same time wherever they differ.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &Signature) -> bool {
        self.mac(parts).verify_slice(&signature.0).is_ok()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl std::str::FromStr for Signature {
    type Err = InvalidSignature;

    fn from_str(text: &str) -> Result<Signature, InvalidSignature> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidSignature)?;
        Ok(Signature(bytes))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Hidden: a signature that was accepted once is a credential as long as its socket lives.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_hides_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_signature_is_64_hexadecimal_digits() {
        let signature = Secret::new("s").sign(&[b"a", b"b"]);
        assert_eq!(signature, Secret::new("s").sign(&[b"ab"]));
        let text = signature.to_string();
        assert_eq!(text.parse(), Ok(signature));
        assert_eq!(text.to_uppercase().parse(), Ok(signature));
        for invalid in
            ["", "00", &text[1..], &format!("{text}00"), &text.replace(&text[..1], "g"), &"é".repeat(32)]
        {
            assert_eq!(invalid.parse::<Signature>(), Err(InvalidSignature), "{invalid:?}");
        }
    }
}
