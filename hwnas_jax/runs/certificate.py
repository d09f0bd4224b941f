"""Writes down how a query's answer was chosen, as its certificate."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import capacity, committee
from hwnas_jax.derive.settle import Candidate, MeasuredCandidate
from hwnas_jax.io import certificates, versions
from hwnas_jax.io.certificates import Certificate, Rival
from hwnas_jax.io.records import BaselineKind, Measurement
from hwnas_jax.nets.models import scaled
from hwnas_jax.runs.candidates import Ranking
from hwnas_jax.runs.finalists import Trained
from hwnas_jax.runs.finished import Finished
from hwnas_jax.runs.training import Sized
from hwnas_jax.spaces import architecture


class Found(NamedTuple):
  """What a query found.

  budget: what was asked.
  simplex: the device as a point, and the relative residual of that.
  rankings: of each latency limit that was asked, the budget's first.
  answer: the candidate that was chosen.
  tried: candidates that were measured; [] where the device is not here.
  trained: finalists, most accurate first.
  """

  budget: certificates.Budget
  simplex: tuple[np.ndarray, float]
  rankings: Sequence[Ranking]
  answer: Candidate
  tried: Sequence[MeasuredCandidate]
  trained: Sequence[tuple[Candidate, Trained]]

  def measured(self, genotype: Genotype) -> Measurement | None:
    """A latency, where this query measured it and the memory sufficed."""
    for candidate, latency in self.tried:
      if candidate.genotype == genotype:
        return _finite(latency)
    return None


def make(finished: Finished, table: LatencyTable, found: Found) -> Certificate:
  """The certificate of an answer, without its weights."""
  answer, measured = found.answer, found.measured(found.answer.genotype)
  sources = collections.Counter(c.source for c in found.rankings[0].candidates)
  return Certificate(
    kind="measured" if measured else "predicted",
    budget=found.budget,
    predicted_ms=answer.predicted_ms,
    measured=measured,
    tried=tuple(
      certificates.Tried(
        candidate.predicted_ms, _finite(latency), candidate.source
      )
      for candidate, latency in found.tried
    ),
    margin=_margin(table),
    source=answer.source,
    candidates=dict(sources),
    unconstrained_best_fits=answer.place == 1,
    largest=_largest(finished, found),
    random=_random(finished, table, found),
    reference=_reference(finished, table, found),
    committee=_committee(found),
    finalists=tuple(_finalist(finished, found, *row) for row in found.trained),
    simplex=tuple(float(s) for s in found.simplex[0]),
    simplex_residual=found.simplex[1],
    batch_size=table.batch_size,
    table=certificates.TableIdentity(table.fingerprint, table.digest()),
    device=versions.device_fingerprint(),
    versions=versions.versions(),
  )


def _finite(latency: Measurement) -> Measurement | None:
  return latency if np.isfinite(latency.median_ms) else None


def _margin(table: LatencyTable) -> certificates.Margin | None:
  calibration = table.calibration
  if not calibration:
    return None
  return certificates.Margin(
    ratio=calibration.margin,
    nominal_level=calibration.level,
    attained_level=calibration.attained_level,
    guaranteed_level=calibration.guaranteed_level,
    networks=len(calibration.networks),
  )


def _id(finished: Finished, genotype: Genotype) -> str:
  space = finished.problem.nets.derived.space()
  return architecture.identity(space, genotype)


def _largest(finished: Finished, found: Found) -> Rival:
  """Of the candidates without those that were measured to be too slow.

  With those that were measured to fit, though they were predicted not to.
  """
  net = finished.problem.nets.derived
  predicted = {c.genotype: c.predicted_ms for c in found.rankings[0].candidates}
  for candidate, latency in found.tried:
    predicted.pop(candidate.genotype, None)
    if latency.median_ms <= found.budget.latency_ms:
      predicted[candidate.genotype] = candidate.predicted_ms
  sizes = dict(zip(predicted, capacity.macs(net, list(predicted)), strict=True))
  genotype = min(predicted, key=lambda g: (-sizes[g], predicted[g]))
  return _rival(
    finished, Sized(genotype), predicted[genotype], found.measured(genotype)
  )


def _random(
  finished: Finished, table: LatencyTable, found: Found
) -> tuple[Rival, ...]:
  """The run's random architectures that keep the budgets, slowest first."""
  rivals = _of_the_run(finished, table, found, "random")
  return tuple(sorted(rivals, key=lambda rival: -rival.latency_ms))


def _reference(
  finished: Finished, table: LatencyTable, found: Found
) -> Rival | None:
  """The largest of the run's references that keep the budgets."""
  rivals = _of_the_run(finished, table, found, "reference")
  return max(rivals, key=lambda rival: rival.macs, default=None)


def _of_the_run(
  finished: Finished, table: LatencyTable, found: Found, kind: BaselineKind
) -> list[Rival]:
  """The run's baselines of a kind that are known to keep the budgets.

  Memory is left out: it is not known without compiling them.
  """
  family, problem = finished.folder.family(), finished.problem
  run_table, net = problem.table, problem.nets.derived
  assert run_table is not None
  # Then the run's measurements are of the table's device.
  here = tables.same_device(table, run_table) and bool(finished.measured)
  limits, rivals = found.budget.limits, []
  for member in family.members if family else ():
    if member.kind != kind:
      continue
    genotype = architecture.from_json(net.space(), member.architecture)
    predicted_ms, measured = None, member.latency if here else None
    if member.width == 1.0:  # else the table has no such network
      predicted_ms = tables.predict_ms(table, net, genotype)
      measured = found.measured(genotype) or measured
    latency_ms = measured.median_ms if measured else predicted_ms
    if (
      latency_ms is not None
      and latency_ms <= found.budget.latency_ms
      and member.params <= limits.get("params", np.inf)
      and member.macs <= limits.get("macs", np.inf)
    ):
      sized = Sized(genotype, member.width)
      rivals.append(_rival(finished, sized, predicted_ms, measured))
  return rivals


def _rival(
  finished: Finished,
  network: Sized,
  predicted_ms: float | None,
  measured: Measurement | None,
) -> Rival:
  net = scaled(finished.problem.nets.derived, network.width)
  name = architecture.identity(net.space(), *network)
  trained = finished.folder.network(name).accuracies()
  return Rival(
    id=name,
    architecture=architecture.to_json(net.space(), network.genotype),
    macs=int(capacity.macs(net, [network.genotype])[0]),
    predicted_ms=predicted_ms,
    measured=measured,
    test_accuracy=trained.test_accuracy if trained else None,
    width=network.width,
  )


def _committee(found: Found) -> certificates.Committee:
  """What the judges say of the answer, in the ranking that it comes from."""
  ranking = next(
    r for r in reversed(found.rankings) if found.answer in r.candidates
  )
  row = ranking.compared.index(found.answer.genotype)
  votes = [
    certificates.Vote(
      judge=name,
      weight=ranking.weights[name],
      score=float(scores[row]) if np.isfinite(scores[row]) else None,
      place=committee.places(scores)[row],
    )
    for name, scores in ranking.judged.scores.items()
  ]
  return certificates.Committee(
    compared=len(ranking.compared),
    place=found.answer.place,
    votes=tuple(votes),
    left_out=ranking.judged.left_out,
  )


def _finalist(
  finished: Finished, found: Found, candidate: Candidate, trained: Trained
) -> certificates.Finalist:
  return certificates.Finalist(
    id=_id(finished, candidate.genotype),
    source=candidate.source,
    predicted_ms=candidate.predicted_ms,
    measured=found.measured(candidate.genotype),
    steps=trained.steps,
    seconds=trained.seconds,
    held_out_accuracy=trained.held_out_accuracy,
  )
