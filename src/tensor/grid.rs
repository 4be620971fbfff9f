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

/// QuantizeML's numbers: `real = v * 2^-frac_bits * scale` with `v` from `-2^value_bits` to `2^value_bits - 1`
/// (`spec/fixed-point.md`).
#[derive(Clone, Debug)]
pub struct FixedGrid {
    pub storage: DType,
    /// The sign is not counted.
    pub value_bits: u32,
    /// One entry, or one per index of `axis`.
    pub frac_bits: Arc<[i32]>,
    /// The same; `None` for a tensor without scales.
    pub scales: Option<Arc<[f32]>>,
    /// The axis that the entries belong to; `None` exactly when there is one entry of each.
    pub axis: Option<usize>,
}

impl FixedGrid {
    /// The smallest storage that holds the values.
    pub fn storage_of(value_bits: u32) -> DType {
        match value_bits {
            0..=7 => DType::I8,
            8..=15 => DType::I16,
            16..=31 => DType::I32,
            _ => DType::I64,
        }
    }

    /// Lowest and highest stored value.
    pub fn range(&self) -> (i64, i64) {
        let bound = 1i64.checked_shl(self.value_bits).unwrap_or(i64::MAX);
        (-bound, bound - 1)
    }
}

impl PartialEq for FixedGrid {
    fn eq(&self, other: &Self) -> bool {
        let bits = |scales: &Option<Arc<[f32]>>| {
            scales.as_ref().map(|scales| scales.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        (self.storage, self.value_bits, self.axis) == (other.storage, other.value_bits, other.axis)
            && self.frac_bits == other.frac_bits
            && bits(&self.scales) == bits(&other.scales)
    }
}

impl Eq for FixedGrid {}

/// How stored elements stand for reals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grid {
    /// An element is its own value.
    Plain(DType),
    Affine(AffineGrid),
    Fixed(FixedGrid),
}

impl Grid {
    pub const F32: Grid = Grid::Plain(DType::F32);

    /// What elements are stored as.
    pub fn storage(&self) -> DType {
        match self {
            Grid::Plain(dtype) => *dtype,
            Grid::Affine(affine) => affine.storage,
            Grid::Fixed(fixed) => fixed.storage,
        }
    }

    pub fn affine(&self) -> Option<&AffineGrid> {
        match self {
            Grid::Affine(affine) => Some(affine),
            Grid::Plain(_) | Grid::Fixed(_) => None,
        }
    }

    pub fn fixed(&self) -> Option<&FixedGrid> {
        match self {
            Grid::Fixed(fixed) => Some(fixed),
            Grid::Plain(_) | Grid::Affine(_) => None,
        }
    }

    /// Whether an element is its own value.
    pub fn is_plain(&self) -> bool {
        matches!(self, Grid::Plain(_))
    }

    /// The axis whose indices have entries of their own.
    pub fn axis(&self) -> Option<usize> {
        match self {
            Grid::Plain(_) => None,
            Grid::Affine(affine) => affine.axis,
            Grid::Fixed(fixed) => fixed.axis,
        }
    }

    /// The same entries along another axis.
    pub fn set_axis(&mut self, axis: Option<usize>) {
        match self {
            Grid::Plain(_) => {}
            Grid::Affine(affine) => affine.axis = axis,
            Grid::Fixed(fixed) => fixed.axis = axis,
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
