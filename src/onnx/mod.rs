//! ONNX files in and out: the only room that knows protobuf.
//!
//! Guarantees: reading any bytes ends in a model or an [`OnnxError`], and allocates in proportion
//! to the files' real sizes; the same model is written as the same bytes, whole or not at all.

pub mod emit;
mod error;
pub mod file;
// Generated code; part of the API of no other room.
#[allow(clippy::all)]
#[rustfmt::skip]
pub mod proto;
pub mod tensor;
#[cfg(test)]
mod tests;

pub use error::OnnxError;
