//! Integer layers on images of bytes, channels last.
//!
//! An [`Image`] keeps int8 as it is plus 128, so every byte is unsigned, as the products of bytes of
//! processors want one side. A layer is made ready once ([`Conv`], [`Channelwise`]): its weights laid
//! out for an instruction set, what the 128 adds to its sums taken off its biases, and what follows a
//! sum ([`Tail`]) turned into a few vector instructions where that is exact. Sums are of 32 bits: the
//! caller has bounded them.

mod buffers;
mod channelwise;
mod concat;
mod conv;
mod lanes;
mod pool;
mod quantize;
mod stretch;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use buffers::{Buffers, Image};
pub use channelwise::Channelwise;
pub use concat::concat;
pub use conv::{Conv, ConvShape};
pub use pool::max_pool;
pub use quantize::quantize;
pub use stretch::stretch;
pub use tail::{Scale, Table, Tail};

/// What is added to int8.
pub const OFFSET: u8 = 128;

/// Bytes behind the last one that vectors may read.
const SLACK: usize = 64;

/// Runs the tasks `0..count`, on all threads if they have enough work.
fn for_each_task(count: usize, work: usize, task: impl Fn(usize) + Sync) {
    /// Fewer products are not worth another thread.
    const PARALLEL_WORK: usize = 1 << 15;
    if work < PARALLEL_WORK {
        (0..count).for_each(task);
    } else {
        super::team::for_each(count, task);
    }
}
