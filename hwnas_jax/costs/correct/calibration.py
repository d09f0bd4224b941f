"""Corrects a table of isolated operations by a few measured networks.

In a network an operation takes its isolated time times a multiplier. There is
one multiplier for each type of operation and one for the base (stem,
preprocessing, classifier): fusion, caches and dispatch make a table of isolated
operations wrong in this structured way (docs/latency.md#calibration). The
multipliers are fitted by `costs.correct.multipliers` to the latencies of some
20 networks, so costs stay additive: a price array [E, O] and a base.

The error bound is one-sided jackknife+ over all calibration networks. Its level
holds for networks drawn as those were. A search does not draw its networks but
selects them, so for them the level is empirical.
"""

from collections.abc import Mapping
from typing import Annotated, Protocol

import numpy as np

from hwnas_jax.core.types import Genotype
from hwnas_jax.costs.correct import multipliers, regression
from hwnas_jax.costs.correct.features import BASE, LIVENESS, features
from hwnas_jax.costs.correct.regression import Error
from hwnas_jax.costs.measured import Measured
from hwnas_jax.io import document
from hwnas_jax.io.document import Count, Finite, Fraction, Positive, Text
from hwnas_jax.io.records import Architecture, Record
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Space, Spec

LEVEL = 0.95


class Rule(Protocol):
  """A rule that turns logits into an architecture, as `spaces.rules.RULES`."""

  def __call__(self, space: Space, logits: np.ndarray, /) -> Genotype:
    """Returns one operation a choice, or ABSENT.

    Args:
      space: of the architecture.
      logits: [E, O]; -inf where a choice lacks the operation.
    """


class Calibrate(Protocol):
  """Makes a calibration, as `calibrate` and `transfer.calibrate` do."""

  def __call__(
    self, net: Spec, costs: Mapping[str, float], measured: Measured, /
  ) -> "Calibration":
    """Returns the calibration.

    Args:
      net: the networks' space.
      costs: the raw table, ms by the key of a site.
      measured: networks on the device.
    """


class CalibrationNetwork(Record, frozen=True):
  """One calibration network, and the fit to all others.

  raw_ms: its latency by the uncalibrated table.
  predicted_ms: its latency by the fit without it.
  measured_ms: its latency, compiled and measured.
  multipliers: those of the fit without it, by name.
  """

  architecture: Architecture
  raw_ms: Positive
  predicted_ms: Positive
  measured_ms: Positive
  multipliers: dict[str, Finite]

  @property
  def ratio(self) -> float:
    """measured / predicted by the others: the jackknife's score."""
    return self.measured_ms / self.predicted_ms


class Calibration(Record, frozen=True):
  """Multipliers of a table, and the networks that they were fitted to.

  spec: the networks' space, as text; the margin holds there only.
  liveness: which choices run, see LIVENESS.
  multipliers: by name, BASE and the operations.
  noise: relative standard deviation of a measurement, as fitted.
  level: nominal level of the margin, one-sided.
  networks: the networks that were measured, at least 3.

  Raises:
    ValueError: BASE has no multiplier, or a network's multipliers have other
      names.
  """

  spec: Text
  liveness: Annotated[str, document.one_of(*LIVENESS)]
  multipliers: dict[str, Finite]
  noise: Positive
  level: Fraction
  networks: Annotated[
    tuple[CalibrationNetwork, ...], document.Meta(min_length=3)
  ]

  def __post_init__(self) -> None:
    names = self.multipliers.keys()
    if BASE not in names:
      raise ValueError(
        f"field `multipliers` has {sorted(names)}, expected {BASE!r} among them"
      )
    for index, network in enumerate(self.networks):
      if network.multipliers.keys() != names:
        raise ValueError(
          f"network {index}: field `multipliers` has"
          f" {sorted(network.multipliers)}, expected {sorted(names)}"
        )

  @property
  def ratios(self) -> np.ndarray:
    """[N] measured / predicted by the others."""
    return np.asarray([network.ratio for network in self.networks])

  @property
  def margin(self) -> float:
    """The factor from a prediction to its upper bound.

    It is the jackknife's, the same for all networks, so a budget divided by it
    stays one linear constraint. `upper_ms` is the jackknife+ bound of a
    network.
    """
    return regression.upper_bound(np.ones(1), self.ratios, self.level)

  @property
  def attained_level(self) -> float:
    """The level that this number of networks gives, near the nominal one."""
    return regression.attained_level(len(self.networks), self.level)

  @property
  def guaranteed_level(self) -> float:
    """The level that is proved for networks drawn as these were."""
    return max(0.0, 1 - 2 * (1 - self.attained_level))


class Errors(Record, frozen=True):
  """How wrong a table is on whole networks, before and after calibration.

  networks: how many were predicted.
  held_out: whether they were not used in the fit. If they were, each was
    predicted by the fit to all others.
  """

  raw: Error
  calibrated: Error
  networks: Count
  held_out: bool

  @property
  def measured_on(self) -> str:
    """The networks, in words."""
    if self.held_out:
      return f"{self.networks} networks not used in the fit"
    return f"{self.networks} networks, each predicted by the fit to the others"


def choose(
  net: Spec,
  costs: Mapping[str, float],
  rule: Rule,
  rng: np.random.Generator,
  count: int,
) -> list[Genotype]:
  """Draws networks that span the space, to calibrate on or to test on.

  Each is alive, and drawn with random preferences for operations, so every
  type's share varies between none and most. 50 times as many as wanted are
  drawn; those nearest to even steps of the table's sum are taken, in random
  order.

  Args:
    net: the networks' space.
    costs: ms by the key of a site.
    rule: from logits to an architecture, the one that the search ends with.
    rng: of the draw.
    count: how many.

  Returns:
    Different architectures.

  Raises:
    ValueError: the space has fewer architectures, or the rule gives fewer.
  """
  space = net.space()
  shape = (50 * count, *space.shape)
  logits = rng.gumbel(size=shape)
  # Gumbel noise spreads by 1.3: twice that lets one operation lead.
  logits += 2.5 * rng.standard_normal((shape[0], 1, shape[2]))
  logits = np.where(space.allowed(), logits, -np.inf)
  # A compiler removes a dead network whole, and what every other one pays.
  drawn = dict.fromkeys(rule(space, rows) for rows in logits)
  pool = [genotype for genotype in drawn if net.alive(genotype)]
  if len(pool) < count:
    raise ValueError(
      f"the space has {len(pool)} networks in {shape[0]} draws, and {count} are"
      " to be measured: ask for fewer"
    )
  sums = np.asarray([features(net, costs, g, "live").sum() for g in pool])
  chosen = []
  for target in np.linspace(sums.min(), sums.max(), count):
    nearest = int(np.abs(sums - target).argmin())
    sums[nearest] = np.inf
    chosen.append(pool[nearest])
  return [chosen[i] for i in rng.permutation(count)]


def calibrate(
  net: Spec,
  costs: Mapping[str, float],
  measured: Measured,
  *,
  liveness: str = "live",
  level: float = LEVEL,
  fit: multipliers.Fit = multipliers.fit,
) -> Calibration:
  """Fits the multipliers of a table to measured networks.

  Args:
    net: the networks' space.
    costs: the raw table, ms by the key of a site (`table.raw_costs`).
    measured: N networks and their latencies.
    liveness: one of LIVENESS.
    level: of the one-sided margin.
    fit: fits the multipliers.

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: fewer than 3 networks, a latency that is not above 0, or a
      network that takes no time by the table or by the fit to the others.
  """
  genotypes, latencies_ms = measured
  if len(genotypes) != len(latencies_ms) or len(genotypes) < 3:
    raise ValueError(
      f"{len(genotypes)} networks and {len(latencies_ms)} latencies: expected "
      "as many of both, and at least 3"
    )
  regression.rank_of_level(len(genotypes), level)
  space = net.space()
  rows = np.stack([features(net, costs, g, liveness) for g in genotypes])
  target_ms = np.asarray(latencies_ms, float)
  fitted, noise = fit(rows, target_ms)
  without = multipliers.leave_one_out(rows, target_ms, fit)
  networks = [
    CalibrationNetwork(
      architecture.to_json(space, genotype),
      _positive(row.sum(), "the table sums up to", genotype),
      _positive(row @ others, "the other networks predict", genotype),
      float(ms),
      _named(net, others),
    )
    for genotype, row, ms, others in zip(
      genotypes, rows, target_ms, without, strict=True
    )
  ]
  return Calibration(
    repr(net),
    liveness,
    _named(net, fitted),
    noise,
    level,
    tuple(networks),
  )


def predict_ms(
  calibration: Calibration,
  net: Spec,
  costs: Mapping[str, float],
  genotype: Genotype,
) -> float:
  """The predicted latency of an architecture, in ms.

  Raises:
    KeyError: a site has no cost or an operation no multiplier; the message
      names it.
  """
  parts = features(net, costs, genotype, calibration.liveness)
  return float(parts @ _row(net, calibration.multipliers))


def upper_ms(
  calibration: Calibration,
  net: Spec,
  costs: Mapping[str, float],
  genotype: Genotype,
) -> float:
  """The jackknife+ upper bound of an architecture's latency.

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: the calibration networks are of another space, so the error in
      this one is not known.
  """
  if repr(net) != calibration.spec:
    raise ValueError(
      f"the margin was measured on networks of {calibration.spec} and does not"
      f" hold for {net!r}: calibrate the table on networks of that space"
    )
  parts = features(net, costs, genotype, calibration.liveness)
  without = np.stack([_row(net, n.multipliers) for n in calibration.networks])
  return regression.upper_bound(
    without @ parts, calibration.ratios, calibration.level
  )


def errors(calibration: Calibration) -> Errors:
  """The errors of the table on its calibration networks.

  Each network is predicted by the fit to all others.
  """
  networks = calibration.networks
  measured_ms = [n.measured_ms for n in networks]
  return Errors(
    raw=regression.error_of([n.raw_ms for n in networks], measured_ms),
    calibrated=regression.error_of(
      [n.predicted_ms for n in networks], measured_ms
    ),
    networks=len(networks),
    held_out=False,
  )


def errors_on(
  calibration: Calibration,
  net: Spec,
  costs: Mapping[str, float],
  held_out: Measured,
) -> Errors:
  """The errors of the table on networks that were not used in the fit."""
  raw_ms = [
    float(features(net, costs, genotype, calibration.liveness).sum())
    for genotype in held_out.genotypes
  ]
  calibrated_ms = [
    predict_ms(calibration, net, costs, genotype)
    for genotype in held_out.genotypes
  ]
  return Errors(
    raw=regression.error_of(raw_ms, held_out.latencies_ms),
    calibrated=regression.error_of(calibrated_ms, held_out.latencies_ms),
    networks=len(held_out.genotypes),
    held_out=True,
  )


def _named(net: Spec, values: np.ndarray) -> dict[str, float]:
  return dict(zip((BASE, *net.ops), values.tolist(), strict=True))


def _row(net: Spec, named: Mapping[str, float]) -> np.ndarray:
  return np.asarray([named[name] for name in (BASE, *net.ops)])


def _positive(ms: float, source: str, genotype: Genotype) -> float:
  if ms <= 0:
    raise ValueError(
      f"{source} {ms:.4g} ms for {genotype}: table and measurements are not of"
      " the same device; measure both again"
    )
  return float(ms)
