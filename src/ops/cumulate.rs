//! The sum, or the product, of all elements up to each: `cum_sum`, `cum_prod`.

use super::body::Body;
use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Cumulate::Sum), Box::new(Cumulate::Prod)]
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cumulate {
    Sum,
    Prod,
}

impl Cumulate {
    /// Name, ONNX name, documentation, and the opset that brought it.
    fn row(self) -> (&'static str, &'static str, &'static str, i64) {
        match self {
            Cumulate::Sum => (
                "cum_sum",
                "CumSum",
                "`y[…, i, …] = sum over k <= i of x[…, k, …]` along `axis`; with `exclusive` over `k < i`, with `reverse` \
                 over `k >= i` or `k > i`. The sum starts with 0 and the element that is farthest; floats are rounded \
                 once a step, integers wrap.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x.",
                11,
            ),
            Cumulate::Prod => (
                "cum_prod",
                "CumProd",
                "`y[…, i, …] = product over k <= i of x[…, k, …]` along `axis`, whose size is known; with `exclusive` over \
                 `k < i`, with `reverse` over `k >= i` or `k > i`. The product starts with 1 and the element that is \
                 farthest; floats are rounded once a step, integers wrap.\n\n\
                 * C1: x is plain, a float or an integer.\n\
                 * C2: 0 <= axis < rank of x.",
                26,
            ),
        }
    }

    fn axis(self, call: &Call) -> Result<usize, OpError> {
        call.same_plain("C1", &NUMBERS)?;
        call.flag("exclusive")?;
        call.flag("reverse")?;
        let x = &call.ty(0)?.shape;
        let axis = call.axis("C2", "axis", x.rank())?;
        // Files have no such product, but one for each power of two below the size.
        if self == Cumulate::Prod {
            call.known(&x[axis])?;
        }
        Ok(axis)
    }

    /// The products by doubling: of 1, 2, 4, … elements up to each.
    fn lower_prod(self, cx: &LowerCx) -> Result<Lowered, OpError> {
        let (x, axis) = (cx.call.ty(0)?, self.axis(&cx.call)?);
        let (size, reverse) = (cx.call.known(&x.shape[axis])? as i64, cx.call.flag("reverse")?);
        let mut body = Body::of_node(cx);
        let axes = body.vector(vec![axis as i64]);
        let one = body.tensor(Tensor::scalar(1i32).cast(x.storage()));
        // Every element is the one `by` before it, and the first ones are 1.
        let shifted = |body: &mut Body, y: &str, by: i64| {
            let (start, end) = if reverse { (by, size) } else { (0, size - by) };
            let (start, end) = (body.vector(vec![start]), body.vector(vec![end]));
            let kept = body.op("Slice", &[y, &start, &end, &axes]);
            let pads = body.vector(if reverse { vec![0, by] } else { vec![by, 0] });
            body.op("Pad", &[&kept, &pads, &one, &axes])
        };
        let mut y = cx.operand_names.first().cloned().unwrap_or_default();
        let exclusive = cx.call.flag("exclusive")? && size > 0;
        if exclusive {
            y = shifted(&mut body, &y, 1);
        }
        let mut by = 1;
        while by < size {
            let before = shifted(&mut body, &y, by);
            y = body.op("Mul", &[&y, &before]);
            by *= 2;
        }
        if !exclusive && size < 2 {
            body.op("Identity", &[&y]);
        }
        Ok(body.nodes_of(cx))
    }
}

impl Operator for Cumulate {
    fn schema(&self) -> Schema {
        let (name, _, doc, _) = self.row();
        Schema::new(name, doc)
            .operand("x")
            .required_attr("axis", AttrKind::Int)
            .attr("exclusive", false)
            .attr("reverse", false)
            .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        self.axis(call)?;
        Ok(vec![call.ty(0)?.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Number>(
            inputs: &Inputs,
            axis: usize,
            first: T,
            combine: fn(T, T) -> T,
        ) -> Result<Vec<Tensor>, OpError> {
            let (exclusive, reverse) = (inputs.call.flag("exclusive")?, inputs.call.flag("reverse")?);
            let (x, sizes) = (inputs.elements::<T>(0)?, inputs.get(0)?.sizes());
            let (size, step) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
            let mut y = x.to_vec();
            let starts = (0..x.len()).step_by((size * step).max(1)).flat_map(|outer| outer..outer + step);
            for start in starts {
                let mut all = first;
                for i in 0..size {
                    let at = start + step * if reverse { size - 1 - i } else { i };
                    let next = combine(all, x[at]);
                    y[at] = if exclusive { all } else { next };
                    all = next;
                }
            }
            inputs.call.result(sizes, y)
        }
        let axis = self.axis(&inputs.call)?;
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => match self {
            Cumulate::Sum => go::<T>(inputs, axis, T::default(), Number::add),
            Cumulate::Prod => go::<T>(inputs, axis, T::ONE, Number::mul),
        })
    }

    fn quantize(&self) -> Quantize {
        Quantize::No(match self {
            Cumulate::Sum => "a sum runs on the device only inside a layer",
            Cumulate::Prod => "the device has no product of two values",
        })
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        if *self == Cumulate::Prod {
            return self.lower_prod(cx);
        }
        let axis = cx.initializer("axis", Tensor::scalar(cx.call.int("axis")?));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(axis);
        let flag = |name| Ok::<_, OpError>(OnnxAttr::Int(cx.call.flag(name)?.into()));
        let node = cx.node("CumSum", inputs).attr("exclusive", flag("exclusive")?);
        Ok(Lowered::Nodes(vec![node.attr("reverse", flag("reverse")?)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(name: &str, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
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
            Ok(vec![cx.op(name, attrs, &[x])?])
        }
        let (name, onnx, _, since) = self.row();
        let versions = [Version::new(since, 2, &["exclusive", "reverse"])];
        vec![Lift::standard(onnx, versions, move |cx| lift(name, cx))]
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

    #[test]
    fn products() {
        let axis = |axis: i64| Attrs::new().with("axis", axis);
        check_labels("cum_prod", &[("C1", axis(0), &["bool[2]"]), ("C2", axis(1), &["f32[2]"])]);
        assert_unknown_size(infer("cum_prod", axis(0), &[ty("f32[N, 3]")]));
        assert_eq!(shape("cum_prod", axis(1), &["f32[N, 3]"]), "f32[N, 3]");
        let products = |attrs: Attrs, x: &Tensor| {
            let y = eval("cum_prod", attrs.clone(), std::slice::from_ref(x)).unwrap();
            assert_eq!(read_back("cum_prod", attrs, std::slice::from_ref(x)), y);
            y.elements::<i64>().unwrap().to_vec()
        };
        for size in 0..10i64 {
            let x = tensor(&[1, size as usize, 1], (1..=size).map(|v| v * 1001 - 4000).collect::<Vec<_>>());
            let whole: Vec<i64> = x.elements::<i64>().unwrap().to_vec();
            for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
                let attrs = axis(1).with("exclusive", exclusive).with("reverse", reverse);
                let expected = (0..whole.len()).map(|i| {
                    let others = usize::from(exclusive);
                    let range = if reverse { i + others..whole.len() } else { 0..i + 1 - others };
                    whole[range].iter().fold(1i64, |product, v| product.wrapping_mul(*v))
                });
                assert_eq!(products(attrs, &x), expected.collect::<Vec<_>>(), "{size} {exclusive} {reverse}");
            }
        }
        let x = tensor(&[2, 3], [1i64, 2, 3, 4, 5, 6]);
        assert_eq!(products(axis(0), &x), [1, 2, 3, 4, 10, 18]);
        let floats = eval("cum_prod", axis(0), &[tensor(&[3], [0.5f32, 4.0, -3.0])]);
        assert_eq!(floats, Ok(tensor(&[3], [0.5f32, 2.0, -6.0])));
    }
}
