//! What quantization did, in words.

use std::fmt;

use crate::diag::{Loc, Place, printable};

/// What became of the network.
#[derive(Clone, Debug, Default)]
pub struct QuantizeReport {
    pub layers: Vec<LayerNote>,
    pub stays: Vec<StayNote>,
}

/// One device layer and the nodes that it stands for.
#[derive(Clone, Debug)]
pub struct LayerNote {
    pub node: String,
    /// The op_type of the file format.
    pub op_type: String,
    pub loc: Loc,
}

/// One operator that stays float.
#[derive(Clone, Debug)]
pub struct StayNote {
    pub node: String,
    pub op: String,
    pub reason: String,
    pub loc: Loc,
}

impl fmt::Display for QuantizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, stays) = (self.layers.len(), self.stays.len());
        writeln!(f, "{layers} layers on the device, {stays} operators stay float")?;
        let names: Vec<_> = self.layers.iter().map(|layer| printable(&layer.node)).collect();
        let name = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let op = self.layers.iter().map(|layer| layer.op_type.len()).max().unwrap_or(0);
        for (layer, node) in self.layers.iter().zip(&names) {
            let from: Vec<_> = layer.loc.nodes().map(|(_, node)| printable(node)).collect();
            let from = match layer.loc.places().next() {
                Some(Place::Node { .. }) => format!("from {}", from.join(", ")),
                _ => String::new(),
            };
            writeln!(f, "{}", format!("  {node:name$}  {:op$}  {from}", layer.op_type).trim_end())?;
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
