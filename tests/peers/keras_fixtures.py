#!/usr/bin/env python3
"""Writes the Keras files of tests/data/keras, with inputs and what Keras computes from them.

usage: keras_fixtures.py --keras 2|3 DIR

A case is a directory: the model, `in/NAME.npy`, and `out/NAME.npy` by the names of inputs and outputs.
"""
import argparse
import pathlib

import keras_files
import numpy as np


def image(K, L):
    """Uneven padding, normalizations, pools, and what a file of a classifier has."""
    i = K.Input((7, 6, 2), name="image")
    x = L.Rescaling(0.5, offset=-0.25)(i)
    x = L.Conv2D(3, (3, 2), strides=2, padding="same", use_bias=False, name="conv")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.ReLU(max_value=1.5)(x)
    x = L.MaxPooling2D(2, strides=1, padding="same")(x)
    x = L.Flatten()(x)
    return K.Model(i, L.Dense(3, activation="softmax", name="classes")(x))


def nested(K, L):
    """Two inputs and outputs, a shared layer, a model in a model."""
    a, b = K.Input((4, 4, 2), name="left"), K.Input((4, 4, 2), name="right")
    shared = L.DepthwiseConv2D(2, padding="same", name="shared")
    i = K.Input((4, 4, 2), name="within")
    inner = K.Model(i, L.LeakyReLU(0.25)(L.Conv2D(3, 1, name="conv")(i)), name="inner")
    x, y = inner(shared(a)), inner(shared(b))
    x = L.Concatenate(name="both")([x, y])
    return K.Model([a, b], [L.GlobalAveragePooling2D(name="mean")(x), L.Conv2DTranspose(1, 3, strides=2, name="map")(y)])


def chain(K, L):
    """A sequential model over a sequence."""
    return K.Sequential([
        K.Input((8, 2), name="signal"),
        L.Conv1D(3, 3, padding="causal", name="conv"), L.ELU(), L.AveragePooling1D(2),
        L.LayerNormalization(name="norm"), L.Dense(2, activation="tanh", name="end"),
    ])


def functions(K, L):
    """Functions called on values."""
    i = K.Input((4, 3, 2), name="image")
    x = L.Conv2D(2, 2, padding="same", name="conv")(i)
    if K.__version__.startswith("3"):
        relu, reshape, transpose = K.ops.relu, K.ops.reshape, K.ops.transpose
    else:
        import tensorflow as tf

        relu, reshape, transpose = tf.nn.relu, tf.reshape, tf.transpose
    x = relu(x) * 2.0 + np.array([0.5, -0.5], np.float32)
    x = reshape(transpose(1.0 - x, (0, 2, 1, 3)), (-1, 12, 2))
    return K.Model(i, L.Activation("hard_sigmoid", name="gate")(x[:, 1:11:3]))


CASES = {
    3: [(image, "keras"), (nested, "keras"), (chain, "h5"), (functions, "keras"), (functions, "json")],
    2: [(image, "h5"), (nested, "h5"), (nested, "keras"), (chain, "keras"), (functions, "json")],
}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--keras", type=int, choices=[2, 3], required=True)
    args.add_argument("directory", type=pathlib.Path)
    args = args.parse_args()
    if args.keras == 3:
        import keras as K
    else:
        import tf_keras as K
    for build, form in CASES[args.keras]:
        K.backend.clear_session()
        K.utils.set_random_seed(1)
        model = build(K, K.layers)
        rng = np.random.default_rng(2)
        keras_files.randomize(model, rng)
        case = args.directory / f"{build.__name__}-{form}-{args.keras}"
        (case / "in").mkdir(parents=True, exist_ok=True)
        (case / "out").mkdir(exist_ok=True)
        files = keras_files.save(model, case, "model", [form])
        assert list(files) == [form]
        feeds = []
        for value in model.inputs:
            x = rng.normal(0, 1, (2, *value.shape[1:])).astype(np.float32)
            np.save(case / "in" / f"{keras_files.name_of_input(value)}.npy", x)
            feeds.append(x)
        outputs = model.predict(feeds, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        for name, y in zip(names, outputs):
            np.save(case / "out" / f"{name}.npy", y)


if __name__ == "__main__":
    main()
