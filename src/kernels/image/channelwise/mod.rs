//! Sums channel by channel: depthwise convolutions, and weighted sums of images.

mod rows;

use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{Bounds, PARAMETERS};
use rows::{Form, Forms, Row, RowFn, To};

use super::tail::{Parameters, Tail, sums_of};
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
    parts: Vec<Part>,
}

/// Channels that one form of the inner loop does.
struct Part {
    channels: Range<usize>,
    form: &'static Form,
    row: RowFn,
    /// For each block of channels and group of taps: a vector of weights for each of the block's.
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
        let (corrected, bounds) = sums_of(weights, taps, offset, bias);
        let weight = |channel: usize, tap: usize| {
            if channel < channels && tap < taps { weights[channel * taps + tap] } else { 0 }
        };
        let forms = Forms::of(isa);
        let mut parts = Vec::new();
        let mut first = 0;
        if let (Some(form), Window::Kernel { kernel: [rows, columns], strides, .. }) =
            (&forms.columns, &window)
            && *rows <= 4
            && taps > 1
        {
            // What is left over goes in pairs where that is the smaller block.
            let block = form.channels();
            let rest = channels % block;
            first = if rest > block / 2 { channels } else { channels - rest };
            let mut packed = Vec::new();
            let order: Vec<usize> = lanes(form, 0..first).collect();
            for block in order.chunks_exact(block) {
                for column in 0..*columns {
                    packed.extend(block.iter().map(|&channel| {
                        let byte = |row: usize| {
                            if row < *rows { weight(channel, row * columns + column) } else { 0 }
                        };
                        // Weights of kernels are bytes.
                        i32::from_le_bytes([0, 1, 2, 3].map(|row| byte(row) as u8))
                    }));
                }
            }
            let slides = *columns == 3 && strides[1] == 1;
            let row = if slides { forms.three_columns } else { form.row };
            let parameters = Parameters::new(&tail, &corrected, &bounds, &order, form.lanes);
            parts.push(Part { channels: 0..first, form, row, weights: packed, parameters });
        }
        let form = &forms.pairs;
        let order: Vec<usize> = lanes(form, first..channels).collect();
        let mut packed = Vec::new();
        for block in order.chunks_exact(form.channels()) {
            for tap in (0..taps).step_by(2) {
                packed.extend(block.iter().map(|&channel| {
                    i32::from(weight(channel, tap)) & 0xffff | i32::from(weight(channel, tap + 1)) << 16
                }));
            }
        }
        let row = match taps.div_ceil(2) {
            1 => forms.one_pair,
            5 => forms.five_pairs,
            _ => form.row,
        };
        let parameters = Parameters::new(&tail, &corrected, &bounds, &order, form.lanes);
        parts.push(Part { channels: first..channels, form, row, weights: packed, parameters });
        parts.retain(|part| !part.channels.is_empty());
        Ok(Self { channels, taps, window, tail, offset, parts })
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
        self.parts.iter().map(|part| size_of_val(&*part.weights) + part.parameters.size()).sum()
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
        /// What of the input stays in cache.
        const CACHED: usize = 128 << 10;
        let wanted = wanted.max((rows.size * columns.size * stride).div_ceil(CACHED));
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
        let mut sums = Vec::new();
        for part in &self.parts {
            let Part { form, row, .. } = *part;
            let block_channels = form.channels();
            let blocks = part.channels.len().div_ceil(block_channels);
            let block_weights = part.weights.len() / blocks;
            let kernel_columns = match self.window {
                Window::Kernel { kernel: [_, columns], .. } => columns,
                Window::Images => 1,
            };
            for (block, channels) in part.channels.clone().step_by(block_channels).enumerate() {
                let here = channels..(channels + block_channels).min(part.channels.end);
                // What a block reads past its channels is in the pixels behind, or in the slack.
                let end = (pixels - 1) * step + channels + block_channels;
                assert!(taps.iter().all(|tap| end <= tap.len()));
                let start = |tap: &&[u8]| tap[channels..].as_ptr();
                starts.clear();
                if form.vectors == 4 {
                    starts.extend(taps.iter().step_by(kernel_columns).map(start));
                    starts.extend(starts.last().copied().into_iter().cycle().take(4 - starts.len()));
                } else {
                    starts.extend(taps.iter().map(start));
                    starts.extend(starts.last().copied().filter(|_| taps.len() % 2 == 1));
                }
                let weights = &part.weights[block * block_weights..][..block_weights];
                let length = PARAMETERS * block_channels;
                let parameters = &part.parameters.vectors[block * length..][..length];
                let (low, high) = (&part.parameters.low[channels..], &part.parameters.high[channels..]);
                assert!(low.len().min(high.len()) >= SLACK);
                let to = if part.parameters.complete {
                    let length = (pixels - 1) * stride + here.len();
                    // SAFETY: no other task has these pixels; blocks of this one come one after the other.
                    let bytes = unsafe { output.slice(first * stride + here.start, length) };
                    To::Bytes(bytes.as_mut_ptr(), stride, here.len())
                } else {
                    sums.resize(pixels * block_channels, 0i32);
                    To::Sums(sums.as_mut_ptr())
                };
                let operands = Row {
                    taps: &starts,
                    columns: kernel_columns,
                    column_step: stride,
                    step,
                    pixels,
                    weights: weights.as_ptr(),
                    parameters: parameters.as_ptr(),
                    bounds: Bounds { low: low.as_ptr(), high: high.as_ptr() },
                    clamped: part.parameters.clamped,
                    to,
                };
                // SAFETY: the form is that of an instruction set which this processor has; the assertions and
                // the slices are the bounds of all that it touches.
                unsafe { row(&operands) };
                if let To::Sums(_) = to {
                    self.follow(&sums, form, here, totals, first, output, stride);
                }
            }
        }
    }

    /// What follows the sums of a block of a line where vectors do not do it.
    #[expect(clippy::too_many_arguments)]
    fn follow(
        &self,
        sums: &[i32],
        form: &Form,
        channels: Range<usize>,
        totals: &mut [i32],
        first: usize,
        output: &Shared<u8>,
        stride: usize,
    ) {
        for lane in 0..form.channels() {
            let channel = channels.start + (form.channel)(lane);
            if channel >= channels.end {
                continue;
            }
            let sums = sums.iter().skip(lane).step_by(form.channels());
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

/// The channel of each lane of the blocks that hold some channels.
fn lanes(form: &Form, channels: Range<usize>) -> impl Iterator<Item = usize> {
    let (block, first) = (form.channels(), channels.start);
    let channel = form.channel;
    (0..channels.len().next_multiple_of(block))
        .map(move |lane| first + lane / block * block + channel(lane % block))
}

/// A run of pixels of the output, from `first` on, which reads pixels `step` bytes apart.
#[derive(Clone, Copy)]
struct Line {
    step: usize,
    pixels: usize,
    first: usize,
}
