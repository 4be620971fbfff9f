//! What quantization did, in words.

use std::collections::BTreeMap;
use std::fmt;

use crate::diag::{Loc, Place, printable};
use crate::ir::{NodeId, ValueId};
use crate::ops::Why;

/// What became of the network.
#[derive(Clone, Debug, Default)]
pub struct QuantizeReport {
    /// Of the scheme `fixed-point`, and not for a device.
    pub fixed_point: bool,
    pub layers: Vec<LayerNote>,
    pub stays: Vec<StayNote>,
    /// By name of a quantized value in the result.
    pub why: BTreeMap<String, WhyNote>,
}

/// How the integers of a value came about.
#[derive(Clone, Debug)]
pub struct WhyNote {
    /// The float value that they stand for.
    pub of: String,
    pub why: Vec<Why>,
}

/// One device layer and the nodes that it stands for.
#[derive(Clone, Debug)]
pub struct LayerNote {
    pub node: String,
    /// The op_type of the file format.
    pub op_type: String,
    /// Signal to noise against the float value, in dB, where it was measured.
    pub error: Option<f64>,
    pub loc: Loc,
}

/// One operator that stays float.
#[derive(Clone, Debug)]
pub struct StayNote {
    pub node: String,
    pub op: String,
    pub reason: String,
    pub cause: StayCause,
    pub loc: Loc,
    /// In the graph that was to be quantized.
    pub at: NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayCause {
    /// No rule made a device layer of it.
    NoLayer,
    /// It is a device layer, but its parameters do not exist.
    Refused,
    /// It is a device layer, but this value, which it reads, is float.
    Operand(ValueId),
    /// It is computed in front of the device.
    InFront,
    /// Quantization was to end before it.
    Ended,
    /// A constant that it reads holds an element that is no finite number.
    NonFinite,
}

impl QuantizeReport {
    /// Where the layers are.
    pub fn place(&self) -> &'static str {
        if self.fixed_point { "in fixed point" } else { "on the device" }
    }
}

impl fmt::Display for QuantizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, stays) = (self.layers.len(), self.stays.len());
        writeln!(f, "{layers} layers {}, {stays} operators stay float", self.place())?;
        let names: Vec<_> = self.layers.iter().map(|layer| printable(&layer.node)).collect();
        let name = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let op = self.layers.iter().map(|layer| layer.op_type.len()).max().unwrap_or(0);
        for (layer, node) in self.layers.iter().zip(&names) {
            let from: Vec<_> = layer.loc.nodes().map(|(_, node)| printable(node)).collect();
            let from = match layer.loc.places().next() {
                Some(Place::Node { .. }) => format!("from {}", from.join(", ")),
                _ => String::new(),
            };
            let error = match layer.error {
                None => String::new(),
                Some(ratio) if ratio.is_infinite() => format!("{:>8}  ", "exact"),
                Some(ratio) => format!("{ratio:5.1} dB  "),
            };
            writeln!(f, "{}", format!("  {node:name$}  {:op$}  {error}{from}", layer.op_type).trim_end())?;
        }
        if !self.stays.is_empty() {
            writeln!(f, "stay float:")?;
        }
        for stay in &self.stays {
            let (node, op, reason) = (printable(&stay.node), printable(&stay.op), printable(&stay.reason));
            writeln!(f, "  {node} ({op}): {reason}")?;
        }
        Ok(())
    }
}
