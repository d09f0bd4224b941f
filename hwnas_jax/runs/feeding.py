"""Examples for steps and evaluations, wherever the data set is."""

import contextlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from hwnas_jax.config import method
from hwnas_jax.config.fields import Config
from hwnas_jax.core import devices
from hwnas_jax.core.devices import Where
from hwnas_jax.core.types import Array, Params
from hwnas_jax.data import feed
from hwnas_jax.data.arrays import Dataset, Examples, Split, Window, size
from hwnas_jax.data.feed import Feed, Length
from hwnas_jax.data.streamed import Streamed
from hwnas_jax.method import losses, phases
from hwnas_jax.method.state import SearchData
from hwnas_jax.train import step as train_step

WAIT_SHARE = "data_wait_share"  # in metrics of streamed data: see `Feed`


class Given(NamedTuple):
  """What a dispatch is given, and what there is to log of it."""

  data: Any
  metrics: dict[str, float]


class SearchFeed:
  """Gives each dispatch of a search its examples."""

  def __init__(
    self, config: Config, dataset: Dataset, data: SearchData, key: Array
  ) -> None:
    """Reads nothing yet.

    Args:
      config: checked.
      dataset: to search on.
      data: of `method.make_search_data`.
      key: `SearchState.key`.
    """
    self.data = data
    self._spans = method.make_phases(config)
    self._feed = None
    if isinstance(dataset.train, Streamed):
      rows = method.level_rows(config, dataset)
      count = 2 if config.search.bilevel else 1
      self._feed = Feed(
        tuple(losses.order_key(key, level) for level in range(count)),
        tuple(dataset.train.subset(rows[level]) for level in range(count)),
        _length(config.search),
        devices.make_mesh(config.devices),
      )

  def at(self, step: int) -> Given:
    """The arguments of the dispatch that begins at a step."""
    levels = phases.levels(phases.current(self._spans, step))
    if self._feed is None or not levels:
      return Given(self.data, {})
    windows = self._feed.windows(step, levels)
    # What the phase does not read is not copied: the other one stands for it.
    both = windows[0], windows[-1]
    share = {WAIT_SHARE: self._feed.wait_share}
    return Given(self.data._replace(windows=both), share)

  def close(self) -> None:
    """Ends the workers."""
    if self._feed is not None:
      self._feed.close()


class TrainFeed:
  """Gives each dispatch of a training its examples."""

  def __init__(
    self, config: Config, split: Examples, key: Array, where: Where
  ) -> None:
    """Reads nothing yet.

    Args:
      config: checked; the recipe is `config.train`.
      split: to train on; what is in memory is placed already.
      key: `TrainState.key`.
      where: the devices of the steps.
    """
    self._split = split
    self._feed = None
    if isinstance(split, Streamed):
      keys = (train_step.order_key(key),)
      self._feed = Feed(keys, (split,), _length(config.train), where)

  def at(self, step: int) -> Given:
    """The data of the dispatch that begins at a step."""
    if self._feed is None:
      return Given(self._split, {})
    (window,) = self._feed.windows(step)
    return Given(window, {WAIT_SHARE: self._feed.wait_share})

  def close(self) -> None:
    """Ends the workers."""
    if self._feed is not None:
      self._feed.close()


def sharding(examples: Examples, where: Where, axis: int) -> Sharding | None:
  """Of what a dispatch or an evaluation is given.

  Args:
    examples: a streamed batch is split over the devices; a split in memory has
      a copy on each.
    where: the devices.
    axis: of a batch, along which its examples lie.
  """
  if isinstance(examples, Streamed):
    return devices.along(where, axis)
  return devices.copies(where)


def _length(part: Any) -> Length:
  """Of `config.search` or `config.train`."""
  return Length(part.num_steps, part.steps_per_dispatch, part.batch_size)


def shapes(config: Config, split: Examples) -> Split | Window:
  """What a training's dispatch is given, or its shapes, to compile it."""
  if not isinstance(split, Streamed):
    return split
  part = config.train
  rows = part.steps_per_dispatch, part.batch_size
  return Window(*_shapes(split, rows))


def evaluated(config: Config, split: Examples) -> Split:
  """What an evaluation is given at once, or its shapes, to compile it."""
  if not isinstance(split, Streamed):
    return split
  return Split(*_shapes(split, (_chunk(config, split),)))


def _shapes(split: Streamed, rows: tuple[int, ...]) -> tuple[Any, Any]:
  return (
    jax.ShapeDtypeStruct((*rows, *split.image), jnp.uint8),
    jax.ShapeDtypeStruct(rows, jnp.int32),
  )


def _chunk(config: Config, split: Streamed) -> int:
  devices_divide = -(-len(split) // config.devices) * config.devices
  return min(config.train.batch_size, devices_divide)


def accuracy(
  config: Config,
  evaluate: Any,
  params: Params,
  stats: Params,
  split: Examples,
  where: Where = None,
) -> float:
  """The accuracy of a network on a whole split, a share of 1.

  Args:
    config: checked.
    evaluate: of `train.evaluate`, compiled for `evaluated(config, split)`.
    params: the network's weights.
    stats: its BN statistics.
    split: the examples; those in memory are placed already.
    where: the devices of `evaluate`.
  """
  if not isinstance(split, Streamed):
    return float(evaluate(params, stats, split))
  chunk, hits = _chunk(config, split), 0
  batches_in_order = feed.in_order(split, chunk, where)
  with contextlib.closing(batches_in_order) as batches:
    for batch in batches:
      hits += round(float(evaluate(params, stats, batch)) * chunk)
  return hits / size(split)
