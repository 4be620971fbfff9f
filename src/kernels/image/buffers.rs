//! Images, and the memory that they are in.

use super::{OFFSET, SLACK, for_each_task};
use crate::kernels::Error;
use crate::kernels::geometry::product;
use crate::kernels::shared::Shared;

/// Bytes `[batch, height, width, stride]`, of which the first `channels` of the last axis are values and
/// the others nothing.
#[derive(Debug)]
pub struct Image {
    bytes: Vec<u8>,
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// What is added to the values: 0, or [`OFFSET`] where they are int8.
    pub offset: u8,
}

/// Memory of images that are no longer needed, for those to come.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
}

impl Buffers {
    /// An image of any content.
    ///
    /// # Errors
    /// Sizes that memory does not hold.
    pub fn image(
        &mut self,
        [batch, channels, height, width]: [usize; 4],
        offset: u8,
    ) -> Result<Image, Error> {
        let stride = channels.checked_next_multiple_of(4).ok_or(Error::Geometry)?;
        let elements = product(&[batch, height, width, stride]).ok_or(Error::Geometry)?;
        let length = elements + SLACK;
        let fitting = self.free.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= length);
        let best = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at);
        let mut bytes = best.map_or_else(Vec::new, |at| self.free.swap_remove(at));
        let more = length.saturating_sub(bytes.len());
        bytes.try_reserve_exact(more).map_err(|_| Error::Memory { elements })?;
        bytes.resize(length, 0);
        Ok(Image { bytes, batch, height, width, channels, offset })
    }

    pub fn give_back(&mut self, image: Image) {
        self.free.push(image.bytes);
    }

    /// Bytes that are held.
    pub fn size(&self) -> usize {
        self.free.iter().map(Vec::capacity).sum()
    }
}

impl Image {
    /// From `[batch, channels, height, width]`; `fill` makes a run of bytes of elements of a channel.
    ///
    /// # Errors
    /// As for [`Buffers::image`]; or elements of another number.
    pub fn from_planes<T: Copy + Sync>(
        buffers: &mut Buffers,
        sizes: [usize; 4],
        offset: u8,
        elements: &[T],
        fill: impl Fn(usize, &[T], &mut [u8]) + Sync,
    ) -> Result<Image, Error> {
        let mut image = buffers.image(sizes, offset)?;
        let [batch, channels, height, width] = sizes;
        super::super::check_length("image", batch * channels * height * width, elements.len())?;
        let (stride, pixels) = (image.stride(), height * width);
        if elements.is_empty() {
            return Ok(image);
        }
        const RUN: usize = 256;
        let runs = pixels.div_ceil(RUN);
        let shared = Shared::new(&mut image.bytes);
        for_each_task(batch * runs, batch * pixels * stride * 4, |task| {
            let (image, first) = (task / runs, task % runs * RUN);
            let here = first..(first + RUN).min(pixels);
            let start = (image * pixels + first) * stride;
            // SAFETY: no other task has these pixels.
            let to = unsafe { shared.slice(start, here.len() * stride) };
            // Made channel by channel in vectors, and written four channels at a time.
            let mut four = [[0u8; RUN]; 4];
            for channel in (0..channels).step_by(4) {
                for (run, channel) in four.iter_mut().zip(channel..channels.min(channel + 4)) {
                    let plane = &elements[(image * channels + channel) * pixels..][here.clone()];
                    fill(channel, plane, &mut run[..plane.len()]);
                }
                for (at, to) in to.chunks_exact_mut(stride).enumerate() {
                    to[channel..channel + 4].copy_from_slice(&[
                        four[0][at],
                        four[1][at],
                        four[2][at],
                        four[3][at],
                    ]);
                }
            }
        });
        Ok(image)
    }

    /// As `[batch, channels, height, width]`; each byte is given to `value`.
    pub fn to_planes<T>(&self, value: impl Fn(u8) -> T) -> Vec<T> {
        let (stride, pixels) = (self.stride(), self.height * self.width);
        let mut elements = Vec::with_capacity(self.batch * self.channels * pixels);
        for image in 0..self.batch {
            let bytes = &self.bytes()[image * pixels * stride..][..pixels * stride];
            for channel in 0..self.channels {
                elements.extend(bytes.iter().skip(channel).step_by(stride).map(|&byte| value(byte)));
            }
        }
        elements
    }

    /// Bytes from pixel to pixel, a multiple of 4.
    pub fn stride(&self) -> usize {
        self.channels.next_multiple_of(4)
    }

    pub fn is_int8(&self) -> bool {
        self.offset == OFFSET
    }

    /// All pixels, and [`SLACK`] bytes behind them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.bytes.capacity()
    }
}
