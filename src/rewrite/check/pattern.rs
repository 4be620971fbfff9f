//! Left sides: patterns and conditions.

use std::sync::Arc;

use super::super::error::RewriteError;
use super::super::expr::{Expr, Kind};
use super::super::helpers;
use super::super::rule::{
    AttrPattern, Condition, Driver, Guard, OperandPattern, Slot, Step, StepSpans, Template,
};
use super::Checker;
use super::scope::{Meaning, Scope};
use crate::diag::Span;
use crate::ir::AttrKind;
use crate::ops::{Default as AttrDefault, Presence, Schema};
use crate::syntax::rules::ast;

/// What a left side has come to so far.
#[derive(Default)]
pub struct Left {
    pub steps: Vec<Step>,
    pub guards: Vec<Guard>,
    pub shared: Vec<(Slot, Template)>,
}

/// The patterns of attributes, where they stand, and what takes the other attributes.
type Attrs = (Vec<(Arc<str>, AttrPattern)>, Vec<Span>, Option<Slot>);

impl Checker<'_> {
    /// The outermost pattern and all below it.
    pub(super) fn pattern(
        &mut self,
        pattern: &ast::OpPattern,
        results: Option<&[ast::Name]>,
        scope: &mut Scope,
        left: &mut Left,
    ) {
        let Some(schema) = self.schema(&pattern.op) else {
            scope.partial = true;
            return;
        };
        let count = schema.results.len();
        let mut slots = Vec::new();
        match results {
            Some(names) => slots = self.results(pattern, schema, names, 0, scope),
            None if count != 1 => {
                let error = format!("`{}` has {count} results: name them with `as`", pattern.op.text);
                self.error(RewriteError::Shape(error), pattern.op.span, "");
            }
            None => {
                let slot = match &pattern.alias {
                    Some(alias) => self.bind_new(scope, alias, Meaning::Value(false), 0),
                    None => scope.hidden(pattern.span, 0),
                };
                scope.set_result(slot);
                slots.push(slot);
            }
        }
        self.step(pattern, schema, slots, scope, left);
    }

    /// The variables of the results that `as` names.
    fn results(
        &mut self,
        pattern: &ast::OpPattern,
        schema: &Schema,
        names: &[ast::Name],
        step: usize,
        scope: &mut Scope,
    ) -> Vec<Slot> {
        let count = schema.results.len();
        if names.len() != count && !schema.any_results {
            let what = format!("`as` of `{}`", pattern.op.text);
            let first = names.first().map_or(pattern.op.span, |name| name.span);
            let span = names.last().map_or(first, |last| first.to(last.span));
            self.count(&what, &results_of(count), names.len(), span);
            scope.partial = true;
        }
        if let Some(alias) = &pattern.alias {
            let error = "an operator with `as` has no other name".to_owned();
            self.error(RewriteError::Shape(error), alias.span, "");
        }
        let mut slots = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if let Some(other) = names.iter().take(at).find(|other| other.text == name.text) {
                let error = RewriteError::Duplicate { what: "result", name: name.text.to_string() };
                let finding = crate::diag::WithPlaces::new(error).at(name.span, "again here");
                self.findings.push(finding.at(other.span, "named here"));
            }
            let slot = self.bind(scope, name, Meaning::Value(false), step);
            // Naming results is the only way to say how many there are.
            scope.read(slot);
            slots.push(slot);
        }
        slots
    }

    pub(super) fn bind_new(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        meaning: Meaning,
        step: usize,
    ) -> Slot {
        if let Some(slot) = scope.find(&name.text) {
            let before = scope.get(slot).map(|variable| variable.span);
            self.duplicate("name", name, before);
        }
        scope.bind(name.text.clone(), meaning, name.span, step)
    }

    /// A variable that may occur more than once: all occurrences are the same.
    fn bind(&mut self, scope: &mut Scope, name: &ast::Name, meaning: Meaning, step: usize) -> Slot {
        let Some(slot) = scope.find(&name.text) else {
            return scope.bind(name.text.clone(), meaning, name.span, step);
        };
        scope.read(slot);
        let found = scope.get(slot).map(|variable| (variable.meaning.clone(), variable.span));
        if let Some((before, span)) = found
            && before != meaning
        {
            let error = RewriteError::Kind { expected: before.words(), found: meaning.words() };
            self.findings.push(
                crate::diag::WithPlaces::new(error)
                    .at(name.span, format!("`{}` is a {} here", name.text, meaning.words()))
                    .at(span, format!("and a {} here", before.words())),
            );
        }
        slot
    }

    fn step(
        &mut self,
        pattern: &ast::OpPattern,
        schema: &Schema,
        results: Vec<Slot>,
        scope: &mut Scope,
        left: &mut Left,
    ) {
        let at = left.steps.len();
        left.steps.push(Step {
            op: pattern.op.text.clone(),
            results,
            operands: Vec::new(),
            more: None,
            attrs: Vec::new(),
            rest: None,
            spans: StepSpans { op: pattern.op.span, operands: Vec::new(), attrs: Vec::new() },
        });
        let (attrs, attr_spans, rest) = self.attr_patterns(pattern, schema, scope, at);
        let spans = StepSpans {
            op: pattern.op.span,
            operands: pattern.operands.iter().filter_map(operand_span).collect(),
            attrs: attr_spans,
        };
        let mut operands = Vec::new();
        let mut more = None;
        let mut nested = Vec::new();
        let variadic = schema.operands.last().is_some_and(|spec| spec.presence == Presence::Variadic);
        for (position, operand) in pattern.operands.iter().enumerate() {
            let spec = schema.operands.get(position).or(schema.operands.last().filter(|_| variadic));
            let Some(spec) = spec else {
                self.operand_count(schema, pattern.operands.len(), pattern.op.span);
                scope.partial = true;
                break;
            };
            let required = spec.presence != Presence::Optional;
            match operand {
                ast::OperandPattern::Absent(span) if required => self.never(schema, &spec.name, *span),
                ast::OperandPattern::Absent(_) => operands.push(OperandPattern::Absent),
                ast::OperandPattern::Rest(name) => {
                    more = Some(self.bind_new(scope, name, Meaning::More, at));
                    if position + 1 != pattern.operands.len() || !variadic {
                        let error = format!("`..{}` stands last, for operands of any number", name.text);
                        self.error(RewriteError::Shape(error), name.span, "");
                    }
                }
                ast::OperandPattern::Variable { name, kind, optional } => {
                    if *optional && required {
                        self.never(schema, &spec.name, name.span);
                    }
                    let slot = self.bind(scope, name, Meaning::Value(*optional), at);
                    operands.push(match optional {
                        true => OperandPattern::Optional(slot),
                        false => OperandPattern::Value(slot),
                    });
                    if let Some(kind) = kind {
                        self.kind(kind, slot, at, left);
                    }
                }
                ast::OperandPattern::Number(number) => match number.read::<f64>() {
                    Some(value) => operands.push(OperandPattern::Number(value)),
                    None => self.error(RewriteError::Shape("not a number".to_owned()), number.span, ""),
                },
                ast::OperandPattern::Numbers(numbers) => {
                    let values: Option<Vec<f64>> = numbers.iter().map(|number| number.read()).collect();
                    match values {
                        Some(values) => operands.push(OperandPattern::Numbers(values)),
                        None => scope.partial = true,
                    }
                }
                ast::OperandPattern::Result { name, pattern: inner, results } => {
                    let Some(inner_schema) = self.schema(&inner.op) else {
                        scope.partial = true;
                        continue;
                    };
                    let known = |name: &&ast::Name| results.iter().any(|result| result.text == name.text);
                    let Some(name) = name.as_ref().filter(known) else {
                        let names: Vec<&str> = results.iter().map(|name| &*name.text).collect();
                        let (op, first) = (&inner.op.text, names.first().copied().unwrap_or_default());
                        let error = format!(
                            "say which of {} is read: `{first} of {op}(…) as ({})`",
                            names.join(", "),
                            names.join(", ")
                        );
                        let span = name.as_ref().map_or(inner.op.span, |name| name.span);
                        self.error(RewriteError::Shape(error), span, "");
                        scope.partial = true;
                        continue;
                    };
                    let slot = self.bind(scope, name, Meaning::Value(false), at);
                    operands.push(OperandPattern::Value(slot));
                    nested.push((inner, inner_schema, Err(results)));
                }
                ast::OperandPattern::Op(inner) => {
                    let Some(inner_schema) = self.schema(&inner.op) else {
                        scope.partial = true;
                        continue;
                    };
                    if inner_schema.results.len() != 1 {
                        let error = format!(
                            "`{}` has several results: say which one is read, `a of {}(…) as (a, b)`",
                            inner.op.text, inner.op.text
                        );
                        self.error(RewriteError::Shape(error), inner.op.span, "");
                        continue;
                    }
                    let slot = match &inner.alias {
                        Some(alias) => self.bind(scope, alias, Meaning::Value(false), at),
                        None => scope.hidden(inner.span, at),
                    };
                    operands.push(OperandPattern::Value(slot));
                    nested.push((inner, inner_schema, Ok(slot)));
                }
            }
        }
        let (least, _) = schema.arity();
        if pattern.operands.len() < least && more.is_none() {
            self.operand_count(schema, pattern.operands.len(), pattern.op.span);
        }
        if let Some(step) = left.steps.get_mut(at) {
            *step = Step { operands, more, attrs, rest, spans, ..step.clone() };
        }
        for (inner, schema, results) in nested {
            let slots = match results {
                Ok(slot) => vec![slot],
                Err(names) => self.results(inner, schema, names, left.steps.len(), scope),
            };
            self.step(inner, schema, slots, scope, left);
        }
    }

    /// Too few or too many operands.
    pub(super) fn operand_count(&mut self, schema: &Schema, found: usize, span: Span) {
        let words = |count: usize| format!("{count} operand{}", if count == 1 { "" } else { "s" });
        let expected = match schema.arity() {
            (least, Some(most)) if least == most => words(most),
            (least, _) if found < least => format!("at least {}", words(least)),
            (_, most) => format!("at most {}", words(most.unwrap_or_default())),
        };
        let names = schema.operands.iter().map(|spec| match spec.presence {
            Presence::Required => format!("`{}`", spec.name),
            Presence::Optional => format!("`{}` (may be absent)", spec.name),
            Presence::Variadic => format!("`{}` (any number)", spec.name),
        });
        let names: Vec<String> = names.collect();
        let error = RewriteError::Count { what: format!("`{}`", schema.name), expected, found };
        self.advise(error, span, format!("its operands are {}", names.join(", ")));
    }

    /// An operand that is always there.
    pub(super) fn never(&mut self, schema: &Schema, operand: &str, span: Span) {
        let error = format!("operand `{operand}` of `{}` is always there", schema.name);
        self.error(RewriteError::Shape(error), span, "");
    }

    /// `x: quantized` is the condition `is_quantized(x)`.
    fn kind(&mut self, kind: &ast::Name, slot: Slot, step: usize, left: &mut Left) {
        let name = format!("is_{}", kind.text);
        let helper = helpers::ALL.iter().find(|helper| helper.name == name && helper.params == [Kind::Value]);
        match helper {
            Some(helper) => left.guards.push(Guard {
                condition: Condition::Holds(Expr::Call(helper, vec![Expr::Slot(slot)])),
                after: step,
                span: kind.span,
                warn: false,
            }),
            None => {
                let similar = helpers::similar(&name).map(|name| name.trim_start_matches("is_").to_owned());
                self.error(RewriteError::UnknownHelper { name, similar }, kind.span, "");
            }
        }
    }

    fn attr_patterns(
        &mut self,
        pattern: &ast::OpPattern,
        schema: &Schema,
        scope: &mut Scope,
        at: usize,
    ) -> Attrs {
        let op = &pattern.op.text;
        let mut attrs: Vec<(Arc<str>, AttrPattern)> = Vec::new();
        let mut spans = Vec::new();
        for (name, value) in &pattern.attrs.named {
            let Some(spec) = schema.attr_spec(&name.text) else {
                self.unknown_attr(op, schema, name);
                scope.partial = true;
                continue;
            };
            let before =
                pattern.attrs.named.iter().map(|(other, _)| other).find(|other| other.text == name.text);
            if let Some(before) = before.filter(|before| before.span != name.span) {
                self.duplicate("attribute", name, Some(before.span));
            }
            if let Some(value) = self.attr_pattern(value, spec.kind, scope, at) {
                attrs.push((name.text.clone(), value));
                spans.push(name.span);
            }
        }
        if let Some(rest) = &pattern.attrs.rest {
            let named = attrs.iter().map(|(name, _)| name.clone()).collect();
            let slot = self.bind_new(scope, rest, Meaning::Rest { op: op.clone(), named }, at);
            return (attrs, spans, Some(slot));
        }
        for spec in &schema.attrs {
            if pattern.attrs.named.iter().any(|(name, _)| *name.text == *spec.name) {
                continue;
            }
            let expected = match &spec.default {
                AttrDefault::Value(value) => Some(value.clone()),
                AttrDefault::Absent => None,
                AttrDefault::Required => {
                    let error = RewriteError::OpenAttr { op: op.to_string(), attr: spec.name.to_string() };
                    self.error(error, pattern.span, "");
                    continue;
                }
            };
            attrs.push((spec.name.as_ref().into(), AttrPattern::Equals(expected)));
            spans.push(pattern.op.span);
        }
        (attrs, spans, None)
    }

    fn attr_pattern(
        &mut self,
        pattern: &ast::AttrPattern,
        kind: AttrKind,
        scope: &mut Scope,
        at: usize,
    ) -> Option<AttrPattern> {
        match pattern {
            ast::AttrPattern::Any(_) => Some(AttrPattern::Any),
            ast::AttrPattern::Variable(name) => {
                Some(AttrPattern::Bind(self.bind(scope, name, Meaning::Data(kind_of(kind)), at)))
            }
            ast::AttrPattern::Literal(literal) => {
                let attr = self.literal(literal, Some(kind_of(kind)))?;
                if attr.kind() != kind {
                    self.mismatch(kind_of(kind).name(), kind_of(attr.kind()).name(), literal.span);
                    return None;
                }
                Some(AttrPattern::Equals(Some(attr)))
            }
            ast::AttrPattern::List(items, span) => {
                let entry = match kind {
                    AttrKind::Ints => AttrKind::Int,
                    AttrKind::Floats => AttrKind::Float,
                    _ => {
                        self.mismatch(kind_of(kind).name(), "list", *span);
                        return None;
                    }
                };
                let items: Vec<AttrPattern> = items
                    .iter()
                    .map(|item| self.attr_pattern(item, entry, scope, at))
                    .collect::<Option<_>>()?;
                Some(AttrPattern::List(items))
            }
        }
    }

    pub(super) fn mismatch(&mut self, expected: &str, found: &str, span: Span) {
        self.error(RewriteError::Kind { expected: expected.to_owned(), found: found.to_owned() }, span, "");
    }

    pub(super) fn clause(
        &mut self,
        clause: &ast::Clause,
        driver: Driver,
        warn: bool,
        scope: &mut Scope,
        left: &mut Left,
    ) {
        match clause {
            ast::Clause::Condition(expr) => self.condition(expr, driver, warn, scope, left),
            ast::Clause::Let(name, expr) => {
                let at = expr.span;
                if self.is_made(expr, scope) {
                    let template = self.template(expr, scope);
                    let mut after = 0;
                    if let Some(template) = &template {
                        template.slots(&mut |slot| after = after.max(step_of(scope, slot)));
                    }
                    let slot = self.bind_new(scope, name, Meaning::Shared, after);
                    left.shared.extend(template.map(|template| (slot, template)));
                    return;
                }
                let typed = self.expr(expr, None, scope);
                let kind = typed.as_ref().map_or(Kind::Value, |(_, kind)| *kind);
                let after = typed.as_ref().map_or(0, |(expr, _)| bound_after(expr, scope));
                let meaning = if kind == Kind::Value { Meaning::Value(false) } else { Meaning::Data(kind) };
                let slot = self.bind_new(scope, name, meaning, after);
                if let Some((expr, _)) = typed {
                    let condition = Condition::Let(slot, expr);
                    left.guards.push(Guard { condition, after, span: name.span.to(at), warn: false });
                }
            }
        }
    }

    fn condition(
        &mut self,
        expr: &ast::Expr,
        driver: Driver,
        warn: bool,
        scope: &mut Scope,
        left: &mut Left,
    ) {
        let span = expr.span;
        if let ast::ExprKind::Binary(ast::Binary::And, a, b) = &expr.kind {
            self.condition(a, driver, warn, scope, left);
            return self.condition(b, driver, warn, scope, left);
        }
        if let ast::ExprKind::Call(call) = &expr.kind
            && &*call.name.text == "single_use"
        {
            if driver == Driver::Saturate {
                self.error(RewriteError::GreedyOnly { what: "`single_use`" }, span, "");
            }
            let [ast::Arg::Expr(ast::Expr { kind: ast::ExprKind::Name(name), span: at })] = &*call.args
            else {
                return self.count("`single_use`", "1 value", call.args.len(), span);
            };
            let Some(slot) = self.slot(name, *at, scope) else { return };
            let after = scope.get(slot).map_or(0, |variable| variable.step);
            left.guards.push(Guard { condition: Condition::SingleUse(slot), after, span, warn: false });
            return;
        }
        let Some((expr, kind)) = self.expr(expr, Some(Kind::Bool), scope) else { return };
        if kind != Kind::Bool {
            let error =
                RewriteError::Kind { expected: "a condition".to_owned(), found: kind.name().to_owned() };
            return self.advise(error, span, "compare it with something: `… == …`");
        }
        let after = bound_after(&expr, scope);
        left.guards.push(Guard { condition: Condition::Holds(expr), after, span, warn });
    }
}

/// Where a listed operand stands; `..more` is none.
fn operand_span(operand: &ast::OperandPattern) -> Option<Span> {
    Some(match operand {
        ast::OperandPattern::Absent(span) => *span,
        ast::OperandPattern::Rest(_) => return None,
        ast::OperandPattern::Variable { name, .. } => name.span,
        ast::OperandPattern::Number(number) => number.span,
        // The grammar has no list without numbers.
        ast::OperandPattern::Numbers(numbers) => numbers.first()?.span.to(numbers.last()?.span),
        ast::OperandPattern::Op(pattern) | ast::OperandPattern::Result { pattern, .. } => pattern.span,
    })
}

/// The step after which everything that an expression reads is bound.
fn bound_after(expr: &Expr, scope: &Scope) -> usize {
    let mut after = 0;
    expr.slots(&mut |slot| after = after.max(step_of(scope, slot)));
    after
}

/// The step after which a variable is bound.
fn step_of(scope: &Scope, slot: Slot) -> usize {
    scope.get(slot).map_or(0, |variable| variable.step)
}

fn results_of(count: usize) -> String {
    if count == 1 { "1 result".to_owned() } else { format!("{count} results") }
}

pub fn kind_of(kind: AttrKind) -> Kind {
    match kind {
        AttrKind::Bool => Kind::Bool,
        AttrKind::Int => Kind::Int,
        AttrKind::Float => Kind::Float,
        AttrKind::Str => Kind::Str,
        AttrKind::DType => Kind::DType,
        AttrKind::Ints => Kind::Ints,
        AttrKind::Floats => Kind::Floats,
    }
}
