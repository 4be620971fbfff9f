//! Tensors of the IR as fixed-point numbers in the layout of the layers, and back.

use std::borrow::Cow;

use ndarray::IxDyn;

use crate::tensor::fixed::{FixedError, FixedPoint, PerChannel, QFloat, QTensor};
use crate::tensor::{Array, DType, Element, FixedGrid, Grid, Tensor, TensorType};

/// The grid of a type. Plain integers of at most 32 bits are numbers without frac bits.
pub(super) fn grid_of(ty: &TensorType) -> Option<Cow<'_, FixedGrid>> {
    let storage = match &ty.grid {
        Grid::Fixed(grid) => return Some(Cow::Borrowed(grid)),
        Grid::Affine(_) => return None,
        Grid::Plain(storage) => *storage,
    };
    let (_, most) = storage.integer_range().filter(|_| storage.size() <= 4)?;
    let value_bits = 128 - most.leading_zeros();
    let frac_bits = [0].into();
    Some(Cow::Owned(FixedGrid { storage, value_bits, frac_bits, scales: None, axis: None }))
}

/// A tensor of integers on a grid, its axes permuted: axis `i` of what is given is axis `perm[i]` of the tensor.
pub(super) fn read(tensor: &Tensor, grid: &FixedGrid, perm: Option<&[usize]>) -> Result<QTensor, FixedError> {
    let sizes = tensor.sizes();
    let unlike =
        || FixedError::Argument { operation: "read", what: format!("axes {perm:?}"), sizes: sizes.to_vec() };
    let integers = tensor.cast(DType::I64);
    let integers = permuted::<i64>(&integers, perm).ok_or_else(unlike)?;
    let rank = sizes.len();
    let axis = match (grid.axis, perm) {
        (Some(axis), Some(perm)) => perm.iter().position(|&at| at == axis),
        (axis, _) => axis,
    };
    let from_end = axis.map(|axis| rank.saturating_sub(axis));
    let frac = entries(&grid.frac_bits, from_end);
    let sizes = integers.shape().to_vec();
    let fixed = FixedPoint::new(&sizes, integers.iter().copied(), grid.value_bits, frac)?;
    Ok(match &grid.scales {
        None => fixed.into(),
        Some(scales) => QFloat::new(fixed, entries(scales, from_end))?.into(),
    })
}

/// Floats with their axes permuted.
pub(super) fn floats(tensor: &Tensor, perm: Option<&[usize]>) -> Option<(Vec<usize>, Vec<f32>)> {
    let floats = permuted::<f32>(tensor, perm)?;
    Some((floats.shape().to_vec(), floats.iter().copied().collect()))
}

fn permuted<T: Element>(tensor: &Tensor, perm: Option<&[usize]>) -> Option<Array<T>> {
    let array = T::of(tensor)?.clone();
    match perm {
        None => Some(array),
        Some(perm) => (perm.len() == array.ndim()).then(|| array.permuted_axes(IxDyn(perm))),
    }
}

fn entries<T: Copy>(entries: &[T], axis: Option<usize>) -> PerChannel<T> {
    match (entries, axis) {
        (&[entry], _) => PerChannel::tensor(entry),
        (many, axis) => PerChannel::along(axis.unwrap_or(1), many.to_vec()),
    }
}

/// The inverse of [`read`]: the smallest storage that holds the value bits.
pub(super) fn written(x: &QTensor, perm: Option<&[usize]>) -> (Tensor, FixedGrid) {
    let fixed = x.fixed();
    let rank = fixed.sizes().len();
    let storage = FixedGrid::storage_of(fixed.value_bits());
    let inverse = perm.map(|perm| {
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        inverse
    });
    // Every tensor of fixed-point numbers has as many elements as its sizes say, and a layer permutes the axes that it has.
    let integers = Tensor::new(fixed.sizes(), fixed.elements().to_vec());
    let integers = integers.and_then(|integers| permuted::<i64>(&integers, inverse.as_deref()));
    let tensor = integers.map_or_else(|| Tensor::vector(Vec::<i64>::new()), i64::wrap).cast(storage);
    let scales = match x {
        QTensor::Fixed(_) => None,
        QTensor::Float(float) => Some(float.scales()),
    };
    let many = |len: usize, axis: Option<usize>| (len > 1).then_some(axis).flatten();
    let axis = many(fixed.frac_bits().entries().len(), fixed.frac_bits().axis());
    let axis = axis.or_else(|| scales.and_then(|scales| many(scales.entries().len(), scales.axis())));
    let axis = axis.and_then(|from_end| rank.checked_sub(from_end)).map(|axis| match perm {
        Some(perm) => perm[axis],
        None => axis,
    });
    let grid = FixedGrid {
        storage,
        value_bits: fixed.value_bits(),
        frac_bits: fixed.frac_bits().entries().into(),
        scales: scales.map(|scales| scales.entries().into()),
        axis,
    };
    (tensor, grid)
}
