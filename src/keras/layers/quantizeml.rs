//! QuantizeML's own float layers.

use super::activation::fused;
use super::conv::{conv_over, transpose_over};
use super::window::{Windows, map};
use crate::ir::Attrs;
use crate::keras::cx::{Cx, Made, number};
use crate::keras::values::{At, Layout};
use crate::tensor::Tensor;

/// Whether its `Add` halves the sum, which Keras's own does not know.
pub fn averages(cx: &Cx) -> Made<bool> {
    cx.flag("average", false)
}

/// What is around a map in place of 0: one number, or one for each channel.
pub fn padding_value(cx: &Cx) -> Made<Option<Vec<f32>>> {
    let Some(json) = cx.setting("padding_value") else { return Ok(None) };
    let list = json.as_array().map_or_else(|| vec![json], |list| list.iter().collect());
    let values = list.into_iter().map(number).collect::<Option<Vec<f32>>>();
    let values = values.filter(|values| !values.is_empty());
    let bad = || cx.bad_setting("padding_value", "is neither a number nor a list of numbers");
    values.map(Some).ok_or_else(bad)
}

/// One number for each channel.
pub fn for_channels(values: Vec<f32>, channels: usize) -> Vec<f32> {
    match values[..] {
        [value] => vec![value; channels],
        _ => values,
    }
}

/// A convolution over a map with a value of its own around it: the padding of `same`, without dilation,
/// whatever `padding` says.
pub fn padded_conv(cx: &mut Cx) -> Made<At> {
    let mut map = map(cx, 2)?;
    let values = padding_value(cx)?.unwrap_or_else(|| vec![0.0]);
    let kernel = cx.sizes("kernel_size", 2)?.ok_or_else(|| cx.bad_setting("kernel_size", "is missing"))?;
    let strides = cx.sizes("strides", 2)?.unwrap_or_else(|| vec![1, 1]);
    let windows = Windows { kernel, strides, dilations: vec![1, 1] };
    let pads = windows.pads(cx, &map, "same")?;
    if pads.iter().any(|&pad| pad > 0) {
        // The kernel `[H, W, C, F]` has as many channels.
        let channels = cx.weight(&["kernel"], 0)?.sizes().get(2).copied().unwrap_or(1);
        let values = for_channels(values, channels);
        let value = cx.constant("padding_value", Tensor::vector(values));
        map.value = cx.op("pad", "channel_pad", Attrs::new().with("pads", pads), &[map.value, value])?;
    }
    let y = conv_over(cx, &map, Some(vec![0; 4]))?;
    let y = map.result(cx, y)?;
    fused(cx, y)
}

/// Each channel by itself through a transposed convolution.
pub fn depthwise_transposed(cx: &mut Cx) -> Made<At> {
    let map = map(cx, 2)?;
    // From [H, W, C, 1].
    let kernel = cx.turned(&["depthwise_kernel", "kernel"], 0, &[2, 3, 0, 1])?;
    let channels = kernel.sizes()[0] as i64;
    if kernel.sizes()[1] != 1 {
        return Err(cx.bad_setting("depth_multiplier", "is not 1"));
    }
    let y = transpose_over(cx, &map, kernel, channels)?;
    let y = map.result(cx, y)?;
    fused(cx, y)
}

/// A table that is added to each sample.
pub fn position_embs(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let x = cx.get(at, Layout::Last)?;
    let table = cx.weight(&["pos_embedding"], 0)?;
    let table = cx.constant("pos_embedding", table);
    let y = cx.op("add", "add", Attrs::new(), &[x, table])?;
    Ok(cx.made(Layout::Last, y))
}

/// Tokens by their indices; a single one takes its axis with it.
pub fn extract_token(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let axis = cx.axis("axis", cx.int("axis", 1)?, rank)?;
    let tokens = cx.ints("token")?.unwrap_or_else(|| vec![0]);
    let single = cx.setting("token").is_none_or(|token| !token.is_array());
    let tokens = if single { Tensor::scalar(tokens[0]) } else { Tensor::vector(tokens) };
    let x = cx.get(at, Layout::Last)?;
    let tokens = cx.constant("token", tokens);
    let y = cx.op("gather", "gather", Attrs::new().with("axis", axis as i64), &[x, tokens])?;
    Ok(cx.made(Layout::Last, y))
}

/// Attention, whose divisor is a power of two: QuantizeML's, told from Keras's by its heads.
pub fn attention(cx: &mut Cx) -> Made<At> {
    let values = cx.values();
    if values.len() != 3 {
        return Err(cx.bad_call(format!("gives it {} values instead of three", values.len())));
    }
    let operands = values.iter().map(|&at| cx.get(at, Layout::Last)).collect::<Made<Vec<_>>>()?;
    let attrs = Attrs::new()
        .with("num_heads", cx.int("num_heads", 1)?)
        .with("softmax", cx.text("softmax", "softmax")?);
    let y = cx.op("attention", "Attention", attrs, &operands)?;
    Ok(cx.made(Layout::Last, y))
}

pub fn shiftmax(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let axis = cx.axis("axis", cx.int("axis", -1)?, rank)?;
    let (x, layout) = cx.held(at);
    // Ranks are small.
    let attrs = Attrs::new().with("axis", layout.axis(axis, rank) as i64);
    let y = cx.op("shiftmax", "Shiftmax", attrs, &[x])?;
    Ok(cx.made(layout, y))
}

pub fn class_token(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let x = cx.get(at, Layout::Last)?;
    let token = cx.weight(&["cls"], 0)?;
    let token = cx.constant("cls", token);
    let y = cx.op("token", "ClassToken", Attrs::new(), &[x, token])?;
    Ok(cx.made(Layout::Last, y))
}

pub fn mad_normalization(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let x = cx.get(at, Layout::Last)?;
    let (scale, center) = (cx.flag("scale", true)?, cx.flag("center", true)?);
    if !scale || !center {
        return Err(
            cx.bad_setting(if scale { "center" } else { "scale" }, "is false, which is not supported")
        );
    }
    let gamma = cx.weight(&["gamma"], 0)?;
    let beta = cx.weight(&["beta"], 1)?;
    let operands = [x, cx.constant("gamma", gamma), cx.constant("beta", beta)];
    let y = cx.op("norm", "LayerMadNormalization", Attrs::new(), &operands)?;
    Ok(cx.made(Layout::Last, y))
}
