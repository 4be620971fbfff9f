//! Which convolution layers the device has.

use super::{B, FOLLOWING, PADDING, W, X, conv_size};
use crate::ops::layer::limits::{self, Limit, Size, same_pads};
use crate::ops::layer::op_type::Pool;
use crate::ops::layer::pool;
use crate::ops::{LowerCx, OpError};
use crate::tensor::{DType, Tensor};

/// What of a layer the device's tools do not take.
pub fn limits(cx: &LowerCx, depthwise: bool) -> Result<Vec<Limit>, OpError> {
    let call = cx.call;
    let mut found = numbers(cx);
    let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
    let &[_, _, rows, columns] = &sizes[..] else { return Ok(found) };
    let (kernel, strides) = ([rows, columns], call.sizes::<2>("strides", 1)?);
    let pool = pool(&call)?;
    let (window, pool_strides) = (call.sizes::<2>("pool_size", 1)?, call.sizes::<2>("pool_strides", 1)?);
    if depthwise && pool != Pool::None {
        found.push(Limit::LeftOut { pool });
    }
    let pool = if depthwise { Pool::None } else { pool };
    let mut uneven: Vec<Limit> = [("kernel", kernel), ("stride", strides)]
        .into_iter()
        .filter_map(|(what, at)| limits::square(what, at))
        .collect();
    if pool == Pool::Max {
        uneven.extend(limits::square("pool window", window));
        uneven.extend(limits::square("pool stride", pool_strides));
    }
    if !uneven.is_empty() {
        found.extend(uneven);
        return Ok(found);
    }

    let (size, stride, pool_stride) = (rows, strides[0], pool_strides[0]);
    let input = call.ty(X)?.storage() == DType::U8;
    if input {
        let channels = call.known(&call.ty(X)?.shape[1])?;
        if !matches!(channels, 1 | 3) {
            found.push(Limit::InputChannels { found: channels });
        }
        if pool == Pool::GlobalAverage {
            found.push(Limit::InputPool);
        }
    } else if size.is_multiple_of(2) {
        found.push(Limit::EvenKernel { found: Size(kernel) });
    } else if stride > 2 || stride == 2 && (size > 3 || depthwise && size == 1) {
        let kernels = if depthwise { "3x3" } else { "1x1 and 3x3" };
        found.push(Limit::Stride { stride, kernel: Size(kernel), kernels });
    }

    let x = &call.ty(X)?.shape;
    let (Some(height), Some(width)) = (x[2].fixed(), x[3].fixed()) else { return Ok(found) };
    let map = [height, width];
    let pads = call.sizes::<4>("pads", 0)?;
    let lower = same_pads(map, kernel, stride);
    let [top, left, bottom, right] = lower;
    let mut allowed = vec![lower];
    if stride == 2 && (size == 3 || input && matches!(size, 5 | 7)) {
        // The odd one at the begin, and what exporters write: as many at the end, where nothing reads it.
        allowed.extend([[bottom, right, top, left], [bottom, right, bottom, right]]);
    }
    allowed.push([0; 4]);
    if !allowed.contains(&pads) {
        allowed.dedup();
        let words: Vec<String> = allowed.iter().map(|pads| format!("{pads:?}")).collect();
        let allowed = words.join(" or ");
        found.push(Limit::Pads { found: pads, kernel: Size(kernel), stride, map: Size(map), allowed });
    } else if pool == Pool::Max && pads != lower {
        found.push(Limit::PoolBehindPads { found: pads, expected: lower });
    } else if pool == Pool::Max && pool_stride > window[0] {
        found.push(Limit::PoolStride { stride: pool_stride, window: Size(window) });
    } else if pool == Pool::Max {
        let map = conv_size(&call, depthwise)?;
        let (pads, expected) = (call.sizes::<4>("pool_pads", 0)?, same_pads(map, window, pool_stride));
        if pads != expected {
            let (window, map) = (Size(window), Size(map));
            found.push(Limit::PoolPads { found: pads, window, stride: pool_stride, map, expected });
        }
    }
    Ok(found)
}

/// The limits of the integers.
fn numbers(cx: &LowerCx) -> Vec<Limit> {
    let constant = |position: usize| cx.constants.get(position).copied().flatten();
    let padding = constant(PADDING).and_then(Tensor::elements::<i32>).unwrap_or_default();
    let foreign = padding.iter().enumerate().find(|(_, value)| !(0..=255).contains(*value));
    let padding = foreign.map(|(channel, &value)| Limit::PaddingValue { channel, value });
    let bias = limits::bias(constant(B).and_then(Tensor::elements::<i32>));
    padding.into_iter().chain(bias).chain(FOLLOWING.limits(cx)).collect()
}
