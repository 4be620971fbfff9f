//! Sums channel by channel: depthwise convolutions, and weighted sums of images.

use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{Bounds, Lanes, PARAMETERS, Portable};
use super::tail::{Parameters, Tail};
use super::{Buffers, Image, OFFSET, SLACK, for_each_task};
use crate::kernels::geometry::Axis;
use crate::kernels::isa::Isa;
use crate::kernels::shared::Shared;
use crate::kernels::{Error, check_length, check_optional};

/// A sum over taps of a channel's own weights and values, made ready.
pub struct Channelwise {
    channels: usize,
    taps: usize,
    window: Window,
    tail: Tail,
    offset: u8,
    form: &'static Form,
    /// For each block of channels and pair of taps: two vectors of pairs of weights.
    weights: Vec<i32>,
    parameters: Parameters,
}

/// Where taps read.
pub(super) enum Window {
    /// The positions under a kernel that goes over an image.
    Kernel { kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4] },
    /// The same position of as many images.
    Images,
}

struct Form {
    /// Channels of a block.
    channels: usize,
    /// Which channel of the block is in lane `i` of its two vectors.
    channel: fn(usize) -> usize,
    one_pair: RowFn,
    five_pairs: RowFn,
    any_pairs: RowFn,
}

type RowFn = unsafe fn(&Row);

/// A row of pixels for a block of channels.
struct Row<'a> {
    /// Where each tap reads for the first pixel: an even number.
    taps: &'a [*const u8],
    /// Bytes from pixel to pixel.
    step: usize,
    pixels: usize,
    weights: *const i32,
    parameters: *const i32,
    bounds: Bounds,
    clamped: bool,
    to: To,
}

#[derive(Clone, Copy)]
enum To {
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

/// The rows of `$lanes`, compiled with `$feature`.
macro_rules! form {
    ($(#[$feature:meta])? $lanes:ty) => {{
        $(#[$feature])?
        unsafe fn form<const PAIRS: usize>(operands: &Row) {
            // SAFETY: passed on to the caller, and the features are those of this function.
            unsafe { row::<$lanes, PAIRS>(operands) }
        }
        const FORM: Form = Form {
            channels: 2 * <$lanes>::LANES,
            channel: <$lanes>::channel,
            one_pair: form::<1>,
            five_pairs: form::<5>,
            any_pairs: form::<0>,
        };
        &FORM
    }};
}

impl Form {
    fn of(isa: Isa) -> &'static Form {
        match isa {
            Isa::Portable => form!(Portable),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => form!(
                #[target_feature(enable = "avx2")]
                super::x86::Avx2
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => form!(
                #[target_feature(enable = "avx512f,avx512bw")]
                super::x86::Avx512
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => form!(
                #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
                super::x86::Avx512Vnni
            ),
        }
    }

    fn row(&self, pairs: usize) -> RowFn {
        match pairs {
            1 => self.one_pair,
            5 => self.five_pairs,
            _ => self.any_pairs,
        }
    }
}

thread_local! {
    /// Rows of the input with their padding.
    static ROWS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Channelwise {
    /// A depthwise convolution with weights `[channels, kernel[0], kernel[1]]`; padding reads 0.
    ///
    /// # Errors
    /// Lists of other lengths than the sizes say.
    #[expect(clippy::too_many_arguments)]
    pub fn depthwise(
        channels: usize,
        kernel: [usize; 2],
        strides: [usize; 2],
        pads: [usize; 4],
        offset: u8,
        weights: &[i8],
        bias: Option<&[i32]>,
        tail: Tail,
    ) -> Result<Channelwise, Error> {
        let window = Window::Kernel { kernel, strides, pads };
        if strides.contains(&0) {
            return Err(Error::Geometry);
        }
        let weights: Vec<i16> = weights.iter().map(|&w| w.into()).collect();
        let taps = kernel[0].checked_mul(kernel[1]).ok_or(Error::Geometry)?;
        Channelwise::new_on(Isa::best(), window, channels, taps, offset, &weights, bias, tail)
    }

    /// The sum of `taps` images, each with its weights: `[channels, taps]`.
    ///
    /// # Errors
    /// As for [`Channelwise::depthwise`].
    pub fn sum(
        channels: usize,
        taps: usize,
        offset: u8,
        weights: &[i16],
        bias: Option<&[i32]>,
        tail: Tail,
    ) -> Result<Channelwise, Error> {
        Channelwise::new_on(Isa::best(), Window::Images, channels, taps, offset, weights, bias, tail)
    }

    #[expect(clippy::too_many_arguments)]
    pub(super) fn new_on(
        isa: Isa,
        window: Window,
        channels: usize,
        taps: usize,
        offset: u8,
        weights: &[i16],
        bias: Option<&[i32]>,
        tail: Tail,
    ) -> Result<Channelwise, Error> {
        let count = crate::kernels::geometry::product(&[channels, taps]).ok_or(Error::Geometry)?;
        check_length("weights", count, weights.len())?;
        check_optional("bias", channels, bias)?;
        if count == 0 || !tail.fits(channels) {
            return Err(Error::Geometry);
        }
        let form = Form::of(isa);
        let weight = |channel: usize, tap: usize| {
            if channel < channels && tap < taps { weights[channel * taps + tap] } else { 0 }
        };
        let lane = |lane: usize| lane / form.channels * form.channels + (form.channel)(lane % form.channels);
        let order: Vec<usize> = (0..channels.next_multiple_of(form.channels)).map(lane).collect();
        let mut packed = Vec::new();
        for block in order.chunks_exact(form.channels) {
            for tap in (0..taps).step_by(2) {
                let pair = |&channel: &usize| {
                    i32::from(weight(channel, tap)) & 0xffff | i32::from(weight(channel, tap + 1)) << 16
                };
                packed.extend(block.iter().map(pair));
            }
        }
        let largest = if offset == OFFSET { 128 } else { 255 };
        let (mut corrected, mut bounds) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for (channel, weights) in weights.chunks_exact(taps).enumerate() {
            let sum = weights.iter().fold(0i32, |sum, &w| sum.wrapping_add(w.into()));
            let bias = bias.map_or(0, |bias| bias[channel]);
            corrected.push(bias.wrapping_sub(i32::from(offset).wrapping_mul(sum)));
            let magnitude: u64 = weights.iter().map(|&w| u64::from(w.unsigned_abs())).sum();
            bounds.push(magnitude * largest + u64::from(bias.unsigned_abs()));
        }
        let parameters = Parameters::new(&tail, &corrected, &bounds, &order, form.channels / 2);
        Ok(Self { channels, taps, window, tail, offset, form, weights: packed, parameters })
    }

    /// How many images it reads.
    pub fn images(&self) -> usize {
        match self.window {
            Window::Kernel { .. } => 1,
            Window::Images => self.taps,
        }
    }

    /// Bytes that the weights take.
    pub fn size(&self) -> usize {
        size_of_val(&*self.weights) + self.parameters.size()
    }

    /// Convolves an image, or sums as many as there are taps. The result is of int8.
    ///
    /// # Errors
    /// Images of other sizes or another offset, which the kernel does not fit, or a tail without rescale.
    pub fn run(&self, images: &[&Image], buffers: &mut Buffers) -> Result<Image, Error> {
        let &first = images.first().ok_or(Error::Geometry)?;
        let sizes = |image: &Image| (image.batch, image.channels, image.height, image.width, image.offset);
        let (batch, _, height, width, _) = sizes(first);
        let alike =
            images.iter().all(|image| sizes(image) == (batch, self.channels, height, width, self.offset));
        let sums_map = self.tail.global && matches!(self.window, Window::Images);
        if !alike || self.tail.rescale.is_none() || sums_map {
            return Err(Error::Geometry);
        }
        match self.window {
            Window::Images if images.len() == self.taps => {
                let mut out = buffers.image([batch, self.channels, height, width], OFFSET)?;
                let stride = out.stride();
                self.sum_images(images, height * width, &Shared::new(out.bytes_mut()), stride);
                Ok(out)
            }
            Window::Kernel { kernel, strides, pads } if images.len() == 1 => {
                let axis = |i: usize| {
                    let size = [height, width][i];
                    let axis = Axis::new(size, kernel[i], strides[i], 1, [pads[i], pads[i + 2]], false);
                    axis.ok_or(Error::Geometry)
                };
                let axes = [axis(0)?, axis(1)?];
                let [rows, columns] = if self.tail.global { [1, 1] } else { axes.map(|axis| axis.out) };
                let mut out = buffers.image([batch, self.channels, rows, columns], OFFSET)?;
                let stride = out.stride();
                self.convolve(first, axes, &Shared::new(out.bytes_mut()), stride);
                Ok(out)
            }
            _ => Err(Error::Geometry),
        }
    }

    fn sum_images(&self, images: &[&Image], pixels: usize, output: &Shared<u8>, stride: usize) {
        /// Pixels of a task.
        const PIXELS: usize = 256;
        let parts = pixels.div_ceil(PIXELS);
        let Some(batch) = images.first().map(|image| image.batch) else { return };
        for_each_task(batch * parts, batch * pixels * stride * 4, |task| {
            let (image, part) = (task / parts, task % parts);
            let part = part * pixels / parts..(part + 1) * pixels / parts;
            let taps: Vec<&[u8]> =
                images.iter().map(|tap| &tap.bytes()[(image * pixels + part.start) * stride..]).collect();
            let line = Line { step: stride, pixels: part.len(), first: image * pixels + part.start };
            self.line(&taps, line, &mut [], output, stride);
        });
    }

    fn convolve(&self, x: &Image, axes: [Axis; 2], output: &Shared<u8>, stride: usize) {
        let [rows, columns] = axes;
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { (4 * threads).div_ceil(x.batch.max(1)) };
        let bands = if self.tail.global { 1 } else { wanted.min(rows.out) };
        let work = x.batch * rows.out * columns.out * stride * self.taps;
        for_each_task(x.batch * bands, work, |task| {
            let (image, band) = (task / bands, task % bands);
            self.band(x, axes, image, band * rows.out / bands..(band + 1) * rows.out / bands, output, stride);
        });
    }

    fn band(
        &self,
        x: &Image,
        axes: [Axis; 2],
        image: usize,
        band: Range<usize>,
        output: &Shared<u8>,
        stride: usize,
    ) {
        let [rows, columns] = axes;
        if band.is_empty() {
            return;
        }
        ROWS.with_borrow_mut(|scratch| {
            let (cells, pitch) = if rows.pads == [0, 0] && columns.pads == [0, 0] {
                let pitch = columns.size * stride;
                (&x.bytes()[(image * rows.size + band.start * rows.stride) * pitch..], pitch)
            } else {
                let pitch = (columns.size + columns.pads[0] + columns.pads[1]) * stride;
                let height = (band.len() - 1) * rows.stride + rows.kernel;
                let length = height * pitch + SLACK;
                if scratch.len() < length {
                    scratch.resize(length, 0);
                }
                for (y, row) in scratch[..height * pitch].chunks_exact_mut(pitch).enumerate() {
                    let from = (band.start * rows.stride + y).checked_sub(rows.pads[0]);
                    let Some(from) = from.filter(|&y| y < rows.size) else {
                        row.fill(self.offset);
                        continue;
                    };
                    let from = &x.bytes()[(image * rows.size + from) * columns.size * stride..];
                    let (left, rest) = row.split_at_mut(columns.pads[0] * stride);
                    let (inner, right) = rest.split_at_mut(columns.size * stride);
                    left.fill(self.offset);
                    inner.copy_from_slice(&from[..columns.size * stride]);
                    right.fill(self.offset);
                }
                (&scratch[..length], pitch)
            };
            let mut totals = vec![0i32; if self.tail.global { self.channels } else { 0 }];
            for (y, row) in band.clone().enumerate() {
                let mut taps = Vec::with_capacity(self.taps);
                for tap_row in 0..rows.kernel {
                    let start = (y * rows.stride + tap_row) * pitch;
                    taps.extend((0..columns.kernel).map(|column| &cells[start + column * stride..]));
                }
                let first = (image * rows.out + row) * columns.out;
                let line = Line { step: columns.stride * stride, pixels: columns.out, first };
                self.line(&taps, line, &mut totals, output, stride);
            }
            if self.tail.global {
                // SAFETY: no other task has this image.
                let bytes = unsafe { output.slice(image * stride, self.channels) };
                for (channel, (byte, &total)) in bytes.iter_mut().zip(&totals).enumerate() {
                    *byte = self.tail.byte(total, channel);
                }
            }
        });
    }

    /// The sums of a line, and what follows them; those over the map are added to `totals`.
    fn line(&self, taps: &[&[u8]], line: Line, totals: &mut [i32], output: &Shared<u8>, stride: usize) {
        let Line { step, pixels, first } = line;
        let mut starts: Vec<*const u8> = Vec::with_capacity(taps.len() + 1);
        let pairs = taps.len().div_ceil(2);
        let row = self.form.row(pairs);
        let mut sums = Vec::new();
        for (block, channels) in (0..self.channels).step_by(self.form.channels).enumerate() {
            let here = channels..(channels + self.form.channels).min(self.channels);
            starts.clear();
            for tap in taps {
                // What a block reads past its channels is in the pixels behind, or in the slack.
                assert!((pixels - 1) * step + channels + self.form.channels <= tap.len());
                starts.push(tap[channels..].as_ptr());
            }
            if !taps.len().is_multiple_of(2) {
                starts.extend(starts.last().copied());
            }
            let weights = &self.weights[block * pairs * self.form.channels..][..pairs * self.form.channels];
            let parameters = PARAMETERS * self.form.channels;
            let parameters = &self.parameters.vectors[block * parameters..][..parameters];
            let (low, high) = (&self.parameters.low[channels..], &self.parameters.high[channels..]);
            assert!(low.len().min(high.len()) >= SLACK);
            let (bounds, clamped) =
                (Bounds { low: low.as_ptr(), high: high.as_ptr() }, self.parameters.clamped);
            let to = if self.parameters.complete {
                let length = (pixels - 1) * stride + here.len();
                // SAFETY: no other task has these pixels; blocks of this one come one after the other.
                let bytes = unsafe { output.slice(first * stride + here.start, length) };
                To::Bytes(bytes.as_mut_ptr(), stride, here.len())
            } else {
                sums.resize(pixels * self.form.channels, 0i32);
                To::Sums(sums.as_mut_ptr())
            };
            let (weights, parameters) = (weights.as_ptr(), parameters.as_ptr());
            let operands = Row { taps: &starts, step, pixels, weights, parameters, bounds, clamped, to };
            // SAFETY: the form is that of an instruction set which this processor has; the assertion and the
            // slices are the bounds of all that it touches.
            unsafe { row(&operands) };
            if let To::Bytes(..) = to {
                continue;
            }
            for lane in 0..self.form.channels {
                let channel = here.start + (self.form.channel)(lane);
                if channel >= here.end {
                    continue;
                }
                let sums = sums.iter().skip(lane).step_by(self.form.channels);
                let activated = sums.map(|&sum| self.tail.activate(sum, channel));
                if let Some(total) = totals.get_mut(channel) {
                    // Bounded as sums are.
                    *total = activated.fold(*total, i32::wrapping_add);
                    continue;
                }
                for (pixel, x) in activated.enumerate() {
                    // SAFETY: no other task has these pixels.
                    let byte = unsafe { output.slice((first + pixel) * stride + channel, 1) };
                    byte[0] = self.tail.byte(x, channel);
                }
            }
        }
    }
}

/// A run of pixels of the output, from `first` on, which reads pixels `step` bytes apart.
#[derive(Clone, Copy)]
struct Line {
    step: usize,
    pixels: usize,
    first: usize,
}
