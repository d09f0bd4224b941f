"""Published measurements of NAS-Bench-201's cells, and scores of one's own.

A folder holds `zero_cost.csv` (scores of untrained networks, published with
GRAF), `nb201_cifar10.npz` (accuracies on CIFAR-10 in %) and
`help_latency_nb201.npz` (latency in ms on 27 settings, published with HELP).
Only the cells of the csv count: the others have an operation that reaches
nothing. Scores of one's own (`experiments.nasbench201.supernet`) take the place
of the published ones.
"""

import csv
import hashlib
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.spaces.nasbench201 import NUM_CELLS, OPS

SCORES, CELLS, LATENCIES = FILES = (
  "zero_cost.csv",
  "nb201_cifar10.npz",
  "help_latency_nb201.npz",
)
JUDGES = ("synflow", "nwot", "jacov")  # columns of the csv
PARTS = ("half", "other", "all")
SPLIT_SEED = 0


class Cells(NamedTuple):
  """N cells in official order, and what is known of them.

  indices: int[N], official.
  genotypes: int[N, E] operations.
  macs: [N] multiply-accumulates; no cell here has an operation that is dead.
  judges: [N] by name, higher is better; NaN where a file has no score.
  val_12, val_200, test_200: [N] accuracy in %, after 12 and 200 epochs.
  latency_ms: [D, N] on D settings.
  settings: D names.
  """

  indices: np.ndarray
  genotypes: np.ndarray
  macs: np.ndarray
  judges: dict[str, np.ndarray]
  val_12: np.ndarray
  val_200: np.ndarray
  test_200: np.ndarray
  latency_ms: np.ndarray
  settings: tuple[str, ...]

  @property
  def dead(self) -> np.ndarray:
    """bool[N]: the cell of `none` alone; all others here reach the output."""
    return (self.genotypes == OPS.index("none")).all(1)

  def take(self, rows: np.ndarray) -> "Cells":
    """The cells at `rows`, in that order."""
    return Cells(
      indices=self.indices[rows],
      genotypes=self.genotypes[rows],
      macs=self.macs[rows],
      judges={name: x[rows] for name, x in self.judges.items()},
      val_12=self.val_12[rows],
      val_200=self.val_200[rows],
      test_200=self.test_200[rows],
      latency_ms=self.latency_ms[:, rows],
      settings=self.settings,
    )


def load(folder: pathlib.Path, scores: pathlib.Path | None = None) -> Cells:
  """Reads the published files, and scores of one's own.

  Args:
    folder: with FILES.
    scores: a .npz whose columns are judges, in place of the published ones;
      higher is better. `index` has the official index of each row; without it
      there are 15,625 rows in official order.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a column has another length than `index`.
  """
  with np.load(folder / CELLS) as file:
    cells = {name: file[name] for name in file.files}
  places = {text.decode(): i for i, text in enumerate(cells["arch_str"])}
  with (folder / SCORES).open() as file:
    rows = list(csv.DictReader(file))
  rows.sort(key=lambda row: places[row["arch_str"]])
  index = np.asarray([places[row["arch_str"]] for row in rows])
  with np.load(folder / LATENCIES) as file:
    settings = tuple(file.files)
    latency_ms = np.stack([file[s][index].astype(float) for s in settings])
  found = Cells(
    indices=index,
    genotypes=cells["ops"][index].astype(int),
    macs=cells["cifar10_macs"][index].astype(float),
    judges={},
    val_12=cells["cifar10_val_12"][index].astype(float),
    val_200=cells["cifar10_val_200"][index].astype(float),
    test_200=cells["cifar10_test_200"][index].astype(float),
    latency_ms=latency_ms,
    settings=settings,
  )
  if scores is None:
    judges = {j: np.asarray([float(r[j]) for r in rows]) for j in JUDGES}
  else:
    # No judge scores the dead cell: it is the worst.
    columns = _read_scores(scores).items()
    judges = {n: np.where(found.dead, -np.inf, x[index]) for n, x in columns}
  return found._replace(judges=judges | {"macs": found.macs})


def _read_scores(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Columns [15,625] in official order, NaN where there is no score."""
  with np.load(path) as file:
    columns = {name: file[name] for name in file.files}
  columns.pop("seal", None)  # of `io.writers.write_arrays`
  index = columns.pop("index", np.arange(NUM_CELLS))
  full = {}
  for name, column in columns.items():
    if column.shape != index.shape:
      raise ValueError(
        f"{path}: {name} has shape {column.shape}, not {index.shape}: one score"
        " for each cell, or for each entry of `index`"
      )
    full[name] = np.full(NUM_CELLS, np.nan)
    full[name][index] = column
  return full


def part_of(cells: Cells, part: str) -> Cells:
  """A part of the cells.

  Args:
    cells: all.
    part: "half", the random half on which everything is chosen, "other", the
      rest, or "all".
  """
  if part not in PARTS:
    raise ValueError(f"part {part!r} is not one of {', '.join(PARTS)}")
  order = np.random.default_rng(SPLIT_SEED).permutation(len(cells.indices))
  middle = len(order) // 2
  rows = {"half": order[:middle], "other": order[middle:], "all": order}[part]
  return cells.take(np.sort(rows))


def subset_of(cells: Cells, share: float, seed: int) -> Cells:
  """A random share of some cells."""
  count = len(cells.indices)
  rng = np.random.default_rng([seed, count])
  return cells.take(np.sort(rng.permutation(count)[: round(share * count)]))


def digests(
  folder: pathlib.Path, scores: Sequence[pathlib.Path] = ()
) -> dict[str, str]:
  """SHA-256 of every file that `load` reads, by name."""
  paths = [*(folder / name for name in FILES), *scores]
  return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
