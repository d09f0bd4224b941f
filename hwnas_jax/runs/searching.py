"""The search of a run: supernet and controller, or controller and surrogate."""

import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax

from hwnas_jax.config import method
from hwnas_jax.config.problem import Problem
from hwnas_jax.core import devices, tree
from hwnas_jax.core.rng import stream
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.io import loop
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method.state import SearchData, SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.runs import feeding, judging, stages

HELD_OUT = 512  # examples that architectures are compared on


class Searched(NamedTuple):
  """A finished search: the method's parts and their final state.

  state: its `weights` are {} where the search trained no supernet.
  """

  parts: Parts
  state: SearchState


def search(problem: Problem, folder: RunFolder, dataset: Dataset) -> Searched:
  """Runs or resumes the search.

  With quality.name=surrogate the warm-up, if there is one, trains the supernet;
  then architectures are judged; then the controller is trained alone.

  Raises:
    io.loop.Stopped: asked to stop; everything done is saved.
  """
  config = problem.config
  parts, settings = method.make_parts(problem, dataset)
  data, split_digest = method.make_search_data(config, dataset)
  mesh = devices.make_mesh(config.devices)
  data, costs = devices.place((data, problem.costs), mesh)
  init, steps = method.make_search(config, parts, settings)
  cost = "expected_latency_ms" if config.cost.name == "latency" else "cost"

  def run(job: loop.Job, data: SearchData, state: SearchState) -> SearchState:
    feed = feeding.SearchFeed(config, dataset, data, state.key)

    def dispatch(state: SearchState) -> tuple[SearchState, dict[str, Any]]:
      given = feed.at(int(state.step))
      state, metrics = steps(state, given.data, costs)
      metrics[cost] = metrics.pop("expected_cost")
      return state, {**metrics, **given.metrics}

    with contextlib.closing(feed):
      return loop.run(job, dispatch, state)

  job = loop.Job(
    num_steps=config.search.num_steps,
    checkpoint_every=config.search.checkpoint_every,
    directory=folder.search,
    label="search",
    identity=loop.Identity(
      **stages.search_identity(config, dataset, problem.nets),
      split=split_digest,
      table=tree.digest(problem.costs),
    ),
    tensorboard=config.tensorboard,
  )
  key = stream(config.seed, "search")
  state = loop.finished(job, jax.eval_shape(init, key))
  if state is not None:
    return Searched(parts, devices.gather(state, mesh))
  state = init(devices.place(key, mesh))
  if config.quality.name == "surrogate":
    if method.trains_weights(config):
      warmup = dataclasses.replace(job, num_steps=config.search.warmup_steps)
      state = run(warmup, data, state)
    searched = Searched(parts, devices.gather(state, mesh))
    shared = shared_weights(problem, dataset, searched)
    surrogate = judging.judge(problem, folder, dataset, shared)
    data = data._replace(surrogate=devices.place(surrogate, mesh))
  state = run(job, data, state)
  return Searched(parts, devices.gather(state, mesh))


def shared_weights(
  problem: Problem, dataset: Dataset, searched: Searched
) -> SharedWeights | None:
  """The supernet's weights, with examples that they were not trained on.

  The examples have the run's precision, so the supernet computes as it was
  trained.

  Returns:
    None where the search trained no supernet.
  """
  if not method.trains_weights(problem.config):
    return None
  images, labels = method.held_out(problem.config, dataset, HELD_OUT)
  images = images.astype(problem.config.precision)
  parts, state = searched
  return SharedWeights(parts.net, state.weights, images, labels, parts.fold)
