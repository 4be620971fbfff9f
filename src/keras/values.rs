//! Values of the network in two layouts. Keras has the channels last; the operators over maps have them
//! as axis 1. A value is kept in the layout that it was made in, and gets the other when somebody asks
//! for it: between layers that agree there is no transpose, and nowhere one and its inverse.

use crate::ir::{Attrs, Graph, ValueId};
use crate::ops::{Builder, OpError};
use crate::tensor::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The axes as Keras has them.
    Last,
    /// The last axis moved to the second place.
    First,
}

impl Layout {
    /// Where an axis of Keras's order is.
    pub fn axis(self, axis: usize, rank: usize) -> usize {
        match self {
            Layout::First if axis + 1 == rank => 1.min(rank - 1),
            Layout::First if axis > 0 => axis + 1,
            _ => axis,
        }
    }

    /// The axis of Keras's order that is at each place.
    pub fn places(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::First if rank > 2 => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
            _ => (0..rank).collect(),
        }
    }
}

/// A value of the Keras model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(usize);

/// The form that a value was made in, and the other once it is there.
struct Forms {
    made: (ValueId, Layout),
    other: Option<ValueId>,
}

#[derive(Default)]
pub struct Values(Vec<Forms>);

impl Values {
    pub fn add(&mut self, layout: Layout, value: ValueId) -> At {
        self.0.push(Forms { made: (value, layout), other: None });
        At(self.0.len() - 1)
    }

    /// The form that there is, of two the one with channels as axis 1.
    pub fn held(&self, at: At) -> (ValueId, Layout) {
        match &self.0[at.0] {
            Forms { made: (_, Layout::Last), other: Some(first) } => (*first, Layout::First),
            Forms { made, .. } => *made,
        }
    }

    /// The sizes in Keras's order.
    pub fn shape(&self, at: At, graph: &Graph) -> Shape {
        let (value, layout) = self.held(at);
        let shape = &graph.ty(value).shape;
        Shape::new((0..shape.rank()).map(|axis| shape[layout.axis(axis, shape.rank())].clone()))
    }

    /// The value in a layout; a transpose is added if it is not there yet.
    pub fn get(
        &mut self,
        at: At,
        layout: Layout,
        builder: &mut Builder,
        name: &str,
    ) -> Result<ValueId, OpError> {
        let Forms { made: (value, made), other } = &mut self.0[at.0];
        let rank = builder.graph.ty(*value).shape.rank();
        if *made == layout || rank < 3 {
            return Ok(*value);
        }
        if let Some(other) = other {
            return Ok(*other);
        }
        let perm: Vec<i64> =
            layout.places(rank).into_iter().map(|axis| made.axis(axis, rank) as i64).collect();
        let value = builder.op("transpose", Attrs::new().with("perm", perm), &[*value], name)?;
        *other = Some(value);
        Ok(value)
    }
}

/// Whether the elements of a value have one order in both layouts: there is one channel or one position.
pub fn same_order(shape: &Shape, layout: Layout) -> bool {
    let rank = shape.rank();
    let one = |axis: usize| shape[layout.axis(axis, rank)].fixed() == Some(1);
    let sized = shape.iter().skip(1).all(|dim| dim.fixed().is_some());
    rank < 3 || sized && (one(rank - 1) || (1..rank - 1).all(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_the_two_layouts() {
        assert_eq!((0..4).map(|axis| Layout::First.axis(axis, 4)).collect::<Vec<_>>(), [0, 2, 3, 1]);
        assert_eq!(Layout::First.places(4), [0, 3, 1, 2]);
        assert_eq!(Layout::First.places(2), [0, 1]);
        assert_eq!(Layout::First.axis(1, 2), 1);
        assert_eq!(Layout::Last.axis(3, 4), 3);
    }
}
