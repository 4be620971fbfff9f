//! The parameters of a convolution layer (hardware-ops §5.2 to §5.5).

use super::super::op_type::Pool;
use super::super::params::{self, Kernel, Met};
use super::{B, PADDING, W, X, conv_size};
use crate::ops::layer::following::{self, Quantized};
use crate::ops::layer::pool;
use crate::ops::{LayerCall, LayerOperand, OpError, QuantizedLayer};
use crate::tensor::DType;

/// The integer form of a layer in float form.
pub fn quantize(layer: &LayerCall, depthwise: bool) -> Result<QuantizedLayer, OpError> {
    let call = &layer.call;
    let grid = layer.grid(X)?;
    let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
    let (Some(weights), &[filters, depth, rows, columns]) = (layer.constant(W)?, &sizes[..]) else {
        return Err(call.unsupported("a kernel whose sizes are not known"));
    };
    let taps = (rows * columns).max(1);
    let Kernel { integers, scales, mut why } = {
        let met = if depthwise { Met::Own } else { Met::Channels { taps } };
        params::kernel(call, weights, filters, grid, met)?
    };

    let bias = layer.constant(B)?.map(|bias| bias.iter().map(|&b| f64::from(b)).collect::<Vec<f64>>());
    let padding = layer.constant(PADDING)?;
    let (bias, x_pad) = match grid.storage {
        DType::I8 => {
            if padding.is_some_and(|padding| padding.iter().any(|&value| value != 0.0)) {
                return Err(OpError::Unsupported {
                    op: call.op(),
                    what: "padding with other values than 0 where the input is int8".to_owned(),
                    way_out: Some("quantize the input of the network as uint8".to_owned()),
                });
            }
            (bias, None)
        }
        DType::U8 if depthwise => {
            return Err(OpError::Unsupported {
                op: call.op(),
                what: "uint8 input".to_owned(),
                way_out: Some("quantize the input of the network as int8 (--input-dtype int8)".to_owned()),
            });
        }
        _ => {
            let folded = fold_zero_points(layer, bias, &integers, &scales, taps)?;
            (Some(folded), Some(integer_padding(layer, padding, depth)?))
        }
    };
    let constant_i32 = |suffix, sizes: &[usize], values| params::constant::<i32>(suffix, sizes, values);
    let bias = match bias {
        Some(bias) => {
            let integers = params::coarse(call, "bias", bias.iter().copied(), &scales, true)?;
            why.push(params::bias_why(&bias, &integers, grid.storage == DType::U8));
            constant_i32("B", &[filters], integers)
        }
        None => LayerOperand::Absent,
    };
    let positions = if pool(call)? == Pool::GlobalAverage {
        let [rows, columns] = conv_size(call, depthwise)?;
        Some(rows * columns)
    } else {
        None
    };
    let Quantized { operands, grid, why: following } = following::quantize(layer, &scales, positions)?;
    why.extend(following);
    let constants = [
        params::constant("Wi", &sizes, integers),
        bias,
        x_pad.map_or(LayerOperand::Absent, |x_pad| constant_i32("Xpad", &[depth], x_pad)),
    ];
    let operands = std::iter::once(LayerOperand::Keep(X)).chain(constants).chain(operands).collect();
    Ok(QuantizedLayer { operands, attrs: following::integer_attrs(call)?, grid, why })
}

/// §5.3: the bias less what the zero points contribute through the quantized kernel.
fn fold_zero_points(
    layer: &LayerCall,
    bias: Option<Vec<f64>>,
    kernel: &[i8],
    scales: &[f64],
    taps: usize,
) -> Result<Vec<f64>, OpError> {
    let grid = layer.grid(X)?;
    let length = kernel.len().checked_div(scales.len()).unwrap_or_default();
    scales
        .iter()
        .enumerate()
        .map(|(f, &scale)| {
            let channels = kernel[f * length..(f + 1) * length].chunks(taps).enumerate();
            let of_channel = |(channel, weights): (usize, &[i8])| {
                let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
                Some(params::zero_at(grid, channel)? * sum)
            };
            let sum: Option<i64> = channels.map(of_channel).sum();
            let sum =
                sum.ok_or_else(|| layer.call.unsupported("an input grid of another number of channels"))?;
            // The sum of integers is exact; it has far fewer than 53 bits.
            Ok(bias.as_ref().and_then(|bias| bias.get(f)).copied().unwrap_or(0.0) - sum as f64 / scale)
        })
        .collect()
}

/// §5.3: the zero point plus the padding value, per channel.
fn integer_padding(layer: &LayerCall, padding: Option<&[f32]>, channels: usize) -> Result<Vec<i32>, OpError> {
    let (call, grid) = (&layer.call, layer.grid(X)?);
    (0..channels)
        .map(|c| {
            let real = f64::from(padding.and_then(|padding| padding.get(c)).copied().unwrap_or(0.0));
            let (Some(scale), Some(zero)) = (params::scale_at(grid, c), params::zero_at(grid, c)) else {
                return Err(call.unsupported("an input grid of another number of channels"));
            };
            let [value] = params::coarse(call, "padding", std::iter::once(real), &[scale], false)?[..] else {
                return Err(call.unsupported("a padding value without a grid"));
            };
            // Zero points are bytes.
            i32::try_from(i64::from(value) + zero)
                .map_err(|_| call.unsupported(format!("padding with {real}, beyond 32 bits,")))
        })
        .collect()
}
