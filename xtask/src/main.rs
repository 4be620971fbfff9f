//! `cargo run --manifest-path xtask/Cargo.toml` writes `src/onnx/proto.rs` from `xtask/onnx.proto`.

use std::path::Path;

const HEADER: &str = "\
// @generated from xtask/onnx.proto (ONNX, SPDX-License-Identifier: Apache-2.0) by
// `cargo run --manifest-path xtask/Cargo.toml`. What the fields mean is documented there.

";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = here.join("target");
    std::fs::create_dir_all(&out)?;
    prost_build::Config::new()
        // Weights stay slices of the file's bytes.
        .bytes([".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .out_dir(&out)
        .compile_fds(protox::compile([here.join("onnx.proto")], [here])?)?;
    let code = std::fs::read_to_string(out.join("onnx.rs"))?;
    std::fs::write(here.join("../src/onnx/proto.rs"), format!("{HEADER}{code}"))?;
    Ok(())
}
