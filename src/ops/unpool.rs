//! `max_unpool`: maps of which a max-pool kept some elements and where they were.

use super::product::at;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Dim, Element, Grid, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(MaxUnpool)]
}

pub struct MaxUnpool;

impl MaxUnpool {
    /// The sizes of a map of x, and those of one of the result.
    fn spatial(call: &Call) -> Result<(Vec<usize>, Vec<usize>), OpError> {
        let (x, i) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        call.require("C2", x.rank() >= 3 && x == i, || {
            format!("x has at least 3 axes, and i those of x, found {x} and {i}")
        })?;
        let before: Vec<usize> = x[2..].iter().map(|dim| call.known(dim)).collect::<Result<_, _>>()?;
        let ints = call.ints("sizes")?;
        let sizes: Vec<usize> = ints.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
        let fits = ints.len() == before.len() && sizes.len() == ints.len() && !sizes.contains(&0);
        call.require("C3", fits, || format!("`sizes` has {} sizes from 1, found {ints:?}", before.len()))?;
        Ok((before, sizes))
    }
}

impl Operator for MaxUnpool {
    fn schema(&self) -> Schema {
        Schema::new(
            "max_unpool",
            "`y[i[k]] = x[k]` for each element k of x, and 0 elsewhere, i counting the elements of y in row-major \
             order: for x and i `[N, C, …]` y is `[N, C, sizes…]`. Where several meet on one element, the last one \
             stays.\n\n\
             * C1: x is plain f32 or f64, i plain i64.\n\
             * C2: x has at least 3 axes, and i has those of x.\n\
             * C3: `sizes` has a size from 1 for each axis behind the first two.\n\
             * C4 (when it runs): the elements of i are from 0 and below the number of elements of y.",
        )
        .operand("x")
        .operand("i")
        .required_attr("sizes", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, i) = (call.ty(0)?, call.ty(1)?);
        let plain =
            FLOATS.iter().any(|&float| x.grid == Grid::Plain(float)) && i.grid == Grid::Plain(DType::I64);
        call.require("C1", plain, || {
            format!("x is plain f32 or f64 and i plain i64, found {} and {}", x.storage(), i.storage())
        })?;
        let (_, sizes) = Self::spatial(call)?;
        let dims = x.shape.iter().take(2).cloned().chain(sizes.into_iter().map(Dim::Fixed));
        Ok(vec![TensorType::new(x.storage(), dims.collect::<Vec<Dim>>())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(inputs: &Inputs, sizes: &[usize]) -> Result<Vec<Tensor>, OpError> {
            let mut y = inputs.call.filled(sizes, T::default())?.into_raw_vec_and_offset().0;
            let (x, i) = (inputs.elements::<T>(0)?, inputs.elements::<i64>(1)?);
            let shape = inputs.get(1)?.sizes();
            for (position, (&value, &index)) in x.iter().zip(i).enumerate() {
                let count = y.len();
                let place = usize::try_from(index).ok().and_then(|index| y.get_mut(index));
                let place = place.ok_or_else(|| {
                    let place = at("i", position, shape);
                    inputs.call.broken("C4", format!("{place} is {index}, not from 0 and below {count}"))
                })?;
                *place = value;
            }
            inputs.call.result(sizes, y)
        }
        let sizes = self.infer(&inputs.call)?.first().and_then(|ty| ty.shape.sizes()).unwrap_or_default();
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => go::<T>(inputs, &sizes))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not put values in places that other values name")
    }

    /// The windows do not matter, but for the sizes that come of them: here they go on by one element.
    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (before, sizes) = Self::spatial(&cx.call)?;
        // Sizes of tensors in memory.
        let grown = before.iter().zip(&sizes).map(|(&before, &size)| size as i64 - before as i64);
        let grown: Vec<i64> = grown.collect();
        let kernel: Vec<i64> = grown.iter().map(|&grown| grown.max(0) + 1).collect();
        let ends = grown.iter().map(|&grown| (-grown).max(0));
        let pads: Vec<i64> = grown.iter().map(|_| 0).chain(ends).collect();
        let node = cx.node("MaxUnpool", cx.operand_names.to_vec());
        let node = node.attr("kernel_shape", OnnxAttr::Ints(kernel)).attr("pads", OnnxAttr::Ints(pads));
        Ok(Lowered::Nodes(vec![node.attr("strides", OnnxAttr::Ints(vec![1; grown.len()]))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard(
            "MaxUnpool",
            [Version::new(9, 3, &["kernel_shape", "pads", "strides"])],
            lift_unpool,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let i = Tensor::new(&[1, 1, 2, 2], vec![5i64, 7, 13, 15]);
        vec![Example { attrs: Attrs::new().with("sizes", vec![4, 4]), operands: vec![x, i] }]
    }
}

fn lift_unpool(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, i) = (cx.operand(0)?, cx.operand(1)?);
    let shape = cx.ty(0)?.shape.clone();
    let axes = shape.rank().saturating_sub(2);
    let kernel = cx.opt_ints("kernel_shape")?.ok_or_else(|| cx.invalid("needs `kernel_shape`"))?;
    let strides = cx.opt_ints("strides")?.map_or(vec![1; axes], <[i64]>::to_vec);
    let pads = cx.opt_ints("pads")?.map_or(vec![0; 2 * axes], <[i64]>::to_vec);
    if axes == 0 || [kernel.len(), strides.len(), pads.len()] != [axes, axes, 2 * axes] {
        return Err(cx.invalid(format!("has a list entry for each spatial axis of {shape}")));
    }
    let mut sizes = Vec::new();
    for at in 0..axes {
        let size = i128::from(i64::try_from(cx.known(&shape[at + 2])?).unwrap_or(i64::MAX)) - 1;
        let padding = i128::from(pads[at]) + i128::from(pads[at + axes]);
        let size = size * i128::from(strides[at]) - padding + i128::from(kernel[at]);
        sizes.push(i64::try_from(size).map_err(|_| cx.unsupported("a map of this size"))?);
    }
    if let Some(stated) = cx.constant_ints(2, "output_shape")?
        && stated.get(2..) != Some(&sizes[..])
    {
        // The definition counts in a map of the sizes that follow from the windows, and sets that into a larger one;
        // runtimes count in the larger one.
        let what = format!(
            "an `output_shape` {stated:?} that is not what kernel, strides and pads give, {sizes:?}, where runtimes read \
             the indices in several ways,"
        );
        let way_out =
            "choose kernel, strides and pads that give this shape, or pad the result by a Pad".to_owned();
        return Err(OpError::Unsupported { op: cx.node.op_type.clone(), what, way_out: Some(way_out) });
    }
    Ok(vec![cx.op("max_unpool", Attrs::new().with("sizes", sizes), &[x, i])?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn to(sizes: &[i64]) -> Attrs {
        Attrs::new().with("sizes", sizes)
    }

    #[test]
    fn by_hand() {
        check_labels(
            "max_unpool",
            &[
                ("C1", to(&[4]), &["i32[1, 1, 2]", "i64[1, 1, 2]"]),
                ("C1", to(&[4]), &["f32[1, 1, 2]", "i32[1, 1, 2]"]),
                ("C2", to(&[4]), &["f32[1, 2]", "i64[1, 2]"]),
                ("C2", to(&[4]), &["f32[1, 1, 2]", "i64[1, 1, 3]"]),
                ("C3", to(&[4, 4]), &["f32[1, 1, 2]", "i64[1, 1, 2]"]),
                ("C3", to(&[0]), &["f32[1, 1, 2]", "i64[1, 1, 2]"]),
            ],
        );
        assert_eq!(shape("max_unpool", to(&[4]), &["f32[N, C, 2]", "i64[N, C, 2]"]), "f32[N, C, 4]");
        let unpooled = |sizes: &[i64], i: &[i64]| {
            let operands = [tensor(&[1, 2, 2], [1.0f32, 2.0, 3.0, 4.0]), tensor(&[1, 2, 2], i)];
            let y = eval("max_unpool", to(sizes), &operands)?;
            assert_eq!(read_back("max_unpool", to(sizes), &operands), y);
            Ok(y.elements::<f32>().unwrap().to_vec())
        };
        assert_eq!(unpooled(&[3], &[0, 2, 3, 4]), Ok(vec![1.0, 0.0, 2.0, 3.0, 4.0, 0.0]));
        assert_eq!(unpooled(&[1], &[0, 0, 1, 1]), Ok(vec![2.0, 4.0]));
        for outside in [-1, 6, i64::MIN] {
            assert_eq!(broken(unpooled(&[3], &[0, 2, 3, outside])), "C4");
        }
    }

    #[test]
    fn sizes_follow_from_windows() {
        let ints = |v: &[i64]| OnnxAttr::Ints(v.to_vec());
        let lift = |pads: &[i64], stated: Option<&[i64]>| {
            let attrs = [("kernel_shape", ints(&[2])), ("strides", ints(&[2])), ("pads", ints(pads))];
            let mut operands = vec![Operand::Typed(ty("f32[N, 1, 3]")), Operand::Typed(ty("i64[N, 1, 3]"))];
            operands.extend(stated.map(|sizes| Operand::Constant(Tensor::vector(sizes.to_vec()))));
            let (graph, y) = lift(&onnx("MaxUnpool", &attrs), 11, &operands)?;
            Ok(graph.ty(y).shape.to_string())
        };
        assert_eq!(lift(&[0, 0], None), Ok("[N, 1, 6]".to_owned()));
        assert_eq!(lift(&[1, 1], None), Ok("[N, 1, 4]".to_owned()));
        assert_eq!(lift(&[0, 0], Some(&[1, 1, 6])), Ok("[N, 1, 6]".to_owned()));
        let larger: Result<String, OpError> = lift(&[0, 0], Some(&[1, 1, 7]));
        assert!(matches!(larger, Err(OpError::Unsupported { way_out: Some(_), .. })));
        assert!(matches!(lift(&[0], None), Err(OpError::Invalid { .. })));
    }
}
