#!/usr/bin/env python3
"""Builds networks in Keras, saves them in every format, and compares what Keras and qirc compute.

usage: keras_files.py --qirc BIN [--keras 2|3] [--only NAME] [--keep DIR] [--applications]

Keras 3 is the package `keras`, Keras 2 the package `tf_keras`. Weights are random, those of normalizations too, so
that nothing is an identity by accident. Formats: `.keras`, `.h5`, and `to_json()` with the weights in an `.npz`.
With --applications, networks of keras.applications are built, too. A network agrees if each output differs from Keras's by at most 2e-5 of the largest element, or of 1: both add
float32 products, in different orders.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

TOLERANCE = 2e-5


def conv_bn(L, x, filters, size=3, **more):
    x = L.Conv2D(filters, size, use_bias=False, padding="same", **more)(x)
    return L.BatchNormalization()(x)


def lenet(K, L, three):
    return K.Sequential([
        K.Input((28, 28, 1), name="digit"),
        L.Conv2D(6, 5, activation="tanh", padding="same"), L.AveragePooling2D(2),
        L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(),
        L.Flatten(), L.Dense(32, activation="relu"), L.Dropout(0.5), L.Dense(10, activation="softmax"),
    ])


def resnet(K, L, three):
    i = K.Input((32, 32, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.ZeroPadding2D(3)(x)
    x = L.Conv2D(8, 7, strides=2)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.ZeroPadding2D(((1, 1), (1, 1)))(x)
    x = L.MaxPooling2D(3, strides=2)(x)
    for filters, strides in [(8, 1), (16, 2), (16, 1)]:
        y = L.ReLU()(conv_bn(L, x, filters, strides=strides))
        y = conv_bn(L, y, filters)
        short = x if strides == 1 else conv_bn(L, x, filters, 1, strides=strides)
        x = L.ReLU()(L.Add()([y, short]))
    x = L.GlobalAveragePooling2D()(x)
    return K.Model(i, L.Dense(5)(x))


def mobilenet(K, L, three):
    """Depthwise convolutions, squeeze and excitation."""
    i = K.Input((24, 24, 3))
    x = L.ReLU(6.0)(conv_bn(L, i, 8, strides=2))
    for filters, strides in [(12, 1), (16, 2)]:
        x = L.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = L.Activation("relu6")(L.BatchNormalization()(x))
        s = L.GlobalAveragePooling2D(keepdims=True)(x)
        s = L.Conv2D(4, 1, activation="relu")(s)
        s = L.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(s)
        x = L.Multiply()([x, s])
        x = L.LeakyReLU(0.1)(conv_bn(L, x, filters, 1))
    g = L.GlobalAveragePooling2D()(x)
    g = L.Reshape((1, 1, 16))(g)
    x = L.Multiply()([x, L.Conv2D(16, 1, activation="sigmoid")(g)])
    x = L.GlobalMaxPooling2D(keepdims=True)(x)
    x = L.Conv2D(7, 1)(x)
    return K.Model(i, L.Softmax()(L.Reshape((7,))(x)))


def unet(K, L, three):
    """Two outputs, upsampling and transposed convolutions, concatenations."""
    i = K.Input((16, 12, 2), name="map")
    a = L.Conv2D(4, 3, padding="same", activation="elu")(i)
    b = L.Conv2D(6, 3, strides=2, padding="same", activation="swish")(a)
    c = L.SeparableConv2D(8, 3, strides=(2, 2), padding="same", activation="gelu")(b)
    d = L.Conv2DTranspose(6, 3, strides=2, padding="same")(c)
    d = L.Concatenate()([d, b])
    e = L.UpSampling2D(2, interpolation="bilinear")(d)
    f = L.UpSampling2D((2, 2))(d)
    e = L.Concatenate(axis=-1)([e, a, f])
    e = L.Cropping2D(((1, 2), (0, 3)))(e)
    mask = L.Conv2D(1, 1, activation="sigmoid", name="mask")(e)
    side = L.Conv2DTranspose(3, 4, strides=3, padding="valid", name="side")(c)
    return K.Model(i, [mask, side])


def inputs(K, L, three):
    """Two inputs, merges of all kinds, nested models, a shared layer."""
    a, b = K.Input((6, 6, 4), name="left"), K.Input((6, 6, 4), name="right")
    shared = L.Conv2D(4, 3, padding="same", name="shared")
    x, y = shared(a), shared(b)
    inner_in = K.Input((6, 6, 4))
    inner = K.Model(inner_in, L.ReLU()(conv_bn(L, inner_in, 4)), name="inner")
    deep_in = K.Input((6, 6, 4))
    deep = K.Model(deep_in, inner(deep_in), name="deep")
    x = deep(x)
    y = K.Sequential([L.Conv2D(4, 1), L.PReLU(shared_axes=[1, 2])], name="chain")(y)
    z = L.Average()([x, y, a])
    z = L.Maximum()([z, L.Subtract()([x, y])])
    z = L.Minimum()([z, L.Average()([x, b])])
    z = L.PReLU()(z)
    return K.Model([a, b], [L.Flatten()(z), L.GlobalAveragePooling2D()(y)])


def windows(K, L, three):
    """Strides, dilations, groups and sizes that TensorFlow pads unevenly."""
    i = K.Input((11, 14, 4))
    outputs = [
        L.Conv2D(6, (3, 2), strides=(2, 3), padding="same")(i),
        L.Conv2D(6, 3, dilation_rate=(2, 3), padding="same")(i),
        L.Conv2D(6, 4, groups=2, padding="same")(i),
        L.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same")(i),
        L.MaxPooling2D(3, strides=2, padding="same")(i),
        L.AveragePooling2D((2, 3), strides=(3, 2), padding="same")(i),
        L.Conv2DTranspose(5, 3, strides=1, padding="same")(i),
        L.Conv2DTranspose(5, 2, strides=3, padding="same")(i),
        L.Conv2DTranspose(5, (5, 4), strides=2, padding="same")(i),
        L.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1)(i),
        L.Conv2DTranspose(5, 3, strides=2, padding="valid", output_padding=1)(i),
        L.Conv2DTranspose(5, 2, strides=3, padding="valid")(i),
        L.SeparableConv2D(5, 3, depth_multiplier=2, dilation_rate=2, padding="same")(i),
    ]
    return K.Model(i, outputs)


def functions(K, L, three):
    """Activations by name, by layer, and with their settings."""
    i = K.Input((5, 4, 3))
    names = ["relu", "sigmoid", "tanh", "softmax", "elu", "selu", "swish", "gelu", "softplus", "softsign",
             "hard_sigmoid", "exponential", "linear"]
    outputs = [L.Activation(name)(i) for name in names]
    outputs += [
        L.ReLU(max_value=1.0)(i), L.ReLU(negative_slope=0.2)(i), L.ReLU(threshold=0.3)(i),
        L.ReLU(max_value=0.8, negative_slope=0.1, threshold=0.25)(i),
        L.ReLU(max_value=0.8, negative_slope=0.1)(i),
        L.LeakyReLU(0.15)(i), L.ELU(alpha=0.5)(i), L.PReLU()(i), L.Softmax(axis=1)(i),
    ]
    return K.Model(i, outputs)


def shapes(K, L, three):
    i = K.Input((4, 6, 3))
    x = L.Conv2D(5, 3, padding="same")(i)
    outputs = [
        L.Reshape((12, -1))(x), L.Permute((2, 1, 3))(x), L.Permute((3, 1, 2))(x), L.Flatten()(x),
        L.Reshape((2, 3, 12))(i), L.ZeroPadding2D(((0, 1), (2, 0)))(x), L.Cropping2D(1)(x),
        L.Dense(4, activation="relu")(x), L.Dense(4)(i), L.Softmax(axis=[-1])(x),
        L.LayerNormalization()(x), L.LayerNormalization(axis=-1, center=False, epsilon=1e-2)(i),
        L.BatchNormalization(scale=False)(x), L.BatchNormalization(center=False)(i),
        L.BatchNormalization(axis=1)(i),
        L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5])(i),
        L.Rescaling([0.5, 2.0, 3.0], offset=[1.0, 0.0, -1.0])(i),
        L.Concatenate(axis=1)([x, x]), L.MaxPooling2D(1)(x),
    ]
    return K.Model(i, outputs)


def sequences(K, L, three):
    i = K.Input((16, 3), name="signal")
    x = L.Conv1D(6, 3, padding="causal", dilation_rate=2)(i)
    x = L.BatchNormalization()(x)
    x = L.ReLU()(x)
    x = L.MaxPooling1D()(x)
    x = L.SeparableConv1D(5, 3, padding="same")(x)
    x = L.AveragePooling1D(2, padding="same")(x)
    x = L.ZeroPadding1D((1, 2))(x)
    x = L.Dense(4)(x)
    return K.Model(i, [L.GlobalAveragePooling1D()(x), L.Flatten()(x), L.GlobalMaxPooling1D()(x)])


def transformer(K, L, three):
    """A small vision transformer."""
    i = K.Input((8, 8, 3))
    x = L.Conv2D(12, 4, strides=4)(i)
    x = L.Reshape((4, 12))(x)
    for _ in range(2):
        y = L.LayerNormalization(epsilon=1e-6)(x)
        y = L.MultiHeadAttention(3, 5, output_shape=12)(y, y)
        x = L.Add()([x, y])
        y = L.LayerNormalization(epsilon=1e-6)(x)
        y = L.Dense(16, activation="gelu")(y)
        x = L.Add()([x, L.Dense(12)(y)])
    y = L.MultiHeadAttention(2, 6, value_dim=3, use_bias=False)(x, x, key=L.Dense(12)(x))
    return K.Model(i, [L.Dense(3)(L.GlobalAveragePooling1D()(x)), y])


def cube(K, L, three):
    i = K.Input((4, 6, 6, 2))
    x = L.Conv3D(3, 3, padding="same", activation="relu")(i)
    x = L.MaxPooling3D()(L.ZeroPadding3D(1)(x))
    x = L.AveragePooling3D((1, 2, 2))(x)
    return K.Model(i, L.Flatten()(x))


def operators(K, L, three):
    """Functions that are called on values."""
    import tensorflow as tf

    i = K.Input((6, 4, 3))
    x = L.Conv2D(4, 3, padding="same")(i)
    if three:
        o = K.ops
        relu, relu6, leaky, gelu, silu = o.relu, o.relu6, o.leaky_relu, o.gelu, o.silu
        transpose, reshape, concat, mean = o.transpose, o.reshape, o.concatenate, o.mean
    else:
        relu, relu6, leaky, gelu, silu = tf.nn.relu, tf.nn.relu6, tf.nn.leaky_relu, tf.nn.gelu, tf.nn.silu
        transpose, reshape, concat, mean = tf.transpose, tf.reshape, tf.concat, tf.reduce_mean
    y = relu(x) + relu6(x) * 2.0
    y = 1.0 - y / 3.0 + leaky(x, 0.3)
    y = gelu(y) + silu(x) + np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    t = transpose(y, (0, 2, 1, 3))
    r = reshape(t, (-1, 24, 4))
    c = concat([r, r * 0.5], axis=-1)
    m = mean(y, axis=[1, 2])
    return K.Model(i, [c, m, mean(y, axis=-1, keepdims=True), r[:, 0], r[:, 1:-1:2, :2], t])


def first(K, L, three):
    """Channels first, as far as TensorFlow computes it without a GPU."""
    i = K.Input((3, 8, 6))
    x = L.ZeroPadding2D(1, data_format="channels_first")(i)
    x = L.BatchNormalization(axis=1)(x)
    return K.Model(i, [L.GlobalAveragePooling2D(data_format="channels_first")(x),
                       L.UpSampling2D(2, data_format="channels_first")(x),
                       L.Flatten(data_format="channels_first")(x)])


NETS = [lenet, resnet, mobilenet, unet, inputs, windows, functions, shapes, sequences, transformer, cube, operators, first]


APPLICATIONS = {
    "MobileNet": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "EfficientNetB0": 64, "EfficientNetV2B0": 64,
    "ResNet50": 64, "DenseNet121": 64, "Xception": 96, "InceptionV3": 96, "NASNetMobile": 64, "ConvNeXtTiny": 64,
}


def application(name):
    def build(K, L, three):
        return getattr(K.applications, name)(input_shape=(APPLICATIONS[name],) * 2 + (3,), weights=None)

    build.__name__ = name
    return build


def randomize(model, rng):
    """Weights of the sizes that training gives; scales and variances above zero."""
    values = []
    for weight in model.weights:
        name = getattr(weight, "path", None) or weight.name
        value = rng.normal(0, 0.3, weight.shape)
        if any(part in name for part in ("gamma", "variance")):
            value = np.abs(value) + 0.5
        elif "kernel" in name and len(weight.shape) > 1:
            value = rng.normal(0, 1 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)
        values.append(value.astype(np.float32))
    model.set_weights(values)


def names_of(weight):
    name = getattr(weight, "path", None) or weight.name
    return name.replace("/", "|")


def name_of_input(value):
    history = value._keras_history
    return (history.operation if hasattr(history, "operation") else history.layer).name


def save(model, directory, stem, forms=("keras", "h5", "json")):
    """The files, by format. Names of weights that are there twice have no place in an `.npz`."""
    files = {form: directory / f"{stem}.{form}" for form in forms}
    for form in set(forms) & {"keras", "h5"}:
        model.save(files[form])
    if "json" in forms:
        names = [names_of(weight) for weight in model.weights]
        if len(set(names)) < len(names):
            del files["json"]
        else:
            files["json"].write_text(model.to_json())
            # An archive without arrays is none.
            arrays = dict(zip(names, (np.asarray(w) for w in model.get_weights())))
            np.savez(directory / f"{stem}.npz", **(arrays or {"none": np.zeros(1, np.float32)}))
    return files


def run(qirc, file, feeds, directory):
    argv = [qirc, "run", file, "--output-dir", directory / "out"]
    for name, array in feeds.items():
        np.save(directory / f"{name}.npy", array)
        argv += ["--input", f"{name}={directory / name}.npy"]
    for old in (directory / "out").glob("*.npy"):
        old.unlink()
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[:400]}")
    # One line an output, in order: its name, type and sizes.
    names = [line.rsplit(": ", 1)[0] for line in done.stdout.strip().splitlines()]
    return [np.load(next((directory / "out").glob(f"{name.replace('/', '_')}.npy"))) for name in names]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--keras", type=int, choices=[2, 3], default=3)
    args.add_argument("--only")
    args.add_argument("--keep", type=pathlib.Path)
    args.add_argument("--applications", action="store_true")
    args = args.parse_args()
    if args.keras == 3:
        import keras as K
    else:
        import tf_keras as K
    faults = compared = 0
    with tempfile.TemporaryDirectory() as tmp:
        tmp = args.keep or pathlib.Path(tmp)
        tmp.mkdir(exist_ok=True)
        for build in NETS + [application(name) for name in APPLICATIONS if args.applications]:
            if args.only not in (None, build.__name__):
                continue
            K.backend.clear_session()
            model = build(K, K.layers, args.keras == 3)
            rng = np.random.default_rng(1)
            randomize(model, rng)
            feeds = {name_of_input(i): rng.normal(0, 1, (2, *i.shape[1:])).astype(np.float32)
                     for i in model.inputs}
            expected = model.predict(list(feeds.values()), verbose=0)
            expected = expected if isinstance(expected, list) else [expected]
            for form, file in save(model, tmp, build.__name__).items():
                try:
                    found = run(args.qirc, file, feeds, tmp)
                    worst = 0.0
                    if len(found) != len(expected):
                        raise RuntimeError(f"{len(found)} outputs instead of {len(expected)}")
                    for at, (a, b) in enumerate(zip(found, expected)):
                        if a.shape != b.shape:
                            raise RuntimeError(f"output {at} has sizes {a.shape} instead of {b.shape}")
                        error = float(np.abs(a - b).max() / max(1, np.abs(b).max()))
                        if error > TOLERANCE:
                            raise RuntimeError(f"output {at} differs by {error:.1e}")
                        worst = max(worst, error)
                    compared += len(found)
                    print(f"{build.__name__}.{form}: {len(found)} outputs, {worst:.1e}")
                except RuntimeError as error:
                    faults += 1
                    print(f"{build.__name__}.{form}: {error}")
    print(f"Keras {K.__version__}: {compared} outputs agree, {faults} files do not")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
