//! qirc: a declarative compiler from float neural networks to integer ones.
//!
//! The rooms of the library, lowest first; each may use only those above it in this list
//! (`tests/layers.rs` checks the imports).

pub mod cli;
pub mod diag;
pub mod interp;
pub mod ir;
pub mod keras;
pub mod kernels;
pub mod onnx;
pub mod ops;
pub mod pass;
pub mod quant;
pub mod rewrite;
pub mod syntax;
pub mod tensor;
pub mod verify;
