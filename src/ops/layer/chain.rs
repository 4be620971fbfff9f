//! The float meaning of a layer: standard operators, most applied to the result of the one before.
//!
//! Types, values and the unfused form of a layer all come from this one list, so a layer in float
//! form computes what its operators compute, bit for bit.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::ir::{Attrs, ValueId};
use crate::ops::{Arithmetic, Builder, Call, Inputs, LowerCx, Lowered, OpError, Quantize, Registry};
use crate::tensor::{Tensor, TensorType};

/// One operator of a chain; it has one result.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub op: Cow<'static, str>,
    pub attrs: Attrs,
    pub operands: Vec<Source>,
}

/// Where an operand of a [`Step`] comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The layer's operand at this position, absent where that is.
    Operand(usize),
    /// The result of the step before.
    Previous,
    /// The result of the step at this position, which comes earlier.
    Step(usize),
    Constant(Arc<Tensor>),
    Absent,
}

impl Step {
    pub fn new(op: impl Into<Cow<'static, str>>, attrs: Attrs, operands: &[Source]) -> Self {
        Self { op: op.into(), attrs, operands: operands.to_vec() }
    }

    /// A step on the result of the one before, without attributes.
    pub fn plain(op: &'static str) -> Self {
        Self::new(op, Attrs::new(), &[Source::Previous])
    }

    /// The operands of the step, from those of the layer, the results of the steps before, and what
    /// constants are.
    pub fn gather<T: Clone>(
        &self,
        operands: &[Option<T>],
        results: &[T],
        mut constant: impl FnMut(&Arc<Tensor>) -> T,
    ) -> Vec<Option<T>> {
        let pick = |source: &Source| match source {
            Source::Operand(position) => operands.get(*position).cloned().flatten(),
            Source::Previous => results.last().cloned(),
            Source::Step(position) => results.get(*position).cloned(),
            Source::Constant(tensor) => Some(constant(tensor)),
            Source::Absent => None,
        };
        self.operands.iter().map(pick).collect()
    }
}

/// The operators that layers are made of.
pub fn standard() -> &'static Registry {
    &STANDARD
}

static STANDARD: LazyLock<Registry> = LazyLock::new(Registry::built_in);

/// The type after each step. With `operands` stored as floats, these are the types of the float
/// form.
pub fn types(steps: &[Step], operands: &[Option<TensorType>]) -> Result<Vec<TensorType>, OpError> {
    let mut types: Vec<TensorType> = Vec::new();
    for step in steps {
        let attrs = STANDARD.complete(&step.op, step.attrs.clone())?;
        let operands = step.gather(operands, &types, |tensor| tensor.tensor_type());
        let results = STANDARD.infer(&step.op, &attrs, &operands)?;
        // Every operator of a chain has one result.
        types.extend(results.into_iter().take(1));
    }
    Ok(types)
}

/// The result of the chain.
pub fn eval(steps: &[Step], inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
    let mut results: Vec<Tensor> = Vec::new();
    for step in steps {
        let attrs = STANDARD.complete(&step.op, step.attrs.clone())?;
        let operands = step.gather(inputs.tensors, &results, |tensor| (**tensor).clone());
        results.extend(STANDARD.eval(&step.op, &attrs, &operands, Arithmetic::Exact)?.into_iter().take(1));
    }
    Ok(results.pop().into_iter().collect())
}

/// The chain as ONNX nodes; results between are called `<result>_<position>`.
pub fn lower(steps: &[Step], cx: &mut LowerCx) -> Result<Lowered, OpError> {
    let result = cx.result_names.first().cloned().unwrap_or_default();
    let operand_names: Vec<Option<String>> =
        cx.operand_names.iter().map(|name| (!name.is_empty()).then(|| name.clone())).collect();
    let mut names: Vec<String> = Vec::new();
    let mut types: Vec<TensorType> = Vec::new();
    let mut nodes = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let last = i + 1 == steps.len();
        let (node_name, name) = match last {
            true => (cx.node_name.to_owned(), result.clone()),
            false => (format!("{}_{i}", cx.node_name), format!("{result}_{i}")),
        };
        let attrs = STANDARD.complete(&step.op, step.attrs.clone())?;
        let operands = step.gather(cx.call.operands, &types, |tensor| tensor.tensor_type());
        let given: Vec<Option<&Tensor>> = step
            .operands
            .iter()
            .map(|source| match source {
                Source::Operand(position) => cx.constants.get(*position).copied().flatten(),
                Source::Constant(tensor) => Some(&**tensor),
                _ => None,
            })
            .collect();
        let inputs = step.gather(&operand_names, &names, |tensor| {
            cx.initializer(&format!("{i}_constant"), (**tensor).clone())
        });
        let inputs: Vec<String> = inputs.into_iter().map(Option::unwrap_or_default).collect();
        let results = STANDARD.infer(&step.op, &attrs, &operands)?;
        let entry = STANDARD.get(&step.op)?;
        let call = Call { schema: &entry.schema, attrs: &attrs, operands: &operands };
        let outputs = [name.clone()];
        let mut of_step = LowerCx::new(call, &node_name, &inputs, &outputs, &results, &given);
        match entry.operator.lower(&mut of_step)? {
            Lowered::Nodes(made) => nodes.extend(made),
            Lowered::Layer { .. } => return Err(call.unsupported("a device layer in a chain")),
        }
        let made = of_step.into_initializers();
        cx.add_initializers(made);
        names.push(name);
        types.extend(results.into_iter().take(1));
    }
    Ok(Lowered::Nodes(nodes))
}

/// Builds the chain that a layer in float form stands for; the last result is called `name`, those
/// before it `name_<operator>`. The operator that gave the layer its node name, the first that
/// computes, gets it back.
///
/// # Errors
/// `op` is not a layer, or its operands are not of the float form.
pub fn expand(
    builder: &mut Builder,
    op: &str,
    attrs: &Attrs,
    operands: &[Option<ValueId>],
    name: &str,
    node_name: &str,
) -> Result<ValueId, OpError> {
    let registry = builder.registry;
    let entry = registry.get(op)?;
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|operand| operand.map(|value| builder.graph.ty(value).clone())).collect();
    let call = Call { schema: &entry.schema, attrs, operands: &types };
    let steps = match entry.operator.quantize() {
        Quantize::Layer(layer) => layer.chain(&call)?,
        Quantize::FixedPoint(layer) => layer.chain(&call)?,
        Quantize::No(_) => {
            return Err(call.unsupported("the float form of an operator that is no layer"));
        }
    };
    let first = steps.iter().position(|step| !matches!(&*step.op, "channel_pad" | "flatten"));
    let mut results: Vec<ValueId> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let name = if i + 1 == steps.len() { name.to_owned() } else { format!("{name}_{}", step.op) };
        let operands = step.gather(operands, &results, |tensor| {
            builder.graph.add_const(&format!("{name}_constant"), (**tensor).clone(), builder.loc.clone())
        });
        let node = builder.node(&step.op, step.attrs.clone(), operands, &name)?;
        if Some(i) == first {
            builder.graph.set_node_name(node, node_name);
        }
        results.push(ValueId { node, result: 0 });
    }
    results.pop().ok_or_else(|| call.unsupported("a layer of no operators"))
}
