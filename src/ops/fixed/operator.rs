//! QuantizeML's layers as operators: what they have in common.
//!
//! A layer has two forms, told apart by the grid of its first operand. The float form means a chain of standard
//! operators. The integer form computes with fixed-point numbers; the grid of its result follows from the grids of
//! its operands and its attributes, so a shift that cannot be is found before anything runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::body::{FixedBody, Integers};
use super::{
    Constant, Context, Floats, LayerConfig, LayerError, Layered, Output, OutputConfig, Parameter, Release,
    typed,
};
use crate::ir::{AttrKind, Attrs};
use crate::ops::body::Body;
use crate::ops::layer::{self, Step};
use crate::ops::{
    Arithmetic, Bound, Call, Example, Inputs, Lift, LowerCx, Lowered, OnnxFunction, OnnxNode, OpError,
    Operator, Presence, Quantize, Schema,
};
use crate::tensor::fixed::{Padding, PerChannel, QTensor};
use crate::tensor::{DType, FixedGrid, Grid, Shape, Tensor, TensorType};

/// The domain of the functions that layers are in ONNX files.
const DOMAIN: &str = "qirc.fixed_point";
const DOMAIN_VERSION: i64 = 1;

/// How the axes of an operand lie in the IR and in the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Same,
    /// `[N, C, H, W]`, in the layers `[N, H, W, C]`.
    Map,
    /// The same for four axes; fewer have the channels last in both.
    Channels,
    /// `[out, in, h, w]`, in the layers `[h, w, in, out]`.
    Kernel,
    /// `[channels, 1, h, w]`, in the layers `[h, w, channels, 1]`.
    Depthwise,
    /// `[in, out, h, w]`, in the layers `[h, w, out, in]` as floats and `[h, w, in, out]` as integers.
    Transposed,
}

impl Layout {
    /// The axis of the IR that each axis in a layer is.
    fn perm(self, form: Form, rank: usize) -> Option<&'static [usize]> {
        match (self, form) {
            (Layout::Same, _) => None,
            (Layout::Channels, _) if rank != 4 => None,
            (Layout::Map | Layout::Channels, _) => Some(&[0, 2, 3, 1]),
            (Layout::Kernel, _) | (Layout::Transposed, Form::Float) => Some(&[2, 3, 1, 0]),
            (Layout::Depthwise, _) | (Layout::Transposed, Form::Integer) => Some(&[2, 3, 0, 1]),
        }
    }

    /// [`Layout::perm`] of a tensor of integers.
    pub fn of_integers(self, rank: usize) -> Option<&'static [usize]> {
        self.perm(Form::Integer, rank)
    }
}

/// What an operand is to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A tensor that is computed.
    Value,
    /// A constant, which a quantized layer records under this name.
    Parameter(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub name: &'static str,
    pub presence: Presence,
    pub role: Role,
    pub layout: Layout,
}

impl Operand {
    pub const fn value(name: &'static str) -> Self {
        Self { name, presence: Presence::Required, role: Role::Value, layout: Layout::Same }
    }

    /// A tensor of any shape whose channels may have grids of their own.
    pub const fn channels(name: &'static str) -> Self {
        Self { layout: Layout::Channels, ..Self::value(name) }
    }

    pub const fn map(name: &'static str) -> Self {
        Self { layout: Layout::Map, ..Self::value(name) }
    }

    pub const fn parameter(name: &'static str, recorded: &'static str, layout: Layout) -> Self {
        Self { name, presence: Presence::Required, role: Role::Parameter(recorded), layout }
    }

    pub const fn optional(name: &'static str, recorded: &'static str) -> Self {
        let presence = Presence::Optional;
        Self { name, presence, role: Role::Parameter(recorded), layout: Layout::Same }
    }
}

/// What is the same for every node of a layer.
pub(super) struct Facts {
    pub name: &'static str,
    /// Markdown: what the float form computes.
    pub doc: &'static str,
    /// Constraints from `C3` on, one a line.
    pub constraints: &'static str,
    pub operands: &'static [Operand],
    /// How the result lies.
    pub result: Layout,
    /// Whether it computes in a buffer whose bits are configured.
    pub buffer: bool,
    pub placement: Placement,
}

impl Facts {
    fn written(&self, output: &QTensor) -> (Tensor, FixedGrid) {
        typed::written(output, self.result.perm(Form::Integer, output.fixed().sizes().len()))
    }
}

/// How a layer stands towards output quantizers (quantizers §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its operands have to come out of an output quantizer.
    pub aligned: bool,
    /// It can have one.
    pub output: bool,
    /// The axis of its second operand, a kernel, that the channels of its first are.
    pub kernel_channels: Option<usize>,
}

pub(super) trait Layer: Send + Sync {
    fn facts(&self) -> Facts;

    /// Adds the attributes.
    fn attrs(&self, schema: Schema) -> Schema;

    /// The standard operators that the float form stands for.
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError>;

    /// The shape of the result; parameters may be as either form has them.
    fn shape(&self, call: &Call) -> Result<Shape, OpError> {
        let floats = as_floats(call.operands);
        shape_of(&self.chain(&Call { operands: &floats, ..*call })?, &floats)
    }

    /// The integer form, from operands in the layout of the layers.
    fn apply(&self, at: &Application) -> Result<Layered, OpError>;

    /// Attributes of the integer form that come from parts of the configuration which only this layer has.
    fn own_bits(&self, _: &LayerConfig) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    /// The inverse.
    fn configure(&self, _: &Call, config: LayerConfig) -> Result<LayerConfig, OpError> {
        Ok(config)
    }

    /// The integer form in standard operators.
    fn emit(&self, at: &mut FixedBody) -> Result<Integers, OpError>;

    fn macs(&self, call: &Call) -> u64;

    fn examples(&self) -> Vec<Example>;
}

/// One run of the integer form.
pub(super) struct Application<'a> {
    pub call: &'a Call<'a>,
    pub context: Context<'a>,
    operands: &'a [Option<Given>],
}

/// An operand in the layout of the layers.
enum Given {
    Quantized(QTensor),
    Float(Vec<usize>, Vec<f32>),
}

impl Given {
    fn parameter(&self) -> Parameter<'_> {
        match self {
            Given::Quantized(tensor) => tensor.into(),
            Given::Float(sizes, values) => Floats { sizes, values }.into(),
        }
    }
}

impl Application<'_> {
    /// An operand that is computed.
    pub fn value(&self, position: usize) -> Result<&QTensor, OpError> {
        match self.operands.get(position) {
            Some(Some(Given::Quantized(tensor))) => Ok(tensor),
            _ => Err(self.missing(position)),
        }
    }

    pub fn parameter(&self, position: usize) -> Result<Parameter<'_>, OpError> {
        self.optional(position).ok_or_else(|| self.missing(position))
    }

    pub fn optional(&self, position: usize) -> Option<Parameter<'_>> {
        self.operands.get(position)?.as_ref().map(Given::parameter)
    }

    fn missing(&self, position: usize) -> OpError {
        OpError::MissingOperand { op: self.call.op(), operand: self.call.schema.operand_name(position) }
    }

    /// What a layer gave.
    pub fn done(&self, found: super::Result<Layered>) -> Result<Layered, OpError> {
        found.map_err(|error| refused(self.call, error))
    }
}

pub(super) fn refused(call: &Call, error: impl Into<LayerError>) -> OpError {
    OpError::FixedPoint { op: call.op(), error: error.into() }
}

/// The two forms of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Float,
    Integer,
}

impl Form {
    fn of(call: &Call) -> Result<Self, OpError> {
        Ok(if call.ty(0)?.grid.fixed().is_some() { Form::Integer } else { Form::Float })
    }
}

/// A layer of the float form with all that its integers depend on.
pub struct FixedCall<'a> {
    /// With the types of the float form.
    pub call: Call<'a>,
    /// The tensor of every constant operand.
    pub constants: &'a [Option<&'a Tensor>],
    /// The grid of every operand that is quantized; a constant with one stays as it is.
    pub grids: &'a [Option<&'a FixedGrid>],
    pub config: &'a LayerConfig,
    /// Largest magnitudes of the result, one or one for each channel.
    pub range_max: Option<&'a PerChannel<f32>>,
    /// What equalization multiplied them by.
    pub rescaling_rate: Option<&'a PerChannel<f32>>,
}

/// What becomes of one operand slot of a layer.
pub enum FixedOperand {
    /// The (now quantized) operand at this position of the float form.
    Keep(usize),
    Absent,
    /// A new constant, called `<node name>_<suffix>`.
    Constant {
        suffix: Cow<'static, str>,
        tensor: Tensor,
        grid: FixedGrid,
    },
}

/// The integer form of a layer.
pub struct FixedForm {
    pub operands: Vec<FixedOperand>,
    pub attrs: Attrs,
    /// Grid of the result.
    pub grid: FixedGrid,
    /// The constants and shifts, by QuantizeML's names.
    pub recorded: BTreeMap<&'static str, Constant>,
}

/// The faces of a layer of which the scheme `fixed-point` makes integers.
pub trait FixedPointLayer {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError>;

    /// The parameter computation.
    fn quantize(&self, layer: &FixedCall) -> Result<FixedForm, OpError>;

    fn placement(&self) -> Placement;

    /// What the attributes of an integer form say of its configuration.
    fn configuration(&self, call: &Call) -> Result<LayerConfig, OpError>;

    /// What each operand is recorded as that is a constant.
    fn parameters(&self) -> Vec<Option<&'static str>>;

    /// The axis of the result that its channels are.
    fn channels(&self, rank: usize) -> usize;
}

/// A [`Layer`] as an operator.
pub(super) struct LayerOp<L>(pub L);

pub(super) const BUFFER: &str = "buffer_bitwidth";
pub(super) const VALUE_BITS: &str = "value_bits";
pub(super) const FRAC_BITS: &str = "frac_bits";
pub(super) const PRODUCT: &str = "product_bits";
const QSCALES: &str = "qscales";

/// An attribute that is a number of bits.
pub(super) fn bits(call: &Call, name: &str) -> Result<Option<u32>, OpError> {
    let Some(found) = call.attrs.get_int(name) else { return Ok(None) };
    match u32::try_from(found) {
        Ok(bits) if (1..=64).contains(&bits) => Ok(Some(bits)),
        _ => Err(call.broken("C1", format!("`{name}` is from 1 to 64, found {found}"))),
    }
}

impl<L: Layer> LayerOp<L> {
    /// The position of the integers that stand for the scales.
    fn qscales(facts: &Facts) -> usize {
        facts.operands.len()
    }

    /// What the attributes of an integer form say, as a configuration.
    fn config(&self, call: &Call, facts: &Facts) -> Result<LayerConfig, OpError> {
        let output_quantizer = match bits(call, VALUE_BITS)? {
            Some(value_bits) => Some(OutputConfig {
                bitwidth: value_bits + 1,
                signed: true,
                axis: super::OutputAxis::default(),
                scale_bits: match call.opt_ty(Self::qscales(facts)).map(|ty| &ty.grid) {
                    Some(Grid::Fixed(grid)) => Some(grid.value_bits),
                    _ => None,
                },
                buffer_bitwidth: bits(call, PRODUCT)?,
            }),
            None => None,
        };
        let buffer_bitwidth = if facts.buffer { bits(call, BUFFER)? } else { None };
        self.0.configure(call, LayerConfig { output_quantizer, buffer_bitwidth, ..LayerConfig::default() })
    }

    /// The integer form of the layer on tensors of the IR.
    fn run(&self, call: &Call, tensors: &[Option<Tensor>]) -> Result<(Tensor, FixedGrid), OpError> {
        let facts = self.0.facts();
        let mut operands = Vec::new();
        for (position, operand) in facts.operands.iter().enumerate() {
            let tensor = tensors.get(position).and_then(Option::as_ref);
            let given = match (tensor, call.opt_ty(position).map(|ty| &ty.grid)) {
                (Some(tensor), Some(Grid::Fixed(grid))) => {
                    let perm = operand.layout.perm(Form::Integer, tensor.sizes().len());
                    let read = typed::read(tensor, grid, perm).map_err(|error| refused(call, error))?;
                    Some(Given::Quantized(read))
                }
                (None, _) => None,
                (Some(_), _) => {
                    let found = call.ty(position)?.storage();
                    return Err(call.broken("C2", format!("{} is plain {found}", operand.name)));
                }
            };
            operands.push(given);
        }
        let at = Self::qscales(&facts);
        let qscales = match (tensors.get(at).and_then(Option::as_ref), call.opt_ty(at).map(|ty| &ty.grid)) {
            (Some(tensor), Some(Grid::Fixed(grid))) => {
                Some(typed::read(tensor, grid, None).map_err(|error| refused(call, error))?)
            }
            _ => None,
        };
        let config = self.config(call, &facts)?;
        let frac_bits = match call.attrs.get_ints(FRAC_BITS) {
            None | Some([]) => PerChannel::tensor(0),
            Some(bits) => {
                let narrow: Vec<i32> = bits.iter().filter_map(|&bits| i32::try_from(bits).ok()).collect();
                call.require("C1", narrow.len() == bits.len(), || format!("`{FRAC_BITS}` is {bits:?}"))?;
                match narrow[..] {
                    [one] => PerChannel::tensor(one),
                    _ => PerChannel::last(narrow),
                }
            }
        };
        let qscales = qscales.as_ref().map(QTensor::fixed);
        let output = Output::Given { qscales, frac_bits: &frac_bits };
        let context = Context { config: &config, output, release: Release::default() };
        let layered = self.0.apply(&Application { call, context, operands: &operands })?;
        Ok(facts.written(&layered.output))
    }

    /// A call of a function whose body is this node's.
    fn lower_integer(&self, cx: &LowerCx) -> Result<Lowered, OpError> {
        let facts = self.0.facts();
        let mut body = FixedBody::new(&cx.call, facts.operands);
        let y = self.0.emit(&mut body)?;
        let storage = FixedGrid::storage_of(y.value_bits);
        let mut body = body.body;
        body.cast(&y.name, storage);
        let (node, function) = called(cx, body, &format!("Quantized{}", facts.name));
        let function = Arc::new(move |_: &str, _: Bound| Ok(function.clone()));
        Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function })
    }

    fn infer_integer(&self, call: &Call) -> Result<TensorType, OpError> {
        let shape = self.0.shape(call)?;
        let facts = self.0.facts();
        let mut zeros = Vec::new();
        for (position, ty) in call.operands.iter().enumerate() {
            let Some(ty) = ty else {
                zeros.push(None);
                continue;
            };
            let is_value = facts.operands.get(position).is_some_and(|operand| operand.role == Role::Value);
            zeros.push(Some(zeros_of(call, ty, is_value)?));
        }
        let (_, grid) = self.run(call, &zeros)?;
        Ok(TensorType { shape, grid: Grid::Fixed(grid) })
    }

    fn quantized(&self, layer: &FixedCall) -> Result<FixedForm, OpError> {
        let (call, facts) = (&layer.call, self.0.facts());
        let mut operands = Vec::new();
        for (position, operand) in facts.operands.iter().enumerate() {
            let constant = layer.constants.get(position).copied().flatten();
            let grid = layer.grids.get(position).copied().flatten();
            let given = match (operand.role, call.opt_ty(position), constant.zip(grid)) {
                (_, None, _) => None,
                (Role::Parameter(_), Some(ty), Some((constant, grid))) => {
                    let perm = operand.layout.perm(Form::Integer, ty.shape.rank());
                    let read = typed::read(constant, grid, perm);
                    Some(Given::Quantized(read.map_err(|error| refused(call, error))?))
                }
                (Role::Value, Some(ty), _) => {
                    let grid = grid.ok_or_else(|| call.unsupported(format!("a float {}", operand.name)))?;
                    let ty = TensorType { shape: ty.shape.clone(), grid: Grid::Fixed(grid.clone()) };
                    let empty = zeros_of(call, &ty, true)?;
                    let read = typed::read(&empty, grid, operand.layout.perm(Form::Integer, ty.shape.rank()));
                    Some(Given::Quantized(read.map_err(|error| refused(call, error))?))
                }
                (Role::Parameter(_), Some(ty), None) => {
                    let floats = constant.and_then(|tensor| {
                        typed::floats(tensor, operand.layout.perm(Form::Float, ty.shape.rank()))
                    });
                    let (sizes, values) = floats.ok_or_else(|| {
                        call.unsupported(format!(
                            "{} that is no f32 constant ({})",
                            operand.name,
                            ty.storage()
                        ))
                    })?;
                    Some(Given::Float(sizes, values))
                }
            };
            operands.push(given);
        }
        let output = Output::Calibrated { range_max: layer.range_max, rescaling_rate: layer.rescaling_rate };
        let context = Context { config: layer.config, output, release: Release::default() };
        let layered = self.0.apply(&Application { call, context, operands: &operands })?;

        let constant = |name: &'static str, layout: Layout| match layered.recorded.get(name) {
            Some(Constant::Tensor(tensor)) => {
                let (tensor, grid) =
                    typed::written(tensor, layout.perm(Form::Integer, tensor.fixed().sizes().len()));
                FixedOperand::Constant { suffix: name.into(), tensor, grid }
            }
            _ => FixedOperand::Absent,
        };
        let mut slots: Vec<FixedOperand> = facts
            .operands
            .iter()
            .enumerate()
            .map(|(position, operand)| match operand.role {
                Role::Value => FixedOperand::Keep(position),
                Role::Parameter(name) => constant(name, operand.layout),
            })
            .collect();
        if facts.placement.output {
            slots.push(constant(QSCALES, Layout::Same));
        }
        let mut attrs = call.attrs.clone();
        if let Some(output) = &layer.config.output_quantizer {
            let fixed = layered.output.fixed();
            let frac: Vec<i64> = fixed.frac_bits().entries().iter().map(|&bits| bits.into()).collect();
            attrs.set(VALUE_BITS, i64::from(fixed.value_bits()));
            attrs.set(FRAC_BITS, frac);
            attrs.set(PRODUCT, i64::from(output.buffer_bitwidth.unwrap_or(32)));
        }
        if facts.buffer {
            attrs.set(BUFFER, i64::from(layer.config.buffer_bitwidth.unwrap_or(32)));
        }
        for (name, bits) in self.0.own_bits(layer.config) {
            attrs.set(name, i64::from(bits));
        }
        let (_, grid) = facts.written(&layered.output);
        Ok(FixedForm { operands: slots, attrs, grid, recorded: layered.recorded })
    }
}

/// The call of a function, whose one result is that of the last operator of its body.
pub(super) fn called(cx: &LowerCx, mut body: Body, op_type: &str) -> (OnnxNode, OnnxFunction) {
    body.name_last("Y");
    let present = cx.operand_names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    let (inputs, names): (Vec<String>, Vec<String>) =
        present.map(|(at, name)| (FixedBody::parameter_name(at), name.clone())).unzip();
    let function = OnnxFunction {
        domain: DOMAIN.to_owned(),
        opset: DOMAIN_VERSION,
        ..body.function_of(op_type, inputs, vec!["Y".to_owned()])
    };
    (OnnxNode { domain: DOMAIN.to_owned(), ..cx.node(op_type, names) }, function)
}

/// The types with which a chain has the shapes of either form.
pub(super) fn as_floats(operands: &[Option<TensorType>]) -> Vec<Option<TensorType>> {
    let float = |ty: &Option<TensorType>| Some(TensorType::new(DType::F32, ty.as_ref()?.shape.clone()));
    operands.iter().map(float).collect()
}

/// The shape that a chain gives.
pub(super) fn shape_of(steps: &[Step], operands: &[Option<TensorType>]) -> Result<Shape, OpError> {
    let types = layer::types(steps, operands)?;
    Ok(types.into_iter().next_back().map(|ty| ty.shape).unwrap_or_default())
}

/// The attribute `pads`: top, left, bottom, right.
pub(super) fn pads(call: &Call) -> Result<Padding, OpError> {
    let [top, left, bottom, right] = call.sizes("pads", 0)?;
    Ok(Padding::Explicit([[top, bottom], [left, right]]))
}

/// A tensor for examples.
pub(super) fn example(sizes: &[usize]) -> Option<Tensor> {
    let count = sizes.iter().product::<usize>();
    Tensor::new(sizes, (0..count).map(|at| (at % 7) as f32 * 0.25 - 0.5).collect())
}

/// Parameters of one layer: beyond, they are no constants of a file.
const MOST_PARAMETERS: usize = 1 << 27;

/// Zeros of a type; of a value, an empty batch. Grids and errors are those of any other values.
fn zeros_of(call: &Call, ty: &TensorType, is_value: bool) -> Result<Tensor, OpError> {
    let mut sizes = Vec::new();
    for (axis, dim) in ty.shape.iter().enumerate() {
        sizes.push(if is_value && axis == 0 { 0 } else { call.known(dim)? });
    }
    let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    let bytes =
        count.filter(|&count| count <= MOST_PARAMETERS).map(|count| vec![0; count * ty.storage().size()]);
    let zeros = bytes.and_then(|bytes| Tensor::from_le_bytes(ty.storage(), &sizes, &bytes));
    zeros.ok_or_else(|| call.unsupported(format!("an operand of sizes {sizes:?}")))
}

/// The documentation that all layers share.
const FORMS: &str = "\n\nThe float form computes this on plain tensors, the integer form on fixed-point numbers, as \
    [QuantizeML's layer](fixed-point.md) does.";

const OUTPUT: &str = " With `value_bits` and `frac_bits`, its output quantizer multiplies by `qscales` within \
    `product_bits` value bits and brings the result to that grid.";

const CONSTRAINTS: &str = "\n\n* C1: numbers of bits are from 1 to 64; `value_bits` and `frac_bits` are given together, in the \
    integer form only.\n\
    * C2: all operands are plain and stored alike, as f32 or f64, or all are fixed-point numbers.";

impl<L: Layer + Clone + 'static> Operator for LayerOp<L> {
    fn schema(&self) -> Schema {
        let facts = self.0.facts();
        let mut schema = Schema::new(facts.name, "").rounding();
        let mut doc = facts.doc.to_owned();
        let numbers =
            [(facts.buffer, " It has a buffer of `buffer_bitwidth` bits."), (facts.placement.output, OUTPUT)];
        doc.push_str(FORMS);
        numbers.iter().filter(|(has, _)| *has).for_each(|(_, words)| doc.push_str(words));
        doc.push_str(CONSTRAINTS);
        if !facts.constraints.is_empty() {
            doc.push('\n');
            doc.push_str(facts.constraints);
        }
        schema.doc = doc.into();
        for operand in facts.operands {
            schema = match operand.presence {
                Presence::Optional => schema.optional(operand.name),
                _ => schema.operand(operand.name),
            };
        }
        schema = self.0.attrs(schema);
        if facts.placement.output {
            schema = schema.optional(QSCALES);
            schema = schema.optional_attr(VALUE_BITS, AttrKind::Int).optional_attr(FRAC_BITS, AttrKind::Ints);
            schema = schema.attr(PRODUCT, 32i64);
        }
        if facts.buffer { schema.attr(BUFFER, 32i64) } else { schema }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let given = |name: &str| call.attrs.get(name).is_some();
        let form = Form::of(call)?;
        let output = (given(VALUE_BITS), given(FRAC_BITS));
        call.require("C1", output.0 == output.1 && (form == Form::Integer || !output.0), || {
            format!("`{VALUE_BITS}` and `{FRAC_BITS}` are given together, in the integer form")
        })?;
        match form {
            Form::Integer => Ok(vec![self.infer_integer(call)?]),
            Form::Float => {
                let storage = call.same_plain("C2", &[DType::F32, DType::F64])?;
                Ok(vec![TensorType::new(storage, self.0.shape(call)?)])
            }
        }
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        match Form::of(&inputs.call)? {
            Form::Float => layer::eval(&self.0.chain(&inputs.call)?, inputs),
            Form::Integer => Ok(vec![self.run(&inputs.call, inputs.tensors)?.0]),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::FixedPoint(Box::new(Self(self.0.clone())))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        match Form::of(&cx.call)? {
            Form::Float => layer::lower(&self.0.chain(&cx.call)?, cx),
            Form::Integer => self.lower_integer(cx),
        }
    }

    fn lifts(&self) -> Vec<Lift> {
        Vec::new()
    }

    fn macs(&self, call: &Call) -> u64 {
        self.0.macs(call)
    }

    fn examples(&self) -> Vec<Example> {
        self.0.examples()
    }
}

impl<L: Layer> FixedPointLayer for LayerOp<L> {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        self.0.chain(call)
    }

    fn quantize(&self, layer: &FixedCall) -> Result<FixedForm, OpError> {
        self.quantized(layer)
    }

    fn placement(&self) -> Placement {
        self.0.facts().placement
    }

    fn configuration(&self, call: &Call) -> Result<LayerConfig, OpError> {
        self.config(call, &self.0.facts())
    }

    fn parameters(&self) -> Vec<Option<&'static str>> {
        let operands = self.0.facts().operands.iter();
        let recorded = operands.map(|operand| match operand.role {
            Role::Value => None,
            Role::Parameter(name) => Some(name),
        });
        recorded.collect()
    }

    fn channels(&self, rank: usize) -> usize {
        match self.0.facts().result.perm(Form::Integer, rank) {
            None => rank.saturating_sub(1),
            Some(_) => 1,
        }
    }
}
