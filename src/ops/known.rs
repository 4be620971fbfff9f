//! What is known of values while a file is read: types are inferred then, so lists that decide them
//! (the axes of a reduction, the sizes of a reshape) must be worked out before the network runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Arithmetic, Registry};
use crate::ir::{Graph, Kind, ValueId};
use crate::tensor::{Dim, Grid, Tensor};

/// The tensors of values that depend on no input but given ones, and on sizes that do not matter. Each is
/// worked out when it is first asked for, and once.
///
/// Files compute sizes from the sizes of values, of which some (the batch) may be open. What comes out is
/// worked out for several choices of the open sizes, 1 among them; what is the same for all of them is known.
pub struct Known {
    /// Where no size is chosen, then those where open sizes are.
    tables: [Table; 1 + CHOICES.len()],
    /// The open sizes met so far.
    symbols: RefCell<Vec<Arc<str>>>,
}

type Table = RefCell<BTreeMap<ValueId, Option<Arc<Tensor>>>>;

/// What an open size may be: small ones, where conditions and divisions show, and large ones.
const CHOICES: [usize; 6] = [1, 2, 3, 7, 64, 7919];

/// An entry of a list of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Number(i64),
    /// The open size of that name.
    Size(Arc<str>),
    Open,
}

impl Default for Known {
    fn default() -> Self {
        Self { tables: std::array::from_fn(|_| Table::default()), symbols: RefCell::default() }
    }
}

impl Known {
    /// Says what an input will be.
    pub fn give(&self, input: ValueId, tensor: Tensor) {
        let tensor = Arc::new(tensor);
        for table in &self.tables {
            table.borrow_mut().insert(input, Some(tensor.clone()));
        }
    }

    /// The tensor of a value; `None` where it is not known before the network runs.
    pub fn get(&self, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Arc<Tensor>> {
        if let Some(tensor) = self.in_table(0, graph, registry, value) {
            return Some(tensor);
        }
        let all = self.chosen(graph, registry, value)?;
        let (first, others) = all.split_first()?;
        others.iter().all(|other| other == first).then(|| first.clone())
    }

    /// The entries of a list of integers, those that do not depend on what the network is given; `None` where
    /// not even their number is known.
    pub fn entries(&self, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Vec<Entry>> {
        let all = self.chosen(graph, registry, value)?;
        let all: Vec<&[i64]> = all.iter().map(|tensor| tensor.elements::<i64>()).collect::<Option<_>>()?;
        let (first, others) = all.split_first()?;
        if others.iter().any(|other| other.len() != first.len()) {
            return None;
        }
        let entry = |at: usize| {
            if others.iter().all(|other| other[at] == first[at]) {
                return Entry::Number(first[at]);
            }
            let is = |symbol: usize| {
                (0..).zip(&all).all(|(choice, list)| usize::try_from(list[at]) == Ok(chosen(choice, symbol)))
            };
            let symbols = self.symbols.borrow();
            let symbol = (0..symbols.len()).find(|&symbol| is(symbol));
            symbol.and_then(|symbol| symbols.get(symbol).cloned()).map_or(Entry::Open, Entry::Size)
        };
        Some((0..first.len()).map(entry).collect())
    }

    /// The tensor of a value for every choice of the open sizes.
    fn chosen(&self, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Vec<Arc<Tensor>>> {
        (1..self.tables.len()).map(|table| self.in_table(table, graph, registry, value)).collect()
    }

    fn in_table(&self, at: usize, graph: &Graph, registry: &Registry, value: ValueId) -> Option<Arc<Tensor>> {
        let table = self.tables.get(at)?;
        // Operands before what reads them; a stack, as chains may be long.
        let mut stack = vec![value];
        while let Some(&value) = stack.last() {
            if table.borrow().contains_key(&value) {
                stack.pop();
                continue;
            }
            let node = graph.node(value.node);
            let sizes = self.sizes(at, graph, value);
            let open: Vec<ValueId> = match &node.kind {
                Kind::Op { .. } if sizes.is_none() => {
                    let tensors = table.borrow();
                    let operands = || node.operands.iter().flatten().copied();
                    // One that is not known is enough.
                    if operands().any(|operand| matches!(tensors.get(&operand), Some(None))) {
                        Vec::new()
                    } else {
                        operands().filter(|operand| !tensors.contains_key(operand)).collect()
                    }
                }
                _ => Vec::new(),
            };
            if let Some(&first) = open.first() {
                stack.push(first);
                continue;
            }
            let results = match sizes {
                Some(sizes) => Some(vec![sizes]),
                None => self.results(table, graph, registry, value),
            };
            let mut tensors = table.borrow_mut();
            for result in 0..node.results.len() as u32 {
                let tensor = results.as_ref().and_then(|all| all.get(result as usize)).cloned();
                tensors.insert(ValueId { node: value.node, result }, tensor.map(Arc::new));
            }
            stack.pop();
        }
        table.borrow().get(&value).cloned().flatten()
    }

    /// The sizes of a value as chosen, if that is what the operator of `value` gives.
    fn sizes(&self, table: usize, graph: &Graph, value: ValueId) -> Option<Tensor> {
        let choice = table.checked_sub(1)?;
        let node = graph.node(value.node);
        let of = node.operand(0).filter(|_| node.op() == Some("shape"))?;
        let mut symbols = self.symbols.borrow_mut();
        let mut size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(name) => {
                let at = symbols.iter().position(|symbol| symbol == name).unwrap_or_else(|| {
                    symbols.push(name.clone());
                    symbols.len() - 1
                });
                chosen(choice, at)
            }
        };
        let sizes = graph.ty(of).shape.iter().map(|dim| i64::try_from(size(dim)).ok());
        Some(Tensor::vector(sizes.collect::<Option<Vec<i64>>>()?))
    }

    /// The results of the node of `value`, whose operands were looked at; a fault of an operator is left to
    /// the run.
    fn results(
        &self,
        table: &Table,
        graph: &Graph,
        registry: &Registry,
        value: ValueId,
    ) -> Option<Vec<Tensor>> {
        if let Some(tensor) = graph.constant(value) {
            return Some(vec![(**tensor).clone()]);
        }
        let node = graph.node(value.node);
        let Kind::Op { op, attrs } = &node.kind else { return None };
        let tensors = table.borrow();
        let mut operands = Vec::new();
        for operand in &node.operands {
            operands.push(match operand {
                None => None,
                Some(operand) => Some((**tensors.get(operand)?.as_ref()?).clone()),
            });
        }
        let grids: Vec<Option<&Grid>> =
            node.operands.iter().map(|operand| operand.map(|value| &graph.ty(value).grid)).collect();
        registry.eval_on(op, attrs, &operands, &grids, Arithmetic::Exact).ok()
    }
}

/// The size that an open one has in a choice; no two open sizes have the same in all of them.
fn chosen(choice: usize, symbol: usize) -> usize {
    CHOICES.get(choice).copied().unwrap_or(1) + symbol * (choice + 1)
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
    #[test]
    fn what_open_sizes_do_not_change_is_known() {
        let registry = Registry::built_in();
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", ty("f32[N, 3, M]"), Loc::unknown());
        let two = graph.add_const("two", tensor(&[1], [2i64]), Loc::unknown());
        let mut builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
        let mut op =
            |op: &str, attrs: Attrs, operands: &[ValueId]| builder.op(op, attrs, operands, op).unwrap();
        let sizes = op("shape", Attrs::new(), &[x]);
        let mut part = |at: i64| {
            let attrs = Attrs::new().with("axes", vec![0]).with("starts", vec![at]);
            op("slice", attrs.with("sizes", vec![1]).with("steps", vec![1]), &[sizes])
        };
        let (n, three, m) = (part(0), part(1), part(2));
        let six = op("mul", Attrs::new(), &[three, two]);
        let twice = op("mul", Attrs::new(), &[n, two]);
        let rest = op("sub", Attrs::new(), &[n, n]);
        let half = op("div", Attrs::new(), &[n, two]);
        let one = op("equal", Attrs::new(), &[n, rest]);
        let list = op("concat", Attrs::new().with("axis", 0), &[m, six, n, twice]);
        let known = Known::default();
        let get = |value| known.get(&graph, &registry, value).map(|tensor| (*tensor).clone());
        assert_eq!(get(six), Some(tensor(&[1], [6i64])));
        assert_eq!(get(rest), Some(tensor(&[1], [0i64])));
        assert_eq!(get(one), Some(tensor(&[1], [false])));
        assert_eq!([n, half, list].map(get), [None, None, None]);
        let entries = known.entries(&graph, &registry, list);
        let size = |name: &str| Entry::Size(name.into());
        assert_eq!(entries, Some(vec![size("M"), Entry::Number(6), size("N"), Entry::Open]));
        assert_eq!(known.entries(&graph, &registry, x), None);
    }
}
