//! Keras's attention of many heads.

use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};
use crate::tensor::Tensor;

/// `softmax(q · kᵀ / √K) · v` for each head, between products with matrices.
pub fn multi_head(cx: &mut Cx) -> Made<At> {
    for setting in ["use_gate", "sliding_window"] {
        if cx.setting(setting).is_some_and(|json| *json != serde_json::Value::Bool(false)) {
            return Err(cx.bad_setting(setting, "is set, which is not supported"));
        }
    }
    if cx.ints("attention_axes")?.is_some_and(|axes| axes != [1]) {
        return Err(cx.bad_setting("attention_axes", "is not the axis of tokens alone"));
    }
    let operand = |cx: &Cx, place, name| cx.arg(place, &[name]).and_then(|arg| cx.value(arg));
    let (query, value) = (operand(cx, 0, "query"), operand(cx, 1, "value"));
    let (Some(query), Some(value)) = (query, value) else {
        return Err(cx.bad_call("gives it no query or no value"));
    };
    let key = operand(cx, 2, "key").unwrap_or(value);
    let known = |name: &str| ["query", "value", "key"].contains(&name);
    if cx.values().iter().any(|at| ![query, value, key].contains(at))
        || cx.named().any(|(name, arg)| !known(name) && cx.is_set(arg))
    {
        return Err(cx.bad_call("has a mask, or wants more than the values"));
    }
    if [query, value, key].iter().any(|&at| cx.rank(at) != 3) {
        return Err(cx.bad_call("gives it values that are not sequences"));
    }
    let q = project(cx, query, "query", &[0, 2, 1, 3])?;
    let k = project(cx, key, "key", &[0, 2, 3, 1])?;
    let v = project(cx, value, "value", &[0, 2, 1, 3])?;
    let width = cx.int("key_dim", 1)?.max(1) as f32;
    let scale = cx.constant("scale", Tensor::scalar(1.0 / width.sqrt()));
    let q = cx.op("scaled", "mul", Attrs::new(), &[q, scale])?;
    let scores = cx.op("scores", "matmul", Attrs::new(), &[q, k])?;
    let mask = cx.op("softmax", "softmax", Attrs::new().with("axis", 3), &[scores])?;
    let y = cx.op("attention", "matmul", Attrs::new(), &[mask, v])?;
    let y = cx.op("tokens", "transpose", Attrs::new().with("perm", vec![0, 2, 1, 3]), &[y])?;
    let y = cx.op("joined", "reshape", Attrs::new().with("shape", vec![0, 0, -1]), &[y])?;
    let kernel = cx.part("output_dense", &["attention_output/kernel"], 0)?;
    let features = kernel.sizes().last().copied().unwrap_or(1).max(1);
    let kernel = cx.reshaped("kernel", &kernel, &[kernel.len() / features, features])?;
    let y = product(cx, y, "output", "output_dense", "attention_output/bias", kernel)?;
    Ok(cx.made(Layout::Last, y))
}

/// A product with a matrix, and the bias.
fn product(cx: &mut Cx, x: ValueId, name: &str, part: &str, bias: &str, kernel: Tensor) -> Made<ValueId> {
    let kernel = cx.constant(&format!("{name}/kernel"), kernel);
    let y = cx.op(name, "matmul", Attrs::new(), &[x, kernel])?;
    if !cx.flag("use_bias", true)? {
        return Ok(y);
    }
    let bias = cx.part(part, &[bias], 1)?;
    let bias = cx.reshaped("bias", &bias, &[bias.len()])?;
    let bias = cx.constant(&format!("{name}/bias"), bias);
    cx.op(name, "add", Attrs::new(), &[y, bias])
}

/// An operand times its matrix `[C, heads, K]`, its axes batch, tokens, heads and K as `perm` says.
fn project(cx: &mut Cx, at: At, name: &str, perm: &[i64]) -> Made<ValueId> {
    let x = cx.get(at, Layout::Last)?;
    let part = format!("{name}_dense");
    let kernel = cx.part(&part, &[&format!("{name}/kernel")], 0)?;
    let &[channels, heads, width] = kernel.sizes() else {
        return Err(cx.bad_call(format!("finds a kernel of sizes {:?}", kernel.sizes())));
    };
    let kernel = cx.reshaped("kernel", &kernel, &[channels, heads * width])?;
    let y = product(cx, x, name, &part, &format!("{name}/bias"), kernel)?;
    // Sizes of tensors fit.
    let split = vec![0, 0, heads as i64, width as i64];
    let y = cx.op(name, "reshape", Attrs::new().with("shape", split), &[y])?;
    cx.op(name, "transpose", Attrs::new().with("perm", perm.to_vec()), &[y])
}
