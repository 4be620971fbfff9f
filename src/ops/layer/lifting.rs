//! What hardware nodes of ONNX files have in common.

use super::op_type::OpType;
use crate::ir::{Attrs, ValueId};
use crate::ops::{LiftCx, LowerCx, OnnxAttr, OpError};
use crate::tensor::{AffineGrid, DType, Grid, Tensor, TensorType};

/// The operands of a hardware node, taken one after the other.
pub struct Parameters<'c, 'a> {
    pub cx: &'c mut LiftCx<'a>,
    pub op_type: OpType,
    next: usize,
}

impl<'c, 'a> Parameters<'c, 'a> {
    /// # Errors
    /// A name that is not in the grammar.
    pub fn of(cx: &'c mut LiftCx<'a>) -> Result<Self, OpError> {
        match cx.node.op_type.parse() {
            Ok(op_type) => Ok(Self { cx, op_type, next: 0 }),
            Err(()) => Err(cx.unsupported("this hardware operator")),
        }
    }

    /// The next operand, which must be there.
    pub fn take(&mut self) -> Result<Option<ValueId>, OpError> {
        self.next += 1;
        self.cx.operand(self.next - 1).map(Some)
    }

    /// The next operand if the op_type says that there is one.
    pub fn take_if(&mut self, there: bool) -> Result<Option<ValueId>, OpError> {
        if there { self.take() } else { Ok(None) }
    }

    /// The next operand as the attribute `pads` (top, left, bottom, right): it must be a constant of
    /// 8 integers, begins before ends, with nothing for batch and channels.
    pub fn take_pads(&mut self) -> Result<Vec<i64>, OpError> {
        self.next += 1;
        let tensor = self.cx.constant(self.next - 1);
        match tensor.as_deref().and_then(Tensor::elements::<i64>) {
            Some(&[0, 0, top, left, 0, 0, bottom, right]) => Ok(vec![top, left, bottom, right]),
            _ => Err(self.cx.unsupported("padding other than a constant for height and width")),
        }
    }

    /// Adds the layer. All operands must have been taken.
    pub fn layer(
        self,
        op: &str,
        attrs: Attrs,
        operands: Vec<Option<ValueId>>,
        storage: DType,
    ) -> Result<Vec<ValueId>, OpError> {
        if self.cx.operands.len() > self.next {
            let (expected, found) = (self.next.to_string(), self.cx.operands.len());
            return Err(OpError::Arity { op: self.cx.node.op_type.clone(), expected, found });
        }
        let scales = output_scales(self.cx)?;
        let value = self.cx.op_with(op, attrs, operands)?;
        set_grid(self.cx, value, AffineGrid::hardware(storage, scales));
        Ok(vec![value])
    }
}

/// The attribute `scale`: integers per real of the result.
pub fn output_scales(cx: &LiftCx) -> Result<Vec<f64>, OpError> {
    let tensor = match cx.node.attrs.get("scale") {
        Some(OnnxAttr::Tensor(tensor)) => tensor.elements::<f64>(),
        _ => None,
    };
    match tensor {
        Some(scales)
            if !scales.is_empty() && scales.iter().all(|&scale| scale > 0.0 && scale.is_finite()) =>
        {
            Ok(scales.to_vec())
        }
        _ => Err(cx.unsupported("a node without positive f64 scales in attribute `scale`")),
    }
}

/// Puts the value on a grid.
pub fn set_grid(cx: &mut LiftCx, value: ValueId, grid: AffineGrid) {
    let shape = cx.builder.graph.ty(value).shape.clone();
    cx.builder.graph.set_type(value, TensorType { shape, grid: Grid::Affine(grid) });
}

/// The attribute `scale` of the node that a layer becomes: one number per channel, or one in all,
/// which the power-of-two scales around a sum hold without an axis (hardware-ops §5.0).
pub fn scale_attr(cx: &LowerCx) -> Result<OnnxAttr, OpError> {
    let Some(grid) = cx.result_types.first().and_then(|ty| ty.grid.affine()) else {
        return Err(cx.call.unsupported("a result that is on no grid"));
    };
    let sum = cx.feeds_add || cx.call.op() == "QuantizedAdd";
    Ok(OnnxAttr::Tensor(match grid.factors[..] {
        [scale] if sum => Tensor::scalar(scale),
        _ => Tensor::vector(grid.factors.to_vec()),
    }))
}
