//! Element types, shapes, quantization grids, buffers, and all rounding.
//!
//! Guarantees: every [`Tensor`] is contiguous in row-major order; nothing outside [`round`]
//! rounds.

mod broadcast;
mod buffer;
mod cast;
mod dtype;
pub mod fixed;
mod grid;
pub mod npy;
mod path;
pub mod round;
mod shape;
mod whole_file;

pub use broadcast::Rows;
pub use buffer::{Array, Element, Tensor, dispatch};
pub use dtype::DType;
pub use grid::{AffineGrid, Direction, FixedGrid, Grid, TensorType};
pub use path::{destination, stays_below};
pub use shape::{Dim, Shape, broadcast};
pub use whole_file::WholeFile;
