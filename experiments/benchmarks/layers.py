"""How long a chain's supernet takes to compile, by its number of layers.

  python -m experiments.benchmarks.layers

The loss and its gradients to weights and mix, of FBNet's chain for 32x32 images
with 2, 4 (FBNet's own) and 8 layers in each of its five long stages: all
operations mixed, and one operation a layer (a path). Rows that layers.json has
are not made again.
"""

import dataclasses
import itertools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.made import begin, made
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.io import readers, writers
from hwnas_jax.nets import mobile
from hwnas_jax.spaces.mobile import SKELETONS, Chain

RESULTS = pathlib.Path(__file__).with_suffix(".json")
REPEATS, BATCH = (2, 4, 8), 64


def make_chain(repeats: int) -> Chain:
  """FBNet's chain with `repeats` layers in each of its long stages."""
  frame = SKELETONS["fbnet_32"]
  stages = tuple(
    stage._replace(repeats=repeats) if stage.repeats > 1 else stage
    for stage in frame.stages
  )
  frame = dataclasses.replace(frame, stages=stages)
  return Chain(frame, (32, 32, 3), 10, 1.0)


def measure(repeats: int, path: bool) -> dict[str, object]:
  """Seconds to trace and lower, and to compile."""
  net = make_chain(repeats)
  space, supernet = net.space(), mobile.make_supernet(net)
  layers = len(space.choices)

  def loss(weights: Params, mix: Array, images: Array, active: Array) -> Array:
    paths = Paths(active) if path else None
    return supernet.apply(weights, mix, images, paths).sum()

  inputs = (
    jax.eval_shape(supernet.init, jax.random.key(0)),
    jax.ShapeDtypeStruct((layers, len(net.ops)), jnp.float32),
    jax.ShapeDtypeStruct((BATCH, *net.image), jnp.float32),
    jax.ShapeDtypeStruct((layers, 1), jnp.int32),
  )
  jax.clear_caches()  # what the row before traced
  times = [time.perf_counter()]
  lowered = jit(jax.grad(loss, (0, 1)), large=True).lower(*inputs)
  times.append(time.perf_counter())
  lowered.compile()
  times.append(time.perf_counter())
  trace_and_lower_s, compile_s = np.diff(times).tolist()
  return {
    "layers": layers,
    "path": path,
    "trace_and_lower_s": trace_and_lower_s,
    "compile_s": compile_s,
  }


def main() -> None:
  """Writes layers.json."""
  start = begin()
  document = readers.read_json(RESULTS) if RESULTS.exists() else {"rows": []}
  cases = list(itertools.product((False, True), REPEATS))
  for path, repeats in cases[len(document["rows"]) :]:
    document["rows"].append(measure(repeats, path))
    document["made"] = made(start, all=0)
    writers.write_json(RESULTS, document)
    print(document["rows"][-1], flush=True)


if __name__ == "__main__":
  main()
