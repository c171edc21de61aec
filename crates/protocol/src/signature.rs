//! Whether an application vouches for what a client says. `docs/PROTOCOL.md` §2.3 and §6.2.

use crate::{App, InvalidUserData, Secret, Signature, UserData, user_data::MAX_USER_DATA_BYTES};
use ids::{ChannelName, SocketId};

/// The proof that goes with a sign-in: `key:` and the signature of `socket_id::user::user_data`.
#[must_use]
pub fn sign_in(secret: &Secret, socket: SocketId, user_data: &str) -> Signature {
    secret.sign(&[socket.to_string().as_bytes(), b"::user::", user_data.as_bytes()])
}

/// The proof that goes with a subscription: `key:` and the signature of `socket_id:channel`, or of
/// `socket_id:channel:channel_data` where there is such data.
#[must_use]
pub fn subscribe(
    secret: &Secret,
    socket: SocketId,
    channel: &ChannelName,
    channel_data: Option<&str>,
) -> Signature {
    let (socket, channel) = (socket.to_string(), channel.as_str());
    match channel_data {
        None => secret.sign(&[socket.as_bytes(), b":", channel.as_bytes()]),
        Some(data) => secret.sign(&[socket.as_bytes(), b":", channel.as_bytes(), b":", data.as_bytes()]),
    }
}

/// Why a sign-in is refused. The messages go to the client; they never contain what was to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    #[error("user authentication is turned off for this app")]
    TurnedOff,
    #[error("pusher:signin needs `auth` and `user_data`, both strings")]
    Fields,
    #[error(transparent)]
    Proof(#[from] ProofRefusal),
    #[error(transparent)]
    UserData(#[from] InvalidUserData),
}

/// Why an `auth` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    #[error("`auth` must have the form key:signature")]
    Form,
    #[error("the key in `auth` is not this app's")]
    Key,
    #[error("the signature in `auth` must be 64 hexadecimal digits")]
    Signature,
    #[error("the signature in `auth` is wrong: sign this connection's socket_id with this app's secret")]
    Wrong,
}

/// Checks a sign-in in the order of `docs/PROTOCOL.md` §2.3: unsigned bytes never reach the JSON parser. Whether the
/// connection may be signed in as that user is for its owner to say.
///
/// # Errors
/// The first check that failed.
pub fn verify_sign_in(
    app: &App,
    socket: SocketId,
    auth: Option<&str>,
    user_data: Option<String>,
) -> Result<UserData, SignInRefusal> {
    if !app.user_authentication {
        return Err(SignInRefusal::TurnedOff);
    }
    let (Some(auth), Some(user_data)) = (auth, user_data) else { return Err(SignInRefusal::Fields) };
    if user_data.len() > MAX_USER_DATA_BYTES {
        return Err(InvalidUserData::TooLarge.into());
    }
    let socket = socket.to_string();
    verify(app, auth, &[socket.as_bytes(), b"::user::", user_data.as_bytes()])?;
    Ok(UserData::parse(user_data)?)
}

/// Checks the proof of a subscription to a private channel.
///
/// # Errors
/// The first check that failed.
pub fn verify_subscription(
    app: &App,
    socket: SocketId,
    channel: &ChannelName,
    auth: &str,
    channel_data: Option<&str>,
) -> Result<(), ProofRefusal> {
    let (socket, channel) = (socket.to_string(), channel.as_str());
    let plain: &[&[u8]] = &[socket.as_bytes(), b":", channel.as_bytes()];
    let Some(data) = channel_data else { return verify(app, auth, plain) };
    let with_data: &[&[u8]] = &[plain[0], b":", plain[2], b":", data.as_bytes()];
    match verify(app, auth, with_data) {
        // Pusher signs even an empty string; some SDKs leave it out.
        Err(ProofRefusal::Wrong) if data.is_empty() => verify(app, auth, plain),
        result => result,
    }
}

fn verify(app: &App, auth: &str, signed: &[&[u8]]) -> Result<(), ProofRefusal> {
    let (key, signature) = auth.split_once(':').ok_or(ProofRefusal::Form)?;
    if key != app.key.as_str() {
        return Err(ProofRefusal::Key);
    }
    let signature = signature.parse::<Signature>().map_err(|_| ProofRefusal::Signature)?;
    if app.secret.verify(signed, &signature) { Ok(()) } else { Err(ProofRefusal::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "1234.5678";

    /// The credentials of Pusher's published examples.
    fn app() -> App {
        let (id, key) = ("1".parse().expect("id"), "278d425bdf160c739803".parse().expect("key"));
        App::new(id, key, Secret::new("7ad3773142a6692b25b8"))
    }

    fn socket(id: &str) -> SocketId {
        id.parse().expect("socket id")
    }

    #[test]
    fn published_sign_in_signatures_are_made() {
        let check = |socket_id: &str, user_data: &str, expected: &str| {
            assert_eq!(
                sign_in(&app().secret, socket(socket_id), user_data).to_string(),
                expected,
                "{user_data}"
            );
            let auth = format!("{}:{expected}", app().key);
            let verified = verify_sign_in(&app(), socket(socket_id), Some(&auth), Some(user_data.to_owned()));
            assert_eq!(verified.map(|data| data.text), Ok(user_data.to_owned()));
        };
        check(
            "1234.1234",
            r#"{"id":"12345"}"#,
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
        );
        check(
            SOCKET,
            r#"{"id":"user-123","name":"Ada"}"#,
            "287ee7af5c4f9e76eef8ae78cdbc8661f535744a690ec2fa4afdf3c81c5e4b17",
        );
        check(
            SOCKET,
            r#"{"id":"user-123","name":"Ada","watchlist":["user-456","user-789"]}"#,
            "44ebe67d67d9578c346fac765fc8f4b218a7b212316e8f8016eab2fcb2f071fa",
        );
        check(
            SOCKET,
            r#"{"id":"josé","name":"Äda"}"#,
            "eec503be1e042cb68c143a8a5d7c540d439d33b9d49c84f76aee94a8edf270b1",
        );
        check(
            SOCKET,
            r#"{"id": "user-123", "name": "\u00c4da"}"#,
            "9077e6fdbe29506643ff85a1717e1475ba40746e0bf73babbef148c33ea8a935",
        );
    }

    #[test]
    fn published_subscription_signatures_are_made() {
        let check = |channel: &str, data: Option<&str>, expected: &str| {
            let channel = channel.parse().expect("channel");
            assert_eq!(subscribe(&app().secret, socket("1234.1234"), &channel, data).to_string(), expected);
            let auth = format!("{}:{expected}", app().key);
            assert_eq!(verify_subscription(&app(), socket("1234.1234"), &channel, &auth, data), Ok(()));
        };
        check("private-foobar", None, "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4");
        check(
            "presence-foobar",
            Some(r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#),
            "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
        );
    }

    #[test]
    fn a_sign_in_is_refused_at_the_first_check_that_fails() {
        const DATA: &str = r#"{"id":"user-123","name":"Ada"}"#;
        const HEX: &str = "287ee7af5c4f9e76eef8ae78cdbc8661f535744a690ec2fa4afdf3c81c5e4b17";
        let key = "278d425bdf160c739803";
        let check = |auth: Option<&str>, data: Option<&str>, socket_id: &str, expected: SignInRefusal| {
            let refused = verify_sign_in(&app(), socket(socket_id), auth, data.map(str::to_owned));
            assert_eq!(refused, Err(expected), "{auth:?} {data:?} {socket_id}");
        };
        let good = format!("{key}:{HEX}");
        let proof = SignInRefusal::Proof;
        check(None, Some(DATA), SOCKET, SignInRefusal::Fields);
        check(Some(&good), None, SOCKET, SignInRefusal::Fields);
        check(Some(""), Some(DATA), SOCKET, proof(ProofRefusal::Form));
        check(Some(HEX), Some(DATA), SOCKET, proof(ProofRefusal::Form));
        check(Some(&format!(":{HEX}")), Some(DATA), SOCKET, proof(ProofRefusal::Key));
        check(Some(&format!("another:{HEX}")), Some(DATA), SOCKET, proof(ProofRefusal::Key));
        check(Some(&format!("{key}::user::{HEX}")), Some(DATA), SOCKET, proof(ProofRefusal::Signature));
        check(Some(&good[..good.len() - 1]), Some(DATA), SOCKET, proof(ProofRefusal::Signature));
        check(Some(&format!("{good}0")), Some(DATA), SOCKET, proof(ProofRefusal::Signature));
        check(Some(&good.replace("287e", "zzzz")), Some(DATA), SOCKET, proof(ProofRefusal::Signature));
        check(Some(&good.replace("287e", "387e")), Some(DATA), SOCKET, proof(ProofRefusal::Wrong));
        check(Some(&good), Some(DATA), "1234.5679", proof(ProofRefusal::Wrong));
        check(Some(&good), Some(&DATA.replace("Ada", "Eve")), SOCKET, proof(ProofRefusal::Wrong));
        check(Some(&good), Some(&format!("{DATA} ")), SOCKET, proof(ProofRefusal::Wrong));
        let signed = |data: &str| format!("{key}:{}", sign_in(&app().secret, socket(SOCKET), data));
        let numeric = r#"{"id":123}"#;
        check(Some(&signed(numeric)), Some(numeric), SOCKET, SignInRefusal::UserData(InvalidUserData::Id));
        let large = " ".repeat(MAX_USER_DATA_BYTES + 1);
        check(Some("x"), Some(&large), SOCKET, SignInRefusal::UserData(InvalidUserData::TooLarge));
        // Bytes are compared, so the case of the digits does not matter.
        let upper = format!("{key}:{}", HEX.to_uppercase());
        assert!(verify_sign_in(&app(), socket(SOCKET), Some(&upper), Some(DATA.to_owned())).is_ok());
        let mut off = app();
        off.user_authentication = false;
        let refused = verify_sign_in(&off, socket(SOCKET), Some(&good), Some(DATA.to_owned()));
        assert_eq!(refused, Err(SignInRefusal::TurnedOff));
    }

    #[test]
    fn empty_channel_data_may_be_left_out_of_the_signature() {
        let channel = "private-x".parse().expect("channel");
        let auth =
            |data| format!("{}:{}", app().key, subscribe(&app().secret, socket(SOCKET), &channel, data));
        let verify = |auth: &str, data| verify_subscription(&app(), socket(SOCKET), &channel, auth, data);
        assert_eq!(verify(&auth(None), Some("")), Ok(()));
        assert_eq!(verify(&auth(Some("")), Some("")), Ok(()));
        assert_eq!(verify(&auth(Some("{}")), Some("{}")), Ok(()));
        assert_eq!(verify(&auth(None), Some("{}")), Err(ProofRefusal::Wrong));
        assert_eq!(verify("", None), Err(ProofRefusal::Form));
    }
}
