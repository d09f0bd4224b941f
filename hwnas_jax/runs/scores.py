"""What judges say of a run's architectures, kept in its folder.

A score depends on the run's seed, data, supernet and versions alone, and never
on a budget or a device; so scores.json of the run folder has it for every later
query.
"""

import concurrent.futures
import hashlib
import itertools
import threading
from collections.abc import Sequence

import numpy as np

from hwnas_jax.core import tree
from hwnas_jax.core.types import Genotype
from hwnas_jax.derive import capacity, judges
from hwnas_jax.derive.judges import Judged
from hwnas_jax.io import records, versions
from hwnas_jax.io.certificates import Scores
from hwnas_jax.io.progress import Progress
from hwnas_jax.runs import judging
from hwnas_jax.runs.finished import HELD_OUT, Finished
from hwnas_jax.spaces import architecture


def judge(
  finished: Finished, names: Sequence[str], genotypes: Sequence[Genotype]
) -> Judged:
  """What judges say; only those that were not asked before are asked now.

  Args:
    finished: the search.
    names: of judges, in `judges.JUDGES`.
    genotypes: [N], one at least.

  Raises:
    ValueError: no judge has such a name.
  """
  judges.require(names)
  net = finished.problem.nets.derived
  living = [capacity.reaching(net, genotype) for genotype in genotypes]
  ids = [architecture.identity(net.space(), genotype) for genotype in living]
  known = _ask(finished, names, dict(zip(ids, living, strict=True)))
  scores = {
    name: np.asarray([known.scores[name][i] for i in ids], float)
    for name in names
    if name not in known.left_out
  }
  left_out = {n: known.left_out[n] for n in names if n in known.left_out}
  return Judged(scores, left_out)


def _ask(
  finished: Finished, names: Sequence[str], genotypes: dict[str, Genotype]
) -> Scores:
  """The run's scores, with those of all these architectures, by id."""
  known = _read(finished)
  missing = {
    name: [i for i in genotypes if i not in known.scores.get(name, {})]
    for name in names
    if name not in known.left_out
  }
  todo = {name: ids for name, ids in missing.items() if ids}
  if not todo:
    return known
  evidence = finished.evidence
  lock, stopped = threading.Lock(), threading.Event()
  total = sum(len(ids) for ids in todo.values())
  done = 0

  def ask(name: str) -> None:
    """Writes what one judge says, some architectures at a time."""
    nonlocal known, done
    ids = iter(todo[name])
    new = [genotypes[i] for i in todo[name]]
    for judged in judging.ask(name, evidence, new):
      count = len(judged.scores.get(name, todo[name]))
      with lock:
        asked = list(itertools.islice(ids, count))
        known = _with(known, name, asked, judged)
        records.write(finished.folder.scores, known)
        done += count
        progress.update(done)
      if stopped.is_set():
        return

  # Each judge's program is compiled mostly on one core.
  with (
    Progress(total, "judge") as progress,
    concurrent.futures.ThreadPoolExecutor(2) as pool,
  ):
    try:
      list(pool.map(ask, todo))
    except BaseException:  # Ctrl-C too: the pool waits for its threads
      stopped.set()
      raise
  return known


def _with(
  known: Scores, name: str, ids: Sequence[str], judged: Judged
) -> Scores:
  """The scores with what one judge said."""
  if name in judged.left_out:
    left_out = {**known.left_out, name: judged.left_out[name]}
    return Scores(digest=known.digest, scores=known.scores, left_out=left_out)
  values = [v if np.isfinite(v) else None for v in judged.scores[name].tolist()]
  new = dict(zip(ids, values, strict=True))
  scores = {**known.scores, name: {**known.scores.get(name, {}), **new}}
  return Scores(digest=known.digest, scores=scores, left_out=known.left_out)


def _read(finished: Finished) -> Scores:
  """The scores in the run folder; none if they are of other evidence."""
  digest = _digest(finished)
  if finished.folder.scores.exists():
    scores = records.read(finished.folder.scores, Scores)
    if scores.digest == digest:
      return scores
  return Scores(digest=digest)


def _digest(finished: Finished) -> str:
  """Of all that decides a score."""
  problem, made_with = finished.problem, versions.versions()
  read = (
    repr(problem.nets),
    finished.dataset.digest,
    problem.config.seed,
    problem.config.search.weights_fraction,
    tree.digest(finished.searched.state.weights),
    (judging.DRAWS, judging.BATCH, HELD_OUT),
    [made_with[name] for name in ("jax", "jaxlib", "hwnas_jax")],
  )
  return hashlib.sha256(repr(read).encode()).hexdigest()
