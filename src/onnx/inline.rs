//! Nodes with the bodies of model-local functions in place of their calls.

use std::collections::BTreeMap;

use super::OnnxError;
use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};
use super::wiring::Wired;
use crate::ir::Names;
use crate::ops::{BRAINCHIP, ONNX_OPSET};

/// Functions that call functions: deeper is a recursion, or made to break something.
const DEEPEST: usize = 64;

/// Bytes of nodes and names that all bodies together may add. Bodies that call each other twice
/// grow exponentially; this is where that ends.
const LARGEST: usize = 1 << 27;

/// A node with names of the whole graph and attributes of its own.
pub struct FlatNode<'m> {
    /// In a function body, the names of the calls come first: `call/node`.
    pub name: String,
    /// The default domain is empty.
    pub domain: &'m str,
    pub op_type: &'m str,
    /// Version of the domain.
    pub opset: i64,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attrs: BTreeMap<&'m str, &'m AttributeProto>,
}

impl Wired for FlatNode<'_> {
    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> &[String] {
        &self.outputs
    }
}

/// The version of every imported domain.
pub type Opsets<'m> = BTreeMap<&'m str, i64>;

pub fn opsets(imports: &[OperatorSetIdProto]) -> Result<Opsets<'_>, OnnxError> {
    let mut opsets = Opsets::new();
    for import in imports {
        let domain = plain_domain(import.domain.as_deref());
        let second = import.version.unwrap_or_default();
        match opsets.insert(domain, second) {
            Some(first) if first != second => {
                return Err(OnnxError::ImportedTwice { domain: domain.to_owned(), first, second });
            }
            _ => {}
        }
    }
    Ok(opsets)
}

/// `ai.onnx` is the long name of the default domain.
fn plain_domain(domain: Option<&str>) -> &str {
    domain.filter(|&domain| domain != "ai.onnx").unwrap_or_default()
}

/// The nodes of `graph`. Functions of the hardware domain stay calls, as do those that `known` says
/// are read as operators: the name says what they compute.
pub fn flatten<'m>(
    graph: &'m GraphProto,
    functions: &'m [FunctionProto],
    opsets: &Opsets<'m>,
    known: impl Fn(&str, &str) -> bool,
) -> Faulty<Vec<FlatNode<'m>>> {
    let mut inlined = BTreeMap::new();
    for function in functions {
        let domain = plain_domain(function.domain.as_deref());
        let name = function.name.as_deref().unwrap_or_default();
        let key = (domain, name, function.overload.as_deref().unwrap_or_default());
        // A file may say what an operator of ONNX itself computes.
        let stays = !domain.is_empty() && (domain == BRAINCHIP || known(domain, name));
        if !stays && inlined.insert(key, function).is_some() {
            let function = format!("{domain}.{name}");
            return Err((OnnxError::Function { function, problem: "is defined twice" }, None));
        }
    }
    let values = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    let others = graph.input.iter().chain(&graph.output).filter_map(|value| value.name.as_ref());
    let taken = values.chain(others).chain(graph.initializer.iter().filter_map(|t| t.name.as_ref()));
    let mut names = Names::default();
    taken.for_each(|name| {
        names.take(name);
    });
    let mut inliner = Inliner { functions: inlined, names, added: 0, nodes: Vec::new() };
    inliner.body(&graph.node, &mut Scope::top(opsets), 0)?;
    Ok(inliner.nodes)
}

/// Domain, name and overload.
type FunctionKey<'m> = (&'m str, &'m str, &'m str);

struct Inliner<'m> {
    functions: BTreeMap<FunctionKey<'m>, &'m FunctionProto>,
    /// Every value name of the graph so far.
    names: Names,
    /// Bytes that bodies have added.
    added: usize,
    nodes: Vec<FlatNode<'m>>,
}

/// What names and attribute references mean in the nodes at hand.
struct Scope<'s, 'm> {
    opsets: &'s Opsets<'m>,
    /// `None` in the graph itself, where names stand for themselves.
    call: Option<CallScope<'m>>,
}

struct CallScope<'m> {
    /// Name of the calling node.
    name: String,
    /// Value names of the body, as names of the graph.
    values: BTreeMap<&'m str, String>,
    attrs: BTreeMap<&'m str, &'m AttributeProto>,
}

impl<'s, 'm> Scope<'s, 'm> {
    fn top(opsets: &'s Opsets<'m>) -> Self {
        Self { opsets, call: None }
    }
}

/// `Err`: a fault and the name of the node that it is at.
pub type Faulty<T> = Result<T, (OnnxError, Option<String>)>;

impl<'m> Inliner<'m> {
    fn body(&mut self, nodes: &'m [NodeProto], scope: &mut Scope<'_, 'm>, depth: usize) -> Faulty<()> {
        for proto in nodes {
            let node = self.node(proto, scope)?;
            let overload = proto.overload.as_deref().unwrap_or_default();
            match self.functions.get(&(node.domain, node.op_type, overload)) {
                Some(function) => self.call(function, node, scope.opsets, depth)?,
                None => self.nodes.push(node),
            }
        }
        Ok(())
    }

    fn node(&mut self, proto: &'m NodeProto, scope: &mut Scope<'_, 'm>) -> Faulty<FlatNode<'m>> {
        let outputs = self.values(&proto.output, scope);
        let inputs = self.values(&proto.input, scope);
        // Unnamed nodes take the name of their first output.
        let own = proto.name.as_deref().filter(|name| !name.is_empty());
        let first_output = || outputs.iter().find(|name| !name.is_empty()).cloned();
        let name = match (own, &scope.call) {
            (Some(own), None) => own.to_owned(),
            (Some(own), Some(call)) => format!("{}/{own}", call.name),
            (None, _) => first_output().unwrap_or_default(),
        };
        let at = |error| (error, Some(name.clone()));
        if scope.call.is_some() {
            self.added += name.len() + inputs.iter().chain(&outputs).map(String::len).sum::<usize>();
        }
        let op_type = proto.op_type.as_deref().unwrap_or_default();
        let domain = plain_domain(proto.domain.as_deref());
        let opset = scope.opsets.get(domain).copied();
        let opset = opset.ok_or_else(|| at(OnnxError::NotImported { domain: domain.to_owned() }))?;
        let attrs = attrs(proto, scope.call.as_ref()).map_err(at)?;
        Ok(FlatNode { name, domain, op_type, opset, inputs, outputs, attrs })
    }

    /// The names of the whole graph for names of a scope.
    fn values(&mut self, names: &'m [String], scope: &mut Scope<'_, 'm>) -> Vec<String> {
        let Some(call) = &mut scope.call else { return names.to_vec() };
        let mut global = |name: &'m str| {
            let fresh = || self.names.fresh(&format!("{}/{name}", call.name));
            call.values.entry(name).or_insert_with(fresh).clone()
        };
        names.iter().map(|name| if name.is_empty() { String::new() } else { global(name) }).collect()
    }

    fn call(
        &mut self,
        function: &'m FunctionProto,
        node: FlatNode<'m>,
        caller: &Opsets<'m>,
        depth: usize,
    ) -> Faulty<()> {
        let fault = |error| (error, Some(node.name.clone()));
        let broken = |problem| {
            let function = format!("{}.{}", node.domain, node.op_type);
            fault(OnnxError::Function { function, problem })
        };
        if depth == DEEPEST {
            return Err(broken("calls functions more than 64 deep, or itself"));
        }
        self.added += size_of::<FlatNode>() * (function.node.len() + function.input.len());
        if self.added > LARGEST {
            return Err(broken("and the functions that it calls expand to too many nodes"));
        }
        if node.inputs.len() > function.input.len() || node.outputs.len() > function.output.len() {
            return Err(broken("is called with more inputs or outputs than it has"));
        }
        let mut opsets = opsets(&function.opset_import).map_err(fault)?;
        if opsets.is_empty() {
            opsets = caller.clone();
        }

        let inputs = node.inputs.iter().cloned().chain(std::iter::repeat(String::new()));
        let mut values: BTreeMap<&str, String> =
            function.input.iter().map(String::as_str).zip(inputs).collect();
        // An output that is an input, or another output too, has its name already.
        let mut copies = Vec::new();
        for (inner, outer) in function.output.iter().zip(&node.outputs).filter(|(_, name)| !name.is_empty()) {
            match values.get(inner.as_str()) {
                Some(known) => copies.push((known.clone(), outer.clone())),
                None => {
                    values.insert(inner, outer.clone());
                }
            }
        }
        let mut attrs: BTreeMap<&str, &AttributeProto> = function
            .attribute_proto
            .iter()
            .map(|default| (default.name.as_deref().unwrap_or_default(), default))
            .collect();
        let known =
            |name: &&str| attrs.contains_key(name) || function.attribute.iter().any(|own| own == name);
        if let Some(name) = node.attrs.keys().find(|name| !known(name)) {
            let problem = format!("is not one of function `{}.{}`", node.domain, node.op_type);
            return Err(fault(OnnxError::Attribute { attr: (*name).to_owned(), problem }));
        }
        attrs.extend(node.attrs.iter().map(|(&name, &value)| (name, value)));
        let call = Some(CallScope { name: node.name.clone(), values, attrs });
        self.body(&function.node, &mut Scope { opsets: &opsets, call }, depth + 1)?;
        for (from, to) in copies {
            self.nodes.push(FlatNode {
                name: to.clone(),
                domain: "",
                op_type: "Identity",
                opset: ONNX_OPSET,
                inputs: vec![from],
                outputs: vec![to],
                attrs: BTreeMap::new(),
            });
        }
        Ok(())
    }
}

/// The attributes of a node, references replaced by what the call gives (or left out where it
/// gives nothing).
fn attrs<'m>(
    proto: &'m NodeProto,
    call: Option<&CallScope<'m>>,
) -> Result<BTreeMap<&'m str, &'m AttributeProto>, OnnxError> {
    let mut attrs = BTreeMap::new();
    for attr in &proto.attribute {
        let name = attr.name.as_deref().unwrap_or_default();
        let fault =
            |problem: &str| Err(OnnxError::Attribute { attr: name.to_owned(), problem: problem.to_owned() });
        let value = match (attr.ref_attr_name.as_deref().filter(|of| !of.is_empty()), call) {
            (None, _) => attr,
            (Some(_), None) => return fault("refers to an attribute of a function, outside of any"),
            (Some(of), Some(call)) => match call.attrs.get(of) {
                Some(value) => value,
                None => continue,
            },
        };
        if attrs.insert(name, value).is_some() {
            return fault("is given twice");
        }
    }
    Ok(attrs)
}
