//! The instruction sets that inner loops are compiled for, and the choice between them.

use std::sync::OnceLock;

/// An instruction set. All of them give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What the target is sure to have.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with products of bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

/// Forces an instruction set, by its name.
pub const ISA_VARIABLE: &str = "QIRC_ISA";

/// A name in [`ISA_VARIABLE`] that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ISA_VARIABLE}={name}: this processor has {}", .available.join(", "))]
pub struct NoSuchIsa {
    name: String,
    available: Vec<&'static str>,
}

impl Isa {
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => "avx512vnni",
        }
    }

    /// Those that this processor has, the best first.
    pub fn available() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        let special = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            [
                (Isa::Avx512Vnni, avx512 && is_x86_feature_detected!("avx512vnni")),
                (Isa::Avx512, avx512),
                (Isa::AvxVnni, avx2 && is_x86_feature_detected!("avxvnni")),
                (Isa::Avx2, avx2),
            ]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let special: [(Isa, bool); 0] = [];
        special.into_iter().filter_map(|(isa, has)| has.then_some(isa)).chain([Isa::Portable])
    }

    /// The one that [`ISA_VARIABLE`] forces, if it names one.
    ///
    /// # Errors
    /// A name that is none, or that of an instruction set which this processor does not have.
    pub fn forced() -> Result<Option<Isa>, NoSuchIsa> {
        let Some(name) = std::env::var_os(ISA_VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let name = name.to_string_lossy();
        match Isa::available().find(|isa| isa.name() == name) {
            Some(isa) => Ok(Some(isa)),
            None => Err(NoSuchIsa {
                name: name.into_owned(),
                available: Isa::available().map(Isa::name).collect(),
            }),
        }
    }

    /// The forced one, else the best. It is chosen once, so that a run has one.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = Isa::forced().ok().flatten();
            forced.or_else(|| Isa::available().next()).unwrap_or(Isa::Portable)
        })
    }
}

/// Calls a function that is compiled for the vectors of each instruction set, in the form of `$isa`.
macro_rules! in_vectors {
    ($isa:expr, fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {{
        #[inline(always)]
        fn $name($($argument: $type),*) $(-> $result)? $body
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2($($argument: $type),*) $(-> $result)? {
            $name($($argument),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn avx512($($argument: $type),*) $(-> $result)? {
            $name($($argument),*)
        }
        match $isa {
            $crate::kernels::isa::Isa::Portable => $name($($argument),*),
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::isa::Isa::Avx2 | $crate::kernels::isa::Isa::AvxVnni => {
                // SAFETY: this processor has the instruction set.
                unsafe { avx2($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::isa::Isa::Avx512 | $crate::kernels::isa::Isa::Avx512Vnni => {
                // SAFETY: as above.
                unsafe { avx512($($argument),*) }
            }
        }
    }};
}
pub(super) use in_vectors;
