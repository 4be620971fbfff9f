//! Helpers on values and their types.

use super::{Args, Helper, size, yes};
use crate::ir::Attr;
use crate::ops::layer::same_pads;
use crate::rewrite::expr::{Data, Kind};
use crate::tensor::{Dim, Grid, TensorType};

const VALUE: &[Kind] = &[Kind::Value];
const TYPE_ONLY: &[Kind] = &[Kind::Type];

fn ints(list: Vec<i64>) -> Option<Data> {
    Some(Attr::from(list).into())
}

pub const TYPE: Helper = Helper {
    name: "type",
    params: VALUE,
    result: Kind::Type,
    doc: "shape and grid",
    run: |args| Some(Data::Type(args.fact(0)?.ty.clone())),
    explain: None,
};

pub const DTYPE: Helper = Helper {
    name: "dtype",
    params: VALUE,
    result: Kind::DType,
    doc: "what elements are stored as",
    run: |args| Some(Attr::DType(args.fact(0)?.ty.storage()).into()),
    explain: None,
};

pub const RANK: Helper = Helper {
    name: "rank",
    params: VALUE,
    result: Kind::Int,
    doc: "the number of axes",
    run: |args| Some(Attr::Int(size(args.fact(0)?.ty.shape.rank())?).into()),
    explain: None,
};

pub const DIM: Helper = Helper {
    name: "dim",
    params: &[Kind::Value, Kind::Int],
    result: Kind::Int,
    doc: "the size of an axis; none if it is not known (`N`) or there is no such axis",
    run: |args| {
        let axis = usize::try_from(args.int(1)?).ok()?;
        Some(Attr::Int(size(args.fact(0)?.ty.shape.get(axis)?.fixed()?)?).into())
    },
    explain: None,
};

pub const SHAPE: Helper = Helper {
    name: "shape",
    params: VALUE,
    result: Kind::Ints,
    doc: "the sizes of all axes; none if one is not known (`N`)",
    run: |args| ints(args.fact(0)?.ty.shape.sizes()?.into_iter().map(size).collect::<Option<_>>()?),
    explain: None,
};

pub const IS_CONSTANT: Helper = Helper {
    name: "is_constant",
    params: VALUE,
    result: Kind::Bool,
    doc: "whether it is a constant, or computed from constants; an absent operand is",
    run: |args| yes(args.value(0)?.is_none_or(|fact| fact.constant.is_some())),
    explain: Some(|args| {
        let constant = args.value(0)?.is_none_or(|fact| fact.constant.is_some());
        Some(if constant { "a constant" } else { "no constant" }.to_owned())
    }),
};

pub const IS_ENTRY: Helper = Helper {
    name: "is_entry",
    params: VALUE,
    result: Kind::Bool,
    doc: "whether it is an input of the graph, at most cast and transposed",
    run: |args| yes(args.value(0)?.is_some_and(|fact| fact.entry)),
    explain: Some(|args| {
        let entry = args.value(0)?.is_some_and(|fact| fact.entry);
        Some(if entry { "an input of the network" } else { "no input of the network" }.to_owned())
    }),
};

pub const IS_FLOAT: Helper = Helper {
    name: "is_float",
    params: VALUE,
    result: Kind::Bool,
    doc: "whether it is stored as plain f32 or f64; an absent operand is",
    run: |args| {
        let plain = |ty: &TensorType| matches!(ty.grid, Grid::Plain(dtype) if dtype.is_float());
        yes(args.value(0)?.is_none_or(|fact| plain(&fact.ty)))
    },
    explain: None,
};

pub const IS_QUANTIZED: Helper = Helper {
    name: "is_quantized",
    params: VALUE,
    result: Kind::Bool,
    doc: "whether its grid is not plain: integers that stand for reals",
    run: |args| yes(args.value(0)?.is_some_and(|fact| !fact.ty.grid.is_plain())),
    explain: None,
};

pub const SAME_GRID: Helper = Helper {
    name: "same_grid",
    params: &[Kind::Type, Kind::Type],
    result: Kind::Bool,
    doc: "whether elements of both types stand for reals in the same way",
    run: |args| yes(args.ty(0)?.grid == args.ty(1)?.grid),
    explain: None,
};

pub const SAME_PADS: Helper = Helper {
    name: "same_pads",
    params: &[Kind::Type, Kind::Ints, Kind::Int],
    result: Kind::Ints,
    doc: "the pads (top, left, bottom, right) by which windows of that size and stride leave `ceil(size / stride)` of a \
          map of that type, an odd one at the end; none where sizes are not known",
    run: |args| {
        let [_, _, rows, columns] = &args.ty(0)?.shape[..] else { return None };
        let window: Vec<usize> =
            args.ints(1)?.iter().map(|&v| usize::try_from(v).ok()).collect::<Option<_>>()?;
        let stride = usize::try_from(args.int(2)?).ok().filter(|&stride| stride > 0)?;
        let pads = same_pads([rows.fixed()?, columns.fixed()?], window.try_into().ok()?, stride);
        ints(pads.into_iter().map(size).collect::<Option<Vec<i64>>>()?)
    },
    explain: None,
};

pub const FLATTENED: Helper = Helper {
    name: "flattened",
    params: TYPE_ONLY,
    result: Kind::Type,
    doc: "the type with all axes but the first merged into one, as `flatten` makes it; none for less than 2 axes, \
          or if one of those sizes is not known",
    run: |args| {
        let ty = args.ty(0)?;
        let (batch, rest) = ty.shape.split_first()?;
        let columns = rest.iter().try_fold(1usize, |product, dim| product.checked_mul(dim.fixed()?))?;
        let known = !rest.is_empty();
        known.then(|| Data::Type(ty.with_shape(vec![batch.clone(), Dim::Fixed(columns)])))
    },
    explain: None,
};

pub const RESHAPE_SIZES: Helper = Helper {
    name: "reshape_sizes",
    params: TYPE_ONLY,
    result: Kind::Ints,
    doc: "the attribute `shape` with which `reshape` gives that type: the sizes, -1 for one that is not known; none if \
          several are not, or one is 0",
    run: |args: &Args| {
        let shape = &args.ty(0)?.shape;
        let unknown = shape.iter().filter(|dim| dim.fixed().is_none()).count();
        let sizes: Vec<i64> = shape
            .iter()
            .map(|dim| match dim.fixed() {
                Some(0) => None,
                Some(fixed) => size(fixed),
                None => Some(-1),
            })
            .collect::<Option<_>>()?;
        if unknown <= 1 { ints(sizes) } else { None }
    },
    explain: None,
};

pub const CHANNEL_SHAPE: Helper = Helper {
    name: "channel_shape",
    params: TYPE_ONLY,
    result: Kind::Ints,
    doc: "the attribute `shape` that lays a vector along axis 1 of that type: 1, -1, 1, …; none for less than 2 axes",
    run: |args| {
        let rank = args.ty(0)?.shape.rank();
        let sizes: Vec<i64> = (0..rank).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
        if rank >= 2 { ints(sizes) } else { None }
    },
    explain: None,
};
