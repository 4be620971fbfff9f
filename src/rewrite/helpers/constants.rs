//! Helpers on constants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Args, Helper, floats, yes};
use crate::ir::Attr;
use crate::rewrite::expr::{Data, Kind};
use crate::tensor::{DType, Shape, Tensor};

/// Larger constants are not made up from nothing but a size.
const LARGEST: usize = 1 << 24;

fn filled(dtype: DType, sizes: &[usize], value: f64) -> Option<Tensor> {
    let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= LARGEST)?;
    match dtype {
        DType::F32 => Tensor::new(sizes, vec![value as f32; count]),
        DType::F64 => Tensor::new(sizes, vec![value; count]),
        _ => {
            let (low, high) = dtype.integer_range()?;
            // Whole numbers within i64 convert exactly.
            let whole = value as i64;
            let fits = whole as f64 == value && (low..=high).contains(&i128::from(whole));
            fits.then(|| Tensor::new(sizes, vec![whole; count]).map(|tensor| tensor.cast(dtype)))?
        }
    }
}

fn tensor(tensor: Tensor) -> Option<Data> {
    Some(Data::Tensor(Arc::new(tensor)))
}

/// The tensor stretched to `sizes` by broadcasting; `None` if that would add or change axes.
fn stretched(tensor: &Tensor, sizes: &[usize]) -> Option<Tensor> {
    sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= LARGEST)?;
    tensor.stretched(sizes)
}

pub const ALL_POSITIVE: Helper = Helper {
    name: "all_positive",
    params: &[Kind::Tensor],
    result: Kind::Bool,
    doc: "whether every element is greater than 0; none for integers",
    run: |args| yes(floats(args.tensor(0)?)?.iter().all(|&v| v > 0.0)),
    explain: Some(|args| {
        let wrong = floats(args.tensor(0)?)?;
        let at: Vec<String> = wrong
            .iter()
            .enumerate()
            .filter(|&(_, v)| v.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater))
            .map(|(at, _)| at.to_string())
            .collect();
        if at.is_empty() {
            return None;
        }
        let (shown, more) = (at.get(..16).unwrap_or(&at).join(", "), at.len().saturating_sub(16));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("not positive in channels {shown}{more}"))
    }),
};

pub const ALL_NONZERO: Helper = Helper {
    name: "all_nonzero",
    params: &[Kind::Tensor],
    result: Kind::Bool,
    doc: "whether no element is 0 or NaN; none for integers",
    run: |args| yes(floats(args.tensor(0)?)?.iter().all(|&v| v != 0.0 && !v.is_nan())),
    explain: None,
};

pub const NUMBER: Helper = Helper {
    name: "number",
    params: &[Kind::Tensor],
    result: Kind::Float,
    doc: "the one element of a constant; none if there are more, or if it is no f32 or NaN",
    run: |args| {
        let [value] = *floats(args.tensor(0)?)? else { return None };
        let number = value as f32;
        (f64::from(number) == value).then_some(Data::Attr(Attr::Float(number)))
    },
    explain: None,
};

pub const IS_IDENTITY_MATRIX: Helper = Helper {
    name: "is_identity",
    params: &[Kind::Tensor],
    result: Kind::Bool,
    doc: "whether the constant is a square matrix that changes nothing, with further axes of size 1 or without",
    run: |args| {
        let tensor = args.tensor(0)?;
        let [n, m, further @ ..] = tensor.sizes() else { return yes(false) };
        let square = n == m && further.iter().all(|&size| size == 1);
        let one = |at: usize| f64::from(u8::from(at / n == at % n));
        yes(square && floats(tensor)?.into_iter().enumerate().all(|(at, v)| v == one(at)))
    },
    explain: None,
};

pub const SCALAR: Helper = Helper {
    name: "scalar",
    params: &[Kind::Float, Kind::Value],
    result: Kind::Tensor,
    doc: "the number as a constant without axes, stored like the value; none if that cannot store it",
    run: |args| tensor(filled(args.fact(1)?.ty.storage(), &[], f64::from(args.float(0)?))?),
    explain: None,
};

pub const SCALAR_LIKE: Helper = Helper {
    name: "scalar",
    params: &[Kind::Float, Kind::Tensor],
    result: Kind::Tensor,
    doc: "the same, stored like a constant",
    run: |args| tensor(filled(args.tensor(1)?.dtype(), &[], f64::from(args.float(0)?))?),
    explain: None,
};

pub const SCALAR_OF: Helper = Helper {
    name: "scalar",
    params: &[Kind::Float, Kind::DType],
    result: Kind::Tensor,
    doc: "the same, of a storage",
    run: |args| tensor(filled(args.dtype(1)?, &[], f64::from(args.float(0)?))?),
    explain: None,
};

/// Longer constants are no lists.
const LONGEST_LIST: usize = 64;

pub const FLOATS: Helper = Helper {
    name: "floats",
    params: &[Kind::Tensor],
    result: Kind::Floats,
    doc: "the elements of a constant of floats, row by row; none if there are more than 64, or if one is no f32 or NaN",
    run: |args| {
        let elements = floats(args.tensor(0)?)?;
        let exact = |&value: &f64| (f64::from(value as f32) == value).then_some(value as f32);
        let list: Vec<f32> = elements.iter().take(LONGEST_LIST + 1).map(exact).collect::<Option<_>>()?;
        (list.len() <= LONGEST_LIST).then(|| Data::Attr(list.into()))
    },
    explain: None,
};

pub const INTS: Helper = Helper {
    name: "ints",
    params: &[Kind::Tensor],
    result: Kind::Ints,
    doc: "the elements of a constant of i64 or i32, row by row; none if there are more than 64",
    run: |args| {
        let constant = args.tensor(0)?;
        let list: Vec<i64> = match constant.dtype() {
            _ if constant.len() > LONGEST_LIST => return None,
            DType::I64 => constant.elements::<i64>()?.to_vec(),
            DType::I32 => constant.elements::<i32>()?.iter().map(|&v| i64::from(v)).collect(),
            _ => return None,
        };
        Some(Data::Attr(list.into()))
    },
    explain: None,
};

pub const ALL_BETWEEN: Helper = Helper {
    name: "all_between",
    params: &[Kind::Tensor, Kind::Float, Kind::Float],
    result: Kind::Bool,
    doc: "whether every element is at least the first number and at most the second; none for integers",
    run: |args| {
        let (lowest, highest) = (f64::from(args.float(1)?), f64::from(args.float(2)?));
        yes(floats(args.tensor(0)?)?.iter().all(|&v| lowest <= v && v <= highest))
    },
    explain: None,
};

pub const ONES: Helper = Helper {
    name: "ones",
    params: &[Kind::Int, Kind::Value],
    result: Kind::Tensor,
    doc: "so many ones as a vector, stored like the value",
    run: |args| {
        let count = usize::try_from(args.int(0)?).ok()?;
        tensor(filled(args.fact(1)?.ty.storage(), &[count], 1.0)?)
    },
    explain: None,
};

pub const IOTA: Helper = Helper {
    name: "iota",
    params: &[Kind::Int, Kind::Value],
    result: Kind::Tensor,
    doc: "0, 1, 2, … as a vector of so many entries, stored like the value; none if that cannot store them",
    run: |args| {
        let count = usize::try_from(args.int(0)?).ok().filter(|&count| count <= LARGEST)?;
        let storage = args.fact(1)?.ty.storage();
        let all = Tensor::new(&[count], (0..count).map(|at| at as f64).collect())?;
        let stored = all.cast(storage);
        tensor((stored.cast(DType::F64) == all).then_some(stored)?)
    },
    explain: None,
};

pub const IDENTITY_MATRIX: Helper = Helper {
    name: "identity_matrix",
    params: &[Kind::Int, Kind::Value],
    result: Kind::Tensor,
    doc: "the square matrix of that size with ones on its diagonal and zeros elsewhere, stored like the value",
    run: |args| {
        fn diagonal<T: Copy>(count: usize, step: usize, zero: T, one: T) -> Vec<T> {
            let mut all = vec![zero; count];
            all.iter_mut().step_by(step).for_each(|element| *element = one);
            all
        }
        /// Those that are in use: rules try large ones again and again.
        static IN_USE: Mutex<BTreeMap<(usize, DType), Weak<Tensor>>> = Mutex::new(BTreeMap::new());
        let size = usize::try_from(args.int(0)?).ok()?;
        let count = size.checked_mul(size).filter(|&count| count <= LARGEST)?;
        let storage = args.fact(1)?.ty.storage();
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = in_use.get(&(size, storage)).and_then(Weak::upgrade) {
            return Some(Data::Tensor(made));
        }
        let made = Arc::new(match storage {
            DType::F32 => Tensor::new(&[size, size], diagonal(count, size + 1, 0.0f32, 1.0))?,
            other => Tensor::new(&[size, size], diagonal(count, size + 1, 0.0f64, 1.0))?.cast(other),
        });
        in_use.insert((size, storage), Arc::downgrade(&made));
        Some(Data::Tensor(made))
    },
    explain: None,
};

pub const OR_ZEROS: Helper = Helper {
    name: "or_zeros",
    params: &[Kind::Optional, Kind::Tensor],
    result: Kind::Tensor,
    doc: "the first, a constant, or where it is absent zeros like the second; none if the first is not constant",
    run: |args: &Args| match args.given(0)? {
        Some(given) => Some(Data::Tensor(given.clone())),
        None => {
            let like = args.tensor(1)?;
            tensor(filled(like.dtype(), like.sizes(), 0.0)?)
        }
    },
    explain: None,
};

pub const PER_CHANNEL: Helper = Helper {
    name: "per_channel",
    params: &[Kind::Tensor, Kind::Type],
    result: Kind::Tensor,
    doc: "a constant that is read together with a value of that type, as a vector along axis 1; none if it differs \
          along another axis, or has more axes",
    run: |args| {
        let (constant, shape) = (args.tensor(0)?, &args.ty(1)?.shape);
        let channels = shape.get(1)?.fixed()?;
        let padded = aligned(constant, shape)?;
        let alone = padded.iter().enumerate().all(|(axis, &size)| size == 1 || axis == 1);
        let fits = padded.get(1).is_some_and(|&size| size == 1 || size == channels);
        if !alone || !fits {
            return None;
        }
        let flat = constant.reshaped(&[constant.len()])?;
        tensor(stretched(&flat, &[channels])?)
    },
    explain: None,
};

pub const ALIGNED: Helper = Helper {
    name: "aligned",
    params: &[Kind::Tensor, Kind::Type],
    result: Kind::Tensor,
    doc: "a constant that is read together with a value of that type, with axes of size 1 in front, so that it has as \
          many; none if it has more",
    run: |args| {
        let constant = args.tensor(0)?;
        tensor(constant.reshaped(&aligned(constant, &args.ty(1)?.shape)?)?)
    },
    explain: None,
};

pub const SPREAD: Helper = Helper {
    name: "spread",
    params: &[Kind::Tensor, Kind::Type],
    result: Kind::Tensor,
    doc: "a constant that is read together with a value of that type, with the value's size on every axis but 1 on the \
          first; none if it differs along the first axis, or has more axes",
    run: |args| {
        let (constant, shape) = (args.tensor(0)?, &args.ty(1)?.shape);
        let padded = aligned(constant, shape)?;
        let mut sizes = vec![1];
        for dim in shape.iter().skip(1) {
            sizes.push(dim.fixed()?);
        }
        (padded.first() == Some(&1)).then_some(())?;
        tensor(stretched(&constant.reshaped(&padded)?, &sizes)?)
    },
    explain: None,
};

/// The sizes of a constant with axes of size 1 in front, as many axes as the shape has.
fn aligned(constant: &Tensor, shape: &Shape) -> Option<Vec<usize>> {
    let missing = shape.rank().checked_sub(constant.sizes().len())?;
    Some(std::iter::repeat_n(1, missing).chain(constant.sizes().iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Registry;
    use crate::tensor::TensorType;

    fn call(helper: &Helper, args: &[Data]) -> Option<Data> {
        helper.call(args, &Registry::built_in())
    }

    fn constant(sizes: &[usize], elements: Vec<f32>) -> Data {
        Data::Tensor(Arc::new(Tensor::new(sizes, elements).expect("sizes fit")))
    }

    fn of_type(sizes: &[usize]) -> Data {
        Data::Type(TensorType::new(DType::F32, Shape::fixed(sizes)))
    }

    fn elements(data: Option<Data>) -> Option<(Vec<usize>, Vec<f32>)> {
        match data? {
            Data::Tensor(tensor) => Some((tensor.sizes().to_vec(), tensor.elements::<f32>()?.to_vec())),
            _ => None,
        }
    }

    #[test]
    fn per_channel_takes_scalars_and_axis_1_only() {
        let image = of_type(&[2, 3, 4, 4]);
        let of =
            |sizes: &[usize], v: Vec<f32>| elements(call(&PER_CHANNEL, &[constant(sizes, v), image.clone()]));
        assert_eq!(of(&[], vec![2.0]), Some((vec![3], vec![2.0; 3])));
        assert_eq!(of(&[3, 1, 1], vec![1.0, 2.0, 3.0]), Some((vec![3], vec![1.0, 2.0, 3.0])));
        assert_eq!(of(&[1, 3, 1, 1], vec![1.0, 2.0, 3.0]), Some((vec![3], vec![1.0, 2.0, 3.0])));
        assert_eq!(of(&[4], vec![1.0; 4]), None);
        assert_eq!(of(&[2, 1, 1, 1], vec![1.0; 2]), None);
        assert_eq!(of(&[1, 1, 1, 1, 1], vec![1.0]), None);
    }

    #[test]
    fn spread_broadcasts_all_but_the_batch() {
        let image = of_type(&[2, 2, 1, 3]);
        let got = elements(call(&SPREAD, &[constant(&[2, 1, 1], vec![1.0, 2.0]), image]));
        assert_eq!(got, Some((vec![1, 2, 1, 3], vec![1.0, 1.0, 1.0, 2.0, 2.0, 2.0])));
    }

    #[test]
    fn aligned_adds_axes_in_front() {
        let image = of_type(&[2, 4, 4, 3]);
        let of =
            |sizes: &[usize], v: Vec<f32>| elements(call(&ALIGNED, &[constant(sizes, v), image.clone()]));
        assert_eq!(of(&[3], vec![1.0, 2.0, 3.0]), Some((vec![1, 1, 1, 3], vec![1.0, 2.0, 3.0])));
        assert_eq!(of(&[], vec![2.0]), Some((vec![1, 1, 1, 1], vec![2.0])));
        assert_eq!(of(&[1, 1, 1, 1, 1], vec![1.0]), None);
    }

    #[test]
    fn the_explanation_names_the_channels() {
        let gamma = constant(&[4], vec![1.0, 0.0, -2.0, f32::NAN]);
        let why = ALL_POSITIVE.explain(&[gamma], &Registry::built_in());
        assert_eq!(why.as_deref(), Some("not positive in channels 1, 2, 3"));
    }

    #[test]
    fn a_number_is_one_f32() {
        let number = |v: Tensor| match call(&NUMBER, &[Data::Tensor(Arc::new(v))]) {
            Some(Data::Attr(Attr::Float(v))) => Some(v),
            _ => None,
        };
        assert_eq!(number(Tensor::vector(vec![6.0f32])), Some(6.0));
        assert_eq!(number(Tensor::scalar(0.1f64)), None);
        assert_eq!(number(Tensor::scalar(f32::NAN)), None);
        assert_eq!(number(Tensor::vector(vec![1.0f32, 1.0])), None);
    }
}
