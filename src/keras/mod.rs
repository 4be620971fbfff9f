//! Keras models in: the only room that knows HDF5.
//!
//! Guarantees: reading any bytes ends in a model or findings. Channels last become the IR's layout by
//! transposes, of which none stands before its inverse; inputs and outputs keep their shapes.

mod config;
mod cx;
mod error;
mod file;
mod hdf5;
mod import;
mod layers;
#[cfg(test)]
mod tests;
mod values;
mod weights;

pub use error::KerasError;
pub use import::{import, import_with_files};
