"""Dense convolutions of XLA:CPU by layout, and with its oneDNN options.

  python -m experiments.benchmarks.layouts

`lax.conv_general_dilated`, 3x3, batch 64, forward and backward: images as NHWC
(the package's), as NCHW, and NHWC compiled with XLA's oneDNN options. All are
compiled first, then timed in turns. `library` says which library's operations
the compiled program has. Writes layouts.json.
"""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from experiments.made import begin, made
from hwnas_jax.io import writers

RESULTS = pathlib.Path(__file__).parent / "layouts.json"
SHAPES = ((16, 32), (32, 16), (64, 8))  # channels, side
BATCH, ROUNDS, SEED = 64, 30, 0
ONEDNN = {
  "xla_cpu_use_onednn": True,
  "xla_cpu_experimental_onednn_custom_call": True,
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
  "NHWC": ("NHWC", {}),
  "NCHW": ("NCHW", {}),
  "NHWC, oneDNN": ("NHWC", ONEDNN),
}


def forward(layout: str, images: Array, weights: Array) -> Array:
  """A convolution without a change of size, images in that layout."""
  filters = "HWIO" if layout == "NHWC" else "OIHW"
  return lax.conv_general_dilated(
    images, weights, (1, 1), "SAME", dimension_numbers=(layout, filters, layout)
  )


def backward(layout: str, images: Array, weights: Array) -> tuple[Array, Array]:
  """Both gradients of half the sum of squares of the output."""
  loss = lambda x, w: (forward(layout, x, w) ** 2).sum() / 2  # noqa: E731
  return jax.grad(loss, (0, 1))(images, weights)


def compiled(
  part: Callable[..., Any], way: str, channels: int, side: int
) -> tuple[Callable[[], Any], list[str]]:
  """(a call with its arrays, the libraries that its program names)."""
  layout, options = WAYS[way]
  rng = np.random.default_rng(SEED)
  images = rng.normal(size=(BATCH, side, side, channels)).astype("float32")
  weights = rng.normal(size=(3, 3, channels, channels)).astype("float32")
  if layout == "NCHW":
    images, weights = (
      images.transpose(0, 3, 1, 2),
      weights.transpose(3, 2, 0, 1),
    )
  arrays = jnp.asarray(images), jnp.asarray(weights)
  lowered = jax.jit(functools.partial(part, layout)).lower(*arrays)
  program = lowered.compile(compiler_options=options)
  text = program.as_text() or ""
  libraries = [
    name
    for name, mark in (("oneDNN", "__onednn$"), ("YNNPACK", "%ynn_fusion"))
    if mark in text
  ]
  return functools.partial(program, *arrays), libraries


def measure(part: Callable[..., Any], shape: tuple[int, int]) -> dict[str, Any]:
  """A row: each way's median and interquartile range in ms."""
  ways = {way: compiled(part, way, *shape) for way in WAYS}
  times: dict[str, list[float]] = {way: [] for way in WAYS}
  for _ in range(ROUNDS):
    for way, (call, _) in ways.items():  # in turns
      jax.block_until_ready(call())
      start = time.perf_counter()
      jax.block_until_ready(call())
      times[way].append((time.perf_counter() - start) * 1e3)
  return {
    way: {
      "median_ms": float(np.median(ms)),
      "iqr_ms": float(np.subtract(*np.percentile(ms, [75, 25]))),
      "library": ways[way][1],
    }
    for way, ms in times.items()
  }


def main() -> None:
  """Measures every shape, forward and backward."""
  start = begin()
  rows = {
    f"{part.__name__}, {channels} channels of {side}x{side}": measure(
      part, (channels, side)
    )
    for part in (forward, backward)
    for channels, side in SHAPES
  }
  for name, row in rows.items():
    print(name, row)
  writers.write_json(
    RESULTS,
    {
      "rows": rows,
      "batch": BATCH,
      "made": made(start, arrays=SEED),
    },
  )


if __name__ == "__main__":
  main()
