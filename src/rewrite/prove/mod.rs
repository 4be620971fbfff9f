//! The contract of rules, put to the test.
//!
//! Guarantees: every instance that counts was confirmed by the matcher that the engines use, and its
//! right side was built by their builder; a counter-example is a graph that shows the fault by
//! itself; reports depend on rules and [`Checks`] only, and come in the order of the files.

mod attributes;
mod candidates;
mod choices;
mod compare;
mod draft;
mod example;
mod finding;
mod instance;
mod lattice;
mod layers;
mod numbers;
mod operands;
mod plan;
mod refused;
mod search;
mod shapes;
mod sheet;
mod shrink;
mod statics;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

pub use finding::{CheckError, Finding, RuleReport};
pub use layers::{LayerReport, check_layers};

use super::rule::{Contract, Driver, Rule, Ruleset};
use crate::diag::{Diagnostic, Severity, Span, WithPlaces};
use crate::ir::Attr;
use crate::ops::Registry;
use crate::tensor::DType;
use choices::Choices;
use instance::{Held, Instance, Origin};
use numbers::{Flavour, drawn};
use plan::Plan;
use search::Search;
use shrink::{Case, Found};
use trial::{Fault, Outcome, Seen, Trial, trial};

/// How much is tested.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// Instances of each rule; small ones are tested in greater number.
    pub instances: usize,
    /// Attempts to find them, for each rule.
    pub attempts: usize,
    pub seed: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self { instances: 64, attempts: 4096, seed: 0 }
    }
}

/// Tests every rule, or those of one name, against the contract of its set.
pub fn check(sets: &[Ruleset], only: Option<&str>, registry: &Registry, checks: &Checks) -> Vec<RuleReport> {
    let rules: Vec<(&Ruleset, &Rule)> =
        sets.iter().flat_map(|set| set.rules.iter().map(move |rule| (set, rule))).collect();
    let asked = |(_, rule): &(&Ruleset, &Rule)| only.is_none_or(|only| *rule.name == *only);
    let tested = rules.into_par_iter().filter(asked);
    let mut reports: Vec<RuleReport> =
        tested.map(|(set, rule)| Prover::new(set, rule, registry, checks).run()).collect();
    // Rules that keep each other going are reported once.
    let mut told = BTreeSet::new();
    for report in &mut reports {
        report.findings.retain(|finding| {
            let labels = finding.diagnostic.labels.iter().map(|label| label.place.clone());
            finding.diagnostic.code != "Q0546" || told.insert(labels.collect::<BTreeSet<_>>())
        });
    }
    reports
}

/// Work that instances beyond the number asked for may take, in elements, and how many times that number
/// they may be.
const WORK: usize = 5 << 19;
const TIMES: usize = 16;

/// What an instance takes whatever its size, in elements.
const EACH: usize = 1 << 10;

/// Nodes that are drawn, and attempts that are made, before a rule without an instance is given up.
const NODES: usize = 1 << 15;
const NOTHING: usize = 1 << 10;

/// Instances whose choices are kept, to vary them.
const VARIED: usize = 32;

/// Instances that a rule is looked at with beside the others of its set.
const KEPT: usize = 16;

/// Whether no one needs to hear of a fault: products of 8-bit integers occur in bodies of layers, and
/// hardly an operator calculates with their operands, so right sides rarely fit there.
fn excused(instance: &Instance, fault: &Fault) -> bool {
    !matches!(fault, Fault::Differs(_)) && has_bytes(instance)
}

fn has_bytes(instance: &Instance) -> bool {
    let bytes = |held: &Held| matches!(held.ty.storage(), DType::I8 | DType::U8);
    instance.values.iter().any(bytes)
}

/// Whether all inputs are f32, or all constants where it has no inputs.
fn usual(instance: &Instance) -> bool {
    let inputs = instance.inputs().next().is_some();
    let counts = |origin: &Origin| match origin {
        Origin::Input(_) => true,
        Origin::Constant(_) => !inputs,
        Origin::Result => false,
    };
    instance.values.iter().filter(|held| counts(&held.origin)).all(|held| held.ty.storage() == DType::F32)
}

struct Prover<'a> {
    set: &'a Ruleset,
    plan: Plan<'a>,
    rounds: bool,
    registry: &'a Registry,
    checks: &'a Checks,
    report: RuleReport,
    /// Instances that cost something, and where the right side costs more, alone and where an inner
    /// value is shared.
    priced: usize,
    worse: usize,
    shared: usize,
    /// The smallest of either.
    worse_example: Option<(usize, String)>,
    shared_example: Option<(usize, String, String)>,
    /// The numbers of inputs that instances had.
    inputs: BTreeSet<usize>,
    /// Instances over f32, and those without 8-bit integers.
    usual: usize,
    without_bytes: usize,
    /// The first instances.
    kept: Vec<Instance>,
    /// The first fault on other storages, and the choices that led there.
    elsewhere: Option<(Found, Vec<u32>)>,
    /// Why the right side of a custom pattern cannot be made, where it was tried last.
    unmade: Option<String>,
    /// What stood in the way of instances most often.
    refused: Option<(Span, String)>,
    /// Elements computed.
    work: usize,
}

impl<'a> Prover<'a> {
    fn new(set: &'a Ruleset, rule: &'a Rule, registry: &'a Registry, checks: &'a Checks) -> Self {
        let plan = Plan::new(rule, registry);
        let report = RuleReport {
            ruleset: set.name.clone(),
            rule: rule.name.clone(),
            contract: set.contract,
            instances: 0,
            drawn: 0,
            attempts: 0,
            quiet: 0,
            undefined: 0,
            lattices: Vec::new(),
            worst: 0.0,
            findings: Vec::new(),
        };
        let rounds = plan.rounds();
        Self {
            set,
            plan,
            rounds,
            registry,
            checks,
            report,
            priced: 0,
            worse: 0,
            shared: 0,
            worse_example: None,
            shared_example: None,
            inputs: BTreeSet::new(),
            usual: 0,
            without_bytes: 0,
            kept: Vec::new(),
            elsewhere: None,
            unmade: None,
            refused: None,
            work: 0,
        }
    }

    fn case(&self) -> Case<'a> {
        Case {
            rule: self.plan.rule,
            contract: self.set.contract,
            rounds: self.rounds,
            registry: self.registry,
        }
    }

    fn run(mut self) -> RuleReport {
        if let Some(statics::Contradiction { first, second }) = statics::contradiction(self.plan.rule) {
            let error = CheckError::Contradiction { rule: self.plan.rule.name.clone() };
            let error = WithPlaces::new(error).at(second, "this").at(first, "and this");
            self.report.findings.push(Finding { diagnostic: error.into(), example: None });
            return self.report;
        }
        // Rules are told apart by name, so that one rule's instances do not depend on the others.
        let name = self.set.name.bytes().chain(self.plan.rule.name.bytes());
        let seed = name.fold(self.checks.seed, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let corners = self.set.contract == Contract::BitExact;
        let storages: &[DType] = match corners {
            true => &[
                DType::F32,
                DType::F32,
                DType::F32,
                DType::F64,
                DType::I32,
                DType::I8,
                DType::U8,
                DType::I64,
            ],
            false => &[DType::F32, DType::F32, DType::F32, DType::I32],
        };
        let mut choices = Choices::new(seed);
        let mut faulty = None;
        let mut made: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
        while faulty.is_none() && self.goes_on(choices.refused.nodes) {
            self.report.attempts += 1;
            // What is easy to find is found time and again; from there each step leads to something else.
            let vary = self.report.attempts.is_multiple_of(2);
            let earlier = choices.one_of(&made).filter(|_| vary);
            let varied = earlier.is_some();
            match earlier {
                Some(earlier) => choices.vary(earlier),
                None => choices.begin(None),
            }
            let plan = &self.plan;
            let mut search = Search {
                plan,
                registry: self.registry,
                choices: &mut choices,
                storages,
                corners,
                wide: None,
            };
            let found = search.begun();
            let mut fits = false;
            if let Some(instance) = &found {
                self.report.drawn += 1;
                match trial(plan.rule, self.set.contract, self.rounds, instance, self.registry) {
                    Outcome::Unfit => {}
                    // Where that is so everywhere, the rule is not tested; but it is no fault.
                    Outcome::Quiet(why) => {
                        self.report.quiet += 1;
                        self.unmade = why.or(self.unmade.take());
                    }
                    Outcome::Applies(trial) => {
                        let Some(found) = self.examine(instance, *trial) else {
                            choices.end(false);
                            continue;
                        };
                        fits = true;
                        self.report.instances += 1;
                        // Steps from steps lead further than steps from what is easy to find.
                        match made.get_mut(self.report.instances % VARIED) {
                            Some(place) if varied => *place = choices.made(),
                            Some(_) => {}
                            None => made.push(choices.made()),
                        }
                        if self.kept.len() < KEPT {
                            self.kept.push(instance.clone());
                        }
                        let usual = usual(instance);
                        self.usual += usize::from(usual);
                        self.without_bytes += usize::from(!has_bytes(instance));
                        faulty = found;
                        if !usual && faulty.as_ref().is_some_and(|found| self.lenient(instance, &found.fault))
                        {
                            let tape = choices.tape().to_vec();
                            let told = |found: &Found| self.bytes_only() || !excused(instance, &found.fault);
                            let found = faulty.take().filter(told);
                            self.elsewhere = self.elsewhere.take().or(found.map(|found| (found, tape)));
                        }
                    }
                }
            }
            if faulty.is_none() {
                choices.end(fits);
            }
        }
        self.refused = choices.refused.most(&self.plan);
        let faulty = faulty.map(|found| (found, choices.tape().to_vec(), Severity::Error));
        // Over floats the rule holds, and those are what it is for.
        let severity = if self.usual > 0 { Severity::Warning } else { Severity::Error };
        let elsewhere = self.elsewhere.take().map(|(found, tape)| (found, tape, severity));
        if let Some((found, tape, severity)) = faulty.or(elsewhere) {
            let seed = self.report.attempts as u64;
            let plan = &self.plan;
            let mut search = Search {
                plan,
                registry: self.registry,
                choices: &mut choices,
                storages,
                corners,
                wide: None,
            };
            let feeds = |instance: &Instance| self.feeds(instance, seed);
            let found = self.case().shrink(&mut search, found, tape, &feeds);
            let found = self.case().over_f32(found);
            let severity = if usual(&found.instance) { Severity::Error } else { severity };
            self.fault(&found, severity);
        } else if self.set.contract == Contract::BitExact {
            self.lattices(seed);
        }
        self.costs();
        if self.set.driver == Driver::Greedy {
            self.shadows();
            // What costs more each time has no end, and that is said.
            if !self.report.has_errors() {
                self.endless();
            }
        }
        self.report
    }

    /// Whether more instances are looked for, of which so many nodes were drawn.
    fn goes_on(&self, nodes: usize) -> bool {
        let Checks { instances, attempts, .. } = *self.checks;
        let report = &self.report;
        if report.instances == 0 && report.quiet == 0 && (nodes > NODES || report.attempts >= NOTHING) {
            return false;
        }
        let more = self.elsewhere.is_none()
            && self.work < WORK
            && report.instances < instances.saturating_mul(TIMES);
        match report.instances < instances {
            true => report.attempts < attempts,
            false => more && report.attempts < attempts / 2,
        }
    }

    /// Whether an earlier rule of the set leaves nothing of this one.
    fn shadows(&mut self) {
        let rule = self.plan.rule;
        let earlier =
            self.set.rules.iter().take_while(|other| other.span != rule.span || other.arm < rule.arm);
        let mut found = earlier.filter_map(|earlier| {
            Some((earlier, statics::shadows(earlier, rule, &self.kept, self.registry)?))
        });
        let Some((earlier, shadow)) = found.next() else { return };
        let arm = |rule: &Rule| format!("right side {} of `{}`", rule.arm + 1, rule.name);
        let (what, by) = match earlier.span == rule.span {
            true => (arm(rule), format!("right side {}", earlier.arm + 1)),
            false => (format!("rule `{}`", rule.name), format!("`{}`, which comes before it,", earlier.name)),
        };
        let (seen, severity) = match shadow {
            statics::Shadow::Covers => (None, Severity::Error),
            statics::Shadow::Takes(instances) => (Some(instances), Severity::Warning),
        };
        let error = WithPlaces::new(CheckError::Shadowed { what, by, seen }).at(rule.span, "");
        let error = if earlier.span == rule.span { error } else { error.at(earlier.span, "takes it first") };
        let diagnostic = Diagnostic { severity, ..error.into() };
        self.report.findings.push(Finding { diagnostic, example: None });
    }

    fn endless(&mut self) {
        let graphs = self.kept.iter().filter_map(|instance| Some(instance.graph()?.graph)).collect();
        let Some((graph, labels)) = statics::endless(self.set, graphs, self.registry) else { return };
        let rule = self.plan.rule;
        let error = CheckError::Endless { set: self.set.name.clone(), rule: rule.name.clone() };
        let example = example::left(rule, &error.to_string(), &graph, None, self.registry);
        let diagnostic = Diagnostic { labels, ..WithPlaces::new(error).into() };
        self.report.findings.push(Finding { diagnostic, example: Some(example) });
    }

    /// Whether the rule is about 8-bit integers, as far as instances went.
    fn bytes_only(&self) -> bool {
        self.without_bytes == 0 && self.report.instances > KEPT
    }

    /// Whether a fault may be overlooked on other storages than f32: the engines do not apply a rule
    /// where its right side does not fit, and integers are not the reals that a contract speaks of.
    fn lenient(&self, instance: &Instance, fault: &Fault) -> bool {
        matches!(fault, Fault::Broken(_))
            || matches!(fault, Fault::Fails(_)) && has_bytes(instance)
            || self.set.contract != Contract::BitExact
    }

    /// How both sides compare by cost.
    fn price(&mut self, instance: &Instance, trial: &Trial) {
        self.inputs.insert(instance.inputs().count());
        let size = instance.size().0;
        self.priced += usize::from(trial.worse.priced);
        if trial.worse.alone {
            self.worse += 1;
            if self.worse_example.as_ref().is_none_or(|(least, _)| size < *least) {
                let words = "the right side costs more than this";
                let text = example::left(self.plan.rule, words, &trial.before, None, self.registry);
                self.worse_example = Some((size, text));
            }
        }
        if let Some(inner) = trial.worse.shared {
            self.shared += 1;
            if self.shared_example.as_ref().is_none_or(|(least, ..)| size < *least) {
                let value = instance.graph().and_then(|before| before.inner.get(inner).copied());
                let name = value.map(|value| trial.before.value(value).name.to_string()).unwrap_or_default();
                let words = format!("where `{name}` has another reader, its work is done twice");
                let text = example::left(self.plan.rule, &words, &trial.before, value, self.registry);
                self.shared_example = Some((size, name, text));
            }
        }
    }

    /// Runs an instance on several inputs; `None` where its left side cannot be run.
    fn examine(&mut self, instance: &Instance, trial: Trial) -> Option<Option<Found>> {
        let seed = self.report.attempts as u64;
        let (mut ran, mut defined) = (false, false);
        let mut error = None;
        for instance in std::iter::once(instance.clone()).chain(self.feeds(instance, seed)) {
            self.work += EACH / 4 + instance.size().0;
            let feeds = match instance.graph() {
                Some(before) => before.feeds,
                None => continue,
            };
            match trial.fault(&feeds, self.registry) {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Undefined) => ran = true,
                Ok(Seen::Equal(worst)) => {
                    (ran, defined) = (true, true);
                    self.report.worst = self.report.worst.max(worst);
                }
                Err(fault) => {
                    error = Some((instance, feeds, fault));
                    break;
                }
            }
        }
        if !ran && error.is_none() {
            return None;
        }
        self.price(instance, &trial);
        if let Some((instance, feeds, fault)) = error {
            return Some(Some(Found { instance, trial: Trial { feeds, ..trial }, fault }));
        }
        self.report.undefined += usize::from(!defined);
        Some(None)
    }

    /// The instance with other inputs.
    fn feeds(&self, instance: &Instance, seed: u64) -> Vec<Instance> {
        let flavours: &[Flavour] = match self.set.contract {
            Contract::BitExact => {
                &[Flavour::Special, Flavour::SpecialNan, Flavour::Wide, Flavour::OneNegative]
            }
            Contract::Real | Contract::Lossy => &[Flavour::Wide, Flavour::OneNegative, Flavour::Positive],
        };
        let literals = self.numbers(instance);
        let inputs: Vec<usize> = instance.inputs().collect();
        let other = |(at, &flavour): (usize, &Flavour)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(8) + at as u64);
            let mut other = instance.clone();
            for &input in &inputs {
                let Some(tensor) = instance.tensor(input) else { continue };
                let (dtype, sizes) = (tensor.dtype(), tensor.sizes().to_vec());
                let Some(tensor) = drawn(dtype, &sizes, flavour, &literals, &mut rng) else { continue };
                other.set_tensor(input, tensor);
            }
            other
        };
        if inputs.is_empty() { Vec::new() } else { flavours.iter().enumerate().map(other).collect() }
    }

    /// The numbers that the rule and the instance speak of.
    fn numbers(&self, instance: &Instance) -> Vec<f64> {
        let mut all = self.plan.literals.floats.clone();
        for node in &instance.nodes {
            all.extend(node.attrs.iter().filter_map(|(_, attr)| match attr {
                Attr::Float(v) => Some(*v),
                _ => None,
            }));
        }
        all.into_iter().map(f64::from).collect()
    }

    fn fault(&mut self, found: &Found, severity: Severity) {
        let rule: Arc<str> = self.plan.rule.name.clone();
        let error = match &found.fault {
            Fault::Differs(at) => CheckError::Differs { rule, contract: self.set.contract, at: at.clone() },
            Fault::Fails(why) | Fault::Broken(why) => CheckError::Broken { rule, why: why.clone() },
        };
        let text = example::text(&error.to_string(), found, self.registry);
        self.find(error, Some(text), severity);
    }

    fn find(&mut self, error: CheckError, example: Option<String>, severity: Severity) {
        let way = match &error {
            CheckError::Untested { unmade: None, .. } => self.refused.take(),
            _ => None,
        };
        let error = WithPlaces::new(error).at(self.plan.rule.span, "");
        let error = match way {
            Some((span, words)) => error.at(span, words),
            None => error,
        };
        let diagnostic: Diagnostic = error.into();
        let diagnostic = Diagnostic { severity, ..diagnostic };
        self.report.findings.push(Finding { diagnostic, example });
    }

    fn costs(&mut self) {
        let rule = self.plan.rule.name.clone();
        let attempts = self.report.attempts;
        if self.report.instances == 0 {
            let why = self.unmade.take();
            // Another right side may be made where this one never is, but it serves nothing.
            let severity = if why.is_some() { Severity::Error } else { Severity::Warning };
            let unmade = (self.report.quiet > 0).then_some((self.report.quiet, why));
            return self.find(CheckError::Untested { rule, attempts, unmade }, None, severity);
        }
        let instances = self.report.instances;
        if self.report.undefined == instances && self.report.findings.is_empty() {
            self.find(CheckError::Undefined { rule: rule.clone(), instances }, None, Severity::Warning);
        }
        if self.plan.rule.expand {
            return;
        }
        let greedy = self.set.driver == Driver::Greedy;
        let severity = if greedy { Severity::Error } else { Severity::Warning };
        if self.worse > 0 && self.worse == self.priced {
            let example = self.worse_example.take().map(|(_, text)| text);
            self.find(CheckError::Worse { rule, greedy }, example, severity);
        } else if greedy && self.shared > 0 {
            // In the e-graph both forms stay, and the cheaper whole is taken.
            let Some((_, value, example)) = self.shared_example.take() else { return };
            self.find(CheckError::Shared { rule, value }, Some(example), Severity::Error);
        }
    }
}
