"""What devices' operations cost beside each other: coefficients, in a file too.

`transfer_nasbench201.json` has the coefficients of 27 devices and batch sizes
for NAS-Bench-201's operations, fitted by `experiments/transfer/help.py` to the
latencies published with HELP (MIT). No public tables exist for DARTS's
operations.
"""

import importlib.resources
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hwnas_jax.costs.correct.calibration import BASE
from hwnas_jax.io import fields
from hwnas_jax.spaces.spec import Spec

SHIPPED = "transfer_nasbench201.json"
# Of a typical network's latency: what a type costs at the least, for its log.
LEAST = 0.003


class Devices(NamedTuple):
  """Coefficients of devices in one space.

  names: [F] types of operation, BASE first.
  typical: [F] how often a typical network has each.
  coefficients_ms: {device: [F]} ms each.
  """

  names: tuple[str, ...]
  typical: np.ndarray
  coefficients_ms: dict[str, np.ndarray]

  def shapes(self, least: float = LEAST) -> np.ndarray:
    """Log coefficients [T, F] of devices, a typical network taking 1 ms."""
    values = np.stack(list(self.coefficients_ms.values()))
    shares = values / (values @ self.typical)[:, None]
    return np.log(np.maximum(shares, least))


def shipped() -> Devices:
  """The coefficients that come with the package."""
  file = importlib.resources.files("hwnas_jax.costs") / SHIPPED
  return read(SHIPPED, json.loads(file.read_text()))


def read(where: str, document: object) -> Devices:
  """Reads a file of coefficients.

  Raises:
    ValueError: it is none; the message names `where` and the field.
  """
  fields.check(where, document, _FILE)
  assert isinstance(document, dict)
  names = tuple(document["names"])
  if len(document["typical"]) != len(names):
    raise ValueError(
      f"{where}: field 'typical' has {len(document['typical'])}, expected "
      f"{len(names)}"
    )
  for device, row in document["coefficients_ms"].items():
    fields.check(
      f"{where}: {device}", row, dict.fromkeys(names, fields.NOT_NEGATIVE)
    )
  return Devices(
    names,
    np.asarray(document["typical"], float),
    {
      device: np.asarray([row[name] for name in names], float)
      for device, row in document["coefficients_ms"].items()
    },
  )


def of_costs(net: Spec, tables: Mapping[str, Mapping[str, float]]) -> Devices:
  """Coefficients of tables that hold all sites of a space.

  Args:
    net: the space.
    tables: {device: {site key: ms}}, such as `table.costs` of each.

  Raises:
    KeyError: a site has no cost; the message is its key.
  """
  space = net.space()
  return Devices(
    (BASE, *space.ops),
    np.r_[1.0, np.full(len(space.ops), 1 / len(space.ops))],
    {
      device: np.r_[space.base_cost(costs), space.cost_array(costs).sum(0)]
      for device, costs in tables.items()
    },
  )


_FILE: dict[str, fields.Rule] = {
  "names": (
    lambda v: isinstance(v, list) and BASE in v,
    f"a list of names, {BASE!r} among them",
  ),
  "typical": fields.NUMBERS,
  "coefficients_ms": fields.OBJECT,
  "source": fields.TEXT,
  "licence": fields.TEXT,
  "fit": fields.TEXT,
}
