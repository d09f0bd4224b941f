"""Stage d: a search of NAS-Bench-201 over the cone on CIFAR-10.

configs/nasbench201.py as it is, but for what the piece's settings have: the
part of CIFAR-10 that was brought along, and as many steps as --search_steps
(the schedules end there) or --search_seconds allow. Then the shared weights
rank random cells, and the ranks are compared with the benchmark's accuracies
of the same cells, trained.
"""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from experiments.gpu import latency
from experiments.gpu.runner import Piece, Record, Save, say
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.rng import stream
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import arrays, augment, load
from hwnas_jax.derive import sweep
from hwnas_jax.io import records
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.spaces import architecture, nasbench201

LOG_EVERY = 10  # dispatches
EVALUATED = 2_000  # images a cell is ranked on
SCALES = 8


def _batch(path: Any) -> tuple[np.ndarray, np.ndarray]:
  """Images [N, 32, 32, 3] and labels of a stored CIFAR-10 batch."""
  with np.load(path) as stored:
    x, labels = stored["x_delta"], stored["y"]
  # Two-dimensional differences, blue and red minus green, modulo 256.
  for axis in (2, 3):
    x = np.cumsum(x, axis, dtype=np.uint8)
  x[:, 0] += x[:, 1]
  x[:, 2] += x[:, 1]
  return np.ascontiguousarray(x.transpose(0, 2, 3, 1)), labels


def load_dataset(args: Any) -> arrays.Dataset:
  """CIFAR-10's batches that lie in --data; mock images in a smoke run."""
  if args.smoke:
    return load.load(latency.load_config("nasbench201", True).data.name)
  return load_cifar10(args.data)


def load_cifar10(folder: pathlib.Path) -> arrays.Dataset:
  """CIFAR-10's batches that lie in the folder; its name has how many."""
  paths = sorted(folder.glob("data_batch_*.npz"))
  if not paths:
    raise FileNotFoundError(f"{folder} has no data_batch_*.npz: see --data")
  train = [_batch(path) for path in paths]
  images, labels = (np.concatenate(p) for p in zip(*train, strict=True))
  test = _batch(folder / "test_batch.npz")
  name = f"cifar10, {len(labels)} of 50000 to train"
  return arrays.make_dataset(name, images, labels, *test)


def make_config(args: Any) -> Config:
  """The config, with the number of steps; MACs where there is no table."""
  config = latency.load_config("nasbench201", args.smoke)
  config.search.num_steps = 20 if args.smoke else args.search_steps
  if not latency.table_path("nasbench201", args).exists():
    config.cost.name = "macs"
  return problems.resolve(config)


def search(save: Save, args: Any, on_timed: Callable[[], None]) -> Record:
  """Searches, derives cells over the cone, ranks random cells."""
  config, dataset = make_config(args), load_dataset(args)
  table = None
  if config.cost.name == "latency":
    table = LatencyTable.load(latency.table_path("nasbench201", args))
  nets = problems.make_nets(config, dataset)
  problem = problems.make(config, nets, table)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(config, dataset)
  init, dispatch = method.make_search(config, parts, settings)
  record: Record = {
    "data": dataset.name,
    "cost": config.cost.name,
    "num_steps": config.search.num_steps,
    "search": records.to_json(config.search),
    "log": [],
  }
  state, clock = init(stream(config.seed, "search")), time.monotonic()
  inputs = data, problem.costs
  state, _ = jax.block_until_ready(dispatch(state, *inputs))
  record["first_dispatch_s"] = round(time.monotonic() - clock, 2)
  save(record)
  say(
    f"   first dispatch (trace, compile, run): {record['first_dispatch_s']} s"
  )
  state = _run(save, record, state, (dispatch, *inputs), args, on_timed)
  save(record)
  record["family"] = _family(problem, parts, state, args)
  say(f"   family: {record['family']}")
  save(record)
  record["ranking"] = _rank(save, record, parts, state, dataset, args)
  return record


def _run(
  save: Save,
  record: Record,
  state: Any,
  step: tuple[Any, Any, Any],
  args: Any,
  on_timed: Callable[[], None],
) -> Any:
  """Steps until they are done or --search_seconds are over."""
  dispatch, *inputs = step
  start, blocks, alone = time.monotonic(), [], True
  metrics: Any = {}
  while int(state.step) < record["num_steps"]:
    clock, first = time.monotonic(), int(state.step)
    done = first
    for _ in range(LOG_EVERY):
      if done < record["num_steps"]:
        state, metrics = dispatch(state, *inputs)
        done += record["search"]["steps_per_dispatch"]
    row = {name: float(value) for name, value in metrics.items()}
    row["step"] = int(state.step)
    blocks.append((time.monotonic() - clock) / (row["step"] - first))
    row["elapsed_s"] = round(time.monotonic() - start, 2)
    if len(blocks) < 5 or len(blocks) % 5 == 0:
      record["log"].append(row)
      record |= _of_steps(blocks, row)
      save(record)
      say(f"   step {row['step']}: {row['cross_entropy']:.3f},"
          f" {1e3 * record['median_step_s']:.2f} ms a step")  # fmt: skip
    if len(blocks) == 6 and alone:
      # Alone on the host until here; now other programs may compile beside.
      record["median_step_s_alone"] = float(np.median(blocks[1:]))
      alone = False
      on_timed()
    if row["elapsed_s"] > args.search_seconds:
      break
  return state


def _of_steps(blocks: list[float], row: Record) -> Record:
  low, median, high = np.percentile(blocks, (25, 50, 75))
  return {
    "steps_done": row["step"],
    "median_step_s": float(median),
    "iqr_step_s": float(high - low),
    "search_s": row["elapsed_s"],
  }


def _benchmark(args: Any) -> Record:
  path = args.data / "nb201_cifar10.npz"
  if not path.exists():
    return {}
  with np.load(path) as stored:
    names = ("cifar10_val_200", "cifar10_test_200", "cifar10_macs")
    return {name: stored[name] for name in names}


def _family(
  problem: Problem, parts: Parts, state: SearchState, args: Any
) -> list[Record]:
  """The cells of scales over the cone, with the benchmark's numbers of them."""
  published, part = _benchmark(args), problem.config.condition
  net, rule = problem.nets.derived, problems.rule_of(problem.config)
  points = sweep.scale_grid(len(problem.columns), part.low, part.high, SCALES)
  logits = sweep.logits_of(
    parts.controller, parts.conditions, state.controller, points
  )
  rows = []
  for point, logits_of_point in zip(points, logits, strict=True):
    genotype = rule(net.space(), logits_of_point)
    index = nasbench201.to_index(genotype)
    row = {"scale": point.scale, "cell": nasbench201.to_string(genotype)}
    if problem.table is not None:
      row["predicted_ms"] = tables.predict_ms(problem.table, net, genotype)
    row |= {name: float(values[index]) for name, values in published.items()}
    rows.append(row)
  return rows


def _rank(
  save: Save, record: Record, parts: Any, state: Any, dataset: Any, args: Any
) -> Record:
  """Shared-weight loss of random cells against benchmark accuracy."""
  count, number = (64, 4) if args.smoke else (EVALUATED, args.cells)
  rng = np.random.default_rng(1)
  indices = rng.choice(nasbench201.NUM_CELLS, number, replace=False)
  genotypes = [nasbench201.from_index(int(i)) for i in indices]
  mixes = jnp.asarray(architecture.one_hot(genotypes, 5))
  images = augment.normalise(
    dataset.test.images[:count], dataset.mean, dataset.std
  )
  labels = dataset.test.labels[:count]
  # The middle of the cone; with the plain fold it changes nothing.
  uniform = parts.conditions.draw(jax.random.key(0))
  features = parts.conditions.features(uniform)

  @jax.jit
  def evaluate(weights: Any, mix: Any) -> Any:
    outputs = parts.net.apply(parts.fold(weights, features), mix, images)
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return loss.mean(), (outputs.argmax(-1) == labels).mean()

  scores = np.asarray(
    [[float(v) for v in evaluate(state.weights, mix)] for mix in mixes]
  )
  row: Record = {
    "cells": number,
    "images": count,
    "of": "test batch, never used in the search",
    "index": indices.tolist(),
    "loss": scores[:, 0].tolist(),
    "accuracy": scores[:, 1].tolist(),
  }
  for name, values in _benchmark(args).items():
    truth = values[indices]
    row[name] = _correlations(scores, truth)
    if name == "cifar10_val_200" and (truth > 80).sum() > 2:
      row["val_200 above 80 %"] = _correlations(
        scores[truth > 80], truth[truth > 80]
      ) | {"cells": int((truth > 80).sum())}
  shown = {k: v for k, v in row.items() if isinstance(v, dict)}
  say(f"   ranking: {shown}")
  save(record | {"ranking": row})
  return row


def _correlations(scores: np.ndarray, truth: np.ndarray) -> Record:
  """Positive where the shared weights rank as the benchmark does."""
  return {
    "spearman_loss": float(stats.spearmanr(-scores[:, 0], truth)[0]),
    "kendall_loss": float(stats.kendalltau(-scores[:, 0], truth)[0]),
    "spearman_accuracy": float(stats.spearmanr(scores[:, 1], truth)[0]),
  }


def pieces(args: Any, on_timed: Callable[[], None]) -> list[Piece]:
  """One piece; its record grows as the search goes on, but it starts anew."""
  settings = {
    "search_steps": args.search_steps,
    "search_seconds": args.search_seconds,
    "cells": args.cells,
  }
  expected = args.search_seconds + 70
  run = functools.partial(search, args=args, on_timed=on_timed)
  return [Piece("nasbench201", expected, run, settings)]
