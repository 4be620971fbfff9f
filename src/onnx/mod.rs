//! ONNX files in and out: the only room that knows protobuf.
//!
//! Guarantees: reading any bytes ends in a model or an [`OnnxError`], and allocates in proportion
//! to the files' real sizes; the same model is written as the same bytes, whole or not at all.

mod attr;
mod buffers;
mod emit;
mod error;
mod export;
mod file;
mod import;
mod inline;
// Generated code.
#[allow(clippy::all, dead_code)]
#[rustfmt::skip]
mod proto;
mod tensor;
#[cfg(test)]
mod tests;
mod ways;
mod wiring;

pub use emit::data_path;
pub use error::OnnxError;
pub use export::{encode, export, prepare};
pub use import::{import, import_with_files};
