//! How files name the buffers of convolutions over time (hardware-ops §11): a runtime keeps them by
//! `model_id` and `fifo_name`, so both must be one of their kind. Both follow from the graph alone.

use prost::Message;
use sha2::{Digest, Sha256};

use super::proto::{AttributeProto, GraphProto};
use crate::ir::Names;
use crate::ops::BRAINCHIP;

/// Makes the names of all buffers differ, and the hash of the graph the id of the model.
pub fn finish(graph: &mut GraphProto) {
    let mut names = Names::default();
    let mut found = false;
    for attr in attrs(graph, "fifo_name") {
        let wish = attr.s.take().unwrap_or_default();
        attr.s = Some(names.fresh(&String::from_utf8_lossy(&wish)).into_bytes());
        found = true;
    }
    if !found {
        return;
    }
    let hash = Sha256::digest(graph.encode_to_vec());
    let id: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    for attr in attrs(graph, "model_id") {
        attr.s = Some(id.clone().into_bytes());
    }
}

/// The attributes of that name of all hardware nodes.
fn attrs<'g>(graph: &'g mut GraphProto, name: &'g str) -> impl Iterator<Item = &'g mut AttributeProto> {
    let nodes = graph.node.iter_mut().filter(|node| node.domain.as_deref() == Some(BRAINCHIP));
    nodes.flat_map(|node| &mut node.attribute).filter(move |attr| attr.name.as_deref() == Some(name))
}
