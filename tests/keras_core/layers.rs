//! Layers, with the constants that they take.

use qirc::ops::fixed::{
    Constant, Context, Conv2D, Floats, LayerConfig, LayerError, Layered, Transposed, add,
    batch_normalization, concatenate, conv2d, conv2d_transpose, dense, depthwise_conv2d,
    depthwise_conv2d_transpose, flatten, global_average_pooling2d, max_pool2d, permute, relu, rescaling,
    reshape, separable_conv2d,
};
use qirc::tensor::fixed::{Arithmetic, FixedPoint, Padding, PerChannel, QTensor, Stride};
use serde_json::Value;

use crate::Release;
use crate::keras::{Recorded, Tensors, equal_tensors, same};

pub struct Case<'a> {
    pub case: &'a Value,
    pub tensors: &'a Tensors,
    pub inputs: Vec<Recorded>,
    pub release: Release,
    pub arithmetic: Arithmetic,
}

impl Case<'_> {
    fn arg(&self, name: &str) -> &Value {
        &self.case["args"][name]
    }

    fn list(&self, name: &str) -> Option<Vec<usize>> {
        let list = self.arg(name).as_array()?;
        Some(list.iter().map(|v| v.as_u64().unwrap() as usize).collect())
    }

    fn pair(&self, name: &str) -> Option<[usize; 2]> {
        Some(self.list(name)?[..2].try_into().unwrap())
    }

    fn padding(&self) -> Padding {
        if self.arg("padding") == "same" { Padding::Same } else { Padding::Valid }
    }

    fn stride(&self) -> Stride {
        let dilations = self.pair("dilation_rate").unwrap_or([1, 1]);
        Stride { strides: self.pair("strides").unwrap_or([1, 1]), dilations }
    }

    fn floats(&self, name: &str) -> Option<Floats<'_>> {
        let stored = self.case["tensors"].get(name).map(|name| self.tensors.get(name))?;
        Some(Floats { sizes: &stored.sizes, values: &stored.floats })
    }

    fn per_channel(&self, name: &str) -> Option<PerChannel<f32>> {
        self.case["tensors"].get(name).map(|name| self.tensors.scales(name))
    }

    fn input(&self, at: usize) -> QTensor {
        match &self.inputs[at] {
            Recorded::Quantized(x) => x.clone(),
            // Pixels: 8 bits without sign.
            Recorded::Int(sizes, x) => {
                let x = FixedPoint::new(sizes, x.iter().copied(), 8, PerChannel::tensor(0)).unwrap();
                x.with(self.arithmetic).into()
            }
            other => panic!("{other:?}"),
        }
    }

    fn run(&self) -> Result<Layered, LayerError> {
        let config: LayerConfig = serde_json::from_value(self.case["quant_config"].clone()).unwrap();
        let (range_max, rescaling_rate) = (self.per_channel("range_max"), self.per_channel("rescaling_rate"));
        let context = Context {
            config: &config,
            range_max: range_max.as_ref(),
            rescaling_rate: rescaling_rate.as_ref(),
            release: self.release.of_layers(),
        };
        let x = self.input(0);
        let floats = |name| self.floats(name).unwrap_or_else(|| panic!("no {name}"));
        let bias = self.floats("bias");
        let transposed = || Transposed {
            strides: self.pair("strides").unwrap(),
            padding: self.padding(),
            output_padding: self.pair("output_padding"),
        };
        match self.case["name"].as_str().unwrap() {
            "QuantizedConv2D" => {
                let value = self.arg("padding_value");
                let padding_value = match value {
                    Value::Null => None,
                    Value::Array(values) => Some(values.iter().map(|v| v.as_f64().unwrap() as f32).collect()),
                    value => Some(vec![value.as_f64().unwrap() as f32]),
                };
                let conv = Conv2D { stride: self.stride(), padding: self.padding(), padding_value };
                conv2d(&x, floats("kernel"), bias, &conv, &context)
            }
            "QuantizedConv2DTranspose" => {
                conv2d_transpose(&x, floats("kernel"), bias, &transposed(), &context)
            }
            "QuantizedDepthwiseConv2D" => {
                depthwise_conv2d(&x, floats("kernel"), bias, self.stride(), self.padding(), &context)
            }
            "QuantizedDepthwiseConv2DTranspose" => {
                depthwise_conv2d_transpose(&x, floats("kernel"), bias, &transposed(), &context)
            }
            "QuantizedSeparableConv2D" => {
                let (depthwise, pointwise) = (floats("depthwise_kernel"), floats("pointwise_kernel"));
                separable_conv2d(&x, depthwise, pointwise, bias, self.stride(), self.padding(), &context)
            }
            "QuantizedDense" => dense(&x, floats("kernel"), bias, &context),
            "QuantizedAdd" => {
                add(&x, &self.input(1), self.arg("average").as_bool().unwrap_or(false), &context)
            }
            "QuantizedConcatenate" => {
                concatenate(&x, &self.input(1), self.arg("axis").as_i64().unwrap() as isize, &context)
            }
            "QuantizedMaxPool2D" => {
                let window = self.pair("pool_size").unwrap();
                let strides = self.pair("strides").unwrap_or(window);
                max_pool2d(&x, window, strides, self.padding(), &context)
            }
            "QuantizedGlobalAveragePooling2D" => {
                global_average_pooling2d(&x, self.arg("keepdims").as_bool().unwrap(), &context)
            }
            "QuantizedReLU" => relu(&x, self.arg("max_value").as_f64().map(|v| v as f32), &context),
            "QuantizedFlatten" => flatten(&x, &context),
            "QuantizedPermute" => permute(&x, &self.list("dims").unwrap(), &context),
            "QuantizedReshape" => reshape(&x, &self.list("target_shape").unwrap(), &context),
            "QuantizedRescaling" => rescaling(&x, self.arg("scale").as_f64().unwrap() as f32, &context),
            "QuantizedDropout" => Ok(Layered { output: x, recorded: Default::default() }),
            "QuantizedBatchNormalization" => batch_normalization(&x, floats("a"), floats("b"), &context),
            other => panic!("no layer {other}"),
        }
    }

    /// What differs from the output or, if they are asked for, a recorded constant.
    pub fn fault(&self, want: &Value, stored: &Tensors, constants: bool) -> Option<String> {
        let found = match self.run() {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        let Recorded::Quantized(output) = stored.recorded(&want["output"], self.arithmetic) else {
            panic!("no quantized output")
        };
        if !equal_tensors(&found.output, &output) {
            return Some(format!("{:?}\n  want {output:?}", found.output));
        }
        let none = serde_json::Map::new();
        for (name, recorded) in want["recorded"].as_object().filter(|_| constants).unwrap_or(&none) {
            let recorded = stored.recorded(recorded, self.arithmetic);
            let equal = match (found.recorded.get(name.as_str()), &recorded) {
                (Some(Constant::Tensor(found)), Recorded::Quantized(want)) => equal_tensors(found, want),
                (Some(Constant::Shift(found)), Recorded::Int(sizes, shift)) => {
                    let shift: Vec<i32> = shift.iter().map(|&v| v as i32).collect();
                    let want =
                        if sizes.is_empty() { PerChannel::tensor(shift[0]) } else { PerChannel::last(shift) };
                    same(&PerChannel::last(found.entries().to_vec()), &want)
                }
                _ => false,
            };
            if !equal {
                return Some(format!("{name}: {:?}\n  want {recorded:?}", found.recorded.get(name.as_str())));
            }
        }
        None
    }
}
