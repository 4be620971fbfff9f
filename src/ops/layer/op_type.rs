//! Names of the hardware operators in files (hardware-ops §1.1):
//! `base ["Flatten"] ["Biased"] [pool] [activation] ["Scaled"]`.

use std::fmt;
use std::str::FromStr;

/// The operators whose names tell what is fused into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A convolution whose input is stored as uint8.
    InputConv2D,
    Conv2D,
    Depthwise2D,
    Conv2DTranspose,
    Depthwise2DTranspose,
    Dense1D,
    Add,
    BufferTempConv,
    DepthwiseBufferTempConv,
}

impl Base {
    const ALL: [Base; 9] = [
        Base::InputConv2D,
        Base::Conv2D,
        Base::Depthwise2D,
        Base::Conv2DTranspose,
        Base::Depthwise2DTranspose,
        Base::Dense1D,
        Base::Add,
        Base::BufferTempConv,
        Base::DepthwiseBufferTempConv,
    ];

    fn name(self) -> &'static str {
        match self {
            Base::InputConv2D => "QuantizedInputConv2D",
            Base::Conv2D => "QuantizedConv2D",
            Base::Depthwise2D => "QuantizedDepthwise2D",
            Base::Conv2DTranspose => "QuantizedConv2DTranspose",
            Base::Depthwise2DTranspose => "QuantizedDepthwise2DTranspose",
            Base::Dense1D => "QuantizedDense1D",
            Base::Add => "QuantizedAdd",
            Base::BufferTempConv => "QuantizedBufferTempConv",
            Base::DepthwiseBufferTempConv => "QuantizedDepthwiseBufferTempConv",
        }
    }
}

/// A pooling fused into a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    None,
    Max,
    /// The sum over the map; the division is part of the rescaling.
    GlobalAverage,
}

impl Pool {
    pub const ALL: [Pool; 3] = [Pool::None, Pool::Max, Pool::GlobalAverage];

    /// The value of the attribute `pool`; the part of the op_type is the same, or empty for none.
    pub fn name(self) -> &'static str {
        match self {
            Pool::None => NONE,
            Pool::Max => "MaxPool",
            Pool::GlobalAverage => "GlobalAvgPool",
        }
    }
}

/// An activation fused into a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    /// A relu with a ceiling.
    ReluClipped,
    /// Any other, through a table of its values.
    Lut,
}

impl Activation {
    pub const ALL: [Activation; 4] =
        [Activation::None, Activation::Relu, Activation::ReluClipped, Activation::Lut];

    /// The value of the attribute `activation`; the part of the op_type is the same, or empty for
    /// none.
    pub fn name(self) -> &'static str {
        match self {
            Activation::None => NONE,
            Activation::Relu => "ReLU",
            Activation::ReluClipped => "ReLUClipped",
            Activation::Lut => "LUT",
        }
    }
}

/// The attribute value of something that is not there.
pub const NONE: &str = "none";

fn part(name: &'static str) -> &'static str {
    if name == NONE { "" } else { name }
}

/// An op_type of domain `com.brainchip`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpType {
    pub base: Base,
    pub flatten: bool,
    pub biased: bool,
    pub pool: Pool,
    pub activation: Activation,
    pub scaled: bool,
}

impl OpType {
    /// Every name of the grammar with that base.
    pub fn all(base: Base) -> impl Iterator<Item = OpType> {
        const FLAGS: [bool; 2] = [false, true];
        FLAGS.into_iter().flat_map(move |flatten| {
            FLAGS.into_iter().flat_map(move |biased| {
                Pool::ALL.into_iter().flat_map(move |pool| {
                    Activation::ALL.into_iter().flat_map(move |activation| {
                        FLAGS
                            .into_iter()
                            .map(move |scaled| OpType { base, flatten, biased, pool, activation, scaled })
                            .filter(OpType::exists)
                    })
                })
            })
        })
    }

    /// What a name in a file stands for. Files of QuantizeML 0.7 and 0.8 leave `Scaled` out where it goes
    /// without saying.
    pub fn of_file(name: &str) -> Option<OpType> {
        let older = || format!("{name}Scaled").parse().ok().filter(|op_type: &OpType| op_type.is_older());
        name.parse().ok().or_else(older)
    }

    /// The name that QuantizeML 0.7 and 0.8 have for it, where that is another one.
    pub fn older_name(&self) -> Option<String> {
        let name = self.to_string();
        self.is_older().then(|| name.trim_end_matches("Scaled").to_owned())
    }

    /// Whether QuantizeML 0.7 and 0.8 have it, without `Scaled` in its name.
    fn is_older(&self) -> bool {
        matches!(self.base, Base::InputConv2D | Base::Conv2D | Base::Depthwise2D)
            && matches!(self.activation, Activation::None | Activation::Relu)
    }

    /// Whether the table of the grammar has it.
    fn exists(&self) -> bool {
        let Self { base, flatten, biased, pool, activation, scaled } = *self;
        match base {
            Base::InputConv2D => !flatten && biased && scaled,
            Base::Conv2D | Base::Depthwise2D => !flatten && scaled,
            Base::Conv2DTranspose | Base::Depthwise2DTranspose => !flatten && pool == Pool::None && scaled,
            Base::Dense1D => pool == Pool::None && activation != Activation::Lut,
            Base::Add => !flatten && !biased && pool == Pool::None && activation == Activation::None,
            Base::BufferTempConv | Base::DepthwiseBufferTempConv => {
                let plain = matches!(activation, Activation::None | Activation::Relu);
                !flatten && pool == Pool::None && plain && scaled
            }
        }
    }
}

impl fmt::Display for OpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.name())?;
        f.write_str(if self.flatten { "Flatten" } else { "" })?;
        f.write_str(if self.biased { "Biased" } else { "" })?;
        f.write_str(part(self.pool.name()))?;
        f.write_str(part(self.activation.name()))?;
        f.write_str(if self.scaled { "Scaled" } else { "" })
    }
}

impl FromStr for OpType {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Base::ALL.into_iter().flat_map(OpType::all).find(|op_type| op_type.to_string() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_what_it_was_printed_from() {
        let all: Vec<OpType> = Base::ALL.into_iter().flat_map(OpType::all).collect();
        assert_eq!(all.len(), 12 + 24 + 24 + 8 + 8 + 24 + 2 + 4 + 4);
        for op_type in all {
            assert_eq!(op_type.to_string().parse(), Ok(op_type), "{op_type}");
            assert_eq!(OpType::of_file(&op_type.to_string()), Some(op_type), "{op_type}");
            if let Some(older) = op_type.older_name() {
                assert_eq!(older.parse::<OpType>(), Err(()), "{older}");
                assert_eq!(OpType::of_file(&older), Some(op_type), "{older}");
            }
        }
        assert_eq!(OpType::of_file("QuantizedConv2DLUT"), None);
    }

    #[test]
    fn names_of_files() {
        let parsed: OpType = "QuantizedConv2DBiasedGlobalAvgPoolReLUClippedScaled".parse().unwrap();
        assert_eq!(parsed.base, Base::Conv2D);
        assert_eq!((parsed.biased, parsed.flatten, parsed.scaled), (true, false, true));
        assert_eq!((parsed.pool, parsed.activation), (Pool::GlobalAverage, Activation::ReluClipped));
        for name in [
            "QuantizedConv2D",
            "QuantizedInputConv2DScaled",
            "QuantizedConv2DTransposeMaxPoolScaled",
            "QuantizedConv2DReLUMaxPoolScaled",
            "QuantizedDense1DBiasedFlatten",
            "QuantizedAddReLUScaled",
            "QuantizedDense1DLUTScaled",
            "quantizedAdd",
        ] {
            assert_eq!(name.parse::<OpType>(), Err(()), "{name}");
        }
    }
}
