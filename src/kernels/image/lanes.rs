//! What the inner loops need of an instruction set.

/// Vectors of 32-bit integers in registers.
///
/// # Safety
///
/// The functions may be called only where the processor has the instruction set that the type stands for.
/// Pointers are to as many elements as the function says, at any alignment.
pub trait Lanes: 'static {
    /// Integers in a vector.
    const LANES: usize;
    /// Activations in a cell of 32 bits: 4 as bytes, or 2 as 16-bit integers.
    const VALUES: usize;
    type Vector: Copy;
    /// Twice [`Lanes::LANES`] 16-bit integers.
    type Wide: Copy;

    /// Reads a vector.
    unsafe fn load(from: *const i32) -> Self::Vector;
    /// Writes a vector.
    unsafe fn store(vector: Self::Vector, to: *mut i32);
    /// Reads a cell into every lane.
    unsafe fn cell(from: *const u8) -> Self::Vector;
    /// Adds to each lane of `sums` the products of a cell of activations with one of weights.
    unsafe fn dot(sums: Self::Vector, activations: Self::Vector, weights: Self::Vector) -> Self::Vector;
    /// `min(max(x, low), high)`.
    unsafe fn clamp(x: Self::Vector, low: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// `(x * factor + add) >> shift`.
    unsafe fn rescale(
        x: Self::Vector,
        factor: Self::Vector,
        add: Self::Vector,
        shift: Self::Vector,
    ) -> Self::Vector;
    /// Writes the first `count` lanes of vectors, each saturated to a byte and then to its bounds.
    unsafe fn store_bytes<const N: usize>(
        vectors: [Self::Vector; N],
        bounds: Bounds,
        to: *mut u8,
        count: usize,
    );

    /// Reads as many bytes as there are integers.
    unsafe fn widen(from: *const u8) -> Self::Wide;
    /// The integers of `a` and `b` side by side, those of channel [`Lanes::channel`]`(i)` in lane `i`.
    unsafe fn pairs(a: Self::Wide, b: Self::Wide) -> [Self::Vector; 2];
    /// Adds to each lane of `sums` the two products of a pair of activations with one of weights.
    unsafe fn dot_pairs(sums: Self::Vector, activations: Self::Vector, weights: Self::Vector)
    -> Self::Vector;
    /// As [`Lanes::store_bytes`] the first `count` channels of two vectors in the order of [`Lanes::pairs`]; the bounds
    /// are in the order of channels.
    unsafe fn store_pairs(vectors: [Self::Vector; 2], bounds: Bounds, to: *mut u8, count: usize);
    /// The channel of a lane of the two vectors that [`Lanes::pairs`] gives.
    fn channel(lane: usize) -> usize;

    /// Reads four times as many bytes as there are lanes from each of four rows. In every 128 bits a vector has, of
    /// 16 channels, cells of four: vector 0 those of the first four. A cell has a byte of each row.
    unsafe fn columns(rows: [*const u8; 4]) -> [Self::Vector; 4];
    /// As [`Lanes::store_bytes`] the first `count` channels of vectors in the order of [`Lanes::columns`].
    unsafe fn store_columns(vectors: [Self::Vector; 4], bounds: Bounds, to: *mut u8, count: usize);
}

/// Vectors that follow sums: bias; factor, add and shift of [`Lanes::rescale`]; low and high of [`Lanes::clamp`].
pub const PARAMETERS: usize = 6;

/// A least and a largest byte for each lane, and [`super::SLACK`] bytes behind.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub low: *const u8,
    pub high: *const u8,
}

/// Vectors as arrays, for the compiler to put in registers where it can.
pub struct Portable;

const LANES: usize = 4;

impl Lanes for Portable {
    const LANES: usize = LANES;
    const VALUES: usize = 2;
    type Vector = [i32; LANES];
    type Wide = [i16; 2 * LANES];

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self::Vector {
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(vector: Self::Vector, to: *mut i32) {
        unsafe { to.cast::<Self::Vector>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn cell(from: *const u8) -> Self::Vector {
        [unsafe { from.cast::<i32>().read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Vector, activations: Self::Vector, weights: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| {
            let (a, w) = (activations[i], weights[i]);
            let low = i32::from(a as i16) * i32::from(w as i16);
            let high = (a >> 16) * (w >> 16);
            sums[i].wrapping_add(low.wrapping_add(high))
        })
    }

    #[inline(always)]
    unsafe fn clamp(x: Self::Vector, low: Self::Vector, high: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| x[i].max(low[i]).min(high[i]))
    }

    #[inline(always)]
    unsafe fn rescale(
        x: Self::Vector,
        factor: Self::Vector,
        add: Self::Vector,
        shift: Self::Vector,
    ) -> Self::Vector {
        std::array::from_fn(|i| x[i].wrapping_mul(factor[i]).wrapping_add(add[i]) >> (shift[i] & 31))
    }

    #[inline(always)]
    unsafe fn store_bytes<const N: usize>(
        vectors: [Self::Vector; N],
        bounds: Bounds,
        to: *mut u8,
        count: usize,
    ) {
        for (at, x) in vectors.into_iter().flatten().take(count).enumerate() {
            unsafe {
                let (low, high) = (*bounds.low.add(at), *bounds.high.add(at));
                to.add(at).write((x.clamp(0, 255) as u8).max(low).min(high));
            }
        }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> Self::Wide {
        unsafe { from.cast::<[u8; 2 * LANES]>().read_unaligned() }.map(i16::from)
    }

    #[inline(always)]
    unsafe fn pairs(a: Self::Wide, b: Self::Wide) -> [Self::Vector; 2] {
        let pair = |i: usize| i32::from(a[i]) & 0xffff | i32::from(b[i]) << 16;
        [std::array::from_fn(pair), std::array::from_fn(|i| pair(LANES + i))]
    }

    #[inline(always)]
    unsafe fn dot_pairs(
        sums: Self::Vector,
        activations: Self::Vector,
        weights: Self::Vector,
    ) -> Self::Vector {
        unsafe { Self::dot(sums, activations, weights) }
    }

    #[inline(always)]
    unsafe fn store_pairs(vectors: [Self::Vector; 2], bounds: Bounds, to: *mut u8, count: usize) {
        unsafe { Self::store_bytes(vectors, bounds, to, count) }
    }

    fn channel(lane: usize) -> usize {
        lane
    }

    #[inline(always)]
    unsafe fn columns(rows: [*const u8; 4]) -> [Self::Vector; 4] {
        let rows = rows.map(|row| unsafe { row.cast::<[u8; 4 * LANES]>().read_unaligned() });
        let cell = |channel: usize| i32::from_ne_bytes(rows.map(|row| row[channel]));
        std::array::from_fn(|i| std::array::from_fn(|lane| cell(4 * i + lane)))
    }

    #[inline(always)]
    unsafe fn store_columns(vectors: [Self::Vector; 4], bounds: Bounds, to: *mut u8, count: usize) {
        unsafe { Self::store_bytes(vectors, bounds, to, count) }
    }
}
