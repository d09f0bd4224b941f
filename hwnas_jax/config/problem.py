"""A checked config, resolved once into the objects that a run is made of.

    ConfigDict --resolve--> Config --make_nets--> Nets --make--> Problem

`Nets` is known before the device is measured; a `Problem` needs its table. A
name in a config, such as `sampler.name`, is looked up here, in `config.pricing`
or in `config.method`; the folders below `config` see only objects.
"""

import dataclasses
from typing import Any, Protocol

import msgspec
import numpy as np

from hwnas_jax.config import checks, files, pricing
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig
from hwnas_jax.config.streaming import streaming
from hwnas_jax.core.rng import stream
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable, raw_costs, require
from hwnas_jax.data import load as data_load
from hwnas_jax.derive import family
from hwnas_jax.derive.family import FamilySettings, Point
from hwnas_jax.derive.reach import Reach
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method import price
from hwnas_jax.method.conditions import (
  CONDITIONS,
  Conditions,
  ConditionSettings,
)
from hwnas_jax.method.state import CostTable
from hwnas_jax.nets.models import SPACES
from hwnas_jax.spaces.rules import RULES, Rule
from hwnas_jax.spaces.spec import Spec


@dataclasses.dataclass(frozen=True)
class Nets:
  """The dimensions of a search's networks; both have the same choices.

  supernet: dimensions of the supernet.
  derived: dimensions of derived networks; their shapes are measured and priced.
  """

  supernet: Spec
  derived: Spec


@dataclasses.dataclass(frozen=True)
class Problem:
  """What a search works on: a space, prices, conditions, target and rule.

  table: the device's latency table. A search of another cost has one only if
    it was given one, which then predicts its networks.
  costs: reference prices and base, from the table or counted.
  columns: the columns of the priced operations.
  conditions: the distribution of conditions, and how a controller reads them.
  points: the conditions at which networks are derived, with their names.
  target_ms: None if the penalty has no target.
  rule: a function from logits [E, O] to a genotype.
  """

  config: Config
  nets: Nets
  table: LatencyTable | None
  costs: CostTable
  columns: tuple[int, ...]
  conditions: Conditions
  points: tuple[Point, ...]
  target_ms: float | None
  rule: Rule

  def reach(self) -> Reach:
    """The smallest, typical and largest latency of the space, by the table."""
    space = self.nets.supernet.space()
    return pricing.make_reach(self.config, space, self.costs)


def resolve(config: AnyConfig | dict[str, Any]) -> Config:
  """The typed and checked fields of a config.

  Raises:
    ValueError: the message names every field that is wrong.
  """
  fields = files.typed(config)
  checks.check(fields)
  return fields


def read_run(folder: RunFolder) -> Config:
  """The checked config of a run folder, on one device.

  A run is read where there may be fewer devices than it was searched on.

  Raises:
    FileNotFoundError: the folder holds no run.
    ValueError: another version wrote it, or a field is wrong.
  """
  settings = folder.settings()
  try:
    return msgspec.structs.replace(resolve(settings.config), devices=1)
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"{folder.path / 'config.json'} is not a config of this version of"
      f" hwnas_jax: {error}"
    ) from error


class Shaped(Protocol):
  """A data set as networks see it: in memory, or a run's record of it."""

  @property
  def image(self) -> tuple[int, int, int]:
    """(height, width, channels)."""

  @property
  def num_classes(self) -> int:
    """K."""


def make_nets(config: Config, data: Shaped | None = None) -> Nets:
  """The dimensions of the supernet and of the networks derived from it.

  Args:
    config: checked.
    data: the data set; None for the one that the config names.

  Raises:
    ValueError: the space has no such networks for images of this size, or
      space.model cannot be searched.
  """
  if data is None:
    image, num_classes = data_load.shape(
      config.data.name,
      config.data.data_dir or None,
      config.data.resize,
      streaming(config),
    )
  else:
    image, num_classes = data.image, data.num_classes
  kind = SPACES[str(config.space["name"])]
  values = {name: config.space[name] for name in kind.fields}
  supernet = kind.make(values, image, num_classes)
  deeper = {
    name: number
    for name in kind.derive_fields
    if (number := getattr(config.derive, name))
  }
  derived = kind.make({**values, **deeper}, image, num_classes)
  if kind.check_derived is not None:
    training = {f: getattr(config.train, f) for f in kind.training_fields}
    kind.check_derived(supernet, derived, training)
  return Nets(supernet, derived) if deeper else Nets(supernet, supernet)


def make(
  config: Config,
  nets: Nets,
  table: LatencyTable | None,
  predictor: Predictor | None = None,
) -> Problem:
  """Makes the problem of a checked config.

  Args:
    config: checked.
    nets: of `make_nets`.
    table: the device's latency table; None only if cost.name is not latency.
    predictor: replaces the table's sum in the search.

  Raises:
    ValueError: the table lacks a site, the target is out of reach, the
      predictor is of another table, or derive.vectors has the wrong sizes.
  """
  if table is not None:
    require(
      table,
      nets.derived.space(),
      config.latency.batch_size,
      dtype=config.precision,
    )
  costs = pricing.make_costs(config, nets.supernet, nets.derived, table)
  if predictor is not None and table is not None:
    raw = nets.derived.space().cost_array(raw_costs(table))
    name = config.cost.predictor
    pricing.require_predictor(name, predictor, nets.derived, raw)
    costs = costs._replace(predictor=predictor)
  columns = price.priced_columns(np.asarray(costs.reference))
  space = nets.supernet.space()
  target_ms = pricing.make_target_ms(config, space, costs)
  return Problem(
    config=config,
    nets=nets,
    table=table,
    costs=costs,
    columns=columns,
    conditions=_make_conditions(config, len(columns)),
    points=_make_points(config, len(columns)),
    target_ms=target_ms,
    rule=pricing.make_rule(config, nets.supernet, costs, target_ms),
  )


def rule_of(config: Config) -> Rule:
  """The plain derive.rule, without a target or a limit of skips."""
  return RULES[config.derive.rule]


def _make_conditions(config: Config, size: int) -> Conditions:
  """Conditions over `size` priced operations."""
  part = config.condition
  settings = ConditionSettings(
    size=size,
    low=part.low,
    high=part.high,
    num_devices=part.num_devices,
    key=stream(config.seed, "devices"),
  )
  return CONDITIONS[part.name].make(settings)


def _make_points(config: Config, size: int) -> tuple[Point, ...]:
  """The named conditions of the family, over `size` priced operations."""
  part = config.condition
  settings = FamilySettings(
    low=part.low,
    high=part.high,
    num_scales=config.derive.num_scales,
    vectors=config.derive.vectors,
  )
  return tuple(family.points_of(CONDITIONS[part.name], size, settings))
