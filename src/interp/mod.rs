//! The interpreter: walks a graph, calling the operators' semantics.
//!
//! Guarantees: values come in the canonical order, each is freed as soon as its last reader is
//! done, and the results depend on nothing but graph, inputs and [`Arithmetic`]. Operators with state
//! begin with zeros, and keep theirs between the runs that share a [`Memory`].

mod frames;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Mutex;

use thiserror::Error;

use crate::diag::{Report, WithPlaces};
use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::kernels::image::Buffers;
use crate::ops::{Arithmetic, Call, Held, Inputs, OpError, Prepared, Registry};
use crate::tensor::{DType, Dim, Grid, Shape, Tensor, TensorType};

#[derive(Clone, Debug, PartialEq, Error)]
pub enum InterpError {
    #[error("input `{name}` is missing")]
    MissingInput { name: String, shape: Shape },
    #[error("the graph has no input `{name}`")]
    UnknownInput { name: String, known: Vec<String> },
    #[error("input `{name}` is stored as {expected}, the tensor given as {found}")]
    InputDType { name: String, expected: DType, found: DType },
    #[error("input `{name}` has shape {expected}, the tensor given {found:?}")]
    InputShape { name: String, expected: Shape, found: Vec<usize> },
    #[error("axis {symbol} of input `{name}` has size {found}, another input gave it {expected}")]
    InputSymbol { name: String, symbol: String, expected: usize, found: usize },
    #[error(transparent)]
    Op(#[from] OpError),
}

impl Report for InterpError {
    fn code(&self) -> &'static str {
        match self {
            InterpError::MissingInput { .. } => "Q0801",
            InterpError::UnknownInput { .. } => "Q0802",
            InterpError::InputDType { .. } => "Q0803",
            InterpError::InputShape { .. } => "Q0804",
            InterpError::InputSymbol { .. } => "Q0805",
            InterpError::Op(error) => error.code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            InterpError::MissingInput { name, shape } => {
                vec![format!("give --input {name}=FILE.npy with a tensor of shape {shape}")]
            }
            InterpError::UnknownInput { known, .. } => vec![format!("its inputs are: {}", known.join(", "))],
            InterpError::InputDType { expected, .. } => vec![format!("convert the file to {expected}")],
            InterpError::Op(error) => error.hints(),
            InterpError::InputShape { .. } | InterpError::InputSymbol { .. } => Vec::new(),
        }
    }
}

type Error = WithPlaces<InterpError>;

/// Sees a value that was computed.
type Observe<'a> = &'a mut dyn FnMut(ValueId, &Tensor);

/// What operators with state know of the frames of earlier runs; at first, that there were none.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<NodeId, Tensor>);

/// A verified graph made ready to run many times: constant expressions are evaluated once.
pub struct Plan<'a> {
    graph: &'a Graph,
    registry: &'a Registry,
    arithmetic: Arithmetic,
    steps: Vec<Step>,
    constants: BTreeMap<ValueId, Tensor>,
    /// Memory of the run before, for the next one.
    buffers: Mutex<Buffers>,
}

struct Step {
    node: NodeId,
    /// The values that nobody reads after it.
    dead: Vec<ValueId>,
    prepared: Option<Box<dyn Prepared>>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// An operator on constants that its operands do not satisfy.
    pub fn new(graph: &'a Graph, registry: &'a Registry, arithmetic: Arithmetic) -> Result<Self, Error> {
        let (steps, constants) = (Vec::new(), BTreeMap::new());
        let mut plan = Self { graph, registry, arithmetic, steps, constants, buffers: Mutex::default() };
        let mut last_reader: BTreeMap<ValueId, usize> = BTreeMap::new();
        for id in graph.order() {
            let node = graph.node(id);
            match &node.kind {
                Kind::Input => {}
                Kind::Const(constant) => {
                    let value = ValueId { node: id, result: 0 };
                    plan.constants.insert(value, (**graph.constants.tensor(*constant)).clone());
                }
                Kind::Op { .. } => {
                    let known = node.operands.iter().flatten().all(|v| plan.constants.contains_key(v));
                    if known && !node.operands.is_empty() && !plan.keeps_state(id) {
                        let tensor = |value: &ValueId| plan.constants.get(value).cloned();
                        let results = plan.eval(id, &tensor, &mut Memory::default())?;
                        let values = (0..).map(|result| ValueId { node: id, result });
                        plan.constants.extend(values.zip(results));
                    } else {
                        let results =
                            (0..node.results.len() as u32).map(|result| ValueId { node: id, result });
                        for value in node.operands.iter().copied().flatten().chain(results) {
                            last_reader.insert(value, plan.steps.len());
                        }
                        let prepared = plan.prepare(id);
                        plan.steps.push(Step { node: id, dead: Vec::new(), prepared });
                    }
                }
            }
        }
        for (value, step) in last_reader {
            if !plan.constants.contains_key(&value) {
                plan.steps[step].dead.push(value);
            }
        }
        Ok(plan)
    }

    /// Whether some operator keeps a state from one run to the next: the first axis of all inputs is
    /// time.
    pub fn has_state(&self) -> bool {
        self.steps.iter().any(|step| self.keeps_state(step.node))
    }

    /// Whether the node is of an operator with state that no operand gives it.
    fn keeps_state(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let state = node.op().and_then(|op| self.registry.find(op)).and_then(|entry| entry.schema.state);
        state.is_some_and(|state| node.operand(state.operand).is_none())
    }

    /// The node with its constants laid out.
    fn prepare(&self, id: NodeId) -> Option<Box<dyn Prepared>> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return None };
        let entry = self.registry.find(op)?;
        let operands: Vec<Option<TensorType>> =
            node.operands.iter().map(|operand| operand.map(|value| self.graph.ty(value).clone())).collect();
        let constants: Vec<Option<Tensor>> =
            node.operands.iter().map(|operand| self.constants.get(operand.as_ref()?).cloned()).collect();
        let call = Call { schema: &entry.schema, attrs, operands: &operands };
        entry.operator.prepare(&Inputs { call, tensors: &constants }, self.arithmetic)
    }

    /// Runs the graph on one tensor per input. `observe` sees every value that is computed, inputs
    /// and constants first, in the canonical order. Returns the tensor of each graph output.
    pub fn run(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        observe: &mut dyn FnMut(ValueId, &Tensor),
    ) -> Result<Vec<Tensor>, Error> {
        self.resume(feeds, &mut Memory::default(), observe)
    }

    /// [`Plan::run`] on the frames behind those of the runs before that had the same memory.
    pub fn resume(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        memory: &mut Memory,
        observe: &mut dyn FnMut(ValueId, &Tensor),
    ) -> Result<Vec<Tensor>, Error> {
        self.walk(feeds, memory, Some(observe), &mut |_, _| {})
    }

    /// [`Plan::run`] without a look at the values in between.
    pub fn outputs(&self, feeds: &BTreeMap<String, Tensor>) -> Result<Vec<Tensor>, Error> {
        self.walk(feeds, &mut Memory::default(), None, &mut |_, _| {})
    }

    /// [`Plan::outputs`]; `after` is told each node that has run, and the bytes that values took then.
    pub fn measure(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        after: &mut dyn FnMut(NodeId, usize),
    ) -> Result<Vec<Tensor>, Error> {
        self.walk(feeds, &mut Memory::default(), None, after)
    }

    /// Bytes of the constants that were laid out for kernels.
    pub fn prepared_bytes(&self) -> usize {
        self.steps.iter().filter_map(|step| step.prepared.as_ref()).map(|prepared| prepared.size()).sum()
    }

    fn walk(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        memory: &mut Memory,
        mut observe: Option<Observe>,
        after: &mut dyn FnMut(NodeId, usize),
    ) -> Result<Vec<Tensor>, Error> {
        let inputs = self.bind(feeds)?;
        if let Some(observe) = &mut observe {
            inputs.iter().chain(&self.constants).for_each(|(&value, tensor)| observe(value, tensor));
        }
        let outputs = self.graph.outputs();
        let mut results: Vec<Option<Tensor>> = outputs
            .iter()
            .map(|output| inputs.get(&output.value).or(self.constants.get(&output.value)).cloned())
            .collect();
        let mut values: BTreeMap<ValueId, Held> =
            inputs.into_iter().map(|(value, tensor)| (value, Held::Tensor(tensor))).collect();
        // Runs of one plan at the same time each have memory of their own.
        let mut buffers =
            self.buffers.lock().map_or_else(|_| Buffers::default(), |mut all| mem::take(&mut *all));
        for step in &self.steps {
            for (value, held) in self.step(step, &values, memory, &mut buffers)? {
                let is_output = outputs.iter().any(|output| output.value == value);
                if (observe.is_some() || is_output)
                    && let Some(tensor) = held.tensor()
                {
                    if let Some(observe) = &mut observe {
                        observe(value, &tensor);
                    }
                    for (result, _) in
                        results.iter_mut().zip(outputs).filter(|(_, output)| output.value == value)
                    {
                        *result = Some(tensor.clone().into_owned());
                    }
                }
                values.insert(value, held);
            }
            after(step.node, values.values().map(Held::size).sum::<usize>() + buffers.size());
            for value in &step.dead {
                if let Some(Held::Image(image, _)) = values.remove(value) {
                    buffers.give_back(image);
                }
            }
        }
        if let Ok(mut all) = self.buffers.lock() {
            *all = buffers;
        }
        // Every output of a verified graph is an input, a constant or a result of a step.
        Ok(results.into_iter().flatten().collect())
    }

    fn step(
        &self,
        step: &Step,
        values: &BTreeMap<ValueId, Held>,
        memory: &mut Memory,
        buffers: &mut Buffers,
    ) -> Result<Vec<(ValueId, Held)>, Error> {
        let results = |results: Vec<Held>| {
            (0..).map(|result| ValueId { node: step.node, result }).zip(results).collect()
        };
        if let Some(prepared) = &step.prepared {
            let operands = self.graph.node(step.node).operands.iter();
            let operands: Vec<Option<&Held>> =
                operands.map(|operand| values.get(operand.as_ref()?)).collect();
            if let Some(held) = prepared.run(&operands, buffers) {
                return Ok(results(held));
            }
        }
        let tensor = |value: &ValueId| match values.get(value) {
            Some(held) => held.tensor().map(Cow::into_owned),
            None => self.constants.get(value).cloned(),
        };
        let tensors = self.eval(step.node, &tensor, memory)?;
        Ok(results(tensors.into_iter().map(Held::Tensor).collect()))
    }

    /// The results of a node by its operator's [`crate::ops::Operator::eval`].
    fn eval(
        &self,
        id: NodeId,
        tensor: &dyn Fn(&ValueId) -> Option<Tensor>,
        memory: &mut Memory,
    ) -> Result<Vec<Tensor>, Error> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return Ok(Vec::new()) };
        let mut operands: Vec<Option<Tensor>> =
            node.operands.iter().map(|operand| tensor(operand.as_ref()?)).collect();
        let fail = |error: OpError| WithPlaces::new(error.into()).at_loc(&node.loc, "");
        let keeps = self.keeps_state(id);
        if keeps {
            let state = match memory.0.remove(&id) {
                Some(state) => Some(state),
                None => self.registry.zero_state(op, attrs, &operands).map_err(fail)?,
            };
            let position = self.registry.get(op).map_err(fail)?.schema.state.map_or(0, |state| state.operand);
            operands.resize(operands.len().max(position + 1), None);
            operands[position] = state;
        }
        let grids: Vec<Option<&Grid>> =
            node.operands.iter().map(|operand| operand.map(|value| &self.graph.ty(value).grid)).collect();
        let results = self.registry.eval_on(op, attrs, &operands, &grids, self.arithmetic);
        let mut results = results.map_err(fail)?;
        if keeps && results.len() > node.results.len() {
            memory.0.extend(results.pop().map(|state| (id, state)));
        }
        Ok(results)
    }

    fn bind(&self, feeds: &BTreeMap<String, Tensor>) -> Result<BTreeMap<ValueId, Tensor>, Error> {
        let mut values = BTreeMap::new();
        let mut symbols: BTreeMap<&str, usize> = BTreeMap::new();
        let known: Vec<String> =
            self.graph.inputs().map(|id| self.graph.value(id).name.to_string()).collect();
        // Said before what is missing: it may be the same input, misspelt.
        if let Some(name) = feeds.keys().find(|name| !known.contains(name)) {
            return Err(WithPlaces::new(InterpError::UnknownInput { name: name.clone(), known }));
        }
        for id in self.graph.inputs() {
            let value = self.graph.value(id);
            let name = value.name.to_string();
            let fail = |error| Err(WithPlaces::new(error).at_loc(&self.graph.node(id.node).loc, ""));
            let Some(tensor) = feeds.get(&name) else {
                return fail(InterpError::MissingInput { name, shape: value.ty.shape.clone() });
            };
            let (expected, found) = (value.ty.storage(), tensor.dtype());
            if expected != found {
                return fail(InterpError::InputDType { name, expected, found });
            }
            if !value.ty.shape.admits(tensor.sizes()) {
                let (expected, found) = (value.ty.shape.clone(), tensor.sizes().to_vec());
                return fail(InterpError::InputShape { name, expected, found });
            }
            for (dim, &found) in value.ty.shape.iter().zip(tensor.sizes()) {
                let Dim::Symbol(symbol) = dim else { continue };
                let expected = *symbols.entry(symbol).or_insert(found);
                if expected != found {
                    let symbol = symbol.to_string();
                    return fail(InterpError::InputSymbol { name, symbol, expected, found });
                }
            }
            values.insert(id, tensor.clone());
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Loc;
    use crate::ir::Attrs;
    use crate::ops::Builder;
    use crate::tensor::TensorType;

    fn relu_graph(registry: &Registry) -> Graph {
        let mut graph = Graph::new("g");
        let shape = Shape::new([Dim::Symbol("N".into()), Dim::Fixed(2)]);
        let x = graph.add_input("x", TensorType::new(DType::F32, shape), Loc::unknown());
        let mut builder = Builder { graph: &mut graph, registry, loc: Loc::unknown() };
        let y = builder.op("relu", Attrs::new(), &[x], "y").unwrap();
        graph.add_output("y", y);
        graph
    }

    #[test]
    fn runs_any_batch_and_names_what_is_wrong_with_inputs() {
        let registry = Registry::built_in();
        let graph = relu_graph(&registry);
        let plan = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
        let run = |name: &str, tensor: Option<Tensor>| {
            plan.run(&BTreeMap::from([(name.to_owned(), tensor.unwrap())]), &mut |_, _| {})
        };
        let x = Tensor::new(&[2, 2], vec![-1.0f32, 2.0, 3.0, -4.0]);
        assert_eq!(
            run("x", x.clone()).unwrap(),
            [Tensor::new(&[2, 2], vec![0.0f32, 2.0, 3.0, 0.0]).unwrap()]
        );
        assert_eq!(run("x", Tensor::new::<f32>(&[0, 2], vec![])).unwrap()[0].sizes(), [0, 2]);
        assert_eq!(run("z", x).unwrap_err().error.code(), "Q0802");
        let none = plan.run(&BTreeMap::new(), &mut |_, _| {});
        assert_eq!(none.unwrap_err().error.code(), "Q0801");
        assert_eq!(run("x", Tensor::new(&[1, 2], vec![1u8, 2])).unwrap_err().error.code(), "Q0803");
        assert_eq!(run("x", Tensor::new(&[2], vec![1f32, 2.0])).unwrap_err().error.code(), "Q0804");
    }
}
