//! What a run of the compiler leaves for explanations.

use std::collections::BTreeMap;

use crate::ir::Graph;
use crate::quant::{Seen, StayNote};
use crate::rewrite::{Applied, Driver, Record, Ruleset, Spared};

/// The graphs of a run, and what its passes did.
#[derive(Debug, Default)]
pub struct Trace {
    /// In the order in which they ran.
    pub passes: Vec<PassTrace>,
    pub ranges: RangeSource,
    /// The graph that `quantize` took apart, after all fusion.
    pub fused: Option<Graph>,
    /// What `quantize` left float, also where it failed because nothing could be quantized.
    pub stays: Vec<StayNote>,
}

#[derive(Debug)]
pub struct PassTrace {
    /// The call, as a pipeline has it.
    pub call: String,
    pub before: Graph,
    pub after: Graph,
    /// The runs of rules within the pass.
    pub rules: Vec<RulesTrace>,
}

/// One run of rules.
#[derive(Debug)]
pub struct RulesTrace {
    pub before: Graph,
    pub after: Graph,
    pub sets: Vec<Ruleset>,
    /// Sets that only guided the choice.
    pub toward: Vec<Ruleset>,
    /// Instead of the sets' own drivers.
    pub driver: Option<Driver>,
    /// See the fields of [`Options`](crate::rewrite::Options).
    pub once: bool,
    pub demand_ranges: bool,
    pub spared: Option<Spared>,
    /// The applications that the result rests on.
    pub applied: Vec<Applied>,
    pub record: Record,
}

/// Where ranges come from.
#[derive(Debug, Default)]
pub enum RangeSource {
    /// The network had them, or has none.
    #[default]
    Network,
    /// A file of this name.
    File(String),
    Samples {
        /// By name of the value.
        seen: BTreeMap<String, Seen>,
        /// Samples that were run together.
        batch: usize,
    },
}
