"""Measures whole networks on this device, to calibrate and to test a table.

The measurements are stored beside the table: for `t.json` in `t.networks.json`
(`Stored`). So a measurement that was stopped goes on where it was.
"""

import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import jax.numpy as jnp
import msgspec
import numpy as np

from hwnas_jax.core.precision import PRECISIONS
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration as calibrations
from hwnas_jax.costs.correct import regression
from hwnas_jax.costs.correct.calibration import Calibrate, Rule
from hwnas_jax.costs.correct.regression import Error
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.measure.meter import LATENCY, METERS
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import document
from hwnas_jax.io.document import Count, Text
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.records import Architecture, Measurement, Record
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

GROUP = 5  # networks compiled, timed in turns and stored together
SEED = 0  # of the choice of networks
SCHEMA = 3


class StoredNetwork(Record, frozen=True):
  """A measured network.

  spec: its space, as text. id: names its architecture.
  """

  spec: Text
  id: Text
  architecture: Architecture
  latency: Measurement


class Stored(Record, frozen=True):
  """The networks that were measured on a device at a batch size."""

  fingerprint: Text
  batch_size: Count
  quantity: Text
  networks: tuple[StoredNetwork, ...] = ()
  dtype: Annotated[str, document.one_of(*PRECISIONS)] = "float32"
  schema: Annotated[int, document.exactly(SCHEMA)] = SCHEMA


def profile_chosen(
  net: Spec,
  table: LatencyTable,
  out: str | pathlib.Path,
  rule: Rule,
  count: int,
  repeats: int,
) -> Measured:
  """Measures networks that span the space.

  The same table gives the same networks. Stored networks are not measured
  again.

  Args:
    net: the networks' space.
    table: this device's finished table with every site of the space, or a copy
      of another device's by `transfer.move`.
    out: the table's file.
    rule: the rule of the search, from logits to an architecture.
    count: how many.
    repeats: samples of each network.

  Raises:
    ValueError: the space has too few networks, or the stored measurements are
      damaged or of another device, batch size or quantity.
  """
  rng = np.random.default_rng(SEED)
  costs = tables.raw_costs(table)
  genotypes = calibrations.choose(net, costs, rule, rng, count)
  latencies_ms = profile_networks(net, table, out, genotypes, repeats)
  return Measured(genotypes, latencies_ms)


def calibrated(
  net: Spec,
  table: LatencyTable,
  measured: Measured,
  num_networks: int,
  calibrate: Calibrate = calibrations.calibrate,
) -> LatencyTable:
  """The table, calibrated on the first `num_networks` measured networks.

  Args:
    net: the networks' space.
    table: with every site of the space.
    measured: on the table's device.
    num_networks: how many to calibrate on; the others are held out.
    calibrate: makes the calibration.

  Returns:
    The calibrated table. Its `errors` are on the held-out networks; if there
    are none, each network is predicted by the fit to all others.
  """
  costs = tables.raw_costs(table)
  fitted, held_out = measured.split(num_networks)
  calibration = calibrate(net, costs, fitted)
  errors = (
    calibrations.errors_on(calibration, net, costs, held_out)
    if held_out.genotypes
    else calibrations.errors(calibration)
  )
  return msgspec.structs.replace(table, calibration=calibration, errors=errors)


def train_predictor(
  kind: str,
  net: Spec,
  table: LatencyTable,
  measured: Measured,
  num_networks: int,
) -> tuple[Predictor, Error]:
  """(predictor, its error on the held-out networks); arguments as `calibrated`.

  Raises:
    ValueError: see `fit.train`.
  """
  fitted, held_out = measured.split(num_networks)
  trained = fit.train_on(kind, net, tables.raw_costs(table), fitted)
  mixes = jnp.asarray(architecture.one_hot(held_out.genotypes, len(net.ops)))
  predicted_ms = np.asarray(predictor.cost(trained, mixes))
  return trained, regression.error_of(predicted_ms, held_out.latencies_ms)


def profile_networks(
  net: Spec,
  table: LatencyTable,
  out: str | pathlib.Path,
  genotypes: Sequence[Genotype],
  repeats: int,
) -> list[float]:
  """Measures the networks that are not stored beside the table `out`.

  Returns:
    Their median latencies in ms, in order.

  Raises:
    ValueError: the stored measurements are damaged, or of another device, batch
      size or quantity.
  """
  out = pathlib.Path(out)
  path = out.with_name(f"{out.stem}.networks.json")
  stored = _stored(path, table)
  space, spec = net.space(), repr(net)
  ids = {g: architecture.identity(space, g) for g in genotypes}
  medians_ms = {
    network.id: network.latency.median_ms
    for network in stored.networks
    if network.spec == spec
  }
  todo = [g for g, name in ids.items() if name not in medians_ms]
  with Progress(len(genotypes), "profile networks") as progress:
    for start in range(0, len(todo), GROUP):
      group = todo[start : start + GROUP]
      added = [
        StoredNetwork(spec, ids[g], architecture.to_json(space, g), latency)
        for g, latency in zip(
          group, _measure(net, group, table, repeats), strict=True
        )
      ]
      medians_ms |= {n.id: n.latency.median_ms for n in added}
      stored = msgspec.structs.replace(
        stored, networks=(*stored.networks, *added)
      )
      document.write(path, stored)
      progress.update(len(genotypes) - len(todo[start + GROUP :]))
  return [medians_ms[name] for name in ids.values()]


def _measure(
  net: Spec, genotypes: list[Genotype], table: LatencyTable, repeats: int
) -> list[Measurement]:
  named = {str(i): genotype for i, genotype in enumerate(genotypes)}
  compiled = timing.compile_networks(net, named, table.batch_size, table.dtype)
  meter = METERS[table.quantity]
  return list(timing.measure_networks(compiled, repeats, meter).values())


def _stored(path: pathlib.Path, table: LatencyTable) -> Stored:
  """The stored measurements of this device."""
  new = Stored(
    table.fingerprint, table.batch_size, table.quantity, dtype=table.dtype
  )
  if not path.exists():
    return new
  remedy = "delete the file to measure again"
  stored = document.read(path, Stored, remedy, _upgrade)
  for name in ("fingerprint", "batch_size", "quantity", "dtype"):
    old, wanted = getattr(stored, name), getattr(new, name)
    if old != wanted:
      raise ValueError(
        f"{path}: field `{name}` is {old!r}, the table's is {wanted!r}: "
        f"{remedy}"
      )
  return stored


def _upgrade(contents: dict[str, Any]) -> dict[str, Any]:
  """Contents of schema 1, of latency in float32, or 2, of float32, in 3."""
  if contents.get("schema") not in (1, 2):
    return contents
  then = {"quantity": LATENCY.quantity, "dtype": "float32"}
  return {**then, **contents, "schema": SCHEMA}
