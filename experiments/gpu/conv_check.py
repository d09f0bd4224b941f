"""Stage a: convolutions and pools on the device against NumPy in float64.

Every case of nets/conv.py in both of its forms: as the library compiles it for
a GPU (`lax.conv_general_dilated`) and for a CPU (sums of shifted images, own
backward passes). Compared are outputs and gradients.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gpu.runner import Record, Save, guarded, say
from hwnas_jax.nets import conv

BOUND = 1e-4  # largest difference over largest value, float32 "highest"
FORMS = {"lax": "gpu", "shifted": "cpu"}  # as traced for this platform
IMAGES = (2, 9, 8, 6)  # odd and even sizes
FILTERS = 5  # of a dense convolution


class Case(NamedTuple):
  """A convolution or a pool of 3x3 pixels."""

  kind: str
  kernel: int = 3
  stride: int = 1
  dilation: int = 1

  @property
  def name(self) -> str:
    """Such as "depthwise k5 s2 d2"."""
    return f"{self.kind} k{self.kernel} s{self.stride} d{self.dilation}"

  def weights(self) -> tuple[int, ...]:
    """The shape of its weights, as `reference` has them; (0,) for a pool."""
    if self.kind.endswith("pool"):
      return (0,)
    filters = () if self.kind == "depthwise" else (FILTERS,)
    return (self.kernel, self.kernel, IMAGES[-1], *filters)


def cases() -> list[Case]:
  """All kernels, strides and dilations that spaces have."""
  windows = itertools.product((3, 5), (1, 2), (1, 2))
  return [
    *(Case("depthwise", *window) for window in windows),
    *(Case("dense", k, s) for k in (1, 3, 5) for s in (1, 2)),
    Case("pointwise", 1),
    *(Case(f"{of} pool", 3, s) for of in ("average", "max") for s in (1, 2)),
  ]


def ours(case: Case) -> Callable[[Any, Any], Any]:
  """The library's function of (x, w)."""
  stride, dilation = case.stride, case.dilation
  return {
    "depthwise": lambda x, w: conv.depthwise(x, w, stride, dilation),
    "dense": lambda x, w: conv.conv(x, w, stride),
    "pointwise": lambda x, w: conv.pointwise(x, w[0, 0]),
    "average pool": lambda x, w: conv.avg_pool_3x3(x, stride),
    "max pool": lambda x, w: conv.max_pool_3x3(x, stride),
  }[case.kind]


def _windows(
  case: Case, x: np.ndarray, fill: float
) -> Iterator[tuple[tuple[int, int], tuple[Any, ...], np.ndarray]]:
  """(place, slice of the padded x, values of the slice) of each tap."""
  pad = case.dilation * (case.kernel // 2)
  edge = ((0, 0), (pad, pad), (pad, pad), (0, 0))
  padded = np.pad(x, edge, constant_values=fill)
  for tap in itertools.product(range(case.kernel), repeat=2):
    axes = tuple(
      slice(case.dilation * t, case.dilation * t + size, case.stride)
      for t, size in zip(tap, x.shape[1:3], strict=True)
    )
    where = (slice(None), *axes)
    yield tap, where, padded[where]


def reference(
  case: Case, x: np.ndarray, w: np.ndarray, g: np.ndarray
) -> tuple[np.ndarray, ...]:
  """(y, dx, dw) for the output's gradient g, by loops over taps."""
  pool, dense = case.kind.endswith("pool"), case.kind in ("dense", "pointwise")
  taps = list(_windows(case, x, -np.inf if case.kind == "max pool" else 0.0))
  inside = sum(v for *_, v in _windows(case, np.ones_like(x), 0.0))
  if case.kind == "max pool":
    y = np.max([values for *_, values in taps], 0)
  elif pool:
    y = sum(values for *_, values in taps) / inside
  else:
    y = sum(v @ w[t] if dense else v * w[t] for t, _, v in taps)
  pad = case.dilation * (case.kernel // 2)
  batch, height, width, channels = x.shape
  dx = np.zeros((batch, height + 2 * pad, width + 2 * pad, channels))
  dw = np.zeros_like(w)
  for tap, where, values in taps:
    if case.kind == "max pool":
      dx[where] += g * (values == y)  # no two are equal
    elif pool:
      dx[where] += g / inside
    elif dense:
      dx[where] += g @ w[tap].T
      dw[tap] = np.tensordot(values, g, ((0, 1, 2),) * 2)
    else:
      dx[where] += g * w[tap]
      dw[tap] = (values * g).sum((0, 1, 2))
  return y, dx[:, pad : pad + height, pad : pad + width], dw


def _inputs(case: Case) -> tuple[np.ndarray, ...]:
  """(x, w, g) in float32."""
  rng = np.random.default_rng(0)
  channels = FILTERS if case.kind in ("dense", "pointwise") else IMAGES[-1]
  out = [-(-size // case.stride) for size in IMAGES[1:3]]
  shapes = IMAGES, case.weights(), (IMAGES[0], *out, channels)
  x, w, g = (rng.standard_normal(s, np.float32) for s in shapes)
  return x, w, g


def _form(platform: str, inputs: list[tuple[np.ndarray, ...]]) -> Record:
  """The largest difference of each case; an error where one is too large."""

  def run(inputs: Any) -> list[Any]:
    found = []
    for case, (x, w, g) in zip(cases(), inputs, strict=True):
      y, pullback = jax.vjp(ours(case), x, w)
      found.append((y, *pullback(g)))
    return found

  with conv.tracing_for(platform), jax.default_matmul_precision("highest"):
    found = jax.jit(run)(jax.tree.map(jnp.asarray, inputs))
  record: Record = {}
  for case, arrays, actual in zip(cases(), inputs, found, strict=True):
    expected = reference(case, *(a.astype(np.float64) for a in arrays))
    pairs = zip(actual, expected, strict=True)
    largest = max(_difference(a, e) for a, e in pairs if e.size)
    record[case.name] = {"difference": largest}
    if not largest <= BOUND:  # or not a number
      record[case.name]["error"] = f"{largest:.1e}, over {BOUND:.0e}"
  return record


def _difference(actual: Any, expected: np.ndarray) -> float:
  """Over the largest expected value."""
  if actual.shape != expected.shape:
    raise ValueError(f"shape {actual.shape}, expected {expected.shape}")
  gap = np.abs(np.asarray(actual, np.float64) - expected).max()
  return float(gap / np.abs(expected).max())


def convolutions(save: Save) -> Record:
  """Differences from NumPy by form and case."""
  inputs, record = [_inputs(case) for case in cases()], {}
  for form, platform in FORMS.items():
    record[form] = guarded(_form, platform, inputs)
    save(record)
    say(f"   {form}: {record[form]}")
  return record
