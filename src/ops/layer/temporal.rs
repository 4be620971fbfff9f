//! Convolutions over time on the device: `QuantizedBufferTempConv`,
//! `QuantizedDepthwiseBufferTempConv`.

use std::sync::Arc;

use super::body;
use super::chain::{self, Source, Step};
use super::integer::{self, Rescale, Sum, Tail};
use super::lifting::{Parameters, with_scale};
use super::limits::{self, Limit};
use super::op_type::{Activation, Base, NONE, OpType, Pool};
use super::params::{self, Accumulator, Kernel, Met};
use super::{Form, activation, activation_step, expect_integer_form};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::kernels;
use crate::ops::body::Body;
use crate::ops::bound;
use crate::ops::temporal::{self, TempConv};
use crate::ops::{
    Arithmetic, Bound, Call, DeviceLayer, Example, Inputs, LayerCall, LayerOperand, Lift, LiftCx, LowerCx,
    Lowered, OnnxAttr, OnnxFunction, OpError, Operator, Quantize, QuantizedLayer, Schema, Version,
};
use crate::tensor::{AffineGrid, DType, Tensor, TensorType};

/// Operands by position; the first three are as in the operator of floats.
const X: usize = 0;
const W: usize = 1;
const B: usize = 2;
const STATE: usize = 3;
const M: usize = 4;
const S_OUT: usize = 5;

#[derive(Clone, Copy)]
pub struct QuantizedTempConv {
    pub depthwise: bool,
}

impl QuantizedTempConv {
    fn base(self) -> Base {
        if self.depthwise { Base::DepthwiseBufferTempConv } else { Base::BufferTempConv }
    }

    fn name(self) -> &'static str {
        if self.depthwise { "QuantizedDepthwiseBufferTempConv" } else { "QuantizedBufferTempConv" }
    }

    fn float(self) -> TempConv {
        TempConv { depthwise: self.depthwise }
    }

    /// Sizes of a bias of the integer form.
    fn bias_sizes(self, filters: usize) -> Vec<usize> {
        if self.depthwise { vec![filters, 1, 1] } else { vec![filters] }
    }

    /// The chain `buffer_temp_conv → relu?`.
    fn steps(self, call: &Call) -> Result<Vec<Step>, OpError> {
        let attrs = Attrs::new().with("fifo_name", call.text("fifo_name")?);
        let mut steps = vec![Step::new(self.float().name(), attrs, &[X, W, B, STATE].map(Source::Operand))];
        steps.extend(activation_step(call)?);
        Ok(steps)
    }

    fn result(self, call: &Call) -> Result<TensorType, OpError> {
        let steps = self.steps(call)?;
        if Form::of(call)? == Form::Float {
            for position in [M, S_OUT] {
                integer::expect_absent(call, "C3", position, "in the float form")?;
            }
            let types = chain::types(&steps, &call.operands[..call.operands.len().min(B + 1)])?;
            return types.into_iter().next_back().ok_or_else(|| call.unsupported("a layer of no operators"));
        }
        let storage = call.ty(X)?.storage();
        call.require("C1", storage == DType::I8, || format!("x is not stored as {storage}"))?;
        // Integer biases may have another shape.
        let types = chain::types(&steps, &integer::as_floats(call, B))?;
        let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
        // The convolution of the chain checked the ranks.
        let filters = call.known(&call.ty(W)?.shape[0])?;
        integer::expect(call, "C4", W, DType::I8, &[&sizes])?;
        if call.opt_ty(B).is_some() {
            integer::expect(call, "C4", B, DType::I32, &[&self.bias_sizes(filters)])?;
        }
        let per_filter: &[&[usize]] = &[&[1, filters, 1, 1], &[1, 1, 1, 1]];
        integer::expect(call, "C5", M, DType::U8, per_filter)?;
        integer::expect(call, "C5", S_OUT, DType::F32, per_filter)?;
        let shape = types.last().map(|ty| ty.shape.clone()).unwrap_or_default();
        Ok(TensorType::new(DType::I8, shape))
    }

    /// What is proven of the sums.
    fn proof(self, weights: &Tensor, bias: Option<&[i32]>) -> Bound {
        let filters = weights.sizes().first().copied().unwrap_or_default();
        let byte = bound::largest_magnitude(DType::I8);
        let weights = weights.elements::<i8>().unwrap_or_default();
        Bound { accumulator: bound::accumulator_bound(weights, filters, bias, |_| byte), ..Bound::default() }
    }

    fn eval_integer(self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let bound = self.proof(inputs.get(W)?, inputs.opt_elements(B)?);
        if bound::fits_i32(bound.accumulator) {
            self.sum::<i32>(inputs, arithmetic)
        } else if bound.accumulator <= i64::MAX as u128 {
            self.sum::<i64>(inputs, arithmetic)
        } else {
            Err(inputs.call.unsupported("an accumulator beyond 64 bits"))
        }
    }

    fn sum<S: Sum>(self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let (w, state) = (inputs.elements::<i8>(W)?, inputs.opt_elements::<i8>(STATE)?);
        let bias: Option<Vec<S>> =
            inputs.opt_elements::<i32>(B)?.map(|bias| bias.iter().map(|&b| S::wrap(b.into())).collect());
        let (acc, sizes) = self.float().sums(inputs, state, |conv, x| {
            kernels::conv2d_integer::<i8, S>(conv, x, w, bias.as_deref(), None)
        })?;
        let rescale = Rescale::new(inputs.elements(M)?, inputs.elements(S_OUT)?, arithmetic);
        let tail = Tail {
            max_pool: None,
            table: None,
            relu: activation(call)? != Activation::None,
            ceiling: None,
            global: false,
            rescale: Some(
                rescale.ok_or_else(|| call.broken("C9", "every element of s_out is a power of two"))?,
            ),
        };
        integer::finish(call, acc, sizes, &tail)
    }

    /// The body: the frames that each is made of, their sums, activation, rescale.
    fn function(self, name: &str, bound: Bound, stated: bool) -> Result<OnnxFunction, OpError> {
        let fail =
            |what: &str| OpError::Unsupported { op: name.to_owned(), what: what.to_owned(), way_out: None };
        let op_type: OpType = name.parse().map_err(|()| fail("this name"))?;
        body::check(name, bound)?;
        let mut body = Body::default();
        let state = stated.then_some("state");
        let zero = body.scalar(0i8);
        let fifo = body.fifo("X", state, &zero, self.depthwise);
        let mut y = match &fifo.stacked {
            Some(stacked) => {
                let (x, w, zero) = (body.shifted(stacked), body.shifted("W"), body.scalar(128u8));
                body.op("ConvInteger", &[&x, &w, &zero, &zero])
            }
            None => {
                let (x, w) = (body.cast(&fifo.seen, DType::I32), body.cast("W", DType::I32));
                let (products, axis) = (body.op("Mul", &[&x, &w]), body.vector(vec![2i64]));
                body.op_with("ReduceSum", &[&products, &axis], vec![("keepdims", OnnxAttr::Int(0))])
            }
        };
        if op_type.biased {
            let bias = if self.depthwise {
                "bias".to_owned()
            } else {
                let axes = body.vector(vec![1i64, 2]);
                body.op("Unsqueeze", &["bias", &axes])
            };
            y = body.op("Add", &[&y, &bias]);
        }
        let y = body.activated(y, op_type.activation, DType::I32);
        let (y, ratio) = (body.cast(&y, DType::F64), body.ratio("Scale", "Shift"));
        let y = body.rescaled(&y, &ratio);
        let mut inputs = vec!["X", "W"];
        inputs.extend(op_type.biased.then_some("bias"));
        inputs.extend(["Scale", "Shift"]);
        Ok(body.temporal(name, inputs, &y, fifo.next))
    }
}

impl DeviceLayer for QuantizedTempConv {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        self.steps(call)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        let call = &layer.call;
        let grid = layer.grid(X)?;
        if grid.storage != DType::I8 {
            return Err(OpError::Unsupported {
                op: call.op(),
                what: "uint8 input".to_owned(),
                way_out: Some("quantize the input of the network as int8 (--input-dtype int8)".to_owned()),
            });
        }
        let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
        let channels = call.ty(X)?.shape.get(1).and_then(|dim| dim.fixed());
        let (Some(weights), &[filters, taken, ..], Some(channels)) =
            (layer.constant(W)?, &sizes[..], channels)
        else {
            return Err(call.unsupported("a kernel whose sizes are not known"));
        };
        let taps = taken.checked_div(channels).unwrap_or_default().max(1);
        let Kernel { integers, scales, mut why } = {
            let met = if self.depthwise { Met::Own } else { Met::Channels { taps } };
            params::kernel(call, weights, filters, grid, met)?
        };
        let bias = match layer.constant(B)? {
            Some(bias) => {
                let bias: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
                let integers = params::coarse(call, "bias", bias.iter().copied(), &scales, true)?;
                why.push(params::bias_why(&bias, &integers, false));
                params::constant("B", &self.bias_sizes(filters), integers)
            }
            None => LayerOperand::Absent,
        };
        let rescaling = params::rescaling(layer, Accumulator::Filters(&scales))?;
        why.extend(rescaling.why);
        let per_filter = [1, filters, 1, 1];
        Ok(QuantizedLayer {
            operands: vec![
                LayerOperand::Keep(X),
                params::constant("Wi", &sizes, integers),
                bias,
                LayerOperand::Absent,
                params::constant("M", &per_filter, rescaling.multipliers),
                params::constant("S_out", &per_filter, rescaling.divisors),
            ],
            attrs: call.attrs.clone(),
            grid: AffineGrid::hardware(DType::I8, rescaling.scales),
            why,
        })
    }
}

impl Operator for QuantizedTempConv {
    fn schema(&self) -> Schema {
        let (doc, state) = if self.depthwise {
            (DEPTHWISE_DOC, temporal::state_of_depthwise as fn(&Call) -> _)
        } else {
            (FULL_DOC, temporal::state_of_full as fn(&Call) -> _)
        };
        Schema::new(self.name(), doc)
            .operand("x")
            .operand("w")
            .optional("b")
            .state("state", state)
            .optional("m")
            .optional("s_out")
            .required_attr("fifo_name", AttrKind::Str)
            .attr("activation", NONE)
            .rounding()
            .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let activation = activation(call).unwrap_or(Activation::Lut);
        call.require("C2", matches!(activation, Activation::None | Activation::Relu), || {
            "`activation` is none or ReLU".to_owned()
        })?;
        let result = self.result(call)?;
        match &call.schema.state {
            Some(state) => temporal::with_state(call, "C6", state, result),
            None => Ok(vec![result]),
        }
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let (mut results, next) = match inputs.get(X)?.dtype() {
            DType::I8 => (self.eval_integer(inputs, arithmetic)?, temporal::next::<i8>(inputs, STATE)?),
            DType::F64 => {
                (chain::eval(&self.steps(&inputs.call)?, inputs)?, temporal::next::<f64>(inputs, STATE)?)
            }
            _ => (chain::eval(&self.steps(&inputs.call)?, inputs)?, temporal::next::<f32>(inputs, STATE)?),
        };
        results.extend(next);
        Ok(results)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(*self))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let call = cx.call;
        expect_integer_form(&call)?;
        let constant = |position: usize| cx.constants.get(position).copied().flatten();
        let Some(weights) = constant(W) else {
            return Err(call.unsupported("a kernel that is not constant"));
        };
        let bias = constant(B).and_then(Tensor::elements::<i32>);
        if bias.is_none() && call.opt_ty(B).is_some() {
            return Err(call.unsupported("a bias that is not constant"));
        }
        let bound = self.proof(weights, bias);
        let op_type = OpType {
            base: self.base(),
            flatten: false,
            biased: bias.is_some(),
            pool: Pool::None,
            activation: activation(&call)?,
            scaled: true,
        };
        let name = op_type.to_string();
        let stated = call.opt_ty(STATE).is_some();
        let layer = *self;
        let function = move |name: &str, bound: Bound| layer.function(name, bound, stated);
        function(&name, bound)?;
        let operand = |position: usize| cx.operand_names.get(position).cloned().unwrap_or_default();
        let inputs = [X, W, B, M, S_OUT, STATE].map(operand).into_iter().filter(|name| !name.is_empty());
        let channels = call.known(&call.ty(X)?.shape[1])?.max(1);
        let taken = weights.sizes().get(1).copied().unwrap_or_default();
        let taps = if self.depthwise { taken } else { taken / channels };
        let divisors = limits::divisor(constant(S_OUT).and_then(Tensor::elements::<f32>));
        let mut limits: Vec<Limit> = limits::bias(bias).into_iter().chain(divisors).collect();
        if !(2..=10).contains(&taps) {
            limits.push(Limit::Frames { found: taps });
        }
        let node = temporal::node(cx, &name, inputs.collect(), taps)?;
        Ok(Lowered::Layer { node: with_scale(node, cx), bound, limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        const ATTRS: &[&str] = &["scale", "fifo_name", "fifo_size", "model_id"];
        let layer = *self;
        let lift = move |cx: &mut LiftCx| -> Result<Vec<ValueId>, OpError> {
            let stated = cx.node.outputs.len() > 1;
            let mut node = Parameters::of(cx)?;
            let op_type = node.op_type;
            let (x, w) = (node.take()?, node.take()?);
            let b = node.take_if(op_type.biased)?;
            let (m, s_out) = (node.take()?, node.take()?);
            let state = node.take_if(stated)?;
            let attrs = match w {
                Some(w) => temporal::lift_attrs(node.cx, w, layer.depthwise)?,
                None => Attrs::new(),
            };
            let attrs = attrs.with("activation", op_type.activation.name());
            node.layer(layer.name(), attrs, vec![x, w, b, state, m, s_out], DType::I8)
        };
        OpType::all(self.base())
            .map(|name| Lift::hardware(name.to_string(), Version::ANY, ATTRS, lift))
            .collect()
    }

    fn macs(&self, call: &Call) -> u64 {
        self.float().macs(call)
    }

    fn examples(&self) -> Vec<Example> {
        let map = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 37 % 19) as f32 * 0.25 - 2.0).collect())
        };
        let bytes = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 89 % 256) as u8 as i8).collect())
        };
        let weights = if self.depthwise { [2, 3, 1, 1] } else { [2, 6, 1, 1] };
        let attrs = Attrs::new().with("fifo_name", "x_fifo").with("activation", "ReLU");
        let multipliers = Tensor::new(&[1, 2, 1, 1], vec![131u8, 200]);
        let divisors = Tensor::new(&[1, 2, 1, 1], vec![32_768f32, 65_536.0]);
        let integer = |state: Option<Tensor>| Example {
            attrs: attrs.clone(),
            operands: vec![
                bytes(&[3, 2, 2, 2]),
                bytes(&weights),
                Tensor::new(&self.bias_sizes(2), vec![1000i32, -70]),
                state,
                multipliers.clone(),
                divisors.clone(),
            ],
        };
        let float =
            Example { attrs: attrs.clone(), operands: vec![map(&[4, 2, 1, 2]), map(&weights), map(&[2])] };
        vec![float, integer(None), integer(bytes(&[2, 2, 2, 2]))]
    }
}

macro_rules! doc {
    ($what:literal, $float:literal, $weights:literal, $bias:literal) => {
        concat!(
            $what,
            " over the frames that x holds along its first axis. In the float form the chain `",
            $float,
            " → relu?` of x `[N, C, H, W]`, w ",
            $weights,
            " and b `[F]`, with the activation `activation` (none or ReLU); `fifo_name` and state, the frames before \
             x, are those of that operator. In the integer form, in exact integers: the sums, b added, `max(acc, 0)`, \
             then `floor(acc * m[f] / s_out[f] + 1/2)` saturated to int8.\n\n\
             * C1: x is plain f32 or f64 (float form), or stored as i8 (integer form).\n\
             * C2: `activation` has one of the values above.\n\
             * C3: m and s_out are absent in the float form.\n\
             * C4: in the integer form w is i8 and b is i32 ",
            $bias,
            ".\n\
             * C5: in the integer form m is u8 and s_out f32, both `[1, F, 1, 1]` or `[1, 1, 1, 1]`.\n\
             * C6: state has the shape that the operator wants, and is stored as x.\n\
             * C9: the elements of s_out are powers of two (checked when it runs).\n\n\
             Shapes are as the operators of the chain want them."
        )
    };
}

const FULL_DOC: &str = doc!("A convolution", "buffer_temp_conv", "`[F, C * T, 1, 1]`", "`[F]`");
const DEPTHWISE_DOC: &str = doc!(
    "A convolution of each channel (F = C)",
    "depthwise_buffer_temp_conv",
    "`[C, T, 1, 1]`",
    "`[C, 1, 1]`"
);
