//! Integer arithmetic that bodies of hardware layers are written with: `rescale`, `lookup`.

use super::body::{Body, RESCALABLE};
use super::product::at;
use super::{Arithmetic, Call, Example, Inputs, Lift, LowerCx, Lowered, OpError, Operator, Quantize, Schema};
use crate::ir::{AttrKind, Attrs};
use crate::tensor::{
    Array, DType, Element, Grid, Rows, Shape, Tensor, TensorType, broadcast, dispatch, round,
};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Rescale), Box::new(Lookup)]
}

/// Operands by position.
const ACC: usize = 0;
const M: usize = 1;
const S: usize = 2;

/// Exponents that the lowering has powers of two for.
const LARGEST_EXPONENT: i64 = 63;

/// What a rescale saturates to.
const TARGETS: [DType; 5] = [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32];

/// What the index of a lookup is stored as.
const INDICES: [DType; 5] = [DType::I8, DType::U8, DType::I16, DType::I32, DType::I64];

pub struct Rescale;

impl Rescale {
    fn target(call: &Call) -> Result<DType, OpError> {
        let to = call.dtype("to")?;
        call.require("C3", TARGETS.contains(&to), || {
            format!("`to` is an integer type of 8, 16 or 32 bits, not u32; found {to}")
        })?;
        Ok(to)
    }

    fn shape(call: &Call) -> Result<Shape, OpError> {
        let (acc, m, s) = (&call.ty(ACC)?.shape, &call.ty(M)?.shape, &call.ty(S)?.shape);
        let all = broadcast(acc, m).and_then(|shape| broadcast(&shape, s));
        all.ok_or_else(|| call.broken("C2", format!("the shapes broadcast, found {acc}, {m} and {s}")))
    }
}

/// The elements of an integer operand, each within `range`.
fn integers(
    inputs: &Inputs,
    label: &'static str,
    position: usize,
    range: (i64, i64),
) -> Result<Array<i64>, OpError> {
    let tensor = inputs.get(position)?;
    let Tensor::I64(array) = tensor.cast(DType::I64) else {
        return Err(inputs.call.unsupported("an operand of another storage"));
    };
    // A u64 beyond i64 is negative here, and no range that is asked for has it.
    match array.iter().enumerate().find(|(_, v)| !(range.0..=range.1).contains(v)) {
        None => Ok(array),
        Some((index, v)) => {
            let place = at(&inputs.call.schema.operand_name(position), index, tensor.sizes());
            Err(inputs.call.broken(label, format!("{place} is {v}, not from {} to {}", range.0, range.1)))
        }
    }
}

impl Operator for Rescale {
    fn schema(&self) -> Schema {
        Schema::new(
            "rescale",
            "`y = floor(acc * m / 2^s + 1/2)`, saturated to the storage `to`: how a device scales an \
             accumulator, `m` and the exponent `s` being given for each element of `acc`, or one for \
             several. Exact in every arithmetic: only the floor rounds.\n\n\
             Shapes broadcast as in ONNX: axes are aligned at the end, and a size of 1 stretches.\n\n\
             * C1: acc is plain i32 or i64, m and s are plain integers of any storage.\n\
             * C2: on every axis, sizes (or names of unknown sizes) are equal or one of them is 1.\n\
             * C3: `to` is i8, u8, i16, u16 or i32.\n\
             * C4 (when it runs): the elements of m are 0 to 255.\n\
             * C5 (when it runs): the elements of s are -63 to 63.\n\
             * C6 (when it runs): the elements of acc are -2^44 to 2^44.",
        )
        .operand("acc")
        .operand("m")
        .operand("s")
        .required_attr("to", AttrKind::DType)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        for position in [ACC, M, S] {
            let ty = call.ty(position)?;
            let storage = ty.storage();
            let allowed = match position {
                ACC => matches!(storage, DType::I32 | DType::I64),
                _ => storage.is_integer(),
            };
            call.require("C1", allowed && ty.grid == Grid::Plain(storage), || {
                let allowed = if position == ACC { "i32 or i64" } else { "an integer" };
                let quantized = if !ty.grid.is_plain() { "quantized " } else { "" };
                format!(
                    "{} is stored plainly as {allowed}, found {quantized}{storage}",
                    call.schema.operand_name(position)
                )
            })?;
        }
        Ok(vec![TensorType::new(Self::target(call)?, Self::shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        // Bounded far below the ends of i64.
        let largest = RESCALABLE as i64;
        let acc = integers(inputs, "C6", ACC, (-largest, largest))?;
        let m = integers(inputs, "C4", M, (0, u8::MAX.into()))?;
        let s = integers(inputs, "C5", S, (-LARGEST_EXPONENT, LARGEST_EXPONENT))?;
        let to = Self::target(call)?;
        let range = to.integer_range().unwrap_or_default();
        let sizes = Self::shape(call)?.sizes().unwrap_or_default();
        let rows = Rows::new(&sizes, [acc.shape(), m.shape(), s.shape()]);
        let rows = rows.ok_or_else(|| call.broken("C2", "the shapes broadcast"))?;
        let [acc, m, s] = [&acc, &m, &s].map(|array| array.as_slice().unwrap_or_default());
        let mut y = call.room(&sizes)?;
        rows.each(&mut |at| {
            let place = |operand: usize, k| at[operand] + k * rows.steps[operand];
            y.extend((0..rows.length).map(|k| {
                // Both fit: their ranges were checked. So does the result, which is within `range`.
                let (m, s) = (m[place(1, k)] as u8, s[place(2, k)] as i32);
                round::rescale_within(acc[place(0, k)], m, s, range) as i64
            }));
        });
        Ok(call.result(&sizes, y)?.into_iter().map(|y| y.cast(to)).collect())
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a rescale is integer arithmetic already: layers have it inside")
    }

    /// Float64 computes it exactly: `|acc * m|` is below 2^53, a product with a power of two is
    /// exact, and so are the addition of one half, where it matters, and the floor.
    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut body = Body::of_node(cx);
        let [acc, m, s] = [ACC, M, S].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let (acc, m, s) = (body.cast(&acc, DType::F64), body.cast(&m, DType::F64), body.cast(&s, DType::I64));
        let product = body.op("Mul", &[&acc, &m]);
        // No function of ONNX promises exact powers of two, so they are looked up.
        let largest = LARGEST_EXPONENT as i32;
        let powers = body.vector((-largest..=largest).map(|s| round::power_of_two(-s)).collect());
        let first = body.scalar(LARGEST_EXPONENT);
        let index = body.op("Add", &[&s, &first]);
        let power = body.op("Gather", &[&powers, &index]);
        let scaled = body.op("Mul", &[&product, &power]);
        body.half_up(&scaled, Self::target(&cx.call)?);
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        // ONNX has no such operator: what it is lowered to is read as what it says.
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let acc = || Tensor::new(&[2, 3], vec![100i32, -100, 7, i32::MAX, i32::MIN, -5]);
        let m = Tensor::new(&[1, 3], vec![200u8, 131, 255]);
        let s = Tensor::new(&[1, 3], vec![8i32, 9, -1]);
        let attrs = |to: DType| Attrs::new().with("to", to);
        vec![
            Example { attrs: attrs(DType::I8), operands: vec![acc(), m, s] },
            Example {
                attrs: attrs(DType::I32),
                operands: vec![acc(), Some(Tensor::scalar(1i32)), Some(Tensor::scalar(3i32))],
            },
        ]
    }
}

pub struct Lookup;

impl Operator for Lookup {
    fn schema(&self) -> Schema {
        Schema::new(
            "lookup",
            "`y = table[i]` for each element of `i`; a negative one counts from the end, as -1 the last entry.\n\n\
             * C1: table is plain, i plain i8, u8, i16, i32 or i64.\n\
             * C2: table has one axis.\n\
             * C3 (when it runs): the elements of i are below the number of entries, and not below its negative.",
        )
        .operand("table")
        .operand("i")
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (table, i) = (call.ty(0)?, call.ty(1)?);
        call.require("C1", table.grid.is_plain(), || "table is plain, found quantized".to_owned())?;
        call.require("C1", INDICES.contains(&i.storage()) && i.grid.is_plain(), || {
            let quantized = if !i.grid.is_plain() { "quantized " } else { "" };
            format!("i is stored plainly as i8, u8, i16, i32 or i64, found {quantized}{}", i.storage())
        })?;
        call.require("C2", table.shape.rank() == 1, || format!("table has one axis, found {}", table.shape))?;
        Ok(vec![TensorType::new(table.storage(), i.shape.clone())])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(table: &Array<T>, i: &Array<i64>) -> Tensor {
            let entry = |&i: &i64| usize::try_from(if i < 0 { i + table.len() as i64 } else { i });
            // In range, and of one axis: both were checked.
            let entries = i.map(|i| entry(i).ok().and_then(|at| table.get(at)).copied().unwrap_or_default());
            T::wrap(entries.into_shared())
        }
        let table = inputs.get(0)?;
        // A size in memory.
        let entries = table.len() as i64;
        let i = integers(inputs, "C3", 1, (-entries, entries - 1))?;
        Ok(vec![dispatch!(table, table => go(table, &i))])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a table is looked up on the device only inside a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        if matches!(cx.call.ty(1)?.storage(), DType::I32 | DType::I64) {
            return Ok(Lowered::Nodes(vec![cx.node("Gather", cx.operand_names.to_vec())]));
        }
        let mut body = Body::of_node(cx);
        let [table, i] = [0, 1].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let i = body.cast(&i, DType::I32);
        body.op("Gather", &[&table, &i]);
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        // ONNX's Gather reads it, from a tensor of one axis: see `gather`.
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let table = Tensor::new(&[5], vec![10i8, 20, 30, 40, 50]);
        let i = Tensor::new(&[2, 2], vec![0i32, 4, -1, 2]);
        let bytes = Tensor::new(&[3], vec![3u8, 0, 1]);
        vec![
            Example { attrs: Attrs::new(), operands: vec![table.clone(), i] },
            Example { attrs: Attrs::new(), operands: vec![table, bytes] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn to(dtype: DType) -> Attrs {
        Attrs::new().with("to", dtype)
    }

    fn rescale(acc: i32, m: i32, s: i32, dtype: DType) -> Result<i64, OpError> {
        let y = eval("rescale", to(dtype), &[Tensor::scalar(acc), Tensor::scalar(m), Tensor::scalar(s)])?;
        assert_eq!(y.dtype(), dtype);
        Ok(y.cast(DType::I64).elements::<i64>().unwrap()[0])
    }

    #[test]
    fn constraints() {
        check_labels(
            "rescale",
            &[
                ("C1", to(DType::I8), &["f32[2]", "u8[2]", "i32[2]"]),
                ("C1", to(DType::I8), &["i32[2]", "f32[2]", "i32[2]"]),
                ("C1", to(DType::I8), &["i32[2]", "u8[2]", "bool[2]"]),
                ("C2", to(DType::I8), &["i32[2, 3]", "u8[2]", "i32[]"]),
                ("C2", to(DType::I8), &["i32[2, 3]", "u8[]", "i32[2]"]),
                ("C3", to(DType::I64), &["i32[2]", "u8[2]", "i32[2]"]),
                ("C3", to(DType::F32), &["i32[2]", "u8[2]", "i32[2]"]),
            ],
        );
        let text = shape("rescale", to(DType::U8), &["i64[N, 3, 4, 4]", "u8[1, 3, 1, 1]", "i8[]"]);
        assert_eq!(text, "u8[N, 3, 4, 4]");
        let acc = quantized("i32[2]", 1);
        assert_eq!(broken(infer("rescale", to(DType::I8), &[acc, ty("u8[]"), ty("i32[]")])), "C1");
    }

    #[test]
    fn ties_go_up_and_ends_saturate() {
        assert_eq!(rescale(3, 1, 1, DType::I8), Ok(2));
        assert_eq!(rescale(-3, 1, 1, DType::I8), Ok(-1));
        assert_eq!(rescale(-1, 1, -40, DType::I8), Ok(-128));
        assert_eq!(rescale(-5, 255, 3, DType::U8), Ok(0));
        assert_eq!(rescale(300, 1, 0, DType::U8), Ok(255));
        assert_eq!(rescale(i32::MAX, 255, 0, DType::I32), Ok(i32::MAX.into()));
        assert_eq!(rescale(i32::MIN, 1, 0, DType::I32), Ok(i32::MIN.into()));
        assert_eq!(rescale(i32::MIN, 255, 63, DType::I32), Ok(0));
    }

    #[test]
    fn elements_out_of_range_are_named() {
        for (acc, m, s, label) in [(1, 256, 0, "C4"), (1, -1, 0, "C4"), (1, 1, 64, "C5"), (1, 1, -64, "C5")] {
            assert_eq!(broken(rescale(acc, m, s, DType::I8)), label);
        }
        let acc = tensor(&[1, 2], [0i64, (1 << 44) + 1]);
        let error =
            eval("rescale", to(DType::I8), &[acc, Tensor::scalar(1u8), Tensor::scalar(0i32)]).unwrap_err();
        assert!(error.to_string().contains("C6: acc[0, 1] is 17592186044417"), "{error}");
    }

    #[test]
    fn entries_are_looked_up() {
        check_labels(
            "lookup",
            &[
                ("C1", Attrs::new(), &["i8[4]", "f32[2]"]),
                ("C1", Attrs::new(), &["i8[4]", "u64[2]"]),
                ("C2", Attrs::new(), &["i8[4, 1]", "i32[2]"]),
            ],
        );
        assert_eq!(shape("lookup", Attrs::new(), &["f32[256]", "i8[N, 3]"]), "f32[N, 3]");
        let table = tensor(&[3], [1.5f32, -2.0, 7.0]);
        let lookup = |i: i64| eval("lookup", Attrs::new(), &[table.clone(), tensor(&[1, 1], [i])]);
        assert_eq!(lookup(2), Ok(tensor(&[1, 1], [7.0f32])));
        assert_eq!(lookup(-3), Ok(tensor(&[1, 1], [1.5f32])));
        let error = lookup(3).unwrap_err();
        assert!(error.to_string().ends_with("C3: i[0, 0] is 3, not from -3 to 2"), "{error}");
        assert_eq!(broken(lookup(-4)), "C3");
        assert_eq!(
            broken(eval("lookup", Attrs::new(), &[tensor::<i8>(&[0], []), Tensor::scalar(0i32)])),
            "C3"
        );
        let bytes = [tensor(&[3], [5i64, 6, 7]), tensor(&[4], [-3i8, 2, 0, -1])];
        let own = eval("lookup", Attrs::new(), &bytes).unwrap();
        assert_eq!(own, tensor(&[4], [5i64, 7, 5, 7]));
        assert_eq!(read_back("lookup", Attrs::new(), &bytes), own);
    }

    proptest! {
        /// Lowered to float64, it gives the same integers.
        #[test]
        fn its_lowering_is_exact(
            acc in prop::collection::vec(prop_oneof![any::<i32>(), -300i32..300], 6),
            m in prop::collection::vec(any::<u8>(), 3),
            s in prop::collection::vec(-63i32..=63, 3),
            dtype in prop::sample::select(TARGETS.to_vec()),
        ) {
            let operands = [tensor(&[2, 3], acc), tensor(&[3], m), tensor(&[1, 3], s)];
            let own = eval("rescale", to(dtype), &operands).unwrap();
            prop_assert_eq!(read_back("rescale", to(dtype), &operands), own);
        }
    }
}
