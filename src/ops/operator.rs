//! The faces that every operator has.

use std::borrow::Cow;

use super::fixed::FixedPointLayer;
use super::layer::Step;
use super::{Call, Inputs, Lift, LowerCx, Lowered, OpError, Prepared, Schema};
use crate::ir::{Attrs, Range};
use crate::tensor::{AffineGrid, Tensor, TensorType};

/// Which of the two arithmetics of the world a rescale follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Integers, as the device computes. The definition.
    #[default]
    Exact,
    /// What a float32 evaluation of the reference's function bodies gives.
    F32,
}

/// An operator. Every face but [`Operator::prepare`] is required: one that an operator does not have says so in
/// words.
pub trait Operator: Send + Sync {
    fn schema(&self) -> Schema;

    /// Types of the results. Checks every constraint that types and attributes decide.
    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError>;

    /// The results for concrete operands, obviously right. Operands satisfy [`Operator::infer`].
    ///
    /// Float operators compute in the storage of their operands (f32 or f64).
    fn eval(&self, inputs: &Inputs, arithmetic: Arithmetic) -> Result<Vec<Tensor>, OpError>;

    /// The application made ready to run many times. `constants` has the tensors of its constant operands. `None`
    /// where [`Operator::eval`] is as good.
    fn prepare(&self, _constants: &Inputs, _arithmetic: Arithmetic) -> Option<Box<dyn Prepared>> {
        None
    }

    /// How the float form becomes the integer form.
    fn quantize(&self) -> Quantize;

    /// The node as ONNX.
    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError>;

    /// The ONNX operators that it stands for.
    fn lifts(&self) -> Vec<Lift>;

    /// Multiply-accumulates of one application, batch counted as one; part of the cost order.
    fn macs(&self, call: &Call) -> u64;

    /// Applications that show its use; the registry test runs them all.
    fn examples(&self) -> Vec<Example>;
}

/// How an operator takes part in quantization.
pub enum Quantize {
    /// It has no integer form: it stays float, for this reason.
    No(&'static str),
    /// It is a device layer.
    Layer(Box<dyn DeviceLayer>),
    /// It is a layer of QuantizeML, of which the scheme `fixed-point` makes integers; not one of the device.
    FixedPoint(Box<dyn FixedPointLayer>),
}

/// What a layer means in floats, and how that becomes integers.
pub trait DeviceLayer {
    /// The standard operators that the float form stands for.
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError>;

    /// The parameter computation.
    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError>;
}

/// A device layer in float form, with all that its parameters depend on.
pub struct LayerCall<'a> {
    pub call: Call<'a>,
    /// The tensor of every constant operand.
    pub constants: &'a [Option<&'a Tensor>],
    /// The grid of every operand that is quantized.
    pub grids: &'a [Option<&'a AffineGrid>],
    /// Calibrated range of the result; in f32, one entry or one per channel.
    pub range: Option<&'a Range>,
    /// Some reader of the result is a `QuantizedAdd`, so its scale must be a power of two.
    pub feeds_add: bool,
    /// The result is rescaled to 8 bits (spec §5.6); otherwise it stays int32.
    pub scaled: bool,
}

/// What becomes of one operand slot of a layer.
pub enum LayerOperand {
    /// The (now quantized) operand at this position of the float form.
    Keep(usize),
    Absent,
    /// A new constant, called `<node name>_<suffix>`.
    Constant {
        suffix: Cow<'static, str>,
        tensor: Tensor,
    },
}

/// The integer form of a layer.
pub struct QuantizedLayer {
    pub operands: Vec<LayerOperand>,
    pub attrs: Attrs,
    /// Grid of the result.
    pub grid: AffineGrid,
    /// How it came about, each before what rests on it.
    pub why: Vec<Why>,
}

/// How a number of a layer, or one for each channel, came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// What it is: `scale` of the result, a constant by its suffix, or a word that formulas after it use.
    pub what: Cow<'static, str>,
    /// Over the terms, what was explained before, and operands.
    pub formula: Cow<'static, str>,
    /// One entry, or one for each channel.
    pub terms: Vec<(Cow<'static, str>, Vec<f64>)>,
    /// What it came to, like a term; empty where every element has its own.
    pub value: Vec<f64>,
}

impl Why {
    pub fn new(what: impl Into<Cow<'static, str>>, formula: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), formula: formula.into(), terms: Vec::new(), value: Vec::new() }
    }

    pub fn term<T: Into<f64> + Copy>(mut self, name: impl Into<Cow<'static, str>>, entries: &[T]) -> Self {
        self.terms.push((name.into(), entries.iter().map(|&entry| entry.into()).collect()));
        self
    }

    pub fn value<T: Into<f64> + Copy>(mut self, entries: &[T]) -> Self {
        self.value = entries.iter().map(|&entry| entry.into()).collect();
        self
    }
}

/// An application with operands, for tests and generated documentation.
pub struct Example {
    pub attrs: Attrs,
    pub operands: Vec<Option<Tensor>>,
}
