//! `layer` items: from the syntax tree to declarations that are operators.

use std::sync::Arc;

use super::super::declared::{Clause, Computation, Declared, Form, Given, Named, Param, Section, Term};
use super::super::error::{LayerFault, RewriteError};
use super::super::expr::{Data, Expr, Kind};
use super::super::rule::{Slot, Template};
use super::Checker;
use super::pattern::kind_of;
use super::scope::{Meaning, Scope};
use crate::diag::{Diagnostics, Severity, Span};
use crate::ir::{Attr, AttrKind};
use crate::ops::layer::standard;
use crate::ops::{AttrSpec, BRAINCHIP, Default as AttrDefault, Registry};
use crate::syntax::rules::ast;
use crate::tensor::DType;

/// The kinds of attributes, as declarations write them.
const KINDS: [(&str, AttrKind); 7] = [
    ("bool", AttrKind::Bool),
    ("int", AttrKind::Int),
    ("float", AttrKind::Float),
    ("string", AttrKind::Str),
    ("dtype", AttrKind::DType),
    ("ints", AttrKind::Ints),
    ("floats", AttrKind::Floats),
];

/// Names that the parameter computation has without saying so.
const RANGE: &str = "range";
const FEEDS_ADD: &str = "feeds_add";

/// The attribute of model files that holds the grid of the result.
const SCALE: &str = "scale";

/// Checks a declaration. `file` and `text` are the rule file that it stands in.
///
/// # Errors
/// Everything that is wrong with it; warnings come with the declaration.
pub fn layer(
    layer: &ast::Layer,
    registry: &Registry,
    file: &str,
    text: &str,
) -> (Option<Declared>, Diagnostics) {
    let checker = Checker { registry: standard(), fusions: &[], findings: Diagnostics::default() };
    let mut check = LayerCheck { checker, registry, layer, text, unread: None };
    let declared = check.declared(file);
    let findings = check.checker.findings;
    let failed = findings.0.iter().any(|finding| finding.severity == Severity::Error);
    (declared.filter(|_| !failed), findings)
}

struct LayerCheck<'a> {
    /// Of bodies, which are made of built-in operators.
    checker: Checker<'a>,
    /// All operators so far.
    registry: &'a Registry,
    layer: &'a ast::Layer,
    text: &'a str,
    /// Attributes that no section so far has read.
    unread: Option<Vec<Arc<str>>>,
}

/// The members of a layer, each at most once but attributes.
#[derive(Default)]
struct Members<'a> {
    onnx: Option<&'a ast::Onnx>,
    attrs: Vec<&'a ast::LayerAttr>,
    cost: Option<&'a Vec<(ast::Name, ast::Expr)>>,
    float: Option<&'a ast::Form>,
    params: Option<&'a ast::Params>,
    integer: Option<&'a ast::Form>,
}

/// What a section has before its first clause.
struct Name<'a> {
    name: &'a ast::Name,
    meaning: Meaning,
    given: Given,
    /// Whether it is no fault that the section does not read it.
    free: bool,
}

/// A section under construction.
struct Open {
    scope: Scope,
    given: Vec<Given>,
    clauses: Vec<Clause>,
    params: Vec<Param>,
    /// What a section that computes with constants names.
    named: Vec<Named>,
    /// The section computes with constants, not with values of the graph.
    constants: bool,
}

impl<'a> LayerCheck<'a> {
    fn fault(&mut self, fault: LayerFault, message: String, hint: &str, span: Span) {
        let error = RewriteError::Layer { fault, message, hint: hint.to_owned() };
        self.checker.error(error, span, "");
    }

    fn members(&mut self) -> Members<'a> {
        let mut members = Members::default();
        for member in &self.layer.members {
            let again = match member {
                ast::LayerMember::Onnx(onnx) => {
                    members.onnx.replace(onnx).map(|_| ("onnx", onnx.domain.span))
                }
                ast::LayerMember::Attr(attr) => {
                    members.attrs.push(attr);
                    None
                }
                ast::LayerMember::Cost(cost) => {
                    let span = cost.first().map_or(self.layer.name.span, |(name, _)| name.span);
                    members.cost.replace(cost).map(|_| ("cost", span))
                }
                ast::LayerMember::Float(form) => members.float.replace(form).map(|_| ("float", form.span)),
                ast::LayerMember::Params(params) => {
                    members.params.replace(params).map(|_| ("params", params.span))
                }
                ast::LayerMember::Integer(form) => {
                    members.integer.replace(form).map(|_| ("integer", form.span))
                }
            };
            if let Some((member, span)) = again {
                let error = RewriteError::Duplicate { what: "member", name: member.to_owned() };
                self.checker.error(error, span, "");
            }
        }
        let missing = [
            (
                members.onnx.is_none(),
                "onnx",
                "name the domain of its nodes and its version: `onnx \"com.acme\" 1`",
            ),
            (
                members.float.is_none(),
                "float",
                "say what it means over the reals: `float (x, w: constant) { => dense(x, w) }`",
            ),
            (
                members.params.is_none(),
                "params",
                "say how its parameters come about: `params { w8: i8 = … => i8 {scale = …} }`",
            ),
            (
                members.integer.is_none(),
                "integer",
                "say what the device computes: `integer (x: i8) { => … }`",
            ),
        ];
        for (_, member, hint) in missing.iter().filter(|(missing, ..)| *missing) {
            let message = format!("layer `{}` has no `{member}`", self.layer.name.text);
            self.fault(LayerFault::Missing, message, hint, self.layer.name.span);
        }
        members
    }

    fn declared(&mut self, file: &str) -> Option<Declared> {
        let name = &self.layer.name;
        if self.registry.find(&name.text).is_some() {
            let message = format!("there is an operator `{}` already", name.text);
            self.fault(LayerFault::Name, message, "give the layer a name of its own", name.span);
        }
        let members = self.members();
        let onnx = members.onnx.and_then(|onnx| self.onnx(onnx));
        let attrs: Vec<(&ast::LayerAttr, AttrSpec)> =
            members.attrs.iter().filter_map(|attr| Some((*attr, self.attr(attr)?))).collect();
        let (float, params, integer) = (members.float?, members.params?, members.integer?);

        let (inputs, constants) = self.float_operands(float);
        let storages = self.integer_operands(integer, &inputs);
        let attr_names: Vec<Name> = attrs
            .iter()
            .map(|(attr, spec)| Name {
                name: &attr.name,
                meaning: Meaning::Data(kind_of(spec.kind)),
                given: Given::Attr(attr.name.text.clone()),
                free: true,
            })
            .collect();
        let operand = |position: usize, operand: &'a ast::LayerOperand, free: bool| Name {
            name: &operand.name,
            meaning: Meaning::Value(operand.optional),
            given: Given::Operand(position),
            free,
        };
        let all = || inputs.iter().chain(&constants).enumerate();

        let mut open = self.open(all().map(|(at, it)| operand(at, it, false)), &attr_names, false);
        self.clauses(&float.clauses, &mut open);
        let float_result = self.result(&float.result, &mut open);
        let float_section = self.close(open);

        let reserved = |text: &str| ast::Name { text: text.into(), span: params.span };
        let (range, feeds_add) = (reserved(RANGE), reserved(FEEDS_ADD));
        let extra = [
            Name { name: &range, meaning: Meaning::Data(Kind::Tensor), given: Given::Range, free: true },
            Name { name: &feeds_add, meaning: Meaning::Data(Kind::Bool), given: Given::FeedsAdd, free: true },
        ];
        let names = all().map(|(at, it)| operand(at, it, at < inputs.len())).chain(extra);
        let mut open = self.open(names, &attr_names, true);
        self.clauses(&params.clauses, &mut open);
        let grid = self.grid(params, &mut open);
        let (made, named) = (std::mem::take(&mut open.params), std::mem::take(&mut open.named));
        let computation = self.close(open);

        let first = inputs.len() + constants.len();
        let spans: Vec<ast::Name> = params
            .clauses
            .iter()
            .filter_map(|clause| match clause {
                ast::LayerClause::Param { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect();
        let names = inputs.iter().enumerate().map(|(at, it)| operand(at, it, false));
        let names: Vec<Name> = names
            .chain(made.iter().enumerate().filter_map(|(at, param)| {
                let name = spans.iter().find(|name| name.text == param.name)?;
                let (meaning, given) = (Meaning::Value(false), Given::Operand(first + at));
                Some(Name { name, meaning, given, free: false })
            }))
            .collect();
        let mut open = self.open(names.into_iter(), &attr_names, false);
        self.clauses(&integer.clauses, &mut open);
        let integer_result = self.result(&integer.result, &mut open);
        let integer_section = self.close(open);

        let names = all().map(|(at, it)| operand(at, it, true));
        let (layers, macs) = self.cost(members.cost, names, &attr_names);
        for attr in self.unread.take().unwrap_or_default() {
            let span = members.attrs.iter().find(|it| it.name.text == attr).map(|it| it.name.span);
            self.checker.warning(RewriteError::Unused { name: attr.to_string() }, span.unwrap_or(name.span));
        }
        let (domain, opset, op_type) = onnx?;
        let (storage, scale) = grid?;
        Some(Declared {
            name: name.text.clone(),
            span: name.span,
            doc: self.layer.docs.clone(),
            file: file.into(),
            domain,
            opset,
            op_type,
            attrs: attrs.into_iter().map(|(_, spec)| spec).collect(),
            inputs: inputs
                .iter()
                .zip(storages?)
                .map(|(it, storage)| (it.name.text.clone(), storage))
                .collect(),
            constants: constants.iter().map(|it| (it.name.text.clone(), it.optional)).collect(),
            params: made,
            float: Form { section: float_section, result: float_result?, span: float.result.span },
            integer: Form { section: integer_section, result: integer_result?, span: integer.result.span },
            computation: Computation { section: computation, storage, scale, named },
            layers,
            macs,
        })
    }

    fn onnx(&mut self, onnx: &ast::Onnx) -> Option<(Arc<str>, i64, Arc<str>)> {
        let domain = &onnx.domain;
        if domain.text.is_empty() || domain.text.starts_with("ai.onnx") || *domain.text == *BRAINCHIP {
            let message = format!("domain `{}` has its operators already", domain.text);
            self.fault(
                LayerFault::Onnx,
                message,
                "choose a domain of your own, as \"com.acme\"",
                domain.span,
            );
            return None;
        }
        let Some(opset) = onnx.opset.read::<i64>().filter(|&opset| opset > 0) else {
            let message =
                format!("the version of a domain is a whole number from 1 on, not {}", onnx.opset.text);
            self.fault(LayerFault::Onnx, message, "write `onnx \"com.acme\" 1`", onnx.opset.span);
            return None;
        };
        if let Some(other) = self.registry.opset(&domain.text).filter(|&other| other != opset) {
            let message = format!("another layer has domain `{}` in version {other}", domain.text);
            let hint = "a model file imports one version of a domain: give all layers of it the same";
            self.fault(LayerFault::Onnx, message, hint, onnx.opset.span);
        }
        let op_type = onnx.op_type.as_ref().unwrap_or(&self.layer.name);
        if self.registry.lift(&domain.text, &op_type.text).is_some() {
            let message = format!("another layer is called `{}` in domain `{}`", op_type.text, domain.text);
            self.fault(LayerFault::Onnx, message, "name it otherwise: `onnx … as \"Name\"`", op_type.span);
        }
        if op_type.text.is_empty() {
            let hint = "name what its nodes are called, or leave `as` out";
            self.fault(LayerFault::Onnx, "an op_type without letters".to_owned(), hint, op_type.span);
        }
        Some((domain.text.clone(), opset, op_type.text.clone()))
    }

    fn attr(&mut self, attr: &ast::LayerAttr) -> Option<AttrSpec> {
        let same = |other: &&ast::LayerMember| matches!(other, ast::LayerMember::Attr(other) if other.name.text == attr.name.text);
        let first = self.layer.members.iter().find(same);
        if !matches!(first, Some(ast::LayerMember::Attr(first)) if std::ptr::eq(first, attr)) {
            let error = RewriteError::Duplicate { what: "attribute", name: attr.name.text.to_string() };
            self.checker.error(error, attr.name.span, "");
            return None;
        }
        if &*attr.name.text == SCALE {
            let message = "the attribute `scale` of model files holds the grid of the result".to_owned();
            self.fault(LayerFault::Attr, message, "call the attribute otherwise", attr.name.span);
        }
        let Some((_, kind)) = KINDS.iter().find(|(word, _)| *word == &*attr.kind.text) else {
            let words: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
            let message = format!("there are no attributes of kind `{}`", attr.kind.text);
            let hint = format!("kinds are: {}", words.join(", "));
            self.fault(LayerFault::Attr, message, &hint, attr.kind.span);
            return None;
        };
        let default = match &attr.default {
            None => AttrDefault::Required,
            Some(expr) => {
                let expected = kind_of(*kind);
                let mut scope = Scope::default();
                let (term, found) = self.checker.expr(expr, Some(expected), &mut scope)?;
                let value = match term.eval(&Nothing, standard()) {
                    Some(Data::Attr(Attr::Int(v))) if *kind == AttrKind::Float => Some(Attr::Float(v as f32)),
                    Some(Data::Attr(value)) if value.kind() == *kind => Some(value),
                    _ => None,
                };
                let Some(value) = value else {
                    self.checker.mismatch(expected.name(), found.name(), expr.span);
                    return None;
                };
                AttrDefault::Value(value)
            }
        };
        Some(AttrSpec { name: attr.name.text.to_string().into(), kind: *kind, default })
    }

    /// The operands of the float form that stay, and its constants.
    fn float_operands(
        &mut self,
        form: &'a ast::Form,
    ) -> (Vec<&'a ast::LayerOperand>, Vec<&'a ast::LayerOperand>) {
        let mut inputs: Vec<&ast::LayerOperand> = Vec::new();
        let mut constants: Vec<&ast::LayerOperand> = Vec::new();
        for operand in &form.operands {
            let name = &operand.name.text;
            if inputs.iter().chain(&constants).any(|other| other.name.text == *name) {
                let error = RewriteError::Duplicate { what: "operand", name: name.to_string() };
                self.checker.error(error, operand.name.span, "");
            }
            match &operand.kind {
                Some(kind) if &*kind.text == "constant" => {
                    constants.push(operand);
                    continue;
                }
                Some(kind) => {
                    let message = format!("an operand of the float form is no `{}`", kind.text);
                    let hint =
                        "write `name: constant` for what becomes parameters, and `name` for the others";
                    self.fault(LayerFault::Operand, message, hint, kind.span);
                }
                None if operand.optional => {
                    let message = format!("operand `{name}` may be absent, and is no constant");
                    let hint = "only constants may be absent: they are gone in the integer form";
                    self.fault(LayerFault::Operand, message, hint, operand.name.span);
                }
                None if !constants.is_empty() => {
                    let message = format!("operand `{name}` stands behind a constant");
                    let hint = "list the operands that both forms have first";
                    self.fault(LayerFault::Operand, message, hint, operand.name.span);
                }
                None => {}
            }
            inputs.push(operand);
        }
        if inputs.is_empty() {
            let message = "a layer without an operand that both forms have".to_owned();
            let hint = "its first operand is a value of the network: `float (x, w: constant)`";
            self.fault(LayerFault::Operand, message, hint, form.span);
        }
        (inputs, constants)
    }

    /// What the integer form has the operands that stay stored as.
    fn integer_operands(&mut self, form: &ast::Form, inputs: &[&ast::LayerOperand]) -> Option<Vec<DType>> {
        let names: Vec<&str> = inputs.iter().map(|operand| &*operand.name.text).collect();
        let found: Vec<&str> = form.operands.iter().map(|operand| &*operand.name.text).collect();
        if names != found {
            let message = format!(
                "the integer form has operands ({}), the float form those ({})",
                found.join(", "),
                names.join(", ")
            );
            let hint = "list the operands of the float form that are no constants, with their storages; what \
                        `params` makes is known by name";
            self.fault(LayerFault::Operand, message, hint, form.span);
            return None;
        }
        form.operands
            .iter()
            .map(|operand| {
                let Some(kind) = &operand.kind else {
                    let message = format!("nothing says what `{}` is stored as", operand.name.text);
                    let hint = format!("write `{}: i8`", operand.name.text);
                    self.fault(LayerFault::Operand, message, &hint, operand.name.span);
                    return None;
                };
                self.storage(kind, true)
            })
            .collect()
    }

    /// A storage type; with `integer` one that grids have.
    fn storage(&mut self, name: &ast::Name, integer: bool) -> Option<DType> {
        let found = name.text.parse::<DType>().ok();
        let fits = found.filter(|dtype| !integer || dtype.integer_range().is_some());
        if fits.is_none() {
            let message = format!(
                "`{}` is not {}",
                name.text,
                if integer { "an integer storage type" } else { "a storage type" }
            );
            let hint = "storage types are i8, u8, i16, u16, i32, u32, i64, u64, and f32, f64, bool";
            self.fault(LayerFault::Storage, message, hint, name.span);
        }
        fits
    }

    /// A section that knows these names.
    fn open<'n>(&mut self, names: impl Iterator<Item = Name<'n>>, attrs: &[Name], constants: bool) -> Open {
        let (scope, given) = (Scope::default(), Vec::new());
        let mut open =
            Open { scope, given, clauses: Vec::new(), params: Vec::new(), named: Vec::new(), constants };
        for Name { name, meaning, given, free } in names {
            self.give(name, meaning, given, free, &mut open);
        }
        for Name { name, meaning, given, free } in attrs {
            self.give(name, meaning.clone(), given.clone(), *free, &mut open);
        }
        open
    }

    fn give(&mut self, name: &ast::Name, meaning: Meaning, given: Given, free: bool, open: &mut Open) {
        let attr = matches!(given, Given::Attr(_));
        let slot = self.checker.bind_new(&mut open.scope, name, meaning, 0);
        open.given.push(given);
        // Attributes are counted over all sections.
        if free && !attr {
            open.scope.read(slot);
        }
    }

    fn close(&mut self, open: Open) -> Section {
        let attrs: Vec<Arc<str>> = open
            .given
            .iter()
            .filter_map(|given| match given {
                Given::Attr(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let unread = open.scope.unread();
        let failed = self.checker.findings.0.iter().any(|finding| finding.severity == Severity::Error);
        for (name, span) in unread.iter().filter(|(name, _)| !failed && !attrs.contains(name)) {
            self.checker.warning(RewriteError::Unused { name: name.to_string() }, *span);
        }
        let before = self.unread.take().unwrap_or(attrs);
        let still = |name: &Arc<str>| unread.iter().any(|(other, _)| other == name);
        self.unread = Some(before.into_iter().filter(still).collect());
        Section { given: open.given, slots: open.scope.names().len(), clauses: open.clauses }
    }

    fn clauses(&mut self, clauses: &[ast::LayerClause], open: &mut Open) {
        for clause in clauses {
            match clause {
                ast::LayerClause::Condition(expr) => self.condition(expr, open),
                ast::LayerClause::Let(name, expr) => self.binding(name, expr, open),
                ast::LayerClause::Param { name, .. } if !open.constants => {
                    let message =
                        format!("`{}` is declared where nothing is computed before it runs", name.text);
                    let hint = "parameters are computed in `params`; here write `let name = …`";
                    self.fault(LayerFault::Body, message, hint, name.span);
                }
                ast::LayerClause::Param { name, storage, value } => {
                    let storage = self.storage(storage, false);
                    let template = self.template(value, open);
                    let meaning = Meaning::Data(Kind::Tensor);
                    let slot = self.checker.bind_new(&mut open.scope, name, meaning, 0);
                    open.scope.read(slot);
                    if let (Some(storage), Some(template)) = (storage, template) {
                        open.clauses.push(Clause::Let(slot, Term::Made(template)));
                        self.named(&name.text, Some(slot), value, open);
                        open.params.push(Param { name: name.text.clone(), storage, slot });
                    }
                }
            }
        }
    }

    fn condition(&mut self, expr: &ast::Expr, open: &mut Open) {
        if let ast::ExprKind::Binary(ast::Binary::And, a, b) = &expr.kind {
            self.condition(a, open);
            return self.condition(b, open);
        }
        let Some((term, kind)) = self.checker.expr(expr, Some(Kind::Bool), &mut open.scope) else { return };
        if kind != Kind::Bool {
            return self.checker.mismatch("a condition", kind.name(), expr.span);
        }
        self.known(&term, expr.span, open);
        open.clauses.push(Clause::Holds(term, self.words(expr)));
    }

    /// An expression as it is written, on one line.
    fn words(&self, expr: &ast::Expr) -> Arc<str> {
        let text = self.text.get(expr.span.range()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ").into()
    }

    fn named(&self, name: &Arc<str>, slot: Option<Slot>, expr: &ast::Expr, open: &mut Open) {
        let (name, text, span) = (name.clone(), self.words(expr), expr.span);
        open.named.push(Named { name, slot, text, span });
    }

    fn binding(&mut self, name: &ast::Name, expr: &ast::Expr, open: &mut Open) {
        let (term, meaning) = if self.checker.is_value(expr, &open.scope) {
            let template = self.template(expr, open);
            let meaning = match &template {
                // Another name of it.
                Some(Template::Slot(slot)) => open.scope.get(*slot).map(|variable| variable.meaning.clone()),
                _ if open.constants => Some(Meaning::Data(Kind::Tensor)),
                _ => Some(Meaning::Value(false)),
            };
            (template.map(Term::Made), meaning)
        } else {
            let typed = self.checker.expr(expr, None, &mut open.scope);
            if let Some((term, _)) = &typed {
                self.known(term, expr.span, open);
            }
            let meaning = typed.as_ref().map(|(_, kind)| Meaning::Data(*kind));
            (typed.map(|(term, _)| Term::Data(term)), meaning)
        };
        // What failed was said; the name is known all the same.
        let meaning = meaning.unwrap_or(Meaning::Value(false));
        let slot = self.checker.bind_new(&mut open.scope, name, meaning, 0);
        if open.constants && term.is_some() {
            self.named(&name.text, Some(slot), expr, open);
        }
        open.clauses.extend(term.map(|term| Clause::Let(slot, term)));
    }

    /// The result of a form, which operators make.
    fn result(&mut self, expr: &ast::Expr, open: &mut Open) -> Option<Template> {
        let template = self.template(expr, open)?;
        let made = match &template {
            Template::Op(_) => true,
            Template::Slot(slot) => {
                let made = |clause: &Clause| matches!(clause, Clause::Let(other, Term::Made(Template::Op(_))) if other == slot);
                open.clauses.iter().any(made)
            }
            Template::Absent | Template::Tensor(_) | Template::More(_) => false,
        };
        if !made {
            let hint = "the result of a form is what an operator makes";
            self.fault(LayerFault::Body, "a form that computes nothing".to_owned(), hint, expr.span);
            return None;
        }
        Some(template)
    }

    fn grid(&mut self, params: &ast::Params, open: &mut Open) -> Option<(DType, Template)> {
        let storage = self.storage(&params.storage, true);
        let mut scale = None;
        for (name, expr) in &params.grid.named {
            match &*name.text {
                SCALE if scale.is_none() => {
                    scale = Some(self.template(expr, open));
                    self.named(&name.text, None, expr, open);
                }
                _ => {
                    let message = format!("the grid of a result has one `scale`, and no `{}`", name.text);
                    let hint = "write `=> i8 {scale = s}`, s being integers per real";
                    self.fault(LayerFault::Body, message, hint, name.span);
                }
            }
        }
        if scale.is_none() || params.grid.rest.is_some() {
            let message = "the grid of the result is not stated".to_owned();
            let hint = "write `=> i8 {scale = s}`, s being integers per real";
            self.fault(LayerFault::Body, message, hint, params.storage.span);
        }
        Some((storage?, scale??))
    }

    fn cost(
        &mut self,
        cost: Option<&'a Vec<(ast::Name, ast::Expr)>>,
        names: impl Iterator<Item = Name<'a>>,
        attrs: &[Name],
    ) -> (u64, Option<(Section, Expr)>) {
        let mut layers = 1;
        let mut macs = None;
        let mut open = self.open(names, attrs, false);
        let mut seen: Vec<&str> = Vec::new();
        for (name, expr) in cost.into_iter().flatten() {
            if seen.contains(&&*name.text) {
                let error = RewriteError::Duplicate { what: "cost", name: name.text.to_string() };
                self.checker.error(error, name.span, "");
            }
            seen.push(&name.text);
            if !matches!(&*name.text, "layers" | "macs") {
                let message = format!("a cost has `layers` and `macs`, and no `{}`", name.text);
                let hint = "write `cost layers = 1, macs = dim(w, 0) * dim(w, 1)`";
                self.fault(LayerFault::Cost, message, hint, name.span);
                continue;
            }
            let Some((term, kind)) = self.checker.expr(expr, Some(Kind::Int), &mut open.scope) else {
                continue;
            };
            if kind != Kind::Int {
                self.checker.mismatch("int", kind.name(), expr.span);
                continue;
            }
            self.known(&term, expr.span, &open);
            if &*name.text == "macs" {
                macs = Some(term);
                continue;
            }
            match term.eval(&Nothing, standard()) {
                Some(Data::Attr(Attr::Int(value @ 1..=1000))) => layers = value.unsigned_abs(),
                _ => {
                    let message =
                        "the layers that a declaration counts as are a number from 1 to 1000".to_owned();
                    self.fault(LayerFault::Cost, message, "write `cost layers = 1`", expr.span);
                }
            }
        }
        let section = self.close(open);
        (layers, macs.map(|macs| (section, macs)))
    }

    /// A value that operators make, of built-in operators with one result.
    fn template(&mut self, expr: &ast::Expr, open: &mut Open) -> Option<Template> {
        let template = self.checker.template(expr, &mut open.scope)?;
        self.parts(&template, expr.span, open).then_some(template)
    }

    fn parts(&mut self, template: &Template, span: Span, open: &Open) -> bool {
        match template {
            Template::Absent | Template::More(_) => true,
            Template::Slot(slot) => {
                let input = open.constants
                    && matches!(open.scope.get(*slot).map(|it| &it.meaning), Some(Meaning::Value(false)))
                    && self.is_input(*slot, open);
                if input {
                    let name = open.scope.get(*slot).map(|it| it.name.to_string()).unwrap_or_default();
                    let message = format!("`{name}` is not known before the network runs");
                    let hint =
                        "parameters are computed from constants, ranges and grids: `scale_of(x)`, `range`";
                    self.fault(LayerFault::Body, message, hint, span);
                }
                !input
            }
            Template::Tensor(expr) => self.known(expr, span, open),
            Template::Op(node) => {
                let known = standard().find(&node.op);
                let fits = known.is_some_and(|entry| {
                    !entry.schema.layer && entry.schema.results.len() == 1 && !entry.schema.any_results
                });
                if !fits {
                    let message = format!("`{}` stands in the body of a layer", node.op);
                    let hint = "bodies are made of operators with one result that are no layers";
                    self.fault(LayerFault::Body, message, hint, span);
                }
                let mut all = fits;
                for operand in &node.operands {
                    all &= self.parts(operand, span, open);
                }
                for (_, expr) in &node.attrs {
                    all &= self.known(expr, span, open);
                }
                all
            }
        }
    }

    /// Whether a variable is an operand that stays.
    fn is_input(&self, slot: Slot, open: &Open) -> bool {
        let kept = self.layer.members.iter().find_map(|member| match member {
            ast::LayerMember::Float(form) => {
                Some(form.operands.iter().filter(|operand| operand.kind.is_none()).count())
            }
            _ => None,
        });
        matches!(open.given.get(slot), Some(Given::Operand(position)) if Some(*position) < kept)
    }

    /// Whether an expression asks for nothing but what is known where its section is looked at: in a
    /// form, types and attributes.
    fn known(&mut self, expr: &Expr, span: Span, open: &Open) -> bool {
        let mut unknown = None;
        elements(expr, &mut |slot| {
            let value = matches!(open.scope.get(slot).map(|it| &it.meaning), Some(Meaning::Value(_)));
            if value && (!open.constants || self.is_input(slot, open)) {
                unknown = Some(slot);
            }
        });
        let Some(slot) = unknown else { return true };
        let name = open.scope.get(slot).map(|it| it.name.to_string()).unwrap_or_default();
        let message = format!("the elements of `{name}` are not known here");
        let hint = "forms see types and attributes: compute what depends on constants in `params`, or bind it \
                    to an attribute where a pattern makes the layer";
        self.fault(LayerFault::Body, message, hint, span);
        false
    }
}

/// Calls `visit` for each variable whose elements a helper reads.
fn elements(expr: &Expr, visit: &mut dyn FnMut(Slot)) {
    match expr {
        Expr::Call(helper, args) => {
            for (kind, arg) in helper.params.iter().zip(args) {
                match arg {
                    Expr::Slot(slot) if matches!(kind, Kind::Tensor | Kind::Optional) => visit(*slot),
                    arg => elements(arg, visit),
                }
            }
        }
        Expr::List(parts) => parts.iter().for_each(|part| elements(part, visit)),
        Expr::Not(part) | Expr::Negate(part) => elements(part, visit),
        Expr::Index(a, b) | Expr::Binary(_, a, b) => {
            elements(a, visit);
            elements(b, visit);
        }
        Expr::Literal(_) | Expr::Slot(_) => {}
    }
}

/// Where no name is known.
struct Nothing;

impl super::super::expr::Scope for Nothing {
    fn get(&self, _: Slot) -> Option<Data> {
        None
    }
}
