"""How the controller reads its conditions, and how its gradient is estimated.

  python -m experiments.nasbench201.own_full_size.conditioning \
    --data_dir=NB201 --scores DIR/full_seed{0,1,2}.npz

From the repository root; the arguments are those of `protocol.run`. The frozen
committee labels 600 cells, a surrogate is fitted, and a controller of each form
is trained against it by 20,000 draws of a condition, from three seeds. Then its
20 candidates a budget are chosen among by an oracle, by the committee and by
five short trainings, on the half and on the other half.

`noise` is the variance of the gradient over its squared mean, at the start of
the training: of 400 draws of a condition and of its architectures; and of 400
draws of architectures under one condition, mean of 8 conditions.

Writes conditioning.json, row by row; what is there is not made again.
"""

import argparse
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from experiments.made import begin, made
from experiments.nasbench201.protocol import (
  choices,
  controller,
  data,
  pickers,
)
from experiments.nasbench201.protocol.choices import Frozen
from experiments.nasbench201.protocol.controller import Form
from experiments.nasbench201.protocol.data import Cells
from experiments.nasbench201.protocol.score import make_problem, score
from experiments.nasbench201.protocol.tune import chosen
from hwnas_jax.io import readers, writers
from hwnas_jax.method.surrogate import Surrogate

HERE = pathlib.Path(__file__).parent
SEEDS = 3
FORMS = {
  "mlp (frozen)": Form(),
  "pivots": Form(kind="pivots"),
  "piecewise, blind to the device": Form(kind="piecewise"),
  "mixture of tables": Form(kind="mixture"),
  "4 conditions a step": Form(conditions=4),
  "16 conditions a step": Form(conditions=16),
  "1 draw a condition": Form(draws=1),
  "4 draws a condition": Form(draws=4),
  "relaxed draws": Form(sampler="gumbel_softmax"),
  "expectation, no draws": Form(sampler="softmax", draws=1),
}
DRAWN, CONDITIONS = 400, 8


def worth(
  cells: Cells, frozen: Frozen, likelihoods: np.ndarray, seed: int
) -> dict[str, Any]:
  """What the likeliest 20 of each budget are worth.

  Args:
    cells: N of them.
    frozen: who chooses, and how candidates fill a budget.
    likelihoods: [D, T, N], see `controller.log_likelihoods`.
    seed: of the order of ties.

  Returns:
    [mean of the settings, worst setting] by who chooses, and how many different
    candidates there are in all.
  """
  problem = make_problem(cells)
  settings = frozen.controllers["committee"]
  lists = controller.candidates(
    problem, likelihoods, settings, choices.CANDIDATES
  )
  tie = pickers.shuffle(cells, seed)
  ratios = [
    score(problem, rows)
    for rows in chosen(problem, lists, frozen.committee, tie)
  ]
  row: dict[str, Any] = {
    who: [float(r.mean()), float(r.min())]
    for who, r in zip(("oracle", "committee", "five"), ratios, strict=True)
  }
  different = set(lists.ravel().tolist()) - {pickers.ABSENT}
  return row | {"candidates": len(different)}


def picked(
  cells: Cells, frozen: Frozen, form: Form, seed: int
) -> dict[str, Any]:
  """`worth` of a form's candidates, and the seconds of its training."""
  settings = frozen.controllers["committee"]
  weights = frozen.committee.weights
  fitted = choices.fit_surrogate(cells, "committee", weights, seed)
  start = time.monotonic()
  trained = controller.train(fitted, settings.entropy, seed, form)
  seconds = time.monotonic() - start
  likelihoods = controller.log_likelihoods(
    trained, choices.prices(cells, seed), cells.genotypes
  )
  row = worth(cells, frozen, likelihoods, seed)
  return row | {"train_s": round(seconds, 1)}


def noise(surrogate: Surrogate, entropy: float, form: Form) -> dict[str, float]:
  """The gradient's variance over its squared mean, at the start."""
  gradient = controller.gradient(surrogate, entropy, form)
  draw = jax.jit(jax.vmap(gradient))

  def ratio(conditions: jax.Array, keys: jax.Array) -> float:
    flat = jax.vmap(lambda tree: jax.flatten_util.ravel_pytree(tree)[0])(
      draw(conditions, keys)
    )
    mean = flat.mean(0)
    return float(((flat - mean) ** 2).sum(1).mean() / (mean**2).sum())

  keys = jax.random.split(jax.random.key(1), DRAWN)
  other = jax.random.split(jax.random.key(2), DRAWN)
  fixed = [ratio(jnp.repeat(key, DRAWN), other) for key in keys[:CONDITIONS]]
  return {"all": ratio(keys, other), "one condition": float(np.mean(fixed))}


def fill(
  row: dict[str, Any],
  parts: Sequence[str],
  supernets: Sequence[Cells],
  pick: Callable[[Cells, int], dict[str, Any]],
  save: Callable[[], None],
) -> None:
  """Adds what `pick` gives of each part and seed to a row that lacks it."""
  for part in parts:
    for seed in range(len(row.setdefault(part, [])), SEEDS):
      cells = data.part_of(supernets[seed % len(supernets)], part)
      row[part].append(pick(cells, seed))
      save()


def parse(about: str | None, path: pathlib.Path) -> argparse.Namespace:
  """The command line of a script with that docstring and default --json."""
  parser = argparse.ArgumentParser(
    description=about, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--scores", type=pathlib.Path, nargs="+", required=True)
  parser.add_argument("--json", type=pathlib.Path, default=path)
  return parser.parse_args()


def main() -> None:
  """Trains every form from every seed, on both halves."""
  args, start = parse(__doc__, HERE / "conditioning.json"), begin()
  frozen = choices.read(readers.read_json(HERE / "frozen.json"))
  supernets = [data.load(args.data_dir, path) for path in args.scores]
  rows = readers.read_json(args.json) if args.json.exists() else {}
  for name, form in FORMS.items():
    row = rows.setdefault(name, {"form": form._asdict()})

    def pick(cells: Cells, seed: int, form: Form = form) -> dict[str, Any]:
      return picked(cells, frozen, form, seed)

    def save(row: dict[str, Any] = row) -> None:
      row["made"] = made(start, seeds=[*range(SEEDS)])
      writers.write_json(args.json, rows)

    fill(row, ("half", "other"), supernets, pick, save)
    if "noise" not in row:
      cells = data.part_of(supernets[0], "half")
      weights = frozen.committee.weights
      fitted = choices.fit_surrogate(cells, "committee", weights, 0)
      entropy = frozen.controllers["committee"].entropy
      row["noise"] = noise(fitted, entropy, form)
      writers.write_json(args.json, rows)
    print_row(name, row)


def print_row(name: str, row: dict[str, Any]) -> None:
  """Means and deviations over seeds of the other half."""
  texts = [name]
  for who in ("oracle", "committee", "five"):
    values = np.asarray([seed[who] for seed in row["other"]])
    mean, worst = values.mean(0)
    texts.append(f"{mean:.3f} ({values[:, 0].std():.3f}) / {worst:.3f}")
  noises = [f"{value:.3g}" for value in row["noise"].values()]
  print(" | ".join([*texts, *noises]), flush=True)


if __name__ == "__main__":
  main()
