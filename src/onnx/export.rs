//! A graph as a model file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use prost::Message;

use super::proto::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use super::proto::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use super::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use super::{OnnxError, attr, buffers, emit, tensor};
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, Names, Node, ValueId};
use crate::ops::{
    Bound, Lowered, MakeFunction, ONNX_OPSET, OnnxFunction, OnnxNode, OpError, Registry, lower_node,
};
use crate::tensor::{Dim, Tensor, TensorType, WholeFile};

/// The IR version of emitted files (spec §1).
const IR_VERSION: i64 = 11;

/// Writes the graph to `path` as ONNX: IR version 11, opset 21, one function for each hardware
/// op_type in use. Above 2 GiB the weights go to `<file name>.data` beside it. The same graph
/// gives the same bytes.
///
/// # Errors
/// Every node that has no ONNX form; what the file system says.
pub fn export(path: &Path, graph: &Graph, registry: &Registry) -> Result<(), Diagnostics> {
    let model = model(graph, registry)?;
    emit::write(path, model).map_err(|error| WithPlaces::new(error).into())
}

/// [`export`] up to the point where the files get their names.
///
/// # Errors
/// Those of [`export`].
pub fn prepare(path: &Path, graph: &Graph, registry: &Registry) -> Result<Vec<WholeFile>, Diagnostics> {
    let model = model(graph, registry)?;
    emit::prepare(path, model).map_err(|error| WithPlaces::new(error).into())
}

/// The bytes that [`export`] writes for a model below 2 GiB.
pub fn encode(graph: &Graph, registry: &Registry) -> Result<Vec<u8>, Diagnostics> {
    Ok(model(graph, registry)?.encode_to_vec())
}

fn model(graph: &Graph, registry: &Registry) -> Result<ModelProto, Diagnostics> {
    let mut lowered = lower(graph, registry)?;
    let functions = functions(&mut lowered.groups, &lowered.functions)?;
    let mut writer = Writer::new(graph).map_err(WithPlaces::new)?;
    let locals: Vec<Locals> = lowered.groups.iter().map(|group| writer.locals(group)).collect();
    for (group, locals) in lowered.groups.iter().zip(&locals) {
        writer.group(group, locals);
    }
    writer.outputs(&mut lowered.node_names);

    buffers::finish(&mut writer.proto);
    let opsets: Opsets = functions.iter().map(|function| (function.domain.clone(), function.opset)).collect();
    let used = writer.proto.node.iter().filter_map(|node| node.domain.as_deref());
    let opset_import = imports(used, &opsets);
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        opset_import,
        graph: Some(writer.proto),
        functions: functions.iter().map(|function| function_proto(function, &opsets)).collect(),
        ..ModelProto::default()
    })
}

/// A node of the graph as ONNX nodes, which call values by the names in the graph.
struct Group<'g> {
    node: &'g Node,
    results: Vec<ValueId>,
    nodes: Vec<OnnxNode>,
    initializers: Vec<(String, Tensor)>,
}

/// What makes the function of each op_type (by domain and name), in the order of first use.
type Functions = IndexMap<(String, String), Calls>;

/// The layers of one op_type.
#[derive(Default)]
struct Calls {
    /// What holds for all of them.
    bound: Bound,
    /// What makes its function, for each group of one.
    makers: Vec<(MakeFunction, usize)>,
}

/// The version of every domain that functions are of.
type Opsets = BTreeMap<String, i64>;

struct LoweredGraph<'g> {
    groups: Vec<Group<'g>>,
    functions: Functions,
    node_names: Names,
}

fn lower<'g>(graph: &'g Graph, registry: &Registry) -> Result<LoweredGraph<'g>, Diagnostics> {
    let mut lowered =
        LoweredGraph { groups: Vec::new(), functions: Functions::new(), node_names: Names::default() };
    let mut diagnostics = Diagnostics::default();
    for id in graph.order() {
        let node = graph.node(id);
        if node.op().is_none() {
            continue;
        }
        let mut make = || -> Result<(), OpError> {
            let name = lowered.node_names.fresh(&node.name);
            let (form, initializers) = lower_node(graph, registry, id, &name)?;
            let mut nodes = match form {
                Lowered::Nodes(nodes) => nodes,
                Lowered::Layer { node, bound, function, .. } => {
                    let key = (node.domain.clone(), node.op_type.clone());
                    let calls = lowered.functions.entry(key).or_default();
                    calls.bound = calls.bound.max(bound);
                    calls.makers.push((function, lowered.groups.len()));
                    vec![node]
                }
            };
            let mut named = false;
            for node in &mut nodes {
                if node.name != name || named {
                    let wish = if node.name.is_empty() { &name } else { &node.name };
                    node.name = lowered.node_names.fresh(wish);
                }
                named |= node.name == name;
            }
            let results = (0..node.results.len() as u32).map(|result| ValueId { node: id, result }).collect();
            lowered.groups.push(Group { node, results, nodes, initializers });
            Ok(())
        };
        if let Err(error) = make() {
            diagnostics.push(WithPlaces::new(error).at_loc(&node.loc, ""));
        }
    }
    diagnostics.into_result()?;
    Ok(lowered)
}

/// The functions that the layers call, each body once: where layers of one op_type have several, all but the first get
/// a number behind their names. (Overloads are for that, and onnxruntime takes the first for all of them.)
fn functions(groups: &mut [Group], functions: &Functions) -> Result<Vec<OnnxFunction>, Diagnostics> {
    let mut all = Vec::new();
    let mut diagnostics = Diagnostics::default();
    for ((_, op_type), calls) in functions {
        let mut bodies: Vec<OnnxFunction> = Vec::new();
        for (make, group) in &calls.makers {
            let Some(Group { node, nodes, .. }) = groups.get_mut(*group) else { continue };
            let function = match make(op_type, calls.bound) {
                Ok(function) => function,
                Err(error) => {
                    diagnostics.push(WithPlaces::new(error).at_loc(&node.loc, ""));
                    continue;
                }
            };
            let known = bodies.iter().position(|body| *body == function);
            let at = known.unwrap_or(bodies.len());
            if known.is_none() {
                bodies.push(function);
            }
            nodes.iter_mut().for_each(|node| node.op_type = numbered(op_type, at));
        }
        all.extend(
            bodies
                .into_iter()
                .enumerate()
                .map(|(at, function)| OnnxFunction { name: numbered(&function.name, at), ..function }),
        );
    }
    diagnostics.into_result()?;
    Ok(all)
}

/// The name of the function at that position among those of an op_type; op_types have no dot.
fn numbered(op_type: &str, at: usize) -> String {
    if at == 0 { op_type.to_owned() } else { format!("{op_type}.{}", at + 1) }
}

/// Final names of what only one group knows: its initializers and inner values.
type Locals = BTreeMap<String, String>;

/// Fills the graph and sees to it that every name in it is unique. Where wishes collide, graph
/// outputs come first, then inputs, results, initializers that a layer names, and constants.
struct Writer<'g> {
    graph: &'g Graph,
    proto: GraphProto,
    names: Names,
    values: BTreeMap<ValueId, String>,
    /// By final name.
    initializers: BTreeMap<String, Tensor>,
    written: BTreeSet<String>,
    /// Graph outputs that need a node of their own: operands, constants, second names.
    copies: Vec<(ValueId, String)>,
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph) -> Result<Self, OnnxError> {
        let name = if graph.name.is_empty() { "network" } else { &graph.name };
        let mut writer = Self {
            graph,
            proto: GraphProto { name: Some(name.to_owned()), ..GraphProto::default() },
            names: Names::default(),
            values: BTreeMap::new(),
            initializers: BTreeMap::new(),
            written: BTreeSet::new(),
            copies: Vec::new(),
        };
        for output in graph.outputs() {
            let name = output.name.to_string();
            if !writer.names.take(&name) {
                return Err(OnnxError::Duplicate { name });
            }
            let kind = &graph.node(output.value.node).kind;
            let is_input = *kind == Kind::Input && graph.value(output.value).name == output.name;
            let is_result = matches!(kind, Kind::Op { .. });
            if (is_input || is_result) && !writer.values.contains_key(&output.value) {
                writer.values.insert(output.value, name.clone());
            } else {
                writer.copies.push((output.value, name.clone()));
            }
            writer.proto.output.push(value_info(&name, graph.ty(output.value)));
        }
        for input in graph.inputs() {
            let name = graph.value(input).name.to_string();
            if !writer.values.contains_key(&input) {
                if !writer.names.take(&name) {
                    return Err(OnnxError::InputIsOutput { name });
                }
                writer.values.insert(input, name.clone());
            }
            writer.proto.input.push(value_info(&name, graph.ty(input)));
        }
        for id in graph.order() {
            let node = graph.node(id);
            if !matches!(node.kind, Kind::Op { .. }) {
                continue;
            }
            for (result, value) in (0..).zip(&node.results) {
                let id = ValueId { node: id, result };
                if !writer.values.contains_key(&id) {
                    let name = writer.names.fresh(&value.name);
                    writer.proto.value_info.push(value_info(&name, &value.ty));
                    writer.values.insert(id, name);
                }
            }
        }
        Ok(writer)
    }

    /// Names the initializers and inner values of a group.
    fn locals(&mut self, group: &Group) -> Locals {
        let mut locals = Locals::new();
        for (wish, tensor) in &group.initializers {
            let name = if self.initializers.get(wish) == Some(tensor) {
                wish.clone()
            } else {
                self.names.fresh(wish)
            };
            self.initializers.insert(name.clone(), tensor.clone());
            locals.insert(wish.clone(), name);
        }
        for output in group.nodes.iter().flat_map(|node| &node.outputs).filter(|name| !name.is_empty()) {
            if !group.node.results.iter().any(|value| *value.name == **output) {
                locals.insert(output.clone(), self.names.fresh(output));
            }
        }
        locals
    }

    fn group(&mut self, group: &Group, locals: &Locals) {
        let mut named: BTreeMap<&str, ValueId> = BTreeMap::new();
        for &value in group.node.operands.iter().flatten().chain(&group.results) {
            named.insert(&self.graph.value(value).name, value);
        }
        for node in &group.nodes {
            let mut rename = |name: &String| match (locals.get(name), named.get(name.as_str())) {
                (Some(local), _) => self.use_initializer(local),
                (None, Some(&value)) => self.use_value(value),
                // Absent.
                (None, None) => name.clone(),
            };
            let inputs = node.inputs.iter().map(&mut rename).collect();
            let outputs = node.outputs.iter().map(&mut rename).collect();
            self.proto.node.push(node_proto(node, inputs, outputs));
        }
    }

    /// Adds the nodes of the outputs that need one.
    fn outputs(&mut self, node_names: &mut Names) {
        for (value, name) in std::mem::take(&mut self.copies) {
            let from = self.use_value(value);
            let mut node = OnnxNode::new("Identity", &[], &[]);
            node.name = node_names.fresh(&name);
            self.proto.node.push(node_proto(&node, vec![from], vec![name]));
        }
    }

    /// The final name of a value; writes it if it is a constant that is not written yet.
    fn use_value(&mut self, value: ValueId) -> String {
        if let Some(name) = self.values.get(&value) {
            return name.clone();
        }
        // Inputs and results have their names, and operands come before their readers.
        let Some(tensor) = self.graph.constant(value) else { return String::new() };
        let wish = &self.graph.value(value).name;
        let name = if self.initializers.get(&**wish) == Some(tensor) {
            wish.to_string()
        } else {
            self.names.fresh(wish)
        };
        self.initializers.insert(name.clone(), (**tensor).clone());
        self.values.insert(value, name.clone());
        self.use_initializer(&name)
    }

    /// Writes the initializer of that final name, if it is one and not written yet.
    fn use_initializer(&mut self, name: &str) -> String {
        if let Some(tensor) = self.initializers.get(name)
            && self.written.insert(name.to_owned())
        {
            self.proto.initializer.push(tensor::encode(Some(name), tensor));
        }
        name.to_owned()
    }
}

fn node_proto(node: &OnnxNode, input: Vec<String>, output: Vec<String>) -> NodeProto {
    NodeProto {
        input,
        output,
        name: Some(node.name.clone()).filter(|name| !name.is_empty()),
        op_type: Some(node.op_type.clone()),
        domain: Some(node.domain.clone()).filter(|domain| !domain.is_empty()),
        attribute: node.attrs.iter().map(|(name, value)| attr::encode(name, value)).collect(),
        ..NodeProto::default()
    }
}

fn function_proto(function: &OnnxFunction, opsets: &Opsets) -> FunctionProto {
    let used = function.nodes.iter().map(|node| node.domain.as_str());
    let node = |node: &OnnxNode| node_proto(node, node.inputs.clone(), node.outputs.clone());
    FunctionProto {
        domain: Some(function.domain.clone()),
        name: Some(function.name.clone()),
        input: function.inputs.clone(),
        output: function.outputs.clone(),
        attribute: function.attrs.clone(),
        node: function.nodes.iter().map(node).collect(),
        opset_import: imports(used, opsets),
        ..FunctionProto::default()
    }
}

/// ONNX's own operators, and the domains that are used, which all have their functions.
fn imports<'a>(used: impl Iterator<Item = &'a str>, opsets: &Opsets) -> Vec<OperatorSetIdProto> {
    let import = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    let used: BTreeSet<&str> = used.collect();
    let others = opsets.iter().filter(|(domain, _)| used.contains(domain.as_str()));
    std::iter::once(import("", ONNX_OPSET))
        .chain(others.map(|(domain, &version)| import(domain, version)))
        .collect()
}

fn value_info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            // Sizes of tensors in memory fit.
            Dim::Fixed(size) => DimValue::DimValue(*size as i64),
            Dim::Symbol(name) => DimValue::DimParam(name.to_string()),
        }),
        ..Dimension::default()
    };
    let tensor = TensorTypeProto {
        elem_type: Some(tensor::data_type(ty.storage())),
        shape: Some(TensorShapeProto { dim: ty.shape.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}
