#!/usr/bin/env python3
"""Measures qirc beside onnxruntime and QuantizeML: the tables of docs/performance.md.

usage: bench.py --qirc BIN --models DIR [--only SUBSTR] [--rounds N] [--markdown FILE] [--quantizeml PYTHON]

DIR is one that export_models.py has written; of each network the file of dynamic batch is taken. For each network, in
rounds, so that a slow spell of the machine meets all sides:

* the whole compile of 32 samples by BIN, and by onnxruntime's quantize_static (per channel, uint8 activations) and,
  with --quantizeml, by the QuantizeML of that Python: seconds of the process, and its peak memory;
* the quantized network of one sample on 1 and 2 threads: BIN's by `BIN bench`, and in onnxruntime BIN's emitted file,
  QuantizeML's file, and the QDQ and the QOperator form of onnxruntime;
* the float network of one sample: by `BIN bench` and by onnxruntime, and the calibration of BIN a sample.

Medians over the rounds are printed, and with --markdown put between `<!-- bench.py -->` and `<!-- end -->` of FILE.

Needs bench-requirements.txt; QuantizeML is in device-requirements.txt.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

SAMPLES = 32
BEGIN, END = "<!-- bench.py -->", "<!-- end -->"
NONE = "–"

# Jobs of other Pythons, each a process of its own: the seconds of the call alone.
QUANTIZE_STATIC = """
import json, logging, os, sys, tempfile, time
logging.disable(logging.WARNING)
import numpy as np
from onnxruntime import quantization as oq
from onnxruntime.quantization.shape_inference import quant_pre_process
source, samples, out, form = sys.argv[1:]
class Reader(oq.CalibrationDataReader):
    def __init__(self, x):
        self.it = iter([{"input": x[i:i + 8]} for i in range(0, len(x), 8)])
    def get_next(self):
        return next(self.it, None)
start = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    prepared = os.path.join(folder, "prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    oq.quantize_static(prepared, out, Reader(np.load(samples)), per_channel=True,
        quant_format=oq.QuantFormat.QDQ if form == "qdq" else oq.QuantFormat.QOperator,
        activation_type=oq.QuantType.QUInt8, weight_type=oq.QuantType.QInt8)
print(json.dumps(time.perf_counter() - start))
"""
QUANTIZEML = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import onnx
from quantizeml.models import quantize
source, samples, out, _ = sys.argv[1:]
start = time.perf_counter()
onnx.save(quantize(onnx.load(source), samples=np.load(samples), num_samples=32, batch_size=8), out)
print(json.dumps(time.perf_counter() - start))
"""
LATENCY = """
import json, sys, time
import numpy as np
import onnxruntime as ort
model, samples, threads = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
feeds = {session.get_inputs()[0].name: np.load(samples)[:1]}
times = []
for run in range(21):
    start = time.perf_counter()
    session.run(None, feeds)
    times.append(time.perf_counter() - start)
print(json.dumps(sorted(times[1:])[10] * 1e3))
"""


class Failed(Exception):
    pass


def run(command):
    """What a process prints, its seconds, and its peak memory in MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(0), err.seek(0)
        if child.returncode != 0:
            raise Failed(f"{command[0]}: {err.read()[-400:]}")
        return out.read(), seconds, usage.ru_maxrss / 1024


class Network:
    def __init__(self, args, path, work):
        self.args, self.path, self.name = args, path, path.stem.removesuffix("_dyn")
        self.samples = path.parent / f"samples_{self.name.rsplit('_', 1)[1]}.npy"
        self.work = work
        self.first = work / f"{self.name}.npy"
        np.save(self.first, np.load(self.samples)[:1])
        self.found = {}

    def note(self, what, value):
        self.found.setdefault(what, []).append(value)

    def out(self, by):
        return self.work / f"{self.name}.{by}.onnx"

    def compiles(self):
        qirc = [self.args.qirc, "compile", self.path, "--samples", self.samples, "-o", self.out("qirc")]
        _, seconds, peak = run(qirc)
        self.note("compile qirc", seconds)
        self.note("peak qirc", peak)
        ranges = self.work / f"{self.name}.json"
        _, seconds, _ = run([self.args.qirc, "calibrate", self.path, "--samples", self.samples, "-o", ranges])
        few = [self.args.qirc, "calibrate", self.path, "--samples", self.samples, "--num-samples", "1", "-o", ranges]
        _, one, _ = run(few)
        self.note("calibrate", (seconds - one) * 1e3 / (SAMPLES - 1))
        _, seconds, _ = run([self.args.qirc, "compile", self.path, "--ranges", ranges, "-o", self.work / "given.onnx"])
        self.note("compile ranges", seconds)
        others = [("qdq", sys.executable, QUANTIZE_STATIC), ("qop", sys.executable, QUANTIZE_STATIC)]
        if self.args.quantizeml:
            others.append(("quantizeml", self.args.quantizeml, QUANTIZEML))
        for by, python, job in others:
            printed, _, peak = run([python, "-c", job, self.path, self.samples, self.out(by), by])
            self.note(f"compile {by}", json.loads(printed.splitlines()[-1]))
            self.note(f"peak {by}", peak)

    def latencies(self):
        for threads in (1, 2):
            for what, model in [("int8", self.out("qirc")), ("float", self.path)]:
                bench = [self.args.qirc, "bench", model, "--input", f"input={self.first}", "--json"]
                report = json.loads(run([*bench, "--threads", str(threads)])[0])
                self.note(f"{what} qirc {threads}", report["total"]["median_ms"])
            peers = [("float", self.path)]
            peers += [(by, self.out(by)) for by in ("qirc", "quantizeml", "qdq", "qop") if self.out(by).exists()]
            for by, model in peers:
                printed, _, _ = run([sys.executable, "-c", LATENCY, model, self.first, str(threads)])
                self.note(f"ort {by} {threads}", json.loads(printed))

    def median(self, what):
        return statistics.median(self.found[what]) if what in self.found else None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value, digits=2):
    return NONE if value is None else f"{value:.{digits}f}"


def ratio(a, b):
    return NONE if a is None or b is None else f"{a / b:.2f}"


def tables(networks):
    latency, floats, compiles = [], [], []
    for net in networks:
        m = net.median
        for threads in (1, 2):
            best = min(v for v in (m(f"ort qdq {threads}"), m(f"ort qop {threads}")) if v is not None)
            ours, emitted, theirs = m(f"int8 qirc {threads}"), m(f"ort qirc {threads}"), m(f"ort quantizeml {threads}")
            latency.append([net.name, str(threads), number(ours), number(best), ratio(ours, best), number(emitted),
                            number(theirs), ratio(emitted, theirs)])
            ours, theirs = m(f"float qirc {threads}"), m(f"ort float {threads}")
            calibration = m("calibrate") if threads == (os.cpu_count() or 1) else None
            floats.append([net.name, str(threads), number(ours), number(calibration), number(theirs),
                           ratio(ours, theirs), ratio(calibration, theirs)])
        ours, static, theirs = m("compile qirc"), m("compile qdq"), m("compile quantizeml")
        weights = net.path.stat().st_size / 1e6
        compiles.append([net.name, number(ours), number(m("compile ranges")), number(static), ratio(ours, static),
                         number(theirs), ratio(ours, theirs), number(m("peak qirc"), 0), number(weights, 0),
                         number(m("peak qdq"), 0), number(m("peak quantizeml"), 0)])
    return "\n\n".join([
        "Quantized networks, one sample, ms. The second ratio is of the file that qirc emits to QuantizeML's, both in "
        "onnxruntime.",
        table(["network", "threads", "qirc", "onnxruntime's best int8 form", "ratio", "emitted file in onnxruntime",
               "QuantizeML's file in onnxruntime", "ratio"], latency),
        "Float networks, one sample, ms; with calibration, which also takes the range of every value.",
        table(["network", "threads", "qirc", "in calibration", "onnxruntime", "ratio", "ratio in calibration"], floats),
        f"Whole compiles with {SAMPLES} samples, s, and peak memory of the process, MB.",
        table(["network", "qirc", "with ranges given", "quantize_static", "ratio", "QuantizeML", "ratio", "peak of qirc",
               "float weights", "peak of quantize_static", "peak of QuantizeML"], compiles),
    ])


def processor():
    try:
        info = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    flags = set(re.search(r"^flags\s*: (.*)$", info, re.M)[1].split()) if "flags" in info else set()
    known = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"]
    return ", ".join(flag for flag in known if flag in flags)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--qirc", required=True)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--only", default="_224")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--quantizeml", metavar="PYTHON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        paths = sorted(path for path in args.models.glob("*_dyn.onnx") if args.only in path.name)
        networks = [Network(args, path, pathlib.Path(work)) for path in paths]
        starts = []
        for round_ in range(args.rounds):
            starts.append(min(run([args.qirc, "--version"])[1] for _ in range(5)) * 1e3)
            for net in networks:
                net.compiles()
                net.latencies()
                print(f"round {round_ + 1} of {args.rounds}: {net.name}", file=sys.stderr, flush=True)
        import onnxruntime
        text = (f"Medians of {args.rounds} rounds on {os.cpu_count()} processors with {processor()}; onnxruntime "
                f"{onnxruntime.__version__}. `qirc --version` takes {statistics.median(starts):.1f} ms.\n\n"
                + tables(networks))
    print(text)
    if args.markdown:
        old = args.markdown.read_text()
        begin, end = old.index(BEGIN) + len(BEGIN), old.index(END)
        args.markdown.write_text(f"{old[:begin]}\n\n{text}\n\n{old[end:]}")


if __name__ == "__main__":
    main()
