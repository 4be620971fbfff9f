//! Every invariant of a graph. If [`verify`] accepts a graph, no later room panics on it.

use thiserror::Error;

use crate::diag::{Diagnostics, Report, WithPlaces};
use crate::ir::{Graph, Kind, NodeId, Range, Value};
use crate::ops::fixed::LayerError;
use crate::ops::{OpError, Registry};
use crate::tensor::fixed::{FixedError, MOST_VALUE_BITS};
use crate::tensor::{AffineGrid, DType, FixedGrid, Grid, TensorType};

#[derive(Clone, Debug, PartialEq, Error)]
pub enum VerifyError {
    /// V1: a bug of the graph itself.
    #[error("V1: edges and operand lists of `@{graph}` disagree")]
    Edges { graph: String },
    #[error("V2: `%{name}` depends on itself")]
    Cycle { name: String },
    #[error("V3: an operand of `%{name}` is not a value of the graph")]
    Dangling { name: String },
    #[error("V4: `%{name}` is declared as {declared}, but its operator gives {inferred}")]
    Type { name: String, declared: String, inferred: String },
    #[error("V5: `%{name}` is declared with {declared} results, its operator has {inferred}")]
    Results { name: String, declared: usize, inferred: usize },
    #[error("V6: the grid of `%{name}`: {what}")]
    Grid { name: String, what: String },
    #[error("V7: the range of `%{name}`: {what}")]
    Range { name: String, what: String },
    #[error("V8: two outputs are called `{name}`")]
    OutputName { name: String },
    #[error("`%{name}`: {error}")]
    Op { name: String, error: OpError },
}

impl Report for VerifyError {
    fn code(&self) -> &'static str {
        match self {
            VerifyError::Edges { .. } => "Q0201",
            VerifyError::Cycle { .. } => "Q0202",
            VerifyError::Dangling { .. } => "Q0203",
            VerifyError::Type { .. } => "Q0204",
            VerifyError::Results { .. } => "Q0205",
            VerifyError::Grid { .. } => "Q0206",
            VerifyError::Range { .. } => "Q0207",
            VerifyError::OutputName { .. } => "Q0208",
            VerifyError::Op { error, .. } => error.code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            VerifyError::Op { error, .. } => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Checks the graph and reports everything that is wrong with it.
pub fn verify(graph: &Graph, registry: &Registry) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::default();
    if !graph.edges_mirror_operands() {
        found.push(WithPlaces::new(VerifyError::Edges { graph: graph.name.clone() }));
        return Err(found);
    }
    let order = graph.order();
    if order.len() != graph.len() {
        let mut stuck: Vec<NodeId> =
            graph.values().map(|v| v.node).filter(|id| !order.contains(id)).collect();
        stuck.sort_by_key(|&id| graph.node(id).serial);
        stuck.dedup();
        for id in stuck {
            let node = graph.node(id);
            found.push(
                WithPlaces::new(VerifyError::Cycle { name: node.name.to_string() }).at_loc(&node.loc, ""),
            );
        }
        return Err(found);
    }
    for id in order {
        let node = graph.node(id);
        for error in check_node(graph, registry, id) {
            found.push(WithPlaces::new(error).at_loc(&node.loc, ""));
        }
    }
    let mut names: Vec<&str> = graph.outputs().iter().map(|output| &*output.name).collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        found.push(WithPlaces::new(VerifyError::OutputName { name: pair[0].to_owned() }));
    }
    if found.has_errors() { Err(found) } else { Ok(()) }
}

fn check_node(graph: &Graph, registry: &Registry, id: NodeId) -> Vec<VerifyError> {
    let node = graph.node(id);
    let name = node.name.to_string();
    let mut errors = Vec::new();
    for value in node.operands.iter().flatten() {
        if !graph.contains(value.node) || value.result as usize >= graph.node(value.node).results.len() {
            errors.push(VerifyError::Dangling { name });
            return errors;
        }
    }
    let inferred = match &node.kind {
        Kind::Input => Ok(node.results.iter().map(|value| value.ty.clone()).collect()),
        Kind::Const(constant) => Ok(vec![graph.constants.tensor(*constant).tensor_type()]),
        Kind::Op { op, attrs } => {
            let operands: Vec<Option<TensorType>> =
                node.operands.iter().map(|operand| operand.map(|value| graph.ty(value).clone())).collect();
            registry.complete(op, attrs.clone()).and_then(|attrs| registry.infer(op, &attrs, &operands))
        }
    };
    let assigns_grid = match node.op() {
        Some(op) => registry.find(op).is_some_and(|entry| entry.schema.assigns_grid),
        // A constant may be declared on a grid of its storage.
        None => true,
    };
    match inferred.and_then(|inferred| check_divisor(graph, registry, id).map(|()| inferred)) {
        Err(error) => errors.push(VerifyError::Op { name, error }),
        Ok(inferred) if inferred.len() != node.results.len() => {
            let (declared, inferred) = (node.results.len(), inferred.len());
            errors.push(VerifyError::Results { name, declared, inferred });
        }
        Ok(inferred) => {
            for (value, inferred) in node.results.iter().zip(inferred) {
                let grid_fits = if assigns_grid {
                    value.ty.storage() == inferred.storage()
                } else {
                    value.ty.grid == inferred.grid
                };
                if value.ty.shape != inferred.shape || !grid_fits {
                    errors.push(VerifyError::Type {
                        name: value.name.to_string(),
                        declared: describe(&value.ty),
                        inferred: describe(&inferred),
                    });
                }
            }
        }
    }
    for value in &node.results {
        errors.extend(check_grid(value));
        errors.extend(check_range(value));
    }
    errors
}

/// Storage and shape, with a mark where a grid is on it.
fn describe(ty: &TensorType) -> String {
    match &ty.grid {
        Grid::Plain(dtype) => format!("{dtype}{}", ty.shape),
        Grid::Affine(affine) => format!("q<{}, …>{}", affine.storage, ty.shape),
        Grid::Fixed(fixed) => {
            let frac = match fixed.frac_bits[..] {
                [one] => one.to_string(),
                _ => "[…]".to_owned(),
            };
            let scale = if fixed.scales.is_some() { ", scale …" } else { "" };
            format!("q<{}, bits {}, frac {frac}{scale}>{}", fixed.storage, fixed.value_bits, ty.shape)
        }
    }
}

/// That a constant divisor has no 0.
fn check_divisor(graph: &Graph, registry: &Registry, id: NodeId) -> Result<(), OpError> {
    let node = graph.node(id);
    let Some(entry) = node.op().and_then(|op| registry.find(op)) else { return Ok(()) };
    let divisor = entry.schema.divisor.and_then(|position| graph.constant(node.operand(position)?));
    let wide = divisor.map(|divisor| divisor.cast(DType::I64));
    match wide.as_ref().and_then(|wide| wide.elements::<i64>()).is_some_and(|wide| wide.contains(&0)) {
        true => {
            let error = LayerError::Fixed(FixedError::ZeroDivisor);
            Err(OpError::FixedPoint { op: entry.schema.name.to_string(), error })
        }
        false => Ok(()),
    }
}

fn check_grid(value: &Value) -> Option<VerifyError> {
    let what = match &value.ty.grid {
        Grid::Plain(_) => None,
        Grid::Affine(affine) => affine_fault(affine, &value.ty),
        Grid::Fixed(fixed) => fixed_fault(fixed, &value.ty),
    };
    Some(VerifyError::Grid { name: value.name.to_string(), what: what? })
}

fn affine_fault(grid: &AffineGrid, ty: &TensorType) -> Option<String> {
    let entries = grid.factors.len();
    let zeros = grid.zeros.len();
    if zeros != 1 && zeros != entries {
        return Some(format!("{entries} scales and {zeros} zero points"));
    }
    if let Some(fault) = axis_fault(grid.axis, entries, "scales", ty) {
        return Some(fault);
    }
    if let Some(scale) = grid.factors.iter().find(|scale| !scale.is_finite() || **scale <= 0.0) {
        return Some(format!("scale {scale} is not a positive number"));
    }
    let Some((low, high)) = grid.storage.integer_range() else {
        return Some(format!("storage {} is not an integer type", grid.storage));
    };
    let zero = grid.zeros.iter().find(|&&zero| i128::from(zero) < low || i128::from(zero) > high)?;
    Some(format!("zero point {zero} is outside {}", grid.storage))
}

fn fixed_fault(grid: &FixedGrid, ty: &TensorType) -> Option<String> {
    let frac = grid.frac_bits.len();
    let scales = grid.scales.as_ref().map_or(1, |scales| scales.len());
    if frac != 1 && scales != 1 && frac != scales {
        return Some(format!("{frac} frac bits and {scales} scales"));
    }
    if let Some(fault) = axis_fault(grid.axis, frac.max(scales), "frac bits or scales", ty) {
        return Some(fault);
    }
    let mut given = grid.scales.iter().flat_map(|scales| scales.iter());
    // A rescaling may turn the sign.
    if let Some(scale) = given.find(|scale| !scale.is_finite()) {
        return Some(format!("scale {scale} is not a number"));
    }
    if grid.value_bits > MOST_VALUE_BITS {
        return Some(format!("{} value bits, of at most {MOST_VALUE_BITS}", grid.value_bits));
    }
    let (low, high) = grid.range();
    let holds = |(least, most): (i128, i128)| least <= i128::from(low) && most >= i128::from(high);
    let held = grid.storage.integer_range().is_some_and(holds);
    (!held).then(|| format!("{} does not hold {} value bits", grid.storage, grid.value_bits))
}

/// What is wrong with an axis that `entries` belong to.
fn axis_fault(axis: Option<usize>, entries: usize, what: &str, ty: &TensorType) -> Option<String> {
    let Some(axis) = axis else {
        return (entries != 1).then(|| format!("{entries} {what} and no axis"));
    };
    match ty.shape.get(axis) {
        None => Some(format!("axis {axis} of a tensor of rank {}", ty.shape.rank())),
        Some(dim) if dim.fixed() != Some(entries) => {
            Some(format!("{entries} {what} along an axis of size {dim}"))
        }
        Some(_) => None,
    }
}

fn check_range(value: &Value) -> Option<VerifyError> {
    let Range { lowest, highest } = value.range.as_ref()?;
    let fault = |what: String| Some(VerifyError::Range { name: value.name.to_string(), what });
    if lowest.len() != highest.len() {
        return fault(format!("{} lowest and {} highest values", lowest.len(), highest.len()));
    }
    // Of sequences, channels are the last axis.
    let channels = [value.ty.shape.get(1), value.ty.shape.last()].map(|dim| dim.and_then(|dim| dim.fixed()));
    if lowest.len() != 1 && !channels.contains(&Some(lowest.len())) {
        return fault(format!("{} entries are neither one nor one per channel", lowest.len()));
    }
    let bad = lowest
        .iter()
        .zip(highest.iter())
        .find(|(low, high)| !(low <= high && low.is_finite() && high.is_finite()));
    bad.and_then(|(low, high)| fault(format!("[{low}, {high}] is not an interval")))
}
