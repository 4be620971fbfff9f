//! Activations by a table (layers-transformer §11).

use super::body::{FixedBody, Integers, Interval};
use super::operator::{Application, Facts, Layer, Layout, Operand, Placement, bits, example};
use super::{Context, LayerConfig, LayerError, Layered, Result, Work, fixed_only};
use crate::ir::{AttrKind, Attrs};
use crate::ops::layer::{Source, Step};
use crate::ops::{Call, Example, OpError, Schema};
use crate::tensor::DType;
use crate::tensor::fixed::{FixedPoint, PerChannel, QFloat, QTensor};
use crate::tensor::round::{half_even_f32, power_of_two};

/// The functions of `Activation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// By the error function.
    Gelu,
    Swish,
    /// `x · relu6(x + 3) / 6`.
    HardSilu,
    LeakyRelu {
        alpha: f32,
    },
}

impl Function {
    /// The value, in binary64 up to the last rounding but for products, which the package computes in binary32.
    pub fn of(self, x: f32) -> f32 {
        let wide = f64::from(x);
        match self {
            Function::Gelu => (0.5 * wide * (1.0 + libm::erf(wide * std::f64::consts::FRAC_1_SQRT_2))) as f32,
            Function::Swish => (wide / (1.0 + libm::exp(-wide))) as f32,
            Function::HardSilu => x * ((x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)),
            Function::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    x * alpha
                }
            }
        }
    }
}

/// The most value bits that a table is made for.
const MOST_BITS: u32 = 20;

/// The values of a function as integers of so many value bits, for every number of the input's, and their scale.
fn table(function: Function, bits: u32, frac_bits: i32, entry_bits: u32) -> (Vec<i64>, f32) {
    let real = |value: i64| function.of((value as f64 * power_of_two(-frac_bits)) as f32);
    let half = 1i64 << bits;
    let values: Vec<f32> = (-half..half).map(real).collect();
    let most = values.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    let scale = most * (1.0 / ((1u64 << entry_bits.min(60)) - 1) as f32);
    (values.iter().map(|value| half_even_f32(value / scale) as i64).collect(), scale)
}

/// A table with an entry for every value that the input can have.
///
/// # Errors
/// An input with scales or with several frac bits, or of more than 20 value bits.
pub fn activation(x: &QTensor, function: Function, context: &Context) -> Result<Layered> {
    const LAYER: &str = "QuantizedActivation";
    let fixed = fixed_only(LAYER, x)?;
    if !fixed.is_per_tensor() {
        let found = "one with frac bits for each channel";
        return Err(LayerError::Operand { layer: LAYER, wanted: "a per-tensor input", found });
    }
    let bits = fixed.value_bits();
    if bits > MOST_BITS {
        let what = format!("an input of {bits} value bits, where a table is for {MOST_BITS} at most");
        return Err(LayerError::Config { layer: LAYER, what });
    }
    let entry_bits = context.config.lut_bitwidth.unwrap_or(14).saturating_sub(1);
    let (table, scale) = table(function, bits, fixed.frac_bits().entries()[0], entry_bits);
    let half = 1i64 << bits;
    let results = fixed.elements().iter().map(|&value| table[(value + half) as usize]);
    let results = FixedPoint::new(fixed.sizes(), results, entry_bits, PerChannel::tensor(0))?;
    let output = QFloat::new(results.with(fixed.arithmetic()), PerChannel::tensor(scale))?;
    let mut work = Work::new(context);
    let table = FixedPoint::new(&[table.len()], table, entry_bits, PerChannel::tensor(0))?;
    work.tensor("lut", QFloat::new(table, PerChannel::tensor(scale))?);
    work.finish(output)
}

#[derive(Clone)]
pub(super) struct ActivationLayer;

/// The bits of the entries of a table.
fn bits_of_table(call: &Call) -> std::result::Result<u32, OpError> {
    Ok(bits(call, "lut_bitwidth")?.unwrap_or(14))
}

impl ActivationLayer {
    fn function(call: &Call) -> std::result::Result<(&'static str, Function), OpError> {
        let alpha = call.float("alpha")?;
        match call.text("activation")? {
            "gelu" => Ok(("gelu", Function::Gelu)),
            "swish" => Ok(("swish", Function::Swish)),
            "hard_swish" => Ok(("hard_swish", Function::HardSilu)),
            "leaky_relu" => Ok(("leaky_relu", Function::LeakyRelu { alpha })),
            other => {
                let what = format!("`activation` is gelu, swish, hard_swish or leaky_relu, found `{other}`");
                Err(call.broken("C3", what))
            }
        }
    }
}

impl Layer for ActivationLayer {
    fn facts(&self) -> Facts {
        Facts {
            name: "Activation",
            doc: "The operator that `activation` names: `gelu`, `swish`, `hard_swish`, or `leaky_relu` with `alpha`. In \
                  integers it is a table of `lut_bitwidth` bits, with an entry for every value that x can have.",
            constraints: "* C3: `activation` is gelu, swish, hard_swish or leaky_relu.",
            operands: const { &[Operand::channels("x")] },
            result: Layout::Channels,
            buffer: false,
            placement: Placement { aligned: true, output: true, kernel_channels: None },
        }
    }

    fn attrs(&self, schema: Schema) -> Schema {
        schema.required_attr("activation", AttrKind::Str).attr("alpha", 0.0f32).attr("lut_bitwidth", 14i64)
    }

    fn chain(&self, call: &Call) -> std::result::Result<Vec<Step>, OpError> {
        let (op, function) = Self::function(call)?;
        let attrs = match function {
            Function::LeakyRelu { alpha } => Attrs::new().with("alpha", alpha),
            _ => Attrs::new(),
        };
        Ok(vec![Step::new(op, attrs, &[Source::Operand(0)])])
    }

    fn apply(&self, at: &Application) -> std::result::Result<Layered, OpError> {
        at.done(activation(at.value(0)?, Self::function(at.call)?.1, &at.context))
    }

    fn own_bits(&self, config: &LayerConfig) -> Vec<(&'static str, u32)> {
        vec![("lut_bitwidth", config.lut_bitwidth.unwrap_or(14))]
    }

    fn configure(&self, call: &Call, config: LayerConfig) -> std::result::Result<LayerConfig, OpError> {
        Ok(LayerConfig { lut_bitwidth: Some(bits_of_table(call)?), ..config })
    }

    fn emit(&self, at: &mut FixedBody) -> std::result::Result<Integers, OpError> {
        let x = at.operand(0)?;
        let bits = x.value_bits;
        if bits > MOST_BITS {
            return Err(at.call.unsupported(format!("a table for {bits} value bits")));
        }
        let entry_bits = bits_of_table(at.call)?.saturating_sub(1);
        let (_, function) = Self::function(at.call)?;
        let (table, _) = table(function, bits, x.frac_bits[0], entry_bits);
        let half = at.number(f64::from(1u32 << bits));
        let index = at.op("Add", &[&x.name, &half]);
        let index = at.body.cast(&index, DType::I64);
        let table = at.body.vector(table.into_iter().map(|entry| entry as f64).collect());
        let name = at.op("Gather", &[&table, &index]);
        let bound = Interval::of_bits(entry_bits);
        let y = Integers {
            name,
            bound,
            value_bits: entry_bits,
            frac_bits: vec![0],
            axis: None,
            scaled: true,
            ..x
        };
        at.finished(y)
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        vec![Example { attrs: Attrs::new().with("activation", "gelu"), operands: vec![example(&[1, 3])] }]
    }
}
