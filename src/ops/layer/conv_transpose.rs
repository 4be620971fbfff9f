//! Transposed convolutions on the device: `QuantizedConv2DTranspose`, `QuantizedDepthwise2DTranspose`.

use std::sync::Arc;

use super::chain::{self, Source, Step};
use super::following::{self, Following, Labels, Quantized};
use super::integer::{self, Sum};
use super::lifting::{Parameters, with_scale};
use super::limits::{self, Limit, Size};
use super::op_type::{Base, OpType, Pool};
use super::params::{self, Kernel, Met};
use super::prepared::{self, PreparedLayer};
use super::{Form, activation, body, expect_integer_form};
use crate::ir::{Attrs, ValueId};
use crate::kernels::image::{Channelwise, Conv, ConvShape, OFFSET};
use crate::kernels::{self, ConvTranspose2d};
use crate::ops::body::{Body, EXACT_F32};
use crate::ops::bound;
use crate::ops::{
    Arithmetic, BRAINCHIP, Bound, Call, DeviceLayer, Example, Inputs, LayerCall, LayerOperand, Lift, LiftCx,
    LowerCx, Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError, Operator, Prepared, Quantize,
    QuantizedLayer, Schema, Version,
};
use crate::tensor::{DType, Tensor, TensorType};

/// Operands by position.
const X: usize = 0;
const W: usize = 1;
const B: usize = 2;
const FOLLOWING: Following = Following::from(3);
const LABELS: Labels = Labels { max_value: "C6", rescale: "C7", table: "C8" };

#[derive(Clone, Copy)]
pub struct QuantizedConvTranspose {
    pub depthwise: bool,
}

/// A kernel `[C, F, R, S]`, or `[C, 1, R, S]`, whose weights are read filter by filter.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    filters: usize,
    taps: usize,
}

impl Layout {
    fn of(sizes: &[usize]) -> Option<Self> {
        let &[channels, filters, rows, columns] = sizes else { return None };
        Some(Self { channels, filters, taps: rows * columns })
    }

    /// Elements as `[F, C, taps]`, axis 1 before axis 0.
    fn by_filter<T: Copy>(self, elements: &[T]) -> Vec<T> {
        let Self { channels, filters, taps } = self;
        let at = |f: usize, c: usize| elements.iter().copied().skip((c * filters + f) * taps).take(taps);
        (0..filters).flat_map(|f| (0..channels).flat_map(move |c| at(f, c))).collect()
    }

    /// The layout of what `by_filter` gives.
    fn turned(self) -> Self {
        Self { channels: self.filters, filters: self.channels, taps: self.taps }
    }
}

impl QuantizedConvTranspose {
    fn name(self) -> &'static str {
        if self.depthwise { "QuantizedDepthwise2DTranspose" } else { "QuantizedConv2DTranspose" }
    }

    fn base(self) -> Base {
        if self.depthwise { Base::Depthwise2DTranspose } else { Base::Conv2DTranspose }
    }

    /// The chain `conv_transpose2d → activation?`.
    fn chain(self, call: &Call) -> Result<Vec<Step>, OpError> {
        let group = match call.ty(W)?.shape.first() {
            Some(channels) if self.depthwise => call.known(channels)? as i64,
            _ => 1,
        };
        let attrs = Attrs::new()
            .with("strides", call.ints("strides")?.to_vec())
            .with("pads", call.ints("pads")?.to_vec())
            .with("group", group);
        let mut steps = vec![Step::new("conv_transpose2d", attrs, &[X, W, B].map(Source::Operand))];
        steps.extend(Following::steps(call, Pool::None)?);
        Ok(steps)
    }

    fn infer_integer(self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let types = chain::types(&self.chain(call)?, &integer::as_floats(call, 3))?;
        let storage = call.ty(X)?.storage();
        call.require("C1", storage == DType::I8, || format!("x is not stored as {storage}"))?;
        let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
        integer::expect(call, "C5", W, DType::I8, &[&sizes])?;
        let shape = types.last().map(|ty| ty.shape.clone()).unwrap_or_default();
        let filters = match shape.get(1) {
            Some(filters) => call.known(filters)?,
            None => 1,
        };
        if call.opt_ty(B).is_some() {
            integer::expect(call, "C5", B, DType::I32, &[&[filters]])?;
        }
        FOLLOWING.expect(call, filters, &LABELS)?;
        Ok(vec![TensorType::new(DType::I8, shape)])
    }

    /// What is proven of the sums of one layer.
    fn proof(self, sizes: &[usize], weights: &[i8], bias: Option<&[i32]>) -> Bound {
        let layout = Layout::of(sizes).unwrap_or(Layout { channels: 0, filters: 0, taps: 0 });
        // Of a depthwise kernel each channel is a filter.
        let (filters, by_filter) = match self.depthwise {
            true => (layout.channels, weights.to_vec()),
            false => (layout.filters, layout.by_filter(weights)),
        };
        let byte = bound::largest_magnitude(DType::I8);
        let sum = |weights: &[i8], bias| bound::accumulator_bound(weights, filters, bias, |_| byte);
        let nibbles = [|w: i8| w / 16, |w: i8| w % 16].map(|nibble| {
            let part: Vec<i8> = by_filter.iter().map(|&w| nibble(w)).collect();
            sum(&part, None)
        });
        let accumulator = sum(&by_filter, bias);
        Bound { accumulator, nibbles: nibbles[0].max(nibbles[1]), ..Bound::default() }
    }

    fn sum<S: Sum>(self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let (x, w) = (inputs.get(X)?, inputs.get(W)?);
        let (&[batch, channels, height, width], &[_, each, rows, columns]) = (x.sizes(), w.sizes()) else {
            return Err(call.unsupported("another rank than 4"));
        };
        let filters = if self.depthwise { channels } else { each };
        let conv = ConvTranspose2d {
            batch,
            channels,
            height,
            width,
            filters,
            kernel: [rows, columns],
            strides: call.sizes("strides", 1)?,
            dilations: [1, 1],
            pads: call.sizes("pads", 0)?,
            output_padding: [0, 0],
            group: if self.depthwise { channels } else { 1 },
        };
        let bias: Option<Vec<S>> =
            inputs.opt_elements::<i32>(B)?.map(|bias| bias.iter().map(|&b| S::wrap(b.into())).collect());
        let acc = kernels::conv_transpose2d_integer::<i8, S>(
            &conv,
            inputs.elements(X)?,
            inputs.elements(W)?,
            bias.as_deref(),
        );
        let acc = call.kernel(acc)?;
        // The kernel ran, so there is a size.
        let [rows, columns] = conv.out_size().unwrap_or_default();
        let tail = FOLLOWING.tail(inputs, "C9", Pool::None, arithmetic)?;
        integer::finish(call, acc, vec![batch, filters, rows, columns], &tail)
    }

    /// As a convolution of the stretched image by the turned kernel. `None` where sums may leave 32 bits, or more
    /// is cut off than a window reaches out.
    fn made_ready(self, constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        let call = &constants.call;
        let (weights, bias) = (constants.elements::<i8>(W).ok()?, constants.opt_elements::<i32>(B).ok()?);
        let sizes = constants.get(W).ok()?.sizes();
        let &[channels, each, rows, columns] = sizes else { return None };
        if !bound::fits_i32(self.proof(sizes, weights, bias).accumulator) {
            return None;
        }
        let filters = if self.depthwise { channels } else { each };
        let cut: [usize; 4] = call.sizes("pads", 0).ok()?;
        let kernel = [rows, columns];
        let mut pads = [0; 4];
        for (side, pad) in pads.iter_mut().enumerate() {
            *pad = kernel[side % 2].checked_sub(1)?.checked_sub(cut[side])?;
        }
        let by_filter = if self.depthwise { weights.to_vec() } else { Layout::of(sizes)?.by_filter(weights) };
        let turned: Vec<i8> =
            by_filter.chunks_exact(rows * columns).flat_map(|taps| taps.iter().rev().copied()).collect();
        let tail = FOLLOWING.tail(constants, "C9", Pool::None, arithmetic).ok()?.of_images(filters)?;
        let strides = [1, 1];
        let kernel = if self.depthwise {
            let layer = Channelwise::depthwise(filters, kernel, strides, pads, OFFSET, &turned, bias, tail);
            prepared::Kernel::Channelwise(layer.ok()?)
        } else {
            let shape = ConvShape { filters, channels, kernel, strides, pads };
            prepared::Kernel::Conv(Conv::new(shape, OFFSET, &turned, bias, None, tail).ok()?)
        };
        let apart = call.sizes("strides", 1).ok()?;
        Some(Box::new(PreparedLayer { apart, kernel, pool: None, rank: 4 }))
    }

    /// hardware-ops §5.2 to §5.5.
    fn parameters(self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        let call = &layer.call;
        let grid = layer.grid(X)?;
        if grid.storage != DType::I8 {
            return Err(OpError::Unsupported {
                op: call.op(),
                what: format!("{} input", grid.storage),
                way_out: Some("quantize the input of the network as int8 (--input-dtype int8)".to_owned()),
            });
        }
        let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
        let (Some(weights), Some(layout)) = (layer.constant(W)?, Layout::of(&sizes)) else {
            return Err(call.unsupported("a kernel whose sizes are not known"));
        };
        // One scale for each index of axis 1: of a depthwise kernel, one for all of it.
        let Kernel { integers, scales, mut why } = params::kernel(
            call,
            &layout.by_filter(weights),
            layout.filters,
            grid,
            Met::Channels { taps: layout.taps },
        )?;
        let integers = layout.turned().by_filter(&integers);
        let bias = match layer.constant(B)? {
            Some(bias) => {
                let reals: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
                let each: Vec<f64> = (0..reals.len()).filter_map(|f| params::per_index(&scales, f)).collect();
                let integers = params::coarse(call, "bias", reals.iter().copied(), &each, true)?;
                why.push(params::bias_why(&reals, &integers, false));
                params::constant("B", &[reals.len()], integers)
            }
            None => LayerOperand::Absent,
        };
        let Quantized { operands, grid, why: following } = following::quantize(layer, &scales, None)?;
        why.extend(following);
        let constants = [LayerOperand::Keep(X), params::constant("Wi", &sizes, integers), bias];
        let operands = constants.into_iter().chain(operands).collect();
        Ok(QuantizedLayer { operands, attrs: following::integer_attrs(call)?, grid, why })
    }

    /// What of a layer the device's tools do not take.
    fn limits(self, cx: &LowerCx, bias: Option<&[i32]>) -> Result<Vec<Limit>, OpError> {
        let call = cx.call;
        let mut found: Vec<Limit> = limits::bias(bias).into_iter().chain(FOLLOWING.limits(cx)).collect();
        let sizes = call.ty(W)?.shape.sizes().unwrap_or_default();
        let &[_, _, rows, columns] = &sizes[..] else { return Ok(found) };
        let (kernel, strides) = ([rows, columns], call.sizes::<2>("strides", 1)?);
        found.extend(limits::square("kernel", kernel));
        if strides != [2, 2] {
            found.push(Limit::TransposeStride { found: Size(strides) });
            return Ok(found);
        }
        let over = |size: usize| size.saturating_sub(2);
        let [begin, end] = [|size: usize| size / 2, |size: usize| size.div_ceil(2)];
        let expected = [begin(over(rows)), begin(over(columns)), end(over(rows)), end(over(columns))];
        let pads = call.sizes::<4>("pads", 0)?;
        if pads != expected {
            found.push(Limit::TransposePads { found: pads, kernel: Size(kernel), expected });
        }
        Ok(found)
    }

    fn lift(self, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
        let mut node = Parameters::of(cx)?;
        let op_type = node.op_type;
        let mut attrs = Attrs::new().with("activation", op_type.activation.name());
        for name in ["strides", "pads"] {
            if let Some(ints) = node.cx.opt_ints(name)? {
                attrs.set(name, ints);
            }
        }
        let (x, w) = (node.take()?, node.take()?);
        let b = node.take_if(op_type.biased)?;
        let following = following::lift(&mut node)?;
        if let Some(groups) = node.cx.opt_int("groups")? {
            let channels = w.and_then(|w| node.cx.builder.graph.ty(w).shape.first()?.fixed());
            if channels.is_none_or(|channels| i64::try_from(channels) != Ok(groups)) {
                return Err(node.cx.invalid(format!("groups is {groups}, each channel must be one")));
            }
        }
        let operands = [x, w, b].into_iter().chain(following).collect();
        node.layer(self.name(), attrs, operands, DType::I8)
    }
}

/// The body: convolve, activation, rescale. Onnxruntime has transposed convolutions of float32 alone, so where
/// sums may pass what it adds exactly there is one for the high and one for the low half of the weights.
fn function(name: &str, bound: Bound) -> Result<OnnxFunction, OpError> {
    let fail = |what: String| OpError::Unsupported { op: name.to_owned(), what, way_out: None };
    let op_type: OpType = name.parse().map_err(|()| fail("this name".to_owned()))?;
    body::check(name, bound)?;
    let whole = bound.accumulator <= EXACT_F32;
    if !whole && bound.nibbles > EXACT_F32 {
        return Err(fail(format!("sums of up to {} with half of the bits of its weights", bound.nibbles)));
    }
    let mut inputs = vec!["X", "W"];
    if op_type.biased {
        inputs.push("bias");
    }
    inputs.extend(following::function_inputs(&op_type));

    let mut body = Body::default();
    let x = body.cast("X", DType::F32);
    let w = body.cast("W", DType::F32);
    let (y, storage) = if whole {
        let bias = op_type.biased.then(|| body.cast("bias", DType::F32));
        (transposed(&mut body, &op_type, &x, &w, bias.as_deref()), DType::F32)
    } else {
        let base = body.scalar(16f32);
        // Both halves have the sign of the weight, so neither is larger than it is.
        let low = body.op_with("Mod", &[&w, &base], vec![("fmod", OnnxAttr::Int(1))]);
        let rest = body.op("Sub", &[&w, &low]);
        let high = body.op("Div", &[&rest, &base]);
        let [low, high] = [low, high].map(|half| {
            let sum = transposed(&mut body, &op_type, &x, &half, None);
            body.cast(&sum, DType::F64)
        });
        let base = body.scalar(16f64);
        let high = body.op("Mul", &[&high, &base]);
        let mut y = body.op("Add", &[&high, &low]);
        if op_type.biased {
            let bias = body.cast("bias", DType::F64);
            let axes = body.vector(vec![1i64, 2]);
            let bias = body.op("Unsqueeze", &[&bias, &axes]);
            y = body.op("Add", &[&y, &bias]);
        }
        (y, DType::F64)
    };
    following::finish_body(&mut body, &op_type, y, storage);
    Ok(body.function(name, inputs, "Y"))
}

fn transposed(body: &mut Body, op_type: &OpType, x: &str, w: &str, bias: Option<&str>) -> String {
    let mut attrs = vec![("strides", body.ints_of_node("strides")), ("pads", body.ints_of_node("pads"))];
    if op_type.base == Base::Depthwise2DTranspose {
        attrs.push(("group", body.int_of_node("groups")));
    }
    let inputs: Vec<&str> = [x, w].into_iter().chain(bias).collect();
    body.op_with("ConvTranspose", &inputs, attrs)
}

impl DeviceLayer for QuantizedConvTranspose {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        (*self).chain(call)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        self.parameters(layer)
    }
}

impl Operator for QuantizedConvTranspose {
    fn schema(&self) -> Schema {
        let doc = if self.depthwise { DEPTHWISE_DOC } else { CONV_DOC };
        let schema = Schema::new(self.name(), doc).operand("x").operand("w").optional("b");
        Following::of_schema(schema)
            .attr("strides", vec![1, 1])
            .attr("pads", vec![0, 0, 0, 0])
            .rounding()
            .layer()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        FOLLOWING.check_attrs(call, "C2", "C3")?;
        if self.depthwise {
            let (x, w) = (&call.ty(X)?.shape, &call.ty(W)?.shape);
            let own = w.first() == x.get(1) && w.get(1).is_some_and(|depth| depth.fixed() == Some(1));
            call.require("C10", own, || {
                format!("w has one filter of depth 1 per channel of {x}, found {w}")
            })?;
        }
        match Form::of(call)? {
            Form::Float => {
                FOLLOWING.expect_absent(call, "C4")?;
                let types = chain::types(&(*self).chain(call)?, call.operands)?;
                Ok(types.into_iter().next_back().into_iter().collect())
            }
            Form::Integer => self.infer_integer(call),
        }
    }

    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        if Form::of(&inputs.call)? == Form::Float {
            return chain::eval(&(*self).chain(&inputs.call)?, inputs);
        }
        let w = inputs.get(W)?;
        let bound = self.proof(w.sizes(), inputs.elements(W)?, inputs.opt_elements(B)?);
        if bound::fits_i32(bound.accumulator) {
            self.sum::<i32>(inputs, arithmetic)
        } else {
            // 2^64 bytes of weights would be needed to pass 64 bits.
            self.sum::<i64>(inputs, arithmetic)
        }
    }

    fn prepare(&self, constants: &Inputs, arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        self.made_ready(constants, arithmetic)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(*self))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let call = cx.call;
        expect_integer_form(&call)?;
        let constant = |position: usize| cx.constants.get(position).copied().flatten();
        let bias = constant(B).and_then(Tensor::elements::<i32>);
        let weights = constant(W).and_then(|w| Some((w.sizes(), w.elements::<i8>()?)));
        let Some((sizes, weights)) = weights else {
            return Err(call.unsupported("a kernel that is not constant"));
        };
        if bias.is_none() && call.opt_ty(B).is_some() {
            return Err(call.unsupported("a bias that is not constant"));
        }
        let bound = self.proof(sizes, weights, bias);
        let op_type = OpType {
            base: self.base(),
            flatten: false,
            biased: bias.is_some(),
            pool: Pool::None,
            activation: activation(&call)?,
            scaled: true,
        };
        let name = op_type.to_string();
        function(&name, bound)?;
        let limits = self.limits(cx, bias)?;
        let inputs = cx.operand_names.iter().take(B + 1).cloned();
        let inputs = inputs.chain(FOLLOWING.file_order(cx.operand_names));
        let mut node = OnnxNode {
            domain: BRAINCHIP.to_owned(),
            inputs: inputs.filter(|name| !name.is_empty()).collect(),
            ..cx.node(&name, Vec::new())
        };
        for attr in ["strides", "pads"] {
            node = node.attr(attr, OnnxAttr::Ints(call.ints(attr)?.to_vec()));
        }
        if self.depthwise {
            let groups = sizes.first().copied().unwrap_or_default();
            node = node.attr("groups", OnnxAttr::Int(groups as i64));
        }
        Ok(Lowered::Layer { node: with_scale(node, cx), bound, limits, function: Arc::new(function) })
    }

    fn lifts(&self) -> Vec<Lift> {
        let attrs: &[&str] = match self.depthwise {
            true => &["scale", "strides", "pads", "groups"],
            false => &["scale", "strides", "pads"],
        };
        let this = *self;
        let read = move |cx: &mut LiftCx| this.lift(cx);
        OpType::all(self.base())
            .map(|name| Lift::hardware(name.to_string(), Version::ANY, attrs, read))
            .collect()
    }

    fn macs(&self, call: &Call) -> u64 {
        let map = call.opt_ty(X).map(|x| x.shape.iter().skip(2).filter_map(|dim| dim.fixed()));
        let weights = call.opt_ty(W).and_then(|w| w.shape.elements());
        map.zip(weights).map_or(0, |(map, weights)| {
            map.chain([weights]).fold(1u64, |macs, size| macs.saturating_mul(size as u64))
        })
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
        let filters = if self.depthwise { 1 } else { 2 };
        let doubled = || Attrs::new().with("strides", vec![2, 2]).with("pads", vec![0, 0, 1, 1]);
        let multipliers = || Tensor::new(&[1, 2, 1, 1], vec![131u8, 200]);
        let divisors = |s: f32| Tensor::new(&[1, 2, 1, 1], vec![s, 2.0 * s]);
        let kernel = || bytes(&[2, filters, 3, 3]);
        vec![
            Example {
                attrs: doubled().with("activation", "LeakyRelu").with("alpha", 0.25f32),
                operands: vec![map(&[1, 2, 3, 3]), map(&[2, filters, 3, 3]), map(&[2])],
            },
            Example {
                attrs: doubled().with("activation", "ReLUClipped"),
                operands: vec![
                    bytes(&[1, 2, 3, 2]),
                    kernel(),
                    Tensor::new(&[2], vec![1000i32, -70]),
                    Tensor::new(&[1, 2, 1, 1], vec![12_000i32, 9_000]),
                    multipliers(),
                    divisors(32_768.0),
                ],
            },
            Example {
                attrs: doubled().with("activation", "LUT"),
                operands: vec![
                    bytes(&[1, 2, 2, 3]),
                    kernel(),
                    None,
                    None,
                    multipliers(),
                    divisors(32_768.0),
                    multipliers(),
                    divisors(4096.0),
                    Tensor::new(&[2048], (0..2048).map(|i| (i * 37 % 16_384) - 8192).collect::<Vec<i32>>()),
                ],
            },
        ]
    }
}

macro_rules! doc {
    ($what:literal, $weights:literal, $more:literal) => {
        concat!(
            $what,
            " In the float form the chain `conv_transpose2d → activation?` of x, w ",
            $weights,
            " and b `[F]`, with `strides`, `pads` (top, left, bottom, right, cut off from the result) and the \
             activation `activation`: none, ReLU, ReLUClipped with the ceiling `max_value`, or a function that the \
             operator `activation` has, with its `alpha`, `beta` and `gamma`; `activation_max` is then the largest \
             magnitude that calibration saw of what the function reads. In the integer form, in exact integers: \
             transposed convolution, b added; `max(acc, 0)` and `min(acc, max_value[f])`, or with LUT \
             `acc = lut[floor(acc * m_act[f] / s_act[f] + 1/2)]`, the index saturated to 11 bits with sign and \
             counted from the end where it is negative; then `floor(acc * m[f] / s_out[f] + 1/2)` saturated to \
             int8.\n\n\
             * C1: x is plain f32 or f64 (float form), or stored as i8 (integer form).\n\
             * C2: `activation` has one of the values above; a function is named in the float form, and is LUT in \
             the integer form.\n\
             * C3: the attribute `max_value` is there exactly in the float form with ReLUClipped, parameters of a \
             function and `activation_max` are 0 where there is none that has them.\n\
             * C4: max_value, m, s_out, m_act, s_act and lut are absent in the float form.\n\
             * C5: in the integer form w is i8 and b is i32.\n\
             * C6: in the integer form max_value, i32 `[1, F, 1, 1]` or `[1, 1, 1, 1]`, is there exactly with \
             ReLUClipped.\n\
             * C7: in the integer form m is u8 and s_out f32, both `[1, F, 1, 1]` or `[1, 1, 1, 1]`.\n\
             * C8: in the integer form m_act, u8, and s_act, f32, both `[1, F, 1, 1]` or `[1, 1, 1, 1]`, and lut, \
             i32 `[2048]`, are there exactly with LUT.\n\
             * C9: the elements of s_out and s_act are powers of two (checked when it runs).",
            $more,
            "\n\n\
             Shapes are as the operators of the chain want them."
        )
    };
}

const CONV_DOC: &str = doc!("A transposed convolution with what runs after it.", "`[C, F, R, S]`", "");
const DEPTHWISE_DOC: &str = doc!(
    "A depthwise transposed convolution, one filter for each channel (F = C), with what runs after it.",
    "`[C, 1, R, S]`",
    "\n* C10: w has one filter of depth 1 for each channel of x."
);
