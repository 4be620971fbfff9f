//! Both sides of a rule on the same numbers.

use std::collections::BTreeMap;

use super::super::rule::Contract;
use super::numbers::floats;
use crate::interp::Plan as Run;
use crate::ir::{Attr, Attrs, Graph, Kind, ValueId};
use crate::ops::{Arithmetic, Builder, Registry};
use crate::tensor::{DType, Grid, Tensor, TensorType};

/// What rounding may make of sums and products of few terms in f64, relative to the largest number
/// on the way.
const IN_F64: f64 = 1.0 / (1u64 << 36) as f64;
/// The same where numbers of the rule were rounded to f32.
const WITH_F32: f64 = 1.0 / (1u64 << 18) as f64;
/// The same where operators computed in f32.
const IN_F32: f64 = 1.0 / (1u64 << 12) as f64;

/// Both sides in one graph: its outputs are `left`, then `right`, of as many results each.
#[derive(Clone)]
pub struct Sides {
    pub graph: Graph,
    pub contract: Contract,
    /// Difference that is no fault, relative to the largest number on either side.
    pub tolerance: f64,
}

/// Where two sides differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The result, and the element of it.
    pub at: (usize, usize),
    pub left: f64,
    pub right: f64,
    /// Largest difference that is no fault; 0 for `bitexact`.
    pub bound: f64,
}

/// What one run of both sides came to.
pub enum Ran {
    /// The left side is a finite number nowhere: nothing was compared.
    Undefined,
    /// The largest difference, relative to the largest number.
    Equal(f64),
    Differs(Difference),
    /// A side that cannot be run, in words.
    Fails(String),
}

impl Sides {
    /// `graph` has results of the left side and values of the right side; the outputs are set here.
    pub fn new(graph: Graph, contract: Contract, rounds: bool, registry: &Registry) -> Self {
        if contract == Contract::BitExact {
            return Self { graph, contract, tolerance: 0.0 };
        }
        match widened(&graph, registry) {
            Some(graph) => Self { graph, contract, tolerance: if rounds { WITH_F32 } else { IN_F64 } },
            None => Self { graph, contract, tolerance: IN_F32 },
        }
    }

    /// Runs both sides.
    pub fn run(&self, feeds: &BTreeMap<String, Tensor>, registry: &Registry) -> Ran {
        let (outputs, largest) = match self.evaluate(feeds, registry) {
            Ok(done) => done,
            Err(error) => return Ran::Fails(error),
        };
        let (left, right) = outputs.split_at(outputs.len() / 2);
        match self.contract {
            Contract::BitExact => exact(left, right),
            Contract::Real => near(left, right, self.tolerance, largest),
            Contract::Lossy => near(left, right, f64::INFINITY, largest),
        }
    }

    /// The outputs of both sides.
    pub fn outputs(&self, feeds: &BTreeMap<String, Tensor>, registry: &Registry) -> Option<Vec<Tensor>> {
        self.evaluate(feeds, registry).ok().map(|(outputs, _)| outputs)
    }

    /// The outputs, and the largest number on the way.
    fn evaluate(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        registry: &Registry,
    ) -> Result<(Vec<Tensor>, f64), String> {
        let feeds: BTreeMap<String, Tensor> = self
            .graph
            .inputs()
            .map(|input| self.graph.value(input))
            .filter_map(|value| {
                let tensor = feeds.get(&*value.name)?;
                Some((value.name.to_string(), tensor.cast(value.ty.storage())))
            })
            .collect();
        let mut largest = 0.0f64;
        let mut observe = |_: ValueId, tensor: &Tensor| {
            if self.contract == Contract::BitExact {
                return;
            }
            let finite = floats(tensor).into_iter().map(f64::abs).filter(|v| v.is_finite());
            largest = finite.fold(largest, f64::max);
        };
        let run = Run::new(&self.graph, registry, Arithmetic::Exact);
        let outputs =
            run.and_then(|run| run.run(&feeds, &mut observe)).map_err(|error| error.error.to_string())?;
        Ok((outputs, largest))
    }
}

fn exact(left: &[Tensor], right: &[Tensor]) -> Ran {
    for (result, (left, right)) in left.iter().zip(right).enumerate() {
        let (a, b) = (floats(left), floats(right));
        // 64-bit integers may be equal only as f64.
        let bytes = (!left.dtype().is_float()).then(|| (left.to_le_bytes(), right.to_le_bytes()));
        let size = left.dtype().size();
        let differs = |at: usize, (&a, &b): (&f64, &f64)| match &bytes {
            // Zeros of either sign are equal; NaN stands for any NaN.
            None => a != b && !(a.is_nan() && b.is_nan()),
            Some((left, right)) => {
                let range = at * size..(at + 1) * size;
                a != b || left.get(range.clone()) != right.get(range)
            }
        };
        let at = a.iter().zip(&b).enumerate().position(|(at, pair)| differs(at, pair));
        if let Some((at, left, right)) = at.and_then(|at| Some((at, *a.get(at)?, *b.get(at)?))) {
            return Ran::Differs(Difference { at: (result, at), left, right, bound: 0.0 });
        }
    }
    Ran::Equal(0.0)
}

fn near(left: &[Tensor], right: &[Tensor], tolerance: f64, largest: f64) -> Ran {
    let mut worst = None;
    let bound = tolerance * largest.max(f64::MIN_POSITIVE);
    for (result, (left, right)) in left.iter().zip(right).enumerate() {
        for (at, (a, b)) in floats(left).into_iter().zip(floats(right)).enumerate() {
            if !a.is_finite() {
                continue;
            }
            let difference = (a - b).abs();
            // NaN on the right side only is a difference.
            if difference > bound || difference.is_nan() {
                return Ran::Differs(Difference { at: (result, at), left: a, right: b, bound });
            }
            worst = Some(f64::max(worst.unwrap_or(0.0), difference / largest.max(f64::MIN_POSITIVE)));
        }
    }
    worst.map_or(Ran::Undefined, Ran::Equal)
}

/// The same operators over f64 in place of f32; `None` where one does not take that.
fn widened(graph: &Graph, registry: &Registry) -> Option<Graph> {
    let mut wide = Graph::new(graph.name.clone());
    let mut values: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let to = |dtype: DType| if dtype == DType::F32 { DType::F64 } else { dtype };
    for id in graph.order() {
        let node = graph.node(id);
        let first = ValueId { node: id, result: 0 };
        let name = node.results.first().map(|value| value.name.clone()).unwrap_or_default();
        match &node.kind {
            Kind::Input => {
                let ty = graph.ty(first);
                let ty = match &ty.grid {
                    Grid::Plain(dtype) => TensorType::new(to(*dtype), ty.shape.clone()),
                    Grid::Affine(_) | Grid::Fixed(_) => ty.clone(),
                };
                values.insert(first, wide.add_input(&name, ty, node.loc.clone()));
            }
            Kind::Const(constant) => {
                let tensor = graph.constants.tensor(*constant);
                let tensor = tensor.cast(to(tensor.dtype()));
                values.insert(first, wide.add_const(&name, tensor, node.loc.clone()));
            }
            Kind::Op { op, attrs } => {
                let attr = |attr: &Attr| match attr {
                    Attr::DType(dtype) => Attr::DType(to(*dtype)),
                    other => other.clone(),
                };
                let attrs: Attrs = attrs.iter().map(|(name, value)| (name.into(), attr(value))).collect();
                let operands =
                    node.operands.iter().map(|value| value.and_then(|value| values.get(&value).copied()));
                let operands = operands.collect();
                let mut builder = Builder { graph: &mut wide, registry, loc: node.loc.clone() };
                let new = builder.node(op, attrs, operands, &name).ok()?;
                for result in 0..node.results.len() as u32 {
                    values.insert(ValueId { node: id, result }, ValueId { node: new, result });
                }
            }
        }
    }
    for output in graph.outputs() {
        wide.add_output(output.name.clone(), *values.get(&output.value)?);
    }
    Some(wide)
}
