"""Weights of derived networks: read, inherited from the supernet, applied."""

import functools
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.augment import normalise
from hwnas_jax.io import writers
from hwnas_jax.io.records import Accuracies
from hwnas_jax.io.run_folder import NetworkFolder
from hwnas_jax.nets.models import inherit, make_network
from hwnas_jax.nets.ops import Module
from hwnas_jax.runs.finished import Finished
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step
from hwnas_jax.train.evaluate import make_estimate, make_evaluate

ESTIMATED = 20  # batches of 128 that BN statistics are estimated on


def read(path: pathlib.Path, module: Module, image: tuple[int, ...]) -> Params:
  """The variables of a network in mode `eval`, of a run's weights.npz.

  Args:
    path: the file.
    module: the network.
    image: (height, width, channels).

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: an array is missing or of another shape; the message has it.
  """
  example = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), example)
  wanted = {"params": shapes["params"], "stats": shapes.get("batch_stats", {})}
  with np.load(path) as stored:
    # An auxiliary head, which only training has, stays behind.
    names = [name for name in tree.flatten(wanted) if name in stored]
    arrays = {name: stored[name] for name in names}
  faults = tree.diff(tree.flatten(wanted), arrays)
  if faults:
    raise ValueError(f"{path} is not of this architecture: {faults[0]}")
  leaves = jax.tree_util.tree_leaves_with_path(wanted)
  values = [arrays[tree.path(keys)] for keys, _ in leaves]
  weights = jax.tree.unflatten(jax.tree.structure(wanted), values)
  return {"params": weights["params"], "batch_stats": weights["stats"]}


def infer_with(
  net: Spec, genotype: Genotype, path: pathlib.Path, dataset: Dataset
) -> Callable[[Array], Array]:
  """A network with its weights and its normalisation inside.

  Args:
    net: the networks' dimensions.
    genotype: the network.
    path: its weights.npz.
    dataset: whose mean and standard deviation normalise the pixels.

  Returns:
    float32[B, H, W, C] pixels in [0, 255] -> logits [B, num_classes].

  Raises:
    FileNotFoundError, ValueError: see `read`.
  """
  module = make_network(net, genotype, "eval")
  variables = read(path, module, net.image)
  mean, std = (np.asarray(v, np.float32) for v in (dataset.mean, dataset.std))

  def infer(images: Array) -> Array:
    x = images * np.float32(1 / 255) - mean[None, None, None]
    return module.apply(variables, x / std[None, None, None])[0]

  return infer


def provide(
  finished: Finished, genotype: Genotype, home: NetworkFolder
) -> tuple[str, Accuracies]:
  """Writes an answer's weights: trained, or those of the supernet.

  Args:
    finished: the search.
    genotype: the answer.
    home: its folder, of `queries`.

  Returns:
    (`trained`, `inherited` or why there are none; accuracies with them).
  """
  nets = finished.problem.nets
  trained = finished.folder.network(home.id)
  if trained.weights.exists():
    home.weights.write_bytes(trained.weights.read_bytes())
    return "trained", trained.accuracies() or Accuracies()
  if nets.supernet != nets.derived:
    return "none: the supernet has other shapes", Accuracies()
  params, stats, accuracy = inherited(finished, genotype)
  writers.write_arrays(home.weights, {"params": params, "stats": stats})
  return "inherited", Accuracies(test_accuracy=accuracy)


def inherited(
  finished: Finished, genotype: Genotype
) -> tuple[Params, Params, float]:
  """(params, BN statistics, test accuracy) without any training.

  The supernet's weights under the network's names. BN is scaled by 1 and its
  statistics are estimated on the training split. Pooling has a BN in search
  alone, so a network with many pools loses much here.
  """
  problem, dataset = finished.problem, finished.dataset
  net = problem.nets.derived
  network = make_network(net, genotype, "train")
  shapes = train_step.init_variables(network, jax.random.key(0))
  params = _overlay(
    shapes[0],
    inherit(problem.nets.supernet, genotype, finished.searched.state.weights),
  )
  augment = functools.partial(normalise, mean=dataset.mean, std=dataset.std)
  estimate = jit(make_estimate(network, augment, ESTIMATED))
  stats = estimate(params, shapes[1], dataset.train)
  evaluate = jit(
    make_evaluate(
      make_network(net, genotype, "eval"),
      augment,
      problem.config.train.batch_size,
    )
  )
  return params, stats, float(evaluate(params, stats, dataset.test))


def _overlay(under: Params, over: Params) -> Params:
  """`under` with the leaves that `over` has."""
  if not isinstance(under, Mapping):
    return over
  return {
    name: _overlay(value, over[name]) if name in over else value
    for name, value in under.items()
  }
