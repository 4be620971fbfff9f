//! Products and maxima over windows of a map, in layout `[N, H, W, C]` with kernels `[h, w, in, out]`.

use super::product::{fits, sum_of_products};
use super::{FixedPoint, PerChannel, Result};

/// How a window goes over the ends of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Windows are within the map.
    Valid,
    /// As many windows as positions, divided by the stride; the smaller half of the padding comes before.
    Same,
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
    fn new(size: usize, kernel: usize, stride: usize, dilation: usize, padding: Padding) -> Option<Self> {
        if stride == 0 || dilation == 0 || kernel == 0 {
            return None;
        }
        let spread = (kernel - 1).checked_mul(dilation)?.checked_add(1)?;
        let (out, before) = match padding {
            Padding::Valid => (size.checked_sub(spread).map_or(0, |room| room / stride + 1), 0),
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

impl FixedPoint {
    fn sides(&self, kernel: [usize; 2], stride: Stride, padding: Padding) -> Option<[Side; 2]> {
        let &[_, h, w, _] = self.sizes() else { return None };
        let side =
            |size, i: usize| Side::new(size, kernel[i], stride.strides[i], stride.dilations[i], padding);
        Some([side(h, 0)?, side(w, 1)?])
    }

    /// The convolution with a kernel `[h, w, in, out]`, padded by 0.
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis tensor.
    pub fn convolution(&self, kernel: &Self, stride: Stride, padding: Padding) -> Result<Self> {
        self.per_tensor("convolution")?;
        let mismatch = || self.shapes("convolution", kernel);
        let (&[n, _, w, c], &[kh, kw, depth, out]) = (self.sizes(), kernel.sizes()) else {
            return Err(mismatch());
        };
        let sides = self.sides([kh, kw], stride, padding).filter(|_| c == depth);
        let [rows, columns] = sides.ok_or_else(mismatch)?;
        let (x, k) = (self.elements(), kernel.elements());
        let frame = rows.size * w * c;
        let sum = |at: usize, y: usize, z: usize, f: usize, wide: bool| {
            let taps = (0..kh).flat_map(|i| Some((i, rows.at(y, i)?)));
            let taps = taps.flat_map(|(i, row)| {
                (0..kw).filter_map(move |j| Some((i * kw + j, row * w + columns.at(z, j)?)))
            });
            let pairs = taps.flat_map(|(tap, place)| {
                (0..c).map(move |c_in| (x[at * frame + place * c + c_in], k[(tap * c + c_in) * out + f]))
            });
            sum_of_products(pairs, wide)
        };
        let wide = !fits(self, kernel, kh * kw * c);
        let sizes = [n, rows.out, columns.out, out];
        let values = positions(sizes).map(|[at, y, z, f]| self.arithmetic.keep(sum(at, y, z, f, wide)));
        let frac_bits = self.product_bits(kernel, "convolution")?;
        Self::saturated(&sizes, values, self.value_bits, frac_bits, self.arithmetic)
    }

    /// The convolution of each channel by itself, with a kernel `[h, w, channels, 1]`.
    ///
    /// # Errors
    /// Shapes that do not go together.
    pub fn depthwise_convolution(&self, kernel: &Self, stride: Stride, padding: Padding) -> Result<Self> {
        let mismatch = || self.shapes("depthwise_convolution", kernel);
        let (&[n, _, w, c], &[kh, kw, depth, 1]) = (self.sizes(), kernel.sizes()) else {
            return Err(mismatch());
        };
        let sides = self.sides([kh, kw], stride, padding).filter(|_| c == depth);
        let [rows, columns] = sides.ok_or_else(mismatch)?;
        let (x, k) = (self.elements(), kernel.elements());
        let frame = rows.size * w * c;
        let wide = !fits(self, kernel, kh * kw);
        let sizes = [n, rows.out, columns.out, c];
        let values = positions(sizes).map(|[at, y, z, channel]| {
            let taps = (0..kh).flat_map(|i| Some((i, rows.at(y, i)?)));
            let taps = taps.flat_map(|(i, row)| {
                (0..kw).filter_map(move |j| Some((i * kw + j, row * w + columns.at(z, j)?)))
            });
            let pairs = taps.map(|(tap, place)| (x[at * frame + place * c + channel], k[tap * c + channel]));
            self.arithmetic.keep(sum_of_products(pairs, wide))
        });
        let frac_bits = self.product_bits(&kernel.squeezed(), "depthwise_convolution")?;
        Self::saturated(&sizes, values, self.value_bits, frac_bits, self.arithmetic)
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
        self.per_tensor("transposed_convolution")?;
        let mismatch = || self.shapes("transposed_convolution", kernel);
        let (&[n, h, w, c], &[kh, kw, depth, out]) = (self.sizes(), kernel.sizes()) else {
            return Err(mismatch());
        };
        let rows = Scatter::new(h, kh, strides[0], padding, size[0]).filter(|_| c == depth);
        let (rows, columns) = (rows, Scatter::new(w, kw, strides[1], padding, size[1]));
        let (rows, columns) = rows.zip(columns).ok_or_else(mismatch)?;
        let (x, k) = (self.elements(), kernel.elements());
        let wide = !fits(self, kernel, kh * kw * c);
        let sizes = [n, size[0], size[1], out];
        let values = positions(sizes).map(|[at, y, z, f]| {
            let taps = (0..kh).filter_map(|i| Some((i, rows.from(y, i)?))).flat_map(|(i, row)| {
                (0..kw).filter_map(move |j| Some((i * kw + j, row * w + columns.from(z, j)?)))
            });
            let pairs = taps.flat_map(|(tap, place)| {
                (0..c).map(move |c_in| (x[(at * h * w + place) * c + c_in], k[(tap * c + c_in) * out + f]))
            });
            self.arithmetic.keep(sum_of_products(pairs, wide))
        });
        let frac_bits = self.product_bits(kernel, "transposed_convolution")?;
        Self::saturated(&sizes, values, self.value_bits, frac_bits, self.arithmetic)
    }

    /// The transposed convolution of each channel by itself with a kernel `[h, w, channels, 1]`, padded like
    /// [`Padding::Same`], to a map `strides` times as large.
    ///
    /// # Errors
    /// Shapes that do not go together; a per-axis tensor or kernel.
    pub fn depthwise_transposed_convolution(&self, kernel: &Self, strides: [usize; 2]) -> Result<Self> {
        const OPERATION: &str = "depthwise_transposed_convolution";
        self.per_tensor(OPERATION)?;
        kernel.per_tensor(OPERATION)?;
        let mismatch = || self.shapes(OPERATION, kernel);
        let (&[n, h, w, c], &[kh, kw, depth, 1]) = (self.sizes(), kernel.sizes()) else {
            return Err(mismatch());
        };
        let side = |size: usize, kernel, stride: usize| {
            let out = size.checked_mul(stride).filter(|_| c == depth)?;
            Some((Scatter::new(size, kernel, stride, Padding::Same, out)?, out))
        };
        let sides = side(h, kh, strides[0]).zip(side(w, kw, strides[1]));
        let ((rows, height), (columns, width)) = sides.ok_or_else(mismatch)?;
        let (x, k) = (self.elements(), kernel.elements());
        let wide = !fits(self, kernel, kh * kw);
        let sizes = [n, height, width, c];
        let values = positions(sizes).map(|[at, y, z, channel]| {
            let taps = (0..kh).filter_map(|i| Some((i, rows.from(y, i)?))).flat_map(|(i, row)| {
                (0..kw).filter_map(move |j| Some((i * kw + j, row * w + columns.from(z, j)?)))
            });
            let pairs =
                taps.map(|(tap, place)| (x[(at * h * w + place) * c + channel], k[tap * c + channel]));
            self.arithmetic.keep(sum_of_products(pairs, wide))
        });
        let frac_bits = self.product_bits(kernel, OPERATION)?;
        Self::saturated(&sizes, values, self.value_bits, frac_bits, self.arithmetic)
    }

    /// The largest of each window and channel; what is beyond the map is never it.
    ///
    /// # Errors
    /// No map, or a window without positions.
    pub fn max_pool(&self, window: [usize; 2], strides: [usize; 2], padding: Padding) -> Result<Self> {
        let stride = Stride { strides, dilations: [1, 1] };
        let sides = self.sides(window, stride, padding);
        let (&[n, _, w, c], Some([rows, columns])) = (self.sizes(), sides) else {
            return Err(self.argument("max_pool", format!("window {window:?}")));
        };
        let x = self.elements();
        let frame = rows.size * w * c;
        let sizes = [n, rows.out, columns.out, c];
        let values = positions(sizes).map(|[at, y, z, channel]| {
            let rows = (0..window[0]).filter_map(|i| rows.at(y, i));
            let taps =
                rows.flat_map(|row| (0..window[1]).filter_map(move |j| Some(row * w + columns.at(z, j)?)));
            // A window of `Same` begins before the end of the map and reaches into it.
            taps.map(|place| x[at * frame + place * c + channel]).max().unwrap_or(0).into()
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
    fn new(size: usize, kernel: usize, stride: usize, padding: Padding, out: usize) -> Option<Self> {
        let reach = size.saturating_sub(1).checked_mul(stride)?.checked_add(kernel)?;
        let before = match padding {
            Padding::Valid => 0,
            Padding::Same => reach.saturating_sub(out) / 2,
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

/// Every index of a rank-4 tensor, in row-major order.
fn positions(sizes: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    let [n, h, w, c] = sizes;
    (0..n * h * w * c).map(move |at| [at / (h * w * c), at / (w * c) % h, at / c % w, at % c])
}
