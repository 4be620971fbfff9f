//! Recurrent layers: `lstm`, `gru`, `rnn`.

mod activation;
mod lift;
mod run;
#[cfg(test)]
mod tests;

use activation::Activation;

use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs};
use crate::tensor::{DType, Dim, Grid, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Recurrent::Gru), Box::new(Recurrent::Lstm), Box::new(Recurrent::Rnn)]
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Recurrent {
    Gru,
    Lstm,
    Rnn,
}

/// Operands by position.
const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const LENGTHS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const P: usize = 7;

/// What types and attributes say of a layer.
struct Plan {
    steps: Dim,
    batch: Dim,
    features: usize,
    hidden: usize,
    /// For each direction, whether time runs back.
    reversed: &'static [bool],
    functions: Vec<Activation>,
    clip: Option<f32>,
    /// `input_forget` of an lstm, `linear_before_reset` of a gru.
    flag: bool,
}

/// What the three have in common.
macro_rules! doc {
    ($formula:literal, $shapes:literal) => {
        concat!(
            $formula,
            " H begins as initial_h, or as zeros; y_h is the last one. `wk'` is a part of w, transposed, the parts \
             lying one behind the other, and so are those of r and b.\n\n",
            $shapes,
            " D is 1, and time runs back where `direction` is \"reverse\"; or it is 2 for \"bidirectional\", forward \
             and back. Where sequence_lens `[N]` ends a sequence early, steps behind its end are left out: y is 0 \
             there, and time runs back from its end. `clip` bounds what `f` and `g` are of, to -clip and clip.\n\n\
             A function is Affine (`alpha * x + beta`), Elu, HardSigmoid, LeakyRelu, Relu, ScaledTanh \
             (`alpha * tanh(beta * x)`), Sigmoid, Softplus, Softsign, Tanh or ThresholdedRelu (x from `alpha` on, else \
             0); `alpha` and `beta` have an entry for each that takes one, in order. Sums of products are `fma` in \
             their order from 0; all else is rounded once a step.\n\n\
             * C1: all operands are plain and stored alike, as f32 or f64; sequence_lens is i32.\n\
             * C2: the operands have these shapes.\n\
             * C3: `direction` is \"forward\", \"reverse\" or \"bidirectional\", and D is as it says.\n\
             * C4: the functions are of these, and have their `alpha` and `beta`.\n\
             * C5: `clip` is above 0.\n\
             * C6 (when it runs): the elements of sequence_lens are from 0 to S, or from 1 where there is an initial \
             state."
        )
    };
}

impl Recurrent {
    fn name(self) -> &'static str {
        match self {
            Recurrent::Gru => "gru",
            Recurrent::Lstm => "lstm",
            Recurrent::Rnn => "rnn",
        }
    }

    fn onnx(self) -> &'static str {
        match self {
            Recurrent::Gru => "GRU",
            Recurrent::Lstm => "LSTM",
            Recurrent::Rnn => "RNN",
        }
    }

    fn gates(self) -> usize {
        match self {
            Recurrent::Gru => 3,
            Recurrent::Lstm => 4,
            Recurrent::Rnn => 1,
        }
    }

    fn operands(self) -> usize {
        if self == Recurrent::Lstm { 8 } else { 6 }
    }

    /// The attributes that name its functions, with their defaults.
    fn functions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Recurrent::Gru => &[("f", "Sigmoid"), ("g", "Tanh")],
            Recurrent::Lstm => &[("f", "Sigmoid"), ("g", "Tanh"), ("h", "Tanh")],
            Recurrent::Rnn => &[("f", "Tanh")],
        }
    }

    /// The attribute that only it has.
    fn flag(self) -> Option<&'static str> {
        match self {
            Recurrent::Gru => Some("linear_before_reset"),
            Recurrent::Lstm => Some("input_forget"),
            Recurrent::Rnn => None,
        }
    }

    fn check_storage(self, call: &Call) -> Result<DType, OpError> {
        let storage = call.ty(X)?.storage();
        for (position, ty) in call.operands.iter().enumerate() {
            let Some(ty) = ty else { continue };
            let (wanted, words) = match position {
                LENGTHS => (DType::I32, "i32".to_owned()),
                _ if FLOATS.contains(&storage) => (storage, storage.to_string()),
                _ => (DType::F32, "f32 or f64".to_owned()),
            };
            call.require("C1", ty.grid == Grid::Plain(wanted), || {
                let quantized = if !ty.grid.is_plain() { "quantized " } else { "" };
                let name = call.schema.operand_name(position);
                format!("{name} is stored plainly as {words}, found {quantized}{}", ty.storage())
            })?;
        }
        Ok(storage)
    }

    fn plan(self, call: &Call) -> Result<Plan, OpError> {
        let (x, r) = (&call.ty(X)?.shape, &call.ty(R)?.shape);
        let reversed: &[bool] = match call.text("direction")? {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(call.broken("C3", format!("`direction` is \"{other}\""))),
        };
        let [steps, batch, features] = &**x else {
            return Err(call.broken("C2", format!("x has 3 axes, found {x}")));
        };
        let [directions, _, hidden] = &**r else {
            return Err(call.broken("C2", format!("r has 3 axes, found {r}")));
        };
        call.require("C3", *directions == Dim::Fixed(reversed.len()), || {
            format!("r has {} directions, found {r}", reversed.len())
        })?;
        let (features, hidden) = (call.known(features)?, call.known(hidden)?);
        let directions = Dim::Fixed(reversed.len());
        let units = |times: usize| {
            let units = hidden.checked_mul(times).map(Dim::Fixed);
            units.ok_or_else(|| call.broken("C2", format!("sizes do not overflow, found {r}")))
        };
        let gates = units(self.gates())?;
        let state = vec![directions.clone(), batch.clone(), hidden.into()];
        let expected = [
            (W, vec![directions.clone(), gates.clone(), features.into()]),
            (R, vec![directions.clone(), gates, hidden.into()]),
            (B, vec![directions.clone(), units(2 * self.gates())?]),
            (LENGTHS, vec![batch.clone()]),
            (INITIAL_H, state.clone()),
            (INITIAL_C, state),
            (P, vec![directions, units(3)?]),
        ];
        for (position, expected) in expected {
            let (Some(ty), expected) = (call.opt_ty(position), Shape::from(expected)) else { continue };
            call.require("C2", ty.shape == expected, || {
                let name = call.schema.operand_name(position);
                format!("{name} has shape {expected}, found {}", ty.shape)
            })?;
        }
        let names: Vec<&str> =
            self.functions().iter().map(|(attr, _)| call.text(attr)).collect::<Result<_, _>>()?;
        let functions = activation::functions(&names, floats(call, "alpha")?, floats(call, "beta")?);
        let functions = functions.map_err(|message| call.broken("C4", message))?;
        let clip = call.attrs.get_float("clip");
        call.require("C5", clip.is_none_or(|clip| clip > 0.0), || {
            format!("`clip` is above 0, found {}", clip.unwrap_or_default())
        })?;
        let flag = self.flag().map(|name| call.flag(name)).transpose()?.unwrap_or_default();
        Ok(Plan {
            steps: steps.clone(),
            batch: batch.clone(),
            features,
            hidden,
            reversed,
            functions,
            clip,
            flag,
        })
    }
}

/// An attribute that is a list of floats.
fn floats<'a>(call: &Call<'a>, name: &str) -> Result<&'a [f32], OpError> {
    let missing = || OpError::MissingAttr { op: call.op(), attr: name.to_owned() };
    call.attrs.get_floats(name).ok_or_else(missing)
}

impl Operator for Recurrent {
    fn schema(&self) -> Schema {
        let doc = match self {
            Recurrent::Gru => doc!(
                "`y[t] = H' = (1 - z) * g(a) + z * H` for each t, with the gates \
                 `z = f((x[t] * w0' + H * r0') + (b0 + b3))` and `q = f((x[t] * w1' + H * r1') + (b1 + b4))`, and \
                 `a = (x[t] * w2' + (q * H) * r2') + (b2 + b5)`, or with `linear_before_reset` \
                 `a = (x[t] * w2' + q * (H * r2' + b5)) + b2`, from H of the step before.",
                "For x `[S, N, I]`, w `[D, 3 * U, I]`, r `[D, 3 * U, U]`, b `[D, 6 * U]` and initial_h `[D, N, U]`, y is \
                 `[S, D, N, U]` and y_h `[D, N, U]`."
            ),
            Recurrent::Lstm => doc!(
                "`y[t] = H' = o * h(C')` and `C' = e * C + i * g(a3)` for each t, with the gates `i = f(a0 + p0 * C)`, \
                 `e = f(a2 + p2 * C)`, or with `input_forget` `e = 1 - i`, and `o = f(a1 + p1 * C')`, where \
                 `ak = (x[t] * wk' + H * rk') + (bk + b(4 + k))`, from H and C of the step before. C begins as \
                 initial_c, or as zeros; y_c is the last one. The parts p0, p1, p2 of p lie one behind the other.",
                "For x `[S, N, I]`, w `[D, 4 * U, I]`, r `[D, 4 * U, U]`, b `[D, 8 * U]`, initial_h and initial_c \
                 `[D, N, U]` and p `[D, 3 * U]`, y is `[S, D, N, U]`, y_h and y_c `[D, N, U]`."
            ),
            Recurrent::Rnn => doc!(
                "`y[t] = H' = f((x[t] * w0' + H * r0') + (b0 + b1))` for each t, from H of the step before.",
                "For x `[S, N, I]`, w `[D, U, I]`, r `[D, U, U]`, b `[D, 2 * U]` and initial_h `[D, N, U]`, y is \
                 `[S, D, N, U]` and y_h `[D, N, U]`."
            ),
        };
        let mut schema = Schema::new(self.name(), doc).operand("x").operand("w").operand("r");
        schema = schema.optional("b").optional("sequence_lens").optional("initial_h");
        schema.results = vec!["y".into(), "y_h".into()];
        if *self == Recurrent::Lstm {
            schema = schema.optional("initial_c").optional("p");
            schema.results.push("y_c".into());
        }
        schema = schema.attr("direction", "forward").rounding();
        for (attr, default) in self.functions() {
            schema = schema.attr(attr, *default);
        }
        schema = schema.attr("alpha", Vec::<f32>::new()).attr("beta", Vec::<f32>::new());
        schema = schema.optional_attr("clip", AttrKind::Float);
        match self.flag() {
            Some(flag) => schema.attr(flag, false),
            None => schema,
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = self.check_storage(call)?;
        let plan = self.plan(call)?;
        let directions = Dim::Fixed(plan.reversed.len());
        let state = vec![directions, plan.batch, plan.hidden.into()];
        let y = std::iter::once(plan.steps).chain(state.iter().cloned()).collect::<Vec<Dim>>();
        let mut types = vec![TensorType::new(storage, y)];
        types.resize(call.schema.results.len(), TensorType::new(storage, state));
        Ok(types)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let plan = self.plan(&inputs.call)?;
        for_float!(inputs.call, inputs.get(X)?.dtype(), T => run::run::<T>(*self, &plan, inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device has no recurrent layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let plan = self.plan(&cx.call)?;
        let directions = plan.reversed.len();
        let mut inputs = cx.operand_names.to_vec();
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        // A size in memory fits.
        let mut node = cx.node(self.onnx(), inputs).attr("hidden_size", OnnxAttr::Int(plan.hidden as i64));
        node = node.attr("direction", OnnxAttr::Str(cx.call.text("direction")?.to_owned()));
        let names: Vec<&str> = plan.functions.iter().map(|one| one.named.name).collect();
        let names = names.repeat(directions).into_iter().map(str::to_owned).collect();
        node = node.attr("activations", OnnxAttr::Strs(names));
        for (at, attr) in ["activation_alpha", "activation_beta"].into_iter().enumerate() {
            let taken = plan.functions.iter().filter(|one| one.named.takes()[at]);
            let values: Vec<f32> = taken.map(|one| one.parameters[at]).collect();
            if !values.is_empty() {
                node = node.attr(attr, OnnxAttr::Floats(values.repeat(directions)));
            }
        }
        if let Some(clip) = plan.clip {
            node = node.attr("clip", OnnxAttr::Float(clip));
        }
        if let Some(flag) = self.flag() {
            node = node.attr(flag, OnnxAttr::Int(plan.flag.into()));
        }
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        let kind = *self;
        let lift = move |cx: &mut super::LiftCx| lift::lift(kind, cx);
        const GRU_7: &[&str] = &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "linear_before_reset",
        ];
        const GRU_14: &[&str] = &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "layout",
            "linear_before_reset",
        ];
        const LSTM_7: &[&str] = &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "input_forget",
        ];
        const LSTM_14: &[&str] = &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "input_forget",
            "layout",
        ];
        const RNN_7: &[&str] =
            &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size"];
        const RNN_14: &[&str] = &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "layout",
        ];
        let (old, new) = match self {
            Recurrent::Gru => (GRU_7, GRU_14),
            Recurrent::Lstm => (LSTM_7, LSTM_14),
            Recurrent::Rnn => (RNN_7, RNN_14),
        };
        let inputs = self.operands();
        let versions = [Version::new(7, inputs, old), Version::new(14, inputs, new)];
        vec![Lift::standard(self.onnx(), versions, lift)]
    }

    fn macs(&self, call: &Call) -> u64 {
        let Ok(plan) = self.plan(call) else { return 0 };
        let one = (self.gates() * plan.reversed.len()) as u64;
        let units = (plan.hidden as u64).saturating_mul(one);
        let terms = (plan.features as u64).saturating_add(plan.hidden as u64);
        // How many steps there are may be open.
        units.saturating_mul(terms).saturating_mul(plan.steps.fixed().unwrap_or(1) as u64)
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize], step: f32| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| ((i * 5 % 11) as f32 - 5.0) * step).collect())
        };
        let (gates, both) = (self.gates(), Attrs::new().with("direction", "bidirectional"));
        let layer = |directions: usize| {
            vec![
                ramp(&[3, 2, 2], 0.25),
                ramp(&[directions, gates * 2, 2], 0.125),
                ramp(&[directions, gates * 2, 2], -0.125),
                ramp(&[directions, gates * 4], 0.0625),
            ]
        };
        let mut whole = layer(2);
        whole.extend([Tensor::new(&[2], vec![3i32, 1]), ramp(&[2, 2, 2], 0.25)]);
        if *self == Recurrent::Lstm {
            whole.extend([ramp(&[2, 2, 2], -0.5), ramp(&[2, 6], 0.125)]);
        }
        let bounded = Attrs::new().with("f", "HardSigmoid").with("alpha", vec![0.25f32]).with("clip", 0.5f32);
        let bounded = bounded.with("beta", vec![0.5f32]).with("direction", "reverse");
        vec![
            Example { attrs: Attrs::new(), operands: layer(1) },
            Example { attrs: both, operands: whole },
            Example { attrs: bounded, operands: layer(1) },
        ]
    }
}
