//! A model file as a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{NEWEST_IR, NEWEST_OPSET, OLDEST_OPSET};
use super::file::ModelFile;
use super::inline::{FlatNode, flatten, opsets};
use super::proto::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use super::proto::type_proto::Value as TypeValue;
use super::proto::{GraphProto, TensorProto, ValueInfoProto};
use super::wiring::arrange;
use super::{OnnxError, attr, tensor, ways};
use crate::diag::{Diagnostics, Loc, Place, WithPlaces};
use crate::ir::{Graph, InputShapes, Names, ValueId};
use crate::ops::{BRAINCHIP, Builder, Known, LiftCx, OnnxAttr, OnnxNode, Registry};
use crate::tensor::{Dim, Shape, Tensor, TensorType};

/// Reads a model. Nodes on which no output depends are left out; types are inferred, not read.
///
/// # Errors
/// Every fault that can be found: one unsupported operator does not hide the next.
pub fn import(path: &Path, registry: &Registry, shapes: &InputShapes) -> Result<Graph, Diagnostics> {
    import_with_files(path, registry, shapes).map(|(graph, _)| graph)
}

/// [`import`] that also gives the files beside the model that weights were read from.
///
/// # Errors
/// Those of [`import`].
pub fn import_with_files(
    path: &Path,
    registry: &Registry,
    shapes: &InputShapes,
) -> Result<(Graph, BTreeSet<PathBuf>), Diagnostics> {
    let file = ModelFile::open(path).map_err(WithPlaces::new)?;
    let graph = import_file(&file, registry, shapes)?;
    Ok((graph, file.external.opened()))
}

pub(super) fn import_file(
    file: &ModelFile,
    registry: &Registry,
    shapes: &InputShapes,
) -> Result<Graph, Diagnostics> {
    let model = &file.model;
    let graph = file.graph().map_err(WithPlaces::new)?;
    let found = model.ir_version.unwrap_or_default();
    if !(3..=NEWEST_IR).contains(&found) {
        return Err(WithPlaces::new(OnnxError::IrVersion { file: file.name.to_string(), found }).into());
    }
    let opsets = opsets(&model.opset_import).map_err(WithPlaces::new)?;
    if let Some(&found) = opsets.get("").filter(|found| !(OLDEST_OPSET..=NEWEST_OPSET).contains(*found)) {
        return Err(WithPlaces::new(OnnxError::Opset { file: file.name.to_string(), found }).into());
    }
    let at = |error: OnnxError, node: Option<&str>| match node {
        Some(node) => WithPlaces::new(error).at(place(file, node), ""),
        None => WithPlaces::new(error),
    };
    // In a network of the device, functions of other domains are layers that somebody declared: their
    // bodies compute with integers of which nothing says what they stand for.
    let on_device = graph.node.iter().any(|node| node.domain.as_deref() == Some(BRAINCHIP));
    let known = |domain: &str, op_type: &str| on_device || registry.lift(domain, op_type).is_some();
    let mut nodes = flatten(graph, &model.functions, &opsets, known)
        .map_err(|(error, node)| at(error, node.as_deref()))?;

    let mut importer = Importer::new(file, registry, graph);
    let inputs = importer.inputs(graph, shapes);
    let outputs: Vec<&str> = graph.output.iter().map(name_of).collect();
    if outputs.is_empty() {
        importer.fault(OnnxError::NoOutputs);
    }
    let given: BTreeSet<&str> = inputs.into_iter().chain(importer.initializers.keys().copied()).collect();
    match arrange(&nodes, &given, &outputs) {
        Ok(order) => {
            // An optional output that nothing reads (the mask of a Dropout) is not asked for.
            let read: BTreeSet<String> =
                order.iter().flat_map(|&at| nodes[at].inputs.iter().cloned()).collect();
            let unread = |name: &&mut String| !read.contains(*name) && !outputs.contains(&name.as_str());
            for at in order {
                nodes[at].outputs.iter_mut().skip(1).filter(unread).for_each(String::clear);
                importer.node(&nodes[at]);
            }
        }
        Err(faults) => {
            for (error, node) in faults {
                let name = node.and_then(|node| nodes.get(node)).map(|node| node.name.as_str());
                importer.diagnostics.push(at(error, name));
            }
        }
    }
    importer.finish(&graph.output)
}

fn name_of(info: &ValueInfoProto) -> &str {
    info.name.as_deref().unwrap_or_default()
}

fn place(file: &ModelFile, node: &str) -> Place {
    Place::Node { file: file.name.clone(), node: node.into() }
}

struct Importer<'m> {
    file: &'m ModelFile,
    registry: &'m Registry,
    graph: Graph,
    /// Made into constants when they are first read.
    initializers: BTreeMap<&'m str, &'m TensorProto>,
    /// Values by their names in the file; `None` where a reported fault is in the way.
    values: BTreeMap<String, Option<ValueId>>,
    known: Known,
    diagnostics: Diagnostics,
}

impl<'m> Importer<'m> {
    fn new(file: &'m ModelFile, registry: &'m Registry, graph: &'m GraphProto) -> Self {
        let mut importer = Self {
            file,
            registry,
            graph: Graph::new(graph.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("network")),
            initializers: BTreeMap::new(),
            values: BTreeMap::new(),
            known: Known::default(),
            diagnostics: Diagnostics::default(),
        };
        for tensor in &graph.initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            if importer.initializers.insert(name, tensor).is_some() {
                importer.fault(OnnxError::Duplicate { name: name.to_owned() });
            }
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().and_then(|values| values.name.clone());
            importer.fault(OnnxError::Sparse { name: name.unwrap_or_default() });
        }
        importer
    }

    fn fault(&mut self, error: OnnxError) {
        self.diagnostics.push(WithPlaces::new(error));
    }

    /// Adds the graph inputs and gives their names. One that is also an initializer is that
    /// constant (a default that the caller might override, which a compiled network cannot).
    fn inputs(&mut self, graph: &'m GraphProto, shapes: &InputShapes) -> Vec<&'m str> {
        let infos: Vec<&ValueInfoProto> = graph
            .input
            .iter()
            .filter(|info| !self.initializers.contains_key(info.name.as_deref().unwrap_or_default()))
            .collect();
        let mut symbols = Symbols::of(&infos);
        let only = infos.len() == 1;
        let mut names = Vec::new();
        for info in infos {
            let name = info.name.as_deref().unwrap_or_default();
            names.push(name);
            let shaped = input_type(info, &mut symbols).and_then(|ty| {
                let shape = shapes.of(name, only, ty.shape.clone());
                let shape = shape
                    .ok_or_else(|| format!("has shape {}, which --input-shape contradicts", ty.shape))?;
                Ok(ty.with_shape(shape))
            });
            let value = match shaped {
                Ok(ty) => {
                    let given = shapes
                        .values
                        .get(name)
                        .filter(|tensor| tensor.dtype() == ty.storage() && ty.shape.admits(tensor.sizes()));
                    let value = self.graph.add_input(name, ty, Loc::unknown());
                    given.into_iter().for_each(|tensor| self.known.give(value, tensor.clone()));
                    Some(value)
                }
                Err(problem) => {
                    self.fault(OnnxError::InputType { name: name.to_owned(), problem });
                    None
                }
            };
            if self.values.insert(name.to_owned(), value).is_some() {
                self.fault(OnnxError::Duplicate { name: name.to_owned() });
            }
        }
        names
    }

    /// The value of that name; `None` after a fault.
    fn value(&mut self, name: &str) -> Option<ValueId> {
        if let Some(value) = self.values.get(name) {
            return *value;
        }
        let made = self.initializers.get(name).map(|proto| tensor::decode(name, proto, &self.file.external));
        let value = match made {
            Some(Ok(tensor)) => Some(self.constant(name, tensor, Loc::unknown())),
            Some(Err(error)) => {
                self.fault(error);
                None
            }
            None => None,
        };
        self.values.insert(name.to_owned(), value);
        value
    }

    fn constant(&mut self, name: &str, tensor: Tensor, loc: Loc) -> ValueId {
        let value = self.graph.add_const(name, tensor, loc);
        self.graph.take_name(value, name);
        value
    }

    fn node(&mut self, node: &FlatNode<'m>) {
        let made = if node.domain.is_empty() && node.op_type == "Constant" {
            self.constant_node(node).map(|value| value.map(|value| vec![value]))
        } else {
            self.lift(node)
        };
        let made = made.unwrap_or_else(|diagnostics| {
            self.diagnostics.extend(diagnostics);
            None
        });
        for (position, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = made.as_ref().and_then(|values| values.get(position)).copied();
            if made.is_some() && value.is_none() {
                let op = node.op_type.to_owned();
                let error = OnnxError::Output { op, position, name: name.clone() };
                self.diagnostics.push(WithPlaces::new(error).at(place(self.file, &node.name), ""));
            }
            self.values.insert(name.clone(), value);
        }
    }

    /// The value of a `Constant` node.
    fn constant_node(&mut self, node: &FlatNode<'m>) -> Result<Option<ValueId>, Diagnostics> {
        let fault = |error| WithPlaces::new(error).at(place(self.file, &node.name), "");
        let attr_fault = |attr: &str, problem: &str| {
            fault(OnnxError::Attribute { attr: attr.to_owned(), problem: problem.to_owned() })
        };
        let mut attrs = node.attrs.iter();
        let (Some((&name, proto)), None) = (attrs.next(), attrs.next()) else {
            return Err(attr_fault("value", "of a Constant must be its only one").into());
        };
        let tensor = match (name, attr::decode(&node.name, name, proto, &self.file.external).map_err(fault)?)
        {
            ("value", OnnxAttr::Tensor(v)) => v,
            ("value_float", OnnxAttr::Float(v)) => Tensor::scalar(v),
            ("value_floats", OnnxAttr::Floats(v)) => Tensor::vector(v),
            ("value_int", OnnxAttr::Int(v)) => Tensor::scalar(v),
            ("value_ints", OnnxAttr::Ints(v)) => Tensor::vector(v),
            _ => return Err(attr_fault(name, "of a Constant is not of a supported kind").into()),
        };
        // Only a needed node comes here, and it is needed for an output.
        let output = node.outputs.first().map(String::as_str).unwrap_or_default();
        Ok(Some(self.constant(output, tensor, place(self.file, &node.name).into())))
    }

    /// Adds what the node stands for. `Ok(None)` if an operand has a fault.
    fn lift(&mut self, node: &FlatNode<'m>) -> Result<Option<Vec<ValueId>>, Diagnostics> {
        let here = place(self.file, &node.name);
        let fault = |error: OnnxError| WithPlaces::new(error).at(here.clone(), "");
        let op = || match node.domain {
            "" => node.op_type.to_owned(),
            domain => format!("{domain}.{}", node.op_type),
        };
        let Some(lift) = self.registry.lift(node.domain, node.op_type) else {
            let way = ways::way(node.domain, node.op_type);
            return Err(fault(OnnxError::Operator { op: op(), way }).into());
        };
        if node.opset < lift.since() {
            let (found, since) = (node.opset, lift.since());
            return Err(fault(OnnxError::OperatorVersion { op: op(), found, since }).into());
        }
        let mut attrs = BTreeMap::new();
        for (&name, proto) in &node.attrs {
            let value = attr::decode(&node.name, name, proto, &self.file.external).map_err(fault)?;
            attrs.insert(name.to_owned(), value);
        }
        let mut operands = Vec::new();
        for name in &node.inputs {
            if name.is_empty() {
                operands.push(None);
            } else if let Some(value) = self.value(name) {
                operands.push(Some(value));
            } else {
                return Ok(None);
            }
        }
        let plain = OnnxNode {
            name: node.name.clone(),
            domain: node.domain.to_owned(),
            op_type: node.op_type.to_owned(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            attrs,
        };
        let builder = Builder { graph: &mut self.graph, registry: self.registry, loc: here.clone().into() };
        let (known, operands_of) = (&self.known, operands.clone());
        let mut cx = LiftCx { builder, node: &plain, opset: node.opset, operands: operands_of, known };
        let values = lift.read(&mut cx).map_err(|error| WithPlaces::new(error).at(here.clone(), ""))?;
        // An operand that is handed through (Identity) keeps its own name.
        let made = |value: ValueId| !operands.contains(&Some(value));
        for (&value, name) in
            values.iter().zip(&node.outputs).filter(|(v, name)| made(**v) && !name.is_empty())
        {
            self.graph.take_name(value, name);
        }
        if let Some(&first) = values.first().filter(|value| made(**value)) {
            self.graph.set_node_name(first.node, node.name.as_str());
        }
        Ok(Some(values))
    }

    fn finish(mut self, outputs: &[ValueInfoProto]) -> Result<Graph, Diagnostics> {
        let mut seen = BTreeSet::new();
        for info in outputs {
            let name = name_of(info);
            if !seen.insert(name) {
                self.fault(OnnxError::Duplicate { name: name.to_owned() });
            } else if let Some(value) = self.value(name) {
                self.graph.add_output(name, value);
                if let Some(declared) = contradiction(info, self.graph.ty(value)) {
                    let found = self.graph.ty(value);
                    let found = format!("{}{}", found.storage(), found.shape);
                    let error = OnnxError::OutputType { name: name.to_owned(), declared, found };
                    let loc = &self.graph.node(value.node).loc;
                    self.diagnostics.push(WithPlaces::new(error).at_loc(loc, ""));
                }
            }
        }
        self.diagnostics.into_result()?;
        // Constants that became attributes.
        self.graph.remove_dead();
        Ok(self.graph)
    }
}

/// Names for sizes that the file leaves open.
struct Symbols {
    names: Names,
    /// The name of open sizes of axis 0: inputs share one batch.
    batch: Option<Arc<str>>,
}

impl Symbols {
    fn of(infos: &[&ValueInfoProto]) -> Self {
        let mut names = Names::default();
        for dim in infos.iter().filter_map(|info| shape(info)).flatten() {
            if let Some(DimValue::DimParam(name)) = &dim.value {
                names.take(name);
            }
        }
        Self { names, batch: None }
    }

    fn open(&mut self, input: &str, axis: usize) -> Arc<str> {
        if axis > 0 {
            return self.names.fresh(&format!("{input}_d{axis}")).into();
        }
        self.batch.get_or_insert_with(|| self.names.fresh("N").into()).clone()
    }
}

/// The type that a file declares, if a value of type `found` cannot be of it. Sizes that either side
/// leaves open agree with all; a shape without axes is how writers say that they know none.
fn contradiction(info: &ValueInfoProto, found: &TensorType) -> Option<String> {
    let ty = match info.r#type.as_ref()?.value.as_ref()? {
        TypeValue::TensorType(ty) => ty,
        _ => return Some("not a tensor".to_owned()),
    };
    let element_type = ty.elem_type.unwrap_or_default();
    let dtype = tensor::dtype(element_type);
    let dims = ty.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let agrees = |(dim, found): (&Dimension, &Dim)| match (&dim.value, found.fixed()) {
        (Some(DimValue::DimValue(size)), Some(found)) => usize::try_from(*size) == Ok(found),
        _ => true,
    };
    let shape_agrees = dims.is_empty()
        || dims.len() == found.shape.rank() && dims.iter().zip(found.shape.iter()).all(agrees);
    if shape_agrees && (element_type == 0 || dtype.as_ref() == Ok(&found.storage())) {
        return None;
    }
    let dims = dims.iter().map(|dim| match &dim.value {
        Some(DimValue::DimValue(size)) => size.to_string(),
        Some(DimValue::DimParam(name)) if !name.is_empty() => name.clone(),
        _ => "?".to_owned(),
    });
    let dtype = dtype.map_or_else(|name| name, |dtype| dtype.name().to_owned());
    Some(format!("{dtype}[{}]", dims.collect::<Vec<_>>().join(", ")))
}

fn shape(info: &ValueInfoProto) -> Option<&[Dimension]> {
    match info.r#type.as_ref()?.value.as_ref()? {
        TypeValue::TensorType(ty) => Some(&ty.shape.as_ref()?.dim),
        _ => None,
    }
}

/// The type of an input, or what is wrong with it.
fn input_type(info: &ValueInfoProto, symbols: &mut Symbols) -> Result<TensorType, String> {
    let name = info.name.as_deref().filter(|name| !name.is_empty()).ok_or("has no name")?;
    let Some(TypeValue::TensorType(ty)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) else {
        return Err("is not a tensor".into());
    };
    let dtype = tensor::dtype(ty.elem_type.unwrap_or_default())
        .map_err(|element_type| format!("has element type {element_type}, which qirc does not store"))?;
    let dims = shape(info).ok_or("has no shape: not even its number of axes is known")?;
    let dim = |(axis, dim): (usize, &Dimension)| match &dim.value {
        Some(DimValue::DimValue(size)) => {
            usize::try_from(*size).map(Dim::Fixed).map_err(|_| format!("has size {size} on axis {axis}"))
        }
        Some(DimValue::DimParam(symbol)) if !symbol.is_empty() => Ok(Dim::Symbol(symbol.as_str().into())),
        _ => Ok(Dim::Symbol(symbols.open(name, axis))),
    };
    let dims = dims.iter().enumerate().map(dim).collect::<Result<Vec<_>, _>>()?;
    Ok(TensorType::new(dtype, Shape::from(dims)))
}
