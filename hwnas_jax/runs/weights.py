"""Weights of derived networks: read, inherited from the supernet, applied."""

import functools
import pathlib
from typing import TYPE_CHECKING, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import method
from hwnas_jax.core import precision, tree
from hwnas_jax.core.compile import ahead, jit
from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.costs.measure import timing
from hwnas_jax.data import arrays
from hwnas_jax.data.arrays import Split
from hwnas_jax.data.augment import normalise
from hwnas_jax.io import readers, writers
from hwnas_jax.io.records import Accuracies, DataSet
from hwnas_jax.io.run_folder import NetworkFolder
from hwnas_jax.nets.models import inherit, make_network
from hwnas_jax.nets.ops import Module
from hwnas_jax.runs import feeding
from hwnas_jax.spaces.spec import Spec
from hwnas_jax.train import step as train_step
from hwnas_jax.train.evaluate import make_estimate

if TYPE_CHECKING:
  from hwnas_jax.runs.finished import Finished


class Infer(Protocol):
  """A network with its weights and its normalisation inside."""

  def __call__(self, pixels: Array, /) -> Array:
    """float32[B, H, W, C] in [0, 255] -> class logits [B, num_classes]."""


ESTIMATED = 20  # batches of 128 for the estimate of BN statistics


def read(path: pathlib.Path, module: Module, image: tuple[int, ...]) -> Params:
  """The flax variables of a network in mode `eval`, from its weights.npz.

  Args:
    path: the file.
    module: the network.
    image: (height, width, channels).

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged or was changed, or an array is missing or has
      another shape; the message names it.
  """
  example = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), example)
  wanted = {"params": shapes["params"], "stats": shapes.get("batch_stats", {})}
  stored = readers.read_sealed(path)
  # Arrays of an auxiliary head, which only training has, are not read.
  names = [name for name in tree.flatten(wanted) if name in stored]
  arrays = {name: stored[name] for name in names}
  faults = tree.diff(tree.flatten(wanted), arrays)
  if faults:
    raise ValueError(
      f"{path} has the weights of another architecture: {faults[0]}"
    )
  leaves = jax.tree_util.tree_leaves_with_path(wanted)
  values = [arrays[tree.path(keys)] for keys, _ in leaves]
  weights = jax.tree.unflatten(jax.tree.structure(wanted), values)
  return {"params": weights["params"], "batch_stats": weights["stats"]}


def infer_with(
  net: Spec,
  genotype: Genotype,
  path: pathlib.Path,
  data: DataSet,
  dtype: str = "float32",
) -> Infer:
  """A network as a function of pixels, with its weights and normalisation.

  Args:
    net: the networks' dimensions.
    genotype: the architecture.
    path: its weights.npz.
    data: its mean and standard deviation normalise the pixels.
    dtype: what the network computes in (`core.precision`).

  Returns:
    float32[B, H, W, C] pixels in [0, 255] -> logits [B, num_classes].

  Raises:
    FileNotFoundError, ValueError: see `read`.
  """
  module = make_network(net, genotype, "eval")
  variables = read(path, module, net.image)
  variables = precision.cast_variables(variables, dtype)
  mean, std = (np.asarray(v, np.float32) for v in (data.mean, data.std))

  def infer(images: Array) -> Array:
    x = images * np.float32(1 / 255) - mean[None, None, None]
    x = (x / std[None, None, None]).astype(dtype)
    return module.apply(variables, x)[0]

  return infer


def fault(path: pathlib.Path) -> str | None:
  """Why a weights.npz cannot be read; None if it can."""
  try:
    readers.read_sealed(path)
  except (FileNotFoundError, ValueError) as error:
    return str(error)
  return None


def recorded_accuracy(home: NetworkFolder) -> float | None:
  """Test accuracy that the run recorded of weights.npz; None where none.

  weights.npz has the first training seed's weights.
  """
  certificate = home.certificate()
  of_answer = certificate.accuracies if certificate else None
  accuracies = home.accuracies() or of_answer or Accuracies()
  return next(iter(accuracies.test_accuracies), accuracies.test_accuracy)


def provide(
  finished: "Finished", genotype: Genotype, home: NetworkFolder
) -> tuple[str, Accuracies]:
  """Writes the weights of a query's answer: trained ones, or the supernet's.

  Args:
    finished: the search.
    genotype: the answer.
    home: the answer's folder, queries/<id>.

  Returns:
    (`trained`, `inherited`, or `none` with the reason; the accuracies with
    these weights).
  """
  nets = finished.problem.nets
  trained = finished.folder.network(home.id)
  if trained.weights.exists():
    writers.write_arrays(home.weights, readers.read_sealed(trained.weights))
    return "trained", trained.accuracies() or Accuracies()
  if not method.trains_weights(finished.problem.config):
    return "none: the search trained no supernet", Accuracies()
  if nets.supernet != nets.derived:
    return "none: the supernet has other shapes", Accuracies()
  if (accuracies := _inherited_before(home)) is not None:
    return "inherited", accuracies
  params, stats, accuracy = inherited(finished, genotype)
  writers.write_arrays(home.weights, {"params": params, "stats": stats})
  return "inherited", Accuracies(test_accuracy=accuracy)


def _inherited_before(home: NetworkFolder) -> Accuracies | None:
  """What an earlier query wrote; None if it wrote nothing, or it is damaged."""
  if fault(home.weights):
    return None
  try:
    before = home.certificate()
  except ValueError:
    return None
  inherited = before is not None and before.weights == "inherited"
  return before.accuracies if before and inherited else None


def inherited(
  finished: "Finished", genotype: Genotype
) -> tuple[Params, Params, float]:
  """(params, BN statistics, test accuracy) of a network with shared weights.

  The network has the supernet's weights under its own names. BN has scale 1,
  and its statistics are estimated on the training split, of
  streamed data on a fixed sample of it. In the supernet a BN
  follows each pool, in a network it does not, so a network with many pools
  loses much accuracy here.
  """
  problem, dataset = finished.problem, finished.dataset
  net, dtype = problem.nets.derived, problem.config.precision
  network = make_network(net, genotype, "train")
  # Of NumPy's arrays no slice is compiled.
  supernet = jax.device_get(finished.searched.state.weights)
  shared = inherit(problem.nets.supernet, genotype, supernet)
  augment = jax.jit(
    functools.partial(
      normalise,
      mean=dataset.mean,
      std=dataset.std,
      dtype=dtype,
    )
  )
  estimate = make_estimate(network, augment, ESTIMATED)

  @jit
  def complete(shared: Params, train: Split) -> tuple[Params, Params]:
    fresh, stats = train_step.init_variables(network, jax.random.key(0))
    params = tree.overlay(fresh, shared)
    return params, estimate(params, stats, train)

  def variables(params: Params, stats: Params) -> Params:
    has = {"batch_stats": stats} if stats else {}  # as flax's own init
    return precision.cast_variables({"params": params, **has}, dtype)

  train = arrays.on_device(dataset.train, ESTIMATED * 128)
  assert problem.table is not None
  size = problem.table.batch_size
  complete, measured = ahead(
    lambda build: build(),
    (
      complete.lower(shared, train).compile,
      lambda: timing.compile_network(net, genotype, size, dtype),
    ),
  )
  params, stats = complete(shared, train)

  def evaluate(params: Params, stats: Params, split: Split, /) -> float:
    weights = variables(params, stats)
    return _share_right(
      lambda images: measured.program(weights, augment(images)), split, size
    )

  accuracy = feeding.accuracy(
    problem.config, evaluate, params, stats, dataset.test
  )
  return params, stats, accuracy


def _share_right(infer: Infer, split: Split, size: int) -> float:
  """The accuracy of a program for batches of one size."""
  labels, hits = np.asarray(split.labels), 0
  for start in range(0, len(labels), size):
    rows = np.arange(start, start + size)
    logits = infer(split.images[np.minimum(rows, len(labels) - 1)])
    right = labels[start : start + size]
    hits += int((np.asarray(logits).argmax(-1)[: len(right)] == right).sum())
  return hits / len(labels)
