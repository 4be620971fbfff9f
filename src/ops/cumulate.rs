//! The sum of all elements up to each: `cum_sum`.

use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(CumSum)]
}

pub struct CumSum;

impl CumSum {
    fn axis(call: &Call) -> Result<usize, OpError> {
        call.same_plain("C1", &NUMBERS)?;
        call.flag("exclusive")?;
        call.flag("reverse")?;
        call.axis("C2", "axis", call.ty(0)?.shape.rank())
    }
}

impl Operator for CumSum {
    fn schema(&self) -> Schema {
        Schema::new(
            "cum_sum",
            "`y[…, i, …] = sum over k <= i of x[…, k, …]` along `axis`; with `exclusive` over `k < i`, with `reverse` \
             over `k >= i` or `k > i`. The sum starts with 0 and the element that is farthest; floats are rounded \
             once a step, integers wrap.\n\n\
             * C1: x is plain, a float or an integer.\n\
             * C2: 0 <= axis < rank of x.",
        )
        .operand("x")
        .required_attr("axis", AttrKind::Int)
        .attr("exclusive", false)
        .attr("reverse", false)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Self::axis(call)?;
        Ok(vec![call.ty(0)?.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Number>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            let axis = CumSum::axis(&inputs.call)?;
            let (exclusive, reverse) = (inputs.call.flag("exclusive")?, inputs.call.flag("reverse")?);
            let (x, sizes) = (inputs.elements::<T>(0)?, inputs.get(0)?.sizes());
            let (size, step) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
            let mut y = x.to_vec();
            let starts = (0..x.len()).step_by((size * step).max(1)).flat_map(|outer| outer..outer + step);
            for start in starts {
                let mut sum = T::default();
                for i in 0..size {
                    let at = start + step * if reverse { size - 1 - i } else { i };
                    let next = sum.add(x[at]);
                    y[at] = if exclusive { sum } else { next };
                    sum = next;
                }
            }
            inputs.call.result(sizes, y)
        }
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => go::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a sum runs on the device only inside a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = cx.initializer("axis", Tensor::scalar(cx.call.int("axis")?));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(axis);
        let flag = |name| Ok::<_, OpError>(OnnxAttr::Int(cx.call.flag(name)?.into()));
        let node = cx.node("CumSum", inputs).attr("exclusive", flag("exclusive")?);
        Ok(Lowered::Nodes(vec![node.attr("reverse", flag("reverse")?)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            cx.operand(1)?;
            let axis = cx.constant(1).map(|axis| axis.cast(DType::I64));
            let axis = axis.as_ref().and_then(|axis| axis.elements::<i64>()).filter(|axis| axis.len() == 1);
            let axis = axis.and_then(|axis| axis.first().copied());
            let axis = axis.ok_or_else(|| cx.not_constant("`axis` that is not a constant".to_owned()))?;
            let attrs = Attrs::new()
                .with("axis", cx.axis(axis, rank, rank)?)
                .with("exclusive", cx.int("exclusive", 0)? != 0)
                .with("reverse", cx.int("reverse", 0)? != 0);
            Ok(vec![cx.op("cum_sum", attrs, &[x])?])
        }
        vec![Lift::standard("CumSum", [Version::new(11, 2, &["exclusive", "reverse"])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let attrs = || Attrs::new().with("axis", 1);
        vec![
            Example { attrs: attrs(), operands: vec![x.clone()] },
            Example { attrs: attrs().with("exclusive", true).with("reverse", true), operands: vec![x] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn by_hand() {
        let axis = |axis: i64| Attrs::new().with("axis", axis);
        check_labels("cum_sum", &[("C1", axis(0), &["bool[2]"]), ("C2", axis(1), &["f32[2]"])]);
        let x = tensor(&[2, 3], [1i32, 2, 3, 4, 5, 6]);
        let sums = |attrs: Attrs| {
            let y = eval("cum_sum", attrs.clone(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back("cum_sum", attrs, std::slice::from_ref(&x)), y);
            y.elements::<i32>().unwrap().to_vec()
        };
        assert_eq!(sums(axis(1)), [1, 3, 6, 4, 9, 15]);
        assert_eq!(sums(axis(0)), [1, 2, 3, 5, 7, 9]);
        assert_eq!(sums(axis(1).with("exclusive", true)), [0, 1, 3, 0, 4, 9]);
        assert_eq!(sums(axis(1).with("reverse", true)), [6, 5, 3, 15, 11, 6]);
        assert_eq!(sums(axis(1).with("reverse", true).with("exclusive", true)), [5, 3, 0, 11, 6, 0]);
        assert_eq!(eval("cum_sum", axis(0), &[tensor::<f32>(&[0], [])]), Ok(tensor::<f32>(&[0], [])));
    }
}
