//! `frames`: a network over clips becomes one over frames.
//!
//! The device sees one frame after the other, and keeps those that it needs again. A network of
//! three-dimensional convolutions loses the axis of time (axis 2 of 5, which holds a single frame), and what was
//! its batch is time: a convolution of one plane becomes `conv2d`, one over the frames before a
//! convolution over time with state. (Spec `hardware-ops.md` §6.2, step 5.)

use std::collections::BTreeMap;

use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, Names, Node, NodeId, Value, ValueId};
use crate::ops::{Builder, OpError, Registry};
use crate::tensor::{Dim, Tensor, TensorType};

use super::retype::retype;
use super::{Context, Pass, PassError, Stage};

/// The axis of time in what clips are convolved from.
const TIME: usize = 2;
/// The axes of a clip.
const RANK: usize = 5;

pub struct Frames;

impl Pass for Frames {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let convs: Vec<NodeId> =
            graph.order().into_iter().filter(|&id| graph.node(id).op() == Some("conv3d")).collect();
        if convs.is_empty() {
            return Ok(());
        }
        one_frame(graph, cx.registry)?;
        let mut found = Diagnostics::default();
        for id in convs {
            let node = graph.node(id);
            if let Err(why) = Role::of(graph, node) {
                let error = PassError::Conv3d { node: node.name.to_string(), why };
                found.push(WithPlaces::new(error).at_loc(&node.loc, ""));
            }
        }
        found.into_result()?;
        let mut unrolled = Unrolled::new(graph, cx.registry);
        for id in graph.order() {
            unrolled.node(id).map_err(|error| WithPlaces::new(error).at_loc(&graph.node(id).loc, ""))?;
        }
        let mut new = unrolled.finish().map_err(WithPlaces::new)?;
        new.remove_dead();
        *graph = new;
        Ok(())
    }
}

/// Sees to it that inputs of clips hold one frame.
fn one_frame(graph: &mut Graph, registry: &Registry) -> Result<(), Diagnostics> {
    let mut types = BTreeMap::new();
    for input in graph.inputs().filter(|&input| graph.ty(input).shape.rank() == RANK) {
        let value = graph.value(input);
        match &value.ty.shape[TIME] {
            Dim::Fixed(1) => {}
            Dim::Symbol(_) => {
                let mut dims = value.ty.shape.to_vec();
                dims[TIME] = 1.into();
                types.insert(input, value.ty.with_shape(dims));
            }
            Dim::Fixed(frames) => {
                let error = PassError::Clip { input: value.name.to_string(), frames: *frames };
                return Err(WithPlaces::new(error).at_loc(&graph.node(input.node).loc, "").into());
            }
        }
    }
    if types.is_empty() { Ok(()) } else { retype(graph, registry, &types).map_err(|error| error.into()) }
}

/// What a three-dimensional convolution is to the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It convolves rows and columns of each.
    Plane,
    /// It convolves each with those before it.
    Time { depthwise: bool },
}

impl Role {
    /// # Errors
    /// What keeps it from being either.
    fn of(graph: &Graph, node: &Node) -> Result<Self, String> {
        let Kind::Op { attrs, .. } = &node.kind else { return Err("it is no operator".to_owned()) };
        let ints = |name: &str| attrs.get_ints(name).unwrap_or_default().to_vec();
        let (strides, dilations, pads) = (ints("strides"), ints("dilations"), ints("pads"));
        let sizes = |at: usize| node.operand(at).map(|value| graph.ty(value).shape.clone());
        let channels = sizes(0).and_then(|x| x.get(1)?.fixed()).unwrap_or_default();
        let weights = sizes(1).and_then(|w| w.sizes()).unwrap_or_default();
        let (&[filters, taken, taps, rows, columns], &[before, .., end, _, _]) = (&weights[..], &pads[..])
        else {
            return Err("its sizes are not known".to_owned());
        };
        if strides.first() != Some(&1) {
            return Err("it strides over frames".to_owned());
        }
        if taps == 1 {
            return if (before, end) == (0, 0) { Ok(Self::Plane) } else { Err("it pads time".to_owned()) };
        }
        if (rows, columns) != (1, 1) {
            return Err(format!(
                "its kernel {:?} spans time and space at once (the device takes [T, 1, 1] or [1, R, S])",
                &weights[2..]
            ));
        }
        // As many frames before as the kernel looks back to, and none behind.
        if before != taps as i64 - 1 || pads.iter().skip(1).any(|&pad| pad != 0) {
            return Err(format!(
                "its pads are {pads:?}; only frames before are known: [{}, 0, 0, 0, 0, 0]",
                taps - 1
            ));
        }
        if strides.iter().chain(&dilations).any(|&step| step != 1) {
            return Err("it has strides or dilations besides its frames".to_owned());
        }
        match attrs.get_int("group").unwrap_or(1) {
            1 => Ok(Self::Time { depthwise: false }),
            group if taken == 1 && filters == channels && usize::try_from(group) == Ok(channels) => {
                Ok(Self::Time { depthwise: true })
            }
            group => Err(format!("its {group} groups are neither 1 nor one for each of {channels} channels")),
        }
    }
}

/// The network over frames, under construction.
struct Unrolled<'a> {
    old: &'a Graph,
    registry: &'a Registry,
    new: Graph,
    /// Values that lost the axis of time.
    frames: BTreeMap<ValueId, ValueId>,
    /// Values as they were.
    kept: BTreeMap<ValueId, ValueId>,
    /// Of buffers.
    names: Names,
}

/// Whether the type is that of a clip of one frame.
fn is_clip(ty: &TensorType) -> bool {
    ty.shape.rank() == RANK && ty.shape[TIME].fixed() == Some(1)
}

fn without_time(ty: &TensorType) -> TensorType {
    let mut dims = ty.shape.to_vec();
    dims.remove(TIME);
    ty.with_shape(dims)
}

impl<'a> Unrolled<'a> {
    fn new(old: &'a Graph, registry: &'a Registry) -> Self {
        let new = Graph::new(old.name.clone());
        Self { old, registry, new, frames: BTreeMap::new(), kept: BTreeMap::new(), names: Names::default() }
    }

    fn node(&mut self, id: NodeId) -> Result<(), OpError> {
        let (old, value) = (self.old, ValueId { node: id, result: 0 });
        let node = old.node(id);
        match &node.kind {
            // Constants come along when they are read.
            Kind::Const(_) => Ok(()),
            Kind::Input => {
                let Value { name, ty, .. } = old.value(value);
                let clip = is_clip(ty);
                let ty = if clip { without_time(ty) } else { ty.clone() };
                let new = self.new.add_input(name, ty, node.loc.clone());
                if clip { &mut self.frames } else { &mut self.kept }.insert(value, new);
                Ok(())
            }
            Kind::Op { op, attrs } if &**op == "conv3d" => self.conv(node, attrs, value),
            Kind::Op { op, attrs } => {
                if node.operands.iter().flatten().any(|value| self.frames.contains_key(value))
                    && self.on_frames(id, op, attrs)?
                {
                    return Ok(());
                }
                let operands =
                    node.operands.iter().map(|operand| operand.map(|value| self.whole(value)).transpose());
                let operands = operands.collect::<Result<_, _>>()?;
                let new =
                    self.new.add_op(op, attrs.clone(), operands, node.results.clone(), node.loc.clone());
                self.new.set_node_name(new, node.name.clone());
                for result in 0..node.results.len() as u32 {
                    self.kept.insert(ValueId { node: id, result }, ValueId { node: new, result });
                }
                Ok(())
            }
        }
    }

    /// Adds the operator on frames, if it does the same to each of them.
    fn on_frames(&mut self, id: NodeId, op: &str, attrs: &Attrs) -> Result<bool, OpError> {
        let old = self.old;
        let node = old.node(id);
        let Some(attrs) = attrs_of_frames(attrs) else { return Ok(false) };
        let mut operands = Vec::new();
        for operand in &node.operands {
            operands.push(match operand {
                None => None,
                Some(value) => match self.beside_frames(*value)? {
                    Some(value) => Some(value),
                    None => return Ok(false),
                },
            });
        }
        let types: Vec<Option<TensorType>> =
            operands.iter().map(|operand| operand.map(|value| self.new.ty(value).clone())).collect();
        let expected: Vec<TensorType> = node
            .results
            .iter()
            .map(|value| if is_clip(&value.ty) { without_time(&value.ty) } else { value.ty.clone() })
            .collect();
        if self.registry.infer(op, &attrs, &types).ok().as_ref() != Some(&expected) {
            return Ok(false);
        }
        let results =
            node.results.iter().zip(&expected).map(|(value, ty)| Value { ty: ty.clone(), ..value.clone() });
        let new = self.new.add_op(op, attrs, operands, results.collect(), node.loc.clone());
        self.new.set_node_name(new, node.name.clone());
        for (result, value) in (0..).zip(&node.results) {
            let values = if is_clip(&value.ty) { &mut self.frames } else { &mut self.kept };
            values.insert(ValueId { node: id, result }, ValueId { node: new, result });
        }
        Ok(true)
    }

    /// An operand of an operator on frames; `None` for a constant that has something for each of several.
    fn beside_frames(&mut self, value: ValueId) -> Result<Option<ValueId>, OpError> {
        let Some(tensor) = self.old.constant(value) else {
            return if is_clip(self.old.ty(value)) {
                self.frame(value).map(Some)
            } else {
                self.whole(value).map(Some)
            };
        };
        // Read together with a clip, its axes are the last ones.
        let mut sizes = tensor.sizes().to_vec();
        let Some(time) = (sizes.len() + TIME).checked_sub(RANK).filter(|&time| time < sizes.len()) else {
            return self.whole(value).map(Some);
        };
        if sizes[time] != 1 {
            return Ok(None);
        }
        sizes.remove(time);
        let Some(tensor) = tensor.reshaped(&sizes) else { return Ok(None) };
        let (name, loc) = (self.old.value(value).name.clone(), self.old.node(value.node).loc.clone());
        Ok(Some(self.new.add_const(&name, tensor, loc)))
    }

    fn builder(&mut self, at: NodeId) -> Builder<'_> {
        Builder { graph: &mut self.new, registry: self.registry, loc: self.old.node(at).loc.clone() }
    }

    /// The value without its axis of time.
    fn frame(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        if let Some(&frame) = self.frames.get(&value) {
            return Ok(frame);
        }
        let whole = self.whole(value)?;
        let name = format!("{}_frame", self.old.value(value).name);
        let attrs = Attrs::new().with("axes", vec![TIME as i64]);
        let frame = self.builder(value.node).op("squeeze", attrs, &[whole], &name)?;
        self.frames.insert(value, frame);
        Ok(frame)
    }

    /// The value as it was.
    fn whole(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        if let Some(&kept) = self.kept.get(&value) {
            return Ok(kept);
        }
        let (name, loc) = (self.old.value(value).name.clone(), self.old.node(value.node).loc.clone());
        let kept = match (self.old.constant(value), self.frames.get(&value).copied()) {
            (Some(tensor), _) => self.new.add_const(&name, (**tensor).clone(), loc),
            (None, Some(frame)) => {
                let attrs = Attrs::new().with("axes", vec![TIME as i64]);
                self.builder(value.node).op("unsqueeze", attrs, &[frame], &format!("{name}_clip"))?
            }
            (None, None) => {
                let operand = name.to_string();
                return Err(OpError::MissingOperand { op: "frames".to_owned(), operand });
            }
        };
        self.kept.insert(value, kept);
        Ok(kept)
    }

    fn conv(&mut self, node: &Node, attrs: &Attrs, value: ValueId) -> Result<(), OpError> {
        let unknown = || OpError::MissingOperand { op: "conv3d".to_owned(), operand: node.name.to_string() };
        let (x, w) = (node.operand(0).ok_or_else(unknown)?, node.operand(1).ok_or_else(unknown)?);
        let role = Role::of(self.old, node).map_err(|_| unknown())?;
        let sizes = self.old.ty(w).shape.sizes().ok_or_else(unknown)?;
        let &[filters, taken, taps, rows, columns] = &sizes[..] else { return Err(unknown()) };
        let last = |name: &str, from: &[usize]| -> Vec<i64> {
            let ints = attrs.get_ints(name).unwrap_or_default();
            from.iter().filter_map(|&at| ints.get(at).copied()).collect()
        };
        let (op, attrs, sizes) = match role {
            Role::Plane => {
                let attrs = Attrs::new()
                    .with("strides", last("strides", &[1, 2]))
                    .with("dilations", last("dilations", &[1, 2]))
                    .with("pads", last("pads", &[1, 2, 4, 5]))
                    .with("group", attrs.get_int("group").unwrap_or(1));
                ("conv2d", attrs, vec![filters, taken, rows, columns])
            }
            Role::Time { depthwise } => {
                let fifo = self.names.fresh(&format!("{}_fifo", self.old.value(x).name));
                let attrs = Attrs::new().with("fifo_name", &*fifo);
                if depthwise {
                    ("depthwise_buffer_temp_conv", attrs, vec![filters, taps, 1, 1])
                } else {
                    ("buffer_temp_conv", attrs, vec![filters, taken * taps, 1, 1])
                }
            }
        };
        let w = match self.old.constant(w).and_then(|tensor| tensor.reshaped(&sizes)) {
            Some(tensor) => {
                let (name, loc) = (self.old.value(w).name.clone(), self.old.node(w.node).loc.clone());
                self.new.add_const(&name, tensor, loc)
            }
            None => {
                let shape = sizes.iter().map(|&size| size as i64).collect::<Vec<_>>();
                let (name, whole) = (format!("{}_frame", self.old.value(w).name), self.whole(w)?);
                self.builder(value.node).op("reshape", Attrs::new().with("shape", shape), &[whole], &name)?
            }
        };
        let bias = match node.operand(2) {
            Some(b) => Some(self.whole(b)?),
            // The device's depthwise form has always one.
            None if role == (Role::Time { depthwise: true }) => {
                let zeros = Tensor::new(&[filters], vec![0.0f32; filters]).ok_or_else(unknown)?;
                let zeros = zeros.cast(self.old.ty(x).storage());
                Some(self.new.add_const(
                    &format!("{}_bias", self.old.value(value).name),
                    zeros,
                    node.loc.clone(),
                ))
            }
            None => None,
        };
        let frame = self.frame(x)?;
        let name = self.old.value(value).name.clone();
        let conv = self.builder(value.node).node(op, attrs, vec![Some(frame), Some(w), bias], &name)?;
        self.new.set_node_name(conv, node.name.clone());
        self.frames.insert(value, ValueId { node: conv, result: 0 });
        Ok(())
    }

    fn finish(mut self) -> Result<Graph, OpError> {
        for output in self.old.outputs() {
            let value = output.value;
            let new = if self.old.constant(value).is_none() && is_clip(self.old.ty(value)) {
                self.frame(value)?
            } else {
                self.whole(value)?
            };
            self.new.add_output(output.name.clone(), new);
        }
        Ok(self.new)
    }
}

/// The attributes of an operator that does the same to each frame, for values without the axis of
/// time; `None` where an attribute is about more than that.
fn attrs_of_frames(attrs: &Attrs) -> Option<Attrs> {
    let time = TIME as i64;
    let shifted = |axis: i64| if axis > time { axis - 1 } else { axis };
    if ["perm", "shape"].iter().any(|name| attrs.get(name).is_some()) {
        return None;
    }
    let mut new = attrs.clone();
    if let Some(axis) = attrs.get_int("axis") {
        new.set("axis", Some(shifted(axis)).filter(|_| axis != time)?);
    }
    if let Some(axes) = attrs.get_ints("axes") {
        // Of a single frame every mean, sum or extreme is the frame.
        let axes: Vec<i64> = axes.iter().filter(|&&axis| axis != time).map(|&axis| shifted(axis)).collect();
        new.set("axes", Some(axes).filter(|axes| !axes.is_empty())?);
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Loc;
    use crate::interp::{Memory, Plan};
    use crate::ops::Arithmetic;
    use crate::tensor::{DType, Shape};

    fn numbers(sizes: &[usize], seed: usize) -> Tensor {
        let count = sizes.iter().product::<usize>();
        Tensor::new(
            sizes,
            (0..count).map(|i| ((i * 37 + seed) % 101) as f32 / 25.0 - 2.0).collect::<Vec<_>>(),
        )
        .unwrap()
    }

    /// Two buffers one behind the other and a third beside them, over clips of so many frames.
    fn network(registry: &Registry, frames: usize) -> Graph {
        let mut graph = Graph::new("video");
        let x = TensorType::new(DType::F32, Shape::fixed(&[1, 2, frames, 3, 2]));
        let x = graph.add_input("x", x, Loc::unknown());
        let mut conv = |x: ValueId, sizes: &[usize; 5], attrs: Attrs, name: &str| {
            let w =
                graph.add_const(&format!("{name}_w"), numbers(sizes, sizes[0] + name.len()), Loc::unknown());
            let mut builder = Builder { graph: &mut graph, registry, loc: Loc::unknown() };
            builder.op("conv3d", attrs, &[x, w], name).unwrap()
        };
        let back = |taps: i64| Attrs::new().with("pads", vec![taps - 1, 0, 0, 0, 0, 0]);
        let plane = conv(x, &[2, 2, 1, 3, 3], Attrs::new().with("pads", vec![0, 1, 1, 0, 1, 1]), "plane");
        let first = conv(plane, &[2, 1, 3, 1, 1], back(3).with("group", 2), "first");
        let second = conv(first, &[3, 2, 4, 1, 1], back(4), "second");
        let beside = conv(plane, &[3, 2, 2, 1, 1], back(2), "beside");
        let mut builder = Builder { graph: &mut graph, registry, loc: Loc::unknown() };
        let sum = builder.op("add", Attrs::new(), &[second, beside], "sum").unwrap();
        let y = builder.op("relu", Attrs::new(), &[sum], "y").unwrap();
        graph.add_output("y", y);
        graph
    }

    fn unrolled(registry: &Registry) -> Graph {
        let old = network(registry, 1);
        let mut unrolled = Unrolled::new(&old, registry);
        old.order().into_iter().for_each(|id| unrolled.node(id).unwrap());
        let mut graph = unrolled.finish().unwrap();
        graph.remove_dead();
        graph
    }

    #[test]
    fn frames_in_order_give_what_the_clip_gives() {
        let registry = Registry::built_in();
        let (clip, graph) = (network(&registry, 6), unrolled(&registry));
        crate::verify::verify(&graph, &registry).unwrap();
        let plan = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
        assert!(plan.has_state());
        let x = numbers(&[1, 2, 6, 3, 2], 1);
        let whole = Plan::new(&clip, &registry, Arithmetic::Exact).unwrap();
        let whole =
            whole.run(&BTreeMap::from([("x".to_owned(), x.clone())]), &mut |_, _| {}).unwrap().remove(0);
        let (x, whole) = (x.elements::<f32>().unwrap(), whole.elements::<f32>().unwrap());
        // [C, T, map] against [C, map].
        let frame = |all: &[f32], channels: usize, t: usize| -> Vec<f32> {
            (0..channels).flat_map(|c| all[(c * 6 + t) * 6..][..6].to_vec()).collect()
        };
        for _ in 0..2 {
            // A new memory is a reset.
            let mut memory = Memory::default();
            for t in 0..6 {
                let x = Tensor::new(&[1, 2, 3, 2], frame(x, 2, t)).unwrap();
                let feeds = BTreeMap::from([("x".to_owned(), x)]);
                let y = plan.resume(&feeds, &mut memory, &mut |_, _| {}).unwrap().remove(0);
                assert_eq!(y.elements::<f32>().unwrap(), frame(whole, 3, t), "frame {t}");
            }
        }
    }

    /// Two clips as sequences beside each other, through a network that takes one frame at a time.
    #[test]
    fn sequences_do_not_see_each_other() {
        let registry = Registry::built_in();
        let graph = unrolled(&registry);
        let plan = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
        let run = |x: Tensor| {
            let feeds = BTreeMap::from([("x".to_owned(), x)]);
            let mut seen = 0;
            let y = plan.run_frames(&feeds, &mut |_, _| seen += 1).unwrap().remove(0);
            assert!(seen > 5);
            y
        };
        let (a, b) = (numbers(&[5, 2, 3, 2], 3), numbers(&[5, 2, 3, 2], 50));
        let rows = |tensor: &Tensor| -> Vec<Vec<f32>> {
            tensor.elements::<f32>().unwrap().chunks(tensor.len() / 5).map(<[f32]>::to_vec).collect()
        };
        let both: Vec<f32> = rows(&a).into_iter().zip(rows(&b)).flat_map(|(a, b)| [a, b].concat()).collect();
        let both = run(Tensor::new(&[5, 2, 2, 3, 2], both).unwrap());
        assert_eq!(both.sizes(), [5, 2, 3, 3, 2]);
        let (a, b) = (run(a), run(b));
        assert_eq!(a.sizes(), [5, 3, 3, 2]);
        let apart: Vec<f32> = rows(&a).into_iter().zip(rows(&b)).flat_map(|(a, b)| [a, b].concat()).collect();
        assert_eq!(both.elements::<f32>().unwrap(), apart);
    }

    #[test]
    fn buffers_have_names_of_their_own() {
        let registry = Registry::built_in();
        let graph = unrolled(&registry);
        let names: Vec<String> = graph
            .order()
            .into_iter()
            .filter_map(|id| match &graph.node(id).kind {
                Kind::Op { attrs, .. } => attrs.get_str("fifo_name").map(str::to_owned),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["plane_fifo", "first_fifo", "plane_fifo_1"]);
    }
}
