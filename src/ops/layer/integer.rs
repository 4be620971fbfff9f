//! The integer form's arithmetic that layers share: what happens to an accumulator (hardware-ops
//! §3), and what is proven of its size.

use super::params::per_index;
use crate::kernels::{self, Accumulator, Ordered, Pool2d};
use crate::ops::{Arithmetic, Call, OpError};
use crate::tensor::{DType, Tensor, TensorType, round};

/// An integer type that accumulators are summed in.
pub trait Sum: Accumulator + Ordered + Into<i64> {}

impl Sum for i32 {}
impl Sum for i64 {}

/// What follows the accumulator, in this order.
pub struct Tail<'a> {
    /// Window of a max-pool; its batch and channels are those of the accumulator.
    pub max_pool: Option<Pool2d>,
    pub table: Option<Table<'a>>,
    pub relu: bool,
    /// Largest value, per channel or one for all.
    pub ceiling: Option<&'a [i32]>,
    /// Sum over the map.
    pub global: bool,
    pub rescale: Option<Rescale<'a>>,
}

/// Multipliers and exponents of divisors, per channel or one for all.
pub struct Rescale<'a> {
    pub(super) multipliers: &'a [u8],
    /// `None` for a divisor of 0, which only f32 divides by.
    pub(super) exponents: Vec<Option<i32>>,
    pub(super) arithmetic: Arithmetic,
}

impl<'a> Rescale<'a> {
    /// `None` if a divisor is not a power of two.
    pub fn new(multipliers: &'a [u8], divisors: &[f32], arithmetic: Arithmetic) -> Option<Self> {
        let exponent = |&divisor: &f32| match round::exponent_of(divisor.into()) {
            None if divisor == 0.0 && arithmetic == Arithmetic::F32 => Some(None),
            exponent => exponent.map(Some),
        };
        let exponents = divisors.iter().map(exponent).collect::<Option<_>>()?;
        Some(Self { multipliers, exponents, arithmetic })
    }

    /// The integer of `bits` bits for `acc` of `channel`.
    fn within(&self, acc: i64, channel: usize, bits: u32) -> i32 {
        // Types were checked: one entry, or one for each channel.
        let multiplier = per_index(self.multipliers, channel).unwrap_or(1);
        match (per_index(&self.exponents, channel).unwrap_or(Some(0)), self.arithmetic) {
            (Some(exponent), Arithmetic::Exact) => round::rescale_exact(acc, multiplier, exponent, bits),
            (Some(exponent), Arithmetic::F32) => round::rescale_f32(acc, multiplier, exponent, bits),
            (None, _) => round::rescale_f32_by_zero(acc, multiplier, bits),
        }
    }

    /// The int8 for `acc` of `channel`.
    pub fn apply(&self, acc: i64, channel: usize) -> i8 {
        // Saturated to 8 bits.
        self.within(acc, channel, 8) as i8
    }
}

/// An activation by the table of its values.
pub struct Table<'a> {
    /// What brings an accumulator to an index.
    pub index: Rescale<'a>,
    pub entries: &'a [i32],
}

impl Table<'_> {
    fn apply<S: Sum>(&self, acc: S, channel: usize) -> S {
        let index = i64::from(self.index.within(acc.into(), channel, round::TABLE_BITS));
        // The table has an entry for every index: its type was checked.
        let at = usize::try_from(index.rem_euclid(round::TABLE as i64)).unwrap_or_default();
        S::wrap(self.entries.get(at).copied().unwrap_or_default().into())
    }
}

/// The layer's result from its accumulator of `sizes` `[N, F, …]`: int8, or int32 without
/// rescaling.
pub fn finish<S: Sum>(
    call: &Call,
    mut acc: Vec<S>,
    mut sizes: Vec<usize>,
    tail: &Tail,
) -> Result<Vec<Tensor>, OpError> {
    let channels = sizes.get(1).copied().unwrap_or(1).max(1);
    if let (Some(pool), [batch, channels, height, width]) = (&tail.max_pool, &mut sizes[..]) {
        let pool =
            Pool2d { batch: *batch, channels: *channels, height: *height, width: *width, ..pool.clone() };
        acc = call.kernel(kernels::max_pool(&pool, &acc))?;
        // The kernel ran, so there is a size.
        [*height, *width] = pool.out_size().unwrap_or_default();
    }
    let mut map = sizes.iter().skip(2).product::<usize>();
    if let Some(table) = &tail.table {
        for (plane, values) in acc.chunks_mut(map.max(1)).enumerate() {
            values.iter_mut().for_each(|value| *value = table.apply(*value, plane % channels));
        }
    }
    if tail.relu {
        for (plane, values) in acc.chunks_mut(map.max(1)).enumerate() {
            // Types were checked: one entry, or one for each channel.
            let ceiling = tail.ceiling.and_then(|ceiling| per_index(ceiling, plane % channels));
            activate(values, ceiling.map(|ceiling| S::wrap(ceiling.into())));
        }
    }
    if tail.global {
        let planes = sizes.iter().take(2).product();
        acc = call.kernel(kernels::global_sum(planes, map, &acc))?;
        sizes.iter_mut().skip(2).for_each(|size| *size = 1);
        map = 1;
    }
    match &tail.rescale {
        Some(rescale) => {
            let mut int8 = Vec::with_capacity(acc.len());
            for (plane, values) in acc.chunks(map.max(1)).enumerate() {
                let rescale = |&acc: &S| rescale.apply(acc.into(), plane % channels);
                int8.extend(values.iter().map(rescale));
            }
            call.result::<i8>(&sizes, int8)
        }
        None => {
            let int32: Result<Vec<i32>, _> = acc.iter().map(|&acc| i32::try_from(acc.into())).collect();
            call.result(&sizes, int32.map_err(|_| call.unsupported("a result beyond 32 bits"))?)
        }
    }
}

/// `max(v, 0)`, then no more than the ceiling.
fn activate<S: Sum>(values: &mut [S], ceiling: Option<S>) {
    for value in values {
        if *value < S::default() {
            *value = S::default();
        }
        if let Some(ceiling) = ceiling.filter(|ceiling| ceiling < value) {
            *value = ceiling;
        }
    }
}

/// Checks that an operand of the integer form is there, with the given storage and one of the shapes.
pub fn expect(
    call: &Call,
    label: &'static str,
    position: usize,
    storage: DType,
    shapes: &[&[usize]],
) -> Result<(), OpError> {
    let ty = call.ty(position)?;
    let fits = ty.storage() == storage
        && ty.shape.sizes().is_some_and(|sizes| shapes.iter().any(|shape| **shape == sizes[..]));
    call.require(label, fits, || {
        let shapes: Vec<String> = shapes.iter().map(|shape| format!("{storage}{shape:?}")).collect();
        let name = call.schema.operand_name(position);
        format!("{name} is {}, found {}{}", shapes.join(" or "), ty.storage(), ty.shape)
    })
}

/// Checks that an operand is absent, `because` its layer does not have it.
pub fn expect_absent(
    call: &Call,
    label: &'static str,
    position: usize,
    because: &str,
) -> Result<(), OpError> {
    call.require(label, call.opt_ty(position).is_none(), || {
        format!("{} is absent {because}", call.schema.operand_name(position))
    })
}

/// The types of the first `count` operands as they are in the float form: same shapes, stored as
/// f32. Layers infer the shapes of their integer form from them.
pub fn as_floats(call: &Call, count: usize) -> Vec<Option<TensorType>> {
    (0..count)
        .map(|position| call.opt_ty(position).map(|ty| TensorType::new(DType::F32, ty.shape.clone())))
        .collect()
}
