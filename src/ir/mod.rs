//! The dataflow graph: values with grids, attributes, constants by content, locations.
//!
//! Guarantees: a graph is changed only through its methods, which keep value names unique and the
//! edges of the underlying petgraph equal to the operand lists; [`Graph::order`] is the one
//! topological order that printer, interpreter and exporter follow.

mod attr;
mod constants;
mod graph;
mod input_shapes;
mod names;

pub use attr::{Attr, AttrKind, Attrs};
pub use constants::{ConstId, Constants};
pub use graph::{Graph, Kind, Node, NodeId, Output, Range, Use, Value, ValueId};
pub use input_shapes::InputShapes;
pub use names::Names;
