//! Bodies of the functions that make our files run anywhere: standard operators that compute the
//! exact integers (hardware-ops §11).
//!
//! Sums are integers, or float32 where the bound proves that no sum passes 2^24. Rescaling is
//! float64: `acc * M` is below 2^53, a division by a power of two is exact, and so are the addition
//! of one half and the floor.

use super::{
    BRAINCHIP, BRAINCHIP_OPSET, Bound, LowerCx, Lowered, OnnxAttr, OnnxFunction, OnnxNode, RefAttr,
    dtype_to_onnx,
};
use crate::tensor::{DType, Element, Tensor};

/// Sums up to this are exact in float32, in any order.
pub const EXACT_F32: u128 = 1 << 24;
/// Values up to this stay exact in float64 when multiplied by 8 bits and increased by one half.
pub const RESCALABLE: u128 = 1 << 44;

/// Whether float32 sums every accumulator exactly.
pub fn exact_in_f32(bound: Bound) -> bool {
    bound.accumulator <= EXACT_F32
}

/// A function body, or the nodes of one operator, under construction. Values are called by the
/// operator that makes them and its number, so none is called like a parameter.
#[derive(Default)]
pub struct Body {
    /// What the names of values begin with.
    prefix: String,
    nodes: Vec<OnnxNode>,
    attrs: Vec<String>,
}

impl Body {
    /// For the nodes that one node of a graph becomes.
    pub fn of_node(cx: &LowerCx) -> Self {
        Self { prefix: format!("{}_", cx.node_name), ..Self::default() }
    }

    /// Adds an operator and gives the name of its result.
    pub fn op(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.op_with(op_type, inputs, Vec::new())
    }

    /// Adds an operator with attributes.
    pub fn op_with(&mut self, op_type: &str, inputs: &[&str], attrs: Vec<(&str, OnnxAttr)>) -> String {
        let result = format!("{}{op_type}_{}", self.prefix, self.nodes.len());
        let node = OnnxNode::new(op_type, inputs, &[&result]);
        self.nodes.push(attrs.into_iter().fold(node, |node, (name, value)| node.attr(name, value)));
        result
    }

    /// The calling node's list of integers `name`.
    pub fn ints_of_node(&mut self, name: &str) -> OnnxAttr {
        self.refers_to(name);
        OnnxAttr::Ref(RefAttr::Ints(name.to_owned()))
    }

    /// The calling node's integer `name`.
    pub fn int_of_node(&mut self, name: &str) -> OnnxAttr {
        self.refers_to(name);
        OnnxAttr::Ref(RefAttr::Int(name.to_owned()))
    }

    /// A function names each attribute once, however often its body refers to it.
    fn refers_to(&mut self, name: &str) {
        if !self.attrs.iter().any(|known| known == name) {
            self.attrs.push(name.to_owned());
        }
    }

    pub fn scalar<T: Element>(&mut self, value: T) -> String {
        self.tensor(Tensor::scalar(value))
    }

    pub fn vector<T: Element>(&mut self, values: Vec<T>) -> String {
        self.tensor(Tensor::vector(values))
    }

    pub fn tensor(&mut self, tensor: Tensor) -> String {
        self.op_with("Constant", &[], vec![("value", OnnxAttr::Tensor(tensor))])
    }

    pub fn cast(&mut self, x: &str, to: DType) -> String {
        self.op_with("Cast", &[x], vec![("to", OnnxAttr::Int(dtype_to_onnx(to)))])
    }

    /// An int8 tensor as uint8, increased by 128: integer products take no int8.
    pub fn shifted(&mut self, x: &str) -> String {
        let wide = self.cast(x, DType::I32);
        let shift = self.scalar(128i32);
        let shifted = self.op("Add", &[&wide, &shift]);
        self.cast(&shifted, DType::U8)
    }

    /// `floor(x * ratio + 1/2)` saturated to int8; both are float64.
    pub fn rescaled(&mut self, x: &str, ratio: &str) -> String {
        let product = self.op("Mul", &[x, ratio]);
        self.half_up(&product, DType::I8)
    }

    /// `floor(x + 1/2)` of a float64, saturated to an integer type of at most 32 bits.
    pub fn half_up(&mut self, x: &str, to: DType) -> String {
        self.half_up_within(x, to.integer_range().unwrap_or_default(), to)
    }

    /// `floor(x + 1/2)` of a float64, saturated to a range of integers of at most 32 bits and stored as `to`.
    pub fn half_up_within(&mut self, x: &str, (lowest, highest): (i128, i128), to: DType) -> String {
        let half = self.scalar(0.5f64);
        let raised = self.op("Add", &[x, &half]);
        let floor = self.op("Floor", &[&raised]);
        let whole = DType::I32.integer_range() == Some((lowest, highest));
        // Every integer of 32 bits is a float64.
        let (lowest, highest) = (self.scalar(lowest as f64), self.scalar(highest as f64));
        let clipped = if whole {
            // Bounds of a clip that is read are f32, which that of i32 is not.
            let raised = self.op("Max", &[&floor, &lowest]);
            self.op("Min", &[&raised, &highest])
        } else {
            self.op("Clip", &[&floor, &lowest, &highest])
        };
        self.cast(&clipped, to)
    }

    /// Calls the result of the last operator `name`.
    pub fn name_last(&mut self, name: &str) {
        if let Some(last) = self.nodes.last_mut() {
            last.outputs = vec![name.to_owned()];
        }
    }

    /// The nodes of one node of a graph, whose one result is that of the last operator.
    pub fn nodes_of(mut self, cx: &LowerCx) -> Lowered {
        if let Some(last) = self.nodes.last_mut() {
            last.name = cx.node_name.to_owned();
            last.outputs = cx.result_names.to_vec();
        }
        Lowered::Nodes(self.nodes)
    }

    /// The function; its one result is that of the last operator.
    pub fn function(mut self, op_type: &str, inputs: Vec<&str>, output: &str) -> OnnxFunction {
        self.name_last(output);
        let inputs = inputs.into_iter().map(str::to_owned).collect();
        self.function_of(op_type, inputs, vec![output.to_owned()])
    }

    /// The function with these results.
    pub fn function_of(self, op_type: &str, inputs: Vec<String>, outputs: Vec<String>) -> OnnxFunction {
        let (domain, name) = (BRAINCHIP.to_owned(), op_type.to_owned());
        OnnxFunction {
            domain,
            opset: BRAINCHIP_OPSET,
            name,
            inputs,
            outputs,
            attrs: self.attrs,
            nodes: self.nodes,
        }
    }
}
