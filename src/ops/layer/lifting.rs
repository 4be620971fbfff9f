//! What hardware nodes of ONNX files have in common.

use super::op_type::OpType;
use crate::ir::{Attrs, ValueId};
use crate::ops::temporal;
use crate::ops::{LiftCx, LowerCx, OnnxAttr, OnnxNode, OpError};
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
        match OpType::of_file(&cx.node.op_type) {
            Some(op_type) => Ok(Self { cx, op_type, next: 0 }),
            None => Err(cx.unsupported("this hardware operator")),
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

    /// The next operand, stored as `dtype`. Older files store some constants as other integers: where
    /// each fits, they are converted.
    pub fn take_as(&mut self, dtype: DType) -> Result<Option<ValueId>, OpError> {
        let value = self.take()?;
        let Some(tensor) = self.cx.constant(self.next - 1).filter(|tensor| tensor.dtype() != dtype) else {
            return Ok(value);
        };
        let converted = tensor.cast(dtype);
        // Integers of 32 bits are exact in f64.
        if !tensor.dtype().is_integer() || converted.cast(DType::F64) != tensor.cast(DType::F64) {
            let found = tensor.dtype();
            return Err(self
                .cx
                .unsupported(format!("an operand stored as {found} that does not fit {dtype}")));
        }
        let suffix = format!("operand_{}", self.next - 1);
        Ok(Some(self.cx.add_const(&suffix, converted)))
    }

    /// Multiplier and divisor of a rescale.
    pub fn take_rescale(&mut self) -> Result<(Option<ValueId>, Option<ValueId>), OpError> {
        Ok((self.take_as(DType::U8)?, self.take_as(DType::F32)?))
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
        let scales = opt_output_scales(self.cx)?;
        let value = self.cx.op_with(op, attrs, operands)?;
        if let Some(scales) = scales {
            set_grid(self.cx, value, AffineGrid::hardware(storage, scales));
        }
        // Results beyond the first are on the grids that are inferred.
        Ok(temporal::results(self.cx, value))
    }
}

/// The attribute `scale`: integers per real of the result.
pub fn output_scales(cx: &LiftCx) -> Result<Vec<f64>, OpError> {
    opt_output_scales(cx)?.ok_or_else(|| cx.unsupported("a node without attribute `scale`"))
}

/// [`output_scales`]. `None` where a file has none, as those of
/// QuantizeML 0.7 and 0.8 do not: what the integers stand for is then not known.
pub fn opt_output_scales(cx: &LiftCx) -> Result<Option<Vec<f64>>, OpError> {
    let Some(attr) = cx.node.attrs.get("scale") else { return Ok(None) };
    let tensor = match attr {
        OnnxAttr::Tensor(tensor) => tensor.elements::<f64>(),
        _ => None,
    };
    match tensor {
        Some(scales)
            if !scales.is_empty() && scales.iter().all(|&scale| scale > 0.0 && scale.is_finite()) =>
        {
            Ok(Some(scales.to_vec()))
        }
        _ => Err(cx.unsupported("an attribute `scale` other than positive f64 numbers")),
    }
}

/// An operand with one entry or one per channel, as a vector: older files have constants without axes.
pub fn vector(cx: &mut LiftCx, position: usize) -> Result<ValueId, OpError> {
    let value = cx.operand(position)?;
    match cx.constant(position).filter(|tensor| tensor.sizes().is_empty()).and_then(|t| t.reshaped(&[1])) {
        Some(tensor) => Ok(cx.add_const(&format!("operand_{position}"), tensor)),
        None => Ok(value),
    }
}

/// Puts the value on a grid.
pub fn set_grid(cx: &mut LiftCx, value: ValueId, grid: AffineGrid) {
    let shape = cx.builder.graph.ty(value).shape.clone();
    cx.builder.graph.set_type(value, TensorType { shape, grid: Grid::Affine(grid) });
}

/// The node that a layer becomes with its attribute `scale`: one number per channel, or one in all,
/// which the power-of-two scales around a sum hold without an axis (hardware-ops §5.0). What was read
/// without scales is written without.
pub fn with_scale(node: OnnxNode, cx: &LowerCx) -> OnnxNode {
    let Some(grid) = cx.result_types.first().and_then(|ty| ty.grid.affine()) else { return node };
    let sum = cx.feeds_add || cx.call.op() == "QuantizedAdd";
    let scales = match grid.factors[..] {
        [scale] if sum => Tensor::scalar(scale),
        _ => Tensor::vector(grid.factors.to_vec()),
    };
    node.attr("scale", OnnxAttr::Tensor(scales))
}
