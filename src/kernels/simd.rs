//! Tiles: the inner loops of products, one form per instruction set.
//!
//! A tile computes `rows * columns` sums of products at once, its columns side by side in vectors.
//! Each sum runs through all `k` in ascending order in one register lane, so every form gives the
//! same bits.

use super::Float;
use super::isa::Isa;

/// An element as the inner loops hold it: `f32` or `f64`, or a pair of 16-bit integers whose
/// products are both added (see [`pair`]).
pub trait Cell: Copy + Default + Send + Sync + 'static {
    fn tiles(isa: Isa) -> &'static Tiles<Self>;
}

/// The tiles of one instruction set.
pub struct Tiles<E: 'static> {
    /// Cells in a vector.
    pub lanes: usize,
    /// Rows of a block.
    pub rows: usize,
    /// `blocks[i]` has `rows` rows of `i + 1` vectors.
    blocks: &'static [TileFn<E>],
    /// `lines[i]` has one row of `i + 1` vectors.
    lines: &'static [TileFn<E>],
}

type TileFn<E> = unsafe fn(&mut Operands<E>);

/// What a tile reads and writes. With `w`, `x`, `b`, `y` for the four slices:
/// `y[r * sums_stride + j] = finish(sum_k w[r * weights_stride + k] * x[offsets[k] + j], b[r])`.
pub struct Operands<'a, E> {
    pub weights: &'a [E],
    pub weights_stride: usize,
    pub cells: &'a [E],
    pub offsets: Offsets<'a>,
    /// One for each row. Without, nothing is added.
    pub bias: Option<&'a [E]>,
    pub sums: &'a mut [E],
    pub sums_stride: usize,
}

/// Where each `k` lies in the cells, and the greatest of these offsets.
#[derive(Clone, Copy)]
pub struct Offsets<'a> {
    offsets: &'a [usize],
    greatest: usize,
}

impl<'a> Offsets<'a> {
    pub fn new(offsets: &'a [usize]) -> Self {
        Self { offsets, greatest: offsets.iter().copied().max().unwrap_or(0) }
    }

    pub fn as_slice(&self) -> &'a [usize] {
        self.offsets
    }

    /// One more than the last cell that a tile of `columns` columns reads.
    pub fn reach(&self, columns: usize) -> usize {
        self.greatest + columns
    }
}

impl<E: Cell> Tiles<E> {
    /// The widest tile of `rows` rows, in vectors.
    pub fn widest(&self, rows: usize) -> usize {
        if rows < self.rows { self.lines.len() } else { self.blocks.len() }
    }

    /// Computes a tile of [`Tiles::rows`] rows, or of one row.
    pub fn run(&self, rows: usize, vectors: usize, operands: &mut Operands<E>) {
        let tile = if rows == self.rows { self.blocks[vectors - 1] } else { self.lines[vectors - 1] };
        let columns = vectors * self.lanes;
        let k = operands.offsets.offsets.len();
        assert!(rows == self.rows || rows == 1);
        assert!((rows - 1) * operands.weights_stride + k <= operands.weights.len());
        assert!(operands.offsets.reach(columns) <= operands.cells.len());
        assert!((rows - 1) * operands.sums_stride + columns <= operands.sums.len());
        assert!(operands.bias.is_none_or(|bias| rows <= bias.len()));
        // SAFETY: `self` comes from `Cell::tiles` for an instruction set that this CPU has, and the
        // assertions are the bounds of all that a tile of this size touches.
        unsafe { tile(operands) }
    }
}

/// A vector of cells in registers.
///
/// # Safety
///
/// The functions may be called only where the CPU has the instruction set that the implementing
/// type stands for; `load` and `store` access `LANES` cells at any alignment.
trait Simd {
    type Cell: Copy;
    type Vector: Copy;
    const LANES: usize;

    unsafe fn splat(cell: Self::Cell) -> Self::Vector;
    unsafe fn load(from: *const Self::Cell) -> Self::Vector;
    unsafe fn store(vector: Self::Vector, to: *mut Self::Cell);
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, acc: Self::Vector) -> Self::Vector;
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn canonical(a: Self::Vector) -> Self::Vector;
}

/// # Safety
///
/// As for [`Simd`]; and the operands are as long as [`Tiles::run`] asserts.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(operands: &mut Operands<S::Cell>)
where
    S::Cell: Default,
{
    let Operands { weights, weights_stride, cells, offsets, bias, sums, sums_stride } = operands;
    let (weights, cells) = (weights.as_ptr(), cells.as_ptr());
    unsafe {
        let mut acc = [[S::splat(S::Cell::default()); VECTORS]; ROWS];
        for (k, &offset) in offsets.offsets.iter().enumerate() {
            let mut x = [S::splat(S::Cell::default()); VECTORS];
            for (v, x) in x.iter_mut().enumerate() {
                *x = S::load(cells.add(offset + v * S::LANES));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let w = S::splat(*weights.add(r * *weights_stride + k));
                for (acc, &x) in acc.iter_mut().zip(&x) {
                    *acc = S::multiply_add(w, x, *acc);
                }
            }
        }
        if let Some(bias) = bias {
            for (acc, &bias) in acc.iter_mut().zip(*bias) {
                for acc in acc {
                    *acc = S::add(*acc, S::splat(bias));
                }
            }
        }
        let sums = sums.as_mut_ptr();
        for (r, acc) in acc.iter().enumerate() {
            for (v, &acc) in acc.iter().enumerate() {
                S::store(S::canonical(acc), sums.add(r * *sums_stride + v * S::LANES));
            }
        }
    }
}

/// The tiles of `$simd`, compiled with `$feature`.
macro_rules! tiles {
    ($(#[$feature:meta])? $simd:ty, $cell:ty, $rows:literal) => {{
        $(#[$feature])?
        unsafe fn form<const ROWS: usize, const VECTORS: usize>(operands: &mut Operands<$cell>) {
            // SAFETY: passed on to the caller, and the features are those of this function.
            unsafe { tile::<$simd, ROWS, VECTORS>(operands) }
        }
        const TILES: Tiles<$cell> = Tiles {
            lanes: <$simd as Simd>::LANES,
            rows: $rows,
            blocks: &[form::<$rows, 1>, form::<$rows, 2>, form::<$rows, 3>],
            lines: &[form::<1, 1>, form::<1, 2>, form::<1, 3>, form::<1, 4>, form::<1, 5>, form::<1, 6>],
        };
        &TILES
    }};
}

impl Cell for f32 {
    fn tiles(isa: Isa) -> &'static Tiles<Self> {
        match isa {
            Isa::Portable => tiles!(Portable<f32>, f32, 8),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => tiles!(
                #[target_feature(enable = "avx2,fma")]
                x86::F32x8,
                f32,
                4
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => tiles!(
                #[target_feature(enable = "avx512f")]
                x86::F32x16,
                f32,
                8
            ),
        }
    }
}

impl Cell for f64 {
    fn tiles(isa: Isa) -> &'static Tiles<Self> {
        match isa {
            Isa::Portable => tiles!(Portable<f64>, f64, 8),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => tiles!(
                #[target_feature(enable = "avx2,fma")]
                x86::F64x4,
                f64,
                4
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => tiles!(
                #[target_feature(enable = "avx512f")]
                x86::F64x8,
                f64,
                8
            ),
        }
    }
}

impl Cell for i32 {
    fn tiles(isa: Isa) -> &'static Tiles<Self> {
        match isa {
            Isa::Portable => tiles!(Portable<i32>, i32, 8),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => tiles!(
                #[target_feature(enable = "avx2")]
                x86::I32x8,
                i32,
                4
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => tiles!(
                #[target_feature(enable = "avx512f,avx512bw")]
                x86::I32x16,
                i32,
                8
            ),
        }
    }
}

/// Two 16-bit integers in one cell. Multiplying two cells multiplies both halves and adds the two
/// products.
#[inline(always)]
pub fn pair(low: i16, high: i16) -> i32 {
    i32::from(low) & 0xffff | i32::from(high) << 16
}

/// Vectors as arrays of 16 bytes, for the compiler to put in registers where it can.
struct Portable<E>(std::marker::PhantomData<E>);

macro_rules! portable {
    ($cell:ty, $lanes:literal, $multiply_add:expr, $add:expr, $canonical:expr) => {
        impl Simd for Portable<$cell> {
            type Cell = $cell;
            type Vector = [$cell; $lanes];
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(cell: $cell) -> Self::Vector {
                [cell; $lanes]
            }

            #[inline(always)]
            unsafe fn load(from: *const $cell) -> Self::Vector {
                unsafe { from.cast::<Self::Vector>().read_unaligned() }
            }

            #[inline(always)]
            unsafe fn store(vector: Self::Vector, to: *mut $cell) {
                unsafe { to.cast::<Self::Vector>().write_unaligned(vector) }
            }

            #[inline(always)]
            unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, acc: Self::Vector) -> Self::Vector {
                std::array::from_fn(|i| $multiply_add(a[i], b[i], acc[i]))
            }

            #[inline(always)]
            unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|i| $add(a[i], b[i]))
            }

            #[inline(always)]
            unsafe fn canonical(a: Self::Vector) -> Self::Vector {
                a.map($canonical)
            }
        }
    };
}

portable!(f32, 4, Float::fma, |a, b| a + b, Float::canonical);
portable!(f64, 2, Float::fma, |a, b| a + b, Float::canonical);
portable!(i32, 4, multiply_add_pair, i32::wrapping_add, |a| a);

#[inline(always)]
fn multiply_add_pair(a: i32, b: i32, acc: i32) -> i32 {
    let low = i32::from(a as i16) * i32::from(b as i16);
    let high = (a >> 16) * (b >> 16);
    acc.wrapping_add(low.wrapping_add(high))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// One `Simd` type from the intrinsics that do each step.
    macro_rules! vectors {
        (
            $name:ident, $cell:ty, $lanes:literal, $vector:ty,
            $splat:ident, $load:ident, $store:ident,
            |$a:ident, $b:ident, $acc:ident| $multiply_add:expr, $add:ident, |$c:ident| $canonical:expr
        ) => {
            pub struct $name;

            impl Simd for $name {
                type Cell = $cell;
                type Vector = $vector;
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn splat(cell: $cell) -> $vector {
                    unsafe { $splat(cell) }
                }

                #[inline(always)]
                unsafe fn load(from: *const $cell) -> $vector {
                    unsafe { $load(from.cast()) }
                }

                #[inline(always)]
                unsafe fn store(vector: $vector, to: *mut $cell) {
                    unsafe { $store(to.cast(), vector) }
                }

                #[inline(always)]
                unsafe fn multiply_add($a: $vector, $b: $vector, $acc: $vector) -> $vector {
                    unsafe { $multiply_add }
                }

                #[inline(always)]
                unsafe fn add(a: $vector, b: $vector) -> $vector {
                    unsafe { $add(a, b) }
                }

                // For integers it is the identity.
                #[allow(unused_unsafe)]
                #[inline(always)]
                unsafe fn canonical($c: $vector) -> $vector {
                    unsafe { $canonical }
                }
            }
        };
    }

    vectors!(
        F32x8,
        f32,
        8,
        __m256,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        |a, b, acc| _mm256_fmadd_ps(a, b, acc),
        _mm256_add_ps,
        |a| _mm256_blendv_ps(a, _mm256_set1_ps(f32::NAN), _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
    );
    vectors!(
        F64x4,
        f64,
        4,
        __m256d,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        |a, b, acc| _mm256_fmadd_pd(a, b, acc),
        _mm256_add_pd,
        |a| _mm256_blendv_pd(a, _mm256_set1_pd(f64::NAN), _mm256_cmp_pd::<_CMP_UNORD_Q>(a, a))
    );
    // `madd` is exact here: its one overflow needs four factors of -2^15, and one side is 8 bits.
    vectors!(
        I32x8,
        i32,
        8,
        __m256i,
        _mm256_set1_epi32,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        |a, b, acc| _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)),
        _mm256_add_epi32,
        |a| a
    );
    vectors!(
        F32x16,
        f32,
        16,
        __m512,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        |a, b, acc| _mm512_fmadd_ps(a, b, acc),
        _mm512_add_ps,
        |a| _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), _mm512_set1_ps(f32::NAN))
    );
    vectors!(
        F64x8,
        f64,
        8,
        __m512d,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        |a, b, acc| _mm512_fmadd_pd(a, b, acc),
        _mm512_add_pd,
        |a| _mm512_mask_mov_pd(a, _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a), _mm512_set1_pd(f64::NAN))
    );
    vectors!(
        I32x16,
        i32,
        16,
        __m512i,
        _mm512_set1_epi32,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        |a, b, acc| _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)),
        _mm512_add_epi32,
        |a| a
    );
}
