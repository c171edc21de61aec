//! The generated gRPC and cluster messages, and their translation into our own types. Nothing behind a service's edge
//! sees a generated type.

mod presence;
mod terminate;

/// The public API.
pub mod control {
    #[expect(clippy::pedantic, missing_docs, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("rollcall.control.v1");
    }
}

/// What services say to each other over the broker.
pub mod cluster {
    pub mod v1 {
        tonic::include_proto!("rollcall.cluster.v1");
    }
}

/// The control API's descriptor set, for gRPC reflection.
pub const CONTROL_DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));

/// A message from the broker that is none of ours: of a later release, or not from a service at all. Drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message's {0} is missing or invalid")]
pub struct InvalidMessage(pub &'static str);

/// A message as the broker carries it.
#[must_use]
pub fn encode(message: &impl prost::Message) -> bytes::Bytes {
    message.encode_to_vec().into()
}
