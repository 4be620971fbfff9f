//! `expose-state`: states as inputs and outputs of the network, for runtimes that are to run it frame
//! by frame and keep nothing themselves. (Spec `hardware-ops.md` §11.)

use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, NodeId, Value, ValueId};
use crate::ops::{Call, OpError, Registry};
use crate::tensor::TensorType;

use super::{Context, Pass, Stage};

pub struct ExposeState;

impl Pass for ExposeState {
    fn requires(&self) -> Stage {
        Stage::Any
    }

    fn ensures(&self) -> Stage {
        Stage::Any
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        for id in graph.order() {
            expose(graph, cx.registry, id)
                .map_err(|error| WithPlaces::new(error).at_loc(&graph.node(id).loc, ""))?;
        }
        graph.remove_dead();
        Ok(())
    }
}

/// Gives the operator a state operand that is an input, and makes an output of the state that follows.
fn expose(graph: &mut Graph, registry: &Registry, id: NodeId) -> Result<(), OpError> {
    let node = graph.node(id).clone();
    let Kind::Op { op, attrs } = &node.kind else { return Ok(()) };
    let schema = &registry.get(op)?.schema;
    let Some(state) = schema.state.filter(|state| node.operand(state.operand).is_none()) else {
        return Ok(());
    };
    let types: Vec<Option<TensorType>> =
        node.operands.iter().map(|operand| operand.map(|value| graph.ty(value).clone())).collect();
    let ty = (state.ty)(&Call { schema, attrs, operands: &types })?;
    let input = graph.add_input(&name(attrs, &node.name), ty.clone(), node.loc.clone());
    let mut operands = node.operands.clone();
    operands.resize(operands.len().max(state.operand + 1), None);
    operands[state.operand] = Some(input);
    let next = format!("{}_next", graph.value(input).name);
    let mut results = node.results.clone();
    results.push(Value::new(next, ty));
    let new = graph.add_op(op, attrs.clone(), operands, results, node.loc.clone());
    let value = |node, result| ValueId { node, result };
    for (result, old) in (0..).zip(&node.results) {
        graph.replace_uses(value(id, result), value(new, result));
        graph.take_name(value(new, result), &old.name);
    }
    graph.set_node_name(new, node.name.clone());
    let next = value(new, node.results.len() as u32);
    graph.add_output(graph.value(next).name.clone(), next);
    Ok(())
}

/// What files call the state.
fn name(attrs: &Attrs, node: &str) -> String {
    let stated = attrs.get_str("fifo_name").filter(|name| !name.is_empty());
    stated.map_or_else(|| format!("{node}_state"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::diag::Loc;
    use crate::interp::Plan;
    use crate::ops::{Arithmetic, Builder};
    use crate::tensor::{DType, Shape, Tensor};

    #[test]
    fn frames_with_states_handed_on_are_the_sequence() {
        let registry = Registry::built_in();
        let bytes = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 89 % 256) as u8 as i8).collect()).unwrap()
        };
        let mut graph = Graph::new("g");
        let shape = Shape::new([crate::tensor::Dim::Symbol("N".into()), 2.into(), 1.into(), 2.into()]);
        let mut x = graph.add_input("x", TensorType::new(DType::I8, shape), Loc::unknown());
        for (i, (op, taps)) in
            [("QuantizedBufferTempConv", 6), ("QuantizedDepthwiseBufferTempConv", 4)].into_iter().enumerate()
        {
            let w = graph.add_const("w", bytes(&[2, taps, 1, 1]), Loc::unknown());
            let m =
                graph.add_const("m", Tensor::new(&[1, 2, 1, 1], vec![131u8, 200]).unwrap(), Loc::unknown());
            let s = Tensor::new(&[1, 2, 1, 1], vec![32_768f32, 16_384.0]).unwrap();
            let s = graph.add_const("s", s, Loc::unknown());
            let mut builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
            let operands = vec![Some(x), Some(w), None, None, Some(m), Some(s)];
            let attrs = Attrs::new().with("fifo_name", "fifo");
            x = ValueId { node: builder.node(op, attrs, operands, &format!("y{i}")).unwrap(), result: 0 };
        }
        graph.add_output("y", x);
        let whole = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
        let clip = bytes(&[6, 2, 1, 2]);
        let all =
            whole.run(&BTreeMap::from([("x".to_owned(), clip.clone())]), &mut |_, _| {}).unwrap().remove(0);

        let mut exposed = graph.clone();
        graph.order().into_iter().for_each(|id| expose(&mut exposed, &registry, id).unwrap());
        exposed.remove_dead();
        crate::verify::verify(&exposed, &registry).unwrap();
        let plan = Plan::new(&exposed, &registry, Arithmetic::Exact).unwrap();
        assert!(whole.has_state() && !plan.has_state());
        let inputs: Vec<String> =
            exposed.inputs().map(|value| exposed.value(value).name.to_string()).collect();
        let mut feeds: BTreeMap<String, Tensor> = exposed
            .inputs()
            .filter_map(|value| Some((value, exposed.ty(value).shape.sizes()?)))
            .map(|(value, sizes)| {
                let zeros = Tensor::new(&sizes, vec![0i8; sizes.iter().product()]).unwrap();
                (exposed.value(value).name.to_string(), zeros)
            })
            .collect();
        assert_eq!(feeds.len(), 2);
        let mut frames = Vec::new();
        for frame in clip.elements::<i8>().unwrap().chunks(4) {
            feeds.insert("x".to_owned(), Tensor::new(&[1, 2, 1, 2], frame.to_vec()).unwrap());
            let mut outputs = plan.run(&feeds, &mut |_, _| {}).unwrap();
            frames.extend_from_slice(outputs.remove(0).elements::<i8>().unwrap());
            // Inputs and outputs are in one order.
            feeds = inputs.iter().skip(1).cloned().zip(outputs).collect();
        }
        assert_eq!(frames, all.elements::<i8>().unwrap());
    }
}
