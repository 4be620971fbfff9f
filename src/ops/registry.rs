//! The operators that exist: a value, so that rule files can add layers to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Arithmetic, Call, Default, Inputs, Lift, OpError, Operator, Presence, Schema};
use crate::diag::nearest;
use crate::ir::Attrs;
use crate::tensor::{Grid, Tensor, TensorType};

/// An operator with its schema at hand.
pub struct Entry {
    pub schema: Schema,
    pub operator: Box<dyn Operator>,
}

#[derive(Clone)]
pub struct Registry {
    ops: BTreeMap<String, Arc<Entry>>,
    lifts: BTreeMap<(String, String), Lift>,
}

impl std::default::Default for Registry {
    fn default() -> Self {
        Self::built_in()
    }
}

impl Registry {
    /// Every operator of this crate.
    pub fn built_in() -> Self {
        let mut registry = Self { ops: BTreeMap::new(), lifts: BTreeMap::new() };
        for operator in super::built_in() {
            registry.add(operator);
        }
        registry
    }

    /// Adds an operator; one of the same name is replaced.
    pub fn add(&mut self, operator: Box<dyn Operator>) {
        let schema = operator.schema();
        for lift in operator.lifts() {
            self.lifts.insert((lift.domain.to_string(), lift.op_type.to_string()), lift);
        }
        self.ops.insert(schema.name.to_string(), Arc::new(Entry { schema, operator }));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.ops.values().map(|entry| &**entry)
    }

    pub fn find(&self, op: &str) -> Option<&Entry> {
        self.ops.get(op).map(|entry| &**entry)
    }

    pub fn get(&self, op: &str) -> Result<&Entry, OpError> {
        self.find(op).ok_or_else(|| OpError::UnknownOp { op: op.to_owned(), similar: self.similar(op) })
    }

    /// The version of a domain that its operators are of, if there are any.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.lifts.values().filter(|lift| lift.domain == domain).map(Lift::since).max()
    }

    /// How an ONNX operator is read. A number behind its name (`Name.2`) tells functions of one operator apart.
    pub fn lift(&self, domain: &str, op_type: &str) -> Option<&Lift> {
        let domain = if domain == "ai.onnx" { "" } else { domain };
        let numbered = op_type.rsplit_once('.').filter(|(_, number)| number.parse::<usize>().is_ok());
        let op_type = numbered.map_or(op_type, |(name, _)| name);
        self.lifts.get(&(domain.to_owned(), op_type.to_owned()))
    }

    /// The registered name nearest to a misspelt one.
    fn similar(&self, op: &str) -> Option<String> {
        nearest(op, self.ops.keys().map(String::as_str)).map(str::to_owned)
    }

    /// `attrs` with every default filled in.
    ///
    /// # Errors
    /// An attribute that the schema does not have, lacks, or has of another kind.
    pub fn complete(&self, op: &str, mut attrs: Attrs) -> Result<Attrs, OpError> {
        let schema = &self.get(op)?.schema;
        for (name, value) in attrs.iter() {
            let Some(spec) = schema.attr_spec(name) else {
                let known = schema.attrs.iter().map(|spec| spec.name.to_string()).collect();
                return Err(OpError::UnknownAttr { op: op.to_owned(), attr: name.to_owned(), known });
            };
            if spec.kind != value.kind() {
                return Err(OpError::AttrKind {
                    op: op.to_owned(),
                    attr: name.to_owned(),
                    expected: spec.kind.name(),
                    found: value.kind().name(),
                });
            }
        }
        for spec in &schema.attrs {
            match (&spec.default, attrs.get(&spec.name)) {
                (Default::Value(value), None) => attrs.set(&spec.name, value.clone()),
                (Default::Required, None) => {
                    return Err(OpError::MissingAttr { op: op.to_owned(), attr: spec.name.to_string() });
                }
                _ => {}
            }
        }
        Ok(attrs)
    }

    /// Types of the results of `op` (spec: [`Operator::infer`]), operand count checked first.
    pub fn infer(
        &self,
        op: &str,
        attrs: &Attrs,
        operands: &[Option<TensorType>],
    ) -> Result<Vec<TensorType>, OpError> {
        let entry = self.get(op)?;
        check_operands(&entry.schema, operands)?;
        entry.operator.infer(&Call { schema: &entry.schema, attrs, operands })
    }

    /// Evaluates one application of `op`: operand types are those of the tensors.
    pub fn eval(
        &self,
        op: &str,
        attrs: &Attrs,
        tensors: &[Option<Tensor>],
        arithmetic: Arithmetic,
    ) -> Result<Vec<Tensor>, OpError> {
        self.eval_on(op, attrs, tensors, &[], arithmetic)
    }

    /// [`Registry::eval`] of operands on the given grids; those without one are plain.
    pub fn eval_on(
        &self,
        op: &str,
        attrs: &Attrs,
        tensors: &[Option<Tensor>],
        grids: &[Option<&Grid>],
        arithmetic: Arithmetic,
    ) -> Result<Vec<Tensor>, OpError> {
        let entry = self.get(op)?;
        let typed = |(at, tensor): (usize, &Option<Tensor>)| {
            let ty = tensor.as_ref()?.tensor_type();
            let grid = grids.get(at).copied().flatten().cloned();
            Some(TensorType { grid: grid.unwrap_or(ty.grid), ..ty })
        };
        let operands: Vec<Option<TensorType>> = tensors.iter().enumerate().map(typed).collect();
        let call = Call { schema: &entry.schema, attrs, operands: &operands };
        check_operands(&entry.schema, &operands)?;
        for ty in entry.operator.infer(&call)? {
            expect_room(op, &ty)?;
        }
        entry.operator.eval(&Inputs { call, tensors }, arithmetic)
    }

    /// The state that `op` begins with: zeros; `None` for an operator without one.
    pub fn zero_state(
        &self,
        op: &str,
        attrs: &Attrs,
        tensors: &[Option<Tensor>],
    ) -> Result<Option<Tensor>, OpError> {
        let schema = &self.get(op)?.schema;
        let Some(state) = schema.state else { return Ok(None) };
        let operands: Vec<Option<TensorType>> =
            tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
        let ty = (state.ty)(&Call { schema, attrs, operands: &operands })?;
        expect_room(op, &ty)?;
        let sizes = ty.shape.sizes().unwrap_or_default();
        let bytes = vec![0; sizes.iter().product::<usize>() * ty.storage().size()];
        Ok(Tensor::from_le_bytes(ty.storage(), &sizes, &bytes))
    }
}

/// Elements of a result: attributes and a few sizes can ask for any number, and no network has more.
const MAX_ELEMENTS: usize = 1 << 31;

/// That there is memory for a result: what an operator allocates itself ends the process where there
/// is none.
fn expect_room(op: &str, ty: &TensorType) -> Result<(), OpError> {
    // Operands are tensors, so every size is known; a product that overflows is too large too.
    let elements = ty.shape.elements();
    let bytes = elements.filter(|&elements| elements <= MAX_ELEMENTS).map(|n| n * ty.storage().size());
    if bytes.is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok()) {
        return Ok(());
    }
    let what = format!("a result of shape {}, for which there is no memory,", ty.shape);
    Err(OpError::Unsupported { op: op.to_owned(), what, way_out: None })
}

fn check_operands(schema: &Schema, operands: &[Option<TensorType>]) -> Result<(), OpError> {
    let (least, most) = schema.arity();
    if most.is_some_and(|most| operands.len() > most) {
        let expected = match most {
            Some(most) if most == least => most.to_string(),
            Some(most) => format!("{least} to {most}"),
            None => format!("at least {least}"),
        };
        return Err(OpError::Arity { op: schema.name.to_string(), expected, found: operands.len() });
    }
    for (position, spec) in schema.operands.iter().enumerate() {
        let absent = !matches!(operands.get(position), Some(Some(_)));
        if absent && spec.presence != Presence::Optional {
            let (op, operand) = (schema.name.to_string(), spec.name.to_string());
            return Err(OpError::MissingOperand { op, operand });
        }
    }
    if let Some(gap) = operands.iter().skip(schema.operands.len()).position(Option::is_none) {
        let operand = format!("{}", schema.operands.len() + gap);
        return Err(OpError::MissingOperand { op: schema.name.to_string(), operand });
    }
    Ok(())
}
