//! What a form of a graph costs on the device.

use std::ops::Add;

use crate::ir::Attrs;
use crate::ops::{Call, Registry};
use crate::tensor::TensorType;

/// Compared field by field, in this order; sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Operators that do not run on the device.
    pub float: u64,
    /// Device layers.
    pub layers: u64,
    /// Multiply-accumulates, batch counted as one.
    pub macs: u64,
    /// Bytes of values read and written, batch counted as one. Constants do not count: whether an
    /// offset becomes the bias of the product before it or of the one behind is then no matter of size.
    pub bytes: u64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            float: self.float.saturating_add(other.float),
            layers: self.layers.saturating_add(other.layers),
            macs: self.macs.saturating_add(other.macs),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Cost {
    /// Cost of one operator node; `constant` says which operands are constants, by position.
    pub fn of(
        registry: &Registry,
        op: &str,
        attrs: &Attrs,
        operands: &[Option<TensorType>],
        constant: impl Fn(usize) -> bool,
        results: &[TensorType],
    ) -> Self {
        let read =
            operands.iter().enumerate().filter(|&(at, _)| !constant(at)).filter_map(|(_, ty)| ty.as_ref());
        let bytes = read.chain(results).map(bytes).fold(0, |a: u64, b| a.saturating_add(b));
        let Some(entry) = registry.find(op) else {
            return Self { float: 1, bytes, ..Self::default() };
        };
        let macs = entry.operator.macs(&Call { schema: &entry.schema, attrs, operands });
        Self { float: u64::from(!entry.schema.layer), layers: entry.schema.layers, macs, bytes }
    }
}

/// Size in memory; a symbolic size counts as one.
fn bytes(ty: &TensorType) -> u64 {
    ty.shape
        .iter()
        .map(|dim| dim.fixed().unwrap_or(1) as u64)
        .fold(ty.storage().size() as u64, |product, size| product.saturating_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Dim, Shape};

    #[test]
    fn an_operator_left_float_outweighs_any_work() {
        let cheap = Cost { float: 0, layers: 2, macs: u64::MAX, bytes: u64::MAX };
        let dear = Cost { float: 1, ..Cost::default() };
        assert!(cheap < dear);
        assert_eq!((cheap + cheap).macs, u64::MAX);
    }

    #[test]
    fn bytes_count_operands_and_results_with_a_batch_of_one() {
        let shape = Shape::new([Dim::Symbol("N".into()), Dim::Fixed(3), Dim::Fixed(5)]);
        let ty = TensorType::new(DType::F32, shape);
        let of = |op: &str, constant: bool, operands: &[Option<TensorType>]| {
            let constant = |at| constant && at == 1;
            Cost::of(&Registry::built_in(), op, &Attrs::new(), operands, constant, std::slice::from_ref(&ty))
        };
        let (one, two) = ([Some(ty.clone())], [Some(ty.clone()), Some(ty.clone())]);
        assert_eq!(of("relu", false, &one), Cost { float: 1, layers: 0, macs: 0, bytes: 2 * 15 * 4 });
        assert_eq!(of("add", false, &two).bytes, 3 * 15 * 4);
        assert_eq!(of("add", true, &two).bytes, 2 * 15 * 4);
    }
}
