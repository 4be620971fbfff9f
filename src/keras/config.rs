//! The architecture of a model: layers, and who reads whom. Keras 2 and 3 write calls in two ways.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

/// A model: the whole, or one that is a layer of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub name: String,
    pub layers: Vec<Layer>,
    pub inputs: Vec<Handle>,
    pub outputs: Vec<Handle>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: String,
    /// Without the package that it is registered in.
    pub class: String,
    /// The Python module of the class: classes of different modules have the same name.
    pub module: String,
    pub settings: Map<String, Json>,
    /// None for an input; several if the layer is shared.
    pub calls: Vec<Call>,
    /// What the layer consists of, if it is a model.
    pub model: Option<Box<Model>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    pub args: Vec<Arg>,
    pub named: IndexMap<String, Arg>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    Value(Handle),
    List(Vec<Arg>),
    Plain(Json),
}

/// A result of a call of a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle {
    pub layer: String,
    pub call: usize,
    pub result: usize,
}

impl Handle {
    fn first(layer: &str) -> Self {
        Self { layer: layer.to_owned(), call: 0, result: 0 }
    }

    fn read(json: &Json) -> Option<Self> {
        let [Json::String(layer), call, result, ..] = json.as_array()?.as_slice() else { return None };
        let index = |json: &Json| usize::try_from(json.as_u64()?).ok();
        Some(Self { layer: layer.clone(), call: index(call)?, result: index(result)? })
    }
}

impl Arg {
    fn each_handle(&mut self, change: &mut dyn FnMut(&mut Handle)) {
        match self {
            Arg::Value(handle) => change(handle),
            Arg::List(list) => list.iter_mut().for_each(|arg| arg.each_handle(change)),
            Arg::Plain(_) => {}
        }
    }

    /// The values in an argument, in order.
    pub fn handles<'a>(&'a self, into: &mut Vec<&'a Handle>) {
        match self {
            Arg::Value(handle) => into.push(handle),
            Arg::List(list) => list.iter().for_each(|arg| arg.handles(into)),
            Arg::Plain(_) => {}
        }
    }
}

impl Call {
    pub fn handles(&self) -> Vec<&Handle> {
        let mut handles = Vec::new();
        self.args.iter().chain(self.named.values()).for_each(|arg| arg.handles(&mut handles));
        handles
    }
}

type Read<T> = Result<T, String>;

impl Model {
    /// Reads what `model.to_json()` gives.
    pub fn read(json: &Json) -> Read<Self> {
        let class = json.get("class_name").and_then(Json::as_str).unwrap_or_default();
        let config = json.get("config").ok_or("it has no `config`")?;
        match plain_class(class) {
            "Sequential" => Self::sequential(config),
            _ if config.get("layers").is_some() => Self::functional(config),
            _ => Err(format!("`{class}` is a class of its own, whose layers the file does not tell")),
        }
    }

    fn functional(config: &Json) -> Read<Self> {
        let name = text(config, "name").unwrap_or("model").to_owned();
        let mut layers = layers(config)?;
        let list = config["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for at in 0..layers.len() {
            let nodes = list[at].get("inbound_nodes").and_then(Json::as_array);
            let nodes = nodes.map(Vec::as_slice).unwrap_or_default();
            layers[at].calls = nodes.iter().map(|node| call(node, &layers)).collect::<Read<_>>()?;
        }
        let inputs = ends(config, "input_layers")?;
        let mut outputs = ends(config, "output_layers")?;
        count_calls_from_zero(&mut layers, &mut outputs);
        Ok(Self { name, layers, inputs, outputs })
    }

    fn sequential(config: &Json) -> Read<Self> {
        let name = text(config, "name").unwrap_or("sequential").to_owned();
        let mut layers = layers(config)?;
        let first = layers.first().ok_or("a sequential model has no layers")?;
        if first.class != "InputLayer" {
            let sizes = ["batch_shape", "batch_input_shape"];
            let sizes = sizes.iter().find_map(|key| first.settings.get(*key));
            let sizes = sizes.or_else(|| config.get("build_input_shape")).cloned();
            let input = Layer {
                name: format!("{}_input", first.name),
                class: "InputLayer".to_owned(),
                module: String::new(),
                settings: sizes.into_iter().map(|sizes| ("batch_shape".to_owned(), sizes)).collect(),
                calls: Vec::new(),
                model: None,
            };
            layers.insert(0, input);
        }
        for at in 1..layers.len() {
            let before = Arg::Value(Handle::first(&layers[at - 1].name));
            layers[at].calls = vec![Call { args: vec![before], named: IndexMap::new() }];
        }
        let inputs = vec![Handle::first(&layers[0].name)];
        let outputs = layers.last().map(|last| Handle::first(&last.name)).into_iter().collect();
        Ok(Self { name, layers, inputs, outputs })
    }

    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}

fn text<'j>(json: &'j Json, key: &str) -> Option<&'j str> {
    json.get(key).and_then(Json::as_str)
}

/// QuantizeML registers its classes without a package of its own: `Custom>ReLU` is `ReLU`.
fn plain_class(class: &str) -> &str {
    class.strip_prefix("Custom>").unwrap_or(class)
}

/// The packages whose classes are known.
const PACKAGES: [&str; 4] = ["keras", "tf_keras", "tensorflow", "quantizeml"];

/// Whether something is of a module that is none of the known ones, whatever it is called.
pub fn is_foreign(module: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    !package.is_empty() && package != "builtins" && !PACKAGES.contains(&package)
}

fn layers(config: &Json) -> Read<Vec<Layer>> {
    // A sequential model of old versions is its layers.
    let list = config.get("layers").unwrap_or(config).as_array().ok_or("`layers` is no list")?;
    let layers: Vec<Layer> = list.iter().map(layer).collect::<Read<_>>()?;
    let mut names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two layers are called `{}`", pair[0])),
        None => Ok(layers),
    }
}

fn layer(json: &Json) -> Read<Layer> {
    let class = plain_class(text(json, "class_name").ok_or("a layer has no `class_name`")?);
    let config = json.get("config").and_then(Json::as_object);
    let settings = config.cloned().ok_or_else(|| format!("a layer of class `{class}` has no `config`"))?;
    let name = text(json, "name").or_else(|| settings.get("name").and_then(Json::as_str));
    let name = name.ok_or_else(|| format!("a layer of class `{class}` has no name"))?.to_owned();
    let model = if settings.contains_key("layers") { Some(Box::new(Model::read(json)?)) } else { None };
    let module = text(json, "module").unwrap_or_default().to_owned();
    // A class of the user may have any name.
    let foreign = is_foreign(&module) && model.is_none();
    let shown = if foreign { format!("{module}.{class}") } else { class.to_owned() };
    Ok(Layer { name, class: shown, module, settings, calls: Vec::new(), model })
}

/// A model that has been made is a call of itself, which Keras counts and does not write. All other calls
/// are read by something, so the least number is that of the first.
fn count_calls_from_zero(layers: &mut [Layer], outputs: &mut [Handle]) {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let models: Vec<&str> = layers.iter().filter(|l| l.model.is_some()).map(|l| &*l.name).collect();
    let read = layers.iter().flat_map(|layer| &layer.calls).flat_map(Call::handles);
    for handle in read.chain(outputs.iter()).filter(|handle| models.contains(&&*handle.layer)) {
        let least = first.entry(handle.layer.clone()).or_insert(handle.call);
        *least = handle.call.min(*least);
    }
    let mut shift = |handle: &mut Handle| {
        handle.call -= first.get(&handle.layer).copied().unwrap_or(0);
    };
    outputs.iter_mut().for_each(&mut shift);
    for call in layers.iter_mut().flat_map(|layer| &mut layer.calls) {
        call.args.iter_mut().chain(call.named.values_mut()).for_each(|arg| arg.each_handle(&mut shift));
    }
}

/// The inputs or outputs of a model: one, a list of them, or a dictionary.
fn ends(config: &Json, key: &str) -> Read<Vec<Handle>> {
    fn go(json: &Json, into: &mut Vec<Handle>) -> Option<()> {
        if let Some(handle) = Handle::read(json) {
            into.push(handle);
            return Some(());
        }
        match json {
            Json::Array(list) => list.iter().try_for_each(|json| go(json, into)),
            Json::Object(named) => named.values().try_for_each(|json| go(json, into)),
            _ => None,
        }
    }
    let mut handles = Vec::new();
    let read = config.get(key).and_then(|json| go(json, &mut handles));
    read.filter(|()| !handles.is_empty()).ok_or_else(|| format!("`{key}` names no values"))?;
    Ok(handles)
}

fn call(node: &Json, layers: &[Layer]) -> Read<Call> {
    match node {
        Json::Object(node) => {
            let args = node.get("args").and_then(Json::as_array).ok_or("a call has no `args`")?;
            let named = node.get("kwargs").and_then(Json::as_object);
            let named = named.into_iter().flatten().map(|(name, json)| (name.clone(), new_arg(json)));
            Ok(Call { args: args.iter().map(new_arg).collect(), named: named.collect() })
        }
        Json::Array(_) => old_call(node, layers),
        _ => Err("a call is neither a list nor a dictionary".to_owned()),
    }
}

/// An argument as Keras 3 writes it.
fn new_arg(json: &Json) -> Arg {
    match (json, text(json, "class_name")) {
        (Json::Array(list), _) => Arg::List(list.iter().map(new_arg).collect()),
        (_, Some("__keras_tensor__")) => match Handle::read(&json["config"]["keras_history"]) {
            Some(handle) => Arg::Value(handle),
            None => Arg::Plain(json.clone()),
        },
        (_, Some("__tuple__")) => match json["items"].as_array().or_else(|| json["config"].as_array()) {
            Some(items) => Arg::List(items.iter().map(new_arg).collect()),
            None => Arg::Plain(json.clone()),
        },
        _ => Arg::Plain(json.clone()),
    }
}

/// A call as Keras 2 writes it: the first argument, each value of which carries the others.
fn old_call(node: &Json, layers: &[Layer]) -> Read<Call> {
    let mut named = IndexMap::new();
    let first = old_arg(node, layers, &mut named)?;
    let first = match first {
        Arg::List(mut list) if list.len() == 1 => list.remove(0),
        first => first,
    };
    Ok(Call { args: vec![first], named })
}

fn old_arg(json: &Json, layers: &[Layer], named: &mut IndexMap<String, Arg>) -> Read<Arg> {
    let list = json.as_array().ok_or("an argument of a call is no list")?;
    let mut others = |list: &[Json]| {
        let Some(Json::Object(map)) = list.get(3) else { return };
        for (name, json) in map {
            named.entry(name.clone()).or_insert_with(|| named_arg(json, layers));
        }
    };
    if let Some(handle) = Handle::read(json) {
        others(list);
        return Ok(Arg::Value(handle));
    }
    if let [Json::String(mark), _, value, ..] = list.as_slice()
        && mark == "_CONSTANT_VALUE"
    {
        others(list);
        return Ok(Arg::Plain(value.clone()));
    }
    list.iter().map(|json| old_arg(json, layers, named)).collect::<Read<_>>().map(Arg::List)
}

/// An argument after the first: a value is told from a list by the name of a layer.
fn named_arg(json: &Json, layers: &[Layer]) -> Arg {
    match (Handle::read(json), json) {
        (Some(handle), _) if layers.iter().any(|layer| layer.name == handle.layer) => Arg::Value(handle),
        (_, Json::Array(list)) => Arg::List(list.iter().map(|json| named_arg(json, layers)).collect()),
        _ => Arg::Plain(json.clone()),
    }
}
