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

/// New results of `op`: the one called `name`, of several each `<name>_<result>`.
pub fn result_values(registry: &Registry, op: &str, name: &str, types: &[TensorType]) -> Vec<Value> {
    let specs = registry.find(op).map(|entry| entry.schema.results.as_slice()).unwrap_or_default();
    types
        .iter()
        .enumerate()
        .map(|(at, ty)| match specs.get(at) {
            Some(result) if types.len() > 1 => Value::new(format!("{name}_{result}"), ty.clone()),
            _ => Value::new(name, ty.clone()),
        })
        .collect()
}
