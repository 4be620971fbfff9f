//! Matching a left side and building a right side, over any form of a graph: the same for both
//! drivers, so that they cannot disagree about what a rule says.

use std::sync::Arc;

use super::constant::Constant;
use super::expr::{Data, Expr, Fact, Scope};
use super::rule::{
    AttrPattern, Condition, OpTemplate, OperandPattern, Right, Rule, Slot, Splat, Step, Template,
};
use crate::diag::Loc;
use crate::ir::{Attr, Attrs, Graph, Kind, ValueId};
use crate::ops::{Call, OpError, Registry};
use crate::tensor::{DType, Element, Tensor, TensorType};

/// Operators that the quantizer of an input takes in: what they make of an input still counts as
/// it.
pub const ENTRY: [&str; 2] = ["cast", "transpose"];

/// Whether a value counts as an input of the graph.
pub fn is_entry(graph: &Graph, mut value: ValueId) -> bool {
    loop {
        let node = graph.node(value.node);
        match (&node.kind, node.operand(0)) {
            (Kind::Input, _) => return true,
            (Kind::Op { op, .. }, Some(operand)) if ENTRY.contains(&&**op) => value = operand,
            _ => return false,
        }
    }
}

/// A graph in which a value may have several makers.
pub trait View {
    type Value: Copy + Eq;
    type Node: Copy;

    /// The nodes of operator `op` that make `value`, alone or beside other results.
    fn makers(&self, value: Self::Value, op: &str) -> Vec<Self::Node>;
    fn results(&self, node: Self::Node) -> Vec<Self::Value>;
    fn operands(&self, node: Self::Node) -> Vec<Option<Self::Value>>;
    fn attrs(&self, node: Self::Node) -> &Attrs;
    fn fact(&self, value: Self::Value) -> Fact;
    fn single_use(&self, value: Self::Value) -> bool;
    /// Whether a left side may match a value that is made from itself (x = x + 0): that says nothing new,
    /// and never ends.
    fn circular(&self) -> bool;
    fn registry(&self) -> &Registry;
}

/// What a variable stands for.
#[derive(Clone, Debug)]
pub enum Binding<V> {
    Value(V),
    Absent,
    Data(Data),
    /// Operands of `..more`.
    More(Vec<Option<V>>),
    /// Attributes of `..rest`.
    Rest(Vec<(Arc<str>, Attr)>),
}

/// One way in which a left side fits.
pub struct Match<G: View + ?Sized> {
    pub bindings: Vec<Option<Binding<G::Value>>>,
    /// The node of each step.
    pub nodes: Vec<G::Node>,
}

impl<G: View + ?Sized> Clone for Match<G> {
    fn clone(&self) -> Self {
        Self { bindings: self.bindings.clone(), nodes: self.nodes.clone() }
    }
}

/// A match that failed only at a condition that is to be reported.
pub struct NearMiss<G: View + ?Sized> {
    pub found: Match<G>,
    /// Position in [`Rule::guards`].
    pub guard: usize,
}

/// What conditions see of the variables of a rule.
pub struct Bound<'a, G: View + ?Sized> {
    pub view: &'a G,
    pub rule: &'a Rule,
    pub bindings: &'a [Option<Binding<G::Value>>],
}

impl<G: View + ?Sized> Scope for Bound<'_, G> {
    fn get(&self, slot: Slot) -> Option<Data> {
        let Some(binding) = self.bindings.get(slot)? else {
            // A value of the right side that a condition asks for: known if it is constant.
            let (_, template) = self.rule.shared.iter().find(|(shared, _)| *shared == slot)?;
            return self.constant(template)?.tensor(self.view.registry()).ok().map(Data::Tensor);
        };
        match binding {
            Binding::Value(value) => Some(Data::Value(Some(self.view.fact(*value)))),
            Binding::Absent => Some(Data::Value(None)),
            Binding::Data(data) => Some(data.clone()),
            // Known by its length.
            Binding::More(more) => Some(Data::Attr(Attr::Int(i64::try_from(more.len()).ok()?))),
            Binding::Rest(_) => None,
        }
    }
}

impl<G: View + ?Sized> Bound<'_, G> {
    fn eval(&self, expr: &Expr) -> Result<Data, Unbuilt> {
        expr.eval(self, self.view.registry()).ok_or(Unbuilt::Quiet)
    }

    /// The complete attributes of a node to be made.
    fn attrs(&self, template: &OpTemplate) -> Result<Attrs, Unbuilt> {
        let mut attrs = Attrs::new();
        if let Some(splat) = &template.rest {
            self.pour(splat, &mut attrs)?;
        }
        for (name, expr) in &template.attrs {
            let Data::Attr(attr) = self.eval(expr)? else { return Err(Unbuilt::Quiet) };
            attrs.set(name, attr);
        }
        let registry = self.view.registry();
        let entry = registry.get(&template.op)?;
        Ok(registry.complete(&template.op, coerce(&entry.schema, attrs))?)
    }

    fn pour(&self, splat: &Splat, attrs: &mut Attrs) -> Result<(), Unbuilt> {
        let Some(Some(Binding::Rest(rest))) = self.bindings.get(splat.rest) else {
            return Err(Unbuilt::Quiet);
        };
        let get = |name: &str| rest.iter().find(|(other, _)| &**other == name).map(|(_, attr)| attr);
        for (name, default) in &splat.default {
            if get(name) != default.as_ref() {
                return Err(Unbuilt::Quiet);
            }
        }
        for name in &splat.keep {
            if let Some(attr) = get(name) {
                attrs.set(name, attr.clone());
            }
        }
        Ok(())
    }

    /// The constant that a value of the right side will be, if it will be one.
    fn constant(&self, template: &Template) -> Option<Constant> {
        let given = |data: Data| match data {
            Data::Value(fact) => fact?.constant,
            data => tensor_of(data).map(Constant::given),
        };
        match template {
            Template::Absent | Template::More(_) => None,
            Template::Slot(slot) => given(self.get(*slot)?),
            Template::Tensor(expr) => given(self.eval(expr).ok()?),
            Template::Op(template) => {
                let absent = |operand: &Template| match operand {
                    Template::Absent => true,
                    Template::Slot(slot) => matches!(self.get(*slot), Some(Data::Value(None))),
                    Template::Tensor(_) | Template::Op(_) | Template::More(_) => false,
                };
                let operands: Vec<Option<Constant>> = template
                    .operands
                    .iter()
                    .map(
                        |operand| if absent(operand) { Some(None) } else { self.constant(operand).map(Some) },
                    )
                    .collect::<Option<_>>()?;
                let registry = self.view.registry();
                let tensors = operands.iter().map(|operand| match operand {
                    Some(constant) => Some(Some(constant.tensor(registry).ok()?.tensor_type())),
                    None => Some(None),
                });
                let types: Vec<Option<TensorType>> = tensors.collect::<Option<_>>()?;
                let attrs = self.attrs(template).ok()?;
                let results = registry.infer(&template.op, &attrs, &types).ok()?;
                let given: Vec<Option<&Constant>> = operands.iter().map(Option::as_ref).collect();
                Constant::computed(registry, &template.op, &attrs, &given, &types, &results)?
                    .into_iter()
                    .next()
            }
        }
    }
}

/// The constant that data is as a value: a number as a rank-0 tensor (f32, or i64), a list as a vector.
pub fn tensor_of(data: Data) -> Option<Arc<Tensor>> {
    Some(match data {
        Data::Tensor(tensor) => tensor,
        Data::Attr(Attr::Float(v)) => Arc::new(Tensor::scalar(v)),
        Data::Attr(Attr::Int(v)) => Arc::new(Tensor::scalar(v)),
        Data::Attr(Attr::Floats(v)) => Arc::new(Tensor::vector(v.to_vec())),
        Data::Attr(Attr::Ints(v)) => Arc::new(Tensor::vector(v.to_vec())),
        _ => return None,
    })
}

/// The first thing of a left side that does not fit, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// No operator of this name makes the value.
    Op,
    /// The operator has another number of results.
    Results,
    /// It has more operands.
    Operands,
    /// This operand of the step.
    Operand(usize),
    /// This attribute of the step, by position in [`Step::attrs`].
    Attr(usize),
    /// This condition, by position in [`Rule::guards`].
    Guard(usize),
}

/// How far a left side fits.
pub struct Partial<G: View + ?Sized> {
    /// Its last node is the one at fault, unless none could be found ([`Miss::Op`]).
    pub found: Match<G>,
    /// The step at fault.
    pub step: usize,
    pub miss: Miss,
}

/// Every match of `rule` rooted at `root`, and the near misses.
pub fn matches<G: View + ?Sized>(view: &G, rule: &Rule, root: G::Node) -> (Vec<Match<G>>, Vec<NearMiss<G>>) {
    let mut matcher = Matcher { view, rule, found: Vec::new(), missed: Vec::new(), furthest: None };
    matcher.node(Match { bindings: vec![None; rule.slots.len()], nodes: Vec::new() }, root);
    (matcher.found, matcher.missed)
}

/// The first match of `rule` rooted at `root`, a node of the outermost operator; else how far it fits.
pub fn furthest<G: View + ?Sized>(view: &G, rule: &Rule, root: G::Node) -> Result<Match<G>, Partial<G>> {
    let empty = || Match { bindings: vec![None; rule.slots.len()], nodes: Vec::new() };
    let nothing = Partial { found: empty(), step: 0, miss: Miss::Op };
    let furthest = Some(nothing);
    let mut matcher = Matcher { view, rule, found: Vec::new(), missed: Vec::new(), furthest };
    matcher.node(empty(), root);
    let missed = matcher.missed.into_iter().next().map(|missed| Partial {
        step: rule.guards.get(missed.guard).map_or(0, |guard| guard.after),
        found: missed.found,
        miss: Miss::Guard(missed.guard),
    });
    match (matcher.found.into_iter().next(), missed.or(matcher.furthest)) {
        (Some(found), _) => Ok(found),
        (None, Some(partial)) => Err(partial),
        (None, None) => Err(Partial { found: empty(), step: 0, miss: Miss::Op }),
    }
}

struct Matcher<'a, G: View + ?Sized> {
    view: &'a G,
    rule: &'a Rule,
    found: Vec<Match<G>>,
    missed: Vec<NearMiss<G>>,
    /// Kept only for those who ask.
    furthest: Option<Partial<G>>,
}

impl<G: View + ?Sized> Matcher<'_, G> {
    /// Goes on with `node` as the node of the next step.
    fn node(&mut self, mut at: Match<G>, node: G::Node) {
        let position = at.nodes.len();
        let Some(step) = self.rule.steps.get(position) else { return };
        at.nodes.push(node);
        if let Err(miss) = self.bind(step, node, &mut at.bindings) {
            return self.miss(&at, position, miss);
        }
        let last = position + 1 == self.rule.steps.len();
        let mut missed = None;
        for (index, guard) in self.rule.guards.iter().enumerate() {
            // A guard that reports waits for everything else.
            let due = if guard.warn { last } else { guard.after == position };
            if due && !self.guard(&guard.condition, &mut at.bindings) {
                if !guard.warn {
                    return self.miss(&at, position, Miss::Guard(index));
                }
                missed = missed.or(Some(index));
            }
        }
        if !last {
            return self.step(at);
        }
        match missed {
            Some(guard) => self.missed.push(NearMiss { found: at, guard }),
            None => self.found.push(at),
        }
    }

    /// Tries every node that may be the next step's.
    fn step(&mut self, at: Match<G>) {
        let Some(step) = self.rule.steps.get(at.nodes.len()) else { return };
        // An earlier step read one of the results of a nested operator.
        let read = step.results.iter().find_map(|&slot| match at.bindings.get(slot) {
            Some(Some(Binding::Value(value))) => Some(*value),
            _ => None,
        });
        let Some(value) = read else { return };
        let mut above = at.nodes.iter().take(1).flat_map(|&node| self.view.results(node));
        if !self.view.circular() && above.any(|other| other == value) {
            return;
        }
        let makers = self.view.makers(value, &step.op);
        if makers.is_empty() {
            return self.miss(&at, at.nodes.len(), Miss::Op);
        }
        for node in makers {
            self.node(at.clone(), node);
        }
    }

    /// Notes how far this way led, if it is further than others did.
    fn miss(&mut self, at: &Match<G>, step: usize, miss: Miss) {
        if let Some(furthest) = &mut self.furthest
            && (furthest.step, furthest.miss) < (step, miss)
        {
            *furthest = Partial { found: at.clone(), step, miss };
        }
    }

    fn bind(
        &self,
        step: &Step,
        node: G::Node,
        bindings: &mut [Option<Binding<G::Value>>],
    ) -> Result<(), Miss> {
        let results = self.view.results(node);
        if results.len() != step.results.len() {
            return Err(Miss::Results);
        }
        for (&slot, value) in step.results.iter().zip(results) {
            set(bindings, slot, Binding::Value(value)).ok_or(Miss::Results)?;
        }
        let operands = self.view.operands(node);
        if operands.len() > step.operands.len() && step.more.is_none() {
            return Err(Miss::Operands);
        }
        for (position, pattern) in step.operands.iter().enumerate() {
            let operand = operands.get(position).copied().flatten();
            self.operand(pattern, operand, bindings).ok_or(Miss::Operand(position))?;
        }
        if let Some(slot) = step.more {
            let more = operands.get(step.operands.len()..).unwrap_or_default().to_vec();
            set(bindings, slot, Binding::More(more)).ok_or(Miss::Operands)?;
        }
        let attrs = self.view.attrs(node);
        for (at, (name, pattern)) in step.attrs.iter().enumerate() {
            bind_attr(bindings, pattern, attrs.get(name)).ok_or(Miss::Attr(at))?;
        }
        if let Some(slot) = step.rest {
            let rest = attrs
                .iter()
                .filter(|(name, _)| step.attrs.iter().all(|(named, _)| &**named != *name))
                .map(|(name, attr)| (Arc::from(name), attr.clone()))
                .collect();
            set(bindings, slot, Binding::Rest(rest)).ok_or(Miss::Attr(step.attrs.len()))?;
        }
        Ok(())
    }

    fn operand(
        &self,
        pattern: &OperandPattern,
        operand: Option<G::Value>,
        bindings: &mut [Option<Binding<G::Value>>],
    ) -> Option<()> {
        match (pattern, operand) {
            (OperandPattern::Value(slot) | OperandPattern::Optional(slot), Some(value)) => {
                set(bindings, *slot, Binding::Value(value))
            }
            (OperandPattern::Optional(slot), None) => set(bindings, *slot, Binding::Absent),
            (OperandPattern::Absent, None) => Some(()),
            (OperandPattern::Number(number), Some(value)) => {
                let tensor = self.view.fact(value).constant?.tensor(self.view.registry()).ok()?;
                filled_with(&tensor, *number).then_some(())
            }
            (OperandPattern::Numbers(numbers), Some(value)) => {
                let tensor = self.view.fact(value).constant?.tensor(self.view.registry()).ok()?;
                vector_of(&tensor, numbers).then_some(())
            }
            _ => None,
        }
    }

    fn guard(&self, condition: &Condition, bindings: &mut [Option<Binding<G::Value>>]) -> bool {
        let scope = Bound { view: self.view, rule: self.rule, bindings };
        match condition {
            Condition::Holds(expr) => expr.holds(&scope, self.view.registry()) == Some(true),
            Condition::Let(slot, expr) => match expr.eval(&scope, self.view.registry()) {
                Some(data) => set(bindings, *slot, Binding::Data(data)).is_some(),
                None => false,
            },
            Condition::SingleUse(slot) => {
                matches!(bindings.get(*slot), Some(Some(Binding::Value(value))) if self.view.single_use(*value))
            }
        }
    }
}

/// Whether a tensor has elements, all of them equal to `number` in its storage.
fn filled_with(tensor: &Tensor, number: f64) -> bool {
    !tensor.is_empty() && equals(tensor, std::iter::repeat_n(number, tensor.len()))
}

/// Whether a tensor is the vector of these numbers in its storage.
fn vector_of(tensor: &Tensor, numbers: &[f64]) -> bool {
    tensor.sizes() == [numbers.len()] && equals(tensor, numbers.iter().copied())
}

/// Whether the elements are these numbers, each as the storage would read its text.
fn equals(tensor: &Tensor, numbers: impl Iterator<Item = f64>) -> bool {
    fn all<T: Element>(tensor: &Tensor, mut numbers: impl Iterator<Item = Option<T>>) -> bool {
        tensor.elements::<T>().is_some_and(|elements| {
            elements.iter().all(|element| numbers.next().flatten().is_some_and(|number| *element == number))
        })
    }
    let whole = |number: f64| (number.fract() == 0.0).then_some(number);
    match tensor.dtype() {
        DType::F32 => all(tensor, numbers.map(|number| Some(number as f32))),
        DType::F64 => all(tensor, numbers.map(Some)),
        DType::I64 => all(tensor, numbers.map(|number| Some(whole(number)? as i64))),
        DType::I32 => all(tensor, numbers.map(|number| Some(whole(number)? as i32))),
        _ => false,
    }
}

fn bind_attr<V: Copy + Eq>(
    bindings: &mut [Option<Binding<V>>],
    pattern: &AttrPattern,
    attr: Option<&Attr>,
) -> Option<()> {
    match (pattern, attr) {
        (AttrPattern::Any, Some(_)) => Some(()),
        (AttrPattern::Bind(slot), Some(attr)) => {
            set(bindings, *slot, Binding::Data(Data::Attr(attr.clone())))
        }
        (AttrPattern::Equals(expected), found) => (expected.as_ref() == found).then_some(()),
        (AttrPattern::List(patterns), Some(Attr::Ints(items))) if patterns.len() == items.len() => patterns
            .iter()
            .zip(items.iter())
            .try_for_each(|(p, v)| bind_attr(bindings, p, Some(&Attr::Int(*v)))),
        (AttrPattern::List(patterns), Some(Attr::Floats(items))) if patterns.len() == items.len() => patterns
            .iter()
            .zip(items.iter())
            .try_for_each(|(p, v)| bind_attr(bindings, p, Some(&Attr::Float(*v)))),
        _ => None,
    }
}

/// Binds a variable; one that is bound must have the same value.
fn set<V: Copy + Eq>(bindings: &mut [Option<Binding<V>>], slot: Slot, new: Binding<V>) -> Option<()> {
    let place = bindings.get_mut(slot)?;
    let agrees = match (&*place, &new) {
        (None, _) => {
            *place = Some(new);
            return Some(());
        }
        (Some(Binding::Value(a)), Binding::Value(b)) => a == b,
        (Some(Binding::Absent), Binding::Absent) => true,
        (Some(Binding::Data(Data::Attr(a))), Binding::Data(Data::Attr(b))) => a == b,
        (Some(Binding::Data(Data::Type(a))), Binding::Data(Data::Type(b))) => a == b,
        _ => false,
    };
    agrees.then_some(())
}

/// The words for a condition that failed.
pub fn explain<G: View + ?Sized>(view: &G, rule: &Rule, missed: &NearMiss<G>) -> Option<String> {
    let scope = Bound { view, rule, bindings: &missed.found.bindings };
    match &rule.guards.get(missed.guard)?.condition {
        Condition::Holds(Expr::Call(helper, args)) => {
            let args =
                args.iter().map(|arg| arg.eval(&scope, view.registry())).collect::<Option<Vec<_>>>()?;
            helper.explain(&args, view.registry())
        }
        _ => None,
    }
}

// ---- right sides

/// What a new node is called and where it comes from.
#[derive(Clone, Debug)]
pub struct Hint {
    /// Name of the node in model files; `None`: as its first result.
    pub name: Option<Arc<str>>,
    pub loc: Loc,
}

/// A graph that takes new nodes.
pub trait Make: View {
    /// Adds a node and gives its results. Attributes are complete; `types` are those of the
    /// results.
    fn make(
        &mut self,
        op: &Arc<str>,
        attrs: Attrs,
        operands: Vec<Option<Self::Value>>,
        types: Vec<TensorType>,
        hint: Hint,
    ) -> Vec<Self::Value>;

    fn tensor(&mut self, tensor: Arc<Tensor>) -> Self::Value;

    fn node_name(&self, node: Self::Node) -> Arc<str>;
    fn loc(&self, node: Self::Node) -> Loc;
    fn op(&self, node: Self::Node) -> Arc<str>;
}

/// Why a right side could not be built.
pub enum Unbuilt {
    /// Some expression has no value: the rule does not apply.
    Quiet,
    /// The rule makes a node that may not exist, or a value of another type.
    Broken(Box<Broken>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    Op(OpError),
    Type { from: TensorType, to: TensorType },
}

impl From<OpError> for Unbuilt {
    fn from(error: OpError) -> Self {
        Unbuilt::Broken(Box::new(Broken::Op(error)))
    }
}

/// Builds the right side of a match; gives the value for each result of the root, types checked.
pub fn build<G: Make + ?Sized>(
    view: &mut G,
    rule: &Rule,
    found: &Match<G>,
) -> Result<Vec<G::Value>, Unbuilt> {
    let Some(&root) = found.nodes.first() else { return Err(Unbuilt::Quiet) };
    let old = view.results(root);
    let types: Vec<TensorType> = old.iter().map(|&value| view.fact(value).ty).collect();
    let names = Names::new(view, found);
    let mut builder = Builder { view, rule, bindings: found.bindings.clone(), names };
    let new = match &rule.right {
        Right::Node(template) => builder.node(template, Some(&types))?,
        Right::Values(templates) => {
            let declare = |i: usize| types.get(i..=i);
            templates
                .iter()
                .enumerate()
                .map(|(i, template)| builder.value(template, declare(i))?.ok_or(Unbuilt::Quiet))
                .collect::<Result<_, _>>()?
        }
    };
    if new.len() != types.len() {
        return Err(Unbuilt::Quiet);
    }
    for (&value, from) in new.iter().zip(types) {
        let to = view.fact(value).ty;
        if from != to {
            return Err(Unbuilt::Broken(Box::new(Broken::Type { from, to })));
        }
    }
    Ok(new)
}

/// Names and places of the matched nodes, to be handed on to the new ones.
struct Names {
    loc: Loc,
    /// Operator and name of matched nodes that no new node took yet, outermost first.
    free: Vec<(Arc<str>, Arc<str>)>,
    /// For a new outermost node whose operator was not matched.
    main: Arc<str>,
}

impl Names {
    fn new<G: Make + ?Sized>(view: &G, found: &Match<G>) -> Self {
        let locs: Vec<Loc> = found.nodes.iter().map(|&node| view.loc(node)).collect();
        let free: Vec<_> = found.nodes.iter().map(|&node| (view.op(node), view.node_name(node))).collect();
        let heaviest = || {
            let weight = |node: G::Node| macs(view, node);
            (0..found.nodes.len()).max_by_key(|&at| found.nodes.get(at).map_or(0, |&node| weight(node)))
        };
        // max_by_key takes the last of equals: the innermost.
        let main = heaviest().and_then(|at| free.get(at));
        let main = main.map(|(_, name)| name.clone()).unwrap_or_default();
        Self { loc: Loc::merged(&locs), free, main }
    }

    fn hint(&mut self, op: &str, root: bool) -> Hint {
        let same = self.free.iter().position(|(matched, _)| &**matched == op);
        let name = match same {
            Some(at) => Some(self.free.remove(at).1),
            None if root => Some(self.main.clone()),
            None => None,
        };
        Hint { name, loc: self.loc.clone() }
    }
}

/// Multiply-accumulates of a matched node.
fn macs<G: Make + ?Sized>(view: &G, node: G::Node) -> u64 {
    let Ok(entry) = view.registry().get(&view.op(node)) else { return 0 };
    let operands: Vec<_> =
        view.operands(node).into_iter().map(|value| value.map(|value| view.fact(value).ty)).collect();
    entry.operator.macs(&Call { schema: &entry.schema, attrs: view.attrs(node), operands: &operands })
}

struct Builder<'a, G: Make + ?Sized> {
    view: &'a mut G,
    rule: &'a Rule,
    bindings: Vec<Option<Binding<G::Value>>>,
    names: Names,
}

impl<G: Make + ?Sized> Builder<'_, G> {
    /// `declare` is set for outermost templates: the type of the value that is replaced.
    fn value(
        &mut self,
        template: &Template,
        declare: Option<&[TensorType]>,
    ) -> Result<Option<G::Value>, Unbuilt> {
        match template {
            Template::Absent => Ok(None),
            // Several values, poured where operands are.
            Template::More(_) => Err(Unbuilt::Quiet),
            Template::Slot(slot) => {
                if let Some((_, shared)) = self.rule.shared.iter().find(|(shared, _)| shared == slot)
                    && self.bindings.get(*slot).is_none_or(Option::is_none)
                {
                    let made = self.value(shared, None)?;
                    let binding = made.map_or(Binding::Absent, Binding::Value);
                    if let Some(place) = self.bindings.get_mut(*slot) {
                        *place = Some(binding);
                    }
                    return Ok(made);
                }
                match self.bindings.get(*slot) {
                    Some(Some(Binding::Value(value))) => Ok(Some(*value)),
                    Some(Some(Binding::Absent)) => Ok(None),
                    Some(Some(Binding::Data(data))) => self.constant(data.clone()).map(Some),
                    _ => Err(Unbuilt::Quiet),
                }
            }
            Template::Tensor(expr) => {
                let data = self.bound().eval(expr)?;
                self.constant(data).map(Some)
            }
            Template::Op(template) => Ok(self.node(template, declare)?.first().copied()),
        }
    }

    fn constant(&mut self, data: Data) -> Result<G::Value, Unbuilt> {
        let tensor = tensor_of(data).ok_or(Unbuilt::Quiet)?;
        Ok(self.view.tensor(tensor))
    }

    fn bound(&self) -> Bound<'_, G> {
        Bound { view: &*self.view, rule: self.rule, bindings: &self.bindings }
    }

    fn node(
        &mut self,
        template: &OpTemplate,
        declare: Option<&[TensorType]>,
    ) -> Result<Vec<G::Value>, Unbuilt> {
        // The outermost node is named first, before an inner one of the same operator.
        let hint = self.names.hint(&template.op, declare.is_some());
        let mut operands = Vec::with_capacity(template.operands.len());
        for operand in &template.operands {
            match operand {
                Template::More(slot) => match self.bindings.get(*slot) {
                    Some(Some(Binding::More(more))) => operands.extend_from_slice(more),
                    _ => return Err(Unbuilt::Quiet),
                },
                operand => operands.push(self.value(operand, None)?),
            }
        }
        while operands.last() == Some(&None) {
            operands.pop();
        }
        let attrs = self.bound().attrs(template)?;
        let registry = self.view.registry();
        let entry = registry.get(&template.op)?;
        let operand_types: Vec<_> =
            operands.iter().map(|value| value.map(|value| self.view.fact(value).ty)).collect();
        let mut types = registry.infer(&template.op, &attrs, &operand_types)?;
        if entry.schema.assigns_grid
            && let Some(declare) = declare
        {
            for (ty, declared) in types.iter_mut().zip(declare) {
                if ty.shape == declared.shape && ty.storage() == declared.storage() {
                    *ty = declared.clone();
                }
            }
        }
        Ok(self.view.make(&template.op, attrs, operands, types, hint))
    }
}

/// An integer where the schema has a float becomes one, as in the text form.
pub fn coerce(schema: &crate::ops::Schema, attrs: Attrs) -> Attrs {
    let coerced = |name: &str, attr: &Attr| match (schema.attr_spec(name).map(|spec| spec.kind), attr) {
        (Some(crate::ir::AttrKind::Float), Attr::Int(v)) => Attr::Float(*v as f32),
        _ => attr.clone(),
    };
    attrs.iter().map(|(name, attr)| (Arc::from(name), coerced(name, attr))).collect()
}
