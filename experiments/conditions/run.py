"""Variance of the controller's gradient by conditions a step.

  python -m experiments.conditions.run

From the repository root. The search of configs/digits.py makes 500 steps, with
one condition a step; multiply-accumulates stand for latency. At that state the
controller's gradient is taken 512 times by search steps of 1 to 16 conditions,
which share a batch. The noise of a gradient is the trace of its covariance over
the squared norm of its mean. Steps are timed in turns. Rows that results.json
has are not made again.
"""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np
import optax

import hwnas_jax as hw
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.core.compile import jit, repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array
from hwnas_jax.data import load
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.method.step import init_state, make_step

RESULTS = pathlib.Path(__file__).parent / "results.json"
COUNTS = (1, 2, 4, 8, 16)
SAMPLERS = ("gumbel_softmax", "gdas")
BATCHES = (64, 256)
STEPS, SAMPLES, ROUNDS, BLOCK = 500, 512, 10, 20


class Search:
  """A search whose steps draw `count` conditions for a batch."""

  def __init__(self, sampler: str, batch: int, count: int) -> None:
    config = hw.load_config("digits")
    config.cost.name = "macs"
    config.sampler.update(name=sampler, per_example=sampler != "gdas")
    # So long that the schedules hardly move during the experiment.
    config.search.update(num_steps=10**6, conditions_per_step=count)
    config.search.batch_size = batch
    config.search.update(warmup_steps=0, steps_per_dispatch=1)
    config.search.checkpoint_every = config.search.num_steps
    fields = problems.resolve(config)
    dataset = load.load(fields.data.name)
    problem = problems.make(fields, problems.make_nets(fields, dataset), None)
    self.parts, self.settings = method.make_parts(problem, dataset)
    self.spans = method.make_phases(fields)
    self.inputs = method.make_search_data(fields, dataset)[0], problem.costs

  def advance(self, steps: int) -> Any:
    """(the state, a function that makes `steps` steps more)."""
    key = stream(0, "search")
    state = jit(lambda key: init_state(self.parts, self.spans, key))(key)
    step = make_step(self.parts, self.settings, self.spans[0].phase)
    return state, jit(repeat(step, steps))

  def gradients(self, state: Any) -> np.ndarray:
    """The controller's gradient at one state by SAMPLES steps: [SAMPLES, P]."""
    plain = optax.sgd(1.0)
    parts = self.parts._replace(controller_optimiser=plain)
    state = dataclasses.replace(
      state, controller_optimiser=plain.init(state.controller)
    )
    step = make_step(parts, self.settings, self.spans[0].phase)

    def gradient(number: Array) -> Any:
      moved, _ = step(dataclasses.replace(state, step=number), *self.inputs)
      return jax.tree.map(
        lambda old, new: (old - new).ravel(),
        *(state.controller, moved.controller),
      )

    numbers = STEPS + np.arange(SAMPLES, dtype=np.int32)
    rows = jit(lambda numbers: jax.lax.map(gradient, numbers))(numbers)
    return np.concatenate([np.asarray(r) for r in jax.tree.leaves(rows)], 1)


def noise(gradients: np.ndarray) -> dict[str, float]:
  """Variance and squared mean of gradients [N, P], and their ratio."""
  variance = float(gradients.var(0, ddof=1).sum())
  # The mean of N samples has their variance over N in its square.
  square = float((gradients.mean(0) ** 2).sum()) - variance / len(gradients)
  return {"variance": variance, "square": square, "noise": variance / square}


def timed(searches: dict[int, Search]) -> dict[int, list[float]]:
  """Seconds of a step by count, in turns."""
  ready = {count: search.advance(BLOCK) for count, search in searches.items()}
  seconds: dict[int, list[float]] = {count: [] for count in searches}
  for _ in range(ROUNDS + 1):  # the first compiles
    for count, (state, steps) in ready.items():
      start = time.perf_counter()
      jax.block_until_ready(steps(state, *searches[count].inputs))
      seconds[count].append((time.perf_counter() - start) / BLOCK)
  return {count: row[1:] for count, row in seconds.items()}


def measure(sampler: str, batch: int) -> list[dict[str, Any]]:
  """A row of each count."""
  searches = {count: Search(sampler, batch, count) for count in COUNTS}
  state, steps = searches[1].advance(STEPS)
  state, _ = steps(state, *searches[1].inputs)
  seconds = timed(searches)
  rows = []
  for count, search in searches.items():
    row = {
      "sampler": sampler,
      "batch": batch,
      "conditions": count,
      **noise(search.gradients(state)),
      "step_s": float(np.median(seconds[count])),
      "step_iqr_s": float(
        np.subtract(*np.percentile(seconds[count], [75, 25]))
      ),
    }
    print(row, flush=True)
    rows.append(row)
  return rows


def main() -> None:
  """Adds to results.json what it lacks."""
  document = readers.read_json(RESULTS) if RESULTS.exists() else {"rows": []}
  done = {(row["sampler"], row["batch"]) for row in document["rows"]}
  for sampler in SAMPLERS:
    for batch in BATCHES:
      if (sampler, batch) not in done:
        document["rows"] += measure(sampler, batch)
        document |= {
          "seed": 0,
          "samples": SAMPLES,
          "versions": versions.versions(),
          "device": jax.devices()[0].device_kind,
        }
        writers.write_json(RESULTS, document)


if __name__ == "__main__":
  main()
