//! Functions that a model calls on values: TensorFlow's in models of Keras 2, `keras.ops` in those of 3.

use serde_json::{Map, Value as Json};

use super::{activation, shape};
use crate::ir::{Attrs, ValueId};
use crate::keras::config::Arg;
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};
use crate::keras::weights::snake_case;
use crate::tensor::Tensor;

/// Whether what is called is a function, not a layer. Where the file keeps no modules, a function is told
/// from the layer of the same name by what it takes.
pub fn is(cx: &Cx) -> bool {
    let layer = cx.layer;
    let named_alike = match layer.class.as_str() {
        "Add" | "Subtract" | "Multiply" | "Maximum" | "Minimum" | "Average" => cx.arg(1, &[]).is_some(),
        "Reshape" => layer.settings.contains_key("newshape"),
        _ => false,
    };
    layer.module.contains(".ops.") || layer.class.ends_with("OpLambda") || named_alike
}

pub fn read(cx: &mut Cx) -> Made<Vec<At>> {
    let function = match cx.setting("function").and_then(Json::as_str) {
        Some(function) => function.rsplit('.').next().unwrap_or_default().to_owned(),
        None => snake_case(&cx.layer.class),
    };
    let one = match function.as_str() {
        "add" => binary(cx, "add"),
        "subtract" | "sub" => binary(cx, "sub"),
        "multiply" | "mul" => binary(cx, "mul"),
        "divide" | "div" | "truediv" | "true_divide" => binary(cx, "div"),
        "maximum" => binary(cx, "max"),
        "minimum" => binary(cx, "min"),
        "relu" | "relu6" | "gelu" | "silu" | "swish" | "leaky_relu" | "sigmoid" | "tanh" | "softmax"
        | "elu" | "selu" | "softplus" | "softsign" | "soft_sign" | "mish" | "hard_sigmoid" | "hard_swish"
        | "hard_silu" | "exp" => {
            let (at, parameters) = (cx.only()?, parameters(cx));
            activation::named(cx, at, &function, &parameters)
        }
        "abs" | "absolute" => {
            let at = cx.only()?;
            activation::unary(cx, at, "abs", Attrs::new())
        }
        "neg" | "negative" => {
            let at = cx.only()?;
            activation::unary(cx, at, "neg", Attrs::new())
        }
        "sqrt" => {
            let at = cx.only()?;
            activation::unary(cx, at, "sqrt", Attrs::new())
        }
        "clip_by_value" | "clip" => clip(cx),
        "reshape" => reshape(cx),
        "transpose" => transpose(cx),
        "concat" | "concatenate" => concat(cx),
        "mean" | "reduce_mean" => reduce(cx, "reduce_mean"),
        "max" | "reduce_max" => reduce(cx, "reduce_max"),
        "min" | "reduce_min" => reduce(cx, "reduce_min"),
        "sum" | "reduce_sum" => reduce(cx, "reduce_sum"),
        "getitem" | "get_item" => item(cx),
        _ => {
            let way = "put a layer in the place of the function";
            return Err(match cx.setting("function") {
                Some(function) => {
                    cx.bad_setting("function", format!("is {function}, which is not supported"))
                }
                None => cx.unsupported(cx.layer.module.contains(".ops.").then_some(way)),
            });
        }
    };
    one.map(|at| vec![at])
}

/// Settings of the layer, and those of the call, which take precedence.
fn parameters(cx: &Cx) -> Map<String, Json> {
    let mut all = cx.layer.settings.clone();
    for (name, arg) in cx.named() {
        if let Arg::Plain(json) = arg
            && !json.is_null()
        {
            all.insert(name.clone(), json.clone());
        }
    }
    all
}

/// An argument as JSON: by its place in the call, or by its name there or in the settings.
fn parameter(cx: &Cx, place: usize, names: &[&str]) -> Option<Json> {
    fn plain(arg: &Arg) -> Option<Json> {
        match arg {
            Arg::Plain(json) => Some(json.clone()),
            Arg::List(list) => list.iter().map(plain).collect::<Option<Vec<Json>>>().map(Json::Array),
            Arg::Value(_) => None,
        }
    }
    let called = cx.arg(place, names).and_then(plain);
    let set = || names.iter().find_map(|name| cx.setting(name)).cloned();
    called.filter(|json| !json.is_null()).or_else(set)
}

fn ints(cx: &Cx, place: usize, names: &[&str]) -> Made<Option<Vec<i64>>> {
    let Some(json) = parameter(cx, place, names) else { return Ok(None) };
    let found = match &json {
        Json::Array(list) => list.iter().map(Json::as_i64).collect(),
        one => one.as_i64().map(|one| vec![one]),
    };
    found.map(Some).ok_or_else(|| cx.bad_setting(names[0], format!("is {json}, no list of integers")))
}

enum Operand {
    Value(At),
    Constant(Tensor),
}

fn operand(cx: &Cx, place: usize, names: &[&str]) -> Made<Operand> {
    if let Some(at) = cx.arg(place, names).and_then(|arg| cx.value(arg)) {
        return Ok(Operand::Value(at));
    }
    let json = parameter(cx, place, names);
    let tensor = json.as_ref().and_then(|json| {
        let json = json.get("config").and_then(|config| config.get("value")).unwrap_or(json);
        let (mut sizes, mut elements) = (Vec::new(), Vec::new());
        numbers(json, 0, &mut sizes, &mut elements)?;
        Tensor::new(&sizes, elements)
    });
    tensor
        .map(Operand::Constant)
        .ok_or_else(|| cx.bad_call(format!("gives `{}`, which is neither a value nor numbers", names[0])))
}

/// Nested lists of numbers.
fn numbers(json: &Json, depth: usize, sizes: &mut Vec<usize>, into: &mut Vec<f32>) -> Option<()> {
    match json {
        Json::Array(list) => {
            if sizes.len() == depth {
                sizes.push(list.len());
            }
            list.iter().try_for_each(|json| numbers(json, depth + 1, sizes, into))
        }
        number => {
            into.push(number.as_f64()? as f32);
            Some(())
        }
    }
}

fn binary(cx: &mut Cx, op: &str) -> Made<At> {
    let (a, b) = (operand(cx, 0, &["x", "x1", "a"])?, operand(cx, 1, &["y", "x2", "b"])?);
    let values: Vec<At> = [&a, &b]
        .into_iter()
        .filter_map(|operand| match operand {
            Operand::Value(at) => Some(*at),
            Operand::Constant(_) => None,
        })
        .collect();
    let Some(&first) = values.first() else { return Err(cx.bad_call("gives it no value")) };
    let rank = cx.rank(first);
    // Numbers for each channel, or one, fit both layouts; what has fewer axes than another aligns with
    // its last ones.
    let fits = |operand: &Operand| match operand {
        Operand::Value(at) => cx.rank(*at) == rank,
        Operand::Constant(tensor) => tensor.sizes().len() <= 1,
    };
    let (held, layout) = if fits(&a) && fits(&b) {
        cx.common(&values)?
    } else {
        let held = values.iter().map(|&at| cx.get(at, Layout::Last)).collect::<Made<Vec<ValueId>>>()?;
        (held, Layout::Last)
    };
    let mut held = held.into_iter();
    let mut operands = Vec::new();
    for operand in [a, b] {
        let value = match operand {
            Operand::Value(_) => held.next(),
            Operand::Constant(tensor) => {
                let tensor = match (tensor.sizes(), layout) {
                    (&[channels], Layout::First) if rank > 2 => {
                        cx.reshaped("y", &tensor, &[&[channels][..], &vec![1; rank - 2]].concat())?
                    }
                    _ => tensor,
                };
                Some(cx.constant("constant", tensor))
            }
        };
        operands.extend(value);
    }
    let y = cx.op(op, op, Attrs::new(), &operands)?;
    Ok(cx.made(layout, y))
}

fn clip(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let bound = |place, names: &[&str]| {
        let json = parameter(cx, place, names);
        json.and_then(|json| json.as_f64())
            .ok_or_else(|| cx.bad_call(format!("gives `{}`, which is no number", names[0])))
    };
    let least = bound(1, &["clip_value_min", "x_min"])?;
    let most = bound(2, &["clip_value_max", "x_max"])?;
    activation::unary(cx, at, "clip", Attrs::new().with("min", least as f32).with("max", most as f32))
}

/// The function counts the batch among the sizes, which must stay what it is.
fn reshape(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let sizes = ints(cx, 1, &["shape", "newshape"])?.unwrap_or_default();
    match sizes.split_first() {
        Some((-1, sizes)) => shape::reshape_to(cx, at, sizes, "shape"),
        _ => Err(cx.bad_setting("shape", format!("is {sizes:?}, which does not leave the batch open"))),
    }
}

fn transpose(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    match ints(cx, 1, &["perm", "axes", "a"])? {
        Some(perm) if perm.first() == Some(&0) => shape::permute_to(cx, at, &perm, "perm"),
        Some(perm) => Err(cx.bad_setting("perm", format!("is {perm:?}, which moves the batch"))),
        None => Err(cx.bad_setting("perm", "is missing, which moves the batch")),
    }
}

fn concat(cx: &mut Cx) -> Made<At> {
    let values = cx.values();
    let Some(&first) = values.first() else { return Err(cx.bad_call("gives it no value")) };
    let rank = cx.rank(first);
    let axis = ints(cx, 1, &["axis"])?.and_then(|axes| axes.first().copied()).unwrap_or(-1);
    let axis = cx.axis("axis", axis, rank)?;
    if values.iter().any(|&at| cx.rank(at) != rank) {
        return Err(cx.bad_call("gives it values of different numbers of axes"));
    }
    let (operands, layout) = cx.common(&values)?;
    let attrs = Attrs::new().with("axis", layout.axis(axis, rank) as i64);
    let y = cx.op("concat", "concat", attrs, &operands)?;
    Ok(cx.made(layout, y))
}

fn reduce(cx: &mut Cx, op: &str) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let axes = ints(cx, 1, &["axis"])?.ok_or_else(|| cx.bad_setting("axis", "is missing"))?;
    let mut axes = axes.iter().map(|&axis| cx.axis("axis", axis, rank)).collect::<Made<Vec<usize>>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.first() == Some(&0) {
        return Err(cx.bad_setting("axis", "has the batch"));
    }
    let keepdims = parameter(cx, 2, &["keepdims"]).and_then(|json| json.as_bool()).unwrap_or(false);
    // Without its positions, a map has its channels last.
    let layout = match cx.held(at).1 {
        Layout::First if keepdims || axes.iter().copied().eq(1..rank - 1) => Layout::First,
        _ => Layout::Last,
    };
    let x = cx.get(at, layout)?;
    let mut axes: Vec<i64> = axes.iter().map(|&axis| layout.axis(axis, rank) as i64).collect();
    axes.sort_unstable();
    let y = cx.op("reduce", op, Attrs::new().with("axes", axes).with("keepdims", keepdims), &[x])?;
    Ok(cx.made(if keepdims { layout } else { Layout::Last }, y))
}

/// `x[:, 0, 2:]`: parts of axes, and single indices, which take their axes with them.
fn item(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let shape = cx.shape(at);
    let spec = parameter(cx, 1, &["slice_spec", "key"]);
    let bad = |cx: &Cx| cx.bad_call("takes parts of a value in a way that is not supported");
    let spec = match spec {
        Some(Json::Array(spec)) => spec,
        Some(one) => vec![one],
        None => return Err(bad(cx)),
    };
    let (mut axes, mut starts, mut sizes, mut steps, mut gone) = (vec![], vec![], vec![], vec![], vec![]);
    for (axis, part) in spec.iter().enumerate() {
        let dim = shape.get(axis).ok_or_else(|| bad(cx))?;
        let bounds = part.get("config").unwrap_or(part);
        let bound = |name: &str| bounds.get(name).filter(|json| !json.is_null());
        if part.is_object() && ["start", "stop", "step"].iter().all(|name| bound(name).is_none()) {
            continue;
        }
        // Sizes of tensors fit.
        let size =
            dim.fixed().ok_or_else(|| cx.open_size("the size of an axis that it takes a part of"))? as i64;
        let counted = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
        let (start, stop, step) = match part.as_i64() {
            Some(index) => {
                let index = counted(index);
                gone.push(axis as i64);
                (index, index + 1, 1)
            }
            None if part.is_object() => {
                let whole = |name: &str, otherwise: i64| match bound(name) {
                    None => Ok(otherwise),
                    Some(json) => json.as_i64().ok_or_else(|| bad(cx)),
                };
                let start = counted(whole("start", 0)?).clamp(0, size);
                (start, counted(whole("stop", size)?).clamp(0, size), whole("step", 1)?)
            }
            None => return Err(bad(cx)),
        };
        if start < 0 || start >= stop || stop > size || step < 1 {
            return Err(bad(cx));
        }
        axes.push(axis as i64);
        starts.push(start);
        sizes.push((stop - start + step - 1) / step);
        steps.push(step);
    }
    let mut y = cx.get(at, Layout::Last)?;
    if !axes.is_empty() {
        let attrs =
            Attrs::new().with("axes", axes).with("starts", starts).with("sizes", sizes).with("steps", steps);
        y = cx.op("slice", "slice", attrs, &[y])?;
    }
    if !gone.is_empty() {
        y = cx.op("squeeze", "squeeze", Attrs::new().with("axes", gone), &[y])?;
    }
    Ok(cx.made(Layout::Last, y))
}
