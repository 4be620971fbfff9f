//! Graphs as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use safetensors::tensor::{SafeTensorError, TensorView, serialize};

use super::data::{hex, stored_as};
use crate::diag::Loc;
use crate::ir::{Attr, Graph, Kind, Node, Range, Value, ValueId};
use crate::ops::{Default as AttrDefault, Registry};
use crate::syntax::text::{Number, is_word, name, quoted};
use crate::tensor::{Dim, Direction, Element, Grid, Shape, Tensor, TensorType, dispatch};

/// Data of at most so many elements stand in the text.
const INLINE: usize = 16;
/// Grids of at most so many entries stand in the type.
const INLINE_GRID: usize = 4;

/// A printed graph: the text, and the tensors that it takes from its data file, sorted by name.
#[derive(Clone, Debug)]
pub struct Text {
    pub qir: String,
    pub tensors: BTreeMap<String, Arc<Tensor>>,
}

impl Text {
    /// The content of the data file; `None` if the text needs none. The same tensors give the
    /// same bytes.
    ///
    /// # Errors
    /// Those of the format's writer, for more data than it can hold.
    pub fn safetensors(&self) -> Result<Option<Vec<u8>>, SafeTensorError> {
        if self.tensors.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<_> = self.tensors.iter().map(|(name, t)| (name, t, t.to_le_bytes())).collect();
        let views = bytes
            .iter()
            .map(|(name, tensor, bytes)| {
                let view = TensorView::new(stored_as(tensor.dtype()), tensor.sizes().to_vec(), bytes)?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<Vec<_>, SafeTensorError>>()?;
        serialize(views, None).map(Some)
    }
}

/// Prints a graph that `verify` accepts; `data_file` is the path, relative to the text, of the
/// file that will hold the large tensors.
///
/// Reading the text back gives a graph that is [`Graph::same_as`] this one, and prints the same.
/// Of another graph the text shows all that there is, but it may not read back.
pub fn print(graph: &Graph, registry: &Registry, data_file: &str) -> Text {
    print_with(graph, registry, Some(data_file))
}

/// [`print`] with the large tensors in the text, which then needs no other file.
pub fn print_whole(graph: &Graph, registry: &Registry) -> String {
    print_with(graph, registry, None).qir
}

fn print_with(graph: &Graph, registry: &Registry, data_file: Option<&str>) -> Text {
    let mut printer = Printer { graph, registry, data: BTreeMap::new(), order: Vec::new() };
    let order = graph.order();
    // The names of constants are taken before any that is made up.
    for &id in &order {
        if let Kind::Const(constant) = graph.node(id).kind {
            let name = graph.constants.name(constant).to_owned();
            printer.add(name, graph.constants.tensor(constant).clone());
        }
    }
    let inputs: Vec<String> = graph.inputs().map(|input| printer.param(input)).collect();
    let mut body = String::new();
    for &id in &order {
        let node = graph.node(id);
        if !matches!(node.kind, Kind::Input) {
            body.push_str(&printer.statement(node));
            body.push('\n');
        }
    }
    let outputs: Vec<String> = graph
        .outputs()
        .iter()
        .map(|output| {
            let ty = printer.ty(&graph.value(output.value).name, graph.ty(output.value));
            format!("{}: {ty}", name('%', &output.name))
        })
        .collect();
    let returned: Vec<String> =
        graph.outputs().iter().map(|output| name('%', &graph.value(output.value).name)).collect();

    let mut raw = format!(
        "qir 1\n\ngraph {}({}) -> ({}) {{\n{body}return {}\n}}\n\n",
        name('@', &graph.name),
        inputs.join(", "),
        outputs.join(", "),
        returned.join(", "),
    );
    let mut tensors = BTreeMap::new();
    for data in printer.order {
        let Some(tensor) = printer.data.remove(&data) else { continue };
        let ty = tensor.tensor_type();
        // Writing to a String does not fail.
        let _ = write!(raw, "data {} : {}{} = ", name('@', &data), tensor.dtype(), shape(&ty.shape));
        match data_file {
            Some(file) if tensor.len() > INLINE => {
                let stored = stored_name(&data);
                let (file, key) = (quoted(file), quoted(&stored));
                let _ = writeln!(raw, "file {file} {key} sha256 \"{}\"", hex(&tensor.sha256()));
                tensors.insert(stored, tensor);
            }
            _ => {
                let _ = writeln!(raw, "[{}]", elements(&tensor).join(", "));
            }
        }
    }
    Text { qir: super::lay_out(&raw), tensors }
}

/// The key of the format's own metadata is no tensor's name; what begins like it gets longer, so
/// different names stay different.
fn stored_name(data: &str) -> String {
    if data.starts_with("__metadata__") { format!("__metadata___{data}") } else { data.to_owned() }
}

struct Printer<'g> {
    graph: &'g Graph,
    registry: &'g Registry,
    data: BTreeMap<String, Arc<Tensor>>,
    /// Names of the data as they came up.
    order: Vec<String>,
}

impl Printer<'_> {
    fn add(&mut self, name: String, tensor: Arc<Tensor>) {
        if !self.data.contains_key(&name) {
            self.order.push(name.clone());
            self.data.insert(name, tensor);
        }
    }

    /// A reference to a tensor that is not a constant of the graph, under `wish` or that name
    /// with the first suffix that is free.
    fn reference(&mut self, wish: &str, tensor: Tensor) -> String {
        let names = std::iter::once(wish.to_owned()).chain((1u64..).map(|i| format!("{wish}_{i}")));
        for data in names {
            match self.data.get(&data) {
                None => {
                    let reference = name('@', &data);
                    self.add(data, Arc::new(tensor));
                    return reference;
                }
                Some(other)
                    if other.tensor_type() == tensor.tensor_type()
                        && other.to_le_bytes() == tensor.to_le_bytes() =>
                {
                    return name('@', &data);
                }
                Some(_) => {}
            }
        }
        // Names are finite, the candidates are not.
        String::new()
    }

    fn param(&mut self, id: ValueId) -> String {
        let value = self.graph.value(id);
        let node = self.graph.node(id.node);
        format!("{}: {}{}", name('%', &value.name), self.typed(value), origin(node))
    }

    fn statement(&mut self, node: &Node) -> String {
        let names: Vec<String> = node.results.iter().map(|value| name('%', &value.name)).collect();
        let mut out = format!("{} = ", names.join(", "));
        match &node.kind {
            // An input is no statement.
            Kind::Input => {}
            Kind::Const(constant) => {
                out.push_str("const ");
                out.push_str(&name('@', self.graph.constants.name(*constant)));
            }
            Kind::Op { op, attrs } => {
                out.push_str(op);
                for (i, operand) in node.operands.iter().enumerate() {
                    out.push_str(if i == 0 { " " } else { ", " });
                    match operand {
                        Some(value) => out.push_str(&name('%', &self.graph.value(*value).name)),
                        None => out.push('_'),
                    }
                }
                let schema = self.registry.find(op).map(|entry| &entry.schema);
                let written: Vec<String> = attrs
                    .iter()
                    .filter(|(name, value)| {
                        let spec = schema.and_then(|schema| schema.attr_spec(name));
                        !spec.is_some_and(|spec| spec.default == AttrDefault::Value((*value).clone()))
                    })
                    .map(|(name, value)| format!("{name} = {}", attr(value)))
                    .collect();
                if !written.is_empty() {
                    out.push_str(&format!(" {{{}}}", written.join(", ")));
                }
            }
        }
        let types: Vec<String> = node.results.iter().map(|value| self.typed(value)).collect();
        out.push_str(" : ");
        out.push_str(&types.join(", "));
        out.push_str(&origin(node));
        out
    }

    fn typed(&mut self, value: &Value) -> String {
        let ty = self.ty(&value.name, &value.ty);
        match &value.range {
            None => ty,
            Some(Range { lowest, highest }) => match (&lowest[..], &highest[..]) {
                ([lowest], [highest]) => format!("{ty} in [{}, {}]", lowest.write(), highest.write()),
                _ => {
                    let both: Vec<f32> = lowest.iter().chain(highest.iter()).copied().collect();
                    // The list is flat if the ends differ in number, which `verify` refuses.
                    let tensor = Tensor::new(&[2, lowest.len()], both.clone())
                        .filter(|_| lowest.len() == highest.len())
                        .unwrap_or_else(|| Tensor::vector(both));
                    format!("{ty} in {}", self.reference(&format!("{}.range", value.name), tensor))
                }
            },
        }
    }

    fn ty(&mut self, value: &str, ty: &TensorType) -> String {
        let grid = match &ty.grid {
            Grid::Plain(dtype) => dtype.to_string(),
            Grid::Affine(affine) => {
                let mut out = format!("q<{}", affine.storage);
                if let Some(axis) = affine.axis {
                    out.push_str(&format!(", axis {axis}"));
                }
                let word = match affine.direction {
                    Direction::RealPerInteger => "scale",
                    Direction::IntegerPerReal => "inv_scale",
                };
                let factors = self.list(&format!("{value}.{word}"), &affine.factors);
                out.push_str(&format!(", {word} {factors}"));
                if affine.zeros[..] != [0] {
                    out.push_str(&format!(", zero {}", self.list(&format!("{value}.zero"), &affine.zeros)));
                }
                out.push('>');
                out
            }
            Grid::Fixed(fixed) => {
                let mut out = format!("q<{}", fixed.storage);
                if let Some(axis) = fixed.axis {
                    out.push_str(&format!(", axis {axis}"));
                }
                let frac = self.list(&format!("{value}.frac"), &fixed.frac_bits);
                out.push_str(&format!(", bits {}, frac {frac}", fixed.value_bits));
                if let Some(scales) = &fixed.scales {
                    out.push_str(&format!(", scale {}", self.list(&format!("{value}.scale"), scales)));
                }
                out.push('>');
                out
            }
        };
        format!("{grid}{}", shape(&ty.shape))
    }

    fn list<T: Number + Element>(&mut self, wish: &str, entries: &[T]) -> String {
        match entries {
            [one] => one.write(),
            few if few.len() <= INLINE_GRID => {
                format!("[{}]", few.iter().map(Number::write).collect::<Vec<_>>().join(", "))
            }
            many => self.reference(wish, Tensor::vector(many.to_vec())),
        }
    }
}

fn shape(shape: &Shape) -> String {
    let dims: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbol(symbol) if is_word(symbol) => symbol.to_string(),
            Dim::Symbol(symbol) => quoted(symbol),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

/// Name and places in model files, as far as reading would not infer the name.
fn origin(node: &Node) -> String {
    let mut out = String::new();
    if *node.name != *inferred_name(&node.loc, node) {
        out.push_str(&format!(" name {}", quoted(&node.name)));
    }
    for (file, place) in node.loc.nodes() {
        out.push_str(&format!(" loc({}, {})", quoted(file), quoted(place)));
    }
    out
}

/// That of the only place a node comes from, else that of its first result.
fn inferred_name(loc: &Loc, node: &Node) -> String {
    let mut places = loc.nodes();
    match (places.next(), places.next()) {
        (Some((_, place)), None) => place.to_owned(),
        _ => node.results.first().map(|value| value.name.to_string()).unwrap_or_default(),
    }
}

pub fn attr(value: &Attr) -> String {
    fn list<T: Number>(values: &[T]) -> String {
        format!("[{}]", values.iter().map(Number::write).collect::<Vec<_>>().join(", "))
    }
    match value {
        Attr::Bool(v) => v.to_string(),
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => v.write(),
        Attr::Str(v) => quoted(v),
        Attr::DType(v) => v.to_string(),
        Attr::Ints(v) => list(v),
        Attr::Floats(v) => list(v),
    }
}

fn elements(tensor: &Tensor) -> Vec<String> {
    dispatch!(tensor, array => array.iter().map(Number::write).collect())
}
