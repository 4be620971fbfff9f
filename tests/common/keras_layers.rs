//! QuantizeML's layers by the names of their classes, with arguments as Keras writes them.

use qirc::ops::fixed::{
    Context, Conv2D, Floats, Function, LayerError, Layered, Token, Transposed, activation, add,
    add_position_embs, attention, batch_normalization, class_token, concatenate, conv2d, conv2d_transpose,
    dense, depthwise_conv2d, depthwise_conv2d_transpose, extract_token, flatten, global_average_pooling2d,
    layer_normalization, max_pool2d, permute, quantized_shiftmax, relu, rescaling, reshape, separable_conv2d,
};
use qirc::tensor::fixed::{Padding, QTensor, Stride};
use serde_json::Value;

pub struct Layer<'a> {
    pub class: &'a str,
    pub args: &'a Value,
    pub inputs: &'a [QTensor],
    /// Float parameters by their names.
    pub floats: &'a dyn Fn(&str) -> Option<Floats<'a>>,
}

impl<'a> Layer<'a> {
    fn list(&self, name: &str) -> Option<Vec<usize>> {
        let list = self.args[name].as_array()?;
        Some(list.iter().map(|v| v.as_u64().unwrap() as usize).collect())
    }

    fn pair(&self, name: &str) -> Option<[usize; 2]> {
        Some(self.list(name)?[..2].try_into().unwrap())
    }

    fn float(&self, name: &str) -> Option<f32> {
        self.args[name].as_f64().map(|v| v as f32)
    }

    fn padding(&self) -> Padding {
        if self.args["padding"] == "same" { Padding::Same } else { Padding::Valid }
    }

    fn stride(&self) -> Stride {
        let dilations = self.pair("dilation_rate").unwrap_or([1, 1]);
        Stride { strides: self.pair("strides").unwrap_or([1, 1]), dilations }
    }

    fn transposed(&self) -> Transposed {
        let (strides, padding) = (self.pair("strides").unwrap(), self.padding());
        Transposed { strides, padding, output_padding: self.pair("output_padding") }
    }

    fn weight(&self, name: &str) -> Floats<'a> {
        (self.floats)(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn axis(&self) -> isize {
        self.args["axis"].as_i64().unwrap() as isize
    }

    /// What the layer gives; an attention gives its mask, too.
    pub fn run(&self, context: &Context) -> Result<(Layered, Option<QTensor>), LayerError> {
        let x = &self.inputs[0];
        let bias = (self.floats)("bias");
        let found = match self.class {
            "QuantizedConv2D" => {
                let padding_value = match &self.args["padding_value"] {
                    Value::Null => None,
                    Value::Array(values) => Some(values.iter().map(|v| v.as_f64().unwrap() as f32).collect()),
                    value => Some(vec![value.as_f64().unwrap() as f32]),
                };
                let conv = Conv2D { stride: self.stride(), padding: self.padding(), padding_value };
                conv2d(x, self.weight("kernel"), bias, &conv, context)
            }
            "QuantizedConv2DTranspose" => {
                conv2d_transpose(x, self.weight("kernel"), bias, &self.transposed(), context)
            }
            "QuantizedDepthwiseConv2D" => {
                let kernel = (self.floats)("depthwise_kernel").unwrap_or_else(|| self.weight("kernel"));
                depthwise_conv2d(x, kernel, bias, self.stride(), self.padding(), context)
            }
            "QuantizedDepthwiseConv2DTranspose" => {
                depthwise_conv2d_transpose(x, self.weight("kernel"), bias, &self.transposed(), context)
            }
            "QuantizedSeparableConv2D" => {
                let (depthwise, pointwise) =
                    (self.weight("depthwise_kernel"), self.weight("pointwise_kernel"));
                separable_conv2d(x, depthwise, pointwise, bias, self.stride(), self.padding(), context)
            }
            "QuantizedDense" => dense(x, self.weight("kernel"), bias, context),
            "QuantizedAdd" => {
                add(x, &self.inputs[1], self.args["average"].as_bool().unwrap_or(false), context)
            }
            "QuantizedConcatenate" => concatenate(x, &self.inputs[1], self.axis(), context),
            "QuantizedMaxPool2D" => {
                let window = self.pair("pool_size").unwrap();
                max_pool2d(x, window, self.pair("strides").unwrap_or(window), self.padding(), context)
            }
            "QuantizedGlobalAveragePooling2D" => {
                global_average_pooling2d(x, self.args["keepdims"].as_bool().unwrap_or(false), context)
            }
            "QuantizedReLU" => relu(x, self.float("max_value"), context),
            "QuantizedActivation" => {
                let function = match self.args["activation"].as_str().unwrap() {
                    "gelu" => Function::Gelu,
                    "swish" => Function::Swish,
                    "hard_silu" => Function::HardSilu,
                    "leaky_relu" => Function::LeakyRelu { alpha: self.float("alpha").unwrap_or(0.2) },
                    other => panic!("no activation {other}"),
                };
                activation(x, function, context)
            }
            "QuantizedFlatten" => flatten(x, context),
            "QuantizedPermute" => permute(x, &self.list("dims").unwrap(), context),
            "QuantizedReshape" => {
                // One size may be left to be computed.
                let sizes = self.args["target_shape"].as_array().unwrap();
                let known: Vec<i64> = sizes.iter().map(|size| size.as_i64().unwrap()).collect();
                let rest: usize =
                    known.iter().filter(|&&size| size >= 0).map(|&size| size as usize).product();
                let own: usize = x.fixed().sizes()[1..].iter().product();
                let size = |&size: &i64| if size < 0 { own / rest } else { size as usize };
                reshape(x, &known.iter().map(size).collect::<Vec<_>>(), context)
            }
            "QuantizedRescaling" => rescaling(x, self.float("scale").unwrap(), context),
            "QuantizedDropout" => Ok(Layered { output: x.clone(), recorded: Default::default() }),
            "QuantizedBatchNormalization" => {
                if let (Some(a), Some(b)) = ((self.floats)("a"), (self.floats)("b")) {
                    return Ok((batch_normalization(x, a, b, context)?, None));
                }
                let [gamma, beta, mean, variance] =
                    ["gamma", "beta", "moving_mean", "moving_variance"].map(|name| self.weight(name));
                let epsilon = self.float("epsilon").unwrap();
                let rates: Vec<f32> = variance.values.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
                let a: Vec<f32> = gamma.values.iter().zip(&rates).map(|(gamma, rate)| gamma * rate).collect();
                let each = mean.values.iter().zip(gamma.values).zip(beta.values.iter().zip(&rates));
                let b: Vec<f32> =
                    each.map(|((mean, gamma), (beta, rate))| -mean * gamma * rate + beta).collect();
                let floats = |values| Floats { sizes: gamma.sizes, values };
                batch_normalization(x, floats(&a), floats(&b), context)
            }
            "QuantizedShiftmax" => {
                let config = serde_json::from_value(self.args.clone()).unwrap();
                let output = quantized_shiftmax(x, config)?.into();
                Ok(Layered { output, recorded: Default::default() })
            }
            "QuantizedAttention" => {
                let heads = self.args["num_heads"].as_u64().unwrap() as usize;
                let (found, mask) = attention(x, &self.inputs[1], &self.inputs[2], heads, context)?;
                return Ok((found, Some(mask.into())));
            }
            "QuantizedLayerNormalization" => {
                layer_normalization(x, self.weight("gamma"), self.weight("beta"), context)
            }
            "QuantizedClassToken" => class_token(x, self.weight("cls"), context),
            "QuantizedAddPositionEmbs" => add_position_embs(x, self.weight("pe"), context),
            "QuantizedExtractToken" => {
                let token = match &self.args["token"] {
                    Value::Array(tokens) => {
                        Token::Some(tokens.iter().map(|t| t.as_i64().unwrap() as isize).collect())
                    }
                    token => Token::One(token.as_i64().unwrap() as isize),
                };
                extract_token(x, &token, self.axis(), context)
            }
            other => panic!("no layer {other}"),
        };
        Ok((found?, None))
    }
}
