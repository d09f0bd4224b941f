"""A search step of a config, compiled and timed."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core.compile import jit, repeat
from hwnas_jax.core.rng import stream
from hwnas_jax.data import load
from hwnas_jax.method.step import init_state, make_step


class Program(NamedTuple):
  """A compiled dispatch of steps.

  block: runs it once more, and waits for it.
  compiled: of `jax.stages`.
  about: seconds to trace, to lower and to compile (or to load), and MiB.
  """

  block: Callable[[], object]
  compiled: Any
  about: dict[str, float]


def build(config: Config, large: bool | None = None) -> Program:
  """Compiles `search.steps_per_dispatch` steps of a search.

  Args:
    config: resolved; its cost reads no latency table.
    large: in place of what the config's space gives (`core.compile.jit`).
  """
  dataset = load.load(config.data.name, config.data.data_dir or None)
  problem = problems.make(config, problems.make_nets(config, dataset), None)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(config, dataset)
  (span,) = spans = method.make_phases(config)
  init = jit(functools.partial(init_state, parts, spans))
  state = init(stream(0, "search"))
  step = make_step(parts, settings, span.phase)
  run = jit(
    repeat(step, config.search.steps_per_dispatch),
    large=settings.large if large is None else large,
    donate_argnums=0,
  )
  times = [time.perf_counter()]
  traced = run.trace(state, data, problem.costs)
  times.append(time.perf_counter())
  lowered = traced.lower()
  times.append(time.perf_counter())
  compiled = lowered.compile()
  times.append(time.perf_counter())
  names = ("trace_s", "lower_s", "compile_s")
  about = dict(zip(names, np.diff(times).tolist(), strict=True))
  memory = compiled.memory_analysis()
  about |= {
    f"{name}_mib": getattr(memory, f"{name}_size_in_bytes") / 2**20
    for name in ("temp", "argument", "output", "alias")
  }
  holder = [state]  # donated: each block takes the last one's

  def block() -> object:
    holder[0], metrics = compiled(holder[0], data, problem.costs)
    return jax.block_until_ready((holder[0], metrics))

  return Program(block, compiled, about)
