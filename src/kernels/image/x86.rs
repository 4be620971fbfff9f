//! The instruction sets of x86-64.

use std::arch::x86_64::*;

use super::lanes::{Bounds, Lanes};

/// 256-bit vectors of 8 lanes.
pub struct Avx2;
/// [`Avx2`] with products of bytes.
pub struct AvxVnni;
/// 512-bit vectors of 16 lanes.
pub struct Avx512;
/// [`Avx512`] with products of bytes.
pub struct Avx512Vnni;

/// What the forms of 256 bits share.
macro_rules! lanes_256 {
    ($name:ident, $values:literal, |$sums:ident, $a:ident, $w:ident| $dot:expr) => {
        impl Lanes for $name {
            const LANES: usize = 8;
            const VALUES: usize = $values;
            type Vector = __m256i;
            type Wide = __m256i;

            #[inline(always)]
            unsafe fn load(from: *const i32) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(vector: __m256i, to: *mut i32) {
                unsafe { _mm256_storeu_si256(to.cast(), vector) }
            }

            #[inline(always)]
            unsafe fn cell(from: *const u8) -> __m256i {
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn dot($sums: __m256i, $a: __m256i, $w: __m256i) -> __m256i {
                unsafe { $dot }
            }

            #[inline(always)]
            unsafe fn clamp(x: __m256i, low: __m256i, high: __m256i) -> __m256i {
                unsafe { _mm256_min_epi32(_mm256_max_epi32(x, low), high) }
            }

            #[inline(always)]
            unsafe fn rescale(x: __m256i, factor: __m256i, add: __m256i, shift: __m256i) -> __m256i {
                unsafe { _mm256_srav_epi32(_mm256_add_epi32(_mm256_mullo_epi32(x, factor), add), shift) }
            }

            #[inline(always)]
            unsafe fn store_bytes<const N: usize>(
                vectors: [__m256i; N],
                bounds: Bounds,
                to: *mut u8,
                count: usize,
            ) {
                const { assert!(N == 1 || N == 2) }
                unsafe {
                    let (a, b) = (vectors[0], vectors[N - 1]);
                    let shorts = _mm256_packs_epi32(a, b);
                    let bytes = _mm256_packus_epi16(shorts, shorts);
                    // Four bytes each of a, b, a, b in either half.
                    let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
                    let bytes = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes, order));
                    store_some(bytes, bounds, to, count);
                }
            }

            #[inline(always)]
            unsafe fn widen(from: *const u8) -> __m256i {
                unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast())) }
            }

            #[inline(always)]
            unsafe fn pairs(a: __m256i, b: __m256i) -> [__m256i; 2] {
                unsafe { [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)] }
            }

            #[inline(always)]
            unsafe fn dot_pairs(sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
                unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(activations, weights)) }
            }

            #[inline(always)]
            unsafe fn store_pairs([a, b]: [__m256i; 2], bounds: Bounds, to: *mut u8, count: usize) {
                unsafe {
                    let shorts = _mm256_packs_epi32(a, b);
                    let bytes = _mm256_packus_epi16(shorts, shorts);
                    let bytes = _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(bytes));
                    store_some(bytes, bounds, to, count);
                }
            }

            fn channel(lane: usize) -> usize {
                interleaved(lane, Self::LANES)
            }

            #[inline(always)]
            unsafe fn columns(rows: [*const u8; 4]) -> [__m256i; 4] {
                unsafe {
                    let [a, b, c, d] = rows.map(|row| _mm256_loadu_si256(row.cast()));
                    let [low, high] = [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)];
                    let [other_low, other_high] = [_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d)];
                    [
                        _mm256_unpacklo_epi16(low, other_low),
                        _mm256_unpackhi_epi16(low, other_low),
                        _mm256_unpacklo_epi16(high, other_high),
                        _mm256_unpackhi_epi16(high, other_high),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn store_columns([a, b, c, d]: [__m256i; 4], bounds: Bounds, to: *mut u8, count: usize) {
                unsafe {
                    let shorts = [_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)];
                    let bytes = _mm256_packus_epi16(shorts[0], shorts[1]);
                    let [low, high] = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
                    let upper = Bounds { low: bounds.low.add(16), high: bounds.high.add(16) };
                    store_some(low, bounds, to, count.min(16));
                    if count > 16 {
                        store_some(high, upper, to.add(16), count - 16);
                    }
                }
            }
        }
    };
}

/// Two vectors of `lanes` lanes made by unpacking the low and high halves of each 128 bits.
fn interleaved(lane: usize, lanes: usize) -> usize {
    let (half, lane) = (lane / lanes, lane % lanes);
    lane / 4 * 8 + half * 4 + lane % 4
}

/// Writes the first `count` of 16 bytes, within bounds.
#[inline(always)]
unsafe fn store_some(bytes: __m128i, bounds: Bounds, to: *mut u8, count: usize) {
    unsafe {
        let (low, high) = (_mm_loadu_si128(bounds.low.cast()), _mm_loadu_si128(bounds.high.cast()));
        let bytes = _mm_min_epu8(_mm_max_epu8(bytes, low), high);
        if count == 16 {
            _mm_storeu_si128(to.cast(), bytes);
        } else {
            let mut all = [0u8; 16];
            _mm_storeu_si128(all.as_mut_ptr().cast(), bytes);
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
        }
    }
}

// `madd` is exact here: its one overflow needs four factors of -2^15, and activations are bytes.
lanes_256!(Avx2, 2, |sums, a, w| _mm256_add_epi32(sums, _mm256_madd_epi16(a, w)));
lanes_256!(AvxVnni, 4, |sums, a, w| _mm256_dpbusd_avx_epi32(sums, a, w));

/// What the forms of 512 bits share.
macro_rules! lanes_512 {
    (
        $name:ident, $values:literal, |$sums:ident, $a:ident, $w:ident| $dot:expr,
        |$pair_sums:ident, $pair_a:ident, $pair_w:ident| $dot_pairs:expr
    ) => {
        impl Lanes for $name {
            const LANES: usize = 16;
            const VALUES: usize = $values;
            type Vector = __m512i;
            type Wide = __m512i;

            #[inline(always)]
            unsafe fn load(from: *const i32) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(vector: __m512i, to: *mut i32) {
                unsafe { _mm512_storeu_si512(to.cast(), vector) }
            }

            #[inline(always)]
            unsafe fn cell(from: *const u8) -> __m512i {
                unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn dot($sums: __m512i, $a: __m512i, $w: __m512i) -> __m512i {
                unsafe { $dot }
            }

            #[inline(always)]
            unsafe fn clamp(x: __m512i, low: __m512i, high: __m512i) -> __m512i {
                unsafe { _mm512_min_epi32(_mm512_max_epi32(x, low), high) }
            }

            #[inline(always)]
            unsafe fn rescale(x: __m512i, factor: __m512i, add: __m512i, shift: __m512i) -> __m512i {
                unsafe { _mm512_srav_epi32(_mm512_add_epi32(_mm512_mullo_epi32(x, factor), add), shift) }
            }

            #[inline(always)]
            unsafe fn store_bytes<const N: usize>(
                vectors: [__m512i; N],
                bounds: Bounds,
                to: *mut u8,
                count: usize,
            ) {
                const { assert!(N >= 1 && N <= 4) }
                unsafe {
                    let at = |i: usize| vectors[if i < N { i } else { N - 1 }];
                    let shorts = [_mm512_packs_epi32(at(0), at(1)), _mm512_packs_epi32(at(2), at(3))];
                    let bytes = _mm512_packus_epi16(shorts[0], shorts[1]);
                    // Four bytes each of the vectors, in every quarter.
                    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                    store_some_512(_mm512_permutexvar_epi32(order, bytes), bounds, to, count);
                }
            }

            #[inline(always)]
            unsafe fn widen(from: *const u8) -> __m512i {
                unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.cast())) }
            }

            #[inline(always)]
            unsafe fn pairs(a: __m512i, b: __m512i) -> [__m512i; 2] {
                unsafe { [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)] }
            }

            #[inline(always)]
            unsafe fn dot_pairs($pair_sums: __m512i, $pair_a: __m512i, $pair_w: __m512i) -> __m512i {
                unsafe { $dot_pairs }
            }

            #[inline(always)]
            unsafe fn store_pairs([a, b]: [__m512i; 2], bounds: Bounds, to: *mut u8, count: usize) {
                unsafe {
                    let shorts = _mm512_packs_epi32(a, b);
                    let bytes = _mm512_packus_epi16(shorts, shorts);
                    let order = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
                    store_some_512(_mm512_permutexvar_epi64(order, bytes), bounds, to, count);
                }
            }

            fn channel(lane: usize) -> usize {
                interleaved(lane, Self::LANES)
            }

            #[inline(always)]
            unsafe fn columns(rows: [*const u8; 4]) -> [__m512i; 4] {
                unsafe {
                    let [a, b, c, d] = rows.map(|row| _mm512_loadu_si512(row.cast()));
                    let [low, high] = [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)];
                    let [other_low, other_high] = [_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d)];
                    [
                        _mm512_unpacklo_epi16(low, other_low),
                        _mm512_unpackhi_epi16(low, other_low),
                        _mm512_unpacklo_epi16(high, other_high),
                        _mm512_unpackhi_epi16(high, other_high),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn store_columns([a, b, c, d]: [__m512i; 4], bounds: Bounds, to: *mut u8, count: usize) {
                unsafe {
                    let shorts = [_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)];
                    let bytes = _mm512_packus_epi16(shorts[0], shorts[1]);
                    store_some_512(bytes, bounds, to, count);
                }
            }
        }
    };
}

/// Writes the first `count` of 64 bytes, within bounds.
#[inline(always)]
unsafe fn store_some_512(bytes: __m512i, bounds: Bounds, to: *mut u8, count: usize) {
    // SAFETY: bytes whose bit is not set are not written.
    unsafe {
        let (low, high) = (_mm512_loadu_si512(bounds.low.cast()), _mm512_loadu_si512(bounds.high.cast()));
        let bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, low), high);
        _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - count), bytes);
    }
}

lanes_512!(Avx512, 2, |sums, a, w| _mm512_add_epi32(sums, _mm512_madd_epi16(a, w)), |sums, a, w| {
    _mm512_add_epi32(sums, _mm512_madd_epi16(a, w))
});
lanes_512!(Avx512Vnni, 4, |sums, a, w| _mm512_dpbusd_epi32(sums, a, w), |sums, a, w| _mm512_dpwssd_epi32(
    sums, a, w
));
