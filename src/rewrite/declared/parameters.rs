//! From float constants and ranges to the integer form: the section `params`, in f64.

use std::sync::Arc;

use super::form::{attrs, complete};
use super::{Clause, Declared, Given, Named, Param, Term};
use crate::diag::Span;
use crate::ir::Attr;
use crate::ops::layer::standard;
use crate::ops::{Arithmetic, LayerCall, LayerOperand, OpError, QuantizedLayer, Why};
use crate::rewrite::constant::Constant;
use crate::rewrite::expr::{Data, Expr, Fact, Scope};
use crate::rewrite::matcher::tensor_of;
use crate::rewrite::rule::{OpTemplate, Slot, Template};
use crate::tensor::{AffineGrid, DType, Grid, Tensor, TensorType};

/// Why a layer has no integer form.
#[derive(Debug)]
pub struct Unquantized {
    /// The place in the declaration, if it lies there.
    pub span: Option<Span>,
    pub error: OpError,
}

impl From<OpError> for Unquantized {
    fn from(error: OpError) -> Self {
        Self { span: None, error }
    }
}

/// The integer form of a layer: what its declaration makes of constants, input grids and range.
///
/// # Errors
/// Why there is none: the layer stays float.
pub fn quantize(declared: &Declared, layer: &LayerCall) -> Result<QuantizedLayer, Unquantized> {
    let call = &layer.call;
    let named = |slot: Option<Slot>| declared.computation.named.iter().find(|named| named.slot == slot);
    let at = |slot: Option<Slot>| {
        let span = named(slot).map(|named| named.span);
        move |error: OpError| Unquantized { span, error }
    };
    let float = declared.infer_float(call)?;
    let mut types: Vec<Option<TensorType>> = Vec::new();
    for (position, (name, storage)) in declared.inputs.iter().enumerate() {
        let Some(grid) = layer.grids.get(position).copied().flatten() else {
            return Err(call.unsupported(format!("operand `{name}` that is not quantized")).into());
        };
        if grid.storage != *storage {
            let way = "quantize the input of the network as int8 (--input-dtype int8)";
            return Err(OpError::Unsupported {
                op: call.op(),
                what: format!("operand `{name}` stored as {}, not {storage},", grid.storage),
                way_out: (grid.storage == DType::U8).then(|| way.to_owned()),
            }
            .into());
        }
        types.push(Some(TensorType::new(*storage, call.ty(position)?.shape.clone())));
    }
    types.resize(declared.first_param(), None);

    let mut computation = Computation { layer, bindings: Vec::new() };
    computation.run(declared).map_err(|(slot, error)| match slot {
        Some(_) => at(slot)(error),
        None => error.into(),
    })?;
    let mut operands: Vec<LayerOperand> = (0..declared.inputs.len()).map(LayerOperand::Keep).collect();
    operands.extend(declared.constants.iter().map(|_| LayerOperand::Absent));
    for param in &declared.params {
        let tensor = computation.param(param).map_err(at(Some(param.slot)))?;
        types.push(Some(tensor.tensor_type()));
        operands.push(LayerOperand::Constant { suffix: param.name.to_string().into(), tensor });
    }
    let grid = computation.grid(declared).map_err(at(None))?;
    if grid.factors.len() != 1 && float.shape.get(1).and_then(|dim| dim.fixed()) != Some(grid.factors.len()) {
        let entries = grid.factors.len();
        let error = call.unsupported(format!("a scale of {entries} entries for a result {}", float.shape));
        return Err(at(None)(error));
    }
    let body = |error: OpError| Unquantized { span: Some(declared.integer.span), error };
    let integer = declared.infer_integer(&crate::ops::Call { operands: &types, ..*call }).map_err(body)?;
    if integer.shape != float.shape {
        let (integer, float) = (&integer.shape, &float.shape);
        return Err(body(call.unsupported(format!("an integer form of shape {integer}, not {float},"))));
    }
    let channels = grid.factors.len().max(float.shape.get(1).and_then(|dim| dim.fixed()).unwrap_or(1));
    let why = computation.why(declared, &grid, channels);
    Ok(QuantizedLayer { operands, attrs: call.attrs.clone(), grid, why })
}

struct Computation<'a> {
    layer: &'a LayerCall<'a>,
    bindings: Vec<Option<Data>>,
}

impl Scope for Computation<'_> {
    fn get(&self, slot: Slot) -> Option<Data> {
        self.bindings.get(slot)?.clone()
    }
}

impl Computation<'_> {
    /// Gives the variable that could not be computed beside the reason.
    fn run(&mut self, declared: &Declared) -> Result<(), (Option<Slot>, OpError)> {
        let section = &declared.computation.section;
        let given = section.given.iter().map(|given| self.given(declared, given));
        self.bindings = given.collect::<Result<_, _>>().map_err(|error| (None, error))?;
        self.bindings.resize(section.slots, None);
        for clause in &section.clauses {
            match clause {
                Clause::Holds(condition, text) => {
                    if condition.holds(self, standard()) != Some(true) {
                        let (op, condition) = (self.layer.call.op(), text.to_string());
                        return Err((None, OpError::Condition { op, condition }));
                    }
                }
                Clause::Let(slot, term) => {
                    let data = match term {
                        Term::Data(expr) => self.eval(expr),
                        Term::Made(template) => {
                            self.tensor(template).map(|tensor| tensor.map_or(Data::Value(None), Data::Tensor))
                        }
                    };
                    let data = data.map_err(|error| (Some(*slot), error))?;
                    if let Some(place) = self.bindings.get_mut(*slot) {
                        *place = Some(data);
                    }
                }
            }
        }
        Ok(())
    }

    fn given(&self, declared: &Declared, given: &Given) -> Result<Option<Data>, OpError> {
        let call = &self.layer.call;
        Ok(match given {
            Given::Operand(position) if *position < declared.inputs.len() => {
                let grid = self.layer.grids.get(*position).copied().flatten();
                let shape = call.ty(*position)?.shape.clone();
                grid.map(|grid| {
                    let ty = TensorType { shape, grid: Grid::Affine(grid.clone()) };
                    Data::Value(Some(Fact { ty, constant: None, entry: false }))
                })
            }
            Given::Operand(position) if call.opt_ty(*position).is_none() => Some(Data::Value(None)),
            Given::Operand(position) => {
                let Some(tensor) = self.layer.constants.get(*position).copied().flatten() else {
                    let name = call.schema.operand_name(*position);
                    return Err(call.unsupported(format!("operand `{name}` that is not a constant")));
                };
                // Exact: constants are f32 or f64.
                let tensor = Arc::new(tensor.cast(DType::F64));
                let (ty, constant) = (tensor.tensor_type(), Some(Constant::given(tensor)));
                Some(Data::Value(Some(Fact { ty, constant, entry: false })))
            }
            Given::Attr(name) => call.attrs.get(name).map(|attr| attr.clone().into()),
            Given::Range => {
                let Some(range) = self.layer.range else {
                    return Err(call.unsupported("a result without a calibrated range"));
                };
                let ends = range.lowest.iter().chain(range.highest.iter()).map(|&end| f64::from(end));
                Tensor::new(&[2, range.lowest.len()], ends.collect()).map(|ends| Data::Tensor(Arc::new(ends)))
            }
            Given::FeedsAdd => Some(Attr::Bool(self.layer.feeds_add).into()),
        })
    }

    fn param(&self, param: &Param) -> Result<Tensor, OpError> {
        let call = &self.layer.call;
        let found = match self.bindings.get(param.slot).cloned().flatten() {
            Some(Data::Value(Some(Fact { constant: Some(constant), .. }))) => {
                Some(constant.tensor(standard())?)
            }
            Some(data) => tensor_of(data),
            None => None,
        };
        let Some(tensor) = found else {
            return Err(call.unsupported(format!("parameter `{}` that has no value here", param.name)));
        };
        if tensor.dtype() != param.storage {
            let what =
                format!("parameter `{}` stored as {}, not {},", param.name, tensor.dtype(), param.storage);
            let round = || format!("the declaration rounds it by `saturate(…, {})`", param.storage);
            let way_out = (tensor.dtype().is_float() && !param.storage.is_float()).then(round);
            return Err(OpError::Unsupported { op: call.op(), what, way_out });
        }
        Ok((*tensor).clone())
    }

    fn grid(&self, declared: &Declared) -> Result<AffineGrid, OpError> {
        let call = &self.layer.call;
        let scale = self.tensor(&declared.computation.scale)?.map(|tensor| tensor.cast(DType::F64));
        let factors = scale.as_ref().and_then(Tensor::elements::<f64>).unwrap_or_default();
        if factors.is_empty() || factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
            return Err(call.unsupported("a scale of the result that is not positive"));
        }
        Ok(AffineGrid::hardware(declared.computation.storage, factors.to_vec()))
    }

    /// Everything that the section names, as it is written, with its value where that is one number or one
    /// for each channel.
    fn why(&self, declared: &Declared, grid: &AffineGrid, channels: usize) -> Vec<Why> {
        let value = |named: &Named| -> Vec<f64> {
            let Some(slot) = named.slot else { return grid.factors.to_vec() };
            let tensor = match self.get(slot) {
                Some(Data::Attr(Attr::Int(v))) => return vec![v as f64],
                Some(Data::Attr(Attr::Float(v))) => return vec![f64::from(v)],
                Some(Data::Value(fact)) => {
                    fact.and_then(|fact| fact.constant).and_then(|constant| constant.tensor(standard()).ok())
                }
                Some(data) => tensor_of(data),
                None => None,
            };
            let elements = tensor.map(|tensor| tensor.cast(DType::F64));
            elements.as_ref().and_then(Tensor::elements::<f64>).unwrap_or_default().to_vec()
        };
        let shown = |value: &Vec<f64>| value.len() == 1 || value.len() == channels;
        let note = |named: &Named| {
            let why = Why::new(named.name.to_string(), named.text.to_string());
            why.value(&Some(value(named)).filter(shown).unwrap_or_default())
        };
        declared.computation.named.iter().map(note).collect()
    }

    fn eval(&self, expr: &Expr) -> Result<Data, OpError> {
        expr.eval(self, standard()).ok_or_else(|| self.no_value())
    }

    fn no_value(&self) -> OpError {
        self.layer.call.unsupported("a parameter computation that has no value here")
    }

    /// The tensor that a template comes to; `None` for an absent operand.
    fn tensor(&self, template: &Template) -> Result<Option<Arc<Tensor>>, OpError> {
        let constant = |data: Data| match data {
            Data::Value(None) => Ok(None),
            Data::Value(Some(Fact { constant: Some(constant), .. })) => constant.tensor(standard()).map(Some),
            data => tensor_of(data).map(Some).ok_or_else(|| self.no_value()),
        };
        match template {
            Template::Absent => Ok(None),
            Template::Slot(slot) => constant(self.get(*slot).ok_or_else(|| self.no_value())?),
            Template::Tensor(expr) => constant(self.eval(expr)?),
            Template::Op(template) => self.op(template).map(Some),
            // Only patterns bind a rest of operands.
            Template::More(_) => Err(self.no_value()),
        }
    }

    fn op(&self, template: &OpTemplate) -> Result<Arc<Tensor>, OpError> {
        let mut operands = Vec::with_capacity(template.operands.len());
        for operand in &template.operands {
            operands.push(self.tensor(operand)?.map(|tensor| (*tensor).clone()));
        }
        while operands.last() == Some(&None) {
            operands.pop();
        }
        let attrs = complete(template, attrs(template, self).ok_or_else(|| self.no_value())?)?;
        let results = standard().eval(&template.op, &attrs, &operands, Arithmetic::Exact)?;
        results.into_iter().next().map(Arc::new).ok_or_else(|| self.no_value())
    }
}
