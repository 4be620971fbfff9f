//! A Keras model as a graph: walks the layers, each in the order of what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::KerasError;
use super::config::{Handle, Layer, Model};
use super::cx::{Cx, Fault, Made};
use super::file::ModelFile;
use super::layers::layer_calls;
use super::values::{At, Layout, Values};
use crate::diag::{Diagnostic, Diagnostics, Place, WithPlaces};
use crate::ir::{Graph, InputShapes, Names};
use crate::ops::{Builder, Known, Registry};
use crate::tensor::{DType, Dim, Shape, TensorType};

/// Reads a model, and tells the file beside it that weights were read from.
///
/// # Errors
/// Every fault that can be found: one unsupported layer does not hide the next.
pub fn import_with_files(
    path: &Path,
    registry: &Registry,
    shapes: &InputShapes,
) -> Result<(Graph, BTreeSet<PathBuf>), Diagnostics> {
    let file = ModelFile::open(path).map_err(WithPlaces::new)?;
    let graph = import_file(&file, registry, shapes)?;
    Ok((graph, file.beside.into_iter().collect()))
}

/// [`import_with_files`], without the file.
///
/// # Errors
/// Those of [`import_with_files`].
pub fn import(path: &Path, registry: &Registry, shapes: &InputShapes) -> Result<Graph, Diagnostics> {
    import_with_files(path, registry, shapes).map(|(graph, _)| graph)
}

pub(super) fn import_file(
    file: &ModelFile,
    registry: &Registry,
    shapes: &InputShapes,
) -> Result<Graph, Diagnostics> {
    let model = Model::read(&file.architecture)
        .map_err(|problem| WithPlaces::new(KerasError::Architecture { problem }))?;
    let mut importer = Importer {
        file,
        net: Net {
            graph: Graph::new(model.name.as_str()),
            registry,
            values: Values::default(),
            known: Known::default(),
            not_calibrated: Vec::new(),
        },
        path: Vec::new(),
        calls: 0,
        diagnostics: Diagnostics::default(),
    };
    let inputs = importer.inputs(&model, shapes);
    let outputs = importer.model(&model, inputs);
    importer.finish(&model, outputs)
}

/// What is built.
pub struct Net<'m> {
    pub graph: Graph,
    pub registry: &'m Registry,
    pub values: Values,
    pub known: Known,
    /// Quantized layers without ranges.
    pub not_calibrated: Vec<String>,
}

struct Importer<'m> {
    file: &'m ModelFile,
    net: Net<'m>,
    /// The models that are being walked, each with its layer of the model around it.
    path: Vec<(&'m Model, &'m Layer)>,
    calls: usize,
    diagnostics: Diagnostics,
}

/// Models that call each other twice at every level would make a graph without end.
const MOST_CALLS: usize = 100_000;

/// Results of the calls of a model's layers.
#[derive(Default)]
pub struct Results {
    /// `None` where a reported fault is in the way.
    calls: BTreeMap<(String, usize), Option<Vec<At>>>,
}

impl Results {
    fn has(&self, handle: &Handle) -> bool {
        self.calls.contains_key(&(handle.layer.clone(), handle.call))
    }

    fn is_broken(&self, handle: &Handle) -> bool {
        self.calls.get(&(handle.layer.clone(), handle.call)).is_some_and(Option::is_none)
    }

    pub fn get(&self, handle: &Handle) -> Option<At> {
        self.calls.get(&(handle.layer.clone(), handle.call))?.as_ref()?.get(handle.result).copied()
    }
}

impl<'m> Importer<'m> {
    /// Adds the inputs of the whole.
    fn inputs(&mut self, model: &Model, shapes: &InputShapes) -> Vec<Option<At>> {
        let mut batch = Names::default();
        let batch: Arc<str> = batch.fresh("N").into();
        let only = model.inputs.len() == 1;
        let mut inputs = Vec::new();
        for handle in &model.inputs {
            let name = handle.layer.as_str();
            let settings = model.layer(name).map(|layer| &layer.settings);
            let ty = settings
                .ok_or_else(|| "is no layer of the model".to_owned())
                .and_then(|settings| input_type(name, settings, &batch))
                .and_then(|ty| match shapes.of(name, only, ty.shape.clone()) {
                    Some(shape) => Ok(ty.with_shape(shape)),
                    None => Err(format!("has shape {}, which --input-shape contradicts", ty.shape)),
                });
            inputs.push(match ty {
                Ok(ty) => {
                    let value = self.net.graph.add_input(name, ty, Default::default());
                    Some(self.net.values.add(Layout::Last, value))
                }
                Err(problem) => {
                    let error = KerasError::Input { name: name.to_owned(), problem };
                    self.diagnostics.push(WithPlaces::new(error));
                    None
                }
            });
        }
        inputs
    }

    /// Adds what a model stands for, and gives its outputs.
    fn model(&mut self, model: &'m Model, inputs: Vec<Option<At>>) -> Vec<Option<At>> {
        let mut results = Results::default();
        for (handle, input) in model.inputs.iter().zip(inputs) {
            results.calls.insert((handle.layer.clone(), handle.call), input.map(|at| vec![at]));
        }
        let all = model.layers.iter().flat_map(|layer| (0..layer.calls.len()).map(move |call| (layer, call)));
        let mut waiting: Vec<(&Layer, usize)> = all.collect();
        loop {
            let before = waiting.len();
            let mut still = Vec::new();
            for (layer, call) in waiting {
                let handles = layer.calls[call].handles();
                if !handles.iter().all(|handle| results.has(handle)) {
                    still.push((layer, call));
                    continue;
                }
                let broken = handles.iter().any(|handle| results.is_broken(handle));
                let made = if broken { None } else { self.call(model, layer, call, &results) };
                results.calls.insert((layer.name.clone(), call), made);
            }
            waiting = still;
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        let lost: BTreeSet<&str> = model
            .outputs
            .iter()
            .filter(|handle| !results.is_broken(handle) && results.get(handle).is_none())
            .map(|handle| handle.layer.as_str())
            .collect();
        for name in lost {
            let problem = format!("nothing that the inputs reach gives output `{name}`");
            self.diagnostics.push(WithPlaces::new(KerasError::Architecture { problem }));
        }
        model.outputs.iter().map(|handle| results.get(handle)).collect()
    }

    /// Adds one call of a layer. `None` after a fault.
    fn call(
        &mut self,
        model: &'m Model,
        layer: &'m Layer,
        call: usize,
        results: &Results,
    ) -> Option<Vec<At>> {
        self.calls += 1;
        if self.calls > MOST_CALLS {
            if self.calls == MOST_CALLS + 1 {
                let problem = format!("it has more than {MOST_CALLS} calls of layers");
                self.diagnostics.push(WithPlaces::new(KerasError::Architecture { problem }));
            }
            return None;
        }
        self.path.push((model, layer));
        let made = self.made(layer, call, results).map_err(|fault| self.fault(fault)).ok();
        self.path.pop();
        made
    }

    /// What the layer at the end of the path makes.
    fn made(&mut self, layer: &'m Layer, call: usize, results: &Results) -> Made<Vec<At>> {
        let class = || layer.class.clone();
        let handles = layer.calls[call].handles();
        if let Some(lost) = handles.iter().find(|handle| results.get(handle).is_none()) {
            let problem = format!("reads result {} of `{}`, which it has not", lost.result, lost.layer);
            return Err(KerasError::Call { class: class(), problem }.into());
        }
        let Some(inner) = &layer.model else {
            let name = self.layer_name();
            let loc = self.place().into();
            let mut cx = Cx::new(&mut self.net, self.file, &self.path, layer, call, results, name, loc);
            let made = layer_calls(&mut cx)?;
            cx.name_results(&made);
            return Ok(made);
        };
        if handles.len() != inner.inputs.len() {
            let problem =
                format!("gives {} values to a model of {} inputs", handles.len(), inner.inputs.len());
            return Err(KerasError::Call { class: class(), problem }.into());
        }
        let inputs = handles.iter().map(|handle| results.get(handle)).collect();
        let outputs: Option<Vec<At>> = self.model(inner, inputs).into_iter().collect();
        outputs.ok_or(Fault::Reported)
    }

    /// The name of the layer at the end of the path, behind those of the models around it.
    fn layer_name(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|(_, layer)| &*layer.name).collect();
        names.join("/")
    }

    fn place(&self) -> Place {
        Place::Node { file: self.file.name.clone(), node: self.layer_name().into() }
    }

    /// A fault of the layer at the end of the path.
    fn fault(&mut self, fault: Fault) {
        let found: Diagnostic = match fault {
            Fault::Keras(error) => WithPlaces::new(error).at(self.place(), "").into(),
            Fault::Op(error) => WithPlaces::new(error).at(self.place(), "").into(),
            Fault::Reported => return,
        };
        self.diagnostics.push(found);
    }

    fn finish(mut self, model: &Model, outputs: Vec<Option<At>>) -> Result<Graph, Diagnostics> {
        let mut names = Names::default();
        for (handle, at) in model.outputs.iter().zip(outputs) {
            let Some(at) = at else { continue };
            let name = names.fresh(&handle.layer);
            let loc = self.net.graph.node(self.net.values.held(at).0.node).loc.clone();
            let mut builder = Builder { graph: &mut self.net.graph, registry: self.net.registry, loc };
            match self.net.values.get(at, Layout::Last, &mut builder, &format!("{name}/last")) {
                Ok(value) => {
                    // The output is what Keras calls so; its form of another layout, or before the activation,
                    // makes way.
                    let graph = &mut self.net.graph;
                    if !graph.inputs().any(|input| input == value) && !graph.is_output(value) {
                        match graph.find(&name).filter(|&other| other != value) {
                            None => graph.take_name(value, &name),
                            Some(inner) => {
                                // Its node is still what the layer does.
                                let nodes = [inner, value].map(|v| (v.node, graph.node(v.node).name.clone()));
                                graph.take_name(inner, &format!("{name}/inner"));
                                graph.take_name(value, &name);
                                nodes.into_iter().for_each(|(node, name)| graph.set_node_name(node, name));
                            }
                        }
                    }
                    graph.add_output(name, value);
                }
                Err(error) => self.diagnostics.push(WithPlaces::new(error)),
            }
        }
        if !self.net.not_calibrated.is_empty() {
            let layers = std::mem::take(&mut self.net.not_calibrated);
            self.diagnostics.push(WithPlaces::new(KerasError::NotCalibrated { layers }));
        }
        self.diagnostics.into_result()?;
        self.net.graph.remove_dead();
        Ok(self.net.graph)
    }
}

/// The type of an input, or what is wrong with it.
fn input_type(
    name: &str,
    settings: &serde_json::Map<String, Json>,
    batch: &Arc<str>,
) -> Result<TensorType, String> {
    let sizes = ["batch_shape", "batch_input_shape"].iter().find_map(|key| settings.get(*key));
    let sizes = sizes.and_then(Json::as_array).ok_or("has no shape")?;
    let dim = |(axis, size): (usize, &Json)| match size.as_u64() {
        // Networks are for any number of samples, also where an example had one.
        _ if axis == 0 => Ok(Dim::Symbol(batch.clone())),
        Some(size) => usize::try_from(size).map(Dim::Fixed).map_err(|_| format!("has size {size}")),
        None if size.is_null() => Ok(Dim::Symbol(format!("{name}_d{axis}").into())),
        None => Err(format!("has size {size} on axis {axis}")),
    };
    let dims = sizes.iter().enumerate().map(dim).collect::<Result<Vec<_>, String>>()?;
    let dtype = match settings.get("dtype").and_then(super::cx::policy).unwrap_or("float32") {
        "float32" => DType::F32,
        "uint8" => DType::U8,
        "int8" => DType::I8,
        "int32" => DType::I32,
        "int64" => DType::I64,
        other => return Err(format!("is of {other}; float32, uint8, int8, int32 and int64 are read")),
    };
    if ["sparse", "ragged"].iter().any(|key| settings.get(*key).and_then(Json::as_bool) == Some(true)) {
        return Err("is sparse or ragged".to_owned());
    }
    Ok(TensorType::new(dtype, Shape::from(dims)))
}
