//! One instance of a left side: concrete types, attributes, constants and inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diag::Loc;
use crate::ir::{Attrs, Graph, NodeId, Value, ValueId};
use crate::ops::Registry;
use crate::tensor::{DType, Shape, Tensor, TensorType};

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// An input of the graph, with what it is fed.
    Input(Arc<Tensor>),
    Constant(Arc<Tensor>),
    Result,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub name: Arc<str>,
    pub ty: TensorType,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub struct Made {
    pub op: Arc<str>,
    pub attrs: Attrs,
    /// Positions in [`Instance::values`].
    pub operands: Vec<Option<usize>>,
    pub results: Vec<usize>,
    /// The step of the left side; `None` for what only makes an operand no input.
    pub step: Option<usize>,
}

/// Values, and nodes over them, operands before their readers. The root of the left side is the last
/// node.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    pub values: Vec<Held>,
    pub nodes: Vec<Made>,
}

/// An instance as a graph; the results of the root are its outputs `left`.
pub struct Before {
    pub graph: Graph,
    pub root: NodeId,
    /// Results of matched nodes other than the root.
    pub inner: Vec<ValueId>,
    /// What each input is fed.
    pub feeds: BTreeMap<String, Tensor>,
}

impl Instance {
    /// The graph; `None` only for an instance without nodes.
    pub fn graph(&self) -> Option<Before> {
        let mut graph = Graph::new("counter_example");
        let mut ids: Vec<Option<ValueId>> = vec![None; self.values.len()];
        let mut feeds = BTreeMap::new();
        for (id, held) in ids.iter_mut().zip(&self.values) {
            *id = match &held.origin {
                Origin::Input(tensor) => {
                    let value = graph.add_input(&held.name, held.ty.clone(), Loc::unknown());
                    feeds.insert(graph.value(value).name.to_string(), (**tensor).clone());
                    Some(value)
                }
                Origin::Constant(tensor) => {
                    Some(graph.add_const(&held.name, (**tensor).clone(), Loc::unknown()))
                }
                Origin::Result => None,
            };
        }
        let mut inner = Vec::new();
        let mut root = None;
        for (at, made) in self.nodes.iter().enumerate() {
            let last = at + 1 == self.nodes.len();
            let get = |value: &usize| ids.get(*value).copied().flatten();
            let operands = made.operands.iter().map(|operand| operand.as_ref().and_then(get)).collect();
            let results = made.results.iter().filter_map(|&value| self.values.get(value));
            let name = |at: usize, held: &Held| match (last, made.results.len()) {
                (false, _) => held.name.clone(),
                (true, 1) => "left".into(),
                (true, _) => format!("left_{at}").into(),
            };
            let results =
                results.enumerate().map(|(at, held)| Value::new(name(at, held), held.ty.clone())).collect();
            let node = graph.add_op(&made.op, made.attrs.clone(), operands, results, Loc::unknown());
            for (result, &value) in (0..).zip(&made.results) {
                let id = ValueId { node, result };
                if let Some(place) = ids.get_mut(value) {
                    *place = Some(id);
                }
                if last {
                    graph.add_output(graph.value(id).name.clone(), id);
                } else if made.step.is_some() {
                    inner.push(id);
                }
            }
            root = Some(node);
        }
        Some(Before { graph, root: root?, inner, feeds })
    }

    /// The positions of inputs.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        let input = |(at, held): (usize, &Held)| matches!(held.origin, Origin::Input(_)).then_some(at);
        self.values.iter().enumerate().filter_map(input)
    }

    /// The tensor of an input or a constant.
    pub fn tensor(&self, at: usize) -> Option<&Arc<Tensor>> {
        match &self.values.get(at)?.origin {
            Origin::Input(tensor) | Origin::Constant(tensor) => Some(tensor),
            Origin::Result => None,
        }
    }

    /// Puts a tensor of the same type in place of that of an input or a constant.
    pub fn set_tensor(&mut self, at: usize, new: Tensor) {
        if let Some(Held { origin: Origin::Input(tensor) | Origin::Constant(tensor), .. }) =
            self.values.get_mut(at)
        {
            *tensor = Arc::new(new);
        }
    }

    /// How large it is: elements of all values, then nodes and what is not zero.
    pub fn size(&self) -> (usize, usize) {
        let elements = self.values.iter().filter_map(|held| held.ty.shape.elements()).sum();
        let given = (0..self.values.len()).filter_map(|at| self.tensor(at));
        let weight = given.map(|tensor| tensor.to_le_bytes().iter().filter(|&&byte| byte != 0).count());
        (elements, self.nodes.len() + weight.sum::<usize>())
    }

    /// Makes the inputs, and all that has their sizes, one element long. `None` where constants do.
    pub fn shorten(&mut self) -> Option<()> {
        let long =
            self.inputs().next().and_then(|at| self.values.get(at)).map(|held| held.ty.shape.clone())?;
        for held in &mut self.values {
            if held.ty.shape == long {
                if matches!(held.origin, Origin::Constant(_)) {
                    return None;
                }
                held.ty = held.ty.with_shape(Shape::fixed(&[1]));
            }
        }
        Some(())
    }

    /// The instance with f32 wherever it holds f64; `None` if it holds none, or if its operators do not
    /// take that.
    pub fn over_f32(&self, registry: &Registry) -> Option<Instance> {
        let mut new = self.clone();
        let mut changed = false;
        for held in &mut new.values {
            let (Origin::Input(tensor) | Origin::Constant(tensor)) = &mut held.origin else { continue };
            if held.ty.storage() == DType::F64 {
                *tensor = Arc::new(tensor.cast(DType::F32));
                held.ty = tensor.tensor_type();
                changed = true;
            }
        }
        for node in &new.nodes {
            let ty = |operand: &Option<usize>| Some(new.values.get((*operand)?)?.ty.clone());
            let operands: Vec<_> = node.operands.iter().map(ty).collect();
            let results = registry.infer(&node.op, &node.attrs, &operands).ok()?;
            for (&at, ty) in node.results.iter().zip(results) {
                new.values.get_mut(at)?.ty = ty;
            }
        }
        changed.then_some(new)
    }

    /// The storages of its inputs.
    pub fn storages(&self) -> Vec<DType> {
        self.inputs().filter_map(|at| self.values.get(at)).map(|held| held.ty.storage()).collect()
    }
}
