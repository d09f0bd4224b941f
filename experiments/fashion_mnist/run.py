"""A family on Fashion-MNIST beside the largest and random networks that fit.

  python -m experiments.fashion_mnist.run --data=npz:PATH --workdir=runs/fashion
  python -m experiments.fashion_mnist.run --draw

From the repository root. PATH is a .npz of Fashion-MNIST (`hwnas_jax.data`), or
give --data=fashion_mnist for TFDS's. All 60,000 images of 28x28 train, all
10,000 test; the networks are small (NAS-Bench-201's cells, one a stage, 8
channels) and their training is short (one pass), which is a reduced size.

One search. Then at each of six latency budgets:

- family: what `query` answers, with its committee, without a short training;
- largest: the network of most multiply-accumulates whose measured latency keeps
  the budget;
- random: a random living network whose measured latency is within 10 % below
  the budget.

All are trained alike, from three seeds, and measured once more, interleaved.
Writes results.json and figure.png; everything resumes.
"""

import argparse
import pathlib
import time
from typing import Any

import matplotlib
import msgspec
import numpy as np

import hwnas_jax as hw
from hwnas_jax.config.fields import Train
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.derive import capacity, exact
from hwnas_jax.io import readers, records, versions, writers
from hwnas_jax.report import style
from hwnas_jax.runs import query, training
from hwnas_jax.runs.query import measure_here
from hwnas_jax.spaces import architecture, rules

HERE = pathlib.Path(__file__).parent
ROLES = ("family", "largest", "random")
# Of the way from the fastest to the slowest network; that one is alone.
SHARES = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 5.5 / 6)
BAND = 0.9  # of the budget, what a random network takes at least
TRIES = 40  # networks measured for one
SEED = 0
START, END = "<!-- table: redrawn by --draw -->", "<!-- end of table -->"


def make_config(args: argparse.Namespace) -> Any:
  """NAS-Bench-201's cells, reduced; see configs/nasbench201.py."""
  config = hw.load_config("nasbench201")
  config.seed = SEED
  config.data.update(name=args.data, pad=2, flip=True)
  config.space.update(num_cells=1, channels=8)
  config.derive.update(num_scales=2, num_random=0)
  config.condition.update(low=0.3, high=100.0)
  config.latency.update(batch_size=32, repeats=30, calibration_networks=10)
  # The supernet is trained by fair paths; then the controller alone, against a
  # fit to what the committee says of random architectures.
  config.quality.update(name="surrogate", architectures=200)
  config.sampler.update(name="softmax", warmup="ordered", per_example=False)
  config.temperature.update(start=1.0, end=1.0)
  config.regularise.entropy = -0.2
  config.controller.update(name="mlp")
  config.search.update(
    num_steps=args.search_steps + args.controller_steps,
    warmup_steps=args.search_steps,
    batch_size=64,
    bilevel=False,
    weights_fraction=0.9,
    weights_lr=0.05,
    controller_lr=0.01,
    steps_per_dispatch=100,
    checkpoint_every=100,
  )
  config.train.num_steps = 0  # only what is chosen is trained
  if args.smoke:
    config.space.channels = 4
    config.latency.update(batch_size=8, repeats=3, calibration_networks=0)
  return config


def budgets_ms(run: hw.Run) -> np.ndarray:
  """The budgets at SHARES of the reach: ms."""
  low, high = query.reach_ms(
    run.nets.derived, run.table, run.config.derive.rule
  )
  return low + (high - low) * np.asarray(SHARES)


def largest(run: hw.Run, budget_ms: float) -> Genotype:
  """The largest network whose measured latency keeps the budget."""
  net, rule = run.nets.derived, run.config.derive.rule
  costs = tables.costs(run.table)
  limit = exact.limit("latency", net.space(), costs, budget_ms * 1.1)
  genotypes = capacity.largest(net, rule, [limit], TRIES)
  for genotype in genotypes:
    measured = measure_here(net, run.config.latency.batch_size, genotype)
    if measured.median_ms <= budget_ms:
      return genotype
  raise ValueError(f"none of {TRIES} networks keeps {budget_ms:.3g} ms")


def random_at(run: hw.Run, budget_ms: float, seed: int) -> Genotype:
  """A random living network that takes BAND to all of the budget."""
  net, rule = run.nets.derived, run.config.derive.rule
  rng = np.random.default_rng([SEED, seed])
  space, ratios, drawn = net.space(), [1.0], 0
  while len(ratios) <= TRIES and drawn < 100_000:
    genotype, drawn = rules.random(space, rule, rng), drawn + 1
    predicted_ms = tables.predict_ms(run.table, net, genotype)
    # What was measured corrects the predictions of the next ones.
    expected_ms = predicted_ms * float(np.median(ratios))
    near = BAND * budget_ms <= expected_ms <= budget_ms
    if not near or not net.alive(genotype):
      continue
    measured = measure_here(net, run.config.latency.batch_size, genotype)
    ratios.append(measured.median_ms / predicted_ms)
    print(f"random: {predicted_ms:.2f} {measured.median_ms:.2f}", flush=True)
    if BAND * budget_ms <= measured.median_ms <= budget_ms:
      return genotype
  raise ValueError(f"none of {TRIES} random networks takes {budget_ms:.3g} ms")


def choose(run: hw.Run, path: pathlib.Path) -> list[dict[str, Any]]:
  """What each role has at each budget; what is on disk is not chosen again."""
  rows = readers.read_json(path) if path.exists() else []
  space = run.nets.derived.space()
  for place, budget_ms in enumerate(budgets_ms(run)):
    if place < len(rows):
      continue
    answer = run.query(f"{budget_ms:.6g}ms")
    genotypes = {
      "family": answer.network.genotype,
      "largest": largest(run, budget_ms),
      "random": random_at(run, budget_ms, place),
    }
    row = {
      role: architecture.to_json(space, g) for role, g in genotypes.items()
    }
    rows.append({"budget_ms": float(budget_ms), **row})
    writers.write_json(path, rows)
    print(f"budget {budget_ms:.3g} ms: {row}", flush=True)
  return rows


def recipe(args: argparse.Namespace) -> Train:
  """How every network is trained."""
  return Train(
    num_steps=args.train_steps,
    batch_size=96,
    lr=0.05,
    weight_decay=5e-4,
    num_seeds=args.seeds,
    checkpoint_every=args.train_steps,
  )


def train_and_measure(
  run: hw.Run, rows: list[dict[str, Any]], part: Train
) -> dict[str, dict[str, Any]]:
  """Test accuracies and latency of every network, by id."""
  net, space = run.nets.derived, run.nets.derived.space()
  genotypes = {}
  for row in rows:
    for role in ROLES:
      genotype = architecture.from_json(space, row[role])
      genotypes[architecture.identity(space, genotype)] = genotype
  config = msgspec.structs.replace(run.config, train=part)
  trained = training.train(
    config, run.folder, run.dataset, net, [*genotypes.values()]
  )
  batch = run.config.latency.batch_size
  compiled = timing.compile_networks(net, genotypes, batch)
  measured = timing.measure_networks(compiled, run.config.latency.repeats)
  return {
    name: {
      "test_accuracies": list(accuracies.test_accuracies),
      "latency_ms": measured[name].median_ms,
      "iqr_ms": measured[name].iqr_ms,
      "macs": float(capacity.macs(net, [genotype])[0]),
    }
    for (name, genotype), accuracies in zip(
      genotypes.items(), trained, strict=True
    )
  }


def compare(
  rows: list[dict[str, Any]], networks: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
  """Accuracy in points of the family against each rival, by budget.

  The standard error is that of the mean difference over the training seeds.
  """
  found = []
  for row in rows:
    line = {"budget_ms": row["budget_ms"]}
    ours = np.asarray(networks[row["ids"]["family"]]["test_accuracies"])
    for rival in ROLES[1:]:
      theirs = np.asarray(networks[row["ids"][rival]]["test_accuracies"])
      gain = 100 * (ours - theirs)
      line[rival] = {
        "points": float(gain.mean()),
        "standard_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
        "same_network": row["ids"]["family"] == row["ids"][rival],
      }
    found.append(line)
  return found


@matplotlib.rc_context(style.RC)
def draw(results: dict[str, Any], out: pathlib.Path) -> None:
  """figure.png and the table of README.md."""
  networks = results["networks"]
  fig, ax = style.new_axes("", 8.0, 4.6)
  lines = []
  hues = style.ACCENT, style.PALETTE[2], style.MUTED
  colours = dict(zip(ROLES, hues, strict=True))
  for role in ROLES:
    chosen = [networks[row["ids"][role]] for row in results["budgets"]]
    accuracy = np.asarray([n["test_accuracies"] for n in chosen]) * 100
    ax.errorbar(
      [n["latency_ms"] for n in chosen],
      accuracy.mean(1),
      yerr=accuracy.std(1, ddof=1) / np.sqrt(accuracy.shape[1]),
      fmt="o-" if role == "family" else "o",
      color=colours[role],
      label={"largest": "largest that fits"}.get(role, role),
    )
  ax.set_xlabel(f"measured latency, ms (batch {results['batch_size']})")
  ax.set_ylabel("test accuracy, %")
  style.add_legend(ax)
  fig.savefig(out / "figure.png", dpi=110)
  head = ["budget, ms", *ROLES, "family - largest", "family - random"]
  lines = [head, ["---"] * len(head)]
  for row, gain in zip(results["budgets"], results["comparison"], strict=True):
    cells = [f"{row['budget_ms']:.2f}"]
    for role in ROLES:
      network = networks[row["ids"][role]]
      accuracy = 100 * np.asarray(network["test_accuracies"])
      cells.append(
        f"{accuracy.mean():.2f} ({accuracy.std(ddof=1):.2f}),"
        f" {network['latency_ms']:.2f} ms"
      )
    for rival in ROLES[1:]:
      one = gain[rival]
      same = ", same network" * one["same_network"]
      cells.append(f"{one['points']:+.2f} ({one['standard_error']:.2f}){same}")
    lines.append(cells)
  table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
  before, rest = (out / "README.md").read_text().split(START)
  after = rest.split(END)[1]
  (out / "README.md").write_text(f"{before}{START}\n\n{table}\n{END}{after}")


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", default="fashion_mnist")
  parser.add_argument("--workdir", type=pathlib.Path)
  parser.add_argument("--seeds", type=int, default=3, help="trainings of each")
  parser.add_argument("--search_steps", type=int, default=600)
  parser.add_argument("--controller_steps", type=int, default=3000)
  parser.add_argument("--train_steps", type=int, default=620)
  parser.add_argument("--out", type=pathlib.Path, default=HERE)
  parser.add_argument("--draw", action="store_true", help="redraws alone")
  parser.add_argument("--smoke", action="store_true", help="shows that it runs")
  args = parser.parse_args()
  if not args.draw and args.workdir is None:
    parser.error("--workdir is needed")
  return args


def main() -> None:
  """Searches, chooses, trains, measures, writes and draws."""
  args = parse()
  results_path = args.out / "results.json"
  if args.draw:
    draw(readers.read_json(results_path), args.out)
    return
  start = time.monotonic()
  config = make_config(args)
  run = hw.search(config, workdir=args.workdir)
  rows = choose(run, args.workdir / "choices.json")
  networks = train_and_measure(run, rows, recipe(args))
  space = run.nets.derived.space()
  for row in rows:
    row["ids"] = {
      role: architecture.identity(
        space, architecture.from_json(space, row[role])
      )
      for role in ROLES
    }
  results = {
    "data": run.dataset.name,
    "batch_size": run.config.latency.batch_size,
    "config": records.to_json(run.config),
    "recipe": records.to_json(recipe(args)),
    "budgets": rows,
    "networks": networks,
    "comparison": compare(rows, networks),
    "seeds": {"search": SEED, "trainings": args.seeds},
    "wall_s_of_last_process": time.monotonic() - start,
    "versions": versions.versions(),
    "device": records.to_json(versions.device_fingerprint()),
  }
  writers.write_json(results_path, results)
  draw(results, args.out)


if __name__ == "__main__":
  main()
