"""The surrogate of a run: random architectures, judged, and a fit to it.

Judgements are kept in the run folder, judge by judge, so a run that was stopped
does not judge again. The fit takes a moment and is made again when it is read.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from hwnas_jax.config import method
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Problem
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.derive import judges
from hwnas_jax.derive.committee import committee, default
from hwnas_jax.derive.judges import Evidence, Judged
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.io.judgements import Judgements
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method import surrogate as surrogates
from hwnas_jax.method.surrogate import Fit, Surrogate
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.spaces import architecture, rules
from hwnas_jax.spaces.spec import Space, Spec

DRAWS, BATCH = 3, 64  # of fresh weights, and images of each
AT_ONCE = 20  # architectures between two updates of the bar
TRIES = 4  # random draws for each architecture that is asked for


def judge(
  problem: Problem,
  folder: RunFolder,
  dataset: Dataset,
  shared: SharedWeights | None,
) -> Surrogate:
  """Judges random architectures, as far as was not done, and fits to that.

  Args:
    problem: the search.
    folder: has judgements.json, or gets it.
    dataset: its images are what judges look at.
    shared: the supernet's trained weights, if there are any.

  Raises:
    ValueError: no judge applies, or all architectures have one rank.
  """
  net = problem.nets.supernet
  space = net.space()
  judged = folder.judgements() or _drawn(problem.config, space)
  read = None
  while name := _next_judge(judged):
    start = time.monotonic()
    read = read or evidence(problem, dataset, shared)
    scores, left_out = _ask_all(name, read, _genotypes(space, judged))
    for reason in left_out.values():
      print(f"surrogate: {name} is left out: {reason}")
    finite = {
      name: tuple(float(s) if np.isfinite(s) else None for s in values)
      for name, values in scores.items()
    }
    judged = msgspec.structs.replace(
      judged,
      scores=judged.scores | finite,
      left_out=judged.left_out | left_out,
      wall_s=round(judged.wall_s + time.monotonic() - start, 3),
    )
    folder.write_judgements(judged)
  fitted = fit(net, judged)
  if judged.rank_correlation is None:
    judged = msgspec.structs.replace(
      judged, rank_correlation=fitted.rank_correlation
    )
    folder.write_judgements(judged)
    names = ", ".join(default(judged.left_out))
    print(
      f"surrogate: {len(judged.architectures)} architectures judged by"
      f" {names} in {judged.wall_s:.0f} s; leave-one-out"
      f" Spearman {fitted.rank_correlation:.2f}"
    )
  return fitted.surrogate


def ask(
  name: str, read: Evidence, genotypes: Sequence[Genotype]
) -> Iterator[Judged]:
  """What a judge says, of `AT_ONCE` architectures at a time.

  A judge that does not apply says so once.

  Args:
    name: of the judge.
    read: what it reads.
    genotypes: [N], in the order of the answers.
  """
  for start in range(0, len(genotypes), AT_ONCE):
    judged = judges.judge([name], read, genotypes[start : start + AT_ONCE])
    yield judged
    if judged.left_out:
      return


def _ask_all(
  name: str, read: Evidence, genotypes: Sequence[Genotype]
) -> Judged:
  """What a judge says of all architectures, with a bar."""
  scores: list[float] = []
  with Progress(len(genotypes), f"judge {name}") as progress:
    for judged in ask(name, read, genotypes):
      if judged.left_out:
        return judged
      scores.extend(judged.scores[name].tolist())
      progress.update(len(scores))
  return Judged({name: np.asarray(scores)}, {})


def fit(net: Spec, judged: Judgements) -> Fit:
  """Fits a surrogate to the committee's ranks.

  A dead architecture has the lowest rank, whatever the judges said.

  Args:
    net: the supernet's dimensions.
    judged: one judge at least.

  Raises:
    ValueError: see `method.surrogate.fit`.
  """
  genotypes = _genotypes(net.space(), judged)
  weights = default(judged.left_out)
  scores = {name: np.asarray(judged.scores[name], float) for name in weights}
  labels = committee(scores, weights).total
  dead = [not net.alive(genotype) for genotype in genotypes]
  labels[dead] = labels.min()
  mixes = architecture.one_hot(genotypes, len(net.ops))
  return surrogates.fit(mixes, labels)


def _next_judge(judged: Judgements) -> str | None:
  """A judge of the committee that was not asked yet."""
  weights = default(judged.left_out)
  return next((name for name in weights if name not in judged.scores), None)


def _drawn(config: Config, space: Space) -> Judgements:
  """Different random architectures; fewer where the space is that small."""
  count = config.quality.architectures
  rng = np.random.default_rng([config.seed, 1])  # not those trained as baseline
  genotypes: dict[Genotype, None] = {}
  for _ in range(TRIES * count):
    genotypes[rules.random(space, config.derive.rule, rng)] = None
    if len(genotypes) == count:
      break
  return Judgements(
    architectures=tuple(architecture.to_json(space, g) for g in genotypes)
  )


def _genotypes(space: Space, judged: Judgements) -> list[Genotype]:
  return [architecture.from_json(space, a) for a in judged.architectures]


def evidence(
  problem: Problem, dataset: Dataset, shared: SharedWeights | None
) -> Evidence:
  """What judges read: fresh weights of one seed, held-out images, the supernet.

  Args:
    problem: the search.
    dataset: its data.
    shared: the supernet's trained weights; None where there are none.
  """
  config = problem.config
  supernet = make_supernet(problem.nets.supernet)
  images, _ = method.held_out(config, dataset, DRAWS * BATCH)
  images = images[: max(1, len(images) // DRAWS) * DRAWS]
  draws = judges.fresh(supernet, stream(config.seed, "judges"), images, DRAWS)
  return Evidence(problem.nets.derived, supernet, draws, shared)
