"""Times convolutions of hwnas_jax, plain JAX and PyTorch side by side.

  python experiments/benchmarks/conv.py --repeats 50

Writes --json, by default conv.json beside this file. All ways to run a case
take turns, so that a drift of the machine's speed meets them alike. `scan`
repeats the convolution in a lax.scan over weights, as a supernet does over
edges; its times are per iteration. PyTorch is left out where it is not
installed.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.nets import conv

Case = dict[str, Any]
Call = Callable[[], object]
Function = Callable[[jax.Array, jax.Array], jax.Array]

SCAN = 8
FEW, ENOUGH_MS = 3, 5000.0  # calls that a slow way gets; when it is slow
HAS_TORCH = importlib.util.find_spec("torch") is not None
RESULT = pathlib.Path(__file__).with_suffix(".json")
PARTS = ("forward", "forward_backward")
SHAPES = ((32, 16), (16, 32), (8, 64))  # (size, channels), as in three cells
WINDOWS = (  # (kind, kernel, stride, dilation)
  ("depthwise", 3, 1, 1),
  ("depthwise", 5, 1, 1),
  ("depthwise", 3, 1, 2),
  ("depthwise", 5, 1, 2),
  ("depthwise", 3, 2, 1),
  ("depthwise", 5, 2, 1),
  ("dense", 3, 1, 1),
  ("dense", 1, 1, 1),
)


def make_cases() -> list[Case]:
  """Every window at every shape; the fields are those of torch_conv."""
  return [
    {
      "kind": kind,
      "batch": 64,
      "size": size,
      "channels": channels,
      "kernel": kernel,
      "stride": stride,
      "dilation": dilation,
    }
    for kind, kernel, stride, dilation in WINDOWS
    for size, channels in SHAPES
  ]


def case_name(case: Case) -> str:
  """Returns e.g. `depthwise 32x32x16 k3 s1 d1`."""
  size, channels = case["size"], case["channels"]
  window = f"k{case['kernel']} s{case['stride']} d{case['dilation']}"
  return f"{case['kind']} {size}x{size}x{channels} {window}"


def ours(case: Case) -> Function:
  """The convolution of hwnas_jax: weights [k, k, C] or [k, k, C, C]."""
  stride, dilation = case["stride"], case["dilation"]
  if case["kind"] == "depthwise":
    return lambda x, w: conv.depthwise(x, w[:, :, 0], stride, dilation)
  if case["kernel"] == 1:
    return lambda x, w: conv.pointwise(x, w[0, 0])
  return lambda x, w: conv.conv(x, w, stride)


def plain(case: Case) -> Function:
  """The convolution as users of JAX write it."""
  pad = case["dilation"] * (case["kernel"] // 2)
  groups = case["channels"] if case["kind"] == "depthwise" else 1
  return functools.partial(
    lax.conv_general_dilated,
    window_strides=(case["stride"], case["stride"]),
    padding=((pad, pad), (pad, pad)),
    rhs_dilation=(case["dilation"], case["dilation"]),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def scanned(function: Function) -> Function:
  """The function of each of [SCAN, ...] weights in one loop."""
  return lambda x, ws: lax.scan(lambda _, w: (None, function(x, w)), None, ws)[
    1
  ]


def jax_calls(case: Case, function: Function, in_scan: bool) -> list[Call]:
  """Compiled calls, one of each of PARTS."""
  rng = np.random.default_rng(0)
  kernel, channels = case["kernel"], case["channels"]
  inner = 1 if case["kind"] == "depthwise" else channels

  def normal(*shape: int) -> jax.Array:
    return jax.device_put(rng.normal(size=shape).astype(np.float32))

  count = (SCAN,) if in_scan else ()
  x = normal(case["batch"], case["size"], case["size"], channels)
  w = normal(*count, kernel, kernel, inner, channels)
  run = scanned(function) if in_scan else function
  g = normal(*jax.eval_shape(run, x, w).shape)

  def both(x: jax.Array, w: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    # The output is returned, or XLA would not compute it: PyTorch does.
    y, pullback = jax.vjp(run, x, w)
    return y, *pullback(g)

  return [
    functools.partial(jax.jit(run), x, w),
    functools.partial(jax.jit(both), x, w, g),
  ]


def torch_calls(case: Case) -> dict[str, list[Call]]:
  """Calls by memory format; none without PyTorch, whose cases need a CPU."""
  if not HAS_TORCH or jax.default_backend() != "cpu":
    return {}
  import torch
  import torch_conv

  torch.set_num_threads(versions.device_fingerprint().cpu_cores or 1)
  return {
    "torch": list(torch_conv.make_torch_case(case)),
    "torch channels_last": list(torch_conv.make_torch_case(case, True)),
  }


def make_calls(case: Case) -> dict[str, list[Call]]:
  """Every way to run a case: calls, one of each of PARTS, by its name."""
  return {
    "ours": jax_calls(case, ours(case), False),
    "lax": jax_calls(case, plain(case), False),
    **torch_calls(case),
    "ours scan": jax_calls(case, ours(case), True),
    "lax scan": jax_calls(case, plain(case), True),
  }


def seconds(call: Call) -> float:
  """Seconds of one call, until its result is there."""
  start = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - start


def interleave(calls: dict[str, Call], repeats: int) -> dict[str, np.ndarray]:
  """Milliseconds of every call, `repeats` or fewer of each; they take turns."""
  for call in calls.values():
    seconds(call)  # compiles
  times: dict[str, list[float]] = {name: [] for name in calls}
  for turn in range(repeats):
    for name, call in calls.items():
      if turn >= FEW and sum(times[name]) > ENOUGH_MS:
        continue
      # Not counted: it meets the caches and threads of the one before.
      seconds(call)
      times[name].append(1e3 * seconds(call))
  return {
    name: np.asarray(ms) / (SCAN if name.endswith("scan") else 1)
    for name, ms in times.items()
  }


def measure(case: Case, repeats: int) -> list[dict[str, Any]]:
  """A row for each part of a case and each way to run it."""
  calls = make_calls(case)
  rows = []
  for index, part in enumerate(PARTS):
    times = interleave({n: c[index] for n, c in calls.items()}, repeats)
    for name, ms in times.items():
      low, median, high = np.percentile(ms, (25, 50, 75))
      rows.append(
        {
          **case,
          "part": part,
          "way": name,
          "repeats": len(ms),
          "median_ms": float(median),
          "iqr_ms": float(high - low),
        }
      )
  return rows


def line(*cells: str) -> str:
  """One line of the table."""
  return f"{cells[0]:30}{cells[1]:18}" + "".join(f"{c:>21}" for c in cells[2:])


def print_rows(case: Case, rows: list[dict[str, Any]]) -> None:
  """Prints `median +- IQR` in milliseconds, a line a part."""
  for part in PARTS:
    mine = [row for row in rows if row["part"] == part]
    cells = [f"{r['median_ms']:.3f} +- {r['iqr_ms']:.3f}" for r in mine]
    print(line(case_name(case), part, *cells), flush=True)


def environment(repeats: int) -> dict[str, Any]:
  """What the times depend on; `versions` has the git commit."""
  return {
    "repeats": repeats,
    "scan_iterations": SCAN,
    "versions": {
      **versions.versions(),
      "torch": importlib.metadata.version("torch") if HAS_TORCH else None,
    },
    "fingerprint": records.to_json(versions.device_fingerprint()),
  }


def main() -> None:
  """Runs the cases that --json lacks; prints all."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=50, help="timed calls")
  parser.add_argument("--json", type=pathlib.Path, default=RESULT)
  parser.add_argument("--cases", type=int, help="the first so many alone")
  args = parser.parse_args()
  if args.repeats < 1:
    parser.error(f"--repeats must be at least 1, got {args.repeats}")
  report = readers.read_json(args.json) if args.json.exists() else {}
  header = ""
  for case in make_cases()[: args.cases]:
    name = case_name(case)
    if name not in report:
      rows = measure(case, args.repeats)
      report[name] = {**environment(args.repeats), "rows": rows}
      writers.write_json(args.json, report)
    ways = dict.fromkeys(row["way"] for row in report[name]["rows"])
    if not header:
      header = line("median +- IQR in ms", "", *ways)
      print(header)
    print_rows(case, report[name]["rows"])


if __name__ == "__main__":
  main()
