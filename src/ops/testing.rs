//! What the tests of the families share.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Arithmetic, Builder, Known, LiftCx, LowerCx, Lowered, ONNX_OPSET, OnnxAttr, OnnxNode, OpError, Registry,
    Schema,
};
use crate::diag::Loc;
use crate::ir::{Attrs, Graph, ValueId};
use crate::tensor::{AffineGrid, DType, Dim, Grid, Shape, Tensor, TensorType};

/// A plain type from text: `f32[N, 3, 4]`.
pub fn ty(text: &str) -> TensorType {
    let (dtype, shape) = text.strip_suffix(']').unwrap().split_once('[').unwrap();
    let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let dim = |dim: &str| dim.parse().map_or_else(|_| Dim::Symbol(dim.into()), Dim::Fixed);
    TensorType::new(dtype.parse::<DType>().unwrap(), Shape::new(dims.map(dim)))
}

/// `ty` on a hardware grid: with one factor per tensor, with more per index of axis 1.
pub fn quantized(text: &str, factors: usize) -> TensorType {
    let mut ty = ty(text);
    ty.grid = Grid::Affine(AffineGrid::hardware(ty.storage(), vec![2.0; factors]));
    ty
}

pub fn infer(op: &str, attrs: Attrs, operands: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs)?;
    registry.infer(op, &attrs, &operands.iter().cloned().map(Some).collect::<Vec<_>>())
}

/// The only inferred type, as text.
pub fn shape(op: &str, attrs: Attrs, operands: &[&str]) -> String {
    let operands: Vec<TensorType> = operands.iter().map(|text| ty(text)).collect();
    let types = infer(op, attrs, &operands).unwrap();
    assert_eq!(types.len(), 1);
    format!("{}{}", types[0].storage(), types[0].shape)
}

/// Asserts that a size must be known, and that the report says how to state it.
pub fn assert_unknown_size<T: std::fmt::Debug>(result: Result<T, OpError>) {
    match result {
        Err(OpError::Unsupported { way_out: Some(way), .. }) => assert!(way.contains("--input-shape")),
        other => panic!("{other:?}"),
    }
}

/// The label of the constraint that does not hold.
pub fn broken<T: std::fmt::Debug>(result: Result<T, OpError>) -> &'static str {
    match result {
        Err(OpError::Constraint { label, .. }) => label,
        other => panic!("{other:?}"),
    }
}

/// The only result of an application.
pub fn eval(op: &str, attrs: Attrs, operands: &[Tensor]) -> Result<Tensor, OpError> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs)?;
    let operands: Vec<_> = operands.iter().cloned().map(Some).collect();
    Ok(registry.eval(op, &attrs, &operands, Arithmetic::Exact)?.remove(0))
}

pub fn tensor<T: crate::tensor::Element>(sizes: &[usize], elements: impl Into<Vec<T>>) -> Tensor {
    Tensor::new(sizes, elements.into()).unwrap()
}

/// The labels of the numbered constraints of an operator's documentation; without those that show
/// only when it runs.
pub fn labels(schema: &Schema) -> BTreeSet<String> {
    let lines = schema.doc.lines().filter(|line| !line.contains("(when it runs)"));
    let lines = lines.filter_map(|line| line.trim().strip_prefix("* C"));
    lines
        .map(|line| format!("C{}", line.chars().take_while(char::is_ascii_digit).collect::<String>()))
        .collect()
}

/// Every constraint that the operator documents is violated by a case, and refused by its label.
pub fn check_labels(op: &str, cases: &[(&str, Attrs, &[&str])]) {
    let registry = Registry::built_in();
    let documented = labels(&registry.get(op).unwrap().schema);
    let shown: BTreeSet<String> = cases.iter().map(|(label, ..)| (*label).to_owned()).collect();
    assert_eq!(documented, shown, "constraints of {op}");
    for (expected, attrs, operands) in cases {
        let operands: Vec<TensorType> = operands.iter().map(|text| ty(text)).collect();
        match infer(op, attrs.clone(), &operands) {
            Err(OpError::Constraint { label, .. }) => assert_eq!(label, *expected, "{op} {operands:?}"),
            other => panic!("{op} {expected}: {other:?}"),
        }
    }
}

/// An operand of an ONNX node under test.
pub enum Operand {
    Absent,
    Input(Tensor),
    Constant(Tensor),
    /// An input of which only the type is known.
    Typed(TensorType),
}

pub fn onnx(op_type: &str, attrs: &[(&str, OnnxAttr)]) -> OnnxNode {
    attrs.iter().fold(OnnxNode::new(op_type, &[], &["y"]), |node, (name, attr)| node.attr(name, attr.clone()))
}

/// The graph that an ONNX node is read as.
pub fn lift(node: &OnnxNode, opset: i64, operands: &[Operand]) -> Result<(Graph, ValueId), OpError> {
    let registry = Registry::built_in();
    let mut graph = Graph::new("test");
    let operands: Vec<Option<ValueId>> = operands
        .iter()
        .enumerate()
        .map(|(i, operand)| {
            let name = format!("x{i}");
            match operand {
                Operand::Absent => None,
                Operand::Input(tensor) => Some(graph.add_input(&name, tensor.tensor_type(), Loc::unknown())),
                Operand::Typed(ty) => Some(graph.add_input(&name, ty.clone(), Loc::unknown())),
                Operand::Constant(tensor) => Some(graph.add_const(&name, tensor.clone(), Loc::unknown())),
            }
        })
        .collect();
    let mut node = node.clone();
    node.inputs = operands.iter().map(|value| value.map_or_else(String::new, |_| "x".to_owned())).collect();
    let lift = registry.lift(&node.domain, &node.op_type).unwrap();
    assert!(lift.since() <= opset);
    let builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
    let results =
        lift.read(&mut LiftCx { builder, node: &node, opset, operands, known: &Known::default() })?;
    Ok((graph, results[0]))
}

/// What an ONNX node computes when it is read and evaluated.
pub fn lift_and_eval(node: &OnnxNode, opset: i64, operands: &[Operand]) -> Result<Tensor, OpError> {
    let (graph, result) = lift(node, opset, operands)?;
    assert_eq!(graph.value(result).name.as_ref(), "y");
    let inputs = operands.iter().filter_map(|operand| match operand {
        Operand::Input(tensor) => Some(tensor.clone()),
        _ => None,
    });
    eval_graph(&graph, inputs, result)
}

/// A value of a graph.
pub fn eval_graph(
    graph: &Graph,
    inputs: impl IntoIterator<Item = Tensor>,
    result: ValueId,
) -> Result<Tensor, OpError> {
    let registry = Registry::built_in();
    let mut values: BTreeMap<ValueId, Tensor> = graph.inputs().zip(inputs).collect();
    for id in graph.order() {
        let node = graph.node(id);
        let value = ValueId { node: id, result: 0 };
        if let Some(tensor) = graph.constant(value) {
            values.insert(value, (**tensor).clone());
        } else if let crate::ir::Kind::Op { op, attrs } = &node.kind {
            let operands: Vec<Option<Tensor>> =
                node.operands.iter().map(|operand| operand.map(|value| values[&value].clone())).collect();
            let results = registry.eval(op, attrs, &operands, Arithmetic::Exact)?;
            for (result, tensor) in (0..).zip(results) {
                assert!(node.results[result as usize].ty.shape.admits(tensor.sizes()));
                values.insert(ValueId { node: id, result }, tensor);
            }
        }
    }
    Ok(values[&result].clone())
}

/// An application as ONNX: its nodes and initializers. Operands are called `x0`, `x1`, …, the
/// results `y0`, …
pub fn lower(op: &str, attrs: Attrs, operands: &[Option<Tensor>]) -> (Lowered, Vec<(String, Tensor)>) {
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
    lower_on(op, attrs, operands, types).unwrap()
}

/// [`lower`] for operands of the given types.
pub fn lower_on(
    op: &str,
    attrs: Attrs,
    operands: &[Option<Tensor>],
    types: Vec<Option<TensorType>>,
) -> Result<(Lowered, Vec<(String, Tensor)>), OpError> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs).unwrap();
    let entry = registry.get(op).unwrap();
    let mut results = registry.infer(op, &attrs, &types).unwrap();
    if entry.schema.assigns_grid {
        for ty in results.iter_mut().filter(|ty| ty.storage().is_integer()) {
            ty.grid = Grid::Affine(AffineGrid::hardware(ty.storage(), vec![2.0]));
        }
    }
    let operand_names: Vec<String> = operands
        .iter()
        .enumerate()
        .map(|(i, tensor)| if tensor.is_some() { format!("x{i}") } else { String::new() })
        .collect();
    let result_names: Vec<String> = (0..results.len()).map(|i| format!("y{i}")).collect();
    let constants: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
    let call = super::Call { schema: &entry.schema, attrs: &attrs, operands: &types };
    let mut cx = LowerCx::new(call, "node", &operand_names, &result_names, &results, &constants);
    let lowered = entry.operator.lower(&mut cx)?;
    Ok((lowered, cx.into_initializers()))
}

/// What the ONNX form of an application with one result computes: its nodes are read one by one,
/// operands as inputs, and evaluated.
pub fn read_back(op: &str, attrs: Attrs, operands: &[Tensor]) -> Tensor {
    let given: Vec<Option<Tensor>> = operands.iter().cloned().map(Some).collect();
    let (lowered, initializers) = lower(op, attrs, &given);
    let Lowered::Nodes(nodes) = lowered else { panic!("{op} is lowered to a function") };
    read_nodes(&nodes, initializers, operands, "x", "y0")
}

/// What nodes compute, whose operands are called `x0`, `x1`, … after `prefix`.
pub fn read_nodes(
    nodes: &[OnnxNode],
    initializers: Vec<(String, Tensor)>,
    operands: &[Tensor],
    prefix: &str,
    result: &str,
) -> Tensor {
    let registry = Registry::built_in();
    let mut graph = Graph::new("test");
    let mut values: BTreeMap<String, ValueId> = BTreeMap::new();
    for (i, tensor) in operands.iter().enumerate() {
        let name = format!("{prefix}{i}");
        values.insert(name.clone(), graph.add_input(&name, tensor.tensor_type(), Loc::unknown()));
    }
    for (name, tensor) in initializers {
        values.insert(name.clone(), graph.add_const(&name, tensor, Loc::unknown()));
    }
    for node in nodes {
        if let Some(OnnxAttr::Tensor(tensor)) = node.attrs.get("value").filter(|_| node.op_type == "Constant")
        {
            let name = &node.outputs[0];
            values.insert(name.clone(), graph.add_const(name, tensor.clone(), Loc::unknown()));
            continue;
        }
        let operands = node.inputs.iter().map(|name| values.get(name).copied()).collect();
        let lift = registry.lift(&node.domain, &node.op_type).unwrap_or_else(|| panic!("{}", node.op_type));
        let builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
        let known = &Known::default();
        let mut cx = LiftCx { builder, node, opset: ONNX_OPSET, operands, known };
        let results = lift.read(&mut cx).unwrap();
        values.extend(node.outputs.iter().cloned().zip(results));
    }
    eval_graph(&graph, operands.iter().cloned(), values[result]).unwrap()
}
