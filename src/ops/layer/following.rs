//! What follows the accumulator of a convolution layer, in all its forms: activation, sum over the map,
//! rescale (hardware-ops §3, §5.3 to §5.5).

use super::chain::{Source, Step};
use super::integer::{self, Rescale, Table, Tail};
use super::lifting::Parameters;
use super::limits::{self, Limit};
use super::op_type::{Activation, NONE, OpType, Pool};
use super::params::{self, Accumulator};
use super::{Form, activation, ceiling, ceiling_is_in_place, function};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::ops::body::Body;
use crate::ops::function::{PARAMETERS, parameters_of};
use crate::ops::{Arithmetic, Call, Inputs, LayerCall, LayerOperand, LowerCx, OpError, Schema, Why};
use crate::tensor::round::TABLE;
use crate::tensor::{AffineGrid, DType, Tensor};

/// The attribute of the float form that says how far a table must reach.
pub const ACTIVATION_MAX: &str = "activation_max";

/// The operands of this part, which are the last ones of a layer: max_value, m, s_out, m_act, s_act, lut.
#[derive(Clone, Copy)]
pub struct Following {
    first: usize,
}

/// The labels that a layer has for the constraints of this part.
pub struct Labels {
    pub max_value: &'static str,
    pub rescale: &'static str,
    pub table: &'static str,
}

impl Following {
    pub const fn from(first: usize) -> Self {
        Self { first }
    }

    fn max_value(self) -> usize {
        self.first
    }

    fn m(self) -> usize {
        self.first + 1
    }

    fn s_out(self) -> usize {
        self.first + 2
    }

    /// m_act, s_act and lut.
    fn table(self) -> [usize; 3] {
        [3, 4, 5].map(|at| self.first + at)
    }

    /// The operands and attributes of this part.
    pub fn of_schema(schema: Schema) -> Schema {
        let operands = ["max_value", "m", "s_out", "m_act", "s_act", "lut"];
        let schema = operands.into_iter().fold(schema, Schema::optional);
        let schema = schema.attr("activation", NONE).optional_attr("max_value", AttrKind::Float);
        PARAMETERS.into_iter().chain([ACTIVATION_MAX]).fold(schema, |schema, name| schema.attr(name, 0.0f32))
    }

    /// Checks that attributes are there where they have a meaning, and the activation in the form that it is of.
    pub fn check_attrs(self, call: &Call, name: &'static str, place: &'static str) -> Result<(), OpError> {
        let form = Form::of(call)?;
        let known = activation(call).is_ok_and(|activation| {
            activation != Activation::Lut || function(call).is_some() == (form == Form::Float)
        });
        call.require(name, known, || {
            "`activation` is none, ReLU, ReLUClipped, the name of a function in the float form, or LUT in the \
             integer form"
                .to_owned()
        })?;
        call.require(place, ceiling_is_in_place(call)?, || {
            "the attribute `max_value` is given in the float form with ReLUClipped".to_owned()
        })?;
        let function = function(call);
        let has = |name: &str| match function {
            Some(function) => name == ACTIVATION_MAX || parameters_of(function).contains(&name),
            None => false,
        };
        let unused = |name: &&str| has(name) || call.attrs.get_float(name).is_none_or(|value| value == 0.0);
        let mut names = PARAMETERS.iter().copied().chain([ACTIVATION_MAX]);
        call.require(place, names.all(|name| unused(&name)), || {
            "parameters of an activation are given in the float form with a function that has them".to_owned()
        })
    }

    /// Checks that the operands of this part are absent, as they are in the float form.
    pub fn expect_absent(self, call: &Call, label: &'static str) -> Result<(), OpError> {
        (self.first..=self.first + 5)
            .try_for_each(|position| integer::expect_absent(call, label, position, "in the float form"))
    }

    /// Checks the operands of the integer form.
    pub fn expect(self, call: &Call, filters: usize, labels: &Labels) -> Result<(), OpError> {
        let per_filter: &[&[usize]] = &[&[1, filters, 1, 1], &[1, 1, 1, 1]];
        let activation = activation(call)?;
        if activation == Activation::ReluClipped {
            integer::expect(call, labels.max_value, self.max_value(), DType::I32, per_filter)?;
        } else {
            integer::expect_absent(call, labels.max_value, self.max_value(), "without ReLUClipped")?;
        }
        integer::expect(call, labels.rescale, self.m(), DType::U8, per_filter)?;
        integer::expect(call, labels.rescale, self.s_out(), DType::F32, per_filter)?;
        let [m_act, s_act, lut] = self.table();
        if activation == Activation::Lut {
            integer::expect(call, labels.table, m_act, DType::U8, per_filter)?;
            integer::expect(call, labels.table, s_act, DType::F32, per_filter)?;
            return integer::expect(call, labels.table, lut, DType::I32, &[&[TABLE]]);
        }
        [m_act, s_act, lut]
            .into_iter()
            .try_for_each(|position| integer::expect_absent(call, labels.table, position, "without LUT"))
    }

    /// The steps of the float chain.
    pub fn steps(call: &Call, pool: Pool) -> Result<Vec<Step>, OpError> {
        let mut steps: Vec<Step> = super::activation_step(call)?.into_iter().collect();
        if pool == Pool::GlobalAverage {
            steps.push(Step::plain("global_avg_pool2d"));
        }
        Ok(steps)
    }

    /// What follows the accumulator, but for a max-pool. `label` is that of the constraint that divisors are
    /// powers of two.
    pub fn tail<'a>(
        self,
        inputs: &Inputs<'a>,
        label: &'static str,
        pool: Pool,
        arithmetic: Arithmetic,
    ) -> Result<Tail<'a>, OpError> {
        let call = &inputs.call;
        let rescale = |m: usize, s: usize, name: &str| {
            let rescale = Rescale::new(inputs.elements(m)?, inputs.elements(s)?, arithmetic);
            rescale.ok_or_else(|| call.broken(label, format!("every element of {name} is a power of two")))
        };
        let activation = activation(call)?;
        let [m_act, s_act, lut] = self.table();
        let table = match activation {
            Activation::Lut => {
                Some(Table { index: rescale(m_act, s_act, "s_act")?, entries: inputs.elements(lut)? })
            }
            _ => None,
        };
        Ok(Tail {
            max_pool: None,
            table,
            relu: matches!(activation, Activation::Relu | Activation::ReluClipped),
            ceiling: inputs.opt_elements(self.max_value())?,
            global: pool == Pool::GlobalAverage,
            rescale: Some(rescale(self.m(), self.s_out(), "s_out")?),
        })
    }

    /// What of this part the device's tools do not take.
    pub fn limits(self, cx: &LowerCx) -> impl Iterator<Item = Limit> {
        let constant = |position: usize| cx.constants.get(position).copied().flatten();
        let divisors =
            |position: usize| limits::divisor(constant(position).and_then(Tensor::elements::<f32>));
        let ceiling = limits::ceiling(constant(self.max_value()).and_then(Tensor::elements::<i32>));
        let [_, s_act, _] = self.table();
        ceiling.into_iter().chain(divisors(self.s_out())).chain(divisors(s_act))
    }

    /// The names of the operands in the order of a file; absent ones are empty.
    pub fn file_order(self, names: &[String]) -> impl Iterator<Item = String> {
        let [m_act, s_act, lut] = self.table();
        [m_act, s_act, lut, self.max_value(), self.m(), self.s_out()]
            .map(|at| names.get(at).cloned().unwrap_or_default())
            .into_iter()
    }
}

/// The operands of this part that a node of a file has, in their order as a layer has them.
pub fn lift(node: &mut Parameters) -> Result<[Option<ValueId>; 6], OpError> {
    let activation = node.op_type.activation;
    let table = activation == Activation::Lut;
    let [m_act, s_act, lut] = [node.take_if(table)?, node.take_if(table)?, node.take_if(table)?];
    let max_value = node.take_if(activation == Activation::ReluClipped)?;
    let (m, s_out) = node.take_rescale()?;
    Ok([max_value, m, s_out, m_act, s_act, lut])
}

/// The constants of this part, and the grid of the result.
pub struct Quantized {
    pub operands: [LayerOperand; 6],
    pub grid: AffineGrid,
    pub why: Vec<Why>,
}

/// §5.3 to §5.5, from the scales of the accumulators; `positions` are those that a global pool sums over.
pub fn quantize(layer: &LayerCall, scales: &[f64], positions: Option<usize>) -> Result<Quantized, OpError> {
    let call = &layer.call;
    let per_filter = |entries: usize| [1, entries, 1, 1];
    let mut why = Vec::new();
    let max_value = match ceiling(call)? {
        Some(ceiling) => {
            let reals = std::iter::repeat_n(f64::from(ceiling), scales.len());
            let integers = params::coarse(call, "ceiling", reals, scales, false)?;
            params::constant("max_value", &per_filter(scales.len()), integers)
        }
        None => LayerOperand::Absent,
    };
    let table = match function(call) {
        Some(function) => {
            let largest = call.float(ACTIVATION_MAX)?;
            if !(largest > 0.0 && largest.is_finite()) {
                return Err(call.unsupported("an activation whose input has no calibrated range"));
            }
            let parameters = function.parameters(call)?;
            Some(params::table(call, scales, largest, |x| function.value(x, parameters))?)
        }
        None => None,
    };
    // A sum over the map divides as it rescales; in the type that the scales have.
    let summed: Vec<f64> = scales.iter().map(|scale| scale * positions.unwrap_or(1) as f64).collect();
    let from = match &table {
        Some(table) => Accumulator::Table(table.scale * positions.unwrap_or(1) as f32),
        None => Accumulator::Filters(&summed),
    };
    let [mut m_act, mut s_act, mut lut] = [LayerOperand::Absent, LayerOperand::Absent, LayerOperand::Absent];
    if let Some(table) = table {
        let sizes = per_filter(table.multipliers.len());
        m_act = params::constant("M_act", &sizes, table.multipliers);
        s_act = params::constant("S_act", &sizes, table.divisors);
        lut = params::constant("LUT", &[TABLE], table.entries);
        why.extend(table.why);
    }
    if positions.is_some() {
        let area = Why::new("accumulator", "accumulator of one position * positions of the map");
        why.push(match from {
            Accumulator::Filters(scales) => area.value(scales),
            Accumulator::Table(scale) => area.value(&[scale]),
        });
    }
    let rescaling = params::rescaling(layer, from)?;
    why.extend(rescaling.why);
    let sizes = per_filter(rescaling.multipliers.len());
    let m = params::constant("M", &sizes, rescaling.multipliers);
    let s_out = params::constant("S_out", &sizes, rescaling.divisors);
    let grid = AffineGrid::hardware(DType::I8, rescaling.scales);
    Ok(Quantized { operands: [max_value, m, s_out, m_act, s_act, lut], grid, why })
}

/// The attributes of the integer form: without what its constants say.
pub fn integer_attrs(call: &Call) -> Result<Attrs, OpError> {
    let mut attrs = call.attrs.clone();
    attrs.remove("max_value");
    if function(call).is_some() {
        attrs.set("activation", Activation::Lut.name());
        PARAMETERS.into_iter().chain([ACTIVATION_MAX]).for_each(|name| attrs.set(name, 0.0f32));
    }
    Ok(attrs)
}

/// The names that the parameters of this part have in a function.
pub fn function_inputs(op_type: &OpType) -> Vec<&'static str> {
    let mut inputs = match op_type.activation {
        Activation::Lut => vec!["ActScale", "ActShift", "LUT_values"],
        Activation::ReluClipped => vec!["max_value"],
        Activation::None | Activation::Relu => Vec::new(),
    };
    inputs.extend(["Scale", "Shift"]);
    inputs
}

/// The last part of a body: the activation of `y`, which is stored as `storage`, sum over the map, rescale.
pub fn finish_body(body: &mut Body, op_type: &OpType, y: String, storage: DType) {
    let wide = |body: &mut Body, y: String| if storage == DType::F64 { y } else { body.cast(&y, DType::F64) };
    let mut y = match op_type.activation {
        Activation::Lut => {
            let y = wide(body, y);
            let entry = body.looked_up(&y);
            body.cast(&entry, DType::F64)
        }
        activation => {
            let y = body.activated(y, activation, storage);
            wide(body, y)
        }
    };
    if op_type.pool == Pool::GlobalAverage {
        let axes = body.vector(vec![2i64, 3]);
        let keep = vec![("keepdims", crate::ops::OnnxAttr::Int(1))];
        y = body.op_with("ReduceSum", &[&y, &axes], keep);
    }
    let ratio = body.ratio("Scale", "Shift");
    body.rescaled(&y, &ratio);
}

/// What a global pool sums at most, over so many positions.
pub fn pooled_bound(call: &Call, accumulator: u128, positions: usize) -> Result<u128, OpError> {
    let largest = match activation(call)? {
        Activation::Lut => 1 << (crate::tensor::round::ENTRY_BITS - 1),
        _ => accumulator,
    };
    Ok(largest.saturating_mul(positions as u128))
}

/// The step of a float chain that the function of an activation is.
pub fn function_step(call: &Call) -> Result<Step, OpError> {
    Ok(match function(call) {
        Some(function) => function.step(call)?,
        // In the integer form only the shapes of the chain matter, and a relu keeps them.
        None => Step::new("relu", Attrs::new(), &[Source::Previous]),
    })
}
