//! `split-depthwise`: large depthwise convolutions of stride 2 in two steps.
//!
//! The device strides depthwise convolutions only by kernels of 3. A 5×5 or 7×7 one of stride 2 that
//! keeps `ceil(size / 2)` becomes the same one of stride 1, then a 3×3 identity of stride 2 that picks
//! the positions. The function is the same. (Spec `hardware-ops.md` §6.2, step 22.)

use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, NodeId, ValueId};
use crate::ops::{Builder, OpError, Registry};
use crate::tensor::Tensor;

use super::{Context, Pass, Stage};

pub struct SplitDepthwise;

impl Pass for SplitDepthwise {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        for id in graph.order() {
            if let Some(split) = Split::of(graph, id) {
                split.apply(graph, cx.registry, id).map_err(WithPlaces::new)?;
            }
        }
        graph.remove_dead();
        Ok(())
    }
}

/// How one convolution is taken apart.
struct Split {
    channels: usize,
    kernel: usize,
    /// Of the 3×3 step: pads at the top and left, then at the bottom and right.
    begin: [i64; 2],
    end: [i64; 2],
    /// Row and column of the one in its kernel.
    one: [usize; 2],
}

impl Split {
    /// `None` where the node is something else, or the two steps could not give the same.
    fn of(graph: &Graph, id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return None };
        if &**op != "conv2d"
            || attrs.get_ints("strides") != Some(&[2, 2])
            || attrs.get_ints("dilations") != Some(&[1, 1])
        {
            return None;
        }
        let x = graph.ty(node.operand(0)?).shape.clone();
        let weights = graph.ty(node.operand(1)?).shape.sizes()?;
        let [filters, 1, kernel @ (5 | 7), width] = weights[..] else { return None };
        let channels = x.get(1)?.fixed()?;
        let depthwise = attrs.get_int("group") == i64::try_from(channels).ok() && filters == channels;
        if width != kernel || !depthwise || channels < 2 {
            return None;
        }
        let pads = attrs.get_ints("pads")?;
        let mut split = Self { channels, kernel, begin: [0; 2], end: [0; 2], one: [0; 2] };
        for axis in 0..2 {
            let size = i64::try_from(x.get(axis + 2)?.fixed()?).ok()?;
            let (before, after) = (*pads.get(axis)?, *pads.get(axis + 2)?);
            let kernel = kernel as i64;
            let out = (size + before + after - kernel) / 2 + 1;
            // The smallest pads by which windows of 3 give the same size, the odd one at the end.
            let total = ((out - 1) * 2 + 3 - size).max(0);
            split.begin[axis] = total / 2;
            split.end[axis] = total - total / 2;
            // Output i reads from 2·i − before on; in the step of stride 1 that window is the one
            // at 2·i − before + (kernel − 1) / 2.
            let one = split.begin[axis] + (kernel - 1) / 2 - before;
            let same = out == (size + 1) / 2;
            split.one[axis] = usize::try_from(one).ok().filter(|one| *one < 3 && same)?;
        }
        Some(split)
    }

    fn apply(&self, graph: &mut Graph, registry: &Registry, id: NodeId) -> Result<(), OpError> {
        let node = graph.node(id).clone();
        let old = ValueId { node: id, result: 0 };
        let (name, channels) = (graph.value(old).name.clone(), self.channels);
        let group = channels as i64;
        let half = (self.kernel as i64 - 1) / 2;
        let mut taps = vec![0.0f32; channels * 9];
        taps.iter_mut().skip(self.one[0] * 3 + self.one[1]).step_by(9).for_each(|tap| *tap = 1.0);
        let Some(taps) = Tensor::new(&[channels, 1, 3, 3], taps) else { return Ok(()) };
        let taps = graph.add_const(&format!("{name}_identity_weights"), taps, node.loc.clone());
        let mut builder = Builder { graph, registry, loc: node.loc.clone() };
        let attrs = Attrs::new().with("group", group).with("pads", vec![half; 4]);
        let full = builder.node("conv2d", attrs, node.operands.clone(), &format!("{name}_stride_1"))?;
        let attrs = Attrs::new()
            .with("group", group)
            .with("strides", vec![2, 2])
            .with("pads", vec![self.begin[0], self.begin[1], self.end[0], self.end[1]]);
        let full_value = ValueId { node: full, result: 0 };
        let picked = builder.op("conv2d", attrs, &[full_value, taps], &format!("{name}_identity_conv"))?;
        let picked_name = graph.value(picked).name.clone();
        graph.set_node_name(full, node.name.clone());
        graph.replace_uses(old, picked);
        graph.take_name(picked, &name);
        graph.set_node_name(picked.node, picked_name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::diag::Loc;
    use crate::interp::Plan;
    use crate::ops::Arithmetic;
    use crate::tensor::{DType, Shape, TensorType};

    fn run(graph: &Graph, registry: &Registry, x: &Tensor) -> Tensor {
        let plan = Plan::new(graph, registry, Arithmetic::Exact).unwrap();
        plan.run(&BTreeMap::from([("x".to_owned(), x.clone())]), &mut |_, _| {}).unwrap().remove(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn both_steps_give_the_same_bits(h in 4usize..12, w in 4usize..12, large in any::<bool>(), upper in any::<bool>()) {
            let registry = Registry::built_in();
            let k = if large { 7 } else { 5 };
            let mut graph = Graph::new("g");
            let x = graph.add_input("x", TensorType::new(DType::F32, Shape::fixed(&[1, 2, h, w])), Loc::unknown());
            let numbers = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect::<Vec<_>>();
            let weights = Tensor::new(&[2, 1, k, k], numbers(2 * k * k)).unwrap();
            let weights = graph.add_const("w", weights, Loc::unknown());
            let same = |size: usize| {
                let total = ((size.div_ceil(2) - 1) * 2 + k).saturating_sub(size) as i64;
                if upper { (total / 2, total - total / 2) } else { (total - total / 2, total / 2) }
            };
            let ((top, bottom), (left, right)) = (same(h), same(w));
            let attrs = Attrs::new()
                .with("group", 2i64)
                .with("strides", vec![2, 2])
                .with("pads", vec![top, left, bottom, right]);
            let mut builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
            let y = builder.op("conv2d", attrs, &[x, weights], "y").unwrap();
            graph.add_output("y", y);
            let input = Tensor::new(&[1, 2, h, w], numbers(2 * h * w)).unwrap();
            let before = run(&graph, &registry, &input);
            let conv = graph.outputs()[0].value.node;
            let split = Split::of(&graph, conv).expect("SAME pads can be split");
            split.apply(&mut graph, &registry, conv).unwrap();
            graph.remove_dead();
            prop_assert_eq!(graph.order().len(), 5);
            prop_assert_eq!(run(&graph, &registry, &input), before);
        }
    }
}
