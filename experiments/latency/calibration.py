"""How wrong a table is, raw and calibrated, on networks it was not fitted to.

  python experiments/latency/calibration.py --config=cifar \
      --batch_size=8 --set derive.num_cells=8 derive.channels=16

Measures a table of the config's space where --table is absent, then 20
calibration and 30 held-out networks (their own seeds), compiled, in two
passes of interleaved rounds. A run that is stopped goes on: the table by
entries, compiled programs from the cache, measurements by passes.

Compared on the held-out networks: the plain sum of the table over all that is
chosen, the sum over what runs, that sum with a factor and a constant fitted,
and `costs.correct.calibration`. Also over --splits random choices of 20 among
the 50, so that the luck of one is seen. Of least and median of the rounds, the
one is used on which the two passes agree better; both are reported.
"""

import argparse
import ast
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration, multipliers, regression
from hwnas_jax.costs.correct.features import LIVENESS, features
from hwnas_jax.costs.measure import sites, timing
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.progress import Progress
from hwnas_jax.report import style
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

HERE = pathlib.Path(__file__).parent
CONFIG = "cifar"
PASSES = 2
STATISTICS = ("min_ms", "median_ms")
PREDICTORS = ("all", "live", "affine", "calibrated")
NAMES = {
  "all": "sum of the table",
  "live": "sum of what runs",
  "affine": "sum, affine fit",
  "calibrated": "calibrated",
}


def choose(
  args: argparse.Namespace, config: Config, table: LatencyTable
) -> list[Genotype]:
  """The calibration networks, then the held-out ones: different networks."""
  net = problems.make_nets(config).derived
  rule, costs = problems.rule_of(config), tables.raw_costs(table)
  first, second = (np.random.default_rng([args.seed, i]) for i in range(2))
  fitted = calibration.choose(net, costs, rule, first, args.count)
  # As many more as could be drawn twice.
  pool = calibration.choose(
    net, costs, rule, second, args.held_out + args.count
  )
  held_out = [genotype for genotype in pool if genotype not in fitted]
  return [*fitted, *held_out[: args.held_out]]


def measure_all(
  args: argparse.Namespace,
  net: Spec,
  batch_size: int,
  genotypes: Sequence[Genotype],
) -> list[dict[str, Any]]:
  """The measurements of every pass, as JSON, by the network's id."""
  path = args.table.with_suffix(".passes.json")
  passes = readers.read_json(path) if path.exists() else []
  names = [architecture.identity(net.space(), g) for g in genotypes]
  if any(set(measured) != set(names) for measured in passes):
    raise ValueError(f"{path} is of other networks: delete it")
  if len(passes) == PASSES:
    return passes
  compiled = {}
  with Progress(len(names), "compile") as progress:
    for name, genotype in zip(names, genotypes, strict=True):
      compiled[name] = timing.compile_network(net, genotype, batch_size)
      progress.update(len(compiled))
  while len(passes) < PASSES:
    measured = timing.measure_networks(compiled, args.repeats)
    passes.append(records.to_json(measured))
    writers.write_json(path, passes)
  return passes


def affine(live_ms: np.ndarray, measured_ms: np.ndarray) -> np.ndarray:
  """(constant, factor) of least squares in relative errors."""
  rows = np.stack([np.ones_like(live_ms), live_ms], 1) / measured_ms[:, None]
  return np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]


def predictions(
  rows: Mapping[str, np.ndarray], measured_ms: np.ndarray, fitted: np.ndarray
) -> dict[str, np.ndarray]:
  """[N] ms of all networks by each predictor, fitted to some."""
  live_ms = rows["live"].sum(1)
  constant, factor = affine(live_ms[fitted], measured_ms[fitted])
  factors, _ = multipliers.fit(rows["live"][fitted], measured_ms[fitted])
  return {
    "all": rows["all"].sum(1),
    "live": live_ms,
    "affine": constant + factor * live_ms,
    "calibrated": rows["live"] @ factors,
  }


def margin(
  rows: np.ndarray, measured_ms: np.ndarray, fitted: np.ndarray
) -> dict[str, float]:
  """Share of the other networks below their jackknife+ bound, and its width."""
  some, ms = rows[fitted], measured_ms[fitted]
  without = multipliers.leave_one_out(some, ms)
  ratios = ms / (some * without).sum(1)
  others = np.setdiff1d(np.arange(len(rows)), fitted)
  bounds = [
    regression.upper_bound(without @ rows[i], ratios, calibration.LEVEL)
    for i in others
  ]
  return {
    "coverage": float((measured_ms[others] <= bounds).mean()),
    "median_bound_over_measured": float(
      np.median(bounds / measured_ms[others])
    ),
  }


def judge(
  rows: Mapping[str, np.ndarray], measured_ms: np.ndarray, fitted: np.ndarray
) -> dict[str, Any]:
  """Errors on the networks that were not fitted to, of each predictor."""
  others = np.setdiff1d(np.arange(len(measured_ms)), fitted)
  predicted_ms = predictions(rows, measured_ms, fitted)
  return {
    **{
      name: records.to_json(
        regression.error_of(ms[others], measured_ms[others])
      )
      for name, ms in predicted_ms.items()
    },
    "jackknife_plus": margin(rows["live"], measured_ms, fitted),
  }


def spread(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Mean and 5th to 95th percentile of every number of many splits."""
  return {
    name: {
      key: {
        "mean": float(np.mean(values)),
        "percentiles_5_95": np.percentile(values, [5, 95]).tolist(),
      }
      for key in judged[0][name]
      for values in [[row[name][key] for row in judged]]
    }
    for name in judged[0]
  }


def analyse(
  args: argparse.Namespace,
  rows: Mapping[str, np.ndarray],
  passes: Sequence[Mapping[str, Any]],
  names: Sequence[str],
) -> dict[str, Any]:
  """Of each statistic: repeatability, the planned split and random ones."""
  result: dict[str, Any] = {}
  for statistic in STATISTICS:
    by_pass = np.asarray([[p[n][statistic] for n in names] for p in passes])
    measured = by_pass.min(0) if statistic == "min_ms" else by_pass.mean(0)
    rng = np.random.default_rng(args.seed)
    splits = [
      np.sort(rng.choice(len(names), args.count, replace=False))
      for _ in range(args.splits)
    ]
    difference = np.abs(by_pass[1] / by_pass[0] - 1)
    result[statistic] = {
      "measured_ms": measured.tolist(),
      "repeatability": {
        "median": float(np.median(difference)),
        "percentile_90": float(np.percentile(difference, 90)),
      },
      "planned": judge(rows, measured, np.arange(args.count)),
      "random_splits": spread([judge(rows, measured, s) for s in splits]),
    }
  result["statistic"] = min(
    STATISTICS, key=lambda s: result[s]["repeatability"]["median"]
  )
  return result


@matplotlib.rc_context(style.RC)
def draw(result: dict[str, Any], path: pathlib.Path) -> None:
  """Writes the held-out networks' scatter plot as PNG and SVG."""
  fig, ax = style.new_axes("Predicted latency, ms")
  held_out = [row for row in result["networks"] if row["held_out"]]
  measured = [row["measured_ms"] for row in held_out]
  looks = (
    ("calibrated", "calibrated", "o", 36, style.ACCENT, style.PANEL),
    ("live", "plain sum", "D", 24, style.PANEL, style.MUTED),
  )
  shown = [*measured]
  for name, label, marker, size, face, edge in looks:
    predicted = [row["predicted_ms"][name] for row in held_out]
    shown += predicted
    ax.scatter(
      measured,
      predicted,
      s=size,
      marker=marker,
      facecolor=face,
      edgecolor=edge,
      linewidth=1.1,
      label=label,
      zorder=3,
    )
  ends = (0.0, 1.06 * max(shown))
  ax.plot(ends, ends, color=style.MUTED, lw=1, ls=(0, (4, 3)), label="equal")
  ax.set(xlim=ends, ylim=ends)
  ax.set_xlabel("Measured latency, ms", color=style.MUTED)
  ax.grid(axis="x", color=style.GRID, linewidth=0.8)
  style.add_legend(ax)
  fig.savefig(path.with_suffix(".png"), dpi=200)
  fig.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def print_table(result: dict[str, Any]) -> None:
  """One line a predictor: the planned split, then the random ones."""
  for statistic in STATISTICS:
    judged = result[statistic]
    chosen = " (used)" if statistic == result["statistic"] else ""
    again = 100 * judged["repeatability"]["median"]
    print(f"{statistic}{chosen}: two passes differ by {again:.1f} %")
    print(f"  {'':20}{'error':>8}{'bias':>8}{'Spearman':>10}   random splits")
    for name in PREDICTORS:
      row, many = judged["planned"][name], judged["random_splits"][name]
      low, high = many["median_absolute_error"]["percentiles_5_95"]
      print(
        f"  {NAMES[name]:20}{100 * row['median_absolute_error']:6.1f} %"
        f"{100 * row['bias']:+6.1f} %{row['spearman']:10.3f}"
        f"   {100 * low:.1f} to {100 * high:.1f} %, Spearman "
        f"{many['spearman']['mean']:.3f}"
      )
    bound = judged["planned"]["jackknife_plus"]
    many = judged["random_splits"]["jackknife_plus"]["coverage"]["mean"]
    print(
      f"  jackknife+ covers {100 * bound['coverage']:.0f} % ({100 * many:.0f} "
      f"% over splits), bound / measured "
      f"{bound['median_bound_over_measured']:.2f}"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
  """Measures, fits and describes."""
  config = load_config(args)
  net = problems.make_nets(config).derived
  space, batch_size = net.space(), config.latency.batch_size
  table = sites.profile_space(
    space, batch_size, args.table, config.latency.repeats
  )
  genotypes = choose(args, config, table)
  names = [architecture.identity(space, g) for g in genotypes]
  passes = measure_all(args, net, batch_size, genotypes)
  costs = tables.raw_costs(table)
  rows = {
    liveness: np.stack([features(net, costs, g, liveness) for g in genotypes])
    for liveness in LIVENESS
  }
  result = analyse(args, rows, passes, names)
  measured = np.asarray(result[result["statistic"]]["measured_ms"])
  predicted = predictions(rows, measured, np.arange(args.count))
  fitted = calibration.calibrate(
    net,
    costs,
    Measured(genotypes[: args.count], measured[: args.count].tolist()),
  )
  result["networks"] = [
    {
      "id": name,
      "architecture": architecture.to_json(space, genotype),
      "held_out": i >= args.count,
      "measured_ms": measured[i],
      "predicted_ms": {key: ms[i] for key, ms in predicted.items()},
      "passes": [p[name] for p in passes],
    }
    for i, (name, genotype) in enumerate(zip(names, genotypes, strict=True))
  ]
  return {
    **result,
    "calibration": records.to_json(fitted),
    "attained_level": fitted.attained_level,
    "guaranteed_level": fitted.guaranteed_level,
    "seed": args.seed,
    "splits": args.splits,
    "table_digest": table.digest(),
    "config": records.to_json(config),
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }


def load_config(args: argparse.Namespace) -> Config:
  """The config of --config, with --batch_size and --set."""
  config = hw.load_config(args.config)
  changes = dict(pair.split("=", 1) for pair in args.set)
  config.update_from_flattened_dict(
    {name: ast.literal_eval(value) for name, value in changes.items()}
  )
  if args.batch_size:
    config.latency.batch_size = args.batch_size
  return problems.resolve(config)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default=CONFIG, help="NAME or FILE.py")
  parser.add_argument("--set", nargs="*", default=[], help="FIELD=VALUE ...")
  parser.add_argument("--batch_size", type=int, help="by default the config's")
  parser.add_argument("--name", help="of the results; the config's by default")
  parser.add_argument("--table", type=pathlib.Path, help="measured if absent")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--count", type=int, default=20, help="to calibrate on")
  parser.add_argument("--held_out", type=int, default=30)
  parser.add_argument("--repeats", type=int, default=20, help="rounds a pass")
  parser.add_argument("--splits", type=int, default=200)
  parser.add_argument("--smoke", action="store_true", help="5 + 4, tiny")
  args = parser.parse_args()
  if args.smoke:
    args.config = args.config.partition(":")[0] + ":smoke"
    args.count, args.held_out, args.repeats, args.splits = 5, 4, 3, 5
  stem = pathlib.Path(args.config.partition(":")[0]).stem
  args.name = args.name or f"{stem}{'_smoke' if args.smoke else ''}"
  args.table = args.table or pathlib.Path(f"runs/calibration/{args.name}.json")
  args.json = HERE / f"calibration_{args.name}.json"
  if args.smoke:
    args.json = args.table.with_suffix(".result.json")
  return args


def main() -> None:
  """Measures unless the JSON is there; prints and draws what it says."""
  args = parse()
  use_compilation_cache()
  if not args.json.exists():
    writers.write_json(args.json, run(args))
  result = readers.read_json(args.json)
  draw(result, args.json)
  print_table(result)


if __name__ == "__main__":
  main()
