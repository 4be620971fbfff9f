//! Declared layers: whether their integer form exists, and stands for what the float form computes.
//!
//! Instances are those of the rules that make the layer. Each is calibrated on its own inputs, quantized
//! by the declaration's `params`, and run in both forms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::super::declared::{Declared, Unquantized, quantize};
use super::super::rule::{OpTemplate, Right, Rule, Ruleset, Template};
use super::choices::Choices;
use super::finding::{CheckError, Finding};
use super::instance::{Before, Instance};
use super::numbers::{Flavour, drawn, floats};
use super::plan::Plan;
use super::search::Search;
use super::sheet::{Sheet, Tried};
use super::{Checks, example};
use crate::diag::{Diagnostic, Loc, Severity, Span, WithPlaces};
use crate::interp::Plan as Run;
use crate::ir::{Attrs, Graph, Kind, NodeId, Range, Value, ValueId};
use crate::ops::layer::input_parameters;
use crate::ops::{Arithmetic, Call, LayerCall, LayerOperand, Registry};
use crate::tensor::{AffineGrid, DType, Tensor};

/// Instances of each rule that makes the layer.
const INSTANCES: usize = 24;

/// Inputs that an instance is calibrated on and run on.
const INPUTS: u64 = 8;

/// The average difference of both forms, in parts of the average magnitude, from which on integers do not
/// stand for the floats. Steps of 8 bits and a table or two come to a few hundredths.
const FAR: f64 = 0.25;

/// What was tested of one layer, and found.
#[derive(Clone, Debug)]
pub struct LayerReport {
    pub layer: Arc<str>,
    pub instances: usize,
    /// The average difference of both forms, in parts of the average magnitude: the median over instances.
    pub difference: f64,
    pub findings: Vec<Finding>,
}

/// One line.
impl fmt::Display for LayerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.findings.iter().map(|finding| finding.diagnostic.severity).max();
        let verdict = match worst {
            Some(Severity::Error) => "FAILED",
            Some(Severity::Warning) => "warned",
            Some(Severity::Note) | None => "ok    ",
        };
        let plural = if self.instances == 1 { "" } else { "s" };
        write!(f, "{verdict} layer {}, {} instance{plural}", self.layer, self.instances)?;
        if self.instances > 0 {
            write!(f, ", integers {:.1} % off on average", self.difference * 100.0)?;
        }
        Ok(())
    }
}

/// Tests the integer form of every layer.
pub fn check_layers(
    layers: &[Arc<Declared>],
    sets: &[Ruleset],
    registry: &Registry,
    checks: &Checks,
) -> Vec<LayerReport> {
    layers.iter().map(|layer| Tester { layer, registry, checks }.run(sets)).collect()
}

struct Tester<'a> {
    layer: &'a Declared,
    registry: &'a Registry,
    checks: &'a Checks,
}

/// What one instance came to.
struct Compared {
    /// Average difference and average magnitude.
    difference: f64,
    magnitude: f64,
    /// Elements of both forms, as reals, of the input where they differ most.
    floats: f64,
    integers: f64,
    graph: Graph,
}

impl Tester<'_> {
    fn run(&self, sets: &[Ruleset]) -> LayerReport {
        let mut compared: Vec<Compared> = Vec::new();
        let mut refused: Option<Unquantized> = None;
        for rule in sets.iter().flat_map(|set| &set.rules).filter(|rule| makes(rule, &self.layer.name)) {
            self.instances(rule, &mut compared, &mut refused);
        }
        compared.sort_by(|a, b| a.share().total_cmp(&b.share()));
        let median = compared.get(compared.len() / 2);
        let mut report = LayerReport {
            layer: self.layer.name.clone(),
            instances: compared.len(),
            difference: median.map_or(0.0, Compared::share),
            findings: Vec::new(),
        };
        let layer = self.layer.name.clone();
        match (median, refused) {
            (None, Some(Unquantized { span, error })) => {
                let error = CheckError::NoIntegers { layer, why: error.to_string() };
                self.find(error, span, None, Severity::Error, &mut report);
            }
            (None, None) => {
                self.find(CheckError::LayerUntested { layer }, None, None, Severity::Warning, &mut report);
            }
            (Some(median), _) if median.share() > FAR => {
                let Compared { floats, integers, .. } = *median;
                let error = CheckError::Far { layer, floats, integers, share: median.share() };
                let text = example::layer(&error.to_string(), &median.graph, self.registry);
                let span = Some(self.layer.integer.span);
                self.find(error, span, Some(text), Severity::Error, &mut report);
            }
            (Some(_), _) => {}
        }
        report
    }

    fn find(
        &self,
        error: CheckError,
        span: Option<Span>,
        example: Option<String>,
        severity: Severity,
        report: &mut LayerReport,
    ) {
        let diagnostic: Diagnostic = WithPlaces::new(error).at(span.unwrap_or(self.layer.span), "").into();
        report.findings.push(Finding { diagnostic: Diagnostic { severity, ..diagnostic }, example });
    }

    /// Tests the layer on what a rule makes it of.
    fn instances(&self, rule: &Rule, compared: &mut Vec<Compared>, refused: &mut Option<Unquantized>) {
        let plan = Plan::new(rule, self.registry);
        let seed = rule.name.bytes().fold(self.checks.seed, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut choices = Choices::new(seed);
        let mut attempts = 0;
        let full = compared.len() + INSTANCES;
        while compared.len() < full && attempts < self.checks.attempts {
            attempts += 1;
            let mut search = Search {
                plan: &plan,
                registry: self.registry,
                choices: &mut choices,
                storages: &[DType::F32],
                corners: false,
                wide: None,
            };
            let found =
                search.instance(None).and_then(|instance| self.test(rule, &instance, attempts as u64));
            choices.end(found.is_some());
            match found {
                Some(Ok(new)) => compared.push(new),
                Some(Err(why)) => *refused = Some(why),
                None => {}
            }
        }
    }

    /// `None` where the instance says nothing: the rule does not apply, or nothing finite comes out.
    fn test(&self, rule: &Rule, instance: &Instance, seed: u64) -> Option<Result<Compared, Unquantized>> {
        let Before { graph, root, feeds, .. } = instance.graph()?;
        let mut sheet = Sheet::new(graph, self.registry);
        let Tried::Built(_) = sheet.apply(rule, root) else { return None };
        let made = |id: &NodeId| sheet.graph.node(*id).op() == Some(&*self.layer.name);
        let node = sheet.graph.order().into_iter().find(made)?;
        let runs: Option<Vec<Values>> =
            (0..INPUTS).map(|at| self.values(&sheet.graph, node, &feeds, seed * INPUTS + at)).collect();
        self.compare(&sheet.graph, node, &runs?)
    }

    /// Operands and result of the layer on other inputs.
    fn values(
        &self,
        graph: &Graph,
        node: NodeId,
        feeds: &BTreeMap<String, Tensor>,
        seed: u64,
    ) -> Option<Values> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fed = BTreeMap::new();
        for (name, tensor) in feeds {
            let new = drawn(tensor.dtype(), tensor.sizes(), Flavour::Small, &[], &mut rng)?;
            fed.insert(name.clone(), new);
        }
        let mut graph = graph.clone();
        let result = ValueId { node, result: 0 };
        graph.add_output("layer", result);
        let mut values: BTreeMap<ValueId, Tensor> = BTreeMap::new();
        let run = Run::new(&graph, self.registry, Arithmetic::Exact).ok()?;
        run.run(&fed, &mut |value, tensor| {
            values.insert(value, tensor.clone());
        })
        .ok()?;
        let inputs = graph.inputs().map(|input| (input, graph.value(input).name.to_string()));
        values.extend(inputs.filter_map(|(input, name)| Some((input, fed.get(&name)?.clone()))));
        let operands = graph.node(node).operands.iter().map(|operand| {
            let value = (*operand)?;
            values.get(&value).cloned().or_else(|| graph.constant(value).map(|tensor| (**tensor).clone()))
        });
        Some(Values { operands: operands.collect(), result: values.get(&result)?.clone() })
    }

    fn compare(&self, graph: &Graph, node: NodeId, runs: &[Values]) -> Option<Result<Compared, Unquantized>> {
        let Kind::Op { op, attrs } = &graph.node(node).kind else { return None };
        let entry = self.registry.find(op)?;
        let first = runs.first()?;
        let inputs = self.layer.inputs.len();
        let range = range_of(runs.iter().map(|run| &run.result))?;
        let mut quantizers = Vec::new();
        for (position, (_, storage)) in self.layer.inputs.iter().enumerate() {
            let seen = range_of(runs.iter().filter_map(|run| run.operands.get(position)?.as_ref()))?;
            quantizers.push(input_parameters(&seen, *storage, false).ok()?);
        }
        let types: Vec<_> =
            first.operands.iter().map(|operand| operand.as_ref().map(Tensor::tensor_type)).collect();
        let grids: Vec<Option<&AffineGrid>> =
            (0..types.len()).map(|at| quantizers.get(at).map(|quantizer| &quantizer.grid)).collect();
        let constants: Vec<Option<&Tensor>> =
            (0..types.len()).map(|at| first.operands.get(at)?.as_ref().filter(|_| at >= inputs)).collect();
        let call = LayerCall {
            call: Call { schema: &entry.schema, attrs, operands: &types },
            constants: &constants,
            grids: &grids,
            range: Some(&range),
            feeds_add: false,
            scaled: true,
        };
        let quantized = match quantize(self.layer, &call) {
            Ok(quantized) => quantized,
            Err(why) => return Some(Err(why)),
        };
        let mut sums = Sums::default();
        let mut shown: Option<(f64, f64, f64, Graph)> = None;
        for run in runs {
            let mut operands: Vec<Option<Tensor>> = Vec::new();
            for operand in &quantized.operands {
                operands.push(match operand {
                    LayerOperand::Keep(at) => {
                        let quantizer = quantizers.get(*at)?;
                        let x = run.operands.get(*at)?.clone()?;
                        // Ranks are small.
                        let axes: Vec<i64> = (0..x.sizes().len() as i64).collect();
                        let given = [x, quantizer.scale.clone(), quantizer.zero.clone()].map(Some);
                        let attrs = Attrs::new().with("perm", axes);
                        let made = self.registry.eval(QUANTIZER, &attrs, &given, Arithmetic::Exact).ok()?;
                        made.into_iter().next()
                    }
                    LayerOperand::Absent => None,
                    LayerOperand::Constant { tensor, .. } => Some(tensor.clone()),
                });
            }
            let made = match self.registry.eval(op, &quantized.attrs, &operands, Arithmetic::Exact) {
                Ok(made) => made.into_iter().next()?,
                Err(error) => return Some(Err(Unquantized { span: Some(self.layer.integer.span), error })),
            };
            let worst = sums.add(&floats(&run.result), &reals(&made, &quantized.grid)?)?;
            if shown.as_ref().is_none_or(|(most, ..)| worst.0 > *most) {
                shown =
                    Some((worst.0, worst.1, worst.2, self.side_by_side(op, attrs, run, &operands, &made)));
            }
        }
        let (_, floats, integers, graph) = shown?;
        let Sums { difference, magnitude } = sums;
        // Where nothing but zeros is expected, there is nothing to compare by.
        (magnitude > 0.0).then_some(Ok(Compared { difference, magnitude, floats, integers, graph }))
    }

    /// A graph without inputs whose outputs are both forms of the layer on the same numbers.
    fn side_by_side(
        &self,
        op: &str,
        attrs: &Attrs,
        run: &Values,
        operands: &[Option<Tensor>],
        result: &Tensor,
    ) -> Graph {
        let mut graph = Graph::new("counter_example");
        let forms = [("floats", &run.operands[..], &run.result), ("integers", operands, result)];
        for (form, operands, result) in forms {
            let names = self.registry.find(op).map(|entry| &entry.schema);
            let mut constant = |(at, operand): (usize, &Option<Tensor>)| {
                let name = names.map(|schema| schema.operand_name(at)).unwrap_or_default();
                Some(graph.add_const(&format!("{form}_{name}"), operand.clone()?, Loc::unknown()))
            };
            let values: Vec<Option<ValueId>> = operands.iter().enumerate().map(&mut constant).collect();
            let value = Value::new(form, result.tensor_type());
            let node = graph.add_op(op, attrs.clone(), values, vec![value], Loc::unknown());
            graph.add_output(form, ValueId { node, result: 0 });
        }
        graph
    }
}

/// What makes integers of inputs.
const QUANTIZER: &str = "InputQuantizer";

impl Compared {
    fn share(&self) -> f64 {
        self.difference / self.magnitude
    }
}

/// Operands and result of the float form in one run.
struct Values {
    operands: Vec<Option<Tensor>>,
    result: Tensor,
}

/// Sums over all elements that were compared.
#[derive(Default)]
struct Sums {
    difference: f64,
    magnitude: f64,
}

impl Sums {
    /// The largest difference with both numbers; `None` where a number is not finite.
    fn add(&mut self, floats: &[f64], integers: &[f64]) -> Option<(f64, f64, f64)> {
        let mut worst = (-1.0, 0.0, 0.0);
        for (&float, &integer) in floats.iter().zip(integers) {
            let difference = (float - integer).abs();
            if !difference.is_finite() {
                return None;
            }
            self.difference += difference;
            self.magnitude += float.abs();
            if difference > worst.0 {
                worst = (difference, float, integer);
            }
        }
        (floats.len() == integers.len()).then_some(worst)
    }
}

/// The reals that integers on a grid with scales along axis 1 stand for.
fn reals(integers: &Tensor, grid: &AffineGrid) -> Option<Vec<f64>> {
    let channels = grid.factors.len();
    let behind: usize = integers.sizes().iter().skip(2).product::<usize>().max(1);
    let scale = |at: usize| grid.factors.get((at / behind) % channels.max(1));
    floats(integers).into_iter().enumerate().map(|(at, v)| Some(v / scale(at)?)).collect()
}

/// One range for all elements; `None` if one is not finite, or there is none.
fn range_of<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Option<Range> {
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in tensors.flat_map(floats) {
        if !v.is_finite() {
            return None;
        }
        (lowest, highest) = (lowest.min(v), highest.max(v));
    }
    let one = |v: f64| -> Arc<[f32]> { Arc::new([v as f32]) };
    (lowest < highest).then(|| Range { lowest: one(lowest), highest: one(highest) })
}

/// Whether a right side of the rule makes that operator.
fn makes(rule: &Rule, op: &str) -> bool {
    fn any(template: &Template, op: &str) -> bool {
        matches!(template, Template::Op(node) if within(node, op))
    }
    fn within(node: &OpTemplate, op: &str) -> bool {
        *node.op == *op || node.operands.iter().any(|operand| any(operand, op))
    }
    rule.shared.iter().any(|(_, template)| any(template, op))
        || match &rule.right {
            Right::Node(node) => within(node, op),
            Right::Values(values) => values.iter().any(|value| any(value, op)),
        }
}
