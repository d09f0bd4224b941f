"""Stage e: convolutions per implementation, to choose by platform.

`lax` is lax.conv_general_dilated and its own gradients, `shifted` what
hwnas_jax.nets.conv runs on a CPU: a sum of shifted products for a depthwise
convolution, a backward pass by products for a dense one. One compiled loop
applies each REPEATS times, every time with other weights, and writes every
result; an iteration's time includes the loop's own.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.benchmarks import conv as benchmark
from experiments.gpu.runner import Piece, Record, Save, each, say
from hwnas_jax.nets.conv import tracing_for

REPEATS = 64  # iterations of the loop
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
PARTS = benchmark.PARTS
WAYS = {"lax": benchmark.plain, "shifted": benchmark.ours}


def _loop(way: str, case: Record, part: str) -> Callable[..., Any]:
  function = WAYS[way](case)

  def both(x: Any, w: Any, g: Any) -> Any:
    y, pullback = jax.vjp(function, x, w)
    return y, *pullback(g)

  def body(carry: tuple[Any, Any], w: Any) -> tuple[Any, Any]:
    x, g = carry
    ys = (function(x, w),) if part == PARTS[0] else both(x, w, g)
    # Too small to change x: iterations depend on each other.
    tie = 1e-30 * ys[0][0, 0, 0, 0]
    return (x.at[0, 0, 0, 0].add(tie), g), ys

  return lambda x, ws, g: lax.scan(body, (x, g), ws)[1]


def _compile(
  case: Record, way: str, part: str, dtype: str, repeats: int
) -> Callable[[], Any]:
  """A call of the compiled loop; traced as for a CPU where `shifted`."""
  rng, kind = np.random.default_rng(0), DTYPES[dtype]
  kernel, channels = case["kernel"], case["channels"]
  inner = 1 if case["kind"] == "depthwise" else channels
  out = -(-case["size"] // case["stride"])

  def normal(*shape: int) -> Any:
    return jnp.asarray(rng.standard_normal(shape, np.float32), kind)

  x = normal(case["batch"], case["size"], case["size"], channels)
  ws = normal(repeats, kernel, kernel, inner, channels)
  g = normal(case["batch"], out, out, channels)
  with tracing_for("cpu" if way == "shifted" else ""):
    compiled = jax.jit(_loop(way, case, part)).lower(x, ws, g).compile()
  return functools.partial(compiled, x, ws, g)


def _measure(
  save: Save, cases: list[Record], repeats: int, rounds: int
) -> Record:
  names = [
    (index, way, part, dtype)
    for index in range(len(cases))
    for way in WAYS
    for part in PARTS
    for dtype in DTYPES
  ]
  record: Record = {}
  calls: dict[Any, Any] = {}

  def prepare(name: Any) -> Record:
    index, *rest = name
    calls[name] = _compile(cases[index], *rest, repeats)
    return {}

  start = time.monotonic()
  errors = dict(each(prepare, names, 12))
  record["compile_s"] = round(time.monotonic() - start, 2)
  record["rows"] = []
  for index, case in enumerate(cases):
    for part in PARTS:
      for dtype in DTYPES:
        row = _turns(
          {
            way: calls[index, way, part, dtype]
            for way in WAYS
            if (index, way, part, dtype) in calls
          },
          repeats,
          rounds,
        )
        row |= {
          way: errors[index, way, part, dtype]
          for way in WAYS
          if "error" in errors[index, way, part, dtype]
        }
        head = {"case": case, "part": part, "dtype": dtype}
        record["rows"].append(head | row)
        name = benchmark.case_name(case)
        say(f"   {name:30}{part:18}{dtype:10}" + _text(row))
    save(record)
  return record


def _text(row: Record) -> str:
  return "".join(
    f"{way}: {row[way]['median_us']:.1f} us  "
    for way in WAYS
    if "median_us" in row[way]
  )


def _turns(calls: dict[str, Any], repeats: int, rounds: int) -> Record:
  times: dict[str, list[float]] = {way: [] for way in calls}
  for call in calls.values():
    for _ in range(2):
      jax.block_until_ready(call())
  for _ in range(rounds):
    for way, call in calls.items():
      start = time.perf_counter()
      jax.block_until_ready(call())
      times[way].append(1e6 * (time.perf_counter() - start) / repeats)
  record: Record = {}
  for way, values in times.items():
    low, median, high = np.percentile(values, (25, 50, 75))
    record[way] = {"median_us": float(median), "iqr_us": float(high - low)}
  return record


def pieces(args: Any) -> list[Piece]:
  """A piece a window; all of its shapes, parts and types."""
  by_window: dict[str, list[Record]] = {}
  for case in benchmark.make_cases():
    if case["kernel"] == 1:
      continue  # a matrix product either way
    if args.smoke:
      case = case | {"batch": 2, "size": 4, "channels": 4}
    window = "{kind}_k{kernel}_s{stride}_d{dilation}".format(**case)
    by_window.setdefault(window, []).append(case)
  repeats, rounds = (2, 2) if args.smoke else (REPEATS, 15)
  if args.smoke:
    by_window = {
      name: by_window[name][:1]
      for name in ("depthwise_k3_s1_d2", "dense_k3_s1_d1")
    }
  settings = {"iterations": repeats, "rounds": rounds}
  return [
    Piece(
      window,
      12,
      functools.partial(_measure, cases=cases, repeats=repeats, rounds=rounds),
      settings,
    )
    for window, cases in by_window.items()
  ]
