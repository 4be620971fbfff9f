//! `gather`: slices of a tensor, chosen by an operand.

use ndarray::Axis;

use super::product::at;
use super::resize;
use super::shape::move_axis;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, DType, Element, Shape, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Gather)]
}

pub struct Gather;

impl Operator for Gather {
    fn schema(&self) -> Schema {
        Schema::new(
            "gather",
            "`y[k…, j…, l…] = x[k…, i[j…], l…]`, i choosing along `axis` of x; a negative index counts from the end. \
             y has the sizes of x before the axis, then those of i, then those of x behind the axis.\n\n\
             * C1: 0 <= axis < rank of x.\n\
             * C2: i is plain i32 or i64.\n\
             * C3: the grid of x does not belong to `axis`.\n\
             * C4 (when it runs): the elements of i are below the size of the axis, and not below its negative.",
        )
        .operand("x")
        .operand("i")
        .required_attr("axis", AttrKind::Int)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, i) = (call.ty(0)?, call.ty(1)?);
        let axis = call.axis("C1", "axis", x.shape.rank())?;
        let plain = i.grid.is_plain() && matches!(i.storage(), DType::I32 | DType::I64);
        call.require("C2", plain, || format!("i is plain i32 or i64, found {}", i.storage()))?;
        call.require("C3", x.grid.axis() != Some(axis), || format!("the grid of x belongs to axis {axis}"))?;
        let (before, after) = (&x.shape[..axis], &x.shape[axis + 1..]);
        let mut y = x.with_shape(Shape::new(before.iter().chain(i.shape.iter()).chain(after).cloned()));
        move_axis(&mut y, |own| Some(if own < axis { own } else { own - 1 + i.shape.rank() }));
        Ok(vec![y])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(x: &Array<T>, axis: usize, indices: &[usize], sizes: &[usize]) -> Option<Tensor> {
            let y = T::wrap(x.select(Axis(axis), indices).into_shared());
            y.reshaped(sizes)
        }
        let (x, i) = (inputs.get(0)?, inputs.get(1)?);
        let axis = inputs.call.axis("C1", "axis", x.sizes().len())?;
        // A size in memory.
        let size = x.sizes()[axis] as i64;
        let wide = i.cast(DType::I64);
        let mut indices = Vec::with_capacity(wide.len());
        for (position, &index) in wide.elements::<i64>().unwrap_or_default().iter().enumerate() {
            let from_start = if index < 0 { index.saturating_add(size) } else { index };
            let inside = usize::try_from(from_start).ok().filter(|_| from_start < size);
            indices.push(inside.ok_or_else(|| {
                let place = at("i", position, i.sizes());
                inputs.call.broken("C4", format!("{place} is {index}, not from {} to {}", -size, size - 1))
            })?);
        }
        let sizes: Vec<usize> = [&x.sizes()[..axis], i.sizes(), &x.sizes()[axis + 1..]].concat();
        let y = dispatch!(x, array => go(array, axis, &indices, &sizes));
        Ok(vec![y.ok_or_else(|| inputs.call.unsupported(format!("a result of sizes {sizes:?}")))?])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not choose among values")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = OnnxAttr::Int(cx.call.int("axis")?);
        Ok(Lowered::Nodes(vec![cx.node("Gather", cx.operand_names.to_vec()).attr("axis", axis)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, i) = (cx.operand(0)?, cx.operand(1)?);
            let rank = cx.ty(0)?.shape.rank();
            let axis = cx.axis(cx.int("axis", 0)?, rank, rank)?;
            if rank == 1 {
                return Ok(vec![cx.op("lookup", Attrs::new(), &[x, i])?]);
            }
            Ok(vec![cx.op("gather", Attrs::new().with("axis", axis), &[x, i])?])
        }
        let mut lifts = vec![Lift::standard("Gather", [Version::new(1, 2, &["axis"])], lift)];
        lifts.push(Lift::standard("Compress", [Version::new(9, 2, &["axis"])], lift_compress));
        lifts.extend(resize::lifts());
        lifts
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 2], (0..12i8).collect());
        let i = Tensor::new(&[2, 2], vec![0i64, -1, 1, 1]);
        vec![Example { attrs: Attrs::new().with("axis", 1), operands: vec![x, i] }]
    }
}

/// What a condition chooses, which has to be known: it decides how much that is.
fn lift_compress(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut x = cx.operand(0)?;
    cx.operand(1)?;
    let condition = cx.constant(1);
    let condition = condition.as_deref().and_then(Tensor::elements::<bool>);
    let condition = condition.ok_or_else(|| OpError::Unsupported {
        op: cx.node.op_type.clone(),
        what: "`condition` that is not a constant, so that the size of the result is open,".to_owned(),
        way_out: Some(
            "fix the condition when the model is exported, or keep all and mask it by Where".to_owned(),
        ),
    })?;
    // Sizes in memory.
    let chosen = (0i64..).zip(condition).filter(|(_, chosen)| **chosen).map(|(at, _)| at);
    let chosen: Vec<i64> = chosen.collect();
    let rank = cx.ty(0)?.shape.rank();
    let axis = match cx.opt_int("axis")? {
        Some(axis) => cx.axis(axis, rank, rank)?,
        None => {
            x = cx.step("flat", "reshape", Attrs::new().with("shape", vec![-1]), &[x])?;
            0
        }
    };
    // Below the rank.
    let size = cx.builder.graph.ty(x).shape[axis as usize].fixed();
    if let (Some(size), Some(&last)) = (size, chosen.last())
        && usize::try_from(last).is_ok_and(|last| last >= size)
    {
        return Err(cx.invalid(format!("`condition` chooses element {last} of {size}")));
    }
    let chosen = cx.add_const("chosen", Tensor::vector(chosen));
    Ok(vec![cx.op("gather", Attrs::new().with("axis", axis), &[x, chosen])?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let axis = |axis: i64| Attrs::new().with("axis", axis);
        for (label, attrs, x, i) in [
            ("C1", axis(2), ty("f32[2, 3]"), ty("i64[2]")),
            ("C2", axis(1), ty("f32[2, 3]"), ty("i8[2]")),
            ("C3", axis(1), quantized("i8[2, 3]", 3), ty("i64[2]")),
        ] {
            assert_eq!(broken(infer("gather", attrs, &[x, i])), label);
        }
        assert_eq!(shape("gather", axis(1), &["f32[N, 3, 4]", "i32[2, M]"]), "f32[N, 2, M, 4]");
        assert_eq!(shape("gather", axis(0), &["f32[N, 3]", "i64[]"]), "f32[3]");
        for (i, own) in [("i64[]", 0), ("i64[4]", 1), ("i64[4, 5]", 2)] {
            let y = infer("gather", axis(0), &[quantized("i8[2, 3]", 3), ty(i)]).unwrap();
            assert_eq!(y[0].grid.axis(), Some(own));
        }
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[3, 2], [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let gather = |axis: i64, i: Tensor| eval("gather", Attrs::new().with("axis", axis), &[x.clone(), i]);
        assert_eq!(gather(0, tensor(&[2], [2i64, -3])), Ok(tensor(&[2, 2], [5.0f32, 6.0, 1.0, 2.0])));
        assert_eq!(gather(1, Tensor::scalar(1i32)), Ok(tensor(&[3], [2.0f32, 4.0, 6.0])));
        for outside in [3i64, -4, i64::MIN] {
            assert_eq!(broken(gather(0, Tensor::scalar(outside))), "C4");
        }
        let i = tensor(&[1, 2], [0i64, 2]);
        let attrs = Attrs::new().with("axis", 0);
        let own = eval("gather", attrs.clone(), &[x.clone(), i.clone()]).unwrap();
        assert_eq!(read_back("gather", attrs, &[x, i]), own);
    }

    #[test]
    fn conditions_choose() {
        let x = || Operand::Input(tensor(&[3, 2], [1i8, 2, 3, 4, 5, 6]));
        let compress = |axis: Option<i64>, condition: &[bool]| {
            let axis = axis.map(|axis| ("axis", OnnxAttr::Int(axis)));
            let condition = Operand::Constant(Tensor::vector(condition.to_vec()));
            lift_and_eval(&onnx("Compress", axis.as_slice()), 11, &[x(), condition])
        };
        assert_eq!(compress(Some(0), &[false, true, true]), Ok(tensor(&[2, 2], [3i8, 4, 5, 6])));
        assert_eq!(compress(Some(-1), &[false, true]), Ok(tensor(&[3, 1], [2i8, 4, 6])));
        assert_eq!(compress(None, &[false, true, false, false, true]), Ok(tensor(&[2], [2i8, 5])));
        assert_eq!(compress(Some(0), &[]), Ok(tensor::<i8>(&[0, 2], [])));
        assert!(matches!(compress(Some(1), &[false, false, true]), Err(OpError::Invalid { .. })));
        let open = lift(&onnx("Compress", &[]), 11, &[x(), Operand::Typed(ty("bool[3]"))]);
        assert!(matches!(open, Err(OpError::Unsupported { way_out: Some(_), .. })));
    }
}
