//! Products over 8-bit integers, summed exactly: what `dense`, `matmul` and `conv2d` have in common
//! beside their float forms.

use std::fmt::Display;

use super::body::Body;
use super::bound::{accumulator_bound, fits_i32, largest_magnitude};
use super::{Call, FLOATS, Inputs, LiftCx, LowerCx, OpError};
use crate::ir::{Attrs, ValueId};
use crate::kernels::{Accumulator, Byte};
use crate::tensor::{DType, Element, Grid, Tensor};

/// Whether an application is one over integers, by the storage of its first operand.
pub fn is_integer(call: &Call) -> Result<bool, OpError> {
    Ok(call.ty(0)?.storage().is_integer())
}

/// The storage of the result: floats multiply with floats stored alike, i8 or u8 with i8 weights and
/// an i32 bias, to i32.
pub fn storage(call: &Call, label: &'static str) -> Result<DType, OpError> {
    let x = call.ty(0)?;
    if x.storage().is_float() {
        return call.same_plain(label, FLOATS);
    }
    for (position, allowed) in [&[DType::I8, DType::U8][..], &[DType::I8], &[DType::I32]].iter().enumerate() {
        let Some(ty) = call.opt_ty(position) else { continue };
        let plain = ty.grid == Grid::Plain(ty.storage());
        call.require(label, plain && allowed.contains(&ty.storage()), || {
            let (name, found) = (call.schema.operand_name(position), ty.storage());
            let quantized = if plain { "" } else { "quantized " };
            match position {
                0 => format!("{name} is stored plainly as f32, f64, i8 or u8, found {quantized}{found}"),
                _ => format!(
                    "{name} is stored plainly as {} beside {}, found {quantized}{found}",
                    allowed[0],
                    x.storage()
                ),
            }
        })?;
    }
    Ok(DType::I32)
}

/// A product of 8-bit integers.
pub trait Product {
    /// The sums of the product, with `bias` added.
    fn sums<A: Byte + Element, S: Accumulator + Element>(
        &self,
        inputs: &Inputs,
        bias: Option<&[S]>,
    ) -> Result<Vec<S>, OpError>;
}

/// The i32 result of `sizes`, given a bound for every partial sum.
///
/// # Errors
/// An element beyond 32 bits, which the constraint `label` is about.
pub fn eval<P: Product>(
    product: &P,
    inputs: &Inputs,
    label: &'static str,
    sizes: &[usize],
    bound: u128,
) -> Result<Vec<Tensor>, OpError> {
    match inputs.get(0)?.dtype() {
        DType::I8 => eval_as::<i8, P>(product, inputs, label, sizes, bound),
        _ => eval_as::<u8, P>(product, inputs, label, sizes, bound),
    }
}

fn eval_as<A: Byte + Element, P: Product>(
    product: &P,
    inputs: &Inputs,
    label: &'static str,
    sizes: &[usize],
    bound: u128,
) -> Result<Vec<Tensor>, OpError> {
    let bias = inputs.opt_elements::<i32>(2)?;
    if fits_i32(bound) {
        return inputs.call.result(sizes, product.sums::<A, i32>(inputs, bias)?);
    }
    // 2^63 products would be needed to pass 64 bits.
    let bias: Option<Vec<i64>> = bias.map(|bias| bias.iter().map(|&b| b.into()).collect());
    narrowed::<i64, i32>(&inputs.call, label, sizes, product.sums::<A, i64>(inputs, bias.as_deref())?)
}

/// A result stored as `T` from its elements in more bits.
///
/// # Errors
/// An element that does not fit, which the constraint `label` is about.
pub fn narrowed<W: Copy + Display, T: Element + TryFrom<W>>(
    call: &Call,
    label: &'static str,
    sizes: &[usize],
    wide: Vec<W>,
) -> Result<Vec<Tensor>, OpError> {
    let mut narrow = Vec::with_capacity(wide.len());
    for (index, v) in wide.into_iter().enumerate() {
        let fits = T::try_from(v);
        narrow.push(fits.map_err(|_| {
            call.broken(label, format!("{} is {v}, which does not fit {}", at("y", index, sizes), T::DTYPE))
        })?);
    }
    call.result(sizes, narrow)
}

/// An element by its indices: `y[0, 3]`.
pub fn at(name: &str, mut index: usize, sizes: &[usize]) -> String {
    let mut indices: Vec<String> = Vec::new();
    for &size in sizes.iter().rev() {
        indices.push((index % size.max(1)).to_string());
        index /= size.max(1);
    }
    indices.reverse();
    format!("{name}[{}]", indices.join(", "))
}

/// A bound of every partial sum where x is stored as `x`: filters are along axis 0 of `w`.
pub fn bound(x: DType, w: &Tensor, b: Option<&Tensor>) -> u128 {
    let filters = w.sizes().first().copied().unwrap_or_default();
    let weights = w.elements::<i8>().unwrap_or_default();
    accumulator_bound(weights, filters, b.and_then(Tensor::elements::<i32>), |_| largest_magnitude(x))
}

/// Refuses to write an application with constant weights whose sums 32 bits are not proven to hold: the
/// file would wrap where [`eval`] fails.
pub fn expect_i32(cx: &LowerCx) -> Result<(), OpError> {
    let constant = |position: usize| cx.constants.get(position).copied().flatten();
    let (w, b) = (constant(1), constant(2));
    let Some(w) = w.filter(|_| b.is_some() || cx.call.opt_ty(2).is_none()) else { return Ok(()) };
    let bound = bound(cx.call.ty(0)?.storage(), w, b);
    if fits_i32(bound) {
        return Ok(());
    }
    Err(cx.call.unsupported(format!("an accumulator of up to {bound}, beyond 32 bits,")))
}

/// An operand as uint8 with its zero point: integer products of onnxruntime saturate in between, or
/// do not exist, for int8.
pub fn lower_operand(body: &mut Body, name: &str, storage: DType) -> [String; 2] {
    match storage {
        DType::I8 => [body.shifted(name), body.scalar(128u8)],
        _ => [name.to_owned(), body.scalar(0u8)],
    }
}

/// The operand at `position` of ONNX's integer products less its zero point at `zero`, stored as i8
/// or u8.
pub fn lift_operand(cx: &mut LiftCx, suffix: &str, position: usize, zero: usize) -> Result<ValueId, OpError> {
    let value = cx.operand(position)?;
    let storage = cx.ty(position)?.storage();
    if !matches!(storage, DType::I8 | DType::U8) {
        return Err(cx.invalid(format!("operand {position} is stored as i8 or u8, found {storage}")));
    }
    let zeros = match cx.opt_operand(zero) {
        None => return Ok(value),
        Some(_) => cx.constant(zero).ok_or_else(|| cx.unsupported("a zero point that is not a constant"))?,
    };
    let Tensor::I32(zeros) = zeros.cast(DType::I32) else { return Ok(value) };
    let Some(&first) = zeros.first().filter(|first| zeros.iter().all(|zero| zero == *first)) else {
        return Err(cx.unsupported("a product with a zero point for each row or column"));
    };
    if first == 0 {
        return Ok(value);
    }
    if let Some(Tensor::I32(wide)) = cx.constant(position).map(|constant| constant.cast(DType::I32)) {
        let wide = wide.mapv(|v| v - first);
        for narrow in [DType::I8, DType::U8] {
            let (low, high) = narrow.integer_range().unwrap_or_default();
            if wide.iter().all(|&v| (low..=high).contains(&v.into())) {
                return Ok(cx.add_const(suffix, Tensor::I32(wide.into_shared()).cast(narrow)));
            }
        }
    } else if (storage, first) == (DType::U8, 128) {
        let wide = Attrs::new().with("to", DType::I32);
        let wide = cx.step(&format!("{suffix}_wide"), "cast", wide, &[value])?;
        let zero = cx.add_const(&format!("{suffix}_zero"), Tensor::scalar(first));
        let centred = cx.step(&format!("{suffix}_centred"), "sub", Attrs::new(), &[wide, zero])?;
        return cx.step(suffix, "cast", Attrs::new().with("to", DType::I8), &[centred]);
    }
    Err(cx.unsupported(format!("a product of {storage} with zero point {first}, which 8 bits do not hold,")))
}

/// Refuses integers where ONNX's operator is one of floats.
pub fn expect_floats(cx: &LiftCx) -> Result<(), OpError> {
    let storage = cx.ty(0)?.storage();
    if storage.is_float() { Ok(()) } else { Err(cx.unsupported(format!("operands stored as {storage}"))) }
}
