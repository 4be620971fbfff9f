//! Normalizations, and what else scales and shifts.

use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made, number};
use crate::keras::values::{At, Layout};
use crate::ops::OnnxAttr;
use crate::tensor::{DType, Tensor};

/// The axis of a setting that is one, or a list of one.
fn axis(cx: &Cx, rank: usize) -> Made<usize> {
    match cx.ints("axis")?.as_deref() {
        None => Ok(rank - 1),
        Some(&[axis]) => cx.axis("axis", axis, rank),
        Some(other) => Err(cx.bad_setting("axis", format!("is {other:?}; one axis is read"))),
    }
}

pub fn batch_normalization(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let layout = match axis(cx, rank)? {
        axis if axis + 1 == rank => Layout::First,
        1 => Layout::Last,
        other => return Err(cx.bad_setting("axis", format!("is {other}, neither the last nor 1"))),
    };
    let x = cx.get(at, layout)?;
    let channels = cx.type_of(x).shape.get(1).and_then(|dim| dim.fixed());
    let channels = channels.ok_or_else(|| cx.open_size("the number of channels"))?;
    let mut number = 0;
    let mut operands = vec![x];
    let parts = [
        ("gamma", cx.flag("scale", true)?, 1f32),
        ("beta", cx.flag("center", true)?, 0.0),
        ("moving_mean", true, 0.0),
        ("moving_variance", true, 1.0),
    ];
    for (name, there, otherwise) in parts {
        let tensor =
            if there { cx.weight(&[name], number)? } else { Tensor::vector(vec![otherwise; channels]) };
        number += usize::from(there);
        operands.push(cx.constant(name, tensor));
    }
    let attrs = Attrs::new().with("epsilon", cx.float(&["epsilon"], 1e-3)?);
    let y = cx.op("norm", "batch_norm", attrs, &operands)?;
    Ok(cx.made(layout, y))
}

pub fn layer_normalization(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let axes = cx.ints("axis")?.unwrap_or_else(|| vec![-1]);
    let mut axes = axes.iter().map(|&axis| cx.axis("axis", axis, rank)).collect::<Made<Vec<_>>>()?;
    axes.sort_unstable();
    let first = rank - axes.len().min(rank);
    if axes.is_empty() || !axes.iter().copied().eq(first..rank) {
        return Err(cx.bad_setting("axis", "is not the last axes"));
    }
    if cx.flag("rms_scaling", false)? {
        return Err(cx.bad_setting("rms_scaling", "is true, which is not supported"));
    }
    let x = cx.get(at, Layout::Last)?;
    let sizes: Option<Vec<usize>> = cx.type_of(x).shape[first..].iter().map(|dim| dim.fixed()).collect();
    let sizes = sizes.ok_or_else(|| cx.open_size("the sizes of the axes that it normalizes"))?;
    let (scale, center) = (cx.flag("scale", true)?, cx.flag("center", true)?);
    let gamma = match scale {
        true => cx.weight(&["gamma"], 0)?,
        false => cx.reshaped("gamma", &Tensor::vector(vec![1f32; sizes.iter().product()]), &sizes)?,
    };
    let gamma = Some(cx.constant("gamma", gamma));
    let beta = match center {
        true => {
            let beta = cx.weight(&["beta"], usize::from(scale))?;
            Some(cx.constant("beta", beta))
        }
        false => None,
    };
    let attrs = [
        // Ranks are small.
        ("axis", OnnxAttr::Int(first as i64)),
        ("epsilon", OnnxAttr::Float(cx.float(&["epsilon"], 1e-3)?)),
    ];
    let y = cx.onnx("LayerNormalization", 17, attrs, &[Some(x), gamma, beta])?;
    Ok(cx.made(Layout::Last, y))
}

/// A constant of one element, or one for each channel, that stretches over a value of `rank` axes.
fn per_channel(cx: &mut Cx, suffix: &str, tensor: &Tensor, rank: usize, layout: Layout) -> Made<ValueId> {
    let sizes = match (tensor.len(), layout) {
        (1, _) => Vec::new(),
        (channels, Layout::First) if rank > 2 => [&[channels][..], &vec![1; rank - 2]].concat(),
        (channels, _) => vec![channels],
    };
    let tensor = cx.reshaped(suffix, tensor, &sizes)?;
    Ok(cx.constant(suffix, tensor))
}

/// Numbers of a setting.
fn numbers(cx: &Cx, name: &str) -> Made<Option<Tensor>> {
    let Some(json) = cx.setting(name) else { return Ok(None) };
    fn go(json: &serde_json::Value, into: &mut Vec<f32>) -> Option<()> {
        match json.as_array() {
            Some(list) => list.iter().try_for_each(|json| go(json, into)),
            None => number(json).map(|number| into.push(number)),
        }
    }
    let mut found = Vec::new();
    match go(json.get("config").and_then(|config| config.get("value")).unwrap_or(json), &mut found) {
        Some(()) if !found.is_empty() => Ok(Some(Tensor::vector(found))),
        _ => Err(cx.bad_setting(name, "is neither a number nor a list of numbers")),
    }
}

fn is(tensor: &Tensor, value: f32) -> bool {
    tensor.elements::<f32>().is_some_and(|elements| elements.iter().all(|&element| element == value))
}

pub fn rescaling(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let (mut y, layout) = cx.held(at);
    let rank = cx.rank(at);
    if cx.type_of(y).storage() != DType::F32 {
        y = cx.op("cast", "cast", Attrs::new().with("to", DType::F32), &[y])?;
    }
    let parts = [("scale", "mul", 1.0), ("offset", "add", 0.0)];
    for (name, op, nothing) in parts {
        let Some(tensor) = numbers(cx, name)?.filter(|tensor| !is(tensor, nothing)) else { continue };
        let constant = per_channel(cx, name, &tensor, rank, layout)?;
        y = cx.op(op, op, Attrs::new(), &[y, constant])?;
    }
    if cx.held(at).0 == y { Ok(at) } else { Ok(cx.made(layout, y)) }
}

/// A factor for each channel, as keras.applications has it.
pub fn layer_scale(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let (x, layout) = cx.held(at);
    let rank = cx.rank(at);
    let gamma = cx.weight(&["gamma"], 0)?;
    let gamma = per_channel(cx, "gamma", &gamma, rank, layout)?;
    let y = cx.op("mul", "mul", Attrs::new(), &[x, gamma])?;
    Ok(cx.made(layout, y))
}

pub fn normalization(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    if cx.flag("invert", false)? {
        return Err(cx.bad_setting("invert", "is true, which is not supported"));
    }
    if cx.setting("axis").is_some() && axis(cx, rank)? + 1 != rank {
        return Err(cx.bad_setting("axis", "is not the last axis"));
    }
    let (mut y, layout) = cx.held(at);
    if cx.type_of(y).storage() != DType::F32 {
        y = cx.op("cast", "cast", Attrs::new().with("to", DType::F32), &[y])?;
    }
    let mean = match numbers(cx, "mean")? {
        Some(mean) => mean,
        None => cx.weight(&["mean"], 0)?,
    };
    let variance = match numbers(cx, "variance")? {
        Some(variance) => variance,
        None => cx.weight(&["variance"], 1)?,
    };
    // Keras's smallest divisor.
    let deviations = variance.elements::<f32>().unwrap_or_default().iter().map(|v| v.sqrt().max(1e-7));
    let deviation = Tensor::vector(deviations.collect::<Vec<f32>>());
    let mean = per_channel(cx, "mean", &mean, rank, layout)?;
    let deviation = per_channel(cx, "deviation", &deviation, rank, layout)?;
    y = cx.op("sub", "sub", Attrs::new(), &[y, mean])?;
    y = cx.op("div", "div", Attrs::new(), &[y, deviation])?;
    Ok(cx.made(layout, y))
}
