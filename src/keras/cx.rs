//! What a layer sees when it is read: its settings, weights and operands, and the graph to add to.

use serde_json::Value as Json;

use super::KerasError;
use super::config::{Arg, Layer, Model};
use super::file::ModelFile;
use super::import::{Net, Results};
use super::values::{At, Layout};
use crate::diag::Loc;
use crate::ir::{Attrs, ValueId};
use crate::ops::fixed::{FixedCall, LayerConfig, LayerNames};
use crate::ops::{Builder, Call, LiftCx, OnnxAttr, OnnxNode, OpError, Quantize};
use crate::tensor::fixed::PerChannel;
use crate::tensor::{DType, FixedGrid, Shape, Tensor, TensorType};

/// What can be wrong with a layer.
#[derive(Debug)]
pub enum Fault {
    Keras(KerasError),
    Op(OpError),
    /// Found in a model that the layer consists of, and reported there.
    Reported,
}

impl From<KerasError> for Fault {
    fn from(error: KerasError) -> Self {
        Fault::Keras(error)
    }
}

impl From<OpError> for Fault {
    fn from(error: OpError) -> Self {
        Fault::Op(error)
    }
}

pub type Made<T> = Result<T, Fault>;

/// The name of a data type, of layers also as a policy.
pub fn policy(json: &Json) -> Option<&str> {
    json.as_str().or_else(|| json.get("config")?.get("name")?.as_str())
}

/// A layer in its integer form, of what Keras keeps of it.
pub struct FixedLayer<'a> {
    pub op: &'static str,
    pub attrs: Attrs,
    pub config: LayerConfig,
    pub values: &'a [ValueId],
    /// The float parameters behind the values, laid out as the operator has them.
    pub parameters: Vec<Option<Tensor>>,
    /// `range_max` and `rescaling_rate` of the output quantizer.
    pub ranges: Option<[PerChannel<f32>; 2]>,
}

pub struct Cx<'c, 'm> {
    net: &'c mut Net<'m>,
    file: &'m ModelFile,
    path: &'c [(&'m Model, &'m Layer)],
    pub layer: &'m Layer,
    call: usize,
    results: &'c Results,
    /// The layer's name behind those of the models that it is in.
    name: String,
    loc: Loc,
    /// Whether the result is that of the setting `activation`.
    activated: bool,
    /// Of several steps, the one whose node is called as the layer: findings and configurations go by that.
    pub main: Option<ValueId>,
}

impl<'c, 'm> Cx<'c, 'm> {
    /// The layer is the last of `path`.
    #[allow(clippy::too_many_arguments)] // each is another thing
    pub fn new(
        net: &'c mut Net<'m>,
        file: &'m ModelFile,
        path: &'c [(&'m Model, &'m Layer)],
        layer: &'m Layer,
        call: usize,
        results: &'c Results,
        name: String,
        loc: Loc,
    ) -> Self {
        Self { net, file, path, layer, call, results, name, loc, activated: false, main: None }
    }

    /// The first number of the version of Keras that wrote the model.
    pub fn major(&self) -> u32 {
        self.file.major
    }

    // ---- faults

    pub fn class(&self) -> String {
        self.layer.class.clone()
    }

    pub fn bad_setting(&self, setting: &str, problem: impl Into<String>) -> Fault {
        let (class, setting) = (self.class(), setting.to_owned());
        KerasError::Setting { class, setting, problem: problem.into() }.into()
    }

    pub fn unsupported(&self, way: Option<&'static str>) -> Fault {
        KerasError::Layer { class: self.class(), way }.into()
    }

    pub fn bad_call(&self, problem: impl Into<String>) -> Fault {
        KerasError::Call { class: self.class(), problem: problem.into() }.into()
    }

    pub fn open_size(&self, what: &'static str) -> Fault {
        KerasError::OpenSize { class: self.class(), what }.into()
    }

    // ---- settings

    pub fn setting(&self, name: &str) -> Option<&'m Json> {
        self.layer.settings.get(name).filter(|json| !json.is_null())
    }

    pub fn flag(&self, name: &str, default: bool) -> Made<bool> {
        match self.setting(name) {
            None => Ok(default),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(Json::Number(n)) => Ok(n.as_f64() != Some(0.0)),
            Some(other) => Err(self.bad_setting(name, format!("is {other}, no truth value"))),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> Made<i64> {
        self.opt_int(name).map(|found| found.unwrap_or(default))
    }

    pub fn opt_int(&self, name: &str) -> Made<Option<i64>> {
        let Some(json) = self.setting(name) else { return Ok(None) };
        whole(json).map(Some).ok_or_else(|| self.bad_setting(name, format!("is {json}, no integer")))
    }

    pub fn opt_float(&self, name: &str) -> Made<Option<f32>> {
        let Some(json) = self.setting(name) else { return Ok(None) };
        let number = number(json).ok_or_else(|| self.bad_setting(name, format!("is {json}, no number")))?;
        Ok(Some(number))
    }

    pub fn float(&self, names: &[&str], default: f32) -> Made<f32> {
        for name in names {
            if let Some(found) = self.opt_float(name)? {
                return Ok(found);
            }
        }
        Ok(default)
    }

    pub fn text(&self, name: &str, default: &'static str) -> Made<&'m str> {
        match self.setting(name) {
            None => Ok(default),
            Some(json) => json.as_str().ok_or_else(|| self.bad_setting(name, format!("is {json}, no text"))),
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Made<Option<Vec<i64>>> {
        let Some(json) = self.setting(name) else { return Ok(None) };
        let list = json
            .as_array()
            .map_or_else(|| whole(json).map(|one| vec![one]), |list| list.iter().map(whole).collect());
        list.map(Some).ok_or_else(|| self.bad_setting(name, format!("is {json}, no list of integers")))
    }

    /// A size from 1 for each of `count` axes, which may be given as one for all.
    pub fn sizes(&self, name: &str, count: usize) -> Made<Option<Vec<i64>>> {
        self.sizes_from(name, count, 1)
    }

    /// [`Cx::sizes`], from another least one.
    pub fn sizes_from(&self, name: &str, count: usize, least: i64) -> Made<Option<Vec<i64>>> {
        let Some(mut sizes) = self.ints(name)? else { return Ok(None) };
        if sizes.len() == 1 && count > 1 {
            sizes = vec![sizes[0]; count];
        }
        if sizes.len() != count || sizes.iter().any(|&size| size < least || i32::try_from(size).is_err()) {
            let problem = format!("is {sizes:?}, not a size from {least} for each of {count} axes");
            return Err(self.bad_setting(name, problem));
        }
        Ok(Some(sizes))
    }

    /// Whether the layer itself has the channels as axis 1.
    pub fn channels_first(&self) -> Made<bool> {
        match self.text("data_format", "channels_last")? {
            "channels_last" => Ok(false),
            "channels_first" => Ok(true),
            other => Err(self.bad_setting("data_format", format!("is `{other}`"))),
        }
    }

    /// An axis of a value of `rank` axes, which may be counted from the end.
    pub fn axis(&self, name: &str, axis: i64, rank: usize) -> Made<usize> {
        let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        counted
            .and_then(|axis| usize::try_from(axis).ok())
            .filter(|&axis| axis < rank)
            .ok_or_else(|| self.bad_setting(name, format!("is {axis}, for a value of {rank} axes")))
    }

    // ---- operands

    /// The arguments that the call names.
    pub fn named(&self) -> impl Iterator<Item = (&'m String, &'m Arg)> {
        self.layer.calls[self.call].named.iter()
    }

    /// An argument by its place, or by its name.
    pub fn arg(&self, place: usize, names: &[&str]) -> Option<&'m Arg> {
        let call = &self.layer.calls[self.call];
        call.args.get(place).or_else(|| names.iter().find_map(|name| call.named.get(*name)))
    }

    pub fn value(&self, arg: &Arg) -> Option<At> {
        match arg {
            // A layer is called when its operands are there.
            Arg::Value(handle) => self.results.get(handle),
            _ => None,
        }
    }

    /// Whether an argument says anything.
    pub fn is_set(&self, arg: &Arg) -> bool {
        !matches!(arg, Arg::Plain(Json::Null | Json::Bool(false)))
    }

    /// The values that the layer reads, in order.
    pub fn values(&self) -> Vec<At> {
        let handles = self.layer.calls[self.call].handles();
        handles.iter().filter_map(|handle| self.results.get(handle)).collect()
    }

    /// The only value that the layer reads.
    pub fn only(&self) -> Made<At> {
        match *self.values() {
            [at] => Ok(at),
            ref other => Err(self.bad_call(format!("gives it {} values instead of one", other.len()))),
        }
    }

    pub fn held(&self, at: At) -> (ValueId, Layout) {
        self.net.values.held(at)
    }

    /// The sizes in Keras's order.
    pub fn shape(&self, at: At) -> Shape {
        self.net.values.shape(at, &self.net.graph)
    }

    pub fn rank(&self, at: At) -> usize {
        self.net.graph.ty(self.held(at).0).shape.rank()
    }

    pub fn type_of(&self, value: ValueId) -> &crate::tensor::TensorType {
        self.net.graph.ty(value)
    }

    pub fn get(&mut self, at: At, layout: Layout) -> Made<ValueId> {
        let name = format!(
            "{}/{}",
            self.name,
            if layout == Layout::First { "channels_first" } else { "channels_last" }
        );
        let mut builder =
            Builder { graph: &mut self.net.graph, registry: self.net.registry, loc: self.loc.clone() };
        Ok(self.net.values.get(at, layout, &mut builder, &name)?)
    }

    /// The one layout that values are taken in: with channels as axis 1 if any is so, for otherwise it
    /// would be turned round.
    pub fn common(&mut self, values: &[At]) -> Made<(Vec<ValueId>, Layout)> {
        let first = values.iter().any(|&at| self.held(at).1 == Layout::First);
        let layout = if first { Layout::First } else { Layout::Last };
        let values = values.iter().map(|&at| self.get(at, layout)).collect::<Made<Vec<_>>>()?;
        Ok((values, layout))
    }

    pub fn made(&mut self, layout: Layout, value: ValueId) -> At {
        self.net.values.add(layout, value)
    }

    // ---- weights

    /// A weight: by one of its names, or its number among those of the layer.
    pub fn weight(&self, names: &[&str], number: usize) -> Made<Tensor> {
        self.part("", names, number)
    }

    /// A weight of a part of the layer.
    pub fn part(&self, part: &str, names: &[&str], number: usize) -> Made<Tensor> {
        let weight = names[0].to_owned();
        match self.file.weights.get(self.path, names, part, number) {
            Ok(Some(tensor)) if tensor.elements::<f32>().is_some() => Ok(tensor),
            Ok(Some(tensor)) => {
                let problem = format!("is stored as {}; only f32 is read", tensor.dtype());
                Err(KerasError::Weight { weight, problem }.into())
            }
            Ok(None) => {
                let problem = "is not in the file".to_owned();
                Err(KerasError::Weight { weight, problem }.into())
            }
            Err(problem) => Err(KerasError::Weight { weight, problem }.into()),
        }
    }

    /// A weight with its axes in another order.
    pub fn turned(&self, names: &[&str], number: usize, perm: &[usize]) -> Made<Tensor> {
        let tensor = self.weight(names, number)?;
        turn(&tensor, perm).ok_or_else(|| {
            let problem = format!("has sizes {:?}, and not {} axes", tensor.sizes(), perm.len());
            KerasError::Weight { weight: names[0].to_owned(), problem }.into()
        })
    }

    pub fn reshaped(&self, weight: &str, tensor: &Tensor, sizes: &[usize]) -> Made<Tensor> {
        tensor.reshaped(sizes).ok_or_else(|| {
            let problem = format!("has sizes {:?} where {sizes:?} are expected", tensor.sizes());
            KerasError::Weight { weight: weight.to_owned(), problem }.into()
        })
    }

    // ---- adding

    pub fn constant(&mut self, suffix: &str, tensor: Tensor) -> ValueId {
        self.net.graph.add_const(&format!("{}/{suffix}", self.name), tensor, self.loc.clone())
    }

    pub fn op(&mut self, suffix: &str, op: &str, attrs: Attrs, operands: &[ValueId]) -> Made<ValueId> {
        let name = format!("{}/{suffix}", self.name);
        let mut builder =
            Builder { graph: &mut self.net.graph, registry: self.net.registry, loc: self.loc.clone() };
        Ok(builder.op(op, attrs, operands, &name)?)
    }

    /// Notes that the layer has no ranges.
    pub fn not_calibrated(&mut self) {
        self.net.not_calibrated.push(self.name.clone());
    }

    /// Adds a layer of QuantizeML in its integer form.
    pub fn fixed_layer(&mut self, layer: FixedLayer) -> Made<ValueId> {
        let FixedLayer { op, attrs, config, values, parameters, ranges } = layer;
        let (registry, graph) = (self.net.registry, &mut self.net.graph);
        let entry = registry.get(op)?;
        let Quantize::FixedPoint(form) = entry.operator.quantize() else {
            return Err(OpError::UnknownOp { op: op.to_owned(), similar: None }.into());
        };
        let attrs = registry.complete(op, attrs)?;
        let shapes = values.iter().map(|&value| graph.ty(value).shape.clone());
        let types = shapes.map(|shape| Some(TensorType::new(DType::F32, shape)));
        let types: Vec<Option<TensorType>> =
            types.chain(parameters.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type))).collect();
        let float = registry.infer(op, &attrs, &types)?;
        let shape = float.into_iter().next().map(|ty| ty.shape).unwrap_or_default();
        let constants: Vec<Option<&Tensor>> =
            values.iter().map(|_| None).chain(parameters.iter().map(Option::as_ref)).collect();
        let grids: Vec<Option<FixedGrid>> =
            values.iter().map(|&value| graph.ty(value).grid.fixed().cloned()).collect();
        let grids: Vec<Option<&FixedGrid>> = grids.iter().map(Option::as_ref).collect();
        let form = form.quantize(&FixedCall {
            call: Call { schema: &entry.schema, attrs: &attrs, operands: &types },
            constants: &constants,
            grids: &grids,
            config: &config,
            range_max: ranges.as_ref().map(|[range_max, _]| range_max),
            rescaling_rate: ranges.as_ref().map(|[_, rate]| rate),
        })?;
        let result = format!("{}/{}", self.name, op.to_lowercase());
        let names = LayerNames { node: &self.name, result: &result };
        Ok(form.add(graph, op, shape, names, &self.loc, |position| values.get(position).copied()))
    }

    /// Adds what an operator of ONNX stands for.
    pub fn onnx<const N: usize>(
        &mut self,
        op_type: &str,
        opset: i64,
        attrs: [(&str, OnnxAttr); N],
        operands: &[Option<ValueId>],
    ) -> Made<ValueId> {
        let value_name = |value: &ValueId| self.net.graph.value(*value).name.to_string();
        let inputs =
            operands.iter().map(|value| value.as_ref().map_or_else(String::new, value_name)).collect();
        let node = OnnxNode {
            name: self.name.clone(),
            domain: String::new(),
            op_type: op_type.to_owned(),
            inputs,
            outputs: vec![format!("{}/{}", self.name, op_type.to_lowercase())],
            attrs: attrs.into_iter().map(|(name, attr)| (name.to_owned(), attr)).collect(),
        };
        let lift = self.net.registry.lift("", op_type).ok_or_else(|| self.unsupported(None))?;
        let builder =
            Builder { graph: &mut self.net.graph, registry: self.net.registry, loc: self.loc.clone() };
        let operands = operands.to_vec();
        let mut cx = LiftCx { builder, node: &node, opset, operands, known: &self.net.known };
        let made = lift.read(&mut cx)?;
        made.first().copied().ok_or_else(|| self.unsupported(None))
    }

    /// Gives the layer's name to what it made before its activation.
    pub fn name_linear(&mut self, at: At) {
        self.name_result(at, &self.name.clone());
        self.activated = true;
    }

    /// Gives what the layer made the layer's name.
    pub fn name_results(&mut self, made: &[At]) {
        let inputs = self.values();
        let name = if self.activated { format!("{}_activ", self.name) } else { self.name.clone() };
        made.iter().filter(|at| !inputs.contains(at)).for_each(|&at| self.name_result(at, &name));
    }

    /// A layer that is called again finds its name taken.
    fn name_result(&mut self, at: At, name: &str) {
        let (value, _) = self.held(at);
        let graph = &mut self.net.graph;
        if graph.node(value.node).loc == self.loc && graph.find(name).is_none() {
            let step = graph.node(value.node).name.clone();
            graph.take_name(value, name);
            if let Some(main) = self.main.filter(|&main| main != value && name == self.name) {
                graph.set_node_name(main.node, name);
                graph.set_node_name(value.node, step);
            }
        }
    }
}

/// The tensor with its axes in another order; `None` if it has another number of them, or other elements.
pub fn turn(tensor: &Tensor, perm: &[usize]) -> Option<Tensor> {
    let Tensor::F32(array) = tensor else { return None };
    if array.ndim() != perm.len() {
        return None;
    }
    let view = array.view().permuted_axes(perm);
    Tensor::new(view.shape(), view.iter().copied().collect())
}

fn whole(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| {
        let number = json.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
    })
}

/// A number, also one that numpy wrapped.
pub fn number(json: &Json) -> Option<f32> {
    let json = match json {
        Json::Object(wrapped) => wrapped.get("config")?.get("value")?,
        json => json,
    };
    match json.as_array().map(Vec::as_slice) {
        Some([one]) => number(one),
        Some(_) => None,
        None => json.as_f64().map(|number| number as f32),
    }
}
