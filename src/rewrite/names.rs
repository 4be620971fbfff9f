//! What new values are called, by both engines.

use std::sync::Arc;

use crate::ir::Value;
use crate::ops::Registry;
use crate::tensor::TensorType;

/// Names for new values that a node of `op` reads: `<base>_<operand>`. `base` is the name of the
/// node, or of its value.
pub fn operand_names(registry: &Registry, op: &str, base: &str, count: usize) -> Vec<Arc<str>> {
    let specs = registry.find(op).map(|entry| entry.schema.operands.as_slice()).unwrap_or_default();
    (0..count)
        .map(|position| match specs.get(position) {
            Some(spec) => format!("{base}_{}", spec.name).into(),
            None => format!("{base}_{position}").into(),
        })
        .collect()
}

/// New results of `op`, of a node that is called `name`.
pub fn result_values(registry: &Registry, op: &str, name: &str, types: &[TensorType]) -> Vec<Value> {
    let schema = registry.find(op).map(|entry| &entry.schema);
    let called = |at: usize| match schema {
        Some(schema) => schema.result_name(name, at, types.len()),
        None => name.to_owned(),
    };
    types.iter().enumerate().map(|(at, ty)| Value::new(called(at), ty.clone())).collect()
}
