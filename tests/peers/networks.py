#!/usr/bin/env python3
"""Quantizes whole networks and measures what it costs: the table of docs/networks.md.

usage: networks.py --qirc BIN [--models DIR] [--work DIR] [--only SUBSTR] [--markdown FILE] [--quantizeml PYTHON]

The networks are torchvision's, with seeded random weights and random batch normalization, and those in the folders of
--models: *.onnx with inputs beside it, and a make_inputs.py that makes more of them from pictures. For each, BIN
compiles the network and runs the emitted file; at fault is

* an integer or a dequantized value of its layers that is not the one that onnxruntime gives;
* a file that is not valid ONNX, or that BIN or onnxruntime does not run.

A refusal is no fault, but a row that says why. The rows are printed, and with --markdown put into the tables between
`<!-- networks.py -->` and `<!-- end -->` of FILE, where networks that were not measured keep theirs. --quantizeml
names a Python that has QuantizeML (device-requirements.txt), for a column of its own. Exported networks and what
other tools give are kept in --work (default target/networks). Exit code 1 where something is at fault.

Needs networks-requirements.txt.
"""
import argparse
import json
import logging
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
TORCHVISION = {
    "resnet18": 96,
    "resnet50": 96,
    "mobilenet_v2": 96,
    "vgg11_bn": 224,
    "squeezenet1_1": 96,
    "shufflenet_v2_x1_0": 96,
    "efficientnet_b0": 96,
    "densenet121": 96,
    "googlenet": 96,
    "mnasnet1_0": 96,
    "regnet_y_400mf": 96,
    "mobilenet_v3_small": 96,
}
TABLES = [
    ["network", "input", "samples", "on the device / float", "QuantizeML: on the device / float", "s", "MB"],
    ["network", "SNR", "QuantizeML", "onnxruntime, uint8", "onnxruntime, int8", "class", "float error", "compared"],
]
COLUMNS = list(dict.fromkeys(TABLES[0] + TABLES[1]))
AS_WRITTEN = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
BEGIN, END = "<!-- networks.py -->", "<!-- end -->"
NONE = "–"
# Starts the command from a small process, as the peak of a child begins with its parent's size.
MEASURED = """
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}")
sys.exit(0 if status == 0 else 1)
"""


class Fault(Exception):
    pass


class Network:
    """A model with what it is calibrated with and tested on, and what is known of its classes."""

    def __init__(self, name, model, calibration, test, labels=None, classifier=False, flat=False):
        self.name, self.model, self.calibration, self.test = name, model, calibration, test
        self.batch = input_of(model)[1][0]
        self.labels, self.classifier = labels, classifier or labels is not None
        self.flat = flat  # no output says anything


# ---------------------------------------------------------------------------------------------- torchvision's networks


def pictures(count, px, seed):
    """Smooth noise with a little grain."""
    import torch

    rng = np.random.default_rng(seed)
    low = torch.from_numpy(rng.standard_normal((count, 3, 8, 8)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(low, size=(px, px), mode="bicubic", align_corners=False).numpy()
    return np.clip(smooth + 0.15 * rng.standard_normal(smooth.shape), -2.2, 2.7).astype(np.float32)


def randomise(model, batch, seed):
    """Random factors, and statistics near those of a batch, so that values keep their size through the layers."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        with torch.no_grad():
            norm.weight.copy_(0.5 + torch.rand(norm.num_features, generator=generator))
            norm.bias.copy_(0.3 * torch.randn(norm.num_features, generator=generator))
    model.train()
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            module.eval()
    with torch.no_grad():
        model(torch.from_numpy(batch))
    for norm in norms:
        norm.running_mean += 0.05 * norm.running_var.sqrt() * torch.randn(norm.num_features, generator=generator)
        norm.running_var *= 0.8 + 0.4 * torch.rand(norm.num_features, generator=generator)
    return model.eval()


def export(name, px, path):
    import torch
    import torchvision

    torch.set_num_threads(1)
    seed = list(TORCHVISION).index(name)
    torch.manual_seed(1000 + seed)
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = randomise(getattr(torchvision.models, name)(weights=None, **more), pictures(8, 128, 99 + seed), 2000 + seed)
    part = path.with_suffix(".part")
    torch.onnx.export(
        model,
        (torch.from_numpy(pictures(2, px, 7)),),
        part,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    part.rename(path)


def torchvision_network(name, work):
    px = TORCHVISION[name]
    model = work / "models" / f"{name}.onnx"
    if not model.exists():
        export(name, px, model)
    samples = {}
    for kind, count, seed in ("calibration", 8 if px == 224 else 32, 7), ("test", 8, 8):
        path = work / "models" / f"{kind}_{px}.npy"
        if not path.exists():
            np.save(path, pictures(count, px, seed))
        samples[kind] = np.load(path)
    return Network(name, model, **samples)


# ----------------------------------------------------------------------------------------------- networks of a folder


def input_of(model_path):
    """Name and sizes of the first input, 0 where they are open."""
    graph = onnx.load(model_path, load_external_data=False).graph
    constants = {constant.name for constant in graph.initializer}
    first = next(value for value in graph.input if value.name not in constants)
    return first.name, [dim.dim_value for dim in first.type.tensor_type.shape.dim]


def as_mnist(digits, factor):
    """Digits of 8x8 as MNIST has them: 20x20 in 28x28."""
    from PIL import Image

    out = np.zeros((len(digits), 1, 28, 28), np.float32)
    for row, digit in zip(out, digits):
        large = Image.fromarray(digit[0]).resize((20, 20), Image.Resampling.BICUBIC)
        row[0, 4:24, 4:24] = np.clip(np.asarray(large), 0, 1)
    return factor(out).astype(np.float32)


def spoken(word, count, seed):
    """The word, then the word earlier or later and with noise."""
    rng = np.random.default_rng(seed)
    rows = [word]
    while len(rows) < count:
        rows.append(np.roll(word, rng.integers(-6, 7), axis=1) + 2 * rng.standard_normal(word.shape))
    return np.concatenate(rows).astype(np.float32)


def folder_network(model, work):
    folder, id = model.parent, model.parent.name
    name = id if model.name == "model.onnx" else model.stem
    digits = folder.parent / "digits"
    crops = work / "inputs" / id / "x.npy"
    given = folder / "input_0.npy"
    labels = np.load(digits / "y_test.npy") if (digits / "y_test.npy").exists() else None
    if id == "digits":
        return Network(name, model, np.load(digits / "x_train.npy")[:256], np.load(digits / "x_test.npy"), labels)
    if id in ("mnist-8", "rten-mnist") and labels is not None:
        factor = (lambda x: 255 * x) if id == "mnist-8" else (lambda x: (x - 0.1307) / 0.3081)
        train, test = (as_mnist(np.load(digits / f"x_{part}.npy"), factor) for part in ("train", "test"))
        # rten-mnist guesses half of these digits wrong: how often it agrees says more.
        return Network(name, model, train[:64], test, labels if id == "mnist-8" else None, classifier=True)
    if crops.exists():
        x = np.load(crops)
        tests = np.arange(len(x)) % 3 == 2
        return Network(name, model, x[~tests], x[tests], classifier=id == "mlperf-tiny-ic")
    if id == "mlperf-tiny-kws":
        return Network(name, model, spoken(np.load(given), 32, 7), spoken(np.load(given), 8, 8), classifier=True)
    if given.exists() and len(np.load(given)) > 1:
        x = np.load(given)
        return Network(name, model, x[0::2], x[1::2])
    sizes = input_of(model)[1][1:]
    if id.startswith("light-"):  # as ONNX's own tests feed it
        x = (np.arange(np.prod(sizes), dtype=np.float32) / np.prod(sizes)).reshape(1, *sizes).astype(np.float32)
        return Network(name, model, x, x, flat=True)
    x = [np.random.default_rng(seed).random((count, *sizes), dtype=np.float32) for count, seed in ((32, 7), (8, 8))]
    return Network(name, model, *x)


def make_inputs(models, work):
    maker = models / "make_inputs.py"
    if maker.exists() and not (work / "inputs").exists():
        subprocess.run([sys.executable, maker, work / "inputs.part"], check=True, capture_output=True)
        (work / "inputs.part").rename(work / "inputs")


# ---------------------------------------------------------------------------------------------------------- the runs


def session(model, level=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if level is not None:
        options.graph_optimization_level = level
    model = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def pieces(x, batch):
    return [x[i : i + batch] for i in range(0, len(x), batch)] if batch else [x]


def in_onnxruntime(model, x, batch, level=None):
    """The outputs, by name."""
    runner = session(model, level)
    names = [output.name for output in runner.get_outputs()]
    first = runner.get_inputs()[0]
    runs = [runner.run(names, {first.name: piece}) for piece in pieces(x, batch)]
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*runs))}


def in_qirc(qirc, model, x, folder, *more):
    """What a run writes, as a function from names to arrays."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    np.save(folder / "x.npy", x)
    argv = [qirc, "run", model, "--input", f"{input_of(model)[0]}={folder}/x.npy", "--output-dir", folder / "values"]
    done = subprocess.run([*argv, "--threads", "1", *more], capture_output=True, text=True)
    if done.returncode:
        raise Fault(f"qirc run: exit {done.returncode}: {done.stderr.strip()[:300]}")
    index = json.loads((folder / "values" / "values.json").read_text())
    return lambda name: np.load(folder / "values" / index[name]["file"])


def compile_network(qirc, network, out):
    """How BIN ends, its processor seconds and peak megabytes, and the flags that it asked for."""
    samples = out.parent / "samples.npy"
    np.save(samples, network.calibration)
    usage = out.parent / "usage"
    argv = [sys.executable, "-I", "-S", "-c", MEASURED, usage, qirc, "compile", network.model, "--samples", samples]
    argv += ["-o", out, "--emit", "onnx,qir,ranges", "--threads", "1"]
    for more in [], ["--input-dtype", "int8"]:
        done = subprocess.run([str(word) for word in [*argv, *more]], capture_output=True, text=True)
        if done.returncode == 0 or "--input-dtype int8" not in done.stderr:
            break
    seconds, megabytes = map(float, usage.read_text().split())
    return done, seconds, megabytes, more


def refusal(stderr):
    """The code of the first error and, in a line, what it says."""
    found = re.search(r"^\[(Q\d+)\] Error: (.*)(?:\n  note: `.*?` \((\w+)\): (.*))?", stderr, re.M)
    if not found:
        raise Fault(f"qirc compile: {stderr.strip()[:300]}")
    code, words, op, why = found.groups()
    return code, f"{words}; `{op}`: {why}" if op else words


def compared(qirc, network, out):
    """The outputs of the emitted file, and how many of its integers and dequantized values are as in onnxruntime."""
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    outputs = [value.name for value in model.graph.output]
    made = [name for node in model.graph.node for name in node.output if name and name not in outputs]
    # Float operators round as their runtime pleases, and integers that they are made to with them.
    exact = {name for node in model.graph.node if node.domain == "com.brainchip" for name in node.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    runner = session(model.SerializeToString())
    batch = input_of(out)[1][0]
    count, rows = 0, []
    for piece in pieces(network.test, batch):
        ours = in_qirc(qirc, out, piece, out.parent / "run", "--all-values")
        names = [output.name for output in runner.get_outputs()]
        for name, theirs in zip(names, runner.run(names, {runner.get_inputs()[0].name: piece})):
            if name not in exact or (theirs.dtype.kind not in "iu" and not name.endswith("/dequantize")):
                continue
            mine = ours(name)
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
                raise Fault(f"{name}: {mine.dtype}{list(mine.shape)} against {theirs.dtype}{list(theirs.shape)}")
            if (mine != theirs).any():
                raise Fault(f"{name}: {int((mine != theirs).sum())} of {theirs.size} values differ")
            count += theirs.size
        rows.append([ours(name) for name in outputs])
    shutil.rmtree(out.parent / "run")
    return [np.concatenate(arrays) for arrays in zip(*rows)], count


def ratio(want, got):
    """Signal to noise in dB."""
    noise = ((got.astype(np.float64) - want) ** 2).sum()
    return float(10 * np.log10((want.astype(np.float64) ** 2).sum() / noise)) if noise else np.inf


def ratios(want, got):
    each = [ratio(w, g) for w, g in zip(want, got)]
    words = ["exact" if np.isinf(value) else f"{value:.1f}" for value in each]
    return ", ".join(words) if len(each) <= 2 else f"{min(each):.1f} to {max(each):.1f} ({len(each)} outputs)"


def float_error(qirc, network, want, folder):
    """Largest difference from onnxruntime of any output of the float network, as part of its largest magnitude."""
    runs = []
    for piece in pieces(network.test[:8], network.batch):
        ours = in_qirc(qirc, network.model, piece, folder)
        runs.append([ours(name) for name in want])
    shutil.rmtree(folder)
    worst = 0.0
    for theirs, ours in zip(want.values(), map(np.concatenate, zip(*runs))):
        theirs = theirs[: len(ours)].astype(np.float64)
        worst = max(worst, np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1))
    return worst


# --------------------------------------------------------------------------------------------------------- other tools


def for_others(model_path):
    """The model without constants that are inputs, too, which other tools take for inputs."""
    model = onnx.load(model_path)
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # the first that has it so
    return model


def failure(error):
    """What a tool fails with, short."""
    words = " ".join(str(error).split())
    return f"fails: {words[:80]}{'…' if len(words) > 80 else ''}"


def quantized_by_onnxruntime(network, symmetric, folder):
    """Weights int8 for each channel, ranges by MinMax, activations uint8 or as on the device int8 without zero point."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, quantized = folder / "prepared.onnx", folder / "quantized.onnx"
    model = for_others(network.model)
    if next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")) < 13:
        model = onnx.version_converter.convert_version(model, 13)
    onnx.save(model, prepared)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
    name = input_of(network.model)[0]
    feeds = iter([{name: sample} for sample in pieces(network.calibration, 1)])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(feeds, None)

    quantization.quantize_static(
        prepared,
        quantized,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
        extra_options={"ActivationSymmetric": symmetric},
    )
    return quantized


def by_onnxruntime(network, want, folder):
    """SNR of onnxruntime's static quantizer."""
    nodes = onnx.load(network.model).graph.node
    if any(node.op_type.startswith(("QuantizeLinear", "QLinear")) for node in nodes):  # it is quantized
        return [NONE, NONE]
    found = []
    for symmetric in False, True:
        try:
            quantized = quantized_by_onnxruntime(network, symmetric, folder)
            # By its float operators: its integer ones saturate within sums on CPUs without VNNI.
            got = in_onnxruntime(quantized, network.test, network.batch, AS_WRITTEN)
            found.append(ratios(want.values(), got.values()))
        except Exception as error:  # its failure is its result
            found.append(failure(error))
    return found


def in_quantizeml(model, folder, batch):
    """Its layers and operators that stay float, and its SNR. Runs in the Python of --quantizeml."""
    from quantizeml.layers import QuantizationParams
    from quantizeml.models import quantize

    samples, failures = np.load(f"{folder}/samples.npy"), []
    for dtype in "uint8", "int8":
        try:
            quantized = quantize(for_others(model), qparams=QuantizationParams(input_dtype=dtype), samples=samples)
            break
        except Exception as error:  # its failure is its result
            failures.append(failure(error))
    else:
        return [failures[0], NONE]
    nodes = [node for node in quantized.graph.node if node.op_type not in ("Constant", "InputQuantizer", "Dequantizer")]
    # Activations that stay float are functions of the same domain.
    layers = [node for node in nodes if node.domain == "com.brainchip" and node.op_type.startswith("Quantized")]
    counted = f"{len(layers)} / {len(nodes) - len(layers)}" + (", int8 input" if failures else "")
    try:
        got = in_onnxruntime(quantized.SerializeToString(), np.load(f"{folder}/test.npy"), int(batch))
    except Exception as error:
        return [counted, failure(error)]
    want = [np.load(f"{folder}/want{at}.npy") for at in range(len(got))]
    return [counted, ratios(want, got.values())]


def by_quantizeml(python, network, want, folder):
    np.save(folder / "test.npy", network.test)
    for at, array in enumerate(want.values()):
        np.save(folder / f"want{at}.npy", array)
    argv = [python, __file__, "--in-quantizeml", network.model, folder, network.batch]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    found = re.search(r"^gives (.+)", done.stdout, re.M)
    return json.loads(found[1]) if found else ["fails", NONE]


def kept(path, key, make):
    """What an earlier run kept, or made now and kept."""
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    if key not in known and make:
        known[key] = make()
        path.write_text(json.dumps(known, indent=1))
    return known.get(key)


# ------------------------------------------------------------------------------------------------------------ the table


def classes(network, want, got):
    if not network.classifier:
        return NONE
    want, got = next(iter(want.values())).argmax(axis=1), got[0].argmax(axis=1)
    if network.labels is not None:
        right = [int((of == network.labels).sum()) for of in (got, want)]
        return f"right: {right[0]} of {len(got)} (float: {right[1]})"
    return f"as float: {int((want == got).sum())} of {len(got)}"


def measure(args, network):
    folder = args.work / "out" / network.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = folder / "model.q.onnx"
    row = dict.fromkeys(COLUMNS, NONE)
    row["network"] = network.name
    row["input"] = "×".join(map(str, network.test.shape[1:]))
    row["samples"] = f"{len(network.calibration)} + {len(network.test)}"
    want = in_onnxruntime(network.model, network.test, network.batch, AS_WRITTEN)
    done, seconds, megabytes, more = compile_network(args.qirc, network, out)
    make = lambda: by_onnxruntime(network, want, folder)
    theirs = kept(args.work / "peers" / "onnxruntime.json", network.name, make)
    row["onnxruntime, uint8"], row["onnxruntime, int8"] = theirs
    make = (lambda: by_quantizeml(args.quantizeml, network, want, folder)) if args.quantizeml else None
    if theirs := kept(args.work / "peers" / "quantizeml.json", network.name, make):
        row["QuantizeML: on the device / float"], row["QuantizeML"] = theirs
    row["s"], row["MB"] = f"{seconds:.1f}", f"{megabytes:.0f}"
    if done.returncode == 0:
        head = re.search(r"(\d+) layers? on the device, (\d+) operators? stay", done.stdout + done.stderr)
        codes = sorted(set(re.findall(r"^\[(Q06[4-7]\d)\] Warning", done.stderr, re.M)))
        row["on the device / float"] = ", ".join([f"{head[1]} / {head[2]}", *(["int8 input"] if more else []), *codes])
        got, count = compared(args.qirc, network, out)
        row["SNR"] = ratios(want.values(), got)
        row["class"] = classes(network, want, got)
        row["compared"] = f"{count:,}"
    else:
        code, words = refusal(done.stderr)
        row["on the device / float"] = f"refused, {code}: {words}"
    if done.returncode == 0 or code.startswith("Q06"):  # else it is not even read
        row["float error"] = f"{float_error(args.qirc, network, want, folder / 'float'):.0e}"
    if network.flat:
        row |= dict.fromkeys(["SNR", "QuantizeML", "onnxruntime, uint8", "onnxruntime, int8"], NONE)
    for large in [*folder.glob("*.npy"), folder / "prepared.onnx", folder / "quantized.onnx"]:
        large.unlink(missing_ok=True)
    return row


def line(cells):
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def write(path, rows):
    """Puts the rows into the tables of the file, in the place of the networks' earlier ones."""
    head, rest = path.read_text().split(BEGIN)
    before, tail = rest.split(END)
    order, tables = list(TORCHVISION), []
    earlier = [part.strip().splitlines()[2:] for part in before.strip().split("\n\n")]
    for columns, old in zip(TABLES, earlier if len(earlier) == len(TABLES) else [[]] * len(TABLES)):
        lines = {row.split("|")[1].strip(): row for row in old}
        lines |= {row["network"]: line(row[column] for column in columns) for row in rows}
        names = sorted(lines, key=lambda name: (order.index(name) if name in order else len(order), name))
        tables.append("\n".join([line(columns), "|---" * len(columns) + "|", *(lines[name] for name in names)]))
    path.write_text("\n\n".join([head + BEGIN, *tables, END + tail]))


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(3)
    if sys.argv[1:2] == ["--in-quantizeml"]:
        return print("gives", json.dumps(in_quantizeml(*sys.argv[2:])))
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--qirc", required=True, type=pathlib.Path)
    args.add_argument("--models", type=pathlib.Path)
    args.add_argument("--work", default=ROOT / "target" / "networks", type=pathlib.Path)
    args.add_argument("--only", default="")
    args.add_argument("--markdown", type=pathlib.Path)
    args.add_argument("--quantizeml", type=pathlib.Path)
    args = args.parse_args()
    args.qirc, args.work = args.qirc.resolve(), args.work.resolve()
    (args.work / "models").mkdir(parents=True, exist_ok=True)
    makers = [(name, lambda name=name: torchvision_network(name, args.work)) for name in TORCHVISION]
    if args.models:
        make_inputs(args.models, args.work)
        for model in sorted(args.models.glob("*/*.onnx")):
            name = model.parent.name if model.name == "model.onnx" else model.stem
            makers.append((name, lambda model=model: folder_network(model, args.work)))
    rows, faults = [], []
    print(line(COLUMNS), flush=True)
    for name, make in makers:
        if args.only not in name:
            continue
        try:
            rows.append(measure(args, make()))
            print(line(rows[-1].values()), flush=True)
            if args.markdown:
                write(args.markdown, rows)
        except Exception as error:  # one bad network must not hide the others
            faults.append(f"{name}: {type(error).__name__}: {error}")
            print(faults[-1], flush=True)
    for fault in faults:
        print(fault)
    print(f"{len(rows)} networks, {len(faults)} faults")
    return 1 if faults or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
