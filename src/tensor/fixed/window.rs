//! Products and maxima over windows of a map, in layout `[N, H, W, C]` with kernels `[h, w, in, out]`.

use rayon::prelude::*;

use super::product::{fits, sum_of_products};
use super::{FixedPoint, PerChannel, Result};

/// How a window goes over the ends of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Windows are within the map.
    Valid,
    /// As many windows as positions, divided by the stride; the smaller half of the padding comes before.
    Same,
    /// So many rows before and after the map, and so many columns. Of a transposed convolution only those before count,
    /// as the size of its output is given.
    Explicit([[usize; 2]; 2]),
}

/// Strides and dilations along height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
}

/// One axis of a map under a window.
#[derive(Clone, Copy)]
struct Side {
    /// Windows.
    out: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    size: usize,
}

impl Side {
    fn new(axis: usize, size: usize, kernel: usize, stride: Stride, padding: Padding) -> Option<Self> {
        let (stride, dilation) = (stride.strides[axis], stride.dilations[axis]);
        if stride == 0 || dilation == 0 || kernel == 0 {
            return None;
        }
        let spread = (kernel - 1).checked_mul(dilation)?.checked_add(1)?;
        let within = |size: usize| size.checked_sub(spread).map_or(0, |room| room / stride + 1);
        let (out, before) = match padding {
            Padding::Valid => (within(size), 0),
            Padding::Explicit(pads) => {
                let [before, after] = pads[axis];
                (within(size.checked_add(before)?.checked_add(after)?), before)
            }
            Padding::Same => {
                let out = size.div_ceil(stride);
                let reach = out.saturating_sub(1).checked_mul(stride)?.checked_add(spread)?;
                (out, reach.saturating_sub(size) / 2)
            }
        };
        Some(Self { out, stride, dilation, before, size })
    }

    /// Where a tap of a window lies in the map, if it does.
    fn at(&self, window: usize, tap: usize) -> Option<usize> {
        let at = (window * self.stride + tap * self.dilation).checked_sub(self.before)?;
        (at < self.size).then_some(at)
    }
}

/// Windows of a map: for each position of the output, the taps of the kernel that lie on the map, with the positions
/// that they lie on.
struct Windows {
    out: [usize; 2],
    taps: Vec<Vec<(usize, usize)>>,
}

impl Windows {
    /// `rows` and `columns` say where a tap of a window lies along either side. Without frames no window is looked at.
    fn new(
        frames: usize,
        out: [usize; 2],
        [kh, kw]: [usize; 2],
        width: usize,
        rows: impl Fn(usize, usize) -> Option<usize>,
        columns: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let mut taps = Vec::new();
        if frames == 0 {
            return Self { out, taps };
        }
        for (y, z) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |z| (y, z))) {
            let mut inside = Vec::new();
            for (i, row) in (0..kh).filter_map(|i| Some((i, rows(y, i)?))) {
                inside.extend((0..kw).filter_map(|j| Some((i * kw + j, row * width + columns(z, j)?))));
            }
            taps.push(inside);
        }
        Self { out, taps }
    }

    /// What `f` makes of each frame, given by where it begins, window and channel of the output, in row-major order.
    fn each(
        &self,
        frames: usize,
        frame: usize,
        channels: usize,
        f: impl Fn(usize, &[(usize, usize)], usize) -> i128,
    ) -> (Vec<usize>, Vec<i128>) {
        let mut values = Vec::new();
        for begin in (0..frames).map(|at| at * frame) {
            for taps in &self.taps {
                values.extend((0..channels).map(|channel| f(begin, taps, channel)));
            }
        }
        (vec![frames, self.out[0], self.out[1], channels], values)
    }
}

impl Windows {
    /// [`Windows::each`] where sums fit an `i64`: `f` adds to those of all channels of a window.
    fn rows(
        &self,
        frames: usize,
        frame: usize,
        channels: usize,
        f: impl Fn(usize, &[(usize, usize)], &mut [i64]) + Sync,
    ) -> (Vec<usize>, Vec<i128>) {
        let windows = self.taps.len();
        let mut sums = vec![0i64; frames * windows * channels];
        // Where there is a row there is a window.
        sums.par_chunks_mut(channels.max(1)).enumerate().for_each(|(at, row)| {
            f(at / windows * frame, &self.taps[at % windows], row);
        });
        let sizes = vec![frames, self.out[0], self.out[1], channels];
        (sizes, sums.into_iter().map(i128::from).collect())
    }
}

impl FixedPoint {
    fn windows(&self, kernel: [usize; 2], stride: Stride, padding: Padding) -> Option<Windows> {
        let &[frames, h, w, _] = self.sizes() else { return None };
        let side = |size, i: usize| Side::new(i, size, kernel[i], stride, padding);
        let (rows, columns) = (side(h, 0)?, side(w, 1)?);
        let out = [rows.out, columns.out];
        Some(Windows::new(frames, out, kernel, w, |y, i| rows.at(y, i), |z, j| columns.at(z, j)))
    }

    /// Windows of a transposed convolution: the positions of the input that give to each of the output.
    fn scattered(
        &self,
        kernel: [usize; 2],
        strides: [usize; 2],
        padding: Padding,
        out: [usize; 2],
    ) -> Option<Windows> {
        let &[frames, h, w, _] = self.sizes() else { return None };
        let side = |size, i: usize| Scatter::new(i, size, kernel[i], strides[i], padding, out[i]);
        let (rows, columns) = (side(h, 0)?, side(w, 1)?);
        Some(Windows::new(frames, out, kernel, w, |y, i| rows.from(y, i), |z, j| columns.from(z, j)))
    }

    /// Sums over all channels of the input.
    fn dense_sums(&self, kernel: &Self, windows: &Windows) -> (Vec<usize>, Vec<i128>) {
        let (frames, c, out) = (self.sizes()[0], self.sizes()[3], kernel.sizes()[3]);
        let (x, k) = (self.elements(), kernel.elements());
        if fits(self, kernel, k.len() / out.max(1)) {
            let (sizes, sums) = windows.rows(frames, self.frame(), out, |begin, taps, row| {
                for &(tap, place) in taps {
                    for (from, &x) in x[begin + place * c..][..c].iter().enumerate() {
                        let weights = &k[(tap * c + from) * out..][..out];
                        row.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += x * weight);
                    }
                }
            });
            return (sizes, sums.into_iter().map(|sum| self.arithmetic.keep(sum)).collect());
        }
        windows.each(frames, self.frame(), out, |begin, taps, filter| {
            let pairs = taps.iter().flat_map(|&(tap, place)| {
                (0..c).map(move |from| (x[begin + place * c + from], k[(tap * c + from) * out + filter]))
            });
            self.arithmetic.keep(sum_of_products(pairs, true))
        })
    }

    /// Sums over each channel by itself.
    fn channel_sums(&self, kernel: &Self, windows: &Windows) -> (Vec<usize>, Vec<i128>) {
        let (frames, c) = (self.sizes()[0], self.sizes()[3]);
        let (x, k) = (self.elements(), kernel.elements());
        if fits(self, kernel, k.len() / c.max(1)) {
            let (sizes, sums) = windows.rows(frames, self.frame(), c, |begin, taps, row| {
                for &(tap, place) in taps {
                    let (x, weights) = (&x[begin + place * c..][..c], &k[tap * c..][..c]);
                    row.iter_mut()
                        .zip(x.iter().zip(weights))
                        .for_each(|(sum, (x, weight))| *sum += x * weight);
                }
            });
            return (sizes, sums.into_iter().map(|sum| self.arithmetic.keep(sum)).collect());
        }
        windows.each(frames, self.frame(), c, |begin, taps, channel| {
            let pairs =
                taps.iter().map(|&(tap, place)| (x[begin + place * c + channel], k[tap * c + channel]));
            self.arithmetic.keep(sum_of_products(pairs, true))
        })
    }

    /// Number of elements of one frame of a map.
    fn frame(&self) -> usize {
        self.sizes().iter().skip(1).product()
    }

    fn product(
        &self,
        kernel: &Self,
        operation: &'static str,
        (sizes, sums): (Vec<usize>, Vec<i128>),
    ) -> Result<Self> {
        let frac_bits = self.product_bits(kernel, operation)?;
        Self::saturated(&sizes, sums, self.value_bits, frac_bits, self.arithmetic)
    }

    /// The convolution with a kernel `[h, w, in, out]`, padded by 0.
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis tensor.
    pub fn convolution(&self, kernel: &Self, stride: Stride, padding: Padding) -> Result<Self> {
        const OPERATION: &str = "convolution";
        self.per_tensor(OPERATION)?;
        let windows = match (self.sizes(), kernel.sizes()) {
            (&[.., c], &[kh, kw, depth, _]) if c == depth => self.windows([kh, kw], stride, padding),
            _ => None,
        };
        let windows = windows.ok_or_else(|| self.shapes(OPERATION, kernel))?;
        self.product(kernel, OPERATION, self.dense_sums(kernel, &windows))
    }

    /// The convolution of each channel by itself, with a kernel `[h, w, channels, 1]`.
    ///
    /// # Errors
    /// Shapes that do not go together.
    pub fn depthwise_convolution(&self, kernel: &Self, stride: Stride, padding: Padding) -> Result<Self> {
        const OPERATION: &str = "depthwise_convolution";
        let windows = match (self.sizes(), kernel.sizes()) {
            (&[.., c], &[kh, kw, depth, 1]) if c == depth => self.windows([kh, kw], stride, padding),
            _ => None,
        };
        let windows = windows.ok_or_else(|| self.shapes(OPERATION, kernel))?;
        self.product(&kernel.squeezed(), OPERATION, self.channel_sums(kernel, &windows))
    }

    /// The transposed convolution with a kernel `[h, w, in, out]`, to a map of `size`: position `i` of the input
    /// gives to `i · stride + tap - before`, where `before` is 0 or, with [`Padding::Same`], half of what
    /// reaches over the size (layers-core §2).
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis tensor.
    pub fn transposed_convolution(
        &self,
        kernel: &Self,
        strides: [usize; 2],
        padding: Padding,
        size: [usize; 2],
    ) -> Result<Self> {
        const OPERATION: &str = "transposed_convolution";
        self.per_tensor(OPERATION)?;
        let windows = match (self.sizes(), kernel.sizes()) {
            (&[.., c], &[kh, kw, depth, _]) if c == depth => self.scattered([kh, kw], strides, padding, size),
            _ => None,
        };
        let windows = windows.ok_or_else(|| self.shapes(OPERATION, kernel))?;
        self.product(kernel, OPERATION, self.dense_sums(kernel, &windows))
    }

    /// [`FixedPoint::transposed_convolution`] of each channel by itself, with a kernel `[h, w, channels, 1]`.
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis tensor or kernel.
    pub fn depthwise_transposed_convolution(
        &self,
        kernel: &Self,
        strides: [usize; 2],
        padding: Padding,
        size: [usize; 2],
    ) -> Result<Self> {
        const OPERATION: &str = "depthwise_transposed_convolution";
        self.per_tensor(OPERATION)?;
        kernel.per_tensor(OPERATION)?;
        let windows = match (self.sizes(), kernel.sizes()) {
            (&[.., c], &[kh, kw, depth, 1]) if c == depth => self.scattered([kh, kw], strides, padding, size),
            _ => None,
        };
        let windows = windows.ok_or_else(|| self.shapes(OPERATION, kernel))?;
        self.product(kernel, OPERATION, self.channel_sums(kernel, &windows))
    }

    /// The largest of each window and channel; what is beyond the map is never it.
    ///
    /// # Errors
    /// No map, or a window without positions.
    pub fn max_pool(&self, window: [usize; 2], strides: [usize; 2], padding: Padding) -> Result<Self> {
        let stride = Stride { strides, dilations: [1, 1] };
        let windows = self.windows(window, stride, padding);
        let windows = windows.ok_or_else(|| self.argument("max_pool", format!("window {window:?}")))?;
        let (x, frames, c) = (self.elements(), self.sizes()[0], self.sizes()[3]);
        let (sizes, values) = windows.each(frames, self.frame(), c, |begin, taps, channel| {
            // A window of `Same` begins before the end of the map and reaches into it.
            taps.iter().map(|(_, place)| x[begin + place * c + channel]).max().unwrap_or(0).into()
        });
        Self::saturated(&sizes, values, self.value_bits, self.frac_bits.clone(), self.arithmetic)
    }

    /// Frac bits of a product: each channel of the kernel has its own.
    fn product_bits(&self, kernel: &Self, operation: &'static str) -> Result<PerChannel<i32>> {
        let bits = self.frac_bits.zip(&kernel.frac_bits, i32::saturating_add);
        bits.ok_or_else(|| self.unlike(kernel, operation))
    }

    /// A depthwise kernel whose entries, one for each channel of its axis before the last, are for the last axis of what
    /// it makes.
    fn squeezed(&self) -> Self {
        Self { frac_bits: self.frac_bits.squeezed(), ..self.clone() }
    }
}

impl<T: Copy> PerChannel<T> {
    /// Entries of the axis before the last as entries of the last; a single one becomes the tensor's.
    pub(super) fn squeezed(&self) -> Self {
        match (self.axis, &self.entries[..]) {
            (Some(2), &[entry]) => Self::tensor(entry),
            (Some(2), entries) => Self::last(entries.to_vec()),
            _ => self.clone(),
        }
    }
}

/// One axis of a transposed convolution.
#[derive(Clone, Copy)]
struct Scatter {
    stride: usize,
    before: usize,
    size: usize,
}

impl Scatter {
    fn new(
        axis: usize,
        size: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
        out: usize,
    ) -> Option<Self> {
        let reach = size.saturating_sub(1).checked_mul(stride)?.checked_add(kernel)?;
        let before = match padding {
            Padding::Valid => 0,
            Padding::Same => reach.saturating_sub(out) / 2,
            Padding::Explicit(pads) => pads[axis][0],
        };
        (stride > 0 && kernel > 0).then_some(Self { stride, before, size })
    }

    /// The position of the input that a tap of the kernel brings to a position of the output.
    fn from(&self, out: usize, tap: usize) -> Option<usize> {
        let reached = (out + self.before).checked_sub(tap)?;
        let at = reached / self.stride;
        (reached % self.stride == 0 && at < self.size).then_some(at)
    }
}
