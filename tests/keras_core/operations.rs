//! Operations on fixed-point tensors.

use std::collections::BTreeMap;
use std::fs;

use crate::keras::Recorded;
use crate::{Release, folder};
use qirc::tensor::fixed::{
    AlignedQuantizer, Arithmetic, Extreme, FixedError, FixedPoint, Observer, OutputQuantizer, Padding,
    PerChannel, QFloat, QTensor, Ranges, Requantizer, Stride, WeightAxis, WeightQuantizer, frac_bits_for,
    optimal_scales, quantize_scales,
};
use serde_json::Value;

/// A case with its operands at hand.
pub struct Case<'a> {
    pub args: &'a Value,
    pub inputs: Vec<Recorded>,
    pub release: Release,
    pub arithmetic: Arithmetic,
    pub packets: &'a Packets,
}

/// Where the reference's logarithm of eight numbers at once goes over to the next integer: the largest
/// number whose logarithm rounds up to `k`, in units of the last place above `2^k` (fixed-point §1.1).
pub struct Packets(BTreeMap<i32, i32>);

impl Packets {
    pub fn read() -> Self {
        let text = fs::read_to_string(folder().join("log2_packet_table.json")).unwrap();
        let table: Value = serde_json::from_str(&text).unwrap();
        let each = table["table"].as_object().unwrap().iter();
        Self(each.map(|(k, ulps)| (k.parse().unwrap(), ulps[0].as_i64().unwrap() as i32)).collect())
    }

    fn ceil_log2(&self, x: f32) -> i32 {
        let last = |k: i32, ulps: i32| f32::from_bits(2f32.powi(k).to_bits().wrapping_add_signed(ulps));
        let found = self.0.iter().find(|&(&k, &ulps)| x <= last(k, ulps));
        *found.unwrap_or_else(|| panic!("{x} is beyond the table")).0
    }
}

pub type Outcome = Result<Recorded, FixedError>;

impl Case<'_> {
    fn q(&self, at: usize) -> &QTensor {
        match &self.inputs[at] {
            Recorded::Quantized(x) => x,
            other => panic!("{other:?}"),
        }
    }

    fn fixed(&self, at: usize) -> &FixedPoint {
        self.q(at).fixed()
    }

    fn floats(&self, at: usize) -> (&[usize], &[f32]) {
        match &self.inputs[at] {
            Recorded::Float(sizes, x) => (sizes, x),
            other => panic!("{other:?}"),
        }
    }

    fn per_channel(&self, at: usize) -> PerChannel<f32> {
        let (sizes, x) = self.floats(at);
        if sizes.is_empty() { PerChannel::tensor(x[0]) } else { PerChannel::last(x.to_vec()) }
    }

    fn shift(&self, at: usize) -> PerChannel<i32> {
        match &self.inputs[at] {
            Recorded::Int(sizes, x) if sizes.is_empty() => PerChannel::tensor(x[0] as i32),
            Recorded::Int(_, x) => PerChannel::last(x.iter().map(|&v| v as i32).collect()),
            Recorded::Float(sizes, x) if sizes.is_empty() => PerChannel::tensor(x[0] as i32),
            Recorded::Float(_, x) => PerChannel::last(x.iter().map(|&v| v as i32).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn int(&self, name: &str) -> i64 {
        self.args[name].as_i64().unwrap_or_else(|| panic!("{name} in {}", self.args))
    }

    fn bits(&self, name: &str) -> Option<u32> {
        self.args[name].as_u64().map(|bits| bits as u32)
    }

    fn sizes(&self, name: &str) -> Vec<usize> {
        self.args[name].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    fn pair(&self, name: &str) -> [usize; 2] {
        self.sizes(name)[..2].try_into().unwrap()
    }

    fn flag(&self, name: &str) -> bool {
        self.args[name].as_bool().unwrap_or(false)
    }

    fn padding(&self) -> Padding {
        if self.args["padding"] == "same" { Padding::Same } else { Padding::Valid }
    }

    fn stride(&self) -> Stride {
        Stride { strides: self.pair("strides"), dilations: self.pair("dilations") }
    }

    /// An operation that leaves scales alone.
    fn map(&self, f: impl FnOnce(&FixedPoint) -> Result<FixedPoint, FixedError>) -> Outcome {
        Ok(Recorded::Quantized(match self.q(0) {
            QTensor::Fixed(x) => f(x)?.into(),
            QTensor::Float(x) => x.map(f)?.into(),
        }))
    }

    fn both(
        &self,
        fixed: impl FnOnce(&FixedPoint, &FixedPoint) -> Result<FixedPoint, FixedError>,
        float: impl FnOnce(&QFloat, &QFloat) -> Result<QFloat, FixedError>,
    ) -> Outcome {
        Ok(Recorded::Quantized(match (self.q(0), self.q(1)) {
            (QTensor::Fixed(a), QTensor::Fixed(b)) => fixed(a, b)?.into(),
            (QTensor::Float(a), QTensor::Float(b)) => float(a, b)?.into(),
            other => panic!("{other:?}"),
        }))
    }

    /// A product, whose right side may have scales.
    fn product(
        &self,
        fixed: impl FnOnce(&FixedPoint, &FixedPoint) -> Result<FixedPoint, FixedError>,
        float: impl FnOnce(&QTensor, &QFloat) -> Result<QFloat, FixedError>,
    ) -> Outcome {
        Ok(Recorded::Quantized(match (self.q(0), self.q(1)) {
            (QTensor::Fixed(a), QTensor::Fixed(b)) => fixed(a, b)?.into(),
            (a, QTensor::Float(b)) => float(a, b)?.into(),
            other => panic!("{other:?}"),
        }))
    }

    pub fn run(&self, name: &str) -> Outcome {
        let fixed = |x: FixedPoint| Ok(Recorded::Quantized(x.into()));
        let float = |x: QFloat| Ok(Recorded::Quantized(x.into()));
        let axis = || self.int("axis") as isize;
        match name {
            "abs" => self.map(FixedPoint::abs),
            "sign" => self.map(FixedPoint::sign),
            "zeros_like" => self.map(FixedPoint::zeros_like),
            "add" => self.both(FixedPoint::add, QFloat::add),
            "sub" => self.both(FixedPoint::sub, QFloat::sub),
            "maximum" => self.both(FixedPoint::maximum, QFloat::maximum),
            "add_int" => self.map(|x| x.add_int(self.int("n") as i32)),
            "sub_int" => self.map(|x| x.sub_int(self.int("n") as i32)),
            "div_int" => self.map(|x| x.divide_by_int(self.int("n") as i32)),
            "pow" => self.map(|x| x.pow(self.int("n") as u32)),
            "align" => fixed(self.fixed(0).align(self.fixed(1), self.bits("value_bits"))?.0),
            "rescale" => self.map(|x| Ok(x.rescale(&self.shift(1), self.bits("value_bits"))?.0)),
            "upscale" => self.map(|x| Ok(x.upscale(&self.shift(1), self.bits("value_bits"))?.0)),
            "downscale" => self.map(|x| Ok(x.downscale(&self.shift(1))?.0)),
            "expand" => self.map(|x| Ok(x.expand(self.bits("value_bits").unwrap())?.0)),
            "promote" => self.map(|x| x.promote(self.bits("bits").unwrap())),
            "shift" => match &self.inputs[1] {
                Recorded::Int(sizes, shifts) => {
                    let shifts: Vec<i32> = shifts.iter().map(|&shift| shift as i32).collect();
                    self.map(|x| x.shift(sizes, &shifts))
                }
                other => panic!("{other:?}"),
            },
            "rshift" => self.map(|x| x.divided_by_power(&self.shift(1))),
            "lshift" => self.map(|x| x.times_power(&self.shift(1))),
            "multiply" => self.product(FixedPoint::multiply, QFloat::multiplied),
            "divide" => match self.q(0) {
                QTensor::Fixed(x) => fixed(x.divide(self.fixed(1))?),
                QTensor::Float(x) => float(x.divide(self.fixed(1))?),
            },
            "div_scales" => match self.q(0) {
                QTensor::Float(x) => float(x.divide_scales(self.args["n"].as_f64().unwrap() as f32)),
                other => panic!("{other:?}"),
            },
            "clip_by_value" => match (self.q(0), self.q(1), self.q(2)) {
                (QTensor::Fixed(x), QTensor::Fixed(low), QTensor::Fixed(high)) => fixed(x.clip(low, high)?),
                (QTensor::Float(x), QTensor::Float(low), QTensor::Float(high)) => float(x.clip(low, high)?),
                other => panic!("{other:?}"),
            },
            "compare" => {
                let (sizes, found) = self.fixed(0).compare(self.fixed(1))?;
                let holds = |order: std::cmp::Ordering| match self.args["op"].as_str().unwrap() {
                    "eq" => order.is_eq(),
                    "ne" => order.is_ne(),
                    "lt" => order.is_lt(),
                    "le" => order.is_le(),
                    "gt" => order.is_gt(),
                    _ => order.is_ge(),
                };
                Ok(Recorded::Int(sizes, found.into_iter().map(|order| holds(order).into()).collect()))
            }
            "matmul" => {
                let (a, b) = (self.flag("transpose_a"), self.flag("transpose_b"));
                self.product(|x, y| x.matmul(y, a, b), |x, y| QFloat::matmul(x, y, a, b))
            }
            "convolution" => {
                let (stride, padding) = (self.stride(), self.padding());
                self.product(
                    |x, k| x.convolution(k, stride, padding),
                    |x, k| QFloat::convolution(x, k, stride, padding),
                )
            }
            "depthwise_conv2d" => {
                let (stride, padding) = (self.stride(), self.padding());
                self.product(
                    |x, k| x.depthwise_convolution(k, stride, padding),
                    |x, k| QFloat::depthwise_convolution(x.fixed(), k, stride, padding),
                )
            }
            "conv2d_transpose" => {
                let out = self.sizes("output_shape");
                let (strides, padding, size) = (self.pair("strides"), self.padding(), [out[1], out[2]]);
                self.product(
                    |x, k| x.transposed_convolution(k, strides, padding, size),
                    |x, k| QFloat::transposed_convolution(x.fixed(), k, strides, padding, size),
                )
            }
            "max_pool" => self.map(|x| x.max_pool(self.pair("ksize"), self.pair("strides"), self.padding())),
            "reshape" => self.map(|x| x.reshape(&self.sizes("shape"))),
            "broadcast_to" => self.map(|x| x.broadcast_to(&self.sizes("shape"))),
            "transpose" => self.map(|x| x.transpose(&self.sizes("perm"))),
            "tile" => self.map(|x| x.tile(&self.sizes("multiples"))),
            "expand_dims" => self.map(|x| x.expand_dims(axis())),
            "concat" => self.both(|a, b| a.concat(b, axis()), |a, b| a.concat(b, axis())),
            "stack" => self.both(|a, b| a.stack(b, axis()), |_, _| unreachable!()),
            "gather" => match &self.args["indices"] {
                Value::Array(indices) => {
                    let indices: Vec<isize> = indices.iter().map(|i| i.as_i64().unwrap() as isize).collect();
                    self.map(|x| x.gather_all(&indices, axis()))
                }
                index => self.map(|x| x.gather(index.as_i64().unwrap() as isize, axis())),
            },
            "pad" => {
                let pads = self.args["paddings"].as_array().unwrap();
                let side = |pad: &Value, at: usize| pad[at].as_u64().unwrap() as usize;
                let pads: Vec<(usize, usize)> = pads.iter().map(|pad| (side(pad, 0), side(pad, 1))).collect();
                self.map(|x| x.pad(&pads, self.fixed(1)))
            }
            "reduce_sum" | "reduce_mean" | "reduce_max" => {
                let axis = self.args["axis"].as_i64().map(|axis| axis as isize);
                let keep = self.flag("keepdims");
                self.map(|x| match name {
                    "reduce_sum" => x.reduce_sum(axis, keep),
                    "reduce_mean" => x.reduce_mean(axis, keep),
                    _ => x.reduce_max(axis, keep),
                })
            }
            "to_float" | "dequantizer" => {
                let x = self.q(0);
                Ok(Recorded::Float(x.fixed().sizes().to_vec(), x.to_float()))
            }
            "to_fixed_point" => match self.q(0) {
                QTensor::Float(x) => fixed(x.to_fixed_point(self.bits("scale_bits").unwrap())?),
                other => panic!("{other:?}"),
            },
            "construct" => {
                let (sizes, x) = self.floats(0);
                let frac = PerChannel::tensor(self.int("frac_bits") as i32);
                let (values, bits) = (x.iter().map(|&v| v as i64), self.bits("value_bits").unwrap());
                fixed(FixedPoint::new_in(self.arithmetic, sizes, values, bits, frac)?)
            }
            "quantize" => {
                let (sizes, x) = self.floats(0);
                let frac = (self.inputs.len() > 1).then(|| self.shift(1));
                fixed(FixedPoint::quantize(sizes, x, self.bits("value_bits").unwrap(), frac)?)
            }
            "qfloat_quantize" => {
                let (sizes, x) = self.floats(0);
                let bits = self.bits("value_bits").unwrap();
                float(QFloat::quantize(sizes, x, bits, self.per_channel(1), self.shift(2))?)
            }
            "max_frac_bits" => {
                let (sizes, ranges) = self.floats(0);
                let bits = self.bits("value_bits").unwrap();
                let clamp = self.args["clamp"].as_bool().unwrap();
                let packets = ranges.len() / 8 * 8;
                let frac = ranges.iter().enumerate().map(|(at, &range)| {
                    let frac = frac_bits_for(bits, range, clamp).unwrap();
                    // The reference takes eight logarithms at once, by another function.
                    let frac = if at < packets { bits as i32 - self.packets.ceil_log2(range) } else { frac };
                    i64::from(if clamp { frac.min(bits as i32) } else { frac })
                });
                Ok(Recorded::Int(sizes.to_vec(), frac.collect()))
            }
            "optimal_scales" => {
                let scales = optimal_scales(&self.per_channel(0), self.bits("value_bits").unwrap());
                Ok(Recorded::Float(self.floats(0).0.to_vec(), scales.entries().to_vec()))
            }
            "quantize_scales" => {
                fixed(quantize_scales(&self.per_channel(0), self.bits("scale_bits").unwrap())?)
            }
            "weight_quantizer" => {
                let axis = self.args["axis"].as_i64();
                let quantizer = WeightQuantizer {
                    bitwidth: self.bits("bitwidth").unwrap(),
                    signed: self.args["signed"].as_bool().unwrap_or(true),
                    axis: axis.map_or(WeightAxis::Tensor, |axis| WeightAxis::Axis(axis as isize)),
                };
                let (sizes, weights) = self.floats(0);
                if self.flag("fp_quantizer") {
                    fixed(quantizer.quantize_fixed(sizes, weights)?)
                } else {
                    float(quantizer.quantize(sizes, weights)?)
                }
            }
            "aligned_weight_quantizer" => {
                let quantizer = AlignedQuantizer {
                    bitwidth: self.bits("bitwidth").unwrap(),
                    signed: self.args["signed"].as_bool().unwrap_or(true),
                    ranges: if self.release == Release::Old { Ranges::One } else { Ranges::EachChannel },
                };
                let (sizes, x) = self.floats(0);
                match self.q(1) {
                    QTensor::Float(other) => float(quantizer.quantize(sizes, x, other)?.values),
                    other => panic!("{other:?}"),
                }
            }
            "output_quantizer" => {
                let buffer =
                    (self.release == Release::New).then(|| self.bits("buffer_bitwidth").unwrap_or(32));
                let requantizer = Requantizer {
                    bitwidth: self.bits("bitwidth").unwrap(),
                    signed: self.args["signed"].as_bool().unwrap_or(true),
                    buffer_bits: buffer,
                };
                let quantizer = OutputQuantizer {
                    requantizer,
                    scale_bits: self.bits("scale_bits"),
                    range_max: self.per_channel(1),
                    rescaling_rate: self.per_channel(2),
                };
                fixed(quantizer.quantize(self.q(0))?.output)
            }
            "observer" => {
                let channels = (self.args["axis"] == "per-axis").then(|| *self.floats(0).0.last().unwrap());
                let mut observer =
                    Observer::new(channels, self.args["momentum"].as_f64().unwrap(), Extreme::Magnitude);
                (0..self.inputs.len()).for_each(|at| observer.observe(self.floats(at).1, 1));
                let sizes = channels.map_or(vec![], |channels| vec![channels]);
                Ok(Recorded::Float(sizes, observer.range.entries().to_vec()))
            }
            other => panic!("no operation {other}"),
        }
    }
}
