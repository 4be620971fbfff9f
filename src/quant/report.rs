//! What quantization did, in words.

use std::fmt;

use crate::diag::{Loc, Place};

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
        let name = self.layers.iter().map(|layer| layer.node.chars().count()).max().unwrap_or(0);
        let op = self.layers.iter().map(|layer| layer.op_type.len()).max().unwrap_or(0);
        for layer in &self.layers {
            let from: Vec<&str> = layer.loc.nodes().map(|(_, node)| node).collect();
            let from = match layer.loc.places().next() {
                Some(Place::Node { .. }) => format!("from {}", from.join(", ")),
                _ => String::new(),
            };
            writeln!(f, "{}", format!("  {:name$}  {:op$}  {from}", layer.node, layer.op_type).trim_end())?;
        }
        if !self.stays.is_empty() {
            writeln!(f, "stay float:")?;
        }
        for stay in &self.stays {
            writeln!(f, "  {} ({}): {}", stay.node, stay.op, stay.reason)?;
        }
        Ok(())
    }
}
