#!/usr/bin/env python3
"""Quantizes networks with QuantizeML, saves them in every format, and compares what it and qirc compute, bit by bit.

usage: keras_quantized.py --qirc BIN [--only NAME]
       keras_quantized.py --fixtures DIR

QuantizeML is the package `quantizeml`, of release 1.2. With --fixtures, some of the files are written with inputs and what
QuantizeML computes from them: `tests/data/keras_quantized`.
"""
import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import quantizeml.layers as Q
import tf_keras as K
from quantizeml.models import QuantizationParams, quantize

import keras_files

L = K.layers


def image():
    """Convolutions of all kinds, a branch, and ends that are vectors."""
    i = K.Input((8, 8, 3), name="image")
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", strides=2)(i)))
    y = L.Conv2D(6, 1)(L.ReLU(6.0)(L.Conv2D(6, 3, padding="same")(x)))
    x = L.ReLU()(L.Add()([x, y]))
    x = L.ReLU()(L.DepthwiseConv2D(3, padding="same")(x))
    x = L.ReLU()(L.MaxPool2D()(L.SeparableConv2D(8, 3, padding="same")(x)))
    x = L.ReLU()(L.Conv2DTranspose(4, 3, strides=2, padding="same")(x))
    x = L.ReLU()(L.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x))
    x = L.ReLU()(L.Dense(10)(L.GlobalAveragePooling2D()(x)))
    return K.Model(i, L.Dense(5, name="classes")(x))


def maps():
    """Tables, concatenated maps, transposed convolutions, pads that are not even."""
    i = K.Input((8, 8, 4), name="image")
    x = L.Activation("swish")(L.Conv2D(6, 3, padding="same", dilation_rate=2)(i))
    y = Q.Activation("hard_silu")(L.Conv2D(6, 3, padding="same")(x))
    z = L.ReLU()(L.Conv2D(6, 1)(x))
    x = L.Conv2D(4, 3)(L.Concatenate()([y, z]))
    x = L.ReLU()(L.MaxPool2D(3, strides=2, padding="same")(x))
    x = L.ReLU()(Q.DepthwiseConv2DTranspose(3, strides=2, padding="same")(x))
    x = L.ReLU(3.0)(L.Conv2DTranspose(5, 4, strides=2, output_padding=1)(x))
    x = L.Reshape((5,))(L.GlobalAveragePooling2D(keepdims=True)(x))
    return K.Model(i, L.Dense(3, name="classes")(x))


def tokens():
    """The perceptrons of a transformer: sums of what layers read and give, and a token taken out."""
    i = K.Input((6, 8), name="tokens")
    x = L.Dense(16)(i)
    x = L.Add()([x, L.Dense(16)(L.Activation("gelu")(L.Dense(16)(x)))])
    y = L.Dense(16)(L.ReLU()(L.Dense(24)(x)))
    x = Q.ExtractToken(token=0, axis=1)(L.Concatenate()([x, y]))
    return K.Model(i, L.Dense(3, name="classes")(L.Flatten()(x)))


def pixels():
    """Integers at the input, one layer after the other."""
    return K.Sequential([
        K.Input((6, 6, 2), dtype="uint8", name="pixels"), L.Rescaling(1 / 255.0),
        L.Conv2D(4, 3, name="conv"), L.LeakyReLU(0.1), L.DepthwiseConv2D(3, strides=2), L.ReLU(), L.Permute((2, 1, 3)),
        L.Reshape((1, 4)), L.Dense(4), L.ReLU(), L.Dropout(0.1), L.Flatten(), L.Dense(2, name="classes"),
    ])


def dense_map():
    """Dense layers over maps, and a map at the end."""
    i = K.Input((5, 5, 3), name="image")
    x = L.ReLU()(L.Dense(6)(L.ReLU()(L.Conv2D(4, 3)(i))))
    return K.Model(i, L.Dense(2, name="classes")(x))


# One scale for all weights of a layer.
coarse = {
    "conv": {
        "weight_quantizer": {"bitwidth": 6, "axis": None},
        "output_quantizer": {"bitwidth": 11, "axis": "per-tensor", "scale_bits": 6},
    },
    "classes": {"weight_quantizer": {"bitwidth": 5, "axis": None}},
}
four = dict(activation_bits=4, weight_bits=4, input_dtype="int8", last_output_bits=16)
NETWORKS = {
    "image": (image, {}),
    "image4": (image, four),
    "maps": (maps, dict(input_dtype="int8")),
    "tokens": (tokens, {}),
    "pixels": (pixels, dict(per_tensor_activations=True, q_config=coarse)),
    "dense_map": (dense_map, {}),
}
FIXTURES = [("image", "h5"), ("dense_map", "keras"), ("tokens", "json"), ("pixels", "json")]


def quantized(name):
    """The quantized model, inputs, and what it makes of them."""
    build, params = NETWORKS[name]
    K.backend.clear_session()
    K.utils.set_random_seed(1)
    model = build()
    rng = np.random.default_rng(2)
    keras_files.randomize(model, rng)

    def some(count):
        shape = (count, *model.input_shape[1:])
        if model.input.dtype == "uint8":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.normal(0, 1, shape).astype(np.float32)

    params = dict(params)
    config = params.pop("q_config", None)
    params = QuantizationParams(**params)
    model = quantize(model, samples=some(32), num_samples=32, batch_size=8, q_config=config, qparams=params)
    x = some(4)
    return model, x, model(x).numpy()


def write_fixtures(directory):
    for name, form in FIXTURES:
        model, x, y = quantized(name)
        case = directory / f"{name}-{form}"
        for part, owner, array in [("in", model.inputs[0].node.layer.name, x), ("out", model.layers[-1].name, y)]:
            (case / part).mkdir(parents=True, exist_ok=True)
            np.save(case / part / f"{owner}.npy", array)
        keras_files.save(model, case, "model", [form])


def compare(qirc, name):
    model, x, y = quantized(name)
    equal = True
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for form, file in keras_files.save(model, directory, name).items():
            found, = keras_files.run(qirc, file, {model.inputs[0].node.layer.name: x}, directory)
            same = np.array_equal(found, y)
            print(f"{name}.{form}: {'equal' if same else 'differs'}")
            equal &= same
    return equal


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", type=pathlib.Path)
    args.add_argument("--only", choices=NETWORKS)
    args.add_argument("--fixtures", type=pathlib.Path)
    args = args.parse_args()
    if args.fixtures:
        write_fixtures(args.fixtures)
    if args.qirc:
        names = [args.only] if args.only else NETWORKS
        raise SystemExit(not all([compare(args.qirc, name) for name in names]))


if __name__ == "__main__":
    main()
