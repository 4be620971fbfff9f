//! The variables of one rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::expr::Kind;
use super::super::rule::Slot;
use crate::diag::Span;

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Data(Kind),
    /// A value of the graph; with `true` it may be absent.
    Value(bool),
    /// Operands of `..more`.
    More,
    /// The attributes of an operator that its pattern does not name.
    Rest {
        op: Arc<str>,
        named: Vec<Arc<str>>,
    },
    /// A value of the right side.
    Shared,
}

impl Meaning {
    pub fn words(&self) -> String {
        match self {
            Meaning::Data(kind) => kind.name().to_owned(),
            Meaning::Value(false) => "value".to_owned(),
            Meaning::Value(true) => "operand that may be absent".to_owned(),
            Meaning::More => "rest of operands".to_owned(),
            Meaning::Rest { .. } => "rest of attributes".to_owned(),
            Meaning::Shared => "value of the right side".to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Variable {
    pub name: Arc<str>,
    pub meaning: Meaning,
    pub span: Span,
    /// Position of the step after which it is bound.
    pub step: usize,
    read: bool,
}

#[derive(Default)]
pub struct Scope {
    variables: Vec<Variable>,
    /// The first variable of each name.
    by_name: BTreeMap<Arc<str>, Slot>,
    /// What `result` stands for.
    result: Option<Slot>,
    /// Part of the left side could not be read, so names may be missing through no fault of theirs.
    pub partial: bool,
}

impl Scope {
    /// A new variable.
    pub fn bind(&mut self, name: Arc<str>, meaning: Meaning, span: Span, step: usize) -> Slot {
        let slot = self.variables.len();
        self.by_name.entry(name.clone()).or_insert(slot);
        self.variables.push(Variable { name, meaning, span, step, read: false });
        slot
    }

    /// A variable that nothing can name.
    pub fn hidden(&mut self, span: Span, step: usize) -> Slot {
        let slot = self.bind("".into(), Meaning::Value(false), span, step);
        self.read(slot);
        slot
    }

    pub fn set_result(&mut self, slot: Slot) {
        self.result = Some(slot);
    }

    pub fn find(&self, name: &str) -> Option<Slot> {
        if name == "result" {
            return self.result;
        }
        self.by_name.get(name).copied()
    }

    pub fn get(&self, slot: Slot) -> Option<&Variable> {
        self.variables.get(slot)
    }

    /// Notes that a variable says something: it is read, or compared with another place.
    pub fn read(&mut self, slot: Slot) {
        if let Some(variable) = self.variables.get_mut(slot) {
            variable.read = true;
        }
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.variables.iter().map(|variable| variable.name.clone()).collect()
    }

    /// The names that can be read, for suggestions.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| &*variable.name).filter(|name| !name.is_empty())
    }

    /// Variables that say nothing; a leading underscore means that they need not.
    pub fn unread(&self) -> Vec<(Arc<str>, Span)> {
        self.variables
            .iter()
            .filter(|variable| !variable.read && !variable.name.starts_with('_'))
            .map(|variable| (variable.name.clone(), variable.span))
            .collect()
    }
}
