//! Functions of one number: `sigmoid`, `sqrt`, `leaky_relu` and their like, one row each.

use super::body::Body;
use super::elementwise::{map, same};
use super::layer::{Source, Step};
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, ONNX_OPSET, OnnxAttr, OpError,
    Operator, Quantize, Schema,
};
use crate::ir::{Attrs, ValueId};
use crate::kernels::{Float, special};
use crate::tensor::{DType, Tensor, TensorType, round};

pub fn operators() -> Vec<Box<dyn Operator>> {
    FUNCTIONS.iter().map(|function| Box::new(function) as Box<dyn Operator>).collect()
}

/// A function of one number that the device has, if at all, as a lookup table of a convolution layer.
///
/// Its attributes are called alike in ONNX, and are the second argument of `f32` and `f64`.
pub struct Function {
    pub name: &'static str,
    /// What layers that compute it through a table call it; empty where none does.
    pub layer: &'static str,
    pub onnx: &'static str,
    /// The oldest opset with the version that is understood.
    since: i64,
    formula: &'static str,
    attrs: &'static [Parameter],
    f32: fn(f32, [f32; 2]) -> f32,
    f64: fn(f64, [f64; 2]) -> f64,
    /// Of integers with a sign, where there is such a function; what does not fit wraps.
    i64: Option<fn(i64) -> i64>,
    /// No element is rounded.
    exact: bool,
}

/// An attribute with its default.
struct Parameter {
    name: &'static str,
    default: f32,
}

const fn parameter(name: &'static str, default: f32) -> Parameter {
    Parameter { name, default }
}

/// A row with neither attributes nor promises; the others say what is different.
const PLAIN: Function = Function {
    name: "",
    layer: "",
    onnx: "",
    since: 1,
    formula: "",
    attrs: &[],
    f32: |x, _| x,
    f64: |x, _| x,
    i64: None,
    exact: false,
};

/// The storages of functions that integers have, too.
const SIGNED: [DType; 6] = [DType::F32, DType::F64, DType::I8, DType::I16, DType::I32, DType::I64];

/// The attribute that tells ONNX's two Gelus apart, and its value for each operator.
pub const APPROXIMATE: &str = "approximate";

pub fn approximation(name: &str) -> Option<&'static str> {
    match name {
        "gelu" => Some("none"),
        "gelu_tanh" => Some("tanh"),
        _ => None,
    }
}

/// `ln(1 + exp(x))`, which does not overflow.
fn softplus_f32(x: f32) -> f32 {
    if x.is_nan() { x } else { x.max(0.0) + libm::log1pf(libm::expf(-x.abs())) }
}

fn softplus_f64(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + libm::log1p(libm::exp(-x.abs())) }
}

/// `sqrt(2 / pi)`.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;

fn gelu_tanh_f32(x: f32, _: [f32; 2]) -> f32 {
    0.5 * x * (1.0 + libm::tanhf(GELU_SCALE as f32 * (x + 0.044715 * x * x * x)))
}

fn gelu_tanh_f64(x: f64, _: [f64; 2]) -> f64 {
    0.5 * x * (1.0 + libm::tanh(GELU_SCALE * (x + 0.044715 * x * x * x)))
}

/// Each from the pure-Rust `libm` or [`special`], one rounding a step.
const FUNCTIONS: &[Function] = &[
    Function {
        name: "abs",
        onnx: "Abs",
        since: 6,
        formula: "`y = |x|`",
        f32: |x, _| libm::fabsf(x),
        f64: |x, _| libm::fabs(x),
        i64: Some(i64::wrapping_abs),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "acos",
        onnx: "Acos",
        since: 7,
        formula: "`y = acos(x)`",
        f32: |x, _| libm::acosf(x),
        f64: |x, _| libm::acos(x),
        ..PLAIN
    },
    Function {
        name: "acosh",
        onnx: "Acosh",
        since: 9,
        formula: "`y = acosh(x)`",
        f32: |x, _| libm::acoshf(x),
        f64: |x, _| libm::acosh(x),
        ..PLAIN
    },
    Function {
        name: "asin",
        onnx: "Asin",
        since: 7,
        formula: "`y = asin(x)`",
        f32: |x, _| libm::asinf(x),
        f64: |x, _| libm::asin(x),
        ..PLAIN
    },
    Function {
        name: "asinh",
        onnx: "Asinh",
        since: 9,
        formula: "`y = asinh(x)`",
        f32: |x, _| libm::asinhf(x),
        f64: |x, _| libm::asinh(x),
        ..PLAIN
    },
    Function {
        name: "atan",
        onnx: "Atan",
        since: 7,
        formula: "`y = atan(x)`",
        f32: |x, _| libm::atanf(x),
        f64: |x, _| libm::atan(x),
        ..PLAIN
    },
    Function {
        name: "atanh",
        onnx: "Atanh",
        since: 9,
        formula: "`y = atanh(x)`",
        f32: |x, _| libm::atanhf(x),
        f64: |x, _| libm::atanh(x),
        ..PLAIN
    },
    Function {
        name: "ceil",
        onnx: "Ceil",
        since: 6,
        formula: "`y = ceil(x)`, the smallest integer from x on,",
        f32: |x, _| libm::ceilf(x),
        f64: |x, _| libm::ceil(x),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "celu",
        layer: "Celu",
        onnx: "Celu",
        since: 12,
        formula: "`y = max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`",
        attrs: &[parameter("alpha", 1.0)],
        f32: |x, [alpha, _]| if x > 0.0 { x } else { alpha * libm::expm1f(x / alpha) },
        f64: |x, [alpha, _]| if x > 0.0 { x } else { alpha * libm::expm1(x / alpha) },
        ..PLAIN
    },
    Function {
        name: "cos",
        onnx: "Cos",
        since: 7,
        formula: "`y = cos(x)`",
        f32: |x, _| libm::cosf(x),
        f64: |x, _| libm::cos(x),
        ..PLAIN
    },
    Function {
        name: "cosh",
        onnx: "Cosh",
        since: 9,
        formula: "`y = cosh(x)`",
        f32: |x, _| libm::coshf(x),
        f64: |x, _| libm::cosh(x),
        ..PLAIN
    },
    Function {
        name: "elu",
        layer: "Elu",
        onnx: "Elu",
        since: 6,
        formula: "`y = x`, or `alpha * (exp(x) - 1)` where x is below zero,",
        attrs: &[parameter("alpha", 1.0)],
        f32: |x, [alpha, _]| if x < 0.0 { alpha * libm::expm1f(x) } else { x },
        f64: |x, [alpha, _]| if x < 0.0 { alpha * libm::expm1(x) } else { x },
        ..PLAIN
    },
    Function {
        name: "erf",
        onnx: "Erf",
        since: 9,
        formula: "`y = erf(x)`, in f32 by the device's polynomials,",
        f32: |x, _| special::erf(x),
        f64: |x, _| libm::erf(x),
        ..PLAIN
    },
    Function {
        name: "exp",
        onnx: "Exp",
        since: 6,
        formula: "`y = exp(x)`",
        f32: |x, _| libm::expf(x),
        f64: |x, _| libm::exp(x),
        ..PLAIN
    },
    Function {
        name: "floor",
        onnx: "Floor",
        since: 6,
        formula: "`y = floor(x)`, the largest integer up to x,",
        f32: |x, _| libm::floorf(x),
        f64: |x, _| libm::floor(x),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "gelu",
        layer: "Gelu",
        onnx: "Gelu",
        since: 20,
        formula: "`y = x / 2 * (1 + erf(x / sqrt(2)))`, in f32 with the erf of the device's polynomials,",
        f32: |x, _| special::gelu(x),
        f64: |x, _| 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
        ..PLAIN
    },
    Function {
        name: "gelu_tanh",
        layer: "GeluTanh",
        onnx: "Gelu",
        since: 20,
        formula: "`y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`",
        f32: gelu_tanh_f32,
        f64: gelu_tanh_f64,
        ..PLAIN
    },
    Function {
        name: "hard_sigmoid",
        layer: "HardSigmoid",
        onnx: "HardSigmoid",
        since: 6,
        formula: "`y = min(max(alpha * x + beta, 0), 1)`, product and sum rounded apart,",
        attrs: &[parameter("alpha", 0.2), parameter("beta", 0.5)],
        f32: |x, [alpha, beta]| (alpha * x + beta).clamp(0.0, 1.0),
        f64: |x, [alpha, beta]| (alpha * x + beta).clamp(0.0, 1.0),
        ..PLAIN
    },
    Function {
        name: "hard_swish",
        layer: "HardSwish",
        onnx: "HardSwish",
        since: 14,
        formula: "`y = x * min(max(x / 6 + 1/2, 0), 1)`, in f32 with the product by f32's 1/6,",
        f32: |x, _| special::hard_swish(x),
        f64: |x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        ..PLAIN
    },
    Function {
        name: "leaky_relu",
        layer: "LeakyRelu",
        onnx: "LeakyRelu",
        since: 6,
        formula: "`y = x`, or `alpha * x` where x is below zero,",
        attrs: &[parameter("alpha", 0.01)],
        f32: |x, [alpha, _]| special::leaky_relu(x, alpha),
        f64: |x, [alpha, _]| if x < 0.0 { alpha * x } else { x },
        ..PLAIN
    },
    Function {
        name: "log",
        onnx: "Log",
        since: 6,
        formula: "`y = ln(x)`",
        f32: |x, _| libm::logf(x),
        f64: |x, _| libm::log(x),
        ..PLAIN
    },
    Function {
        name: "mish",
        layer: "Mish",
        onnx: "Mish",
        since: 18,
        formula: "`y = x * tanh(ln(1 + exp(x)))`",
        f32: |x, _| x * libm::tanhf(softplus_f32(x)),
        f64: |x, _| x * libm::tanh(softplus_f64(x)),
        ..PLAIN
    },
    Function {
        name: "neg",
        onnx: "Neg",
        since: 6,
        formula: "`y = -x`",
        f32: |x, _| -x,
        f64: |x, _| -x,
        i64: Some(i64::wrapping_neg),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "reciprocal",
        onnx: "Reciprocal",
        since: 6,
        formula: "`y = 1 / x`",
        f32: |x, _| 1.0 / x,
        f64: |x, _| 1.0 / x,
        ..PLAIN
    },
    Function {
        name: "round",
        onnx: "Round",
        since: 11,
        formula: "`y = round(x)`, the nearest integer, ties to the even one,",
        f32: |x, _| round::half_even_f32(x),
        f64: |x, _| round::half_even(x),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "selu",
        layer: "Selu",
        onnx: "Selu",
        since: 6,
        formula: "`y = gamma * x`, or `gamma * (alpha * exp(x) - alpha)` where x is not above zero,",
        attrs: &[parameter("alpha", 1.673_263_2), parameter("gamma", 1.050_701)],
        f32: |x, [alpha, gamma]| gamma * if x > 0.0 { x } else { alpha * libm::expm1f(x) },
        f64: |x, [alpha, gamma]| gamma * if x > 0.0 { x } else { alpha * libm::expm1(x) },
        ..PLAIN
    },
    Function {
        name: "sigmoid",
        layer: "Sigmoid",
        onnx: "Sigmoid",
        since: 6,
        formula: "`y = 1 / (1 + exp(-x))`, in f32 by the device's polynomials,",
        f32: |x, _| special::sigmoid(x),
        f64: |x, _| 1.0 / (1.0 + libm::exp(-x)),
        ..PLAIN
    },
    Function {
        name: "sign",
        onnx: "Sign",
        since: 9,
        formula: "`y = x / |x|`, or 0 where x is zero,",
        f32: |x, _| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x * 0.0
            }
        },
        f64: |x, _| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x * 0.0
            }
        },
        i64: Some(i64::signum),
        exact: true,
        ..PLAIN
    },
    Function {
        name: "sin",
        onnx: "Sin",
        since: 7,
        formula: "`y = sin(x)`",
        f32: |x, _| libm::sinf(x),
        f64: |x, _| libm::sin(x),
        ..PLAIN
    },
    Function {
        name: "sinh",
        onnx: "Sinh",
        since: 9,
        formula: "`y = sinh(x)`",
        f32: |x, _| libm::sinhf(x),
        f64: |x, _| libm::sinh(x),
        ..PLAIN
    },
    Function {
        name: "softplus",
        layer: "Softplus",
        onnx: "Softplus",
        since: 1,
        formula: "`y = ln(1 + exp(x))`",
        f32: |x, _| softplus_f32(x),
        f64: |x, _| softplus_f64(x),
        ..PLAIN
    },
    Function {
        name: "softsign",
        layer: "Softsign",
        onnx: "Softsign",
        since: 1,
        formula: "`y = x / (1 + |x|)`",
        f32: |x, _| x / (1.0 + x.abs()),
        f64: |x, _| x / (1.0 + x.abs()),
        ..PLAIN
    },
    Function {
        name: "sqrt",
        onnx: "Sqrt",
        since: 6,
        formula: "`y = sqrt(x)`",
        f32: |x, _| libm::sqrtf(x),
        f64: |x, _| libm::sqrt(x),
        ..PLAIN
    },
    Function {
        name: "swish",
        layer: "Swish",
        onnx: SWISH,
        since: 24,
        formula: "`y = x * sigmoid(alpha * x)`, in f32 with the sigmoid of the device's polynomials,",
        attrs: &[parameter("alpha", 1.0)],
        f32: |x, [alpha, _]| special::swish(x, alpha),
        f64: |x, [alpha, _]| x / (1.0 + libm::exp(-alpha * x)),
        ..PLAIN
    },
    Function {
        name: "tan",
        onnx: "Tan",
        since: 7,
        formula: "`y = tan(x)`",
        f32: |x, _| libm::tanf(x),
        f64: |x, _| libm::tan(x),
        ..PLAIN
    },
    Function {
        name: "tanh",
        layer: "Tanh",
        onnx: "Tanh",
        since: 6,
        formula: "`y = tanh(x)`",
        f32: |x, _| libm::tanhf(x),
        f64: |x, _| libm::tanh(x),
        ..PLAIN
    },
    Function {
        name: "thresholded_relu",
        layer: "",
        onnx: "ThresholdedRelu",
        since: 10,
        formula: "`y = x` where x is above `alpha`, and 0 elsewhere,",
        attrs: &[parameter("alpha", 1.0)],
        f32: |x, [alpha, _]| if x > alpha || x.is_nan() { x } else { 0.0 },
        f64: |x, [alpha, _]| if x > alpha || x.is_nan() { x } else { 0.0 },
        i64: None,
        exact: true,
    },
];

/// The one function that is younger than the files we write.
const SWISH: &str = "Swish";

/// The parameters that functions of layers have, by their names as attributes.
pub const PARAMETERS: [&str; 3] = ["alpha", "beta", "gamma"];

/// The functions that layers compute through a table.
pub fn in_layers() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().filter(|function| !function.layer.is_empty())
}

/// The function that layers call so.
pub fn of_layers(name: &str) -> Option<&'static Function> {
    in_layers().find(|function| function.layer == name)
}

/// The function that ONNX calls so.
pub fn of_onnx(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.onnx == name)
}

/// Whether an operator runs in layers behind their accumulator.
pub fn is_activation(op: &str) -> bool {
    matches!(op, "relu" | "clip") || in_layers().any(|function| function.name == op)
}

/// The names of the parameters that it has.
pub fn parameters_of(function: &'static Function) -> Vec<&'static str> {
    function.attrs.iter().map(|parameter| parameter.name).collect()
}

impl Function {
    /// Its operator.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its parameters, from the attributes of an application or of a layer.
    pub fn parameters(&self, call: &Call) -> Result<[f32; 2], OpError> {
        self.values(call)
    }

    /// Its value in f32, as its operator has it.
    pub fn value(&self, x: f32, parameters: [f32; 2]) -> f32 {
        (self.f32)(x, parameters).canonical()
    }

    /// Its value in f64, as its operator has it.
    pub fn wide_value(&self, x: f64, parameters: [f32; 2]) -> f64 {
        (self.f64)(x, parameters.map(f64::from)).canonical()
    }

    /// Its operator as a step of a layer, with the parameters that the layer has.
    pub fn step(&self, call: &Call) -> Result<Step, OpError> {
        let mut attrs = Attrs::new();
        for parameter in self.attrs {
            attrs.set(parameter.name, call.float(parameter.name)?);
        }
        Ok(Step::new(self.name, attrs, &[Source::Previous]))
    }

    fn values(&self, call: &Call) -> Result<[f32; 2], OpError> {
        let mut values = [0.0; 2];
        for (value, parameter) in values.iter_mut().zip(self.attrs) {
            *value = call.float(parameter.name)?;
        }
        Ok(values)
    }

    fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
        let stated = cx.opt_text(APPROXIMATE)?.unwrap_or("none");
        let same = |function: &&Function| {
            function.onnx == cx.node.op_type && approximation(function.name).is_none_or(|name| name == stated)
        };
        let Some(function) = FUNCTIONS.iter().find(same) else {
            return Err(cx.unsupported(format!("`{APPROXIMATE}` = `{stated}`")));
        };
        function.read(cx)
    }

    /// The operator with the attributes that a node states.
    pub fn read(&self, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
        let x = cx.operand(0)?;
        let mut attrs = Attrs::new();
        for parameter in self.attrs {
            attrs.set(parameter.name, cx.float(parameter.name, parameter.default)?);
        }
        Ok(vec![cx.op(self.name, attrs, &[x])?])
    }
}

impl Operator for &'static Function {
    fn schema(&self) -> Schema {
        let integers = if self.i64.is_some() { ", or an integer with a sign" } else { "" };
        let doc = format!(
            "{} for each element; NaN where that is no number.\n\n* C1: x is plain f32 or f64{integers}.",
            self.formula
        );
        let schema = Schema { doc: doc.into(), ..Schema::new(self.name, "").operand("x") };
        let schema = self
            .attrs
            .iter()
            .fold(schema, |schema, parameter| schema.attr(parameter.name, parameter.default));
        if self.exact { schema } else { schema.rounding() }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        self.values(call)?;
        same(call, if self.i64.is_some() { &SIGNED } else { FLOATS })
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let values = self.values(&inputs.call)?;
        match inputs.get(0)?.dtype() {
            DType::F64 => map::<f64>(inputs, |v| (self.f64)(v, values.map(f64::from)).canonical()),
            DType::F32 => map::<f32>(inputs, |v| (self.f32)(v, values).canonical()),
            storage => {
                let (Tensor::I64(x), Some(function)) = (inputs.get(0)?.cast(DType::I64), self.i64) else {
                    return Err(inputs.call.unsupported(format!("storage {storage}")));
                };
                Ok(vec![Tensor::I64(x.mapv(function).into_shared()).cast(storage)])
            }
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No(if self.layer.is_empty() {
            "the device does not have this function"
        } else {
            "the device has this function only behind a convolution, as part of its layer"
        })
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let values = self.values(&cx.call)?;
        if self.since > ONNX_OPSET {
            return Ok(lower_swish(cx, values[0]));
        }
        let mut node = cx.node(self.onnx, cx.operand_names.to_vec());
        for (parameter, value) in self.attrs.iter().zip(values) {
            node = node.attr(parameter.name, OnnxAttr::Float(value));
        }
        if let Some(approximation) = approximation(self.name) {
            node = node.attr(APPROXIMATE, OnnxAttr::Str(approximation.to_owned()));
        }
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        let mut attrs: Vec<&'static str> = self.attrs.iter().map(|parameter| parameter.name).collect();
        match approximation(self.name) {
            // One ONNX operator, which the first of the two reads.
            Some("tanh") => return Vec::new(),
            Some(_) => attrs.push(APPROXIMATE),
            None => {}
        }
        let attrs = attrs.into_iter().map(str::to_owned);
        vec![Lift::of_domain(String::new(), self.onnx.to_owned(), self.since, 1, attrs, Function::lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[5], vec![-100.0f32, -1.0, 0.0, 1.5, 100.0]);
        vec![Example { attrs: Attrs::new(), operands: vec![x] }]
    }
}

/// `x * sigmoid(alpha * x)` of operators that the opset of our files has.
fn lower_swish(cx: &mut LowerCx, alpha: f32) -> Lowered {
    let mut body = Body::of_node(cx);
    let x = cx.operand_names.first().cloned().unwrap_or_default();
    let storage = cx.call.opt_ty(0).map_or(DType::F32, TensorType::storage);
    let alpha = body.tensor(Tensor::scalar(alpha).cast(storage));
    let scaled = body.op("Mul", &[&x, &alpha]);
    let gate = body.op("Sigmoid", &[&scaled]);
    body.op("Mul", &[&x, &gate]);
    body.nodes_of(cx)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        for function in FUNCTIONS {
            check_labels(function.name, &[("C1", Attrs::new(), &["u8[2]"])]);
            assert_eq!(shape(function.name, Attrs::new(), &["f64[N, 3]"]), "f64[N, 3]");
        }
    }

    /// f32 and f64 are two roundings of one function.
    #[test]
    fn both_storages_agree() {
        let x: Vec<f32> = (-400..=400).map(|i| i as f32 / 53.0).collect();
        for function in FUNCTIONS {
            let single = tensor(&[x.len()], x.clone());
            let double = eval(function.name, Attrs::new(), &[single.cast(DType::F64)]).unwrap();
            let single = eval(function.name, Attrs::new(), &[single]).unwrap();
            let pairs = single.elements::<f32>().unwrap().iter().zip(double.elements::<f64>().unwrap());
            for ((&single, &double), x) in pairs.zip(&x) {
                let single = f64::from(single);
                let near = single == double || (single - double).abs() <= 1e-5 * double.abs().max(1.0);
                assert!(
                    near || single.is_nan() && double.is_nan(),
                    "{} {x}: {single} {double}",
                    function.name
                );
            }
        }
    }

    #[test]
    fn by_hand() {
        let one = |op: &str, attrs: Attrs, x: f32| {
            eval(op, attrs, &[Tensor::scalar(x)]).unwrap().elements::<f32>().unwrap()[0]
        };
        let alpha = |value: f32| Attrs::new().with("alpha", value);
        assert_eq!(one("sigmoid", Attrs::new(), -200.0), 0.0);
        assert_eq!(one("sigmoid", Attrs::new(), 0.0), 0.5);
        assert_eq!(one("leaky_relu", alpha(0.25), -2.0), -0.5);
        assert_eq!(one("elu", alpha(2.0), f32::NEG_INFINITY), -2.0);
        assert_eq!(one("thresholded_relu", alpha(1.5), 1.5), 0.0);
        assert_eq!(one("round", Attrs::new(), 2.5), 2.0);
        assert_eq!(one("round", Attrs::new(), -1.5), -2.0);
        assert_eq!(one("hard_sigmoid", alpha(0.25).with("beta", 0.5), 1.0), 0.75);
        assert_eq!(one("softplus", Attrs::new(), 1000.0), 1000.0);
        assert_eq!(one("hard_swish", Attrs::new(), 3.0), 3.0);
        for function in FUNCTIONS {
            assert!(one(function.name, Attrs::new(), f32::NAN).is_nan(), "{}", function.name);
        }
        let integers = |op: &str| eval(op, Attrs::new(), &[tensor(&[3], [i8::MIN, -3, 5])]);
        assert_eq!(integers("neg"), Ok(tensor(&[3], [i8::MIN, 3, -5])));
        assert_eq!(integers("abs"), Ok(tensor(&[3], [i8::MIN, 3, 5])));
        assert_eq!(integers("sign"), Ok(tensor(&[3], [-1i8, -1, 1])));
        let y = eval("sqrt", Attrs::new(), &[tensor(&[2], [-1.0f32, 9.0])]).unwrap();
        assert_eq!(y.elements::<f32>().unwrap()[0].to_bits(), f32::NAN.to_bits());
    }

    #[test]
    fn lowered_and_read_back() {
        for function in FUNCTIONS {
            // Where every function has a value.
            let x = match function.name {
                "acosh" => tensor(&[2], [1.0f32, 3.0]),
                "log" | "sqrt" => tensor(&[2], [0.25f32, 3.0]),
                _ => tensor(&[3], [-0.75f32, -0.25, 0.5]),
            };
            let own = eval(function.name, Attrs::new(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back(function.name, Attrs::new(), &[x]), own, "{}", function.name);
        }
        let node = onnx("Gelu", &[(APPROXIMATE, OnnxAttr::Str("erf".to_owned()))]);
        assert!(matches!(lift(&node, 20, &[Operand::Typed(ty("f32[2]"))]), Err(OpError::Unsupported { .. })));
    }
}
