//! Compiles the protos in pure Rust: no `protoc` is needed.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROOT: &str = "../../proto";
    println!("cargo:rerun-if-changed={ROOT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let control = protox::compile(["rollcall/control/v1/control.proto"], [ROOT])?;
    // For gRPC reflection.
    fs::write(out.join("control.bin"), control.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(control)?;
    let cluster = protox::compile(["rollcall/cluster/v1/cluster.proto"], [ROOT])?;
    tonic_prost_build::configure().compile_fds(cluster)?;
    Ok(())
}
