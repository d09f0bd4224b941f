"""Measures the ONNX models of a plan; needs onnxruntime and numpy, no JAX.

  python runner.py [--providers=A,B] [--threads=N] [--repeats=N] [--name=TEXT]

in the folder of plan.json. Writes timings.json. If it is stopped, the same
command continues the measurement. Python 3.8 or later.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import platform
import re
import sys
import time
from typing import Any

import numpy as np
import onnxruntime

VERSION = 1
GROUP = 16  # entries loaded and measured together, in turns
SAMPLE_MS = 10.0  # a sample is the mean of as many runs as take this long
HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "timings.json"


def cpu_model() -> str:
  """The processor's name, or its architecture where the system has no name."""
  path = pathlib.Path("/proc/cpuinfo")
  text = path.read_text() if path.exists() else ""
  line = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.M)
  return line[1] if line else platform.processor() or platform.machine()


def read(path: pathlib.Path, remedy: str) -> dict[str, Any]:
  """Reads a JSON object and checks its digest; ends the program if it is none.

  What is cut short, no text, nested too deeply or no object is damaged too.
  """
  try:
    document = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    sys.exit(f"{path.name} is not in {path.parent}: {remedy}")
  except (ValueError, RecursionError):
    document = None
  if not isinstance(document, dict) or document.get("digest") != digest(
    document
  ):
    sys.exit(f"{path.name} is damaged: {remedy}")
  return document


def digest(document: dict[str, Any]) -> str:
  """SHA-256 of a JSON object without its field `digest`."""
  rest = {name: v for name, v in document.items() if name != "digest"}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def save(document: dict[str, Any]) -> None:
  """Writes timings.json and its digest: the old file or the new, never half."""
  document["digest"] = digest(document)
  temporary = HERE / ".timings.json.tmp"
  temporary.write_text(json.dumps(document, sort_keys=True, indent=1))
  os.replace(temporary, OUT)


def start(plan: dict[str, Any], flags: argparse.Namespace) -> dict[str, Any]:
  """The timings to continue: the stored ones, or none yet."""
  device = {
    "platform": "onnxruntime",
    "device_kind": flags.name or flags.providers[0],
    "platform_version": onnxruntime.__version__,
    "cpu_model": flags.name or cpu_model(),
    "cpu_cores": os.cpu_count() or 1,
    "system": platform.platform(),
    "providers": flags.providers,
    "threads": flags.threads,
  }
  fresh = {"schema": 1, "runner": VERSION, "plan": plan["digest"]}
  fresh.update(device=device, repeats=flags.repeats)
  old = read(OUT, "delete it to measure again") if OUT.exists() else fresh
  for name, value in fresh.items():
    if old[name] != value:
      sys.exit(
        f"{OUT.name} has {name} {old[name]!r}, this is {value!r}: delete it to"
        " measure again"
      )
  return {"samples_ms": {}, **old}


class Model:
  """A model that is loaded, with random inputs on the device."""

  def __init__(self, file: str, sha256: str, flags: argparse.Namespace) -> None:
    """Loads a file of the plan and sets how many runs make a sample."""
    content = (HERE / file).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
      sys.exit(file + " is not the plan's: copy the folder again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = flags.threads
    options.log_severity_level = 3
    # Otherwise the threads of one model spin while the next is being timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    self.session = onnxruntime.InferenceSession(
      content, options, providers=flags.providers
    )
    first = self.session.get_providers()[0]
    if first != flags.providers[0]:
      sys.exit("onnxruntime cannot use " + flags.providers[0])
    memory = "cuda" if first.startswith(("CUDA", "Tensorrt")) else "cpu"
    self.binding = self.session.io_binding()
    rng = np.random.default_rng(0)
    for node in self.session.get_inputs():
      x = rng.standard_normal(node.shape).astype(np.float32)
      value = onnxruntime.OrtValue.ortvalue_from_numpy(x, memory, 0)
      self.binding.bind_ortvalue_input(node.name, value)
    for output in self.session.get_outputs():
      self.binding.bind_output(output.name, memory)
    self.runs = 1
    self.sample_ms()
    self.runs = max(1, int(SAMPLE_MS / max(self.sample_ms(), 1e-3)))

  def sample_ms(self) -> float:
    """Mean time of a run, over `runs` of them."""
    start_s = time.perf_counter()
    for _ in range(self.runs):
      self.session.run_with_iobinding(self.binding)
    self.binding.synchronize_outputs()
    return 1e3 * (time.perf_counter() - start_s) / self.runs


def measure(entries: Any, flags: argparse.Namespace) -> dict[str, Any]:
  """{id: {file: samples in ms}}; each round takes one of every model."""
  models = {
    (entry["id"], file): Model(file, entry["sha256"][file], flags)
    for entry in entries
    for file in entry["onnx"]
  }
  samples: dict[str, Any] = {}
  for _ in range(flags.repeats):
    for (name, file), model in models.items():
      samples_ms = samples.setdefault(name, {}).setdefault(file, [])
      samples_ms.append(model.sample_ms())
  return samples


def main() -> None:
  """Measures what timings.json lacks."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--providers", default="CPUExecutionProvider")
  parser.add_argument("--threads", type=int, default=0, help="0: all cores")
  parser.add_argument("--repeats", type=int, default=20)
  parser.add_argument("--name", default="", help="of the device, for its table")
  flags = parser.parse_args()
  if flags.threads < 0 or flags.repeats < 3:
    parser.error("--threads has to be >= 0 and --repeats >= 3")
  flags.providers = flags.providers.split(",")
  absent = set(flags.providers) - set(onnxruntime.get_available_providers())
  if absent:
    parser.error("onnxruntime lacks " + ", ".join(sorted(absent)))
  plan = read(HERE / "plan.json", "copy the folder again")
  timings = start(plan, flags)
  done = timings["samples_ms"]
  todo = [entry for entry in plan["entries"] if entry["id"] not in done]
  for first in range(0, len(todo), GROUP):
    done.update(measure(todo[first : first + GROUP], flags))
    save(timings)
    print(f"{len(done)} of {len(plan['entries'])} measured", flush=True)
  print("timings.json is complete: copy it back into the plan's folder")


if __name__ == "__main__":
  main()
