//! What the classes of layers stand for, one file a family.

mod activation;
mod attention;
mod conv;
mod merge;
mod norm;
mod operation;
mod pool;
mod product;
mod quantized;
mod quantizeml;
mod shape;
mod window;

use super::config::Arg;
use super::cx::{Cx, Fault, Made, policy};
use super::values::At;

/// Adds what a call of the layer stands for, and gives its results.
pub fn layer_calls(cx: &mut Cx) -> Made<Vec<At>> {
    let class = cx.layer.class.as_str();
    if let Some(dtype) = cx.setting("dtype").and_then(policy).filter(|&dtype| dtype != "float32") {
        return Err(cx.bad_setting("dtype", format!("is {dtype}; only float32 is read")));
    }
    let training = cx.named().any(|(name, arg)| name == "training" && *arg == Arg::Plain(true.into()));
    if training {
        return Err(cx.bad_call("has `training=True`, which a network that is not trained cannot have"));
    }
    if operation::is(cx) {
        return operation::read(cx);
    }
    if class == "Dequantizer" {
        return quantized::dequantizer(cx);
    }
    let one = match class {
        "Conv1D" => conv::conv(cx, 1),
        "Conv2D" => conv::conv(cx, 2),
        "Conv3D" => conv::conv(cx, 3),
        "DepthwiseConv1D" => conv::depthwise(cx, 1),
        "DepthwiseConv2D" => conv::depthwise(cx, 2),
        "SeparableConv1D" => conv::separable(cx, 1),
        "SeparableConv2D" => conv::separable(cx, 2),
        "Conv2DTranspose" | "Convolution2DTranspose" => conv::transposed(cx),
        "Dense" => product::dense(cx),
        "MaxPooling1D" | "MaxPool1D" => pool::pool(cx, 1, pool::Kind::Max),
        "MaxPooling2D" | "MaxPool2D" => pool::pool(cx, 2, pool::Kind::Max),
        "MaxPooling3D" | "MaxPool3D" => pool::pool(cx, 3, pool::Kind::Max),
        "AveragePooling1D" | "AvgPool1D" => pool::pool(cx, 1, pool::Kind::Average),
        "AveragePooling2D" | "AvgPool2D" => pool::pool(cx, 2, pool::Kind::Average),
        "AveragePooling3D" | "AvgPool3D" => pool::pool(cx, 3, pool::Kind::Average),
        "GlobalMaxPooling1D" | "GlobalMaxPool1D" => pool::global(cx, 1, pool::Kind::Max),
        "GlobalMaxPooling2D" | "GlobalMaxPool2D" => pool::global(cx, 2, pool::Kind::Max),
        "GlobalAveragePooling1D" | "GlobalAvgPool1D" => pool::global(cx, 1, pool::Kind::Average),
        "GlobalAveragePooling2D" | "GlobalAvgPool2D" => pool::global(cx, 2, pool::Kind::Average),
        "BatchNormalization" => norm::batch_normalization(cx),
        "LayerNormalization" => norm::layer_normalization(cx),
        "Normalization" => norm::normalization(cx),
        "Rescaling" => norm::rescaling(cx),
        "LayerScale" => norm::layer_scale(cx),
        "Activation" => activation::activation(cx),
        "ReLU" => activation::relu(cx),
        "LeakyReLU" => activation::leaky_relu(cx),
        "PReLU" => activation::prelu(cx),
        "ELU" => activation::elu(cx),
        "ThresholdedReLU" => activation::thresholded_relu(cx),
        "Softmax" => activation::softmax(cx),
        "Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum" => merge::elementwise(cx),
        "Concatenate" => merge::concatenate(cx),
        "ZeroPadding1D" => shape::zero_padding(cx, 1),
        "ZeroPadding2D" => shape::zero_padding(cx, 2),
        "ZeroPadding3D" => shape::zero_padding(cx, 3),
        "Cropping1D" => shape::cropping(cx, 1),
        "Cropping2D" => shape::cropping(cx, 2),
        "UpSampling2D" => shape::up_sampling(cx),
        "Flatten" => shape::flatten(cx),
        "Reshape" => shape::reshape(cx),
        "Permute" => shape::permute(cx),
        "PaddedConv2D" => quantizeml::padded_conv(cx),
        "DepthwiseConv2DTranspose" => quantizeml::depthwise_transposed(cx),
        "AddPositionEmbs" => quantizeml::position_embs(cx),
        "ExtractToken" => quantizeml::extract_token(cx),
        "Attention" if cx.setting("num_heads").is_some() => quantizeml::attention(cx),
        "MultiHeadAttention" => attention::multi_head(cx),
        "Shiftmax" => quantizeml::shiftmax(cx),
        "ClassToken" => quantizeml::class_token(cx),
        "LayerMadNormalization" => quantizeml::mad_normalization(cx),
        // They do something in training only, or nothing.
        "Dropout"
        | "SpatialDropout1D"
        | "SpatialDropout2D"
        | "SpatialDropout3D"
        | "AlphaDropout"
        | "GaussianDropout"
        | "GaussianNoise"
        | "ActivityRegularization"
        | "Identity"
        | "RandomFlip"
        | "RandomRotation"
        | "RandomTranslation"
        | "RandomZoom"
        | "RandomContrast"
        | "RandomBrightness" => cx.only(),
        "Lambda" => {
            return Err(cx.unsupported(Some("a Lambda is code in Python: put layers in its place")));
        }
        "BufferTempConv"
        | "DepthwiseBufferTempConv"
        | "StatefulRecurrent"
        | "StatefulProjection"
        | "QuantizedBufferTempConv"
        | "QuantizedDepthwiseBufferTempConv"
        | "QuantizedStatefulRecurrent"
        | "QuantizedStatefulProjection" => {
            let way = "export the model to ONNX: layers with a state of their own are read from there";
            return Err(cx.unsupported(Some(way)));
        }
        "LSTM" | "GRU" | "SimpleRNN" | "Bidirectional" | "RNN" => {
            return Err(cx.unsupported(Some("export a recurrent network to ONNX, and import that")));
        }
        "InputQuantizer" | "OutputQuantizer" => quantized::read(cx),
        class if class.starts_with("Quantized") => quantized::read(cx),
        _ => return operation::read(cx),
    };
    one.map(|at| vec![at])
}

/// A quantized layer that the releases of QuantizeML whose quantized layers are read do not have.
fn removed(cx: &Cx) -> Fault {
    cx.unsupported(Some(
        "quantized layers of QuantizeML 1.2 are read; of older releases, import the float model",
    ))
}
