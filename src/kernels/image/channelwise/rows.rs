//! The inner loops: a row of pixels for a block of channels.

use crate::kernels::image::lanes::{Bounds, Lanes, PARAMETERS, Portable};
use crate::kernels::isa::Isa;

/// The inner loops of an instruction set.
pub(super) struct Forms {
    pub pairs: Form,
    pub one_pair: RowFn,
    pub five_pairs: RowFn,
    /// For kernels of up to four rows, with products of bytes.
    pub columns: Option<Form>,
    /// Such kernels of three columns that go one pixel on.
    pub three_columns: RowFn,
}

pub(super) struct Form {
    /// Vectors that hold the sums of a block.
    pub vectors: usize,
    pub lanes: usize,
    /// Which channel of the block is in lane `i` of all its vectors.
    pub channel: fn(usize) -> usize,
    pub row: RowFn,
}

impl Form {
    /// Channels of a block.
    pub fn channels(&self) -> usize {
        self.vectors * self.lanes
    }
}

pub(super) type RowFn = unsafe fn(&Row);

/// A row of pixels for a block of channels.
pub(super) struct Row<'a> {
    /// Where each tap reads for the first pixel: an even number of taps, or those of the first column of
    /// the kernel.
    pub taps: &'a [*const u8],
    /// Columns of the kernel, and bytes from one to the next.
    pub columns: usize,
    pub column_step: usize,
    /// Bytes from pixel to pixel.
    pub step: usize,
    pub pixels: usize,
    pub weights: *const i32,
    pub parameters: *const i32,
    pub bounds: Bounds,
    pub clamped: bool,
    pub to: To,
}

#[derive(Clone, Copy)]
pub(super) enum To {
    /// The first pixel, bytes from pixel to pixel, and how many of each.
    Bytes(*mut u8, usize, usize),
    /// Sums, two vectors a pixel.
    Sums(*mut i32),
}

/// With `PAIRS` pairs of taps, or any number for 0.
///
/// # Safety
///
/// As for [`Lanes`]. Behind each tap lie the bytes of all pixels, as many as a block has channels at each; there
/// are weights for the taps, parameters for the block, and room for what is written.
#[inline(always)]
unsafe fn row<L: Lanes, const PAIRS: usize>(row: &Row) {
    unsafe {
        let half = |i: usize| row.parameters.add(i * PARAMETERS * L::LANES);
        let bias = [L::load(half(0)), L::load(half(1))];
        // Read here, as writing a pixel could change what is read again.
        let [_, factor, add, shift, low, high]: [[L::Vector; 2]; PARAMETERS] =
            std::array::from_fn(|p| std::array::from_fn(|i| L::load(half(i).add(p * L::LANES))));
        let scaled = |x: L::Vector, i: usize| {
            let x = if row.clamped { L::clamp(x, low[i], high[i]) } else { x };
            L::rescale(x, factor[i], add[i], shift[i])
        };
        let weights = |pair: usize| {
            let w = row.weights.add(2 * pair * L::LANES);
            [L::load(w), L::load(w.add(L::LANES))]
        };
        let taps = |pair: usize| [*row.taps.get_unchecked(2 * pair), *row.taps.get_unchecked(2 * pair + 1)];
        let known: [_; PAIRS] = std::array::from_fn(|pair| (taps(pair), weights(pair)));
        for pixel in 0..row.pixels {
            let at = pixel * row.step;
            let mut sums = bias;
            let mut add_pair = |[a, b]: [*const u8; 2], [w, v]: [L::Vector; 2]| {
                let [low, high] = L::pairs(L::widen(a.add(at)), L::widen(b.add(at)));
                sums = [L::dot_pairs(sums[0], low, w), L::dot_pairs(sums[1], high, v)];
            };
            known.into_iter().for_each(|(taps, weights)| add_pair(taps, weights));
            if PAIRS == 0 {
                (0..row.taps.len() / 2).for_each(|pair| add_pair(taps(pair), weights(pair)));
            }
            match row.to {
                To::Bytes(to, step, count) => {
                    let scaled = [scaled(sums[0], 0), scaled(sums[1], 1)];
                    L::store_pairs(scaled, row.bounds, to.add(pixel * step), count);
                }
                To::Sums(to) => {
                    L::store(sums[0], to.add(2 * pixel * L::LANES));
                    L::store(sums[1], to.add((2 * pixel + 1) * L::LANES));
                }
            }
        }
    }
}

/// The rows of the kernel column by column, for any number of columns, or with `SLIDES` for three: then a column
/// that was read counts for three pixels, which lie one column apart.
///
/// # Safety
///
/// As for [`row`], with four taps.
#[inline(always)]
unsafe fn columns<L: Lanes, const SLIDES: bool>(row: &Row) {
    unsafe {
        let parameters = |p: usize| -> [L::Vector; 4] {
            std::array::from_fn(|i| L::load(row.parameters.add((i * PARAMETERS + p) * L::LANES)))
        };
        let weights = |column: usize| -> [L::Vector; 4] {
            std::array::from_fn(|i| L::load(row.weights.add((4 * column + i) * L::LANES)))
        };
        let taps: [*const u8; 4] = std::array::from_fn(|tap| *row.taps.get_unchecked(tap));
        let add = |sums: [L::Vector; 4], bytes: [L::Vector; 4], weights: [L::Vector; 4]| {
            std::array::from_fn(|i| L::dot(sums[i], bytes[i], weights[i]))
        };
        let finish = |mut sums: [L::Vector; 4], pixel: usize| match row.to {
            To::Bytes(to, step, count) => {
                if row.clamped {
                    let (low, high) = (parameters(4), parameters(5));
                    sums = std::array::from_fn(|i| L::clamp(sums[i], low[i], high[i]));
                }
                let (factor, add, shift) = (parameters(1), parameters(2), parameters(3));
                sums = std::array::from_fn(|i| L::rescale(sums[i], factor[i], add[i], shift[i]));
                L::store_columns(sums, row.bounds, to.add(pixel * step), count);
            }
            To::Sums(to) => {
                for (i, sum) in sums.into_iter().enumerate() {
                    L::store(sum, to.add((4 * pixel + i) * L::LANES));
                }
            }
        };
        let bias = parameters(0);
        if SLIDES {
            let known: [_; 3] = std::array::from_fn(weights);
            let column = |at: usize| L::columns(taps.map(|tap| tap.add(at * row.column_step)));
            // The sums of two pixels that have begun.
            let first = column(0);
            let mut older = add(bias, first, known[0]);
            let second = column(1);
            older = add(older, second, known[1]);
            let mut newer = add(bias, second, known[0]);
            for pixel in 0..row.pixels {
                let bytes = column(pixel + 2);
                finish(add(older, bytes, known[2]), pixel);
                older = add(newer, bytes, known[1]);
                newer = add(bias, bytes, known[0]);
            }
        } else {
            for pixel in 0..row.pixels {
                let mut sums = bias;
                for column in 0..row.columns {
                    let at = pixel * row.step + column * row.column_step;
                    sums = add(sums, L::columns(taps.map(|tap| tap.add(at))), weights(column));
                }
                finish(sums, pixel);
            }
        }
    }
}

/// The forms of `$lanes`, compiled with `$feature`.
macro_rules! forms {
    ($(#[$feature:meta])? $lanes:ty) => {{
        $(#[$feature])?
        unsafe fn pairs<const PAIRS: usize>(operands: &Row) {
            // SAFETY: passed on to the caller, and the features are those of this function.
            unsafe { row::<$lanes, PAIRS>(operands) }
        }
        $(#[$feature])?
        unsafe fn of_columns<const SLIDES: bool>(operands: &Row) {
            // SAFETY: as above.
            unsafe { columns::<$lanes, SLIDES>(operands) }
        }
        const LANES: usize = <$lanes>::LANES;
        const FORMS: Forms = Forms {
            pairs: Form { vectors: 2, lanes: LANES, channel: <$lanes>::channel, row: pairs::<0> },
            one_pair: pairs::<1>,
            five_pairs: pairs::<5>,
            columns: if <$lanes>::VALUES == 4 {
                Some(Form { vectors: 4, lanes: LANES, channel: |lane| {
                    let (vector, lane) = (lane / LANES, lane % LANES);
                    lane / 4 * 16 + vector * 4 + lane % 4
                }, row: of_columns::<false> })
            } else {
                None
            },
            three_columns: of_columns::<true>,
        };
        &FORMS
    }};
}

impl Forms {
    pub fn of(isa: Isa) -> &'static Forms {
        match isa {
            Isa::Portable => forms!(Portable),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => forms!(
                #[target_feature(enable = "avx2")]
                crate::kernels::image::x86::Avx2
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => forms!(
                #[target_feature(enable = "avx2,avxvnni")]
                crate::kernels::image::x86::AvxVnni
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => forms!(
                #[target_feature(enable = "avx512f,avx512bw")]
                crate::kernels::image::x86::Avx512
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => forms!(
                #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
                crate::kernels::image::x86::Avx512Vnni
            ),
        }
    }
}
