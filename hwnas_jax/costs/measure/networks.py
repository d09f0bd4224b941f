"""Measures whole networks on this device, to calibrate and to test a table.

Beside a table `t.json`, `t.networks.json` keeps what was measured, so that a
stopped measurement goes on: device and batch size, and a row a network with
its space, architecture and what `timing.measure_networks` says.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration as calibrations
from hwnas_jax.costs.correct import regression
from hwnas_jax.costs.correct.calibration import Calibration, Rule
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import fields, writers
from hwnas_jax.io.progress import Progress
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

GROUP = 5  # networks compiled, timed in turns and stored together
SEED = 0  # of the choice of networks

Calibrate = Callable[..., Calibration]
Errors = dict[str, dict[str, float]]  # as `calibration.errors` returns them


class Measured(NamedTuple):
  """Networks and their median latencies."""

  genotypes: list[Genotype]
  latencies_ms: list[float]

  def split(self, count: int) -> tuple["Measured", "Measured"]:
    """(the first `count`, the others)."""
    first = Measured(self.genotypes[:count], self.latencies_ms[:count])
    return first, Measured(self.genotypes[count:], self.latencies_ms[count:])


def profile_chosen(
  net: Spec,
  table: LatencyTable,
  out: str | pathlib.Path,
  rule: Rule,
  count: int,
  repeats: int,
) -> Measured:
  """Measures networks that span the space.

  The same networks for the same table; what is stored is not measured again.

  Args:
    net: the networks' space.
    table: the device's, finished, with every site of the space; or another
      device's, made this one's by `transfer.move`.
    out: where the table is.
    rule: from logits to a genotype, the one that the search ends with.
    count: how many.
    repeats: samples of each network.

  Raises:
    ValueError: the space has too few networks, or the stored measurements are
      damaged or of another device or batch size.
  """
  rng = np.random.default_rng(SEED)
  costs = tables.raw_costs(table)
  genotypes = calibrations.choose(net, costs, rule, rng, count)
  measured_ms = profile_networks(net, table, out, genotypes, repeats)
  return Measured(genotypes, measured_ms)


def calibrated(
  net: Spec,
  table: LatencyTable,
  measured: Measured,
  num_networks: int,
  calibrate: Calibrate = calibrations.calibrate,
) -> tuple[LatencyTable, Errors]:
  """The table, calibrated on the first `num_networks` that were measured.

  Args:
    net: the networks' space.
    table: with every site of the space.
    measured: of its device; those beyond the first are to tell the error on.
    num_networks: to calibrate on.
    calibrate: (net, raw costs, genotypes, measured_ms) -> calibration.

  Returns:
    The calibrated table, and the errors of the raw and the calibrated one: on
    the networks held out, or without such as `calibration.errors` has them.
  """
  costs = tables.raw_costs(table)
  fitted, held_out = measured.split(num_networks)
  found = calibrate(net, costs, *fitted)
  table = dataclasses.replace(table, calibration=found)
  if not held_out.genotypes:
    return table, calibrations.errors(found)
  return table, errors_on(net, costs, found, *held_out)


def train_predictor(
  kind: str,
  net: Spec,
  table: LatencyTable,
  measured: Measured,
  num_networks: int,
) -> tuple[Predictor, dict[str, float]]:
  """(predictor, its error on the networks held out), as `calibrated`.

  Raises:
    ValueError: see `predictor_fit.train`.
  """
  fitted, held_out = measured.split(num_networks)
  costs = tables.raw_costs(table)
  found = fit.train_on(kind, net, costs, *fitted)
  unseen = jnp.asarray(architecture.one_hot(held_out.genotypes, len(net.ops)))
  predicted = np.asarray(predictor.cost(found, unseen))
  return found, regression.error_of(
    predicted, np.asarray(held_out.latencies_ms)
  )


def errors_on(
  net: Spec,
  costs: dict[str, float],
  found: Calibration,
  genotypes: Sequence[Genotype],
  measured_ms: Sequence[float],
) -> Errors:
  """How wrong the table is on other networks, `raw` and `calibrated`."""
  raw = [
    float(calibrations.features(net, costs, g, found.liveness).sum())
    for g in genotypes
  ]
  better = [calibrations.predict_ms(found, net, costs, g) for g in genotypes]
  return {
    name: regression.error_of(predicted, np.asarray(measured_ms))
    for name, predicted in {"raw": raw, "calibrated": better}.items()
  }


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
    ValueError: what is stored is damaged, or of another device or batch size.
  """
  out = pathlib.Path(out)
  path = out.with_name(f"{out.stem}.networks.json")
  document = _stored(path, table)
  space, spec = net.space(), repr(net)
  name_of = {g: architecture.identity(space, g) for g in genotypes}
  rows = {r["id"]: r for r in document["networks"] if r["spec"] == spec}
  todo = [g for g, name in name_of.items() if name not in rows]
  with Progress(len(genotypes), "profile networks") as progress:
    for start in range(0, len(todo), GROUP):
      group = todo[start : start + GROUP]
      measured = _measure(net, group, table.batch_size, repeats)
      for genotype, latency in zip(group, measured, strict=True):
        edges = architecture.to_json(space, genotype)
        row = {"spec": spec, "id": name_of[genotype], "architecture": edges}
        rows[name_of[genotype]] = row | {"latency": latency}
        document["networks"].append(rows[name_of[genotype]])
      writers.write_json(path, document | {"digest": fields.digest(document)})
      progress.update(len(genotypes) - len(todo[start + GROUP :]))
  return [rows[name]["latency"]["median_ms"] for name in name_of.values()]


def _measure(
  net: Spec, genotypes: list[Genotype], batch_size: int, repeats: int
) -> list[dict[str, float]]:
  named = {str(i): genotype for i, genotype in enumerate(genotypes)}
  compiled = timing.compile_networks(net, named, batch_size)
  return list(timing.measure_networks(compiled, repeats).values())


def _stored(path: pathlib.Path, table: LatencyTable) -> dict[str, Any]:
  """What was measured before on this device."""
  head = {"fingerprint": table.fingerprint, "batch_size": table.batch_size}
  if not path.exists():
    return {"schema": 1, **head, "networks": []}
  document = writers.read_json(path)
  fields.check(f"{path}", document, _HEAD)
  fields.check_digest(f"{path}", document, "delete the file to measure again")
  for name, value in head.items():
    if document[name] != value:
      raise ValueError(
        f"{path}: field {name!r} is {document[name]!r}, the table's is "
        f"{value!r}: delete the file to measure again"
      )
  return document


_HEAD: dict[str, fields.Rule] = {
  "schema": fields.one_of(1),
  "fingerprint": fields.TEXT,
  "batch_size": fields.COUNT,
  "networks": fields.LIST,
  "digest": fields.TEXT,
}
