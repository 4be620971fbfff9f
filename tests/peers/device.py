#!/usr/bin/env python3
"""Converts emitted files with the vendor's tool, runs them in its simulator, and compares with qirc.

usage: device.py --qirc BIN [--vectors DIR] [--only SUBSTR]

Every recorded case is compiled twice: as the reference prepared it (pipeline akida-as-is) and from the float
network (pipeline akida). Both files and the reference's own go through cnn2snn.convert. At fault is

* a file that is refused although the reference's is accepted;
* a file that is accepted and computes other integers than `BIN run` in exact arithmetic, but as prepared by the
  reference where BIN said so (Q067…);
* a refusal of which BIN said nothing, and a refusal that BIN foretold (Q064… to Q066…) and that does not come.

Needs device-requirements.txt, which is large (TensorFlow). A table of the cases is printed, and exit code 1 where
something is at fault.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = re.compile(r"\[(Q06\d\d)\]")


def refusals(codes):
    return {code for code in codes if "Q0640" <= code < "Q0670"}


def wrong_numbers(codes):
    return {code for code in codes if "Q0670" <= code < "Q0680"}


def flags_of(info):
    params, flags = info["qparams"], []
    if params.get("per_tensor_activations"):
        flags.append("--per-tensor-activations")
    if params.get("input_dtype"):
        flags += ["--input-dtype", params["input_dtype"]]
    if params.get("last_output_bits"):
        flags += ["--last-output-bits", str(params["last_output_bits"])]
    if info["quantize_until"]:
        flags += ["--quantize-until", info["quantize_until"]]
    return flags


def start():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # What the libraries print is not ours.
    sys.stdout = sys.stderr = open(os.devnull, "w")
    os.dup2(sys.stderr.fileno(), 2)


def simulate(path, feed, frames):
    """The refusal, or what leaves the simulated device. Runs in a process of its own, which the simulator may end."""
    warnings.filterwarnings("ignore")
    import cnn2snn

    try:
        model = cnn2snn.convert(onnx.load(path))
    except Exception as error:  # whatever the converter raises is its refusal
        return " ".join(str(error).split()), None
    if feed is None:
        return None, None
    if feed.ndim != 4:
        feed = feed.reshape(feed.shape[0], 1, 1, -1)
    if frames:  # one after the other, as the state goes on
        out = np.concatenate([model.forward(frame[None]) for frame in feed])
    else:
        out = model.forward(feed)
    return None, np.transpose(out, (0, 3, 1, 2))


class Simulator:
    def __init__(self):
        self.pool = None

    def close(self):
        if self.pool is not None:
            self.pool.shutdown()

    def __call__(self, *args):
        if self.pool is None:
            self.pool = concurrent.futures.ProcessPoolExecutor(max_workers=1, initializer=start)
        try:
            return self.pool.submit(simulate, *args).result()
        except concurrent.futures.process.BrokenProcessPool:
            self.pool = None
            return None, "the simulator ended itself"
        except Exception as error:
            return None, f"the simulator fails: {error}"


def compile_case(qirc, args, out):
    done = subprocess.run([qirc, "compile", *args, "-o", out], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"qirc compile: exit {done.returncode}: {done.stderr.strip()[:300]}")
    return set(CODE.findall(done.stderr))


def run_case(qirc, model, input_path, folder):
    """What leaves the device in exact arithmetic, as reals."""
    graph = onnx.load(model).graph
    name = graph.input[0].name
    feed = np.load(input_path)
    frames = feed.ndim > len(graph.input[0].type.tensor_type.shape.dim)
    if frames:  # of one sequence, each with a batch axis of its own
        feed = feed[:, 0]
        input_path = folder / "x.npy"
        np.save(input_path, feed)
    subprocess.run([qirc, "run", model, "--input", f"{name}={input_path}", "--output-dir", folder / "run", "--all-values"],
                   check=True, capture_output=True)
    index = json.loads((folder / "run" / "values.json").read_text())
    leaves = next(node.output[0] for node in graph.node if node.op_type.startswith("Dequantizer"))
    return feed, frames, np.load(folder / "run" / index[leaves]["file"])


def differs(got, want):
    if isinstance(got, str):
        return got
    if got.size != want.size:
        return f"{list(got.shape)} instead of {list(want.shape)}"
    # Both are one float32 product of an integer and its scale.
    wrong = int((got.reshape(want.shape) != want).sum())
    return f"{wrong} of {want.size} differ" if wrong else None


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--vectors", default=ROOT / "tests" / "vectors")
    args.add_argument("--only", default="")
    args = args.parse_args()
    began = time.time()
    simulator = Simulator()
    counts, faults = collections.Counter(), []
    for meta in sorted(pathlib.Path(args.vectors).glob("*/meta.json")):
        case = meta.parent
        if args.only not in case.name or not (case / "sanitized.onnx").exists():
            continue
        info = json.loads(meta.read_text())
        theirs, _ = simulator(case / "quantized.onnx", None, False)
        counts["reference accepted" if theirs is None else "reference refused"] += 1
        row = [case.name, "accepted" if theirs is None else "refused"]
        models = {
            "akida-as-is": ["sanitized.onnx", "--pipeline", "akida-as-is", "--ranges", case / "ranges.json"],
            "akida": ["model.onnx", "--samples", case / "samples.npy"],
        }
        for pipeline, (model, *more) in models.items():
            with tempfile.TemporaryDirectory() as tmp:
                tmp = pathlib.Path(tmp)
                out = tmp / "model.q.onnx"
                try:
                    codes = compile_case(args.qirc, [case / model, *more, *flags_of(info)], out)
                    feed, frames, want = run_case(args.qirc, out, case / "input.npy", tmp)
                except Exception as error:  # one bad case must not hide the others
                    faults.append(f"{case.name}, {pipeline}: {error}")
                    row.append("not compiled")
                    continue
                refusal, got = simulator(out, feed, frames)
            foretold = ",".join(sorted(refusals(codes) | wrong_numbers(codes)))
            def fault(words):
                faults.append(f"{case.name}, {pipeline}: {words}")
            if refusal is not None:
                verdict = "refused"
                if theirs is None:
                    fault(f"refused where the reference's file is accepted: {refusal}")
                if not refusals(codes):
                    fault(f"refused without a word: {refusal}")
            else:
                wrong = differs(got, want)
                verdict = "equal" if wrong is None else wrong
                if refusals(codes):
                    fault(f"accepted against {foretold}")
                if wrong and (pipeline == "akida" or not wrong_numbers(codes)):
                    fault(wrong)
            counts[f"{pipeline} {verdict if verdict in ('refused', 'equal') else 'differs'}"] += 1
            row.append(f"{verdict} {foretold}".strip())
        print(f"{row[0]:32} {row[1]:10} {row[2]:30} {row[3] if len(row) > 3 else ''}", flush=True)
    simulator.close()
    for words in faults:
        print(words)
    print("; ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    print(f"{len(faults)} faults, {time.time() - began:.0f} s")
    return 1 if faults or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
