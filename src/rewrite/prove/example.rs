//! Counter-examples as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::rule::Rule;
use super::shrink::Found;
use super::trial::{Fault, Trial};
use crate::diag::Loc;
use crate::interp::Plan as Run;
use crate::ir::{Graph, Kind, ValueId};
use crate::ops::{Arithmetic, Registry};
use crate::syntax::qir;
use crate::tensor::Tensor;

/// A graph without inputs that shows the fault: with both sides as outputs where both can be built,
/// otherwise the left side alone. Its comments say what is wrong.
pub fn text(words: &str, found: &Found, registry: &Registry) -> String {
    let Found { trial, fault, .. } = found;
    let graph = match &trial.sides {
        Ok(sides) => fixed(&sides.graph, trial),
        Err(_) => fixed(&trial.before, trial),
    };
    let mut out = format!("// counter-example: {}\n", line(words));
    match fault {
        Fault::Differs(difference) => {
            let outputs = Run::new(&graph, registry, Arithmetic::Exact)
                .and_then(|run| run.run(&Default::default(), &mut |_, _| {}))
                .unwrap_or_default();
            for (output, tensor) in graph.outputs().iter().zip(&outputs) {
                // Writing to a String does not fail.
                let _ = writeln!(out, "// {} = {}", output.name, shown(tensor));
            }
            let (result, at) = difference.at;
            let (left, right) = (outputs.get(result), outputs.get(outputs.len() / 2 + result));
            if let (Some(left), Some(right)) = (left, right) {
                out += &elsewhere(left, right, at);
            }
        }
        Fault::Fails(_) => out += "// the right side cannot be run\n",
        Fault::Broken(_) => out += "// the left side alone; the right side does not fit\n",
    }
    out += &qir::print_whole(&graph, registry);
    out
}

/// The left side of an instance, with the inner value at `read` as a further output.
pub fn left(rule: &Rule, words: &str, before: &Graph, read: Option<ValueId>, registry: &Registry) -> String {
    let mut graph = before.clone();
    if let Some(value) = read {
        graph.add_output(graph.value(value).name.clone(), value);
    }
    let head = format!("// left side of rule `{}`: {}\n", rule.name, line(words));
    head + &qir::print_whole(&graph, registry)
}

/// Both forms of a declared layer on the same numbers.
pub fn layer(words: &str, graph: &Graph, registry: &Registry) -> String {
    format!("// counter-example: {}\n", line(words)) + &qir::print_whole(graph, registry)
}

fn line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Elements of a tensor that are shown.
const MOST: usize = 16;

/// Where two results differ, if that is not among what is shown of them.
fn elsewhere(left: &Tensor, right: &Tensor, at: usize) -> String {
    if at < MOST {
        return String::new();
    }
    let number = |tensor| super::numbers::floats(tensor).get(at).copied().unwrap_or_default();
    let mut rest = at;
    let mut index: Vec<String> = Vec::new();
    for &size in left.sizes().iter().rev() {
        index.insert(0, (rest % size.max(1)).to_string());
        rest /= size.max(1);
    }
    format!("// at [{}] they are {} and {}\n", index.join(", "), number(left), number(right))
}

/// The first elements.
fn shown(tensor: &Tensor) -> String {
    let elements = super::numbers::floats(tensor);
    let first: Vec<String> = elements.iter().take(MOST).map(|v| v.to_string()).collect();
    format!("[{}{}]", first.join(", "), if elements.len() > MOST { ", …" } else { "" })
}

/// The graph with a constant in place of each input.
fn fixed(graph: &Graph, trial: &Trial) -> Graph {
    let mut out = Graph::new(graph.name.clone());
    let mut values: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let first = node.results.first().map(|value| value.name.clone()).unwrap_or_default();
        let new = match &node.kind {
            Kind::Input => {
                let Some(tensor) = trial.feeds.get(&*first) else { continue };
                let ty = graph.ty(ValueId { node: id, result: 0 }).clone();
                let constant = out.add_const(&first, tensor.cast(ty.storage()), Loc::unknown());
                out.set_type(constant, ty);
                constant.node
            }
            Kind::Const(constant) => {
                out.add_const(&first, (**graph.constants.tensor(*constant)).clone(), Loc::unknown()).node
            }
            Kind::Op { op, attrs } => {
                let operands =
                    node.operands.iter().map(|value| value.and_then(|value| values.get(&value).copied()));
                let operands = operands.collect();
                out.add_op(op, attrs.clone(), operands, node.results.clone(), Loc::unknown())
            }
        };
        for result in 0..node.results.len() as u32 {
            values.insert(ValueId { node: id, result }, ValueId { node: new, result });
        }
    }
    for output in graph.outputs() {
        if let Some(&value) = values.get(&output.value) {
            out.add_output(output.name.clone(), value);
        }
    }
    out.remove_dead();
    out
}
