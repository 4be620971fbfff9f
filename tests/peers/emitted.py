#!/usr/bin/env python3
"""Runs emitted files in onnxruntime, and in the vendor's simulator where it is installed.

usage: emitted.py --qirc BIN [--vectors DIR] [--only SUBSTR] [--akida]

Every case is compiled by BIN, checked by onnx.checker, and run on its input: each value that
onnxruntime gives is compared with what `BIN run --all-values` gives. Integers must be equal. With
--akida, what the simulator accepts (cnn2snn.convert) must give the same outputs.

Cases: the networks in examples/, and every directory below --vectors (default tests/vectors).
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

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[:500]}")


def all_values(model_path, feed):
    """Every value of the top graph, by name."""
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)
    outputs = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: feed})))


def compare(ours, theirs, exact):
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype}{list(ours.shape)} against {theirs.dtype}{list(theirs.shape)}"
    if exact:
        far = ours != theirs
    else:
        # Float operators behind the dequantizer round as their runtime pleases.
        far = ~np.isclose(ours, theirs, rtol=1e-5, atol=1e-6)
    return f"{int(far.sum())} of {far.size} values differ" if far.any() else None


def in_simulator(model_path, feed, want):
    """None if equal; the refusal or the difference otherwise."""
    import cnn2snn

    try:
        model = cnn2snn.convert(onnx.load(model_path))
    except Exception as error:  # whatever the converter raises is its refusal
        return f"refused: {str(error).splitlines()[0][:120]}"
    x = feed if feed.ndim == 4 else feed.reshape(feed.shape[0], 1, 1, -1)
    got = model.forward(x)
    if want.ndim == 4:
        got = np.transpose(got.reshape(want.shape[0], want.shape[2], want.shape[3], want.shape[1]), (0, 3, 1, 2))
    got = got.reshape(want.shape)
    scale = np.abs(want).max() or 1.0
    return None if np.allclose(got, want, rtol=0, atol=1e-6 * scale) else f"{int((got != want).sum())} of {want.size} differ"


def cases(root):
    for meta in sorted(pathlib.Path(root).glob("*/meta.json")):
        case = meta.parent
        if not (case / "sanitized.onnx").exists():
            continue
        info = json.loads(meta.read_text())
        flags = ["--pipeline", "akida-as-is", "--ranges", case / "ranges.json"]
        if info["qparams"].get("per_tensor_activations"):
            flags.append("--per-tensor-activations")
        if info["qparams"].get("input_dtype"):
            flags += ["--input-dtype", info["qparams"]["input_dtype"]]
        if info["qparams"].get("last_output_bits"):
            flags += ["--last-output-bits", info["qparams"]["last_output_bits"]]
        if info["quantize_until"]:
            flags += ["--quantize-until", info["quantize_until"]]
        yield case.name, case / "sanitized.onnx", flags, case / "input.npy"
    examples = ROOT / "examples"
    calibration, test = examples / "digits" / "x_calib.npy", examples / "digits" / "x_test.npy"
    for model in sorted([*examples.glob("*/*.onnx"), *examples.glob("*/*.qir")]):
        if model.parent.name == "fixed_point":  # layers of another scheme: fixed_point.py
            continue
        # Golden files are about single passes, not networks to be quantized.
        if model.parent.name == "golden":
            continue
        if model.name.endswith((".q.onnx", ".q.qir")):
            continue
        flags = ["--samples", calibration] if model.parent.name == "digits" else ["--num-samples", "64"]
        if "mlp" in model.name:  # its first layer is dense, which takes int8 alone
            flags += ["--input-dtype", "int8"]
        if model.parent.name == "acme":  # a layer that a rule file declares, and takes int8
            flags += ["--rules", model.parent / "acme.qrules", "--input-dtype", "int8"]
        yield f"{model.parent.name}/{model.name}", model, flags, test if model.parent.name == "digits" else None


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True)
    args.add_argument("--vectors", default=ROOT / "tests" / "vectors")
    args.add_argument("--only", default="")
    args.add_argument("--akida", action="store_true")
    args = args.parse_args()
    equal = values = 0
    faults = []
    for name, model, flags, input_path in cases(args.vectors):
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            out = tmp / "model.q.onnx"
            try:
                call(args.qirc, "compile", model, *flags, "-o", out, "--emit", "onnx,qir")
                graph_input = onnx.load(out, load_external_data=False).graph.input[0]
                if input_path is None:
                    sizes = [d.dim_value or 2 for d in graph_input.type.tensor_type.shape.dim]
                    np.save(tmp / "x.npy", np.random.default_rng(0).random(sizes, dtype=np.float32))
                    input_path = tmp / "x.npy"
                feed = np.load(input_path)
                if feed.ndim > len(graph_input.type.tensor_type.shape.dim):
                    # Frames of one sequence, each with a batch axis of its own: one run takes them all.
                    feed = feed[:, 0]
                    input_path = tmp / "x.npy"
                    np.save(input_path, feed)
                theirs = all_values(out, feed)
                for form in ("onnx", "qir"):
                    rules = flags[flags.index("--rules"):][:2] if "--rules" in flags else []
                    call(args.qirc, "run", out.with_suffix(f".{form}"), *rules, "--input", f"{graph_input.name}={input_path}",
                         "--output-dir", tmp / form, "--all-values")
                    index = json.loads((tmp / form / "values.json").read_text())
                    for value, array in theirs.items():
                        ours = np.load(tmp / form / index[value]["file"])
                        on_device = array.dtype.kind in "iu" or value.endswith("/dequantize")
                        fault = compare(ours, array, on_device)
                        values += array.size
                        if fault:
                            faults.append(f"{name} ({form}): {value}: {fault}")
                if args.akida:
                    last = [o.name for o in onnx.load(out).graph.output][0]
                    verdict = in_simulator(out, feed, theirs[last])
                    print(f"{name}: simulator {'equal' if verdict is None else verdict}")
                    if verdict and not verdict.startswith("refused"):
                        faults.append(f"{name}: simulator: {verdict}")
                equal += 1
            except Exception as error:  # one bad case must not hide the others
                faults.append(f"{name}: {type(error).__name__}: {error}")
    for fault in faults:
        print(fault)
    print(f"{equal} networks, {values} values compared, {len(faults)} faults")
    return 1 if faults or not equal else 0


if __name__ == "__main__":
    sys.exit(main())
