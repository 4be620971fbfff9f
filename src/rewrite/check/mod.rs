//! From the syntax tree to rules that run: every name resolved, every kind checked, all findings
//! of a file in one go.

mod layer;
mod pattern;
mod scope;
mod term;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::RewriteError;
use super::rule::{Condition, Contract, Driver, Guard, OpTemplate, Right, Rule, Ruleset, Template};
use crate::diag::{Diagnostic, Diagnostics, Severity, Span, WithPlaces, nearest};
use crate::ops::{OpError, Registry, Schema};
use crate::syntax::rules::ast;
pub use layer::layer;
use scope::Scope;

/// Checks a file. The rulesets are complete only if no finding is an error.
///
/// `fusions` are the rules that say what a chain of operators is as a layer.
pub fn check(file: &ast::File, registry: &Registry, fusions: &[Ruleset]) -> (Vec<Ruleset>, Diagnostics) {
    let mut checker = Checker { registry, fusions, findings: Diagnostics::default() };
    let sets = file
        .items
        .iter()
        .filter_map(|item| match item {
            ast::Item::Ruleset(set) => checker.ruleset(set),
            ast::Item::Use(_) | ast::Item::Layer(_) => None,
        })
        .collect();
    (sets, checker.findings)
}

struct Checker<'a> {
    registry: &'a Registry,
    fusions: &'a [Ruleset],
    findings: Diagnostics,
}

/// What a rule's modifiers say.
#[derive(Default)]
struct Modifiers {
    expand: bool,
    warn: bool,
    priority: i64,
}

impl<'a> Checker<'a> {
    fn error(&mut self, error: RewriteError, span: Span, label: impl Into<String>) {
        self.findings.push(WithPlaces::new(error).at(span, label));
    }

    /// An error that says what to do about it.
    fn advise(&mut self, error: RewriteError, span: Span, advice: impl Into<String>) {
        self.findings.push(Diagnostic::from(WithPlaces::new(error).at(span, "")).note(advice));
    }

    /// Something that is defined here and was defined before.
    fn duplicate(&mut self, what: &'static str, name: &ast::Name, before: Option<Span>) {
        let error = WithPlaces::new(RewriteError::Duplicate { what, name: name.text.to_string() });
        let error = error.at(name.span, "");
        self.findings.push(match before {
            Some(before) => error.at(before, "first defined here"),
            None => error,
        });
    }

    fn warning(&mut self, error: RewriteError, span: Span) {
        let mut diagnostic = Diagnostic::from(WithPlaces::new(error).at(span, ""));
        diagnostic.severity = Severity::Warning;
        self.findings.push(diagnostic);
    }

    fn ruleset(&mut self, set: &ast::Ruleset) -> Option<Ruleset> {
        let contract = self.contract(set);
        let driver = self.driver(set);
        if contract == Some(Contract::Lossy) && driver == Some(Driver::Saturate) {
            let name = set.name.text.to_string();
            self.error(RewriteError::LossySaturated { name }, set.name.span, "");
        }
        let driver_known = driver.unwrap_or(Driver::Greedy);
        let mut names: BTreeMap<Arc<str>, Span> = BTreeMap::new();
        let mut rules: Vec<(i64, Rule)> = Vec::new();
        for member in &set.members {
            let name = match member {
                ast::Member::Rule(rule) => &rule.name,
                ast::Member::CustomPattern(pattern) => &pattern.name,
                ast::Member::Contract(_) | ast::Member::Driver(_) => continue,
            };
            let before = names.insert(name.text.clone(), name.span);
            if before.is_some() {
                self.duplicate("rule", name, before);
            }
            match member {
                ast::Member::Rule(rule) => {
                    let modifiers = self.modifiers(&rule.modifiers, driver_known);
                    let checked = self.rule(name, &rule.docs, &modifiers, &rule.body, driver_known);
                    rules.extend(checked.map(|rule| (modifiers.priority, rule)));
                }
                ast::Member::CustomPattern(pattern) => {
                    if driver == Some(Driver::Saturate) {
                        self.error(RewriteError::GreedyOnly { what: "a custom pattern" }, name.span, "");
                    }
                    let modifiers = self.modifiers(&pattern.modifiers, Driver::Greedy);
                    let checked = match &pattern.form {
                        ast::CustomForm::General { body, more } => {
                            self.arms(name, &pattern.docs, &modifiers, body, more)
                        }
                        ast::CustomForm::Chain { ops, layer } => self.chain(name, &pattern.docs, ops, layer),
                    };
                    let numbered = checked.into_iter().enumerate();
                    let numbered = numbered.map(|(arm, rule)| Rule { custom: true, arm, ..rule });
                    rules.extend(numbered.map(|rule| (modifiers.priority, rule)));
                }
                ast::Member::Contract(_) | ast::Member::Driver(_) => {}
            }
        }
        // Stable: rules of one priority stay in file order.
        rules.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        Some(Ruleset {
            name: set.name.text.clone(),
            doc: set.docs.clone(),
            contract: contract?,
            driver: driver?,
            rules: rules.into_iter().map(|(_, rule)| rule).collect(),
        })
    }

    fn contract(&mut self, set: &ast::Ruleset) -> Option<Contract> {
        let given = set.members.iter().filter_map(|member| match member {
            ast::Member::Contract(name) => Some(name),
            _ => None,
        });
        let known = [("bitexact", Contract::BitExact), ("real", Contract::Real), ("lossy", Contract::Lossy)];
        self.choice(set, "contract", given.collect(), &known)
    }

    fn driver(&mut self, set: &ast::Ruleset) -> Option<Driver> {
        let given = set.members.iter().filter_map(|member| match member {
            ast::Member::Driver(name) => Some(name),
            _ => None,
        });
        self.choice(
            set,
            "driver",
            given.collect(),
            &[("saturate", Driver::Saturate), ("greedy", Driver::Greedy)],
        )
    }

    /// The one setting of its kind, which every set has.
    fn choice<T: Copy>(
        &mut self,
        set: &ast::Ruleset,
        what: &'static str,
        given: Vec<&ast::Name>,
        known: &[(&str, T)],
    ) -> Option<T> {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        if let [first, again, ..] = given.as_slice() {
            self.duplicate(what, again, Some(first.span));
        }
        let Some(name) = given.first() else {
            let error = format!("ruleset `{}` does not state its {what}: {words}", set.name.text);
            let first = known.first().map_or("", |(word, _)| word);
            let advice = format!("write for example `{what} {first}` in it");
            self.advise(RewriteError::Shape(error), set.name.span, advice);
            return None;
        };
        let found = known.iter().find(|(word, _)| *word == &*name.text).map(|(_, value)| *value);
        if found.is_none() {
            let error = format!("the {what} of a ruleset is one of {words}, not `{}`", name.text);
            match nearest(&name.text, known.iter().map(|(word, _)| *word)) {
                Some(meant) => {
                    self.advise(RewriteError::Shape(error), name.span, format!("did you mean `{meant}`?"));
                }
                None => self.error(RewriteError::Shape(error), name.span, ""),
            }
        }
        found
    }

    fn modifiers(&mut self, given: &[ast::Modifier], driver: Driver) -> Modifiers {
        let mut modifiers = Modifiers::default();
        for modifier in given {
            let (name, span) = (&*modifier.name.text, modifier.name.span);
            match (name, &modifier.value) {
                ("expand", None) => modifiers.expand = true,
                ("warn", None) => modifiers.warn = true,
                ("priority", Some(number)) => {
                    if driver == Driver::Saturate {
                        self.error(RewriteError::GreedyOnly { what: "a priority" }, span, "");
                    }
                    match number.read::<i64>() {
                        Some(value) => modifiers.priority = value,
                        None => self.error(
                            RewriteError::Shape("a priority is a whole number".to_owned()),
                            number.span,
                            "",
                        ),
                    }
                }
                _ => self.error(
                    RewriteError::Shape(format!(
                        "a rule is marked with `expand`, `warn` or `priority N`, not with `{name}`{}",
                        if modifier.value.is_some() { " and a number" } else { "" }
                    )),
                    span,
                    "",
                ),
            }
        }
        modifiers
    }

    fn rule(
        &mut self,
        name: &ast::Name,
        docs: &str,
        modifiers: &Modifiers,
        body: &ast::Body,
        driver: Driver,
    ) -> Option<Rule> {
        let before = self.findings.0.len();
        let mut scope = Scope::default();
        let mut left = pattern::Left::default();
        self.pattern(&body.pattern, body.results.as_deref(), &mut scope, &mut left);
        for clause in &body.clauses {
            self.clause(clause, driver, modifiers.warn, &mut scope, &mut left);
        }
        let right = self.right(body, &mut scope);
        let failed = self.findings.0[before..].iter().any(|finding| finding.severity == Severity::Error);
        if failed {
            return None;
        }
        for (name, span) in scope.unread() {
            self.warning(RewriteError::Unused { name: name.to_string() }, span);
        }
        Some(Rule {
            name: name.text.clone(),
            doc: docs.to_owned(),
            span: name.span,
            custom: false,
            arm: 0,
            expand: modifiers.expand,
            slots: scope.names(),
            steps: left.steps,
            guards: left.guards,
            shared: left.shared,
            right: right?,
        })
    }

    /// One rule for each right side of a custom pattern. Conditions before the first hold for all,
    /// those before another for that one.
    fn arms(
        &mut self,
        name: &ast::Name,
        docs: &str,
        modifiers: &Modifiers,
        body: &ast::Body,
        more: &[ast::Arm],
    ) -> Vec<Rule> {
        let before = self.findings.0.len();
        let mut rules = Vec::new();
        rules.extend(self.rule(name, docs, modifiers, body, Driver::Greedy));
        for arm in more {
            let clauses = body.clauses.iter().chain(&arm.clauses).cloned().collect();
            let body = ast::Body { clauses, replacement: arm.replacement.clone(), ..body.clone() };
            let said = self.findings.0.split_off(before);
            rules.extend(self.rule(name, docs, modifiers, &body, Driver::Greedy));
            let new = self.findings.0.split_off(before);
            // They share the left side: its errors are said once, and a name says something if one
            // right side reads it.
            let warning = |finding: &Diagnostic| finding.severity != Severity::Error;
            let lasting = said.iter().filter(|finding| !warning(finding) || new.contains(finding));
            let fresh = new.iter().filter(|finding| !warning(finding) && !said.contains(finding));
            self.findings.0.extend(lasting.chain(fresh).cloned());
        }
        rules
    }

    fn right(&mut self, body: &ast::Body, scope: &mut Scope) -> Option<Right> {
        if scope.partial {
            // What the left side gives is not known; the right side is only looked through.
            body.replacement.iter().for_each(|expr| drop(self.template(expr, scope)));
            return None;
        }
        let count = body.results.as_ref().map_or(1, Vec::len);
        if let [only] = body.replacement.as_slice()
            && count > 1
        {
            let template = self.template(only, scope)?;
            let Template::Op(template) = template else {
                self.count("the right side", &format!("{count} values"), 1, only.span);
                return None;
            };
            let schema = self.registry.find(&template.op).map(|entry| &entry.schema);
            let results = schema.map_or(0, |schema| schema.results.len());
            // Of some operators the attributes say it.
            if results != count && !schema.is_some_and(|schema| schema.any_results) {
                self.count("the right side", &format!("{count} values"), results, only.span);
                return None;
            }
            return Some(Right::Node(template));
        }
        if body.replacement.len() != count {
            let expected = if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
            let first = body.replacement.first().map_or(body.pattern.span, |expr| expr.span);
            let span = body.replacement.last().map_or(first, |last| first.to(last.span));
            self.count("the right side", &expected, body.replacement.len(), span);
            return None;
        }
        let templates: Vec<_> = body.replacement.iter().map(|expr| self.template(expr, scope)).collect();
        Some(Right::Values(templates.into_iter().collect::<Option<_>>()?))
    }

    fn count(&mut self, what: &str, expected: &str, found: usize, span: Span) {
        let error = RewriteError::Count { what: what.to_owned(), expected: expected.to_owned(), found };
        self.error(error, span, "");
    }

    /// The schema of an operator.
    fn schema(&mut self, name: &ast::Name) -> Option<&'a Schema> {
        let registry = self.registry;
        match registry.get(&name.text) {
            Ok(entry) => Some(&entry.schema),
            Err(error) => {
                let found = registry.iter().find(|entry| {
                    let lifts = entry.operator.lifts();
                    lifts.iter().any(|lift| lift.domain.is_empty() && lift.op_type == *name.text)
                });
                match found {
                    Some(entry) => {
                        let advice = format!("ONNX's `{}` is `{}` here", name.text, entry.schema.name);
                        // What the name itself says is better than what it looks like.
                        let error = OpError::UnknownOp { op: name.text.to_string(), similar: None };
                        self.advise(RewriteError::Op(error), name.span, advice);
                    }
                    None => self.error(RewriteError::Op(error), name.span, ""),
                }
                None
            }
        }
    }

    fn unknown_attr(&mut self, op: &str, schema: &Schema, attr: &ast::Name) {
        let known = schema.attrs.iter().map(|spec| spec.name.to_string()).collect();
        let error = OpError::UnknownAttr { op: op.to_owned(), attr: attr.text.to_string(), known };
        self.error(RewriteError::Op(error), attr.span, "");
    }

    /// The rules that say what the chain is, each operator of it read only by the next.
    fn chain(&mut self, name: &ast::Name, docs: &str, ops: &[ast::Name], layer: &ast::Name) -> Vec<Rule> {
        let before = self.findings.0.len();
        for op in ops {
            self.schema(op);
        }
        if self.schema(layer).is_some_and(|schema| !schema.layer) {
            let error = RewriteError::Shape(format!("`{}` is not a layer", layer.text));
            self.error(error, layer.span, "");
        }
        if self.findings.0.len() > before {
            return Vec::new();
        }
        let says = |rule: &&Rule| {
            let makes = match &rule.right {
                Right::Values(values) => match values.as_slice() {
                    [Template::Op(OpTemplate { op, .. })] => *op == layer.text,
                    _ => false,
                },
                Right::Node(_) => false,
            };
            makes && rule.steps.iter().rev().map(|step| &step.op).eq(ops.iter().map(|op| &op.text))
        };
        let rules: Vec<Rule> = self
            .fusions
            .iter()
            .flat_map(|set| &set.rules)
            .filter(says)
            .map(|rule| {
                let mut rule = rule.clone();
                rule.name = name.text.clone();
                rule.doc = docs.to_owned();
                rule.span = name.span;
                let single = rule.steps.iter().enumerate().skip(1).filter_map(|(after, step)| {
                    let condition = Condition::SingleUse(*step.results.first()?);
                    Some(Guard { condition, after, span: name.span, warn: false })
                });
                rule.guards.extend(single.collect::<Vec<_>>());
                rule
            })
            .collect();
        if rules.is_empty() {
            let words: Vec<String> = ops.iter().map(|op| format!("`{}`", op.text)).collect();
            let error = RewriteError::NoChain { chain: words.join(", "), layer: layer.text.to_string() };
            let last = ops.last().map_or(name.span, |last| last.span);
            let span = ops.first().map_or(name.span, |first| first.span.to(last));
            self.error(error, span, "");
        }
        rules
    }
}
