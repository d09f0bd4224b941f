"""Stage a: a first search step on the device against the CPU's."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gpu.runner import Record, Save, each, say
from hwnas_jax.config import default, method, presets
from hwnas_jax.config import problem as problems
from hwnas_jax.core.rng import stream
from hwnas_jax.data import load
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import init_state, make_step
from hwnas_jax.nets.conv import tracing_for

# Of largest differences over largest values, float32 "highest". Batch
# statistics of few pixels enlarge what sums in another order differ by.
BOUND = 1e-3
SMALL = {"ops": "eight", "num_cells": 3, "num_nodes": 1, "channels": 4}
TINY = SMALL | {"ops": "three", "num_cells": 1}


def _problem(bilevel: bool, smoke: bool) -> Any:
  """A small DARTS supernet on the digits, smaller still in a smoke run."""
  config = default()
  presets.smoke(config)
  config.space.update(TINY if smoke else SMALL)
  config.cost.name = "macs"
  config.search.update(bilevel=bilevel, batch_size=16)
  fields = problems.resolve(config)
  dataset = load.load(fields.data.name)
  problem = problems.make(fields, problems.make_nets(fields, dataset), None)
  return problem, dataset


def _gradients(state: SearchState, metrics: Any) -> dict[str, Any]:
  """What a first step leaves of gradients, as vectors in float64.

  The optimisers' moments: those of weights are their gradient, Adam's first
  of the controller a tenth of it. (Adam's step itself divides each gradient
  by its size, and so enlarges the rounding errors of small ones.)
  """
  parts = {
    "weights": state.weights_optimiser,
    "controller": state.controller_optimiser,
    "loss": metrics["loss"],
    "all": (state, metrics),
  }
  return {
    name: np.concatenate(
      [
        np.ravel(np.asarray(leaf, np.float64))
        for leaf in jax.tree.leaves(part)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
      ]
    )
    for name, part in parts.items()
  }


def _compare(bilevel: bool, smoke: bool) -> Record:
  """Differences over the largest value; an error where one is too large."""
  problem, dataset = _problem(bilevel, smoke)
  cpu, there = jax.devices("cpu")[0], jax.devices()[0]
  found = {}
  with jax.default_device(cpu), jax.default_matmul_precision("highest"):
    parts, settings = method.make_parts(problem, dataset)
    data, _ = method.make_search_data(problem.config, dataset)
    spans = method.make_phases(problem.config)
    init = functools.partial(init_state, parts, spans)
    inputs = jax.jit(init)(stream(0, "search")), data, problem.costs
    for device, platform in ((cpu, "cpu"), (there, "gpu")):
      step = make_step(parts, settings, spans[-1].phase)
      with jax.default_device(device), tracing_for(platform):
        placed = jax.device_put(inputs, device)
        found[platform] = _gradients(*jax.jit(step)(*placed))
  record: Record = {}
  for name, expected in found["cpu"].items():
    actual = found["gpu"][name]
    if name == "all":
      record["finite"] = bool(np.isfinite(actual).all())
      continue
    gap = np.abs(actual - expected).max() / np.abs(expected).max()
    record[name] = float(gap)
  worst = max(record[name] for name in ("weights", "controller", "loss"))
  if not (record["finite"] and worst <= BOUND):
    record["error"] = f"not finite, or {worst:.1e} is over {BOUND:.0e}"
  return record


def steps(save: Save, smoke: bool) -> Record:
  """A one-level and a bilevel step."""
  record: Record = {}
  compare = functools.partial(_compare, smoke=smoke)
  for bilevel, row in each(compare, (False, True), 2):
    name = "bilevel" if bilevel else "one-level"
    record[name] = row
    save(record)
    say(f"   {name}: {row}")
  return record
