//! ONNX nodes and functions as plain data, and the contexts of the `lift` (import) and `lower`
//! (export) faces. Only the `onnx` room knows how they are encoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layer::Limit;
use super::{Builder, Call, Entry, Known, OpError, Registry, call};
use crate::ir::{Attrs, Graph, Kind, NodeId, ValueId};
use crate::tensor::{DType, Dim, Tensor, TensorType};

/// Domain of the hardware layers.
pub const BRAINCHIP: &str = "com.brainchip";
/// The opset of [`BRAINCHIP`].
pub const BRAINCHIP_OPSET: i64 = 1;
/// The opset of domain `""` that emitted files import.
pub const ONNX_OPSET: i64 = 21;

#[derive(Clone, Debug, PartialEq)]
pub enum OnnxAttr {
    Int(i64),
    Float(f32),
    Str(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
    Tensor(Tensor),
    /// In a function body: the attribute of this name of the calling node.
    Ref(RefAttr),
}

/// A reference to an attribute of the calling node, with the type that ONNX wants stated.
#[derive(Clone, Debug, PartialEq)]
pub enum RefAttr {
    Int(String),
    Ints(String),
    Float(String),
}

/// A node; absent optional inputs are empty names.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OnnxNode {
    pub name: String,
    pub domain: String,
    pub op_type: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attrs: BTreeMap<String, OnnxAttr>,
}

impl OnnxNode {
    /// A node of the default domain.
    pub fn new(op_type: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        Self {
            op_type: op_type.to_owned(),
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn attr(mut self, name: &str, value: OnnxAttr) -> Self {
        self.attrs.insert(name.to_owned(), value);
        self
    }
}

/// A model-local function: the body of one op_type.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxFunction {
    pub domain: String,
    /// The opset of the domain that it belongs to.
    pub opset: i64,
    pub name: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Names of the attributes that the body refers to.
    pub attrs: Vec<String>,
    pub nodes: Vec<OnnxNode>,
}

/// What is proven of the integers inside a layer; one function serves every node of its op_type,
/// so its body is chosen for the weakest of all proofs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Of every partial sum of the accumulator, bias included.
    pub accumulator: u128,
    /// Of the sum of a global pool; 0 where there is none.
    pub pooled: u128,
    /// Of every partial sum with the high or the low half of each weight's bits, where these are split.
    pub nibbles: u128,
    /// Some padding value is not one that the input can have.
    pub foreign_padding: bool,
}

impl Bound {
    /// What holds for both.
    pub fn max(self, other: Self) -> Self {
        Self {
            accumulator: self.accumulator.max(other.accumulator),
            pooled: self.pooled.max(other.pooled),
            nibbles: self.nibbles.max(other.nibbles),
            foreign_padding: self.foreign_padding || other.foreign_padding,
        }
    }
}

/// Makes the body of an op_type, given its name, from what is proven of all its nodes.
///
/// # Errors
/// No body computes every one of them exactly.
pub type MakeFunction = Arc<dyn Fn(&str, Bound) -> Result<OnnxFunction, OpError> + Send + Sync>;

/// A node as ONNX.
#[expect(clippy::large_enum_variant, reason = "nothing holds more than one at a time")]
pub enum Lowered {
    /// Standard operators.
    Nodes(Vec<OnnxNode>),
    /// A device layer, what its function's body is made from, and what of it the device's tools do not take.
    Layer { node: OnnxNode, bound: Bound, limits: Vec<Limit>, function: MakeFunction },
}

/// What the `lower` face sees of a node.
pub struct LowerCx<'a> {
    pub call: Call<'a>,
    /// Name of the node in the file.
    pub node_name: &'a str,
    /// Names of the operands; absent ones are empty.
    pub operand_names: &'a [String],
    pub result_names: &'a [String],
    pub result_types: &'a [TensorType],
    /// The tensor of every constant operand.
    pub constants: &'a [Option<&'a Tensor>],
    /// Some reader of the result is a `QuantizedAdd`.
    pub feeds_add: bool,
    initializers: Vec<(String, Tensor)>,
}

impl<'a> LowerCx<'a> {
    pub fn new(
        call: Call<'a>,
        node_name: &'a str,
        operand_names: &'a [String],
        result_names: &'a [String],
        result_types: &'a [TensorType],
        constants: &'a [Option<&'a Tensor>],
    ) -> Self {
        let initializers = Vec::new();
        Self {
            call,
            node_name,
            operand_names,
            result_names,
            result_types,
            constants,
            feeds_add: false,
            initializers,
        }
    }

    /// Adds an initializer `<node name>_<suffix>` and gives its name.
    pub fn initializer(&mut self, suffix: &str, tensor: Tensor) -> String {
        let name = format!("{}_{suffix}", self.node_name);
        self.initializers.push((name.clone(), tensor));
        name
    }

    /// Adds initializers under the names that they have.
    pub fn add_initializers(&mut self, made: Vec<(String, Tensor)>) {
        self.initializers.extend(made);
    }

    /// The initializers that were added, in order.
    pub fn into_initializers(self) -> Vec<(String, Tensor)> {
        self.initializers
    }

    /// A standard node over the given inputs with this node's name and results.
    pub fn node(&self, op_type: &str, inputs: Vec<String>) -> OnnxNode {
        OnnxNode {
            name: self.node_name.to_owned(),
            domain: String::new(),
            op_type: op_type.to_owned(),
            inputs,
            outputs: self.result_names.to_vec(),
            attrs: BTreeMap::new(),
        }
    }
}

/// The ONNX form of one operator node of a graph, with the initializers that it adds. `name` is what
/// the node is called in the file.
pub fn lower_node(
    graph: &Graph,
    registry: &Registry,
    id: NodeId,
    name: &str,
) -> Result<(Lowered, Vec<(String, Tensor)>), OpError> {
    let node = graph.node(id);
    let Kind::Op { op, attrs } = &node.kind else {
        return Err(OpError::UnknownOp { op: node.name.to_string(), similar: None });
    };
    let entry = registry.get(op)?;
    let operands = &node.operands;
    let operand_types: Vec<Option<TensorType>> =
        operands.iter().map(|value| value.map(|value| graph.ty(value).clone())).collect();
    let operand_names: Vec<String> = operands
        .iter()
        .map(|value| value.map(|value| graph.value(value).name.to_string()).unwrap_or_default())
        .collect();
    let constants: Vec<Option<&Tensor>> =
        operands.iter().map(|value| graph.constant((*value)?).map(|tensor| &**tensor)).collect();
    let result_names: Vec<String> = node.results.iter().map(|value| value.name.to_string()).collect();
    let result_types: Vec<TensorType> = node.results.iter().map(|value| value.ty.clone()).collect();
    let call = Call { schema: &entry.schema, attrs, operands: &operand_types };
    let mut cx = LowerCx::new(call, name, &operand_names, &result_names, &result_types, &constants);
    let readers = graph.uses(ValueId { node: id, result: 0 });
    cx.feeds_add = readers.iter().any(|at| graph.node(at.node).op() == Some("QuantizedAdd"));
    let lowered = entry.operator.lower(&mut cx)?;
    Ok((lowered, cx.into_initializers()))
}

/// What the `lift` face sees of an ONNX node.
pub struct LiftCx<'a> {
    pub builder: Builder<'a>,
    /// Outputs beyond the first that are named are wanted: those that nothing reads have no name.
    pub node: &'a OnnxNode,
    /// Version of the node's domain that the model imports.
    pub opset: i64,
    /// By position; absent ones are `None`.
    pub operands: Vec<Option<ValueId>>,
    pub known: &'a Known,
}

impl LiftCx<'_> {
    pub fn operand(&self, position: usize) -> Result<ValueId, OpError> {
        self.opt_operand(position).ok_or_else(|| OpError::MissingOperand {
            op: self.node.op_type.clone(),
            operand: position.to_string(),
        })
    }

    pub fn opt_operand(&self, position: usize) -> Option<ValueId> {
        self.operands.get(position).copied().flatten()
    }

    /// Type of the operand at `position`.
    pub fn ty(&self, position: usize) -> Result<&TensorType, OpError> {
        Ok(self.builder.graph.ty(self.operand(position)?))
    }

    /// The tensor of an operand that depends on no input.
    pub fn constant(&self, position: usize) -> Option<Arc<Tensor>> {
        self.known.get(self.builder.graph, self.builder.registry, self.opt_operand(position)?)
    }

    /// What is known of the list of sizes at `position`.
    pub fn entries(&self, position: usize) -> Option<Vec<Entry>> {
        self.known.entries(self.builder.graph, self.builder.registry, self.opt_operand(position)?)
    }

    /// Adds a node with one result, named after the ONNX node's first output.
    pub fn op(&mut self, op: &str, attrs: Attrs, operands: &[ValueId]) -> Result<ValueId, OpError> {
        self.builder.op(op, attrs, operands, &self.result_name())
    }

    /// Adds a node on the way to the result: its name carries `suffix`.
    pub fn step(
        &mut self,
        suffix: &str,
        op: &str,
        attrs: Attrs,
        operands: &[ValueId],
    ) -> Result<ValueId, OpError> {
        let name = format!("{}_{suffix}", self.result_name());
        self.builder.op(op, attrs, operands, &name)
    }

    /// [`LiftCx::step`], or the node of the result itself where there is no suffix.
    pub fn step_or_op(
        &mut self,
        suffix: Option<&str>,
        op: &str,
        attrs: Attrs,
        operands: &[ValueId],
    ) -> Result<ValueId, OpError> {
        match suffix {
            Some(suffix) => self.step(suffix, op, attrs, operands),
            None => self.op(op, attrs, operands),
        }
    }

    /// Adds a constant number, stored as the operand at `position` is.
    pub fn number_like(&mut self, position: usize, suffix: &str, value: f32) -> Result<ValueId, OpError> {
        let storage = self.ty(position)?.storage();
        Ok(self.add_const(suffix, Tensor::scalar(value).cast(storage)))
    }

    /// Adds a node with one result and possibly absent operands.
    pub fn op_with(
        &mut self,
        op: &str,
        attrs: Attrs,
        operands: Vec<Option<ValueId>>,
    ) -> Result<ValueId, OpError> {
        let name = self.result_name();
        Ok(ValueId { node: self.builder.node(op, attrs, operands, &name)?, result: 0 })
    }

    /// Adds a constant, named after the ONNX node's first output and `suffix`.
    pub fn add_const(&mut self, suffix: &str, tensor: Tensor) -> ValueId {
        let name = format!("{}_{suffix}", self.result_name());
        let loc = self.builder.loc.clone();
        self.builder.graph.add_const(&name, tensor, loc)
    }

    /// What the nodes of this node are called: its first output that is asked for.
    pub fn result_name(&self) -> String {
        self.node.outputs.iter().find(|name| !name.is_empty()).unwrap_or(&self.node.name).clone()
    }

    pub fn unsupported(&self, what: impl Into<String>) -> OpError {
        OpError::Unsupported { op: self.node.op_type.clone(), what: what.into(), way_out: None }
    }

    pub fn invalid(&self, message: impl Into<String>) -> OpError {
        OpError::Invalid { op: self.node.op_type.clone(), message: message.into() }
    }

    /// A size that the translation computes with.
    pub fn known(&self, dim: &Dim) -> Result<usize, OpError> {
        dim.fixed().ok_or_else(|| call::unknown_size(self.node.op_type.clone(), dim))
    }

    /// The integers of an operand that must be a constant i64 tensor; `None` if it is absent.
    pub fn constant_ints(&self, position: usize, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        if self.opt_operand(position).is_none() {
            return Ok(None);
        }
        match self.constant(position).as_deref().and_then(Tensor::elements::<i64>) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => Err(self.not_constant(format!("`{name}` that is not a constant"))),
        }
    }

    /// The integers of a list that is the attribute `name` before opset `since`, and from it on the
    /// operand at `position`; `None` if it is absent.
    pub fn ints_either(&self, name: &str, position: usize, since: i64) -> Result<Option<Vec<i64>>, OpError> {
        if self.opset < since {
            Ok(self.opt_ints(name)?.map(<[i64]>::to_vec))
        } else {
            self.constant_ints(position, name)
        }
    }

    pub fn not_constant(&self, what: String) -> OpError {
        OpError::Unsupported {
            op: self.node.op_type.clone(),
            what,
            way_out: Some(
                "it depends on sizes that the model leaves open, or on what the network is given: state the former \
                 with --input-shape"
                    .to_owned(),
            ),
        }
    }

    /// The value of an operand that must be a constant float scalar and fit f32; `None` if it is
    /// absent.
    pub fn constant_float(&self, position: usize, name: &str) -> Result<Option<f32>, OpError> {
        if self.opt_operand(position).is_none() {
            return Ok(None);
        }
        let tensor = self.constant(position);
        let narrow = |v: f64| f64::from(v as f32) == v || v.is_nan();
        let value = tensor.as_deref().and_then(|tensor| match tensor {
            Tensor::F32(array) if array.len() == 1 => array.first().copied(),
            Tensor::F64(array) if array.len() == 1 => {
                array.first().copied().filter(|&v| narrow(v)).map(|v| v as f32)
            }
            _ => None,
        });
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.not_constant(format!("`{name}` that is not a constant f32 scalar"))),
        }
    }

    /// An axis counted from the end if negative, as one counted from the start: below `end`, for
    /// a tensor of `rank` axes.
    pub fn axis(&self, axis: i64, rank: usize, end: usize) -> Result<i64, OpError> {
        // Ranks are small: they count the entries of a list in memory.
        let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        if from_start < 0 || from_start >= end as i64 {
            return Err(self.invalid(format!("axis {axis} of a tensor of rank {rank}")));
        }
        Ok(from_start)
    }

    /// Axes as [`LiftCx::axis`] has them, in ascending order.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<i64>, OpError> {
        let mut axes: Vec<i64> =
            axes.iter().map(|&axis| self.axis(axis, rank, rank)).collect::<Result<_, _>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.invalid(format!("axes {axes:?} name one axis twice")));
        }
        Ok(axes)
    }

    fn attr_kind(&self, name: &str, expected: &'static str) -> OpError {
        OpError::AttrKind {
            op: self.node.op_type.clone(),
            attr: name.to_owned(),
            expected,
            found: "another kind",
        }
    }

    pub fn opt_int(&self, name: &str) -> Result<Option<i64>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Int(v)) => Ok(Some(*v)),
            Some(_) => Err(self.attr_kind(name, "int")),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64, OpError> {
        Ok(self.opt_int(name)?.unwrap_or(default))
    }

    pub fn opt_float(&self, name: &str) -> Result<Option<f32>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Float(v)) => Ok(Some(*v)),
            Some(_) => Err(self.attr_kind(name, "float")),
        }
    }

    pub fn float(&self, name: &str, default: f32) -> Result<f32, OpError> {
        Ok(self.opt_float(name)?.unwrap_or(default))
    }

    pub fn opt_text(&self, name: &str) -> Result<Option<&str>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Str(v)) => Ok(Some(v)),
            Some(_) => Err(self.attr_kind(name, "string")),
        }
    }

    pub fn opt_ints(&self, name: &str) -> Result<Option<&[i64]>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Ints(v)) => Ok(Some(v)),
            Some(_) => Err(self.attr_kind(name, "list of int")),
        }
    }

    pub fn opt_floats(&self, name: &str) -> Result<Option<&[f32]>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Floats(v)) => Ok(Some(v)),
            Some(_) => Err(self.attr_kind(name, "list of float")),
        }
    }

    pub fn opt_texts(&self, name: &str) -> Result<Option<&[String]>, OpError> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(OnnxAttr::Strs(v)) => Ok(Some(v)),
            Some(_) => Err(self.attr_kind(name, "list of string")),
        }
    }
}

/// The storage types with their codes in ONNX (`TensorProto.DataType`).
const ONNX_TYPES: [(i64, DType); 11] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
];

/// The storage type of an ONNX element type.
pub fn onnx_to_dtype(code: i64) -> Option<DType> {
    ONNX_TYPES.iter().find(|(known, _)| *known == code).map(|&(_, dtype)| dtype)
}

/// The ONNX element type of a storage type.
pub fn dtype_to_onnx(dtype: DType) -> i64 {
    // The table has every storage type; 0 is ONNX's "undefined".
    ONNX_TYPES.iter().find(|(_, known)| *known == dtype).map_or(0, |&(code, _)| code)
}
