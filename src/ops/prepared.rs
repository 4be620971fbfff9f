//! Operators made ready to run many times.

use std::borrow::Cow;

use crate::kernels::image::{Buffers, Image, OFFSET};
use crate::tensor::{DType, Tensor};

/// A value of a run in the form that its producer gives it.
#[derive(Debug)]
pub enum Held {
    Tensor(Tensor),
    /// int8 or uint8 of rank 4, or of rank 2: then with a map of one position.
    Image(Image, usize),
}

/// An application whose constants are laid out as its kernel wants them. It gives what
/// [`super::Operator::eval`] in exact arithmetic gives.
pub trait Prepared: Send + Sync {
    /// The results. `None` where the operands are not of sizes that it can do, which [`super::Operator::eval`]
    /// then does or has words for.
    fn run(&self, operands: &[Option<&Held>], buffers: &mut Buffers) -> Option<Vec<Held>>;

    /// Bytes of constants.
    fn size(&self) -> usize;
}

impl Held {
    /// As a tensor.
    pub fn tensor(&self) -> Option<Cow<'_, Tensor>> {
        match self {
            Held::Tensor(tensor) => Some(Cow::Borrowed(tensor)),
            Held::Image(image, rank) => {
                let sizes = [image.batch, image.channels, image.height, image.width];
                let sizes = &sizes[..*rank];
                let tensor = if image.is_int8() {
                    Tensor::new(sizes, image.to_planes(|byte| (byte ^ OFFSET) as i8))
                } else {
                    Tensor::new(sizes, image.to_planes(|byte| byte))
                };
                tensor.map(Cow::Owned)
            }
        }
    }

    /// The image of an operand: its own, or one made of it in `made`.
    pub fn image<'a>(&'a self, made: &'a mut Option<Image>, buffers: &mut Buffers) -> Option<&'a Image> {
        let tensor = match self {
            Held::Image(image, _) => return Some(image),
            Held::Tensor(tensor) => tensor,
        };
        let sizes = match *tensor.sizes() {
            [batch, channels] => [batch, channels, 1, 1],
            [batch, channels, height, width] => [batch, channels, height, width],
            _ => return None,
        };
        let image = match tensor.dtype() {
            DType::I8 => {
                Image::from_planes(buffers, sizes, OFFSET, tensor.elements::<i8>()?, |_, from, to| {
                    to.iter_mut().zip(from).for_each(|(to, &v)| *to = v as u8 ^ OFFSET);
                })
            }
            DType::U8 => Image::from_planes(buffers, sizes, 0, tensor.elements::<u8>()?, |_, from, to| {
                to.copy_from_slice(from)
            }),
            _ => return None,
        };
        Some(made.insert(image.ok()?))
    }

    /// Axes of the tensor that it is.
    pub fn rank(&self) -> usize {
        match self {
            Held::Tensor(tensor) => tensor.sizes().len(),
            Held::Image(_, rank) => *rank,
        }
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        match self {
            Held::Tensor(tensor) => tensor.sizes().iter().product::<usize>() * tensor.dtype().size(),
            Held::Image(image, _) => image.size(),
        }
    }
}
