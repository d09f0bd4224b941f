"""The controller trained by a supernet's loss, in place of a surrogate.

  python -m experiments.nasbench201.own_full_size.by_supernet --data_dir=DIR \
    --nb201=NB201 --scores=DIR/full_seed0.npz --way=warm --seed=0

DIR is TFDS's folder with cifar10, or a .npz; the other arguments are those of
`protocol.run`. The supernet and its images are reduced as in
`experiments.nasbench201.supernet`. The controller is the package's
`controller.name=mlp`, which reads the conditions of `protocol.controller` and
pays its prices. Its scales are in units of the shared loss's deviation over
cells. What differs is the way of training:

- `mixture`: Gumbel-Softmax mixtures, bilevel, from the first step: as
  configs/nasbench201.py has it.
- `warm`: half of the steps fair single paths (`ordered`) of weights alone, then
  single paths (`gdas`), bilevel, the controller on its own half of the data at
  a small rate.
- `no_credit`: `warm`, but the loss gives `none` and the skip connection no
  gradient of their own: what they are worth is left to their prices.
- `rested`: `warm`, but the weights rest after their half.

Then the 20 candidates a budget are chosen among by an oracle, by the frozen
committee and by five short trainings, as in `conditioning`, whose surrogates
are the rival. Rows are added to --json. A killed run goes on.
"""

import argparse
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import stats

import hwnas_jax as hw
from experiments.made import begin, made
from experiments.nasbench201 import supernet
from experiments.nasbench201.own_full_size.conditioning import worth
from experiments.nasbench201.protocol import choices, controller, data
from experiments.nasbench201.protocol.choices import SHARED
from experiments.nasbench201.protocol.controller import Trained
from experiments.nasbench201.protocol.data import Cells
from hwnas_jax.config import problem as problems
from hwnas_jax.core.types import Array, Mix
from hwnas_jax.io import readers, writers
from hwnas_jax.io.cache import use_compilation_cache
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method import conditions, samplers
from hwnas_jax.runs import pipeline, searching
from hwnas_jax.spaces.nasbench201 import OPS

HERE = pathlib.Path(__file__).parent
NO_CREDIT = np.asarray([OPS.index(op) for op in ("none", "skip_connect")])
BATCH, CONTROLLER_LR = 64, 3e-3
ENTROPY = 0.2  # weight of the logits' entropy, as the frozen controllers'


class Way(NamedTuple):
  """A way of training.

  sampler: of the controller's steps.
  warmup: share of the steps that train the weights alone.
  rests: whether the weights rest afterwards.
  """

  sampler: str = "gdas"
  warmup: float = 0.5
  rests: bool = False


WAYS = {
  "mixture": Way("gumbel_softmax", warmup=0.0),
  "warm": Way(),
  "no_credit": Way("no_credit"),
  "rested": Way(rests=True),
}


def without_credit() -> samplers.Sampler:
  """`gdas`, whose draw has no gradient to the logits of NO_CREDIT."""
  gdas = samplers.SAMPLERS["gdas"]
  inner = gdas.draw
  assert inner is not None

  def draw(
    key: Array, logits: Array, temperature: Array, rows: int | None
  ) -> Mix:
    """A path, whose loss says nothing about absent weights."""
    stopped = lax.stop_gradient(logits[..., NO_CREDIT])
    return inner(key, logits.at[..., NO_CREDIT].set(stopped), temperature, rows)

  return gdas._replace(draw=draw)


def make_config(args: argparse.Namespace) -> Any:
  """The reduced config of NAS-Bench-201, with a controller that learns."""
  way = WAYS[args.way]
  config = hw.load_config("nasbench201")
  config.seed = args.seed
  config.data.update(name="arrays", pad=supernet.SIDE // 8)
  config.space.update(num_cells=supernet.CELLS, channels=supernet.CHANNELS)
  config.cost.name = "macs"  # replaced by the protocol's prices
  config.controller.name = "mlp"
  config.sampler.update(name=way.sampler, warmup="ordered", per_example=False)
  config.temperature.update(name="exponential", start=1.0, end=0.3)
  warmup = int(args.steps * way.warmup)
  config.search.update(
    num_steps=args.steps,
    warmup_steps=warmup,
    batch_size=BATCH,
    bilevel=True,
    weights_lr=0.05,
    controller_lr=CONTROLLER_LR,
    checkpoint_every=500,
  )
  if not way.warmup:
    config.sampler.warmup = ""
  if way.rests:
    rest = args.steps - warmup
    config.search.update(weights_lr_end=1e-5)
    config.search.update(epoch_steps=10, controller_epoch_steps=rest)
  if args.smoke:
    config.space.channels = 4
    config.search.update(batch_size=8, checkpoint_every=10)
  return config


def train(args: argparse.Namespace, unit: float) -> Trained:
  """A search's controller, and the cross-entropies on the way.

  Args:
    args: the command line.
    unit: the shared loss's deviation over cells.
  """
  dataset = supernet.load_dataset(args.data_dir)
  plain = make_config(args)
  plain.regularise.entropy = -ENTROPY * unit * len(controller.SPACE.choices)
  config = problems.resolve(plain)
  nets = problems.make_nets(config, dataset)
  problem = problems.make(config, nets, None)
  reference = jnp.asarray(controller.REFERENCE, jnp.float32)
  problem = dataclasses.replace(
    problem,
    costs=problem.costs._replace(reference=reference),
    columns=tuple(range(len(OPS))),
    conditions=conditions.cone(
      len(OPS), controller.LOW * unit, controller.HIGH * unit
    ),
  )
  folder = RunFolder.at(args.work / args.name)
  pipeline.begin(folder, config, "", dataset, nets)
  parts, state = searching.search(problem, folder, dataset)
  rows = readers.read_jsonl(folder.search / "metrics.jsonl")
  losses = np.asarray([row["cross_entropy"] for row in rows])
  return Trained(parts.controller, state.controller, losses)


def describe(cells: Cells, trained: Trained, seed: int) -> dict[str, Any]:
  """`conditioning.worth` of the controller's candidates, and `spearman`.

  The latter is of its score at the smallest scale with accuracy, mean of the
  settings.
  """
  frozen = choices.read(readers.read_json(HERE / "frozen.json"))
  prices = choices.prices(cells, seed)
  likelihoods = controller.log_likelihoods(trained, prices, cells.genotypes)
  ranks = [
    stats.spearmanr(scores[0], cells.val_200).statistic
    for scores in likelihoods
  ]
  row = worth(cells, frozen, likelihoods, seed)
  return row | {"spearman": float(np.mean(ranks))}


def shares(trained: Trained, prices: np.ndarray) -> dict[str, dict[str, float]]:
  """Mean probability of each operation at the smallest and largest scale."""
  ends = jnp.asarray([controller.LOW, controller.HIGH])
  logits = controller.logits_at(*trained[:2], jnp.asarray(prices), ends)
  mean = np.asarray(jax.nn.softmax(logits).mean((0, 2)))
  return {
    name: dict(zip(OPS, row.round(4).tolist(), strict=True))
    for name, row in zip(("smallest", "largest"), mean, strict=True)
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--nb201", type=pathlib.Path, required=True)
  parser.add_argument("--scores", type=pathlib.Path, required=True)
  parser.add_argument("--way", choices=WAYS, required=True)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--steps", type=int, default=6000)
  parser.add_argument(
    "--work", type=pathlib.Path, default=HERE / "runs", help="of checkpoints"
  )
  parser.add_argument(
    "--json", type=pathlib.Path, default=HERE / "by_supernet.json"
  )
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  args.name = f"{args.way}_seed{args.seed}"
  args.steps = 40 if args.smoke else args.steps
  return args


def main() -> None:
  """Trains one controller and adds its row."""
  args, start = parse(), begin()
  use_compilation_cache()
  samplers.SAMPLERS["no_credit"] = without_credit()
  whole = data.load(args.nb201, args.scores)
  unit = float(np.std(whole.judges[SHARED][np.isfinite(whole.judges[SHARED])]))
  trained = train(args, unit)
  row = {
    "config": make_config(args).to_dict(),
    "unit": unit,
    "cross_entropy": trained.losses[-100:].mean(),
    "shares": shares(trained, choices.prices(whole, args.seed)),
    **{
      part: describe(data.part_of(whole, part), trained, args.seed)
      for part in ("half", "other", "all")
    },
    # Of the process that ended: one that went on took less.
    "made": made(start, search=args.seed),
  }
  rows = readers.read_json(args.json) if args.json.exists() else {}
  writers.write_json(args.json, {**rows, args.name: row})
  for part in ("half", "other", "all"):
    print(args.name, part, row[part])
  print(row["shares"])


if __name__ == "__main__":
  main()
