//! What a layer is quantized with: `quant_config` in QuantizeML's own layout (quantizers §4).

use serde::{Deserialize, Serialize};

/// The bits of a quantizer of weights or of what is aligned to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitwidth: Option<u32>,
    /// The axis of the scales; `null` for one scale.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub axis: Option<Option<i64>>,
}

impl Bits {
    pub fn or(&self, default: u32) -> u32 {
        self.bitwidth.unwrap_or(default)
    }
}

/// A field that may be `null`, or absent.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    // The signature is serde's.
    #[allow(clippy::option_option, clippy::ref_option)]
    pub fn serialize<S: Serializer>(axis: &Option<Option<i64>>, to: S) -> Result<S::Ok, S::Error> {
        axis.flatten().serialize(to)
    }

    #[allow(clippy::option_option)]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i64>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
}

/// Whether an output has one range or one for each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputAxis {
    #[default]
    PerTensor,
    PerAxis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    #[serde(default = "eight")]
    pub bitwidth: u32,
    #[serde(default = "yes")]
    pub signed: bool,
    #[serde(default)]
    pub axis: OutputAxis,
    #[serde(default = "some_eight")]
    pub scale_bits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_bitwidth: Option<u32>,
}

fn eight() -> u32 {
    8
}

// The signature is the field's.
#[allow(clippy::unnecessary_wraps)]
fn some_eight() -> Option<u32> {
    Some(8)
}

fn yes() -> bool {
    true
}

/// The configuration of the shiftmax within an attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShiftmaxConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp_bitwidth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_bitwidth: Option<u32>,
}

macro_rules! config {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// The quantizers of a layer; each kind of layer has some of them.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct LayerConfig {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }
    };
}

config! {
    weight_quantizer: Bits,
    dw_weight_quantizer: Bits,
    pw_weight_quantizer: Bits,
    bias_quantizer: Bits,
    /// Of a batch normalization: the factors.
    a_quantizer: Bits,
    /// Of a batch normalization: the offsets.
    b_quantizer: Bits,
    gamma_quantizer: Bits,
    beta_quantizer: Bits,
    max_value_quantizer: Bits,
    cls_quantizer: Bits,
    pe_quantizer: Bits,
    output_quantizer: OutputConfig,
    softmax: ShiftmaxConfig,
    exp_bitwidth: u32,
    lut_bitwidth: u32,
    buffer_bitwidth: u32,
}

impl LayerConfig {
    /// Bits of a quantizer that may be left out.
    pub(super) fn bits(quantizer: Option<&Bits>) -> u32 {
        quantizer.copied().unwrap_or_default().or(8)
    }

    /// Bits of the buffer that a layer computes in.
    pub(super) fn buffer(&self) -> u32 {
        self.buffer_bitwidth.unwrap_or(32)
    }
}
