//! Compiles `proto/` with protox, so that no protoc binary is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(["senren/v1/state.proto", "senren/v1/control_plane.proto"], [root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("senren.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
