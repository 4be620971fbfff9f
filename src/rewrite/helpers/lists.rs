//! Helpers on numbers and lists.

use super::{Args, Helper, size, yes};
use crate::ir::Attr;
use crate::rewrite::expr::{Data, Kind};

const INT2: &[Kind] = &[Kind::Int, Kind::Int];
const FLOAT2: &[Kind] = &[Kind::Float, Kind::Float];

fn int(v: i64) -> Option<Data> {
    Some(Attr::Int(v).into())
}

/// The second if it is wanted over the first; of zeros of either sign, the first.
fn choose(args: &Args, second: fn(f32, f32) -> bool) -> Option<Data> {
    let (a, b) = (args.float(0)?, args.float(1)?);
    Some(Attr::Float(if second(a, b) { b } else { a }).into())
}

pub const ALL_EQUAL: Helper = Helper {
    name: "all_equal",
    params: &[Kind::Ints, Kind::Int],
    result: Kind::Bool,
    doc: "whether every entry is that number",
    run: |args| {
        let number = args.int(1)?;
        yes(args.ints(0)?.iter().all(|v| *v == number))
    },
    explain: None,
};

pub const IS_IDENTITY: Helper = Helper {
    name: "is_identity",
    params: &[Kind::Ints],
    result: Kind::Bool,
    doc: "whether the list is 0, 1, 2, …: the permutation that moves nothing",
    run: |args| yes(args.ints(0)?.iter().copied().eq(0..size(args.ints(0)?.len())?)),
    explain: None,
};

pub const LEN: Helper = Helper {
    name: "len",
    params: &[Kind::Ints],
    result: Kind::Int,
    doc: "the number of entries",
    run: |args| int(size(args.ints(0)?.len())?),
    explain: None,
};

pub const LEN_MORE: Helper = Helper {
    name: "len",
    params: &[Kind::More],
    result: Kind::Int,
    doc: "the number of operands that `..more` stands for",
    run: |args| int(args.int(0)?),
    explain: None,
};

pub const MAX: Helper = Helper {
    name: "max",
    params: INT2,
    result: Kind::Int,
    doc: "the larger",
    run: |args| int(args.int(0)?.max(args.int(1)?)),
    explain: None,
};

pub const MAX_FLOAT: Helper = Helper {
    name: "max",
    params: FLOAT2,
    result: Kind::Float,
    doc: "the larger",
    run: |args| choose(args, |a, b| a < b),
    explain: None,
};

pub const MIN: Helper = Helper {
    name: "min",
    params: INT2,
    result: Kind::Int,
    doc: "the smaller",
    run: |args| int(args.int(0)?.min(args.int(1)?)),
    explain: None,
};

pub const MIN_FLOAT: Helper = Helper {
    name: "min",
    params: FLOAT2,
    result: Kind::Float,
    doc: "the smaller",
    run: |args| choose(args, |a, b| a > b),
    explain: None,
};

/// `permute(p, q)[i] = p[q[i]]`: transposing by p and then by q is transposing by this.
pub const PERMUTE: Helper = Helper {
    name: "permute",
    params: &[Kind::Ints, Kind::Ints],
    result: Kind::Ints,
    doc: "the first list in the order of the second: `permute(p, q)[i] = p[q[i]]`; none if some position is outside",
    run: |args: &Args| {
        let (list, order) = (args.ints(0)?, args.ints(1)?);
        let at = |&i: &i64| list.get(usize::try_from(i).ok()?).copied();
        let permuted: Vec<i64> = order.iter().map(at).collect::<Option<_>>()?;
        Some(Attr::from(permuted).into())
    },
    explain: None,
};

pub const PROD: Helper = Helper {
    name: "prod",
    params: &[Kind::Ints],
    result: Kind::Int,
    doc: "the product of the entries; none if it overflows",
    run: |args| int(args.ints(0)?.iter().try_fold(1i64, |product, &v| product.checked_mul(v))?),
    explain: None,
};
