//! Convolutions over time: `buffer_temp_conv`, `depthwise_buffer_temp_conv`.
//!
//! The first axis of what they read is time: its entries are frames, in order. The frames before the
//! first are the *state*, an optional operand that is zero where it is absent. Where it is given there
//! is a second result, the state that the frames behind the last begin with: whoever runs a network
//! in pieces hands it on ([`State`]), and the pieces compute what the whole does.

use std::sync::Arc;

use super::body::Body;
use super::number::Real;
use super::{
    Arithmetic, BRAINCHIP, Bound, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr,
    OnnxFunction, OnnxNode, OpError, Operator, Quantize, Schema, State, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels;
use crate::tensor::{Element, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(TempConv { depthwise: false }), Box::new(TempConv { depthwise: true })]
}

/// Operands by position.
const X: usize = 0;
const W: usize = 1;
const B: usize = 2;
const STATE: usize = 3;

#[derive(Clone, Copy)]
pub struct TempConv {
    pub depthwise: bool,
}

/// The sizes of one application, the frames aside.
struct Sizes {
    channels: usize,
    filters: usize,
    /// Frames that one of the result is made of.
    taps: usize,
}

impl TempConv {
    pub fn name(self) -> &'static str {
        if self.depthwise { "depthwise_buffer_temp_conv" } else { "buffer_temp_conv" }
    }

    fn onnx(self) -> &'static str {
        if self.depthwise { "DepthwiseBufferTempConv" } else { "BufferTempConv" }
    }

    fn sizes(self, call: &Call) -> Result<Sizes, OpError> {
        let (x, w) = (&call.ty(X)?.shape, &call.ty(W)?.shape);
        let weights = w.sizes();
        let ([_, channels, _, _], Some([filters, taken, 1, 1])) = (&**x, weights.as_deref()) else {
            let message = format!("x has 4 axes, and w 4 with rows and columns of 1, found {x} and {w}");
            return Err(call.broken("C2", message));
        };
        let (channels, filters, taken) = (call.known(channels)?, *filters, *taken);
        let fits = if self.depthwise {
            filters == channels && taken > 0
        } else {
            taken > 0 && channels > 0 && taken.is_multiple_of(channels)
        };
        call.require("C3", fits, || format!("w has taps for every one of {channels} channels, found {w}"))?;
        let taps = if self.depthwise { taken } else { taken / channels };
        Ok(Sizes { channels, filters, taps })
    }

    /// The convolution over time as one over a map with the frames as rows, and the positions of a
    /// frame side by side as columns.
    fn over_rows(self, sizes: &Sizes, rows: usize, columns: usize) -> kernels::Conv2d {
        kernels::Conv2d {
            batch: 1,
            channels: sizes.channels,
            height: rows,
            width: columns,
            filters: sizes.filters,
            kernel: [sizes.taps, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            group: if self.depthwise { sizes.channels } else { 1 },
        }
    }

    /// What it computes, with `conv` for the sums: from what it is asked to do and the frames, the
    /// state first, to sums row by row. Gives the sums frame by frame with their sizes.
    pub fn sums<A: Element, S: Copy>(
        self,
        inputs: &Inputs,
        state: Option<&[A]>,
        conv: impl FnOnce(&kernels::Conv2d, &[A]) -> Result<Vec<S>, kernels::Error>,
    ) -> Result<(Vec<S>, Vec<usize>), OpError> {
        let call = &inputs.call;
        let sizes = self.sizes(call)?;
        // `sizes` has seen four axes.
        let &[frames, _, height, width] = inputs.get(X)?.sizes() else {
            return Err(call.unsupported("this x"));
        };
        let out = vec![frames, sizes.filters, height, width];
        let map = height * width;
        if out.contains(&0) {
            return Ok((Vec::new(), out));
        }
        let rows = frames + sizes.taps - 1;
        let joined = joined(inputs.elements::<A>(X)?, state, (sizes.taps - 1) * sizes.channels * map);
        let sums = conv(&self.over_rows(&sizes, rows, map), &swapped(&joined, rows, sizes.channels, map));
        Ok((swapped(&call.kernel(sums)?, sizes.filters, frames, map), out))
    }

    fn eval_as<T: Real>(self, inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (w, b) = (inputs.elements::<T>(W)?, inputs.opt_elements::<T>(B)?);
        let state = inputs.opt_elements::<T>(STATE)?;
        let (y, sizes) = self.sums(inputs, state, |conv, x| kernels::conv2d(conv, x, w, b))?;
        let mut results = inputs.call.result(&sizes, y)?;
        results.extend(next::<T>(inputs, STATE)?);
        Ok(results)
    }
}

/// The type of the state: the frames that the first one of x is computed from beside itself.
fn state_type(call: &Call, depthwise: bool) -> Result<TensorType, OpError> {
    let taps = TempConv { depthwise }.sizes(call)?.taps;
    let x = call.ty(X)?;
    let mut dims = x.shape.to_vec();
    if let Some(first) = dims.first_mut() {
        *first = (taps - 1).into();
    }
    Ok(x.with_shape(dims))
}

/// [`State::ty`] of the operators of this file and of the layers that are made of them.
pub fn state_of_full(call: &Call) -> Result<TensorType, OpError> {
    state_type(call, false)
}

/// [`state_of_full`] of the depthwise ones.
pub fn state_of_depthwise(call: &Call) -> Result<TensorType, OpError> {
    state_type(call, true)
}

/// The types of the results: that of the first, and the state where it is given.
pub fn with_state(
    call: &Call,
    label: &'static str,
    state: &State,
    result: TensorType,
) -> Result<Vec<TensorType>, OpError> {
    let Some(found) = call.opt_ty(state.operand) else { return Ok(vec![result]) };
    let expected = (state.ty)(call)?;
    call.require(label, found.shape == expected.shape && found.storage() == expected.storage(), || {
        format!("state is {}{}, found {}{}", expected.storage(), expected.shape, found.storage(), found.shape)
    })?;
    Ok(vec![result, expected])
}

/// The state that follows, where one is given: the last frames of state and x, as many as the state
/// has.
pub fn next<A: Element>(inputs: &Inputs, position: usize) -> Result<Option<Tensor>, OpError> {
    let Some(state) = inputs.opt(position) else { return Ok(None) };
    let before = inputs.elements::<A>(position)?;
    let mut all = joined(inputs.elements::<A>(X)?, Some(before), before.len());
    let last = all.split_off(all.len() - before.len());
    Ok(inputs.call.result(state.sizes(), last)?.pop())
}

/// The elements of the state, which are `count` zeros where it is absent, and then those of x.
fn joined<A: Element>(x: &[A], state: Option<&[A]>, count: usize) -> Vec<A> {
    let mut joined = Vec::with_capacity(count + x.len());
    match state {
        Some(state) => joined.extend_from_slice(state),
        None => joined.resize(count, A::default()),
    }
    joined.extend_from_slice(x);
    joined
}

/// `[outer, inner, run]` as `[inner, outer, run]`.
fn swapped<T: Copy>(from: &[T], outer: usize, inner: usize, run: usize) -> Vec<T> {
    let mut to = Vec::with_capacity(from.len());
    for i in 0..inner {
        for o in 0..outer {
            to.extend_from_slice(&from[(o * inner + i) * run..][..run]);
        }
    }
    to
}

impl Operator for TempConv {
    fn schema(&self) -> Schema {
        let (doc, state) = if self.depthwise {
            (DEPTHWISE_DOC, state_of_depthwise as fn(&Call) -> _)
        } else {
            (FULL_DOC, state_of_full as fn(&Call) -> _)
        };
        Schema::new(self.name(), doc)
            .operand("x")
            .operand("w")
            .optional("b")
            .state("state", state)
            .required_attr("fifo_name", AttrKind::Str)
            .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let sizes = self.sizes(call)?;
        if let Some(b) = call.opt_ty(B) {
            call.require("C4", b.shape.sizes() == Some(vec![sizes.filters]), || {
                format!("b has shape [{}], found {}", sizes.filters, b.shape)
            })?;
        }
        let mut dims = call.ty(X)?.shape.to_vec();
        dims[1] = sizes.filters.into();
        let result = TensorType::new(storage, dims);
        match &call.schema.state {
            Some(state) => with_state(call, "C5", state, result),
            None => Ok(vec![result]),
        }
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(X)?.dtype(), T => self.eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a convolution over time runs on the device as a layer: it was not fused into one")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let taps = self.sizes(&cx.call)?.taps;
        let operand = |at: usize| cx.operand_names.get(at).cloned().unwrap_or_default();
        let mut inputs: Vec<String> = [X, W, B, STATE].map(operand).to_vec();
        let (biased, stated) = (cx.call.opt_ty(B).is_some(), cx.call.opt_ty(STATE).is_some());
        if self.depthwise && biased {
            let bias = cx.constants.get(B).copied().flatten();
            let bias = bias.and_then(|bias| bias.reshaped(&[bias.len(), 1, 1]));
            let bias = bias.ok_or_else(|| cx.call.unsupported("a bias that is not constant"))?;
            inputs[B] = cx.initializer("B", bias);
        }
        inputs.retain(|name| !name.is_empty());
        let node = node(cx, self.onnx(), inputs, taps)?;
        let conv = *self;
        let function = move |name: &str, _: Bound| Ok(conv.function(name, biased, stated));
        Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        let conv = *self;
        let lift = move |cx: &mut LiftCx| -> Result<Vec<ValueId>, OpError> {
            let (x, w) = (cx.operand(X)?, cx.operand(W)?);
            // The state comes last; a bias may be left out before it.
            let stated = cx.node.outputs.len() > 1;
            let mut b = cx.opt_operand(B).filter(|_| !stated || cx.operands.len() > STATE);
            let state = cx.operands.last().copied().flatten().filter(|_| stated);
            if let (true, Some(value)) = (conv.depthwise, b) {
                // Files have it as `[C, 1, 1]`.
                let flat = Attrs::new().with("shape", vec![-1]);
                b = Some(match cx.constant(B).and_then(|bias| bias.reshaped(&[bias.len()])) {
                    Some(bias) => cx.add_const("bias", bias),
                    None => cx.step("bias", "reshape", flat, &[value])?,
                });
            }
            let attrs = lift_attrs(cx, w, conv.depthwise)?;
            let y = cx.op_with(conv.name(), attrs, vec![Some(x), Some(w), b, state])?;
            Ok(results(cx, y))
        };
        vec![Lift::hardware(self.onnx(), 4, ATTRS, lift)]
    }

    fn macs(&self, call: &Call) -> u64 {
        let weights = call.opt_ty(W).and_then(|w| w.shape.elements()).unwrap_or_default();
        let map = call.opt_ty(X).map(|x| x.shape.iter().skip(2).map(|dim| dim.fixed()).collect());
        let map: Option<Vec<usize>> = map.flatten();
        map.unwrap_or_default().into_iter().fold(weights as u64, |macs, n| macs.saturating_mul(n as u64))
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 5 % 11) as f32 * 0.25 - 1.0).collect())
        };
        let w = if self.depthwise { ramp(&[2, 3, 1, 1]) } else { ramp(&[3, 6, 1, 1]) };
        let b = if self.depthwise { ramp(&[2]) } else { ramp(&[3]) };
        let attrs = Attrs::new().with("fifo_name", "x_fifo");
        let x = ramp(&[4, 2, 1, 2]);
        vec![
            Example { attrs: attrs.clone(), operands: vec![x.clone(), w.clone(), b] },
            Example { attrs, operands: vec![x, w, None, ramp(&[2, 2, 1, 2])] },
        ]
    }
}

/// The attributes of the ONNX nodes that [`node`] makes.
pub const ATTRS: &[&str] = &["fifo_name", "fifo_size", "model_id"];

/// A node of the hardware domain that holds so many frames. Which model it is of the file says when
/// it is whole.
pub fn node(cx: &LowerCx, op_type: &str, inputs: Vec<String>, taps: usize) -> Result<OnnxNode, OpError> {
    let fifo = cx.call.text("fifo_name")?.to_owned();
    let node = OnnxNode { domain: BRAINCHIP.to_owned(), ..cx.node(op_type, inputs) };
    // A size of a tensor in memory fits.
    let node = node.attr("fifo_name", OnnxAttr::Str(fifo)).attr("fifo_size", OnnxAttr::Int(taps as i64));
    Ok(node.attr("model_id", OnnxAttr::Str(String::new())))
}

/// The attribute of an operator that is read from what [`node`] writes; w are its weights.
pub fn lift_attrs(cx: &LiftCx, w: ValueId, depthwise: bool) -> Result<Attrs, OpError> {
    let weights = cx.builder.graph.ty(w).shape.sizes().unwrap_or_default();
    let channels = cx.ty(X)?.shape.get(1).and_then(|dim| dim.fixed());
    let taken = weights.get(1).copied().unwrap_or_default();
    let taps =
        if depthwise { Some(taken) } else { channels.and_then(|channels| taken.checked_div(channels)) };
    if let (Some(stated), Some(taps)) = (cx.opt_int("fifo_size")?, taps)
        && i64::try_from(taps) != Ok(stated)
    {
        return Err(cx.invalid(format!("fifo_size is {stated}, the weights are for {taps} frames")));
    }
    Ok(Attrs::new().with("fifo_name", cx.opt_text("fifo_name")?.unwrap_or_default()))
}

/// All results of the node that makes a value.
pub fn results(cx: &LiftCx, first: ValueId) -> Vec<ValueId> {
    let results = cx.builder.graph.node(first.node).results.len() as u32;
    (0..results).map(|result| ValueId { node: first.node, result }).collect()
}

/// Names in a function's body.
pub struct Fifo {
    /// The frames that each one of the result is made of, oldest first: `[N, C, T, H, W]`.
    pub seen: String,
    /// [`Fifo::seen`] with channels and taps as one axis, as w has them.
    pub stacked: Option<String>,
    /// The state that follows, to be called so.
    pub next: Option<String>,
}

impl Body {
    /// The frames of `x` and of the state that each frame of the result is made of; what is before
    /// them is `zero`. `X` and `W` are the function's.
    pub fn fifo(&mut self, x: &str, state: Option<&str>, zero: &str, depthwise: bool) -> Fifo {
        let taps = self.int_of_node("fifo_size");
        let taps = self.op_with("Constant", &[], vec![("value_int", taps)]);
        let (none, one, first) = (self.scalar(0i64), self.scalar(1i64), self.vector(vec![0i64]));
        let all = match state {
            Some(state) => self.op_with("Concat", &[state, x], vec![("axis", OnnxAttr::Int(0))]),
            None => {
                let before = self.op("Sub", &[&taps, &one]);
                let before = self.op("Unsqueeze", &[&before, &first]);
                let pads = self.op_with("Concat", &[&before, &first], vec![("axis", OnnxAttr::Int(0))]);
                self.op("Pad", &[x, &pads, zero, &first])
            }
        };
        let frames = self.sizes_of("X", 0, Some(1));
        let count = self.op("Squeeze", &[&frames]);
        let starts = self.op("Range", &[&none, &count, &one]);
        let second = self.vector(vec![1i64]);
        let starts = self.op("Unsqueeze", &[&starts, &second]);
        let offsets = self.op("Range", &[&none, &taps, &one]);
        let at = self.op("Add", &[&starts, &offsets]);
        let seen = self.op_with("Gather", &[&all, &at], vec![("axis", OnnxAttr::Int(0))]);
        let perm = OnnxAttr::Ints(vec![0, 2, 1, 3, 4]);
        let seen = self.op_with("Transpose", &[&seen], vec![("perm", perm)]);
        let stacked = (!depthwise).then(|| {
            let (stack, map) = (self.sizes_of("W", 1, Some(2)), self.sizes_of("X", 2, None));
            let shape = self.op_with("Concat", &[&frames, &stack, &map], vec![("axis", OnnxAttr::Int(0))]);
            self.op("Reshape", &[&seen, &shape])
        });
        let next = state.map(|_| {
            let end = self.vector(vec![i64::MAX]);
            self.op("Slice", &[&all, &frames, &end, &first])
        });
        Fifo { seen, stacked, next }
    }

    fn sizes_of(&mut self, x: &str, start: i64, end: Option<i64>) -> String {
        let start = ("start", OnnxAttr::Int(start));
        let end = end.map(|end| ("end", OnnxAttr::Int(end)));
        self.op_with("Shape", &[x], std::iter::once(start).chain(end).collect())
    }
}

impl TempConv {
    fn function(self, name: &str, biased: bool, stated: bool) -> OnnxFunction {
        let mut body = Body::default();
        let zero = body.scalar(0.0f32);
        let zero = body.op("CastLike", &[&zero, "X"]);
        let fifo = body.fifo("X", stated.then_some("state"), &zero, self.depthwise);
        let y = match &fifo.stacked {
            Some(stacked) => {
                let bias = biased.then_some("B");
                let inputs: Vec<&str> = [stacked.as_str(), "W"].into_iter().chain(bias).collect();
                body.op("Conv", &inputs)
            }
            None => {
                let products = body.op("Mul", &[&fifo.seen, "W"]);
                let axis = body.vector(vec![2i64]);
                let sum =
                    body.op_with("ReduceSum", &[&products, &axis], vec![("keepdims", OnnxAttr::Int(0))]);
                if biased { body.op("Add", &[&sum, "B"]) } else { sum }
            }
        };
        let mut inputs = vec!["X", "W"];
        inputs.extend(biased.then_some("B"));
        body.temporal(name, inputs, &y, fifo.next)
    }
}

impl Body {
    /// The function of results `y` and, if there is one, the state that follows.
    pub fn temporal(
        mut self,
        name: &str,
        mut inputs: Vec<&str>,
        y: &str,
        next: Option<String>,
    ) -> OnnxFunction {
        self.op("Identity", &[y]);
        self.name_last("Y");
        let mut outputs = vec!["Y".to_owned()];
        if let Some(next) = next {
            inputs.push("state");
            self.op("Identity", &[&next]);
            self.name_last("next");
            outputs.push("next".to_owned());
        }
        let mut function = self.function_of(name, inputs.into_iter().map(str::to_owned).collect(), outputs);
        // What the device's tools read and no body refers to.
        function.attrs.extend(["fifo_name", "model_id"].map(str::to_owned));
        function
    }
}

macro_rules! doc {
    ($formula:literal, $weights:literal) => {
        concat!(
            $formula,
            " over the frames of x `[N, C, H, W]`, in order, with T frames for one of the result; b is `[F]`. Frames \
             `x[-1]`, `x[-2]`, … are the last of state `[T-1, C, H, W]`, or zeros where it is absent. Where it is given, the \
             second result is the state of the frames behind these: the last T - 1 of state and x. The sum is `fma` \
             in the order c, t from 0, then b is added. `fifo_name` is what the state is called in files; operators \
             with different states are never one.\n\n\
             * C1: all operands are plain and stored alike, as f32 or f64.\n\
             * C2: x and w have 4 axes, the last two of w of size 1.\n\
             * C3: w is ",
            $weights,
            ", with T at least 1.\n\
             * C4: b has the one axis F.\n\
             * C5: state is of the shape above."
        )
    };
}

const FULL_DOC: &str = doc!(
    "`y[n, f, i, j] = sum over c, t of x[n - (T-1) + t, c, i, j] * w[f, c * T + t, 0, 0] + b[f]`",
    "`[F, C * T, 1, 1]`"
);
const DEPTHWISE_DOC: &str = doc!(
    "`y[n, c, i, j] = sum over t of x[n - (T-1) + t, c, i, j] * w[c, t, 0, 0] + b[c]`",
    "`[C, T, 1, 1]` (F = C)"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::super::{Arithmetic, Registry};
    use super::*;

    fn named() -> Attrs {
        Attrs::new().with("fifo_name", "x_fifo")
    }

    #[test]
    fn constraints() {
        let x = "f32[N, 2, 3, 3]";
        for (op, w, other, b) in [
            ("buffer_temp_conv", "f32[4, 6, 1, 1]", "f32[4, 5, 1, 1]", "f32[4]"),
            ("depthwise_buffer_temp_conv", "f32[2, 3, 1, 1]", "f32[4, 3, 1, 1]", "f32[2]"),
        ] {
            check_labels(
                op,
                &[
                    ("C1", named(), &["i8[N, 2, 3, 3]", w]),
                    ("C1", named(), &[x, "f64[2, 6, 1, 1]"]),
                    ("C2", named(), &["f32[N, 2, 3]", w]),
                    ("C2", named(), &[x, "f32[2, 6, 1, 3]"]),
                    ("C3", named(), &[x, other]),
                    ("C4", named(), &[x, w, "f32[3]"]),
                    ("C5", named(), &[x, w, b, "f32[3, 2, 3, 3]"]),
                ],
            );
        }
        let types = infer(
            "buffer_temp_conv",
            named(),
            &["f32[N, 2, 3, 3]", "f32[4, 6, 1, 1]", "f32[4]", "f32[2, 2, 3, 3]"].map(ty),
        );
        let types: Vec<String> = types.unwrap().iter().map(|ty| ty.shape.to_string()).collect();
        assert_eq!(types, ["[N, 4, 3, 3]", "[2, 2, 3, 3]"]);
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[3, 1, 1, 1], [1.0f32, 10.0, 100.0]);
        let w = tensor(&[1, 2, 1, 1], [2.0f32, 1.0]);
        let (bias, state) = (tensor(&[1], [0.5f32]), tensor(&[1, 1, 1, 1], [7.0f32]));
        for op in ["buffer_temp_conv", "depthwise_buffer_temp_conv"] {
            let y = eval(op, named(), &[x.clone(), w.clone(), bias.clone()]).unwrap();
            assert_eq!(y, tensor(&[3, 1, 1, 1], [1.5f32, 12.5, 120.5]));
            let operands = [Some(x.clone()), Some(w.clone()), None, Some(state.clone())];
            let results = Registry::built_in().eval(op, &named(), &operands, Arithmetic::Exact).unwrap();
            assert_eq!(results[0], tensor(&[3, 1, 1, 1], [15.0f32, 12.0, 120.0]));
            assert_eq!(results[1], tensor(&[1, 1, 1, 1], [100.0f32]));
        }
    }

    fn fill(sizes: &[usize], seed: u32) -> Tensor {
        let count = sizes.iter().product::<usize>() as u32;
        let element = |i: u32| ((i + 3).wrapping_mul(seed | 1) % 1009) as f32 / 101.0 - 5.0;
        tensor(sizes, (0..count).map(element).collect::<Vec<f32>>())
    }

    proptest! {
        /// Frame by frame with the state handed on, in pieces of any length, or all at once: the result is
        /// that of the causal convolution over the whole clip, bit for bit.
        #[test]
        fn frames_with_state_are_the_clip(
            depthwise in any::<bool>(), frames in 1usize..7, channels in 1usize..4, taps in 1usize..5,
            piece in 1usize..4, seed in any::<u32>(),
        ) {
            let conv = TempConv { depthwise };
            let (filters, taken, group) = if depthwise { (channels, 1, channels) } else { (2, channels, 1) };
            let x = fill(&[frames, channels, 2, 3], seed);
            let (w, b) = (fill(&[filters, taken * taps, 1, 1], seed ^ 77), fill(&[filters], seed ^ 5));

            // [T, C, H, W] as [1, C, T, H, W].
            let (all, map) = (x.elements::<f32>().unwrap(), 6);
            let clip = tensor(&[1, channels, frames, 2, 3], swapped(all, frames, channels, map));
            let attrs = Attrs::new()
                .with("pads", vec![taps as i64 - 1, 0, 0, 0, 0, 0])
                .with("group", group as i64);
            let kernel = w.reshaped(&[filters, taken, taps, 1, 1]).unwrap();
            let deep = eval("conv3d", attrs, &[clip, kernel, b.clone()]).unwrap();
            let expected = swapped(deep.elements::<f32>().unwrap(), filters, frames, map);

            let whole = eval(conv.name(), named(), &[x.clone(), w.clone(), b.clone()]).unwrap();
            prop_assert_eq!(whole.elements::<f32>().unwrap(), &expected[..]);

            let registry = Registry::built_in();
            let operands = [Some(x.clone()), Some(w.clone()), Some(b.clone())];
            let mut state = registry.zero_state(conv.name(), &named(), &operands).unwrap();
            let mut pieces = Vec::new();
            for frames in all.chunks(piece * channels * map) {
                let sizes = [frames.len() / (channels * map), channels, 2, 3];
                let operands = [Some(tensor(&sizes, frames)), Some(w.clone()), Some(b.clone()), state];
                let mut results = registry.eval(conv.name(), &named(), &operands, Arithmetic::Exact).unwrap();
                state = results.pop();
                pieces.extend_from_slice(results[0].elements::<f32>().unwrap());
            }
            prop_assert_eq!(pieces, expected);
        }
    }
}
