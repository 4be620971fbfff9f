//! Convolution, matrix product and pooling on plain slices.
//!
//! Layouts are row-major: activations `[batch, channels, height, width]`, weights
//! `[filters, channels / group, kernel rows, kernel columns]`. Every kernel exists twice: in
//! [`mod@reference`], written to be obviously right, and here, written to be fast; property tests
//! hold the two equal bit by bit. (Where the obvious form is fast enough there is only that.) Guarantees of both:
//!
//! * Every slice length is checked against the geometry, and every size for overflow: a call with
//!   any arguments returns `Ok` or an [`Error`], and never panics.
//! * A float product has one summation order: `acc = fma(a_k, b_k, acc)` with `k` ascending (channel,
//!   then kernel row, then kernel column) from `acc = +0`, positions in the padding taking part as
//!   `+0`, the bias added last by one rounded addition. Vectors and threads run across outputs, never
//!   across `k`. So the result is the same on every CPU and for any number of threads, NaNs included:
//!   there is one NaN that comes out.
//! * An integer product is summed modulo the accumulator's range; the caller has bounded the sum
//!   (see [`Accumulator`]).
//!
//! Work is spread over threads that wait awake (`team`), as many as rayon's current pool has.

mod conv;
mod dense;
mod extremes;
mod geometry;
pub mod image;
mod isa;
mod lattice;
mod memory;
mod number;
mod pool;
mod product;
pub mod reference;
mod rows;
mod shared;
mod simd;
pub mod special;
mod team;
#[cfg(test)]
mod tests;
mod transpose;

pub use conv::{conv2d, conv2d_integer};
pub use dense::{dense, dense_integer, matmul};
pub use extremes::extremes;
pub use geometry::{Conv2d, ConvTranspose2d, Pool2d};
pub use isa::{ISA_VARIABLE, Isa, NoSuchIsa};
pub use memory::keep_freed;
pub use number::{Accumulator, Byte, Float, Ordered};
pub use pool::{avg_pool, global_average, max_pool};
pub use reference::global_sum;
pub use transpose::{conv_transpose2d, conv_transpose2d_integer};

/// Why a kernel could not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the sizes describe no output")]
    Geometry,
    #[error("{operand} has {found} elements, the sizes call for {expected}")]
    Length { operand: &'static str, expected: usize, found: usize },
    #[error("no memory for {elements} elements")]
    Memory { elements: usize },
}

/// Checks that `found` is what the geometry calls for.
fn check_length(operand: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { operand, expected, found }) }
}

fn check_optional<T>(operand: &'static str, expected: usize, found: Option<&[T]>) -> Result<(), Error> {
    found.map_or(Ok(()), |slice| check_length(operand, expected, slice.len()))
}

/// `elements` default values, or [`Error::Memory`].
fn buffer<T: Copy + Default>(elements: usize) -> Result<Vec<T>, Error> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(elements).map_err(|_| Error::Memory { elements })?;
    buffer.resize(elements, T::default());
    Ok(buffer)
}
