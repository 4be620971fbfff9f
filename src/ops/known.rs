//! What is known of values while a file is read: types are inferred then, so lists that decide them
//! (the axes of a reduction, the sizes of a reshape) must be worked out before the network runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Arithmetic, Registry};
use crate::ir::{Graph, Kind, ValueId};
use crate::tensor::Tensor;

/// The tensors of values that depend on no input but given ones. Each is worked out when it is first asked
/// for, and once.
#[derive(Default)]
pub struct Known {
    tensors: RefCell<BTreeMap<ValueId, Option<Arc<Tensor>>>>,
}

impl Known {
    /// Says what an input will be.
    pub fn give(&self, input: ValueId, tensor: Tensor) {
        self.tensors.borrow_mut().insert(input, Some(Arc::new(tensor)));
    }

    /// The tensor of a value; `None` where it is not known before the network runs.
    pub fn get(&self, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Arc<Tensor>> {
        // Operands before what reads them; a stack, as chains may be long.
        let mut stack = vec![value];
        while let Some(&value) = stack.last() {
            if self.tensors.borrow().contains_key(&value) {
                stack.pop();
                continue;
            }
            let node = graph.node(value.node);
            let open: Vec<ValueId> = match &node.kind {
                Kind::Op { .. } => {
                    let tensors = self.tensors.borrow();
                    let operands = || node.operands.iter().flatten().copied();
                    // One that is not known is enough.
                    if operands().any(|operand| matches!(tensors.get(&operand), Some(None))) {
                        Vec::new()
                    } else {
                        operands().filter(|operand| !tensors.contains_key(operand)).collect()
                    }
                }
                Kind::Input | Kind::Const(_) => Vec::new(),
            };
            if let Some(&first) = open.first() {
                stack.push(first);
                continue;
            }
            let results = self.results(graph, registry, value);
            let mut tensors = self.tensors.borrow_mut();
            for result in 0..node.results.len() as u32 {
                let tensor = results.as_ref().and_then(|all| all.get(result as usize)).cloned();
                tensors.insert(ValueId { node: value.node, result }, tensor.map(Arc::new));
            }
            stack.pop();
        }
        self.tensors.borrow().get(&value).cloned().flatten()
    }

    /// The results of the node of `value`, whose operands were looked at; a fault of an operator is left to
    /// the run.
    fn results(&self, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Vec<Tensor>> {
        if let Some(tensor) = graph.constant(value) {
            return Some(vec![(**tensor).clone()]);
        }
        let node = graph.node(value.node);
        let Kind::Op { op, attrs } = &node.kind else { return None };
        let tensors = self.tensors.borrow();
        let mut operands = Vec::new();
        for operand in &node.operands {
            operands.push(match operand {
                None => None,
                Some(operand) => Some((**tensors.get(operand)?.as_ref()?).clone()),
            });
        }
        registry.eval(op, attrs, &operands, Arithmetic::Exact).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Builder;
    use super::super::testing::*;
    use super::*;
    use crate::diag::Loc;
    use crate::ir::Attrs;

    #[test]
    fn what_depends_on_given_values_alone_is_known() {
        let registry = Registry::built_in();
        let mut graph = Graph::new("test");
        let [x, given] = ["x", "given"].map(|name| graph.add_input(name, ty("i64[2]"), Loc::unknown()));
        let one = graph.add_const("one", tensor(&[2], [1i64, 1]), Loc::unknown());
        let mut builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
        let mut chain = given;
        for _ in 0..10_000 {
            chain = builder.op("add", Attrs::new(), &[chain, one], "chain").unwrap();
        }
        let unknown = builder.op("add", Attrs::new(), &[x, chain], "unknown").unwrap();
        let fault = builder.op("div", Attrs::new(), &[one, x], "fault").unwrap();
        let known = Known::default();
        known.give(given, tensor(&[2], [1i64, 2]));
        let get = |value| known.get(&graph, &registry, value).map(|tensor| (*tensor).clone());
        assert_eq!(get(chain), Some(tensor(&[2], [10_001i64, 10_002])));
        assert_eq!((get(unknown), get(fault), get(x)), (None, None, None));
        known.give(x, tensor(&[2], [0i64, 1]));
        // Asked for before, and not known then.
        assert_eq!(get(fault), None);
    }
}
