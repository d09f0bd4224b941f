"""Finalists: a query's best candidates, trained briefly before one is chosen.

Judges do not rank the best candidates well; short trainings do. Each is a whole
training of few steps, with a cosine of its own, on nine tenths of the training
split; the accuracy on the rest decides. It depends on no budget and no device,
so every later query of the run finds it in finalists/ of the run folder.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from hwnas_jax.config.fields import Config
from hwnas_jax.core.types import Genotype
from hwnas_jax.io import readers
from hwnas_jax.io.run_folder import NetworkFolder
from hwnas_jax.runs import training
from hwnas_jax.runs.finished import Finished
from hwnas_jax.spaces import architecture

MOST = 8  # finalists that are trained for all steps


@dataclasses.dataclass(frozen=True)
class Finalists:
  """How many candidates a query trains briefly, and for how many steps.

  >>> finalists = hw.Finalists(count=3, steps=200)
  >>> finalists.count
  3

  count: of more than MOST the worse half is dropped after half of the steps,
    and so on (`rounds`).
  steps: of the longest training; a multiple of train.steps_per_dispatch.

  Raises:
    ValueError: there is nothing to choose from, or no step.
  """

  count: int
  steps: int

  def __post_init__(self) -> None:
    if self.count < 2:
      raise ValueError(f"finalists must be 2 or more, got {self.count}")
    if self.steps < 1:
      raise ValueError(f"finalist_steps must be 1 or more, got {self.steps}")

  def require(self, config: Config) -> None:
    """Raises ValueError if a run's dispatches do not make so many steps."""
    unit = config.train.steps_per_dispatch
    if self.steps % unit:
      raise ValueError(
        f"finalist_steps ({self.steps}) must be a multiple of the run's"
        f" train.steps_per_dispatch ({unit})"
      )


class Round(NamedTuple):
  """A round of successive halving: so many are trained for so many steps."""

  networks: int
  steps: int


class Trained(NamedTuple):
  """A finalist after its trainings.

  steps: of the longest. seconds: of all, without compilation; None where one
    was a single dispatch, which no log times.
  held_out_accuracy: after the longest.
  """

  genotype: Genotype
  steps: int
  seconds: float | None
  held_out_accuracy: float


def rounds(finalists: Finalists, unit: int) -> list[Round]:
  """Successive halving (Jamieson and Talwalkar 2016, algorithm 1).

  The last round trains MOST at most for all steps; the one before twice as many
  for half of them, and so on. Each training begins anew, so that each has a
  whole cosine.

  Args:
    finalists: what was asked for.
    unit: steps of a dispatch; the steps of every round are a multiple.
  """
  counts = [finalists.count]
  while counts[-1] > MOST:
    counts.append(-(-counts[-1] // 2))
  last = len(counts) - 1
  return [
    Round(
      networks, max(unit, finalists.steps // 2 ** (last - i) // unit * unit)
    )
    for i, networks in enumerate(counts)
  ]


def train(
  finished: Finished, finalists: Finalists, genotypes: Sequence[Genotype]
) -> list[Trained]:
  """Trains candidates briefly, unless that was done before.

  Args:
    finished: the run; its recipe is used, with other steps and one seed.
    finalists: the steps.
    genotypes: the candidates, best first; not more than `finalists.count`.

  Returns:
    Most accurate first; those that were dropped earlier come after. Of equally
    accurate ones the better candidate is first.

  Raises:
    ValueError: see `Finalists.require`.
    io.loop.Stopped: asked to stop; the same call resumes.
  """
  config = finished.problem.config
  finalists.require(config)
  schedule = dataclasses.replace(finalists, count=max(2, len(genotypes)))
  trained = {g: Trained(g, 0, 0.0, 0.0) for g in genotypes}
  left: list[Genotype] = list(genotypes)
  dropped: list[Genotype] = []
  for count, steps in rounds(schedule, config.train.steps_per_dispatch):
    left, dropped = left[:count], [*left[count:], *dropped]
    for row in _train(finished, steps, left):
      times = trained[row.genotype].seconds, row.seconds
      known = [seconds for seconds in times if seconds is not None]
      total = sum(known) if len(known) == len(times) else None
      trained[row.genotype] = row._replace(seconds=total)
    left.sort(key=lambda g: -trained[g].held_out_accuracy)
  return [trained[g] for g in (*left, *dropped)]


def _train(
  finished: Finished, steps: int, genotypes: Sequence[Genotype]
) -> list[Trained]:
  """One round."""
  config, net = finished.problem.config, finished.problem.nets.derived
  recipe = replace(
    config.train, num_steps=steps, num_seeds=1, teacher=False, inherit=False
  )
  # As of sampled networks, of which one is kept, a tenth is held out.
  derive = replace(config.derive, num_samples=len(genotypes))
  brief = replace(config, train=recipe, derive=derive)
  folder = finished.folder.finalists(f"{steps}-{_digest(finished, brief)}")
  accuracies = training.train(brief, folder, finished.dataset, net, genotypes)
  rows = []
  for genotype, accuracy in zip(genotypes, accuracies, strict=True):
    home = folder.network(architecture.identity(net.space(), genotype))
    assert accuracy.held_out_accuracy is not None
    rows.append(
      Trained(genotype, steps, _seconds(home), accuracy.held_out_accuracy)
    )
  return rows


def _digest(finished: Finished, brief: Config) -> str:
  """Of all that decides a short training but the architecture: 8 digits."""
  read = (
    brief.train,
    brief.data,
    brief.seed,
    finished.dataset.digest,
    finished.problem.nets.derived,
  )
  return hashlib.sha256(repr(read).encode()).hexdigest()[:8]


def _seconds(home: NetworkFolder) -> float | None:
  """How long a training took by its log, pauses and compilation left out.

  None where the log has one row, so no time between two.
  """
  times = [row["unix_time_s"] for row in readers.read_jsonl(home.metrics)]
  passed_s = np.diff(times)
  passed_s = passed_s[passed_s > 0]  # the clock may have been set back
  return float(np.median(passed_s) * len(times)) if len(passed_s) else None
