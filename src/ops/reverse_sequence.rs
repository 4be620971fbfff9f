//! `reverse_sequence`: sequences of several lengths, each turned round.

use super::product::at;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, DType, Element, Grid, Shape, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(ReverseSequence)]
}

pub struct ReverseSequence;

impl ReverseSequence {
    /// The axis of time; that of the sequences is the other one of the first two.
    fn time_axis(call: &Call) -> Result<usize, OpError> {
        let axis = call.axis("C1", "time_axis", 2)?;
        let x = &call.ty(0)?.shape;
        call.require("C2", x.rank() >= 2, || format!("x has at least 2 axes, found {x}"))?;
        Ok(axis)
    }
}

impl Operator for ReverseSequence {
    fn schema(&self) -> Schema {
        Schema::new(
            "reverse_sequence",
            "`y[t, n, …] = x[sequence_lens[n] - 1 - t, n, …]` where t is below `sequence_lens[n]`, and x elsewhere. \
             Time t is axis `time_axis`, the sequences n are the other one of the first two axes.\n\n\
             * C1: `time_axis` is 0 or 1.\n\
             * C2: x has at least 2 axes.\n\
             * C3: sequence_lens is plain i64 and has an element for each sequence.\n\
             * C4: the grid of x does not belong to the axis of time.\n\
             * C5 (when it runs): the elements of sequence_lens are from 0 to the size of the axis of time.",
        )
        .operand("x")
        .operand("sequence_lens")
        .required_attr("time_axis", AttrKind::Int)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let axis = Self::time_axis(call)?;
        let (x, lengths) = (call.ty(0)?, call.ty(1)?);
        let expected = Shape::new([x.shape[1 - axis].clone()]);
        call.require("C3", lengths.grid == Grid::Plain(DType::I64) && lengths.shape == expected, || {
            format!("sequence_lens is plain i64{expected}, found {}{}", lengths.storage(), lengths.shape)
        })?;
        let grid_axis = x.grid.axis();
        call.require("C4", grid_axis != Some(axis), || format!("the grid of x belongs to axis {axis}"))?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(x: &Array<T>, [step, stride]: [usize; 2], lengths: &[usize]) -> Vec<T> {
            // Contiguous, as every tensor is.
            let x = x.as_slice().unwrap_or_default();
            let mut y = x.to_vec();
            let inner = step.min(stride);
            // Of an empty tensor nothing can be turned round, whatever its other sizes are.
            let moved = lengths.iter().enumerate().filter(|_| !x.is_empty());
            for (sequence, &length) in moved {
                for t in 0..length {
                    let [to, from] = [t, length - 1 - t].map(|t| t * step + sequence * stride);
                    y[to..to + inner].copy_from_slice(&x[from..from + inner]);
                }
            }
            y
        }
        let axis = Self::time_axis(&inputs.call)?;
        let (x, lengths) = (inputs.get(0)?, inputs.get(1)?);
        let steps = x.sizes()[axis];
        let length = |(position, &length): (usize, &i64)| {
            let fits = usize::try_from(length).ok().filter(|&length| length <= steps);
            fits.ok_or_else(|| {
                let place = at("sequence_lens", position, lengths.sizes());
                inputs.call.broken("C5", format!("{place} is {length}, not from 0 to {steps}"))
            })
        };
        let lengths: Vec<usize> =
            inputs.elements::<i64>(1)?.iter().enumerate().map(length).collect::<Result<_, _>>()?;
        // Elements in one step of each of the first two axes.
        let inner = x.sizes()[2..].iter().fold(1usize, |product, &size| product.saturating_mul(size));
        let outer = inner.saturating_mul(x.sizes()[1]);
        let steps = if axis == 0 { [outer, inner] } else { [inner, outer] };
        dispatch!(x, array => inputs.call.result(x.sizes(), go(array, steps, &lengths)))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not take sequences apart")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = cx.call.int("time_axis")?;
        let node = cx.node("ReverseSequence", cx.operand_names.to_vec());
        let node = node.attr("time_axis", OnnxAttr::Int(axis)).attr("batch_axis", OnnxAttr::Int(1 - axis));
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, lengths) = (cx.operand(0)?, cx.operand(1)?);
            let (time, batch) = (cx.int("time_axis", 0)?, cx.int("batch_axis", 1)?);
            if ![(0, 1), (1, 0)].contains(&(time, batch)) {
                let found = format!("found {time} and {batch}");
                return Err(
                    cx.invalid(format!("`time_axis` and `batch_axis` are 0 and 1, or 1 and 0, {found}"))
                );
            }
            Ok(vec![cx.op("reverse_sequence", Attrs::new().with("time_axis", time), &[x, lengths])?])
        }
        vec![Lift::standard("ReverseSequence", [Version::new(10, 2, &["batch_axis", "time_axis"])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = || Tensor::new(&[3, 2], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let example = |axis: i64, lengths: Vec<i64>| Example {
            attrs: Attrs::new().with("time_axis", axis),
            operands: vec![x(), Some(Tensor::vector(lengths))],
        };
        vec![example(0, vec![3, 2]), example(1, vec![2, 1, 0])]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn time(axis: i64) -> Attrs {
        Attrs::new().with("time_axis", axis)
    }

    #[test]
    fn constraints() {
        for (label, attrs, x, lengths) in [
            ("C1", time(2), ty("f32[2, 3]"), ty("i64[3]")),
            ("C2", time(0), ty("f32[2]"), ty("i64[2]")),
            ("C3", time(0), ty("f32[2, 3]"), ty("i64[2]")),
            ("C3", time(0), ty("f32[2, N]"), ty("i64[3]")),
            ("C3", time(1), ty("f32[2, 3]"), ty("i32[2]")),
            ("C4", time(1), quantized("i8[2, 3]", 3), ty("i64[2]")),
        ] {
            assert_eq!(broken(infer("reverse_sequence", attrs, &[x, lengths])), label);
        }
        assert_eq!(shape("reverse_sequence", time(0), &["u8[T, N, 3]", "i64[N]"]), "u8[T, N, 3]");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[3, 2, 1], [1i8, 2, 3, 4, 5, 6]);
        let turned = |axis: i64, lengths: &[i64]| {
            let operands = [x.clone(), Tensor::vector(lengths.to_vec())];
            let y = eval("reverse_sequence", time(axis), &operands)?;
            assert_eq!(read_back("reverse_sequence", time(axis), &operands), y);
            Ok(y.elements::<i8>().unwrap().to_vec())
        };
        assert_eq!(turned(0, &[3, 2]), Ok(vec![5, 4, 3, 2, 1, 6]));
        assert_eq!(turned(0, &[0, 1]), Ok(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(turned(1, &[2, 1, 0]), Ok(vec![2, 1, 3, 4, 5, 6]));
        for wrong in [[4, 1], [-1, 1], [i64::MIN, i64::MAX]] {
            assert_eq!(broken(turned(0, &wrong)), "C5");
        }
        let empty = tensor::<f32>(&[1 << 60, 2, 0], []);
        let lengths = tensor(&[2], [1i64 << 60, 3]);
        assert_eq!(eval("reverse_sequence", time(0), &[empty.clone(), lengths]), Ok(empty));
    }

    #[test]
    fn axes_are_the_first_two() {
        let lift = |time: i64, batch: i64| {
            let axes = [("time_axis", OnnxAttr::Int(time)), ("batch_axis", OnnxAttr::Int(batch))];
            let x = Operand::Input(tensor(&[2, 2], [1i8, 2, 3, 4]));
            lift_and_eval(
                &onnx("ReverseSequence", &axes),
                10,
                &[x, Operand::Constant(tensor(&[2], [2i64, 1]))],
            )
        };
        assert_eq!(lift(0, 1), Ok(tensor(&[2, 2], [3i8, 2, 1, 4])));
        assert_eq!(lift(1, 0), Ok(tensor(&[2, 2], [2i8, 1, 3, 4])));
        for (time, batch) in [(0, 0), (1, 1), (0, 2), (-2, -1)] {
            assert!(matches!(lift(time, batch), Err(OpError::Invalid { .. })));
        }
    }
}
