"""Predicted against measured latency of whole derived networks.

  python experiments/latency/predicted.py --workdir=runs/digits
  python experiments/latency/predicted.py --config=fashion_mnist

20 random networks of a config's space and 20 of a family: with the --workdir
of a finished run, what its controller gives over simplex and scale; else
genotypes drawn with random preferences for operations. The family's are spread
evenly over predicted latency. Predicted: the table's plain sum over what the
network runs. Measured: compiled inference, all networks in turn.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import sites, timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import sweep
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.records import Condition, Measurement, Member
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import family as reading
from hwnas_jax.report import plots, style
from hwnas_jax.runs import searching
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

HERE = pathlib.Path(__file__).parent
CONFIG = "digits"
POOL = 1000  # candidates for the family, equal ones included
PREFERENCE = 2.0  # spread of an operation's logit, where Gumbel noise has 1.3


def draw_genotypes(
  config: Config,
  net: Spec,
  rng: np.random.Generator,
  count: int,
  preference: float,
) -> list[Genotype]:
  """Genotypes by the config's rule, of logits that favour some operations."""
  space, rule = net.space(), problems.rule_of(config)
  bias = preference * rng.standard_normal((count, 1, len(net.ops)))
  logits = bias + rng.gumbel(size=(count, *space.shape))
  return [rule(space, rows) for rows in logits]


def controller_genotypes(
  run: hw.Run, table: LatencyTable, rng: np.random.Generator
) -> list[Genotype]:
  """What a finished run's controller gives at POOL random conditions."""
  if run.folder.family() is None:
    raise ValueError(f"{run.folder.path} is not finished: finish it first")
  config = run.config
  problem = problems.make(config, run.nets, table)
  parts, state = searching.search(problem, run.folder, run.dataset)
  low, high = 1.0, 1.0
  if config.condition.name == "cone":
    low, high = config.condition.low, config.condition.high
  scales = np.exp(rng.uniform(np.log(low), np.log(high), POOL))
  simplex = rng.dirichlet(np.ones(len(problem.columns)), POOL)
  logits = sweep.logits_of(
    parts.controller,
    parts.conditions,
    state.controller,
    [
      Condition(tuple(prices), scale)
      for prices, scale in zip(simplex.tolist(), scales.tolist(), strict=True)
    ],
  )
  rule, space = problems.rule_of(config), run.nets.supernet.space()
  return [rule(space, rows) for rows in logits]


def spread(
  genotypes: list[Genotype], cost: Callable[[Genotype], float], count: int
) -> list[Genotype]:
  """`count` different genotypes, one near each of even steps of cost."""
  pool = list(dict.fromkeys(genotypes))
  if len(pool) < count:
    raise ValueError(f"{len(pool)} different genotypes, {count} are needed")
  costs = np.asarray([cost(g) for g in pool])
  chosen = []
  for target in np.linspace(costs.min(), costs.max(), count):
    nearest = int(np.abs(costs - target).argmin())
    chosen.append(pool[nearest])
    costs[nearest] = np.inf
  return chosen


def choose(
  args: argparse.Namespace, config: Config, table: LatencyTable
) -> list[tuple[str, Genotype]]:
  """(kind, genotype) of all networks, different ones."""
  net = problems.make_nets(config).derived
  rng = np.random.default_rng(args.seed)
  costs = tables.costs(table)
  cost = lambda g: counts.genotype_cost(net, g, costs)  # noqa: E731
  pool = (
    controller_genotypes(hw.load(args.workdir), table, rng)
    if args.workdir
    else draw_genotypes(config, net, rng, POOL, PREFERENCE)
  )
  members = spread(pool, cost, args.count)
  random: dict[Genotype, None] = {}
  while len(random) < args.count:
    (genotype,) = draw_genotypes(config, net, rng, 1, 0.0)
    if genotype not in members:
      random[genotype] = None
  return [("member", g) for g in members] + [("random", g) for g in random]


def measure_all(
  config: Config,
  table: LatencyTable,
  networks: list[tuple[str, Genotype]],
  repeats: int,
) -> list[dict[str, Any]]:
  """A row for each network, as --json has it."""
  net = problems.make_nets(config).derived
  space, costs = net.space(), tables.costs(table)
  names = {architecture.identity(space, g): (kind, g) for kind, g in networks}
  genotypes = {name: genotype for name, (_, genotype) in names.items()}
  compiled = timing.compile_networks(net, genotypes, table.batch_size)
  measured = timing.measure_networks(compiled, repeats)
  return [
    {
      "id": name,
      "kind": kind,
      "genotype": architecture.to_json(space, genotype),
      "predicted_ms": counts.genotype_cost(net, genotype, costs),
      "latency": records.to_json(measured[name]),
    }
    for name, (kind, genotype) in names.items()
  ]


def as_member(row: dict[str, Any]) -> Member:
  """A row as the report's figures read it, which need no counts."""
  return Member(
    id=row["id"],
    name=row["id"],
    kind=row["kind"],
    condition=None,
    architecture=row["genotype"],
    params=0,
    op_params=0,
    macs=0,
    latency=records.from_json(row["id"], row["latency"], Measurement),
    predicted_ms=row["predicted_ms"],
  )


def statistics(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Spearman, median absolute and signed relative error, of each kind."""
  kinds = {"all": ("member", "random"), "member": "member", "random": "random"}
  by_kind = {}
  for name, wanted in kinds.items():
    some = [as_member(row) for row in rows if row["kind"] in wanted]
    error = reading.prediction_error(some)
    by_kind[name] = {
      "count": len(some),
      "spearman": error.spearman,
      "median_absolute_error": error.median,
      "bias": error.bias,
    }
  return by_kind


@matplotlib.rc_context(style.RC)
def draw(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Writes the scatter plot as PNG and SVG."""
  figure = plots.prediction_figure([as_member(row) for row in rows])
  figure.savefig(path.with_suffix(".png"), dpi=200)
  figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def print_table(result: dict[str, Any]) -> None:
  """One line a kind."""
  print(f"{'networks':10}{'count':>6}{'Spearman':>10}{'error':>9}{'bias':>9}")
  for name, row in result["statistics"].items():
    spearman = "-" if row["spearman"] is None else f"{row['spearman']:.3f}"
    error, bias = 100 * row["median_absolute_error"], 100 * row["bias"]
    print(
      f"{name:10}{row['count']:6}{spearman:>10}{error:7.1f} %{bias:+7.1f} %"
    )


def load_config(args: argparse.Namespace) -> Config:
  """The config of the finished run, or the one of --config."""
  if args.workdir:
    return problems.read_run(RunFolder.at(args.workdir))
  return problems.resolve(hw.load_config(args.config))


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default=CONFIG, help="NAME or FILE.py")
  parser.add_argument("--workdir", type=pathlib.Path, help="of a finished run")
  parser.add_argument("--table", type=pathlib.Path, help="measured if absent")
  parser.add_argument(
    "--json", type=pathlib.Path, help="by default beside this"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--count", type=int, default=20, help="of each kind")
  parser.add_argument("--repeats", type=int, default=30)
  parser.add_argument("--smoke", action="store_true", help="3 networks a kind")
  args = parser.parse_args()
  if args.smoke:
    args.config, args.count, args.repeats = f"{CONFIG}:smoke", 3, 3
  name = pathlib.Path(args.config.partition(":")[0]).stem
  if args.workdir:
    name = args.workdir.name
    args.table = args.table or args.workdir / "table.json"
  if args.smoke:
    name += "_smoke"
  args.table = args.table or pathlib.Path(f"runs/latency/{name}.json")
  args.json = args.json or HERE / f"predicted_{name}.json"
  return args


def main() -> None:
  """Measures unless --json is there; prints and draws what it says."""
  args = parse()
  use_compilation_cache()
  if not args.json.exists():
    config = load_config(args)
    space = problems.make_nets(config).derived.space()
    table = sites.profile_space(
      space, config.latency.batch_size, args.table, config.latency.repeats
    )
    networks = choose(args, config, table)
    rows = measure_all(config, table, networks, args.repeats)
    result = {
      "members": rows,
      "statistics": statistics(rows),
      "seed": args.seed,
      "batch_size": table.batch_size,
      "table_digest": table.digest(),
      "config": records.to_json(config),
      "versions": versions.versions(),
      "device": records.to_json(versions.device_fingerprint()),
    }
    writers.write_json(args.json, result)
  result = readers.read_json(args.json)
  draw(result["members"], args.json)
  print_table(result)


if __name__ == "__main__":
  main()
