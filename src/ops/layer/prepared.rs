//! Layers made ready to run many times, on images of bytes.

use super::integer::{Rescale, Tail};
use super::params::per_index;
use crate::kernels::Pool2d;
use crate::kernels::image::{self, Buffers, Channelwise, Conv, ConvShape, Image, Scale};
use crate::ops::{Arithmetic, Held, Prepared};
use crate::tensor::Tensor;

/// A layer with its weights laid out.
pub struct PreparedLayer {
    /// How far apart the kernel reads the rows and columns of its operand, zeros between them: the strides of a
    /// transposed convolution.
    pub apart: [usize; 2],
    pub kernel: Kernel,
    /// A max-pool; its batch, channels and sizes are those of what it reads. It follows the rescale, which does
    /// not change which of two integers is larger.
    pub pool: Option<Pool2d>,
    /// Axes of the result.
    pub rank: usize,
}

pub enum Kernel {
    Conv(Conv),
    /// A convolution over all of an image whose result are 32-bit integers.
    Integers(Conv),
    Channelwise(Channelwise),
}

impl Prepared for PreparedLayer {
    fn run(&self, operands: &[Option<&Held>], buffers: &mut Buffers) -> Option<Vec<Held>> {
        let count = match &self.kernel {
            Kernel::Channelwise(layer) => layer.images(),
            Kernel::Conv(_) | Kernel::Integers(_) => 1,
        };
        let mut made: Vec<Option<Image>> = Vec::new();
        made.resize_with(count, || None);
        let operands = operands.iter().take(count).zip(&mut made);
        let images: Vec<&Image> =
            operands.map(|(held, made)| (*held)?.image(made, buffers)).collect::<Option<_>>()?;
        let mut stretched = None;
        let images = match &images[..] {
            &[image] if self.apart != [1, 1] => {
                vec![&*stretched.insert(image::stretch(image, self.apart, buffers).ok()?)]
            }
            _ => images,
        };
        let result = match &self.kernel {
            Kernel::Conv(conv) => Held::Image(conv.run(images.first()?, buffers).ok()?, self.rank),
            Kernel::Channelwise(layer) => Held::Image(layer.run(&images, buffers).ok()?, self.rank),
            Kernel::Integers(conv) => {
                let image = images.first()?;
                let integers = conv.run_to_integers(image).ok()?;
                let filters = integers.len().checked_div(image.batch).unwrap_or(0);
                Held::Tensor(Tensor::new(&[image.batch, filters], integers)?)
            }
        };
        made.into_iter().chain([stretched]).flatten().for_each(|image| buffers.give_back(image));
        match (&self.pool, result) {
            (Some(pool), Held::Image(image, rank)) => {
                let Image { batch, channels, height, width, .. } = image;
                let pooled = image::max_pool(
                    &Pool2d { batch, channels, height, width, ..pool.clone() },
                    &image,
                    buffers,
                );
                buffers.give_back(image);
                Some(vec![Held::Image(pooled.ok()?, rank)])
            }
            (_, result) => Some(vec![result]),
        }
    }

    fn size(&self) -> usize {
        match &self.kernel {
            Kernel::Conv(conv) | Kernel::Integers(conv) => conv.size(),
            Kernel::Channelwise(layer) => layer.size(),
        }
    }
}

impl Tail<'_> {
    /// As kernels on images have it; `None` for what they do not do.
    pub fn of_images(&self, filters: usize) -> Option<image::Tail> {
        let ceiling = match self.ceiling {
            Some(ceiling) => Some((0..filters).map(|f| per_index(ceiling, f)).collect::<Option<_>>()?),
            None => None,
        };
        let table = match &self.table {
            Some(table) => {
                Some(image::Table { index: table.index.scales(filters)?, entries: table.entries.to_vec() })
            }
            None => None,
        };
        let rescale = match &self.rescale {
            Some(rescale) => Some(rescale.scales(filters)?),
            None => None,
        };
        Some(image::Tail { relu: self.relu, ceiling, table, global: self.global, rescale })
    }
}

impl Rescale<'_> {
    /// One for each filter.
    fn scales(&self, filters: usize) -> Option<Vec<Scale>> {
        if self.arithmetic != Arithmetic::Exact {
            return None;
        }
        let scale = |f| {
            Some(Scale {
                multiplier: per_index(self.multipliers, f)?,
                exponent: per_index(&self.exponents, f)??,
            })
        };
        (0..filters).map(scale).collect()
    }
}

/// `shape` without the outer rows and columns of the kernel whose weights are 0 throughout, as far as padding
/// makes up for them; with the weights that are left.
pub fn trimmed(shape: ConvShape, weights: &[i8]) -> (ConvShape, Vec<i8>) {
    let [rows, columns] = shape.kernel;
    let used = |axis: usize, at: usize| {
        weights
            .iter()
            .enumerate()
            .any(|(i, &w)| w != 0 && at == if axis == 0 { i / columns % rows } else { i % columns })
    };
    let mut trimmed = shape;
    let mut kept = [0..rows, 0..columns];
    for axis in [0, 1] {
        let kept = &mut kept[axis];
        while kept.len() > 1 && trimmed.pads[axis] > 0 && !used(axis, kept.start) {
            trimmed.pads[axis] -= 1;
            kept.start += 1;
        }
        while kept.len() > 1 && trimmed.pads[axis + 2] > 0 && !used(axis, kept.end - 1) {
            trimmed.pads[axis + 2] -= 1;
            kept.end -= 1;
        }
        trimmed.kernel[axis] = kept.len();
    }
    let inner = |i: &usize| kept[0].contains(&(i / columns % rows)) && kept[1].contains(&(i % columns));
    (trimmed, (0..weights.len()).filter(inner).map(|i| weights[i]).collect())
}
