//! Functions of each element, as layers and as settings of layers.

use serde_json::{Map, Value as Json};

use crate::ir::Attrs;
use crate::keras::config::is_foreign;
use crate::keras::cx::{Cx, Made, number, turn};
use crate::keras::values::At;
use crate::tensor::Tensor;

/// Adds an operator over the elements of a value.
pub fn unary(cx: &mut Cx, at: At, op: &str, attrs: Attrs) -> Made<At> {
    let (x, layout) = cx.held(at);
    let y = cx.op(op, op, attrs, &[x])?;
    Ok(cx.made(layout, y))
}

/// What the layer's setting `activation` does to its result, which is then called as QuantizeML calls it:
/// the layer's name is that of what the layer does without it.
pub fn fused(cx: &mut Cx, at: At) -> Made<At> {
    let Some(function) = cx.setting("activation") else { return Ok(at) };
    let y = apply(cx, at, function, &Map::new())?;
    if y != at {
        cx.name_linear(at);
    }
    Ok(y)
}

pub fn activation(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let Some(function) = cx.setting("activation") else { return Ok(at) };
    let settings = &cx.layer.settings;
    apply(cx, at, function, settings)
}

/// A function that is written as its name, as a named function, or as a layer.
fn apply(cx: &mut Cx, at: At, function: &Json, settings: &Map<String, Json>) -> Made<At> {
    if let Some(name) = function.as_str() {
        return named(cx, at, name, settings);
    }
    let config = function.get("config");
    let module = function.get("module").and_then(Json::as_str).unwrap_or_default();
    if is_foreign(module) {
        return Err(cx.bad_setting("activation", format!("is of `{module}`, which is not known")));
    }
    match (function.get("class_name").and_then(Json::as_str), config) {
        (Some("function"), Some(Json::String(name))) => named(cx, at, name, settings),
        (Some(class), Some(Json::Object(config))) => {
            let class = class.rsplit_once('>').map_or(class, |(_, class)| class);
            let name = match class {
                // Its settings are not those of the function.
                "ReLU" => return Err(cx.bad_setting("activation", "is a layer; put it behind this one")),
                class => class.to_lowercase().replace("leakyrelu", "leaky_relu"),
            };
            named(cx, at, &name, config)
        }
        _ => Err(cx.bad_setting("activation", format!("is {function}, which is not read"))),
    }
}

/// A function by Keras's name for it.
pub fn named(cx: &mut Cx, at: At, name: &str, settings: &Map<String, Json>) -> Made<At> {
    let float = |names: &[&str], otherwise: f32| {
        names.iter().find_map(|name| number(settings.get(*name)?)).unwrap_or(otherwise)
    };
    let flag = |name: &str| settings.get(name).and_then(Json::as_bool).unwrap_or(false);
    let none = Attrs::new;
    match name {
        "linear" | "identity" => Ok(at),
        "relu" => unary(cx, at, "relu", none()),
        "relu6" => unary(cx, at, "clip", none().with("min", 0.0).with("max", 6.0)),
        "sigmoid" => unary(cx, at, "sigmoid", none()),
        "tanh" => unary(cx, at, "tanh", none()),
        "softmax" => {
            let axis = settings.get("axis").and_then(Json::as_i64).unwrap_or(-1);
            softmax_over(cx, at, axis)
        }
        "elu" => unary(cx, at, "elu", none().with("alpha", float(&["alpha"], 1.0))),
        "selu" => unary(cx, at, "selu", none()),
        "swish" | "silu" => unary(cx, at, "swish", none()),
        "mish" => unary(cx, at, "mish", none()),
        "softplus" => unary(cx, at, "softplus", none()),
        "softsign" | "soft_sign" => unary(cx, at, "softsign", none()),
        "exponential" | "exp" => unary(cx, at, "exp", none()),
        "gelu" => unary(cx, at, if flag("approximate") { "gelu_tanh" } else { "gelu" }, none()),
        "leaky_relu" => {
            unary(cx, at, "leaky_relu", none().with("alpha", float(&["alpha", "negative_slope"], 0.2)))
        }
        // Keras 2 has another line.
        "hard_sigmoid" if cx.major() < 3 => {
            unary(cx, at, "hard_sigmoid", none().with("alpha", 0.2).with("beta", 0.5))
        }
        "hard_sigmoid" => unary(cx, at, "hard_sigmoid", none().with("alpha", 1.0 / 6.0).with("beta", 0.5)),
        "hard_swish" | "hard_silu" => unary(cx, at, "hard_swish", none()),
        other => Err(cx.bad_setting("activation", format!("is `{other}`, which is not supported"))),
    }
}

/// `x` from the threshold to the most, `slope * (x - threshold)` below.
pub fn relu(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let most = cx.opt_float("max_value")?;
    let slope = cx.float(&["negative_slope"], 0.0)?;
    let threshold = cx.float(&["threshold"], 0.0)?;
    let clip = |most: f32| Attrs::new().with("min", 0.0).with("max", most);
    let y = match (threshold == 0.0, slope == 0.0, most) {
        (true, true, None) => return unary(cx, at, "relu", Attrs::new()),
        (true, true, Some(most)) => return unary(cx, at, "clip", clip(most)),
        (true, false, None) => return unary(cx, at, "leaky_relu", Attrs::new().with("alpha", slope)),
        (true, false, Some(_)) => unary(cx, at, "leaky_relu", Attrs::new().with("alpha", slope))?,
        (false, ..) => unary(cx, at, "thresholded_relu", Attrs::new().with("alpha", threshold))?,
    };
    let y = match most {
        Some(most) if slope == 0.0 => unary(cx, y, "clip", clip(most))?,
        Some(most) => unary(cx, y, "clip", Attrs::new().with("max", most))?,
        None => y,
    };
    if threshold == 0.0 || slope == 0.0 {
        return Ok(y);
    }
    let ((x, layout), (y, _)) = (cx.held(at), cx.held(y));
    let threshold = cx.constant("threshold", Tensor::scalar(threshold));
    let slope = cx.constant("slope", Tensor::scalar(slope));
    let below = cx.op("below", "sub", Attrs::new(), &[threshold, x])?;
    let below = cx.op("below", "relu", Attrs::new(), &[below])?;
    let below = cx.op("below", "mul", Attrs::new(), &[below, slope])?;
    let y = cx.op("sub", "sub", Attrs::new(), &[y, below])?;
    Ok(cx.made(layout, y))
}

pub fn leaky_relu(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let slope = cx.float(&["negative_slope", "alpha"], 0.3)?;
    unary(cx, at, "leaky_relu", Attrs::new().with("alpha", slope))
}

pub fn elu(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let alpha = cx.float(&["alpha"], 1.0)?;
    unary(cx, at, "elu", Attrs::new().with("alpha", alpha))
}

pub fn thresholded_relu(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let theta = cx.float(&["theta"], 1.0)?;
    unary(cx, at, "thresholded_relu", Attrs::new().with("alpha", theta))
}

pub fn prelu(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let (x, layout) = cx.held(at);
    let rank = cx.rank(at);
    let slope = cx.weight(&["alpha"], 0)?;
    // One slope for each element of a sample.
    let slope = cx.reshaped("alpha", &slope, &[&[1], slope.sizes()].concat())?;
    let places = layout.places(rank);
    let turned = if slope.sizes().len() == rank { turn(&slope, &places) } else { None };
    let slope = turned.ok_or_else(|| cx.bad_call(format!("gives it a value of {rank} axes")))?;
    let slope = cx.reshaped("alpha", &slope, &slope.sizes()[1..])?;
    let slope = cx.constant("alpha", slope);
    let y = cx.op("prelu", "prelu", Attrs::new(), &[x, slope])?;
    Ok(cx.made(layout, y))
}

pub fn softmax(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    match cx.ints("axis")?.as_deref() {
        None => softmax_over(cx, at, -1),
        Some(&[axis]) => softmax_over(cx, at, axis),
        Some(other) => Err(cx.bad_setting("axis", format!("is {other:?}; one axis is read"))),
    }
}

fn softmax_over(cx: &mut Cx, at: At, axis: i64) -> Made<At> {
    let rank = cx.rank(at);
    let axis = cx.axis("axis", axis, rank)?;
    let (x, layout) = cx.held(at);
    let attrs = Attrs::new().with("axis", layout.axis(axis, rank) as i64);
    let y = cx.op("softmax", "softmax", attrs, &[x])?;
    Ok(cx.made(layout, y))
}
