"""Devices as coefficients: the ms of each type of operation in a network.

`transfer_nasbench201.json`, a file of this package, has the coefficients of 27
devices and batch sizes for NAS-Bench-201's operations, fitted by
`experiments/transfer/help.py` to the latencies published with HELP (MIT). No
public tables exist for DARTS's operations.
"""

import importlib.resources
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hwnas_jax.costs.correct.calibration import BASE
from hwnas_jax.io import records
from hwnas_jax.io.document import Finite, NotNegative, Text
from hwnas_jax.io.records import Record
from hwnas_jax.spaces.spec import Spec

SHIPPED = "transfer_nasbench201.json"
# Of a typical network's latency: the least that a type counts as, for its log.
LEAST = 0.003


class DevicesFile(Record, frozen=True):
  """A file of coefficients.

  names: [F] types of operation, BASE among them.
  typical: [F] how often a typical network has each.
  coefficients_ms: {device: {name: ms}}.
  source, licence: of the latencies. fit: how the coefficients were fitted.

  Raises:
    ValueError: BASE is missing, or lists and names do not agree.
  """

  names: tuple[Text, ...]
  typical: tuple[Finite, ...]
  coefficients_ms: dict[str, dict[str, NotNegative]]
  source: Text
  licence: Text
  fit: Text

  def __post_init__(self) -> None:
    if BASE not in self.names:
      raise ValueError(
        f"field `names` has {list(self.names)}, expected {BASE!r} among them"
      )
    if len(self.typical) != len(self.names):
      raise ValueError(
        f"field `typical` has {len(self.typical)}, expected {len(self.names)}"
      )
    for device, row in self.coefficients_ms.items():
      missing = [name for name in self.names if name not in row]
      if missing:
        raise ValueError(
          f"field `coefficients_ms` of {device} lacks {', '.join(missing)}"
        )


class Devices(NamedTuple):
  """Coefficients of devices in one space.

  names: [F] types of operation, BASE among them.
  typical: [F] how often a typical network has each.
  coefficients_ms: {device: [F]} ms each.
  """

  names: tuple[str, ...]
  typical: np.ndarray
  coefficients_ms: dict[str, np.ndarray]

  def shapes(self, least: float = LEAST) -> np.ndarray:
    """Log coefficients [T, F] of devices, scaled to 1 ms a typical network."""
    values = np.stack(list(self.coefficients_ms.values()))
    shares = values / (values @ self.typical)[:, None]
    return np.log(np.maximum(shares, least))


def shipped() -> Devices:
  """The coefficients that come with the package."""
  file = importlib.resources.files("hwnas_jax.costs") / SHIPPED
  return read(SHIPPED, json.loads(file.read_text()))


def read(where: str, contents: object) -> Devices:
  """Reads a file of coefficients.

  Args:
    where: names the file in the error, such as its path.
    contents: parsed JSON of a `DevicesFile`.

  Raises:
    ValueError: it is not such a file; the message has `where` and the field.
  """
  file = records.from_json(where, contents, DevicesFile)
  return Devices(
    file.names,
    np.asarray(file.typical, float),
    {
      device: np.asarray([row[name] for name in file.names], float)
      for device, row in file.coefficients_ms.items()
    },
  )


def from_costs(net: Spec, tables: Mapping[str, Mapping[str, float]]) -> Devices:
  """Coefficients of devices, from tables with all sites of a space.

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
