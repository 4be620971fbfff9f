//! Convolutions made ready to run many times.

use super::{B, FOLLOWING, PADDING, W, X, proof};
use crate::kernels::Pool2d;
use crate::kernels::image::{Channelwise, Conv, ConvShape, OFFSET};
use crate::ops::layer::op_type::Pool;
use crate::ops::layer::pool;
use crate::ops::layer::prepared::{Kernel, PreparedLayer, trimmed};
use crate::ops::{Arithmetic, Inputs, Prepared, bound};
use crate::tensor::DType;

/// `None` where sums may leave 32 bits, or what follows them is more than kernels on images do.
pub fn prepare(constants: &Inputs, depthwise: bool, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
    let call = &constants.call;
    let (weights, bias) = (constants.elements::<i8>(W).ok()?, constants.opt_elements::<i32>(B).ok()?);
    let x_pad = constants.opt_elements::<i32>(PADDING).ok()?;
    let proven = proof(call, depthwise, weights, bias, x_pad).ok()?;
    if !bound::fits_i32(proven.accumulator.max(proven.pooled)) {
        return None;
    }
    let &[filters, _, rows, columns] = constants.get(W).ok()?.sizes() else { return None };
    let channels = call.ty(X).ok()?.shape.get(1)?.fixed()?;
    let pooling = pool(call).ok()?;
    let tail = FOLLOWING.tail(constants, "C9", pooling, arithmetic).ok()?;
    if pooling == Pool::Max && tail.table.is_some() {
        return None;
    }
    let tail = tail.of_images(filters)?;
    let shape = ConvShape {
        filters,
        channels,
        kernel: [rows, columns],
        strides: call.sizes("strides", 1).ok()?,
        pads: call.sizes("pads", 0).ok()?,
    };
    let (shape, weights) = trimmed(shape, weights);
    let ConvShape { kernel, strides, pads, .. } = shape;
    let is_i8 = call.ty(X).ok()?.storage() == DType::I8;
    let offset = if is_i8 { OFFSET } else { 0 };
    let own = if depthwise { Some(weights.clone()) } else { own_weights(shape, &weights) };
    let kernel = match own.filter(|_| is_i8 || pads == [0; 4]) {
        Some(own) => {
            let layer = Channelwise::depthwise(channels, kernel, strides, pads, offset, &own, bias, tail);
            Kernel::Channelwise(layer.ok()?)
        }
        None => {
            let pad_value: Option<Vec<u8>> = match x_pad {
                Some(pad) => Some(pad.iter().map(|&pad| u8::try_from(pad).ok()).collect::<Option<_>>()?),
                None => None,
            };
            Kernel::Conv(Conv::new(shape, offset, &weights, bias, pad_value.as_deref(), tail).ok()?)
        }
    };
    let window = Pool2d {
        batch: 0,
        channels: 0,
        height: 0,
        width: 0,
        kernel: call.sizes("pool_size", 1).ok()?,
        strides: call.sizes("pool_strides", 1).ok()?,
        dilations: [1, 1],
        pads: call.sizes("pool_pads", 0).ok()?,
        ceil_mode: false,
    };
    let pool = (pooling == Pool::Max).then_some(window);
    Some(Box::new(PreparedLayer { apart: [1, 1], kernel, pool, rank: 4 }))
}

/// The weights of a channel of its own, if each filter reads no other channel than that of its number.
fn own_weights(shape: ConvShape, weights: &[i8]) -> Option<Vec<i8>> {
    let ConvShape { filters, channels, kernel: [rows, columns], .. } = shape;
    let taps = rows * columns;
    if filters != channels {
        return None;
    }
    let mut own = Vec::with_capacity(filters * taps);
    for (filter, weights) in weights.chunks_exact(channels * taps).enumerate() {
        for (channel, weights) in weights.chunks_exact(taps).enumerate() {
            if channel == filter {
                own.extend_from_slice(weights);
            } else if weights.iter().any(|&w| w != 0) {
                return None;
            }
        }
    }
    Some(own)
}
