#!/usr/bin/env python3
"""Runs networks of the scheme fixed-point in onnxruntime, and compares every output with qirc's, bit for bit.

usage: fixed_point.py --qirc BIN [--rounds N] [--seed N] [--only SUBSTR]

Random networks of every layer, with random sizes, attributes and numbers of bits, are quantized by `BIN compile --scheme
fixed-point`; what `BIN run` gives for the text and for the file, and what onnxruntime gives for the file, has to be equal.
Prints a table and exits with 1 where something differs. Networks that qirc refuses in words, or that stay float in part,
are counted apart.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

PIPELINE = "calibrate{scheme=fixed-point}, quantize{scheme=fixed-point}"


class Net:
    """A network under construction, as text: layers are called in their float form."""

    def __init__(self, rng, shape):
        self.rng, self.lines, self.data, self.count = rng, [], [], 0
        self.shape = shape
        self.x = self.input = "%x"

    def name(self):
        self.count += 1
        return f"%v{self.count}"

    def const(self, *sizes, scale=0.5, low=None):
        values = self.rng.normal(0, scale, sizes) if low is None else self.rng.uniform(low, scale, sizes)
        name = f"w{len(self.data)}"
        flat = ", ".join(repr(float(np.float32(v))) for v in np.ravel(values))
        self.data.append(f"data @{name} : f32{list(sizes)} = [{flat}]")
        self.lines.append(f"  %{name} = const @{name} : f32{list(sizes)}")
        return f"%{name}"

    def op(self, op, shape, *operands, **attrs):
        result = self.name()
        written = ", ".join(f"{k} = {json.dumps(v)}" for k, v in attrs.items())
        written = f" {{{written}}}" if written else ""
        sizes = ", ".join(["N", *map(str, shape)])
        self.lines.append(f"  {result} = {op} {', '.join(operands)}{written} : f32[{sizes}]")
        return result

    def then(self, op, shape, *operands, **attrs):
        self.x = self.op(op, shape, self.x, *operands, **attrs)
        self.shape = shape

    def text(self):
        shape = ", ".join(["N", *map(str, self.first)])
        result = ", ".join(["N", *map(str, self.shape)])
        body = "\n".join(self.lines)
        data = "\n".join(self.data)
        return (
            f"qir 1\n\ngraph @net(%x: f32[{shape}]) -> (%y: f32[{result}]) {{\n{body}\n  return {self.x}\n}}\n\n{data}\n"
        )

    def conv(self, op="Conv2D", kernel=None):
        c, h, w = self.shape
        rng = self.rng
        k = [int(rng.integers(1, 4)) for _ in range(2)] if kernel is None else kernel
        strides = [int(rng.integers(1, 3)) for _ in range(2)]
        dilations = [int(rng.integers(1, 3)) for _ in range(2)]
        pads = [int(rng.integers(0, 2)) for _ in range(4)]
        size = lambda i, s: (s + pads[i] + pads[2 + i] - (k[i] - 1) * dilations[i] - 1) // strides[i] + 1
        out = [size(0, h), size(1, w)]
        if min(out) < 1 or h + pads[0] + pads[2] <= (k[0] - 1) * dilations[0]:
            return self.conv(op, [1, 1])
        f = c if op == "DepthwiseConv2D" else int(rng.integers(1, 7))
        attrs = {"strides": strides, "dilations": dilations, "pads": pads}
        bias = [self.const(f)] if rng.random() < 0.7 else []
        if op == "Conv2D":
            self.then(op, [f, *out], self.const(f, c, *k), *bias, **attrs)
        elif op == "DepthwiseConv2D":
            self.then(op, [f, *out], self.const(c, 1, *k), *bias, **attrs)
        else:
            self.then(op, [f, *out], self.const(c, 1, *k), self.const(f, c, 1, 1), *bias, **attrs)

    def transposed(self, op):
        c, h, w = self.shape
        rng = self.rng
        s = [int(rng.integers(1, 3)) for _ in range(2)]
        k = [int(rng.integers(max(1, s[i]), 4)) for i in range(2)]
        pads = [int(rng.integers(0, max(1, k[i % 2] // 2 + 1))) for i in range(4)]
        more = [int(rng.integers(0, s[i])) for i in range(2)]
        out = [(n - 1) * s[i] + k[i] + more[i] - pads[i] - pads[2 + i] for i, n in enumerate([h, w])]
        if min(out) < 1:
            pads, out = [0] * 4, [(n - 1) * s[i] + k[i] + more[i] for i, n in enumerate([h, w])]
        f = c if op == "DepthwiseConv2DTranspose" else int(rng.integers(1, 5))
        kernel = self.const(c, 1, *k) if op == "DepthwiseConv2DTranspose" else self.const(c, f, *k)
        bias = [self.const(f)] if rng.random() < 0.7 else []
        self.then(op, [f, *out], kernel, *bias, strides=s, pads=pads, output_padding=more)

    def relu(self):
        most = []
        if self.rng.random() < 0.5:
            name = f"w{len(self.data)}"
            self.data.append(f"data @{name} : f32[] = [{float(np.float32(self.rng.uniform(0.5, 6)))}]")
            self.lines.append(f"  %{name} = const @{name} : f32[]")
            most = [f"%{name}"]
        self.then("ReLU", self.shape, *most)

    def dense(self, units=None):
        i, f = self.shape[-1], units or int(self.rng.integers(1, 8))
        bias = [self.const(f)] if self.rng.random() < 0.7 else []
        self.then("Dense", [*self.shape[:-1], f], self.const(i, f), *bias)


def image(rng):
    net = Net(rng, [int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9))])
    net.first = net.shape
    return net


def tokens(rng, hidden=None):
    net = Net(rng, [int(rng.integers(1, 5)), hidden or int(rng.integers(2, 9))])
    net.first = net.shape
    return net


def first(net):
    net.conv()
    net.relu()


def conv(rng):
    net = image(rng)
    first(net)
    net.conv()
    return net


def depthwise(rng):
    net = image(rng)
    first(net)
    net.conv("DepthwiseConv2D")
    net.conv()
    return net


def separable(rng):
    net = image(rng)
    first(net)
    net.conv("SeparableConv2D")
    return net


def transposed(rng):
    net = image(rng)
    first(net)
    net.transposed(rng.choice(["Conv2DTranspose", "DepthwiseConv2DTranspose"]))
    net.relu()
    net.conv()
    return net


def head(rng):
    net = image(rng)
    first(net)
    c, h, w = net.shape
    if rng.random() < 0.5 and min(h, w) > 1:
        net.then("MaxPool2D", [c, (h - 2) // 2 + 1, (w - 2) // 2 + 1], kernel_shape=[2, 2], strides=[2, 2])
    if rng.random() < 0.5:
        net.then("GlobalAveragePooling2D", [c, 1, 1])
    net.then("Flatten", [int(np.prod(net.shape))])
    net.dense()
    net.relu()
    net.dense()
    return net


def join(rng):
    net = image(rng)
    first(net)
    c, h, w = net.shape
    x = net.x
    net.then("Conv2D", net.shape, net.const(c, c, 1, 1))
    a, net.x = net.x, x
    net.then("Conv2D", net.shape, net.const(c, c, 1, 1))
    b = net.x
    if rng.random() < 0.6:
        net.x = net.op("Add", net.shape, a, b, average=bool(rng.random() < 0.5))
    else:
        net.x = net.op("Concatenate", [2 * c, h, w], a, b, axis=1)
        net.shape = [2 * c, h, w]
    net.conv()
    return net


def norm(rng):
    net = image(rng)
    first(net)
    net.then("BatchNormalization", net.shape, net.const(net.shape[0]), net.const(net.shape[0]))
    net.relu()
    net.conv()
    return net


def function(rng):
    net = image(rng)
    net.conv()
    name = str(rng.choice(["gelu", "swish", "hard_swish", "leaky_relu"]))
    net.then("Activation", net.shape, activation=name, **({"alpha": 0.25} if name == "leaky_relu" else {}))
    net.conv()
    return net


def rescaling(rng):
    net = image(rng)
    net.then("Rescaling", net.shape, scale=float(np.float32(rng.uniform(-1, 1))))
    net.conv()
    return net


def transformer(rng):
    heads, size = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    hidden = heads * size
    net = tokens(rng)
    net.dense(hidden)
    t = net.shape[0]
    if rng.random() < 0.5:
        t += 1
        net.then("ClassToken", [t, hidden], net.const(1, 1, hidden))
    net.then("AddPositionEmbs", [t, hidden], net.const(1, t, hidden))
    x = net.x
    net.then("LayerMadNormalization", net.shape, net.const(hidden, low=0.5, scale=1.5), net.const(hidden))
    normal = net.x
    parts = []
    for _ in range(3):
        net.x = normal
        net.dense(hidden)
        parts.append(net.x)
    net.x = net.op("Attention", net.shape, *parts, num_heads=heads, softmax="shiftmax")
    net.dense(hidden)
    net.x = net.op("Add", net.shape, net.x, x)
    if rng.random() < 0.5:
        index = net.count
        net.data.append(f"data @i{index} : i64[] = [0]")
        net.lines.append(f"  %i{index} = const @i{index} : i64[]")
        net.then("gather", [hidden], f"%i{index}", axis=1)
    net.dense()
    return net


def shiftmax(rng):
    net = tokens(rng)
    net.dense()
    net.then("Shiftmax", net.shape, axis=int(rng.integers(1, 3)))
    net.dense()
    return net


KINDS = [conv, depthwise, separable, transposed, head, join, norm, function, rescaling, transformer, shiftmax]


def call(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode > 1:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[:800]}")
    return done.returncode, done.stderr if done.returncode else done.stdout


def bits(rng):
    wish = lambda low, high: str(int(rng.integers(low, high + 1)))
    flags = []
    if rng.random() < 0.7:
        flags += ["--weight-bits", wish(2, 10), "--activation-bits", wish(2, 12), "--output-bits", wish(4, 16)]
    if rng.random() < 0.5:
        flags += ["--last-output-bits", wish(4, 16)]
    if rng.random() < 0.3:
        flags += ["--scale-bits", wish(2, 16)]
    if rng.random() < 0.5:
        flags += ["--per-tensor-activations"]
    flags += ["--input-dtype", str(rng.choice(["uint8", "int8"]))]
    return flags


def outputs(folder):
    index = json.loads((folder / "values.json").read_text())
    return {name: np.load(folder / entry["file"]) for name, entry in index.items()}


def compare(qirc, kind, seed, tmp):
    rng = np.random.default_rng(seed)
    net = kind(rng)
    text, out = tmp / "net.qir", tmp / "net.q.onnx"
    text.write_text(net.text())
    samples = rng.normal(0, 1, [6, *net.first]).astype(np.float32)
    np.save(tmp / "samples.npy", samples)
    flags = bits(rng)
    code, found = call(
        qirc, "compile", text, "--scheme", "fixed-point", "--pipeline", PIPELINE, "--samples", tmp / "samples.npy",
        *flags, "--emit", "onnx,qir", "-o", out,
    )  # fmt: skip
    if code:
        return "refused", found.splitlines()[0]
    if " 0 operators stay float" not in found:
        # Float sums are not those of onnxruntime.
        return "float", found.split("stay float:")[-1].strip().splitlines()[0]
    x = (rng.normal(0, 1.5, [5, *net.first])).astype(np.float32)
    np.save(tmp / "x.npy", x)
    for model, folder in ((out.with_suffix(".qir"), tmp / "text"), (out, tmp / "file")):
        code, found = call(qirc, "run", model, "--input", f"x={tmp / 'x.npy'}", "--output-dir", folder)
        if code:
            return "refused", found.splitlines()[0]
    ours, file = outputs(tmp / "text"), outputs(tmp / "file")
    onnx.checker.check_model(onnx.load(out))
    theirs = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]
    for other in (file["y"], theirs):
        if other.shape != ours["y"].shape or not np.array_equal(other, ours["y"], equal_nan=True):
            far = np.abs(other - ours["y"]).max() if other.shape == ours["y"].shape else "shape"
            return "differs", f"seed {seed} {' '.join(flags)}: {far}"
    return "equal", ""


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--rounds", type=int, default=12)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--only", default="")
    args = args.parse_args()
    table = {}
    reasons = collections.Counter()
    with tempfile.TemporaryDirectory() as tmp:
        for kind in (kind for kind in KINDS if args.only in kind.__name__):
            counts = table.setdefault(kind.__name__, collections.Counter())
            for seed in range(args.seed, args.seed + args.rounds):
                what, why = compare(args.qirc, kind, seed, pathlib.Path(tmp))
                counts[what] += 1
                if what == "differs":
                    print(f"{kind.__name__}: {why}")
                elif what != "equal":
                    reasons[f"{what}: {kind.__name__}: {why}"] += 1
    for reason, count in reasons.most_common(20):
        print(f"{count} {reason}")
    columns = ("equal", "float", "refused", "differs")
    print(f"{'network':14}" + "".join(f"{column:>9}" for column in columns))
    for name, counts in table.items():
        print(f"{name:14}" + "".join(f"{counts[column]:9}" for column in columns))
    differs = sum(counts["differs"] for counts in table.values())
    return 1 if differs or not any(counts["equal"] for counts in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
