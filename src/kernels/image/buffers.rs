//! Images, and the memory that they are in.

use super::{OFFSET, SLACK};
use crate::kernels::Error;
use crate::kernels::geometry::product;

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
    /// From `[batch, channels, height, width]`; `byte` is given the channel and an element.
    ///
    /// # Errors
    /// As for [`Buffers::image`]; or elements of another number.
    pub fn from_planes<T: Copy>(
        buffers: &mut Buffers,
        sizes: [usize; 4],
        offset: u8,
        elements: &[T],
        byte: impl Fn(usize, T) -> u8,
    ) -> Result<Image, Error> {
        let mut image = buffers.image(sizes, offset)?;
        let [batch, channels, height, width] = sizes;
        super::super::check_length("image", batch * channels * height * width, elements.len())?;
        let (stride, pixels) = (image.stride(), height * width);
        if elements.is_empty() {
            return Ok(image);
        }
        // A run of bytes is made first, so that it is made in vectors.
        let mut run = [0u8; 256];
        let images =
            image.bytes.chunks_exact_mut(pixels * stride).zip(elements.chunks_exact(pixels * channels));
        for (bytes, planes) in images {
            for (channel, plane) in planes.chunks_exact(pixels).enumerate() {
                let bytes = bytes.chunks_mut(run.len() * stride);
                for (bytes, elements) in bytes.zip(plane.chunks(run.len())) {
                    run.iter_mut().zip(elements).for_each(|(to, &value)| *to = byte(channel, value));
                    let bytes = bytes[channel..].iter_mut().step_by(stride);
                    bytes.zip(&run[..elements.len()]).for_each(|(to, &byte)| *to = byte);
                }
            }
        }
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
