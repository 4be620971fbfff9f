#!/usr/bin/env python3
"""Runs ONNX's own tests of single operators, the backend node tests of the `onnx` package.

usage: backend.py --qirc BIN [--only SUBSTR] [--ops A,B] [--jobs N] [--why]

Every test is a model with inputs and the outputs that the operator's definition gives. `BIN run` has to give
them, in shape, type and value within the test's own tolerance, or refuse the model in words: a wrong answer, a
panic or silence fails. Prints a table of operators; exits 1 if any test failed. --why prints the refusals, too.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

# What a .npy file holds.
PLAIN = "?bhilqBHILQefd"
# Their outputs are drawn at random.
RANDOM = ("test_training_dropout", "test_bernoulli", "test_random")


def tested(case):
    """The operator under test: the only one, or the one that the test is called after."""
    ops = sorted({node.op_type for node in case.model.graph.node})
    name = case.name.removeprefix("test_").replace("_", "")
    called = [op for op in ALL_OPS if name.startswith(op.lower())]
    if len(ops) == 1 and "_expanded" not in case.name:
        return ops[0]
    return max(called, key=len, default=ops[0] if ops else "")


ALL_OPS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})


def array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, (np.generic, int, float)) else value


def load(case):
    """The test with its model and data at hand, wherever the package keeps them."""
    if case.model is None:
        folder = pathlib.Path(case.model_dir)
        case.model = onnx.load(folder / "model.onnx")
        case.data_sets = []
        for data in sorted(folder.glob("test_data_set_*")):
            read = lambda kind: [
                onnx.load_tensor(file)
                for file in sorted(data.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.rsplit("_", 1)[1]))
            ]
            try:
                case.data_sets.append((read("input"), read("output")))
            except Exception:  # sequences and optionals are not tensors
                case.data_sets.append(([None], [None]))
    return case


def differs(ours, want, case):
    if ours.shape != want.shape or ours.dtype != want.dtype:
        return f"{ours.dtype}{list(ours.shape)}, not {want.dtype}{list(want.shape)}"
    if want.dtype.kind == "f":
        far = ~np.isclose(ours, want, rtol=case.rtol, atol=case.atol, equal_nan=True)
    else:
        far = ours != want
    if not far.any():
        return None
    at = tuple(np.argwhere(far)[0]) if far.ndim else ()
    return f"{int(far.sum())} of {far.size} elements differ, the first {ours[at]}, not {want[at]}"


def call(argv):
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, errors="replace", timeout=60)
    if done.returncode == 0:
        return None
    if done.returncode in (1, 2) and done.stderr.strip() and "panicked" not in done.stderr:
        return "refused", done.stderr.strip()
    return "failed", f"exit {done.returncode}: {done.stderr.strip()}"


def verdict(qirc, case):
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        model = tmp / "model.onnx"
        onnx.save(case.model, model)
        for inputs, outputs in case.data_sets:
            inputs, outputs = [array(v) for v in inputs], [array(v) for v in outputs]
            writable = all(isinstance(v, np.ndarray) and v.dtype.char in PLAIN for v in inputs)
            if not writable:
                # Types that no input file can have: the model itself is what is refused.
                return call([qirc, "import", model, "-o", tmp / "model.qir"]) or ("failed", "taken, and cannot be run")
            argv = [qirc, "run", model, "--output-dir", tmp / "out"]
            stored = {tensor.name for tensor in case.model.graph.initializer}
            names = [v.name for v in case.model.graph.input if v.name not in stored]
            if len(names) != len(inputs):
                names = [v.name for v in case.model.graph.input]
            for at, (name, value) in enumerate(zip(names, inputs)):
                np.save(tmp / f"{at}.npy", value)
                argv += ["--input", f"{name}={tmp / f'{at}.npy'}"]
            said = call(argv)
            if said:
                return said
            index = json.loads((tmp / "out" / "values.json").read_text())
            for output, want in zip(case.model.graph.output, outputs):
                if not isinstance(want, np.ndarray) or want.dtype.char not in PLAIN:
                    return "failed", f"{output.name}: given, and is of no type that can be compared"
                fault = differs(np.load(tmp / "out" / index[output.name]["file"]), want, case)
                if fault:
                    return "failed", f"{output.name}: {fault}"
    return "passed", ""


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--only", default="")
    args.add_argument("--ops", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--why", action="store_true")
    args = args.parse_args()
    warnings.simplefilter("ignore")  # the tests' own arithmetic overflows on purpose
    cases = [load(case) for case in load_model_tests(kind="node") if args.only in case.name]
    cases = [case for case in cases if not case.name.startswith(RANDOM)]
    cases = [(tested(case), case) for case in sorted(cases, key=lambda case: case.name)]
    wanted = args.ops.split(",") if args.ops else None
    cases = [(op, case) for op, case in cases if wanted is None or op in wanted]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        verdicts = list(pool.map(lambda case: verdict(args.qirc, case[1]), cases))
    table = collections.defaultdict(collections.Counter)
    for (op, case), (what, why) in zip(cases, verdicts):
        table[op][what] += 1
        if what == "failed" or args.why and what == "refused":
            print(f"{what} {op} {case.name}: {why if what == 'failed' else ' '.join(why.split())}")
    columns = ["passed", "refused", "failed"]
    print(f"{'operator':28}", *(f"{column:>8}" for column in columns))
    for op in sorted(table):
        print(f"{op:28}", *(f"{table[op][column]:8}" for column in columns))
    total = sum(table.values(), collections.Counter())
    print(f"{'total':28}", *(f"{total[column]:8}" for column in columns))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
