//! ONNX's recurrent layers: with batches first they are between transposes, and with functions that differ
//! between directions they are one layer for each.

use super::activation::{self, Activation};
use super::{INITIAL_C, INITIAL_H, LENGTHS, R, Recurrent, W, X};
use crate::ir::{Attrs, ValueId};
use crate::ops::{LiftCx, OpError};
use crate::tensor::DType;

pub fn lift(kind: Recurrent, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    for position in [X, W, R] {
        cx.operand(position)?;
    }
    let mut operands: Vec<Option<ValueId>> = (0..kind.operands()).map(|at| cx.opt_operand(at)).collect();
    let batch_first = match cx.int("layout", 0)? {
        0 => false,
        1 => true,
        other => return Err(cx.invalid(format!("`layout` is 0 or 1, found {other}"))),
    };
    if batch_first {
        for (position, suffix) in [(X, "x"), (INITIAL_H, "initial_h"), (INITIAL_C, "initial_c")] {
            let Some(value) = operands.get(position).copied().flatten() else { continue };
            operands[position] = Some(moved(cx, &format!("{suffix}_steps"), value, &[1, 0, 2])?);
        }
    }
    for position in [INITIAL_H, INITIAL_C] {
        // A layer begins so by itself.
        let begins = operands.get(position).copied().flatten();
        if begins.is_some_and(|value| is_zeros(cx, value)) && fits(cx, &operands, position) {
            operands[position] = None;
        }
    }
    let hidden = cx.ty(R)?.shape.last().and_then(|dim| dim.fixed());
    if let (Some(stated), Some(hidden)) = (cx.opt_int("hidden_size")?, hidden)
        && usize::try_from(stated) != Ok(hidden)
    {
        return Err(cx.invalid(format!("`hidden_size` is {stated}, and R is of {hidden}")));
    }
    let direction = cx.opt_text("direction")?.unwrap_or("forward").to_owned();
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let functions = functions(kind, cx, directions)?;
    let mut attrs = Attrs::new();
    if let Some(clip) = cx.opt_float("clip")? {
        if clip.is_nan() {
            return Err(cx.invalid("`clip` is no number"));
        }
        attrs.set("clip", clip);
    }
    if let Some(flag) = kind.flag() {
        attrs.set(flag, cx.int(flag, 0)? != 0);
    }
    let count = kind.functions().len();
    let alike = functions.chunks(count).all(|of_direction| of_direction == &functions[..count]);
    let name = cx.result_name();
    let mut results = if alike {
        attrs = with_functions(kind, attrs.with("direction", &*direction), &functions[..count]);
        results(cx, kind, attrs, operands, &name)?
    } else {
        let mut halves = Vec::new();
        for (at, (of_direction, word)) in functions.chunks(count).zip(["forward", "reverse"]).enumerate() {
            let mut own = operands.clone();
            for (position, value) in own.iter_mut().enumerate() {
                let (Some(whole), false) = (*value, matches!(position, X | LENGTHS)) else { continue };
                *value = Some(half(cx, &format!("{word}_{position}"), whole, at)?);
            }
            let attrs = with_functions(kind, attrs.clone().with("direction", word), of_direction);
            halves.push(results(cx, kind, attrs, own, &format!("{name}_{word}"))?);
        }
        let axes = [("y", 1), ("y_h", 0), ("y_c", 0)];
        let mut joined = Vec::new();
        for (at, (suffix, axis)) in axes.into_iter().enumerate().take(halves[0].len()) {
            let parts: Vec<ValueId> = halves.iter().filter_map(|half| half.get(at).copied()).collect();
            let axis = Attrs::new().with("axis", axis);
            joined.push(cx.step(&format!("{suffix}_both"), "concat", axis, &parts)?);
        }
        joined
    };
    if batch_first {
        for (at, (suffix, perm)) in
            [("y", &[2, 0, 1, 3][..]), ("y_h", &[1, 0, 2]), ("y_c", &[1, 0, 2])].into_iter().enumerate()
        {
            // What is not asked for need not be moved.
            if let (Some(result), Some(true)) =
                (results.get_mut(at), cx.node.outputs.get(at).map(|name| !name.is_empty()))
            {
                *result = moved(cx, &format!("{suffix}_batches"), *result, perm)?;
            }
        }
    }
    Ok(results)
}

/// Whether all elements are 0, wherever they were moved.
fn is_zeros(cx: &LiftCx, mut value: ValueId) -> bool {
    const MOVES: [&str; 8] =
        ["expand", "identity", "reshape", "slice", "squeeze", "stretch", "transpose", "unsqueeze"];
    let graph = &*cx.builder.graph;
    loop {
        if let Some(tensor) = graph.constant(value) {
            let wide = tensor.cast(DType::F64);
            return wide.elements::<f64>().is_some_and(|all| all.iter().all(|&v| v == 0.0));
        }
        let node = graph.node(value.node);
        match node.operand(0).filter(|_| node.op().is_some_and(|op| MOVES.contains(&op))) {
            Some(before) => value = before,
            None => return false,
        }
    }
}

/// Whether an initial state is stored and shaped as the layer wants it; what is not is left for it to refuse.
fn fits(cx: &LiftCx, operands: &[Option<ValueId>], position: usize) -> bool {
    let ty = |at: usize| operands.get(at).copied().flatten().map(|value| cx.builder.graph.ty(value));
    let (Some(x), Some(r), Some(state)) = (ty(X), ty(R), ty(position)) else { return false };
    match (&*x.shape, &*r.shape, &*state.shape) {
        ([_, batch, _], [directions, _, hidden], found) => {
            state.grid == x.grid && found == [directions.clone(), batch.clone(), hidden.clone()]
        }
        _ => false,
    }
}

fn moved(cx: &mut LiftCx, suffix: &str, value: ValueId, perm: &[i64]) -> Result<ValueId, OpError> {
    cx.step(suffix, "transpose", Attrs::new().with("perm", perm), &[value])
}

/// What belongs to one of two directions.
fn half(cx: &mut LiftCx, suffix: &str, value: ValueId, at: usize) -> Result<ValueId, OpError> {
    let list = |entry: i64| vec![entry];
    let attrs = Attrs::new().with("axes", list(0)).with("starts", list(at as i64));
    cx.step(suffix, "slice", attrs.with("sizes", list(1)).with("steps", list(1)), &[value])
}

/// The results of one layer.
fn results(
    cx: &mut LiftCx,
    kind: Recurrent,
    attrs: Attrs,
    operands: Vec<Option<ValueId>>,
    name: &str,
) -> Result<Vec<ValueId>, OpError> {
    let node = cx.builder.node(kind.name(), attrs, operands, name)?;
    let count = cx.builder.graph.node(node).results.len();
    Ok((0..count as u32).map(|result| ValueId { node, result }).collect())
}

/// The functions that a node states, of every direction.
fn functions(kind: Recurrent, cx: &LiftCx, directions: usize) -> Result<Vec<Activation>, OpError> {
    let defaults: Vec<&str> = kind.functions().iter().map(|(_, default)| *default).collect();
    let count = defaults.len() * directions;
    let stated = cx.opt_texts("activations")?;
    let mut names: Vec<&str> = match stated {
        Some(stated) => stated.iter().map(String::as_str).collect(),
        None => defaults.repeat(directions),
    };
    // An rnn's default is for two directions, whatever their number.
    if kind == Recurrent::Rnn && names.len() == 2 && names[0] == names[1] {
        names.truncate(directions);
    }
    if names.len() != count {
        return Err(cx.invalid(format!("`activations` has {count} entries, found {}", names.len())));
    }
    let list = |at: usize, attr: &str| {
        let stated = cx.opt_floats(attr)?.unwrap_or_default();
        Ok::<_, OpError>(activation::taken(&names, at, stated))
    };
    let (alphas, betas) = (list(0, "activation_alpha")?, list(1, "activation_beta")?);
    let functions = activation::functions(&names, &alphas, &betas);
    functions.map_err(|message| cx.invalid(message))
}

fn with_functions(kind: Recurrent, mut attrs: Attrs, functions: &[Activation]) -> Attrs {
    for ((attr, _), function) in kind.functions().iter().zip(functions) {
        attrs.set(attr, function.named.name);
    }
    for (at, attr) in ["alpha", "beta"].into_iter().enumerate() {
        let taken = functions.iter().filter(|function| function.named.takes()[at]);
        attrs.set(attr, taken.map(|function| function.parameters[at]).collect::<Vec<f32>>());
    }
    attrs
}
