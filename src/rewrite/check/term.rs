//! Expressions and right sides.

use std::sync::Arc;

use super::super::error::RewriteError;
use super::super::expr::{Binary, Expr, Kind};
use super::super::helpers;
use super::super::rule::{OpTemplate, Slot, Splat, Template};
use super::Checker;
use super::pattern::kind_of;
use super::scope::{Meaning, Scope};
use crate::diag::{Span, nearest};
use crate::ir::{Attr, AttrKind};
use crate::ops::{Default as AttrDefault, OpError, Presence, Schema};
use crate::syntax::rules::ast;

/// Attributes of a right side, by name.
type AttrTerms = Vec<(Arc<str>, Expr)>;

/// How a value is stored.
enum Stored<'e> {
    /// Like a variable, of that kind.
    Like(Slot, Kind),
    /// As an attribute says.
    As(&'e ast::Expr),
}

impl Checker<'_> {
    /// The variable of that name, which must be bound before.
    pub(super) fn slot(&mut self, name: &Arc<str>, span: Span, scope: &mut Scope) -> Option<Slot> {
        let Some(slot) = scope.find(name) else {
            if scope.partial {
                return None;
            }
            // Names of one or two letters are not misspelt: they are other names.
            let similar = nearest(name, scope.known()).filter(|_| name.len() > 2).map(str::to_owned);
            let mut known: Vec<String> = scope.known().map(str::to_owned).collect();
            known.dedup();
            self.error(RewriteError::Unbound { name: name.to_string(), similar, known }, span, "");
            return None;
        };
        scope.read(slot);
        Some(slot)
    }

    pub(super) fn literal(&mut self, literal: &ast::Literal, expected: Option<Kind>) -> Option<Attr> {
        Some(match &literal.value {
            ast::LiteralValue::Str(text) => Attr::Str(text.clone()),
            ast::LiteralValue::Bool(value) => Attr::Bool(*value),
            ast::LiteralValue::DType(value) => Attr::DType(*value),
            ast::LiteralValue::Number(number) => {
                let float = expected == Some(Kind::Float) || !number.is_int();
                let value = match float {
                    true => number.read::<f32>().map(Attr::Float),
                    false => number.read::<i64>().map(Attr::Int),
                };
                let Some(value) = value else {
                    let kind = if float { "an f32" } else { "an i64" };
                    self.error(
                        RewriteError::Shape(format!("`{}` is not {kind}", number.text)),
                        number.span,
                        "",
                    );
                    return None;
                };
                value
            }
        })
    }

    /// An expression and its kind. `expected` only decides what a whole number is.
    pub(super) fn expr(
        &mut self,
        expr: &ast::Expr,
        expected: Option<Kind>,
        scope: &mut Scope,
    ) -> Option<(Expr, Kind)> {
        match &expr.kind {
            ast::ExprKind::Literal(literal) => {
                let attr = self.literal(literal, expected)?;
                let kind = kind_of(attr.kind());
                Some((Expr::Literal(attr), kind))
            }
            ast::ExprKind::Name(name) => {
                if expected == Some(Kind::Str) && scope.find(name).is_none() && !scope.partial {
                    let (similar, known) = (None, Vec::new());
                    let error = RewriteError::Unbound { name: name.to_string(), similar, known };
                    self.advise(error, expr.span, format!("a text is written in quotes: `\"{name}\"`"));
                    return None;
                }
                let slot = self.slot(name, expr.span, scope)?;
                let meaning = &scope.get(slot)?.meaning;
                let kind = match meaning {
                    Meaning::Data(kind) => *kind,
                    Meaning::Value(_) => Kind::Value,
                    // Known where it is constant.
                    Meaning::Shared => Kind::Tensor,
                    Meaning::More | Meaning::Rest { .. } => {
                        let words = meaning.words();
                        self.mismatch("an expression", &words, expr.span);
                        return None;
                    }
                };
                Some((Expr::Slot(slot), kind))
            }
            ast::ExprKind::List(items) => self.list(items, expected, scope),
            ast::ExprKind::Call(call) => self.call(call, expr.span, scope),
            ast::ExprKind::Index(list, at) => {
                let (list_expr, kind) = self.expr(list, None, scope)?;
                let (at_expr, at_kind) = self.expr(at, None, scope)?;
                let entry = match kind {
                    Kind::Ints => Kind::Int,
                    Kind::Floats => Kind::Float,
                    _ => {
                        self.mismatch("a list", kind.name(), list.span);
                        return None;
                    }
                };
                if at_kind != Kind::Int {
                    self.mismatch("int", at_kind.name(), at.span);
                    return None;
                }
                Some((Expr::Index(Box::new(list_expr), Box::new(at_expr)), entry))
            }
            ast::ExprKind::Unary(ast::Unary::Not, inner) => {
                let (inner_expr, kind) = self.expr(inner, Some(Kind::Bool), scope)?;
                if kind != Kind::Bool {
                    self.mismatch("a condition", kind.name(), inner.span);
                    return None;
                }
                Some((Expr::Not(Box::new(inner_expr)), Kind::Bool))
            }
            _ if self.is_arithmetic(expr, scope) => {
                let (expected, found) = ("an expression".to_owned(), "a calculation with values".to_owned());
                let advice = "name its result, `let v = …` (in a rule `where let v = …`), and read `v`";
                self.advise(RewriteError::Kind { expected, found }, expr.span, advice);
                None
            }
            ast::ExprKind::Unary(ast::Unary::Negate, inner) => {
                let (inner_expr, kind) = self.expr(inner, expected, scope)?;
                if !numeric(kind) {
                    self.mismatch("a number", kind.name(), inner.span);
                    return None;
                }
                Some((Expr::Negate(Box::new(inner_expr)), kind))
            }
            ast::ExprKind::Binary(op, a, b) => self.binary(*op, a, b, expected, scope),
        }
    }

    fn list(
        &mut self,
        items: &[ast::Expr],
        expected: Option<Kind>,
        scope: &mut Scope,
    ) -> Option<(Expr, Kind)> {
        let entry = if expected == Some(Kind::Floats) { Kind::Float } else { Kind::Int };
        let typed: Vec<_> = items.iter().map(|item| self.expr(item, Some(entry), scope)).collect();
        let typed: Vec<(Expr, Kind)> = typed.into_iter().collect::<Option<_>>()?;
        if let Some(at) = typed.iter().position(|(_, kind)| !numeric(*kind)) {
            self.mismatch("a number", typed[at].1.name(), items[at].span);
            return None;
        }
        let float = expected == Some(Kind::Floats) || typed.iter().any(|(_, kind)| *kind == Kind::Float);
        let kind = if float { Kind::Floats } else { Kind::Ints };
        Some((Expr::List(typed.into_iter().map(|(expr, _)| expr).collect()), kind))
    }

    fn binary(
        &mut self,
        op: ast::Binary,
        a: &ast::Expr,
        b: &ast::Expr,
        expected: Option<Kind>,
        scope: &mut Scope,
    ) -> Option<(Expr, Kind)> {
        use ast::Binary as B;
        let logic = matches!(op, B::And | B::Or);
        let inner = match op {
            B::And | B::Or => Some(Kind::Bool),
            B::Add | B::Subtract | B::Multiply | B::Divide | B::Remainder => expected,
            _ => None,
        };
        let (x, x_kind) = self.expr(a, inner, scope)?;
        let (y, y_kind) = self.expr(b, inner, scope)?;
        let compare = matches!(op, B::Equal | B::NotEqual);
        for (kind, span) in [(x_kind, a.span), (y_kind, b.span)] {
            let (fits, words) = match (logic, compare) {
                (true, _) => (kind == Kind::Bool, "a condition"),
                (_, true) => (!matches!(kind, Kind::Value | Kind::Tensor), "an attribute or a type"),
                _ => (numeric(kind), "a number"),
            };
            if !fits {
                self.mismatch(words, kind.name(), span);
                return None;
            }
        }
        let both_numeric = numeric(x_kind) && numeric(y_kind);
        if compare && x_kind != y_kind && !both_numeric {
            self.mismatch(x_kind.name(), y_kind.name(), b.span);
            return None;
        }
        let number = if x_kind == Kind::Float || y_kind == Kind::Float { Kind::Float } else { Kind::Int };
        let (op, swapped, kind) = match op {
            B::Or => (Binary::Or, false, Kind::Bool),
            B::And => (Binary::And, false, Kind::Bool),
            B::Equal => (Binary::Equal, false, Kind::Bool),
            B::NotEqual => (Binary::NotEqual, false, Kind::Bool),
            B::Less => (Binary::Less, false, Kind::Bool),
            B::LessEqual => (Binary::LessEqual, false, Kind::Bool),
            B::Greater => (Binary::Less, true, Kind::Bool),
            B::GreaterEqual => (Binary::LessEqual, true, Kind::Bool),
            B::Add => (Binary::Add, false, number),
            B::Subtract => (Binary::Sub, false, number),
            B::Multiply => (Binary::Mul, false, number),
            B::Divide => (Binary::Div, false, number),
            B::Remainder => (Binary::Rem, false, number),
        };
        if op == Binary::Rem && number == Kind::Float {
            self.mismatch("int", "float", a.span.to(b.span));
            return None;
        }
        let (x, y) = if swapped { (y, x) } else { (x, y) };
        Some((Expr::Binary(op, Box::new(x), Box::new(y)), kind))
    }

    /// The variable of `..more`, of which a helper can say how many it are.
    fn rest_of_operands(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Option<Slot> {
        let ast::ExprKind::Name(name) = &expr.kind else { return None };
        let slot = scope.find(name)?;
        let more = scope.get(slot)?.meaning == Meaning::More;
        more.then(|| scope.read(slot)).map(|()| slot)
    }

    /// A helper applied.
    fn call(&mut self, call: &ast::Call, span: Span, scope: &mut Scope) -> Option<(Expr, Kind)> {
        let name = &*call.name.text;
        let mut args = Vec::new();
        for arg in &call.args {
            match arg {
                ast::Arg::Expr(expr) => args.push(match self.rest_of_operands(expr, scope) {
                    Some(slot) => Some((Expr::Slot(slot), Kind::More)),
                    None => self.expr(expr, None, scope),
                }),
                ast::Arg::Absent(span) | ast::Arg::Rest(ast::Name { span, .. }) => {
                    self.error(RewriteError::Shape(format!("`{name}` takes values")), *span, "");
                    args.push(None);
                }
            }
        }
        let candidates = helpers::named(name);
        if candidates.is_empty() {
            if name == "single_use" {
                let error = "`single_use` is a condition of its own".to_owned();
                self.error(RewriteError::Shape(error), span, "");
                return None;
            }
            let operator = self.registry.find(name).is_some();
            let similar = helpers::similar(name).filter(|_| !operator).map(str::to_owned);
            let error = RewriteError::UnknownHelper { name: name.to_owned(), similar };
            match operator {
                true => {
                    let advice = format!(
                        "`{name}` is an operator: name its result, `where let v = {name}(…)`, and read `v`"
                    );
                    self.advise(error, call.name.span, advice);
                }
                false => self.error(error, call.name.span, ""),
            }
            return None;
        }
        let args: Vec<(Expr, Kind)> = args.into_iter().collect::<Option<_>>()?;
        if call.attrs.is_some() || call.layer {
            self.error(RewriteError::Shape(format!("`{name}` is a helper, not an operator")), span, "");
            return None;
        }
        let kinds: Vec<Kind> = args.iter().map(|(_, kind)| *kind).collect();
        let exact = candidates.iter().find(|helper| helper.params == kinds);
        let Some(helper) = exact.or_else(|| candidates.iter().find(|helper| helper.takes(&kinds))) else {
            let known: Vec<String> = candidates.iter().map(|helper| helper.signature()).collect();
            let found: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            self.mismatch(&known.join(" or "), &format!("`{name}({})`", found.join(", ")), span);
            return None;
        };
        Some((Expr::Call(helper, args.into_iter().map(|(expr, _)| expr).collect()), helper.result))
    }

    /// Whether an expression of a `let` is made by operators: a value of the right side then.
    pub(super) fn is_made(&self, expr: &ast::Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ast::ExprKind::Call(call) => {
                // `max` and `min` are both: of numbers, and of values.
                let value = |arg: &ast::Arg| matches!(arg, ast::Arg::Expr(arg) if self.is_value(arg, scope));
                let helper = !helpers::named(&call.name.text).is_empty();
                call.layer
                    || call.attrs.is_some()
                    || self.registry.find(&call.name.text).is_some()
                        && (!helper || call.args.iter().any(value))
            }
            _ => self.is_arithmetic(expr, scope),
        }
    }

    /// Whether an expression is a value or a constant, not a number or a list.
    pub(super) fn is_value(&self, expr: &ast::Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ast::ExprKind::Name(name) => {
                let variable = scope.find(name).and_then(|slot| scope.get(slot));
                variable.is_some_and(|variable| {
                    matches!(
                        variable.meaning,
                        Meaning::Value(_) | Meaning::Shared | Meaning::Data(Kind::Tensor)
                    )
                })
            }
            ast::ExprKind::Call(call) => {
                let helpers = helpers::named(&call.name.text);
                self.is_made(expr, scope) || helpers.iter().any(|helper| helper.result == Kind::Tensor)
            }
            _ => self.is_arithmetic(expr, scope),
        }
    }

    /// Whether an expression is one number.
    fn is_number(&self, expr: &ast::Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ast::ExprKind::Literal(literal) => matches!(literal.value, ast::LiteralValue::Number(_)),
            ast::ExprKind::Name(name) => {
                let variable = scope.find(name).and_then(|slot| scope.get(slot));
                variable
                    .is_some_and(|variable| matches!(variable.meaning, Meaning::Data(kind) if numeric(kind)))
            }
            ast::ExprKind::Unary(ast::Unary::Negate, inner) => self.is_number(inner, scope),
            ast::ExprKind::Binary(op, a, b) => {
                arithmetic(*op).is_some() && self.is_number(a, scope) && self.is_number(b, scope)
            }
            ast::ExprKind::Call(call) => {
                let helpers = helpers::named(&call.name.text);
                !self.is_made(expr, scope)
                    && !helpers.is_empty()
                    && helpers.iter().all(|helper| numeric(helper.result))
            }
            _ => false,
        }
    }

    /// Whether an expression calculates with values: each step is an operator then.
    fn is_arithmetic(&self, expr: &ast::Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ast::ExprKind::Binary(op, a, b) => {
                arithmetic(*op).is_some() && (self.is_value(a, scope) || self.is_value(b, scope))
            }
            ast::ExprKind::Unary(ast::Unary::Negate, inner) => self.is_value(inner, scope),
            _ => false,
        }
    }

    /// A step of a calculation with values. A number in it is stored like the first value there whose
    /// storage is known, or as f32.
    fn arithmetic_template(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Option<Template> {
        let (op, parts) = match &expr.kind {
            ast::ExprKind::Binary(op, a, b) => (arithmetic(*op)?, vec![&**a, &**b]),
            ast::ExprKind::Unary(_, inner) => ("neg", vec![&**inner]),
            _ => return None,
        };
        let like = parts.iter().find_map(|part| self.stored(part, scope));
        let operands = parts
            .into_iter()
            .map(|part| match &like {
                Some(like) if !self.is_value(part, scope) => self.number_like(part, like, scope),
                None if !self.is_value(part, scope) => {
                    let (number, _) = self.expr(part, Some(Kind::Float), scope)?;
                    Some(Template::Tensor(number))
                }
                _ => self.template(part, scope),
            })
            .collect::<Option<_>>()?;
        let attrs = Vec::new();
        Some(Template::Op(OpTemplate { op: op.into(), operands, attrs, rest: None }))
    }

    /// How the value of an expression is stored, as far as it says where the rule matches.
    fn stored<'e>(&self, expr: &'e ast::Expr, scope: &Scope) -> Option<Stored<'e>> {
        match &expr.kind {
            ast::ExprKind::Name(name) => {
                let slot = scope.find(name)?;
                match scope.get(slot)?.meaning {
                    Meaning::Value(false) => Some(Stored::Like(slot, Kind::Value)),
                    Meaning::Data(Kind::Tensor) => Some(Stored::Like(slot, Kind::Tensor)),
                    _ => None,
                }
            }
            ast::ExprKind::Call(call) => {
                // What an operator stores its result as, its attribute says.
                let of_storage = |name: &str| {
                    let schema = &self.registry.find(&call.name.text)?.schema;
                    schema.attr_spec(name).filter(|spec| spec.kind == AttrKind::DType)
                };
                let mut named = call.attrs.iter().flat_map(|attrs| &attrs.named);
                match named.find(|(name, _)| of_storage(&name.text).is_some()) {
                    Some((_, storage)) => Some(Stored::As(storage)),
                    None => call.args.iter().find_map(|arg| self.arg_stored(arg, scope)),
                }
            }
            ast::ExprKind::Unary(_, inner) => self.stored(inner, scope),
            ast::ExprKind::Binary(_, a, b) => self.stored(a, scope).or_else(|| self.stored(b, scope)),
            ast::ExprKind::Literal(_) | ast::ExprKind::List(_) | ast::ExprKind::Index(..) => None,
        }
    }

    fn arg_stored<'e>(&self, arg: &'e ast::Arg, scope: &Scope) -> Option<Stored<'e>> {
        match arg {
            ast::Arg::Expr(expr) => self.stored(expr, scope),
            ast::Arg::Absent(_) | ast::Arg::Rest(_) => None,
        }
    }

    /// A number that is stored so.
    fn number_like(&mut self, expr: &ast::Expr, like: &Stored, scope: &mut Scope) -> Option<Template> {
        let (number, number_kind) = self.expr(expr, Some(Kind::Float), scope)?;
        if !numeric(number_kind) {
            self.mismatch("a number or a value", number_kind.name(), expr.span);
            return None;
        }
        let (like, kind) = match like {
            Stored::Like(slot, kind) => (Expr::Slot(*slot), *kind),
            Stored::As(storage) => self.expr(storage, Some(Kind::DType), scope)?,
        };
        let scalar =
            helpers::named("scalar").into_iter().find(|helper| helper.takes(&[Kind::Float, kind]))?;
        Some(Template::Tensor(Expr::Call(scalar, vec![number, like])))
    }

    /// A value of the right side.
    pub(super) fn template(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Option<Template> {
        match &expr.kind {
            ast::ExprKind::Name(name) => {
                let slot = self.slot(name, expr.span, scope)?;
                let meaning = &scope.get(slot)?.meaning;
                match meaning {
                    Meaning::Value(_) | Meaning::Shared => Some(Template::Slot(slot)),
                    Meaning::Data(Kind::Int | Kind::Float | Kind::Ints | Kind::Floats | Kind::Tensor) => {
                        Some(Template::Slot(slot))
                    }
                    Meaning::Data(_) | Meaning::More | Meaning::Rest { .. } => {
                        let words = meaning.words();
                        self.mismatch("a value", &words, expr.span);
                        None
                    }
                }
            }
            ast::ExprKind::Call(call) => {
                let op = self.registry.find(&call.name.text).is_some();
                if op || call.layer || helpers::named(&call.name.text).is_empty() {
                    return self.op_template(call, expr.span, scope).map(Template::Op);
                }
                self.tensor(expr, scope)
            }
            _ if self.is_arithmetic(expr, scope) => self.arithmetic_template(expr, scope),
            _ => self.tensor(expr, scope),
        }
    }

    /// A constant of the right side.
    fn tensor(&mut self, expr: &ast::Expr, scope: &mut Scope) -> Option<Template> {
        let (term, kind) = self.expr(expr, None, scope)?;
        match kind {
            Kind::Int | Kind::Float | Kind::Ints | Kind::Floats | Kind::Tensor => {
                Some(Template::Tensor(term))
            }
            _ => {
                self.mismatch("a value", kind.name(), expr.span);
                None
            }
        }
    }

    fn op_template(&mut self, call: &ast::Call, span: Span, scope: &mut Scope) -> Option<OpTemplate> {
        let schema = self.schema(&call.name)?;
        if call.layer && !schema.layer {
            let error = format!("`{}` is not a layer", call.name.text);
            self.error(RewriteError::Shape(error), call.name.span, "");
        }
        let mut operands = Vec::new();
        let like = call.args.iter().filter(|_| schema.uniform).find_map(|arg| self.arg_stored(arg, scope));
        for arg in &call.args {
            match arg {
                ast::Arg::Absent(_) => operands.push(Some(Template::Absent)),
                ast::Arg::Expr(expr) => {
                    let operand = match &like {
                        Some(like) if self.is_number(expr, scope) => self.number_like(expr, like, scope),
                        _ => self.template(expr, scope),
                    };
                    if let Some(Template::Op(inner)) = &operand
                        && self.registry.find(&inner.op).is_some_and(|entry| entry.schema.any_results)
                    {
                        let error =
                            format!("`{}` has several results: it can only be all of a right side", inner.op);
                        self.error(RewriteError::Shape(error), expr.span, "");
                    }
                    operands.push(operand);
                }
                ast::Arg::Rest(name) => {
                    let Some(slot) = self.slot(&name.text, name.span, scope) else { continue };
                    if scope.get(slot).is_some_and(|variable| variable.meaning != Meaning::More) {
                        self.mismatch("a rest of operands", "another variable", name.span);
                    }
                    operands.push(Some(Template::More(slot)));
                }
            }
        }
        self.arity(call, schema, &operands);
        let (attrs, rest) = self.attr_templates(call, schema, span, scope)?;
        let operands = operands.into_iter().collect::<Option<_>>()?;
        Some(OpTemplate { op: call.name.text.clone(), operands, attrs, rest })
    }

    fn arity(&mut self, call: &ast::Call, schema: &Schema, operands: &[Option<Template>]) {
        let (_, most) = schema.arity();
        // A rest of operands may be none.
        let more = operands.iter().filter(|operand| matches!(operand, Some(Template::More(_)))).count();
        if most.is_some_and(|most| operands.len() - more > most) {
            return self.operand_count(schema, operands.len() - more, call.name.span);
        }
        for (position, spec) in schema.operands.iter().enumerate() {
            match (spec.presence, call.args.get(position)) {
                (Presence::Optional, _) => {}
                (_, Some(ast::Arg::Absent(span))) => self.never(schema, &spec.name, *span),
                (_, None) if more == 0 => {
                    return self.operand_count(schema, operands.len(), call.name.span);
                }
                (_, None | Some(_)) => {}
            }
        }
    }

    fn attr_templates(
        &mut self,
        call: &ast::Call,
        schema: &Schema,
        span: Span,
        scope: &mut Scope,
    ) -> Option<(AttrTerms, Option<Splat>)> {
        let op = &call.name.text;
        let none = ast::AttrArgs::default();
        let given = call.attrs.as_ref().unwrap_or(&none);
        let mut attrs = AttrTerms::new();
        let mut complete = true;
        for (name, expr) in &given.named {
            let Some(spec) = schema.attr_spec(&name.text) else {
                self.unknown_attr(op, schema, name);
                complete = false;
                continue;
            };
            let before = given.named.iter().map(|(other, _)| other).find(|other| other.text == name.text);
            if let Some(before) = before.filter(|before| before.span != name.span) {
                self.duplicate("attribute", name, Some(before.span));
            }
            let expected = kind_of(spec.kind);
            let Some((term, kind)) = self.expr(expr, Some(expected), scope) else {
                complete = false;
                continue;
            };
            if kind != expected && !(kind == Kind::Int && expected == Kind::Float) {
                self.mismatch(expected.name(), kind.name(), expr.span);
                complete = false;
            }
            attrs.push((name.text.clone(), term));
        }
        let rest = match &given.rest {
            Some(rest) => Some(self.splat(rest, op, schema, &attrs, scope)?),
            None => None,
        };
        for spec in schema.attrs.iter().filter(|spec| spec.default == AttrDefault::Required) {
            let has = attrs.iter().any(|(name, _)| **name == *spec.name)
                || rest.iter().any(|splat: &Splat| splat.keep.iter().any(|name| **name == *spec.name));
            if !has && complete {
                let error = OpError::MissingAttr { op: op.to_string(), attr: spec.name.to_string() };
                let advice = format!("write `{{{} = …}}` behind its operands", spec.name);
                self.advise(RewriteError::Op(error), span, advice);
            }
        }
        complete.then_some((attrs, rest))
    }

    fn splat(
        &mut self,
        rest: &ast::Name,
        op: &str,
        schema: &Schema,
        given: &[(Arc<str>, Expr)],
        scope: &mut Scope,
    ) -> Option<Splat> {
        let slot = self.slot(&rest.text, rest.span, scope)?;
        let Meaning::Rest { op: source, named } = scope.get(slot)?.meaning.clone() else {
            self.mismatch("a rest of attributes", "another variable", rest.span);
            return None;
        };
        let source_schema = &self.registry.find(&source)?.schema;
        let mut splat = Splat { rest: slot, keep: Vec::new(), default: Vec::new() };
        for spec in source_schema.attrs.iter().filter(|spec| named.iter().all(|name| **name != *spec.name)) {
            let name: Arc<str> = spec.name.as_ref().into();
            match schema.attr_spec(&spec.name) {
                _ if given.iter().any(|(other, _)| *other == name) => {}
                Some(target) if target.kind == spec.kind => splat.keep.push(name),
                Some(target) => {
                    self.mismatch(target.kind.name(), spec.kind.name(), rest.span);
                    return None;
                }
                None => match &spec.default {
                    AttrDefault::Value(value) => splat.default.push((name, Some(value.clone()))),
                    AttrDefault::Absent => splat.default.push((name, None)),
                    AttrDefault::Required => {
                        let error = format!("`{op}` has no attribute `{name}` for the one of `{source}`");
                        self.error(RewriteError::Shape(error), rest.span, "");
                        return None;
                    }
                },
            }
        }
        Some(splat)
    }
}

fn numeric(kind: Kind) -> bool {
    matches!(kind, Kind::Int | Kind::Float)
}

/// The operator that calculates with values.
fn arithmetic(op: ast::Binary) -> Option<&'static str> {
    match op {
        ast::Binary::Add => Some("add"),
        ast::Binary::Subtract => Some("sub"),
        ast::Binary::Multiply => Some("mul"),
        ast::Binary::Divide => Some("div"),
        _ => None,
    }
}
