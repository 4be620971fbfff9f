//! Shapes with at most symbolic sizes.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One axis: a size, or a name for a size that is known only at run time (the batch `N`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    Fixed(usize),
    Symbol(Arc<str>),
}

impl Dim {
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Symbol(name) => f.write_str(name),
        }
    }
}

/// Axis sizes, outermost first. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(Arc<[Dim]>);

impl Shape {
    pub fn new(dims: impl IntoIterator<Item = Dim>) -> Self {
        Self(dims.into_iter().collect())
    }

    pub fn fixed(sizes: &[usize]) -> Self {
        Self(sizes.iter().map(|&size| Dim::Fixed(size)).collect())
    }

    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The sizes, when every one is known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::fixed).collect()
    }

    /// Number of elements, when every size is known and the product fits.
    pub fn elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, dim| product.checked_mul(dim.fixed()?))
    }

    /// Whether a tensor of these sizes is of this shape (a symbol stands for any size).
    pub fn admits(&self, sizes: &[usize]) -> bool {
        self.rank() == sizes.len()
            && self.0.iter().zip(sizes).all(|(dim, &size)| dim.fixed().is_none_or(|fixed| fixed == size))
    }

    pub fn into_dims(self) -> Vec<Dim> {
        self.0.to_vec()
    }
}

impl Deref for Shape {
    type Target = [Dim];

    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl From<Vec<Dim>> for Shape {
    fn from(dims: Vec<Dim>) -> Self {
        Self(dims.into())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// The shape of an element-wise result (ONNX multidirectional broadcasting): axes are aligned at
/// the end, a size of 1 stretches. `None` where two sizes differ, or a symbol meets another size.
pub fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Fixed(1);
    let axis = |shape: &'_ Shape, i: usize| -> Dim {
        (i + shape.rank()).checked_sub(rank).map_or(one.clone(), |at| shape[at].clone())
    };
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (x, y) if x == y => Some(x),
            (x, Dim::Fixed(1)) => Some(x),
            (Dim::Fixed(1), y) => Some(y),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(Shape::from)
}
