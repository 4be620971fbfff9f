//! Convolution: a product of the pixels under the kernel, read where they lie, with packed weights.

use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{Bounds, Lanes, PARAMETERS, Portable};
use super::tail::{Parameters, Tail, sums_of};
use super::{Buffers, Image, OFFSET, SLACK, for_each_task};
use crate::kernels::geometry::Axis;
use crate::kernels::isa::Isa;
use crate::kernels::shared::Shared;
use crate::kernels::{Error, check_length, check_optional};

/// Weights `[filters, channels, kernel[0], kernel[1]]`, and how they go over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    pub filters: usize,
    pub channels: usize,
    /// Rows, columns.
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

/// A convolution made ready.
pub struct Conv {
    shape: ConvShape,
    tail: Tail,
    /// What is in the bytes of the input besides its values.
    offset: u8,
    /// A pixel of padding.
    padding: Vec<u8>,
    /// Bytes from pixel to pixel of the input.
    stride: usize,
    form: &'static Form,
    /// For each block of vectors, kernel row, cell and vector of filters: a cell of weights in each lane.
    weights: Vec<i32>,
    parameters: Parameters,
}

/// The inner loops of an instruction set.
struct Form {
    lanes: usize,
    values: usize,
    /// `tiles[n - 1][r - 1]` has `r` rows of `n` vectors.
    tiles: &'static [&'static [TileFn]],
}

type TileFn = unsafe fn(&Tile);

/// What a tile reads and writes: `rows` pixels of the output by so many vectors of filters.
struct Tile<'a> {
    /// Where the windows are that begin at `pixels`.
    base: *const u8,
    pixels: &'a [usize],
    /// Offsets of the rows of the window.
    segments: &'a [usize],
    /// Cells of a row of the window.
    cells: usize,
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
    /// Sums, pixel by pixel.
    Sums(*mut i32),
}

/// # Safety
///
/// As for [`Lanes`]. There are `ROWS` pixels; behind each, at each segment, as many cells as the tile says;
/// weights for all of them, parameters for `N` vectors, and room for what is written.
#[inline(always)]
unsafe fn tile<L: Lanes, const ROWS: usize, const N: usize>(tile: &Tile) {
    unsafe {
        let pixels: [*const u8; ROWS] =
            std::array::from_fn(|row| tile.base.add(*tile.pixels.get_unchecked(row)));
        let vector_parameters = |n: usize| tile.parameters.add(n * PARAMETERS * L::LANES);
        let bias: [L::Vector; N] = std::array::from_fn(|n| L::load(vector_parameters(n)));
        let mut sums = [bias; ROWS];
        let mut weights = tile.weights;
        for &segment in tile.segments {
            for cell in 0..tile.cells {
                let w: [L::Vector; N] = std::array::from_fn(|n| L::load(weights.add(n * L::LANES)));
                weights = weights.add(N * L::LANES);
                for (sums, pixel) in sums.iter_mut().zip(&pixels) {
                    let activations = L::cell(pixel.add(segment + cell * 4));
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = L::dot(*sum, activations, w);
                    }
                }
            }
        }
        match tile.to {
            To::Bytes(to, step, count) => {
                let parameter = |i: usize| -> [L::Vector; N] {
                    std::array::from_fn(|n| L::load(vector_parameters(n).add(i * L::LANES)))
                };
                if tile.clamped {
                    let (low, high) = (parameter(4), parameter(5));
                    for sums in &mut sums {
                        *sums = std::array::from_fn(|n| L::clamp(sums[n], low[n], high[n]));
                    }
                }
                let (factor, add, shift) = (parameter(1), parameter(2), parameter(3));
                for (row, sums) in sums.into_iter().enumerate() {
                    let scaled = std::array::from_fn(|n| L::rescale(sums[n], factor[n], add[n], shift[n]));
                    L::store_bytes::<N>(scaled, tile.bounds, to.add(row * step), count);
                }
            }
            To::Sums(to) => {
                for (at, sum) in sums.into_iter().flatten().enumerate() {
                    L::store(sum, to.add(at * L::LANES));
                }
            }
        }
    }
}

/// The tiles of `$lanes` compiled with `$feature`: of each number of vectors, those up to so many rows.
macro_rules! form {
    ($(#[$feature:meta])? $lanes:ty, $([$n:literal: $($row:literal)*])*) => {{
        $(#[$feature])?
        unsafe fn form<const ROWS: usize, const N: usize>(operands: &Tile) {
            // SAFETY: passed on to the caller, and the features are those of this function.
            unsafe { tile::<$lanes, ROWS, N>(operands) }
        }
        const FORM: Form = Form {
            lanes: <$lanes>::LANES,
            values: <$lanes>::VALUES,
            tiles: &[$(&[$(form::<$row, $n>),*]),*],
        };
        &FORM
    }};
}

impl Form {
    fn of(isa: Isa) -> &'static Form {
        match isa {
            Isa::Portable => form!(Portable, [1: 1 2 3 4] [2: 1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => form!(
                #[target_feature(enable = "avx2")]
                super::x86::Avx2,
                [1: 1 2 3 4 5 6] [2: 1 2 3 4 5 6]
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => form!(
                #[target_feature(enable = "avx2,avxvnni")]
                super::x86::AvxVnni,
                [1: 1 2 3 4 5 6] [2: 1 2 3 4 5 6]
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => form!(
                #[target_feature(enable = "avx512f,avx512bw")]
                super::x86::Avx512,
                [1: 1 2 3 4 5 6 7 8] [2: 1 2 3 4 5 6 7 8 9 10] [3: 1 2 3 4 5 6 7 8] [4: 1 2 3 4 5 6]
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => form!(
                #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
                super::x86::Avx512Vnni,
                [1: 1 2 3 4 5 6 7 8] [2: 1 2 3 4 5 6 7 8 9 10] [3: 1 2 3 4 5 6 7 8] [4: 1 2 3 4 5 6]
            ),
        }
    }

    /// Blocks of about equal numbers of vectors that hold all filters: the first vector of each, and how many.
    fn blocks(&self, filters: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        let vectors = filters.div_ceil(self.lanes);
        let count = vectors.div_ceil(self.tiles.len()).max(1);
        (0..count).map(move |block| {
            let (start, end) = (block * vectors / count, (block + 1) * vectors / count);
            (start, end - start)
        })
    }
}

thread_local! {
    /// Rows of the input with their padding.
    static ROWS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Conv {
    /// Lays out weights for images whose bytes are values plus `offset`. Where there is padding it reads
    /// `pad_value[channel]`, 0 without.
    ///
    /// # Errors
    /// Lists of other lengths than the shape says.
    pub fn new(
        shape: ConvShape,
        offset: u8,
        weights: &[i8],
        bias: Option<&[i32]>,
        pad_value: Option<&[u8]>,
        tail: Tail,
    ) -> Result<Conv, Error> {
        Conv::new_on(Isa::best(), shape, offset, weights, bias, pad_value, tail)
    }

    pub(super) fn new_on(
        isa: Isa,
        shape: ConvShape,
        offset: u8,
        weights: &[i8],
        bias: Option<&[i32]>,
        pad_value: Option<&[u8]>,
        tail: Tail,
    ) -> Result<Conv, Error> {
        let ConvShape { filters, channels, kernel: [rows, columns], .. } = shape;
        let stride = channels.checked_next_multiple_of(4).ok_or(Error::Geometry)?;
        let sizes = [filters, channels, rows, columns];
        let count = crate::kernels::geometry::product(&sizes).ok_or(Error::Geometry)?;
        check_length("weights", count, weights.len())?;
        check_optional("bias", filters, bias)?;
        check_optional("pad value", channels, pad_value)?;
        if count == 0 || shape.strides.contains(&0) || !tail.fits(filters) {
            return Err(Error::Geometry);
        }
        let form = Form::of(isa);
        let mut packed = Vec::new();
        for (first, vectors) in form.blocks(filters) {
            for row in 0..rows {
                for cell in 0..columns * stride / form.values {
                    for filter in first * form.lanes..(first + vectors) * form.lanes {
                        let value = |value: usize| {
                            let (column, channel) = (
                                (cell * form.values + value) / stride,
                                (cell * form.values + value) % stride,
                            );
                            if filter >= filters || channel >= channels {
                                return 0;
                            }
                            weights[((filter * channels + channel) * rows + row) * columns + column]
                        };
                        packed.push(if form.values == 4 {
                            i32::from_ne_bytes([0, 1, 2, 3].map(|i| value(i) as u8))
                        } else {
                            pair_in_memory(value(0), value(1))
                        });
                    }
                }
            }
        }
        let taps = channels * rows * columns;
        let (corrected, bounds) = sums_of(weights, taps, offset, bias);
        let order: Vec<usize> = (0..filters.next_multiple_of(form.lanes)).collect();
        let parameters = Parameters::new(&tail, &corrected, &bounds, &order, form.lanes);
        let mut padding = vec![offset; stride];
        if let Some(values) = pad_value {
            padding[..channels].copy_from_slice(values);
        }
        Ok(Conv { shape, tail, offset, padding, stride, form, weights: packed, parameters })
    }

    /// Bytes that the weights take.
    pub fn size(&self) -> usize {
        size_of_val(&*self.weights) + self.parameters.size()
    }

    /// Convolves; the result is of int8.
    ///
    /// # Errors
    /// An image of other channels or another offset, which the kernel does not fit, or a tail without rescale.
    pub fn run(&self, x: &Image, buffers: &mut Buffers) -> Result<Image, Error> {
        if self.tail.rescale.is_none() {
            return Err(Error::Geometry);
        }
        let axes = self.axes(x)?;
        let [rows, columns] = if self.tail.global { [1, 1] } else { axes.map(|axis| axis.out) };
        let mut out = buffers.image([x.batch, self.shape.filters, rows, columns], OFFSET)?;
        let stride = out.stride();
        let output = Shared::new(out.bytes_mut());
        self.compute(x, axes, &Target { stride, bytes: Some(output), integers: None });
        Ok(out)
    }

    /// Convolves to 32-bit integers `[batch, rows, columns, filters]`.
    ///
    /// # Errors
    /// As for [`Conv::run`], but for a tail with rescale or sum.
    pub fn run_to_integers(&self, x: &Image) -> Result<Vec<i32>, Error> {
        if self.tail.rescale.is_some() || self.tail.global {
            return Err(Error::Geometry);
        }
        let axes = self.axes(x)?;
        let pixels = axes.map(|axis| axis.out).iter().product::<usize>();
        let mut out = crate::kernels::buffer(x.batch * pixels * self.shape.filters)?;
        let output = Shared::new(&mut out);
        self.compute(x, axes, &Target { stride: 0, bytes: None, integers: Some(output) });
        Ok(out)
    }

    fn axes(&self, x: &Image) -> Result<[Axis; 2], Error> {
        let ConvShape { kernel, strides, pads, channels, .. } = self.shape;
        if x.channels != channels || x.offset != self.offset {
            return Err(Error::Geometry);
        }
        let axis = |i: usize| {
            let size = [x.height, x.width][i];
            Axis::new(size, kernel[i], strides[i], 1, [pads[i], pads[i + 2]], false).ok_or(Error::Geometry)
        };
        Ok([axis(0)?, axis(1)?])
    }

    fn compute(&self, x: &Image, axes: [Axis; 2], target: &Target) {
        let [rows, columns] = axes;
        let blocks: Vec<(usize, usize)> = self.form.blocks(self.shape.filters).collect();
        let row_bytes = columns.size * self.stride * rows.stride.min(rows.kernel);
        let input = row_bytes * rows.out;
        let threads = rayon::current_num_threads();
        /// What of the input stays in cache while all weights pass over it.
        const CACHED: usize = 256 << 10;
        // Where the weights are the larger part they are what is divided.
        let weights = size_of_val(&*self.weights);
        let (bands, groups) = if self.tail.global || (weights > input && threads > 1) {
            (1, (2 * threads).min(blocks.len()))
        } else {
            let wanted = if threads == 1 { 1 } else { (2 * threads).div_ceil(x.batch.max(1)) };
            (input.div_ceil(CACHED).max(wanted).min(rows.out), 1)
        };
        let tasks = x.batch * bands * groups;
        let work = x.batch * rows.out * columns.out * self.weights.len();
        for_each_task(tasks, work, |task| {
            let (group, band, image) = (task % groups, task / groups % bands, task / groups / bands);
            let band = band * rows.out / bands..(band + 1) * rows.out / bands;
            let group = group * blocks.len() / groups..(group + 1) * blocks.len() / groups;
            self.band(x, axes, image, band, &blocks[group], target);
        });
    }

    /// Some rows of the output of an image, for some blocks of filters.
    fn band(
        &self,
        x: &Image,
        axes: [Axis; 2],
        image: usize,
        band: Range<usize>,
        blocks: &[(usize, usize)],
        target: &Target,
    ) {
        let [rows, columns] = axes;
        if band.is_empty() || columns.out == 0 {
            return;
        }
        let plain = self.form.values == 4 && rows.pads == [0, 0] && columns.pads == [0, 0];
        if plain {
            let pitch = columns.size * self.stride;
            let first = (image * rows.size + band.start * rows.stride) * pitch;
            return self.product(&x.bytes()[first..], pitch, self.stride, axes, image, band, blocks, target);
        }
        ROWS.with_borrow_mut(|scratch| {
            let value = 4 / self.form.values;
            let width = columns.size + columns.pads[0] + columns.pads[1];
            let pitch = width * self.stride * value;
            let height = (band.len() - 1) * rows.stride + rows.kernel;
            let length = height * pitch;
            if scratch.len() < length {
                scratch.resize(length, 0);
            }
            let first = band.start * rows.stride;
            for (y, row) in scratch[..length].chunks_exact_mut(pitch).enumerate() {
                let from = (first + y).checked_sub(rows.pads[0]).filter(|&y| y < rows.size);
                let from = from.map(|y| {
                    let start = (image * rows.size + y) * columns.size * self.stride;
                    &x.bytes()[start..start + columns.size * self.stride]
                });
                let before = columns.pads[0] * self.stride * value;
                match from {
                    Some(from) => {
                        let (left, rest) = row.split_at_mut(before);
                        let (inner, right) = rest.split_at_mut(from.len() * value);
                        self.pad(left);
                        copy(from, inner, value);
                        self.pad(right);
                    }
                    None => self.pad(row),
                }
            }
            self.product(&scratch[..length], pitch, self.stride * value, axes, image, band, blocks, target);
        });
    }

    /// Fills cells with padding.
    fn pad(&self, cells: &mut [u8]) {
        let value = 4 / self.form.values;
        for pixel in cells.chunks_exact_mut(self.stride * value) {
            copy(&self.padding, pixel, value);
        }
    }

    /// The sums of a band whose windows lie in `cells`, and what follows them. From row to row are `pitch`
    /// bytes, from pixel to pixel `step`.
    #[expect(clippy::too_many_arguments)]
    fn product(
        &self,
        cells: &[u8],
        pitch: usize,
        step: usize,
        axes: [Axis; 2],
        image: usize,
        band: Range<usize>,
        blocks: &[(usize, usize)],
        target: &Target,
    ) {
        let [rows, columns] = axes;
        let Form { lanes, values, tiles } = *self.form;
        let segments: Vec<usize> = (0..rows.kernel).map(|row| row * pitch).collect();
        let row_cells = columns.kernel * self.stride / values;
        let pixels = band.len() * columns.out;
        // The last window ends within the cells.
        let last = (band.len() - 1) * rows.stride * pitch + (columns.out - 1) * columns.stride * step;
        assert!(last + (rows.kernel - 1) * pitch + row_cells * 4 <= cells.len());
        let window_row = |y: usize| {
            let start = y * rows.stride * pitch;
            (0..columns.out).map(move |x| start + x * columns.stride * step)
        };
        let windows: Vec<usize> = (0..band.len()).flat_map(window_row).collect();
        let first_pixel = (image * rows.out + band.start) * columns.out;
        let mut sums = Vec::new();
        for &(first, vectors) in blocks {
            let tiles = tiles[vectors - 1];
            let weights = &self.weights[first * lanes * rows.kernel * row_cells..];
            assert!(vectors * lanes * rows.kernel * row_cells <= weights.len());
            let parameters = &self.parameters.vectors[first * PARAMETERS * lanes..];
            assert!(vectors * PARAMETERS * lanes <= parameters.len());
            let width = vectors * lanes;
            let (low, high) = (&self.parameters.low[first * lanes..], &self.parameters.high[first * lanes..]);
            assert!(low.len().min(high.len()) >= SLACK);
            let bounds = Bounds { low: low.as_ptr(), high: high.as_ptr() };
            let filters = first * lanes..(first * lanes + width).min(self.shape.filters);
            sums.resize(tiles.len() * width, 0i32);
            let mut totals = vec![0i32; if self.tail.global { filters.len() } else { 0 }];
            // Tiles of about equal numbers of rows.
            let count = pixels.div_ceil(tiles.len());
            for at in 0..count {
                let tile = at * pixels / count..(at + 1) * pixels / count;
                let to = match &target.bytes {
                    Some(bytes) if self.parameters.complete => {
                        let start = (first_pixel + tile.start) * target.stride + filters.start;
                        let length = (tile.len() - 1) * target.stride + filters.len();
                        // SAFETY: no other task has these pixels and filters, and only they are written.
                        let bytes = unsafe { bytes.slice(start, length) };
                        To::Bytes(bytes.as_mut_ptr(), target.stride, filters.len())
                    }
                    _ => To::Sums(sums.as_mut_ptr()),
                };
                let (weights, parameters) = (weights.as_ptr(), parameters.as_ptr());
                let operands = Tile {
                    base: cells.as_ptr(),
                    pixels: &windows[tile.clone()],
                    segments: &segments,
                    cells: row_cells,
                    weights,
                    parameters,
                    bounds,
                    clamped: self.parameters.clamped,
                    to,
                };
                // SAFETY: the form is that of an instruction set which this processor has. The tile has as
                // many rows as there are pixels; the asserted bounds are those of all that it reads, and it
                // writes to the slices that were taken or to `sums`, which holds the largest tile.
                unsafe { tiles[tile.len() - 1](&operands) };
                if let To::Sums(_) = to {
                    let rows = sums.chunks_exact(width).zip(tile);
                    rows.for_each(|(sums, pixel)| {
                        self.follow(
                            &sums[..filters.len()],
                            first_pixel + pixel,
                            &filters,
                            &mut totals,
                            target,
                        );
                    });
                }
            }
            if let Some(bytes) = target.bytes.as_ref().filter(|_| self.tail.global) {
                // SAFETY: no other task has these filters of the image.
                let bytes = unsafe { bytes.slice(image * target.stride + filters.start, filters.len()) };
                for ((byte, &total), filter) in bytes.iter_mut().zip(&totals).zip(filters) {
                    *byte = self.tail.byte(total, filter);
                }
            }
        }
    }

    /// What follows the sums of a pixel where vectors do not do it.
    fn follow(
        &self,
        sums: &[i32],
        pixel: usize,
        filters: &Range<usize>,
        totals: &mut [i32],
        target: &Target,
    ) {
        if self.tail.global {
            return self.tail.accumulate(totals, sums, filters.start);
        }
        let activated =
            sums.iter().zip(filters.clone()).map(|(&sum, filter)| self.tail.activate(sum, filter));
        if let Some(bytes) = &target.bytes {
            // SAFETY: no other task has this pixel and these filters.
            let bytes = unsafe { bytes.slice(pixel * target.stride + filters.start, filters.len()) };
            for ((byte, x), filter) in bytes.iter_mut().zip(activated).zip(filters.clone()) {
                *byte = self.tail.byte(x, filter);
            }
        } else if let Some(integers) = &target.integers {
            let start = pixel * self.shape.filters + filters.start;
            // SAFETY: no other task has this pixel and these filters.
            let integers = unsafe { integers.slice(start, filters.len()) };
            integers.iter_mut().zip(activated).for_each(|(to, x)| *to = x);
        }
    }
}

/// Where results go; one of the two is there.
struct Target<'a> {
    /// From pixel to pixel.
    stride: usize,
    bytes: Option<Shared<'a, u8>>,
    integers: Option<Shared<'a, i32>>,
}

/// Two 16-bit integers as a cell has them in memory.
fn pair_in_memory(first: i8, second: i8) -> i32 {
    let ([a, b], [c, d]) = (i16::from(first).to_ne_bytes(), i16::from(second).to_ne_bytes());
    i32::from_ne_bytes([a, b, c, d])
}

/// Copies bytes, each to one of `size` bytes.
fn copy(from: &[u8], to: &mut [u8], size: usize) {
    if size == 1 {
        to.copy_from_slice(from);
    } else {
        for (to, &byte) in to.chunks_exact_mut(2).zip(from) {
            to.copy_from_slice(&u16::from(byte).to_ne_bytes());
        }
    }
}
