//! Sizes that a model file leaves open.

use std::collections::BTreeMap;

use crate::tensor::{Dim, Shape, Tensor};

/// Sizes for what a file leaves open: types are inferred while it is read, so they must be known then.
#[derive(Clone, Debug, Default)]
pub struct InputShapes {
    /// All sizes of an input, by its name.
    pub named: BTreeMap<String, Vec<usize>>,
    /// Sizes behind the first axis of an only input: those of the samples it will see.
    pub row: Option<Vec<usize>>,
    /// Sizes behind the first axis of inputs: those of the tensors they will see.
    pub rows: BTreeMap<String, Vec<usize>>,
    /// What inputs will be, where a list among them (axes, sizes) decides types.
    pub values: BTreeMap<String, Tensor>,
}

impl InputShapes {
    /// The shape that an input gets; `None` if what is wished does not fit it.
    pub fn of(&self, name: &str, only: bool, shape: Shape) -> Option<Shape> {
        if let Some(sizes) = self.named.get(name) {
            return shape.admits(sizes).then(|| Shape::fixed(sizes));
        }
        let row = self.rows.get(name).or(self.row.as_ref().filter(|_| only));
        match (row.map(Vec::as_slice), shape.split_first()) {
            (Some(row), Some((batch, rest))) if Shape::new(rest.iter().cloned()).admits(row) => {
                let row = row.iter().map(|&size| Dim::Fixed(size));
                Some(Shape::new(std::iter::once(batch.clone()).chain(row)))
            }
            // Frames, for an input that has an axis for time.
            (Some(&[c, h, w]), Some((batch, rest)))
                if Shape::new(rest.iter().cloned()).admits(&[c, 1, h, w]) =>
            {
                let row = [c, 1, h, w].map(Dim::Fixed);
                Some(Shape::new(std::iter::once(batch.clone()).chain(row)))
            }
            _ => Some(shape),
        }
    }
}
