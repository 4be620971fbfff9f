//! `insert-layer` and `insert-rescaling`: what a network is to have besides (quantizers §8).

use crate::diag::{Diagnostics, WithPlaces, nearest};
use crate::ir::{Attrs, Graph, ValueId};
use crate::ops::{Builder, OpError};
use crate::tensor::{DType, Tensor};

use super::{Context, Pass, PassError, Stage};

/// What stands behind a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    OutputQuantizer,
    Dequantizer,
}

impl Inserted {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "OutputQuantizer" => Some(Self::OutputQuantizer),
            "Dequantizer" => Some(Self::Dequantizer),
            _ => None,
        }
    }

    fn op(self) -> &'static str {
        match self {
            Self::OutputQuantizer => "OutputQuantizer",
            Self::Dequantizer => "to_float",
        }
    }
}

/// Puts a layer on every link behind a value, or behind the value that a node makes.
pub struct InsertLayer {
    pub after: String,
    pub kind: Inserted,
}

impl Pass for InsertLayer {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let by_node = || {
            let id = graph.order().into_iter().find(|&id| *graph.node(id).name == *self.after)?;
            Some(ValueId { node: id, result: 0 })
        };
        let Some(value) = graph.find(&self.after).or_else(by_node) else {
            let names: Vec<String> = graph.values().map(|id| graph.value(id).name.to_string()).collect();
            let similar = nearest(&self.after, names.iter().map(String::as_str)).map(str::to_owned);
            return Err(WithPlaces::new(PassError::UnknownValue { name: self.after.clone(), similar }).into());
        };
        let links = graph.use_count(value);
        if self.kind == Inserted::OutputQuantizer && links > 1 {
            let name = graph.value(value).name.to_string();
            let loc = graph.node(value.node).loc.clone();
            let error = PassError::SeveralLinks { name, links };
            return Err(WithPlaces::new(error).at_loc(&loc, "").into());
        }
        put_behind(graph, cx, value, self.kind.op(), Attrs::new(), &[]).map_err(|error| {
            let loc = graph.node(value.node).loc.clone();
            WithPlaces::new(error).at_loc(&loc, "")
        })?;
        Ok(())
    }
}

/// Puts an operator between a value and all that reads it; outputs keep their names.
fn put_behind(
    graph: &mut Graph,
    cx: &Context,
    value: ValueId,
    op: &str,
    attrs: Attrs,
    others: &[ValueId],
) -> Result<ValueId, OpError> {
    let (name, loc) = (graph.value(value).name.to_string(), graph.node(value.node).loc.clone());
    let uses = graph.uses(value);
    let outputs: Vec<usize> = graph
        .outputs()
        .iter()
        .enumerate()
        .filter(|(_, output)| output.value == value)
        .map(|(at, _)| at)
        .collect();
    let operands: Vec<ValueId> = std::iter::once(value).chain(others.iter().copied()).collect();
    let mut builder = Builder { graph, registry: cx.registry, loc };
    let new = builder.op(op, attrs, &operands, &format!("{name}/{op}"))?;
    for at in uses {
        graph.set_operand(at, new);
    }
    for at in outputs {
        graph.set_output(at, new);
    }
    Ok(new)
}

/// A `Rescaling` behind every input: what is fed from then on is what was, less the offset and divided by the scale.
pub struct InsertRescaling {
    pub scale: f32,
    pub offset: f32,
}

impl Pass for InsertRescaling {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let inputs: Vec<ValueId> = graph.inputs().collect();
        for input in inputs {
            self.behind(graph, cx, input).map_err(|error| {
                let loc = graph.node(input.node).loc.clone();
                WithPlaces::new(error).at_loc(&loc, "")
            })?;
        }
        Ok(())
    }
}

impl InsertRescaling {
    fn behind(&self, graph: &mut Graph, cx: &Context, input: ValueId) -> Result<(), OpError> {
        let mut last = input;
        if graph.ty(input).storage() != DType::F32 {
            let attrs = Attrs::new().with("to", DType::F32);
            last = put_behind(graph, cx, input, "cast", attrs, &[])?;
        }
        let loc = graph.node(input.node).loc.clone();
        let number = |graph: &mut Graph, suffix: &str, value: f32| {
            let name = format!("{}_{suffix}", graph.value(input).name);
            graph.add_const(&name, Tensor::scalar(value), loc.clone())
        };
        let scale = number(graph, "scale", self.scale);
        let offset = (self.offset != 0.0).then(|| number(graph, "offset", self.offset));
        last = put_behind(graph, cx, last, "mul", Attrs::new(), &[scale])?;
        if let Some(offset) = offset {
            put_behind(graph, cx, last, "add", Attrs::new(), &[offset])?;
        }
        Ok(())
    }
}
