//! What an integer means: the quantization grid is part of a value's type.

use std::sync::Arc;

use super::{DType, Shape};

/// Which way round an affine grid keeps its factor. Inverting loses bits, so the number that was
/// computed is the number that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `real = (v - zero) * scale`: the ONNX convention (QDQ, QLinear).
    RealPerInteger,
    /// `real = (v - zero) / inv_scale`: hardware layers.
    IntegerPerReal,
}

/// `zero` and the factors have one entry, or one per index of `axis`.
#[derive(Clone, Debug)]
pub struct AffineGrid {
    pub storage: DType,
    pub direction: Direction,
    pub factors: Arc<[f64]>,
    /// One entry, or as many as `factors`.
    pub zeros: Arc<[i64]>,
    /// The axis that the entries belong to; `None` exactly when there is one entry of each.
    pub axis: Option<usize>,
}

impl AffineGrid {
    /// The symmetric grid of a hardware layer: `inv_scale` integers per unit, no zero point. One
    /// entry makes the grid per-tensor, more make it per index of axis 1.
    pub fn hardware(storage: DType, inv_scales: impl Into<Arc<[f64]>>) -> Self {
        let factors = inv_scales.into();
        let axis = (factors.len() != 1).then_some(1);
        Self { storage, direction: Direction::IntegerPerReal, factors, zeros: Arc::new([0]), axis }
    }
}

// Factors are compared by their bits: two grids are equal when no program can tell them apart.
impl PartialEq for AffineGrid {
    fn eq(&self, other: &Self) -> bool {
        (self.storage, self.direction, self.axis) == (other.storage, other.direction, other.axis)
            && self.zeros == other.zeros
            && self.factors.iter().map(|v| v.to_bits()).eq(other.factors.iter().map(|v| v.to_bits()))
    }
}

impl Eq for AffineGrid {}

/// How stored elements stand for reals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grid {
    /// An element is its own value.
    Plain(DType),
    Affine(AffineGrid),
}

impl Grid {
    pub const F32: Grid = Grid::Plain(DType::F32);

    /// What elements are stored as.
    pub fn storage(&self) -> DType {
        match self {
            Grid::Plain(dtype) => *dtype,
            Grid::Affine(affine) => affine.storage,
        }
    }

    pub fn affine(&self) -> Option<&AffineGrid> {
        match self {
            Grid::Plain(_) => None,
            Grid::Affine(affine) => Some(affine),
        }
    }
}

/// Shape and grid: all that the compiler knows of a value before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    pub shape: Shape,
    pub grid: Grid,
}

impl TensorType {
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), grid: Grid::Plain(dtype) }
    }

    pub fn storage(&self) -> DType {
        self.grid.storage()
    }

    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), grid: self.grid.clone() }
    }
}
