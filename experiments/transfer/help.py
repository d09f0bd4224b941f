"""Latency on a new device from 10 measurements: HELP's protocol.

  python experiments/transfer/help.py --data_dir=DIR

DIR holds help_latency_nb201.npz ({setting: float32[15625] ms}, 27 devices and
batch sizes, published with HELP, MIT) and nb201_cifar10.npz (`ops[15625, 6]`,
the cells in NAS-Bench-201's order). Three parts, each written to results.json
once and never run again:

  training  every variant of the method, on HELP's 9 training settings, each
            with all settings of its device left out of the prior; the
            package's own is taken unless another is better by CHANCE;
  test      the one that was taken, on HELP's 6 test settings, once;
  all       the same on all 27, their own devices left out.

--prior=PATH writes the coefficients of all 27 settings, what the package ships.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

from hwnas_jax.costs.correct import devices, regression, transfer
from hwnas_jax.costs.correct.calibration import BASE
from hwnas_jax.io import readers, versions, writers

HERE = pathlib.Path(__file__).parent
TRAINING = (
  *("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r"),
  *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
TEST = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
PUBLISHED = {  # HELP's README, table 3, 10 samples
  **dict(titan_rtx_256=0.987, gold_6226=0.989, fpga=0.985),
  **dict(pixel2=0.802, raspi4=0.890, eyeriss=0.940, mean=0.932),
}
POOL, QUERIES = (0, 900), (900, 1900)  # cells that may be measured; predicted
KEPT = (0.1, 0.9)  # quantiles of the setting's latencies that are used
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CANDIDATES = 200  # of which a design chooses; others at every draw
FIXED_NOISE = 0.03
# A mean over 9 settings and 50 draws is known to about 0.001.
CHANCE = 0.002


class Variant(NamedTuple):
  """One way to do it; the defaults are the package's.

  features: "chosen" counts operations, "live" those on a path from input to
    output, "both" has both counts.
  form: "log", the package's, or "linear": Gaussian coefficients.
  noise: "fitted" to the measurements or "fixed".
  samples: "random" or "designed" (`transfer.choose`).
  """

  features: str = "chosen"
  form: str = "log"
  noise: str = "fitted"
  samples: str = "random"
  shrink: float = transfer.SHRINK
  minimum: float = transfer.INDIVIDUAL
  least: float = devices.LEAST
  count: int = 10


DEFAULT = Variant()
VARIANTS = {
  "default": DEFAULT,
  "live counts": DEFAULT._replace(features="live"),
  "both counts": DEFAULT._replace(features="both"),
  "fixed noise": DEFAULT._replace(noise="fixed"),
  "linear": DEFAULT._replace(form="linear"),
  "linear, fixed noise": DEFAULT._replace(form="linear", noise="fixed"),
  "shrink 0.1": DEFAULT._replace(shrink=0.1),
  "shrink 0.6": DEFAULT._replace(shrink=0.6),
  "shrink 1": DEFAULT._replace(shrink=1.0),
  "minimum 0.03": DEFAULT._replace(minimum=0.03),
  "minimum 0.3": DEFAULT._replace(minimum=0.3),
  "least 0.001": DEFAULT._replace(least=0.001),
  "least 0.01": DEFAULT._replace(least=0.01),
}


class Data(NamedTuple):
  """ops [15625, 6] of the cells, and {setting: [15625] ms}."""

  ops: np.ndarray
  latencies_ms: dict[str, np.ndarray]


def load(folder: pathlib.Path) -> Data:
  """Reads the two files."""
  with np.load(folder / "help_latency_nb201.npz") as file:
    latencies = {name: file[name].astype(float) for name in file}
  with np.load(folder / "nb201_cifar10.npz") as file:
    return Data(file["ops"], latencies)


def device_of(setting: str) -> str:
  """The device of a setting: 1080ti of 1080ti_32."""
  name, _, batch = setting.rpartition("_")
  return name if batch in ("1", "32", "256") else setting


def on_a_path(ops: np.ndarray) -> np.ndarray:
  """[N, 6] whether an edge lies on a path from the input to the output."""
  runs = ops != OPS.index("none")
  reached = np.zeros((len(ops), 4), bool)
  leads = np.zeros((len(ops), 4), bool)
  reached[:, 0] = leads[:, 3] = True
  for edge, (source, node) in enumerate(EDGES):
    reached[:, node] |= reached[:, source] & runs[:, edge]
  for edge, (source, node) in reversed(list(enumerate(EDGES))):
    leads[:, source] |= leads[:, node] & runs[:, edge]
  ends = [reached[:, source] & leads[:, node] for source, node in EDGES]
  return np.stack(ends, 1) & runs


def features(ops: np.ndarray, kind: str) -> np.ndarray:
  """[N, F]: 1 for the base, then how often each operation is there."""
  live = on_a_path(ops)
  counts = {
    "chosen": [(ops == o).sum(1) for o in range(len(OPS))],
    "live": [((ops == o) & live).sum(1) for o in range(len(OPS))],
  }
  counts["both"] = counts["chosen"] + counts["live"]
  return np.stack([np.ones(len(ops)), *counts[kind]], 1).astype(float)


def kept(latencies_ms: np.ndarray, ends: tuple[int, int]) -> np.ndarray:
  """The cells between two indices but the fastest and slowest tenth."""
  cells = np.arange(*ends)
  low, high = (int(len(cells) * quantile) for quantile in KEPT)
  return cells[np.argsort(latencies_ms[cells], kind="stable")[low:high]]


def coefficients(rows: np.ndarray, latencies_ms: np.ndarray) -> np.ndarray:
  """[F] ms each, >= 0, by least squares in relative errors.

  Six operations a cell: a constant can move between them and the base. As
  much as can is given to the base; nothing else would be the cost of `none`.
  """
  typical = np.median(latencies_ms)
  relative = rows * (typical / latencies_ms)[:, None]
  ridge = 0.01 * np.eye(rows.shape[1])  # only where there is no other reason
  wanted = np.r_[np.ones(len(rows)), np.zeros(len(ridge))]
  values_ms = optimize.nnls(np.vstack([relative, ridge]), wanted)[0] * typical
  least_ms = values_ms[1:6].min()
  values_ms[0] += 6 * least_ms
  values_ms[1:6] -= least_ms
  return values_ms


class Method:
  """A variant with the coefficients of every setting, fitted once."""

  def __init__(self, data: Data, variant: Variant) -> None:
    """Fits the coefficients on the first 900 cells, as HELP trains on them."""
    self.data, self.variant = data, variant
    self.rows = features(data.ops, variant.features)
    self.coefficients = {
      setting: coefficients(self.rows[cells], ms[cells])
      for setting, ms in data.latencies_ms.items()
      for cells in [kept(ms, POOL)]
    }

  def prior(self, settings: Sequence[str]) -> regression.Prior:
    """Of a new device, learned from settings."""
    coefficients_ms = {name: self.coefficients[name] for name in settings}
    typical = self.rows.mean(0)
    measured = devices.Devices((BASE, *OPS), typical, coefficients_ms)
    if self.variant.form == "linear":
      return linear_prior(measured, self.variant.shrink)
    prior = transfer.learn_prior(
      measured.shapes(self.variant.least),
      np.zeros(len(typical)),
      shrink=self.variant.shrink,
      minimum=self.variant.minimum,
    )
    assert prior is not None
    return prior

  def fit(
    self, prior: regression.Prior, cells: np.ndarray, latencies_ms: np.ndarray
  ) -> np.ndarray:
    """Coefficients [F] of a new device from its measured cells."""
    rows, noises = self.rows[cells], transfer.NOISE
    if self.variant.noise == "fixed":
      noises = (FIXED_NOISE,)
    if self.variant.form == "linear":
      return linear_fit(prior, rows, latencies_ms, noises)
    return transfer.fit(prior, rows, latencies_ms, noises)[0]

  def draw(
    self, prior: regression.Prior, pool: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    """The cells to measure."""
    if self.variant.samples == "random":
      return rng.choice(pool, self.variant.count, replace=False)
    cells = rng.choice(pool, CANDIDATES, replace=False)
    return cells[transfer.choose(prior, self.rows[cells], self.variant.count)]


def linear_prior(measured: devices.Devices, shrink: float) -> regression.Prior:
  """Gaussian coefficients, a typical network taking 1 ms."""
  shares = np.exp(measured.shapes(1e-9))
  scatter = np.cov(shares.T)
  covariance = (1 - shrink) * scatter + shrink * np.diag(np.diag(scatter))
  covariance += 1e-6 * np.eye(len(scatter))
  mean = shares.mean(0)
  common = transfer.COMMON**2 * np.outer(mean, mean)
  return regression.Prior(mean, covariance + common)


def linear_fit(
  prior: regression.Prior,
  rows: np.ndarray,
  latencies_ms: np.ndarray,
  noises: Sequence[float],
) -> np.ndarray:
  """As `transfer.fit`, for Gaussian coefficients."""
  speed = np.exp(np.log(latencies_ms / (rows @ prior.mean)).mean())
  scaled = regression.Prior(speed * prior.mean, speed**2 * prior.covariance)
  density = [
    regression.leave_one_out(scaled, rows, latencies_ms, n).log_density
    for n in noises
  ]
  noise = noises[int(np.argmax(density))]
  return regression.fit(scaled, rows, latencies_ms, noise).mean


def evaluate(
  method: Method, seen: Sequence[str], setting: str, draws: int
) -> dict[str, Any]:
  """Spearman and median error on a setting, over draws of measured cells.

  Args:
    method: the variant.
    seen: settings whose latencies the prior may see; those of the same
      device are left out.
    setting: the new one.
    draws: sets of measured cells.
  """
  others = [s for s in seen if device_of(s) != device_of(setting)]
  prior = method.prior(others)
  latencies_ms = method.data.latencies_ms[setting]
  pool, queries = kept(latencies_ms, POOL), kept(latencies_ms, QUERIES)
  rng = np.random.default_rng(0)
  spearman, error = [], []
  for _ in range(draws):
    cells = method.draw(prior, pool, rng)
    values_ms = method.fit(prior, cells, latencies_ms[cells])
    wrong = regression.error_of(
      method.rows[queries] @ values_ms, latencies_ms[queries]
    )
    assert wrong.spearman is not None
    spearman.append(wrong.spearman)
    error.append(wrong.median_absolute_error)
  return {
    "spearman": float(np.mean(spearman)),
    "spearman_standard_deviation": float(np.std(spearman, ddof=1)),
    "spearman_worst": float(np.min(spearman)),
    "median_error": float(np.mean(error)),
    "median_error_standard_deviation": float(np.std(error, ddof=1)),
  }


def ceiling(method: Method, setting: str) -> float:
  """Spearman of the features fitted to all 720 cells of the setting's pool."""
  latencies_ms = method.data.latencies_ms[setting]
  queries = kept(latencies_ms, QUERIES)
  predicted = method.rows[queries] @ method.coefficients[setting]
  return float(stats.spearmanr(predicted, latencies_ms[queries]).statistic)


def run(
  data: Data,
  variant: Variant,
  seen: Sequence[str],
  settings: Sequence[str],
  draws: int,
) -> dict[str, Any]:
  """A variant on settings, with the means over them."""
  method = Method(data, variant)
  rows = {s: evaluate(method, seen, s, draws) for s in settings}
  for setting, row in rows.items():
    row["spearman_of_720_samples"] = ceiling(method, setting)
  return {
    "variant": variant._asdict(),
    "mean_spearman": float(np.mean([r["spearman"] for r in rows.values()])),
    "mean_median_error": float(
      np.mean([r["median_error"] for r in rows.values()])
    ),
    "settings": rows,
  }


def with_samples(winner: Variant) -> dict[str, Variant]:
  """What is reported of a winner: HELP's 10 random samples, fewer and more."""
  return {
    "10 random": winner,
    "5 random": winner._replace(count=5),
    "20 random": winner._replace(count=20),
    "10 designed": winner._replace(samples="designed"),
  }


def print_table(title: str, results: Mapping[str, Any]) -> None:
  """Prints one line a variant."""
  print(title)
  for name, row in results.items():
    each = " ".join(f"{r['spearman']:.3f}" for r in row["settings"].values())
    error = 100 * row["mean_median_error"]
    print(f"  {name:22}{row['mean_spearman']:.4f} {error:5.1f} % | {each}")


def shipped(data: Data) -> dict[str, Any]:
  """The document of coefficients that the package ships."""
  method = Method(data, DEFAULT)
  names = (BASE, *OPS)
  return {
    "names": names,
    "typical": [1.0, *[6 / 5] * 5],
    "coefficients_ms": {
      setting: dict(zip(names, np.round(values_ms, 5).tolist(), strict=True))
      for setting, values_ms in method.coefficients.items()
    },
    "source": "latencies of NAS-Bench-201's cells on 27 devices and batch "
    "sizes published with HELP (Lee et al. 2021, "
    "https://github.com/HayeonLee/HELP); those of pixel3, raspi4, eyeriss and "
    "fpga are HW-NAS-Bench's (Li et al. 2021)",
    "licence": "MIT, as the data's",
    "fit": "experiments/transfer/help.py: non-negative least squares of "
    "relative errors on the counts of operations of a cell, on the first 900 "
    "cells but the fastest and slowest tenth; ms an edge of all 15 cells",
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "results.json"
  )
  parser.add_argument("--draws", type=int, default=50)
  parser.add_argument("--prior", type=pathlib.Path, help="write the package's")
  return parser.parse_args()


def winner_of(training: Mapping[str, Any]) -> str:
  """The package's variant, unless another is better by more than chance."""
  spearman = {name: row["mean_spearman"] for name, row in training.items()}
  best = max(spearman, key=lambda name: spearman[name])
  better = spearman[best] > spearman["default"] + CHANCE
  return best if better else "default"


def main() -> None:
  """Runs what the JSON lacks; prints all of it."""
  args = parse()
  data = load(args.data_dir)
  if args.prior:
    writers.write_json(args.prior, shipped(data))
    return
  results = readers.read_json(args.json) if args.json.exists() else {}
  results |= {"published": PUBLISHED, "draws": args.draws}

  def part(
    title: str,
    variants: Mapping[str, Variant],
    seen: Sequence[str],
    settings: Sequence[str],
  ) -> None:
    rows = results.setdefault(title, {})
    for name, variant in variants.items():
      if name not in rows:
        rows[name] = run(data, variant, seen, settings, args.draws)
        results["versions"] = versions.versions()
        writers.write_json(args.json, results)
    print_table(title, {name: rows[name] for name in variants})

  part("training", VARIANTS, TRAINING, TRAINING)
  results["winner"] = winner_of(results["training"])
  print(f"winner: {results['winner']}")
  samples = with_samples(VARIANTS[results["winner"]])
  every = tuple(data.latencies_ms)
  part("training_samples", samples, TRAINING, TRAINING)
  part("test", samples, TRAINING, TEST)
  part("all", samples, every, every)


if __name__ == "__main__":
  main()
