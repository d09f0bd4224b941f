"""What is chosen on one half of the cells, and what a seed draws.

`Frozen` is frozen.json. `Drawn` is everything random of the controller alone:
the cells that get labels, those that are timed, the training.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from experiments.nasbench201.protocol import controller
from experiments.nasbench201.protocol.data import Cells
from hwnas_jax.method import surrogate

NUM_LABELS = {
  "committee": 600,
  "short": 150,
}  # by what a surrogate is fitted to
NUM_PRICED = 20  # cells that a setting's prices are fitted to
FINALISTS = 5  # short trainings a budget
CANDIDATES = 20  # a budget, of the controller and of its rivals
SHARED = "shared_loss"  # the judge that reads a trained supernet


class Committee(NamedTuple):
  """Judges by weight, and k, how many of most MACs they rank."""

  weights: Mapping[str, float]
  k: int


class Frozen(NamedTuple):
  """All that was chosen on the first half of the cells.

  committee: the best.
  controllers: by the labels of the surrogate, a name in NUM_LABELS.
  without_shared: the best that does not read SHARED; None where nobody scored
    it.
  """

  committee: Committee
  controllers: Mapping[str, controller.Settings]
  without_shared: Committee | None = None

  def to_json(self) -> dict[str, Any]:
    """As it is written."""
    settings, shared = self.controllers.items(), self.without_shared
    return {
      "committee": self.committee._asdict(),
      "without_shared": shared._asdict() if shared else None,
      "controllers": {name: dataclasses.asdict(s) for name, s in settings},
    }


def read(loaded: Mapping[str, Any]) -> Frozen:
  """The inverse of `Frozen.to_json`."""
  settings = loaded["controllers"].items()
  return Frozen(
    Committee(**loaded["committee"]),
    {name: controller.Settings(**fields) for name, fields in settings},
    Committee(**shared) if (shared := loaded.get("without_shared")) else None,
  )


def fit_surrogate(
  cells: Cells, labels: str, weights: Mapping[str, float], seed: int
) -> surrogate.Surrogate:
  """A surrogate of random cells' labels.

  Args:
    cells: drawn from.
    labels: "committee", the judges' rank sum among the drawn cells, with no
      training, or "short", accuracy after 12 epochs.
    weights: of the committee.
    seed: of the draw.

  Raises:
    ValueError: a judge has no score for a drawn cell.
  """
  rng = np.random.default_rng([seed, NUM_LABELS[labels]])
  rows = rng.choice(len(cells.indices), NUM_LABELS[labels], replace=False)
  mixes = controller.one_hot(cells.genotypes[rows])
  if labels == "short":
    return surrogate.fit(mixes, cells.val_12[rows]).surrogate
  judged = {name: cells.judges[name][rows] for name in weights}
  missing = [name for name, x in judged.items() if np.isnan(x).any()]
  if missing:
    raise ValueError(f"no score of {', '.join(missing)} for some random cells")
  total = sum(weights[name] * rankdata(x) for name, x in judged.items())
  return surrogate.fit(mixes, np.asarray(total)).surrogate


def prices(
  cells: Cells, seed: int, count: int | None = NUM_PRICED
) -> np.ndarray:
  """All settings' prices on the simplex [D, K], of `count` cells or of all."""
  rng = np.random.default_rng([seed, NUM_PRICED])
  points = []
  for latency_ms in cells.latency_ms:
    rows = rng.choice(
      len(cells.indices), count or len(cells.indices), replace=False
    )
    points.append(
      controller.device_prices(cells.genotypes[rows], latency_ms[rows])
    )
  return np.stack(points)
