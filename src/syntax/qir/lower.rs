//! From the syntax tree to the graph: names found, numbers read, defaults filled in.
//!
//! What types and operators ask of each other is for `verify` to say; here stands what only the
//! text can get wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{self, Attr as AttrAst, Item, Kind, Literal, LiteralKind, Name, Statement};
use super::data::{self, Files};
use crate::diag::{Loc, Place, Span, WithPlaces, nearest};
use crate::ir::{Attr, AttrKind, Attrs, Graph, Value, ValueId};
use crate::ops::{Default as AttrDefault, OpError, Registry, Schema};
use crate::syntax::error::SyntaxError;
use crate::syntax::findings::Findings;
use crate::tensor::{DType, Grid, Tensor};

/// A name that the text defines: what it stands for (`None` if its definition is broken, which
/// has been reported), and where.
type Defined<T> = (Option<T>, Span);

pub struct Lower<'a, 'p> {
    registry: &'p Registry,
    pub(super) problems: &'p mut Findings,
    pub(super) aliases: BTreeMap<String, Defined<Grid>>,
    data: BTreeMap<String, Defined<Arc<Tensor>>>,
    values: BTreeMap<&'a str, Defined<ValueId>>,
    /// Every value that some statement defines, also those further down.
    all_values: BTreeMap<&'a str, Span>,
    graph: Graph,
}

/// The graph of a file; `None` where it has none. Findings go to `problems`.
pub fn lower<'a>(
    file: &'a ast::File<'a>,
    registry: &Registry,
    files: &mut Files,
    problems: &mut Findings,
    start: Span,
) -> Option<Graph> {
    let mut lower = Lower {
        registry,
        problems,
        aliases: BTreeMap::new(),
        data: BTreeMap::new(),
        values: BTreeMap::new(),
        all_values: BTreeMap::new(),
        graph: Graph::default(),
    };
    if let Some(version) = file.version.as_ref().filter(|version| version.text != "1") {
        lower.problems.push(WithPlaces::new(SyntaxError::Version).at(version.span, ""));
    }
    let mut graphs = Vec::new();
    let mut broken = false;
    for item in &file.items {
        match item {
            Item::Data(datum) => lower.define_data(datum, files),
            Item::Graph(graph) => graphs.push(graph),
            Item::Broken => broken = true,
            Item::Alias { .. } => {}
        }
        if lower.problems.is_full() {
            return None;
        }
    }
    for item in &file.items {
        if let Item::Alias { name, grid } = item {
            let defined = lower.grid(grid);
            let old = lower.aliases.insert(name.text.to_string(), (defined, name.span));
            lower.unique("type", '!', name, old.map(|(_, span)| span));
        }
    }
    match graphs[..] {
        [] if broken => {}
        [] => {
            let fact = "this file has no graph";
            lower.problems.push(WithPlaces::new(SyntaxError::GraphCount { fact }).at(start, ""));
        }
        [graph, ref more @ ..] => {
            for other in more {
                let fact = "a file has one graph";
                let error = WithPlaces::new(SyntaxError::GraphCount { fact });
                lower.problems.push(error.at(other.name.span, "another").at(graph.name.span, "the first"));
            }
            lower.graph(graph);
            return Some(lower.graph);
        }
    }
    None
}

impl<'a> Lower<'a, '_> {
    /// Reports a name that had a meaning before.
    fn unique(&mut self, what: &'static str, sigil: char, name: &Name, old: Option<Span>) {
        if let Some(old) = old {
            let error = SyntaxError::Redefined { what, name: format!("{sigil}{}", name.text) };
            let error = WithPlaces::new(error).at(name.span, "defined again");
            self.problems.push(error.at(old, "first defined here"));
        }
    }

    fn define_data(&mut self, datum: &ast::Data, files: &mut Files) {
        let dtype = match &datum.ty.grid {
            ast::Grid::Plain(name) => self.dtype(name),
            ast::Grid::Alias(_) | ast::Grid::Quantized { .. } => {
                let fact = "data are stored elements: their type has no grid".to_owned();
                self.problems.push(WithPlaces::new(SyntaxError::DataType { fact }).at(datum.ty.span, ""));
                None
            }
        };
        let sizes = self.shape(&datum.ty.dims).and_then(|shape| {
            let sizes = shape.sizes();
            if sizes.is_none() {
                let fact = "the sizes of data are numbers".to_owned();
                self.problems.push(WithPlaces::new(SyntaxError::DataType { fact }).at(datum.ty.span, ""));
            }
            sizes
        });
        let tensor = match (dtype, sizes, &datum.init) {
            (Some(dtype), Some(sizes), Some(init)) => {
                data::tensor(&datum.name, dtype, &sizes, init, files, self.problems)
            }
            _ => None,
        };
        let entry = (tensor.map(Arc::new), datum.name.span);
        let old = self.data.insert(datum.name.text.to_string(), entry);
        self.unique("data", '@', &datum.name, old.map(|(_, span)| span));
    }

    /// The tensor of a data entry; one that does not exist is reported.
    pub(super) fn datum(&mut self, name: &Name) -> Option<Arc<Tensor>> {
        if let Some((tensor, _)) = self.data.get(&*name.text) {
            return tensor.clone();
        }
        let similar = nearest(&name.text, self.data.keys().map(String::as_str));
        let similar = similar.map(|similar| format!("@{similar}"));
        let error = SyntaxError::UnknownData { name: format!("@{}", name.text), similar };
        self.problems.push(WithPlaces::new(error).at(name.span, ""));
        None
    }

    fn graph(&mut self, graph: &'a ast::Graph<'a>) {
        self.graph = Graph::new(graph.name.text.to_string());
        let inputs = graph.signature.iter().flat_map(|signature| &signature.inputs);
        for input in inputs.clone() {
            self.all_values.insert(&input.name.text, input.name.span);
        }
        for statement in &graph.body {
            if let Statement::Define { results, .. } = statement {
                for name in results {
                    self.all_values.entry(&name.text).or_insert(name.span);
                }
            }
        }
        for input in inputs {
            let ty = self.ty(&input.ty.ty);
            let range = input.ty.range.as_ref().and_then(|range| self.range(range));
            let value = ty.filter(|_| self.is_new(&input.name)).map(|ty| {
                let value = self.graph.add_input(&input.name.text, ty, loc(&input.origin, input.name.span));
                self.graph.set_range(value, range);
                self.name_node(value, &input.origin);
                value
            });
            self.define(&input.name, value);
        }
        let mut returned = None;
        let mut whole = true;
        for statement in &graph.body {
            if self.problems.is_full() {
                return;
            }
            match statement {
                Statement::Define { results, node, span } => {
                    if let Some((_, end)) = returned {
                        let fact = "a statement behind `return`".to_owned();
                        let error = WithPlaces::new(SyntaxError::Return { fact }).at(*span, "");
                        self.problems.push(error.at(end, "the graph ends here"));
                    }
                    // Where a node could not be read, what follows may have gone with it.
                    whole &= node.is_some();
                    self.statement(results, node.as_ref(), *span);
                }
                Statement::Return { values, span } => match returned {
                    None => returned = Some((values, *span)),
                    Some((_, first)) => {
                        let fact = "a second `return`".to_owned();
                        let error = WithPlaces::new(SyntaxError::Return { fact }).at(*span, "");
                        self.problems.push(error.at(first, "the first"));
                    }
                },
                Statement::Broken => whole = false,
            }
        }
        match (returned, &graph.signature) {
            (Some((values, span)), Some(signature)) => self.outputs(&signature.outputs, values, span),
            (None, _) if whole => {
                let fact = "a graph ends with `return`".to_owned();
                let end = Span { start: graph.span.end.saturating_sub(1), ..graph.span };
                self.problems.push(WithPlaces::new(SyntaxError::Return { fact }).at(end, ""));
            }
            _ => {}
        }
    }

    fn statement(&mut self, results: &'a [Name<'a>], node: Option<&'a ast::Node<'a>>, span: Span) {
        let values = node.and_then(|node| self.node(results, node, span));
        for (i, name) in results.iter().enumerate() {
            let value = values.as_ref().and_then(|values| values.get(i)).copied();
            self.define(name, value);
        }
    }

    fn node(&mut self, results: &[Name], node: &'a ast::Node<'a>, span: Span) -> Option<Vec<ValueId>> {
        let mut typed = Vec::new();
        for one in &node.types {
            let ty = self.ty(&one.ty);
            let range = one.range.as_ref().map(|range| self.range(range));
            typed.push(match range {
                Some(range) => ty.zip(range).map(|(ty, range)| (ty, Some(range))),
                None => ty.map(|ty| (ty, None)),
            });
        }
        let kind = match &node.kind {
            Kind::Const(name) => self.datum(name).map(|tensor| Made::Const(&name.text, tensor)),
            Kind::Op { op, operands, attrs } => {
                let operands: Vec<_> = operands.iter().map(|name| self.operand(name.as_ref())).collect();
                let attrs = self.attrs(op, attrs);
                let operands: Option<Vec<_>> = operands.into_iter().collect();
                attrs.zip(operands).map(|(attrs, operands)| Made::Op(&op.text, attrs, operands))
            }
        };
        let (names, types) = (results.len(), typed.len());
        if names != types {
            let error = WithPlaces::new(SyntaxError::ResultTypes { names, types });
            let places = results.first().zip(results.last()).zip(node.types.first().zip(node.types.last()));
            self.problems.push(match places {
                Some(((first, last), (first_type, last_type))) => error
                    .at(first.span.to(last.span), format!("{names} names"))
                    .at(first_type.ty.span.to(last_type.ty.span), format!("{types} types")),
                None => error.at(span, ""),
            });
            return None;
        }
        let new: Vec<bool> = results.iter().map(|name| self.is_new(name)).collect();
        let typed: Vec<_> = typed.into_iter().collect::<Option<_>>()?;
        let kind = kind?;
        if new.contains(&false) {
            return None;
        }
        let loc = loc(&node.origin, span);
        let values: Vec<ValueId> = match kind {
            Made::Const(data, tensor) => {
                let mut typed = typed.into_iter();
                let (Some((ty, range)), None) = (typed.next(), typed.next()) else {
                    let error = SyntaxError::ResultTypes { names, types: 1 };
                    self.problems.push(WithPlaces::new(error).at(span, "a constant is one value"));
                    return None;
                };
                let id = self.graph.constants.intern(data, Tensor::clone(&tensor));
                let value = self.graph.add_const_ref(&results.first()?.text, id, loc);
                self.graph.set_type(value, ty);
                self.graph.set_range(value, range);
                vec![value]
            }
            Made::Op(op, attrs, operands) => {
                let values = results
                    .iter()
                    .zip(typed)
                    .map(|(name, (ty, range))| Value { range, ..Value::new(&*name.text, ty) })
                    .collect();
                let node = self.graph.add_op(op, attrs, operands, values, loc);
                (0..).take(names).map(|result| ValueId { node, result }).collect()
            }
        };
        self.name_node(*values.first()?, &node.origin);
        Some(values)
    }

    /// Gives a node the name that it has in model files: the one that is written, or that of the
    /// only place it comes from, or that of its first result.
    fn name_node(&mut self, value: ValueId, origin: &ast::Origin) {
        let name = match (&origin.name, &origin.locs[..]) {
            (Some(name), _) => Some(&name.text),
            (None, [(_, node)]) => Some(&node.text),
            (None, _) => None,
        };
        if let Some(name) = name {
            self.graph.set_node_name(value.node, &**name);
        }
    }

    /// `None` if the operand can't be used; an absent one is `Some(None)`.
    fn operand(&mut self, name: Option<&Name>) -> Option<Option<ValueId>> {
        match name {
            None => Some(None),
            Some(name) => self.value(name).map(Some),
        }
    }

    fn value(&mut self, name: &Name) -> Option<ValueId> {
        if let Some((value, _)) = self.values.get(&*name.text) {
            return *value;
        }
        let place = self.all_values.get(&*name.text).copied();
        let similar = nearest(&name.text, self.values.keys().copied()).map(|similar| format!("%{similar}"));
        let error =
            SyntaxError::UnknownValue { name: format!("%{}", name.text), later: place.is_some(), similar };
        let mut error = WithPlaces::new(error).at(name.span, "");
        if let Some(place) = place {
            error = error.at(place, "defined here");
        }
        self.problems.push(error);
        None
    }

    fn is_new(&self, name: &Name) -> bool {
        !self.values.contains_key(&*name.text)
    }

    fn define(&mut self, name: &'a Name<'a>, value: Option<ValueId>) {
        let old = self.values.get(&*name.text).map(|(_, span)| *span);
        self.unique("value", '%', name, old);
        self.values.entry(&name.text).or_insert((value, name.span));
    }

    fn outputs(&mut self, outputs: &[ast::Param], values: &[Name], span: Span) {
        if outputs.len() != values.len() {
            let fact = format!("{} values returned for {} results", values.len(), outputs.len());
            let mut error = WithPlaces::new(SyntaxError::Return { fact }).at(span, "");
            if let Some((first, last)) = outputs.first().zip(outputs.last()) {
                error = error.at(first.name.span.to(last.ty.ty.span), "declared here");
            }
            self.problems.push(error);
        }
        let mut names: BTreeMap<&str, Span> = BTreeMap::new();
        for (i, output) in outputs.iter().enumerate() {
            let old = names.insert(&output.name.text, output.name.span);
            self.unique("result", '%', &output.name, old);
            let ty = self.ty(&output.ty.ty);
            let (Some(name), Some(ty)) = (values.get(i), ty) else { continue };
            let Some(value) = self.value(name) else { continue };
            if *self.graph.ty(value) != ty {
                let fact = format!("`%{}` is not of the type that the signature declares", name.text);
                let mut error = WithPlaces::new(SyntaxError::Return { fact });
                error = error.at(output.ty.ty.span, "declared here").at(name.span, "returned here");
                if let Some((_, defined)) = self.values.get(&*name.text) {
                    error = error.at(*defined, "defined here");
                }
                self.problems.push(error);
            }
            self.graph.add_output(&*output.name.text, value);
        }
        for name in values.iter().skip(outputs.len()) {
            self.value(name);
        }
    }

    /// The attributes of a node with all defaults; every fault is reported.
    fn attrs(&mut self, op: &Name, written: &[(Name, AttrAst)]) -> Option<Attrs> {
        let schema = match self.registry.get(&op.text) {
            Ok(entry) => &entry.schema,
            Err(error) => {
                self.problems.push(WithPlaces::new(error).at(op.span, ""));
                return None;
            }
        };
        let mut attrs = Attrs::new();
        let mut places: BTreeMap<&str, Span> = BTreeMap::new();
        let mut whole = true;
        for (name, value) in written {
            if let Some(first) = places.insert(&name.text, name.span) {
                let error = SyntaxError::DuplicateAttr { attr: name.text.to_string() };
                self.problems.push(WithPlaces::new(error).at(name.span, "again").at(first, "first"));
                whole = false;
                continue;
            }
            match self.attr(schema, name, value) {
                Some(value) => attrs.set(&name.text, value),
                None => whole = false,
            }
        }
        for spec in &schema.attrs {
            match &spec.default {
                _ if places.contains_key(&*spec.name) => {}
                AttrDefault::Value(value) => attrs.set(&spec.name, value.clone()),
                AttrDefault::Absent => {}
                AttrDefault::Required => {
                    let error = OpError::MissingAttr { op: op.text.to_string(), attr: spec.name.to_string() };
                    self.problems.push(WithPlaces::new(error).at(op.span, ""));
                    whole = false;
                }
            }
        }
        whole.then_some(attrs)
    }

    fn attr(&mut self, schema: &Schema, name: &Name, value: &AttrAst) -> Option<Attr> {
        let op = || schema.name.to_string();
        let Some(spec) = schema.attr_spec(&name.text) else {
            let known = schema.attrs.iter().map(|spec| spec.name.to_string()).collect();
            let error = OpError::UnknownAttr { op: op(), attr: name.text.to_string(), known };
            self.problems.push(WithPlaces::new(error).at(name.span, ""));
            return None;
        };
        let (found, span) = match value {
            AttrAst::List(list, span) => match spec.kind {
                AttrKind::Ints if list.iter().all(is_number) => {
                    return self.numbers::<i64>(list, "an int").map(Attr::from);
                }
                AttrKind::Floats if list.iter().all(is_number) => {
                    return list
                        .iter()
                        .map(|one| self.float(one))
                        .collect::<Option<Vec<_>>>()
                        .map(Attr::from);
                }
                _ => ("list", *span),
            },
            AttrAst::One(literal) => match (spec.kind, words(literal)) {
                (AttrKind::Bool, "bool") => return Some(Attr::Bool(literal.text == "true")),
                (AttrKind::DType, "dtype") => return literal.text.parse().ok().map(Attr::DType),
                (AttrKind::Str, "string") => return Some(Attr::from(&*literal.text)),
                (AttrKind::Int, "int") => return self.number::<i64>(literal, "an int").map(Attr::Int),
                (AttrKind::Float, "int" | "float") => return self.float(literal).map(Attr::Float),
                (_, words) => (words, literal.span),
            },
        };
        let expected = spec.kind.name();
        let error = OpError::AttrKind { op: op(), attr: name.text.to_string(), expected, found };
        self.problems.push(WithPlaces::new(error).at(span, ""));
        None
    }

    /// A float of an attribute, which is never NaN.
    fn float(&mut self, literal: &Literal) -> Option<f32> {
        let value = self.number::<f32>(literal, "a float")?;
        if value.is_nan() {
            self.problems.push(data::wrong(literal, "a float that attributes can have", None));
            return None;
        }
        Some(value)
    }
}

/// A node about to be made.
enum Made<'a> {
    Const(&'a str, Arc<Tensor>),
    Op(&'a str, Attrs, Vec<Option<ValueId>>),
}

fn is_number(literal: &Literal) -> bool {
    matches!(words(literal), "int" | "float")
}

/// What a literal looks like.
fn words(literal: &Literal) -> &'static str {
    match (literal.kind, &*literal.text) {
        (LiteralKind::Str, _) => "string",
        (LiteralKind::Word, "true" | "false") => "bool",
        (LiteralKind::Word, "inf") => "float",
        (LiteralKind::Word, text) if text.parse::<DType>().is_ok() => "dtype",
        (LiteralKind::Word, _) => "word",
        (LiteralKind::Number, text) if text.contains(['.', 'e', 'E', 'n']) => "float",
        (LiteralKind::Number, _) => "int",
    }
}

/// Where a node stands in the text and came from before.
fn loc(origin: &ast::Origin, span: Span) -> Loc {
    let nodes = origin
        .locs
        .iter()
        .map(|(file, node)| Loc::from(Place::Node { file: (*file.text).into(), node: (*node.text).into() }));
    Loc::merged(&nodes.chain([Loc::from(span)]).collect::<Vec<_>>())
}
