#!/usr/bin/env python3
"""Runs the emitted form of integer operators, and of operations on fixed-point numbers, in onnxruntime.

usage: operators.py --qirc BIN [--rounds N]

tests/peers/integers.qir and fixed_operations.qir are written as ONNX by `BIN opt`, checked by onnx.checker, and run on
random inputs that reach the ends of their types; every output must equal what `BIN run` gives for the text and for the file.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

FOLDER = pathlib.Path(__file__).resolve().parent
GRAPHS = [FOLDER / "integers.qir", FOLDER / "fixed_operations.qir"]
# Ranges where a whole storage type would be refused: exponents, biases that leave room for a sum, divisors and
# indices.
RANGES = {"s": (-10, 45), "b": (-(2**20), 2**20), "kb": (-(2**20), 2**20), "d": (1, 2**20), "i": (-2, 1)}


def call(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[:500]}")


def feeds(model, rng):
    for value in model.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        # The batch was 2 in the text.
        sizes = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
        low, high = RANGES.get(value.name, (np.iinfo(dtype).min, np.iinfo(dtype).max))
        yield value.name, rng.integers(low, high, sizes, endpoint=True, dtype=dtype)


def compare(qirc, graph, rounds, tmp):
    """How many values were compared, and how many outputs differ."""
    faults = values = 0
    file = tmp / f"{graph.stem}.onnx"
    call(qirc, "opt", graph, "-p", "rules{files=cleanup}", "-o", file)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for seed in range(rounds):
        feed = dict(feeds(model, np.random.default_rng(seed)))
        inputs = []
        for name, array in feed.items():
            np.save(tmp / f"{name}.npy", array)
            inputs += ["--input", f"{name}={tmp / name}.npy"]
        theirs = session.run(names, feed)
        for source in (graph, file):
            call(qirc, "run", source, *inputs, "--output-dir", tmp / "out")
            index = json.loads((tmp / "out" / "values.json").read_text())
            for name, array in zip(names, theirs):
                ours = np.load(tmp / "out" / index[name]["file"])
                values += array.size
                if ours.dtype != array.dtype or ours.shape != array.shape or (ours != array).any():
                    faults += 1
                    print(f"seed {seed}, {source.name}: {name} differs")
    return values, faults


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--rounds", type=int, default=20)
    args = args.parse_args()
    all_faults = 0
    for graph in GRAPHS:
        with tempfile.TemporaryDirectory() as tmp:
            values, faults = compare(args.qirc, graph, args.rounds, pathlib.Path(tmp))
        print(f"{graph.name}: {args.rounds} rounds, {values} values compared, {faults} faults")
        all_faults += faults
    return 1 if all_faults else 0


if __name__ == "__main__":
    sys.exit(main())
