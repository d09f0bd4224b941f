"""Corrects a table of isolated operations on a few whole networks.

An operation inside a network costs what it costs alone times a multiplier,
one for each type of operation and one for the base (stem, preprocessing,
classifier): fusion, caches and dispatch make a table wrong in this structured
way (research (d)). The multipliers are fitted by `costs.regression` on the
latencies of some 20 networks, so costs stay additive: a price array [E, O] and
a base.

The error bar is one-sided jackknife+ over all calibration networks. Its level
holds for networks drawn as those were; of what a search returns it is
empirical, as a certificate has to say.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.costs.correct import multipliers, regression
from hwnas_jax.io import fields
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Space, Spec

BASE = "base"
LEVEL = 0.95
# "live": a compiler removes what does not reach the output (XLA, TensorRT).
# "all": everything chosen runs (eager PyTorch).
LIVENESS = ("live", "all")

# (space, logits[E, O]) -> genotype: a rule of search.discretise.
Rule = Callable[[Space, np.ndarray], Genotype]


@dataclasses.dataclass(frozen=True)
class Network:
  """One calibration network, and the fit to all the others.

  architecture: {choice: operation}.
  raw_ms: the uncalibrated table's sum.
  predicted_ms: by the fit without this network.
  measured_ms: of the compiled network.
  multipliers: of the fit without this network, by name.
  """

  architecture: dict[str, str]
  raw_ms: float
  predicted_ms: float
  measured_ms: float
  multipliers: dict[str, float]

  @property
  def ratio(self) -> float:
    """measured / predicted by the others: the jackknife's score."""
    return self.measured_ms / self.predicted_ms


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Multipliers of a table, and the networks they come from.

  spec: the space the networks are of, as text; the margin holds there only.
  liveness: which choices run, see LIVENESS.
  multipliers: by name, BASE and the operations.
  noise: relative standard deviation of a measurement, as fitted.
  level: nominal level of the margin, one-sided.
  networks: what was measured.
  """

  spec: str
  liveness: str
  multipliers: dict[str, float]
  noise: float
  level: float
  networks: tuple[Network, ...]

  @property
  def ratios(self) -> np.ndarray:
    """[N] measured / predicted by the others."""
    return np.asarray([network.ratio for network in self.networks])

  @property
  def margin(self) -> float:
    """What to multiply a prediction with for an upper bound.

    The jackknife's, a constant: a budget divided by it stays one linear
    constraint. `upper_ms` is the exact jackknife+ bound of one network.
    """
    return regression.upper_bound(np.ones(1), self.ratios, self.level)

  @property
  def attained_level(self) -> float:
    """The level that the number of networks really gives."""
    return regression.attained_level(len(self.networks), self.level)

  @property
  def guaranteed_level(self) -> float:
    """What jackknife+ is proved to keep for networks drawn alike."""
    return max(0.0, 1 - 2 * (1 - self.attained_level))


def features(
  net: Spec, costs: Mapping[str, float], genotype: Genotype, liveness: str
) -> np.ndarray:
  """Splits the table's sum of an architecture by the type of operation.

  Args:
    net: the network's space.
    costs: ms by the key of a site.
    genotype: one operation a choice, or ABSENT.
    liveness: one of LIVENESS.

  Returns:
    float64[1 + O] in ms: the base, then each operation in the order of
    `net.ops`. A fixed site whose operation is also a choice counts there.

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: no such liveness.
  """
  if liveness not in LIVENESS:
    raise ValueError(f"liveness is {liveness!r}, expected {LIVENESS}")
  space = net.space()
  parts = np.zeros(1 + len(space.ops))
  for site in space.fixed:
    column = 1 + space.ops.index(site.op) if site.op in space.ops else 0
    parts[column] += costs[site.key]
  live = net.live(genotype)
  for row, op, runs in zip(space.sites, genotype, live, strict=True):
    if op != ABSENT and (runs or liveness == "all"):
      parts[1 + op] += sum(costs[site.key] for site in row[op])
  return parts


def choose(
  net: Spec,
  costs: Mapping[str, float],
  rule: Rule,
  rng: np.random.Generator,
  count: int,
) -> list[Genotype]:
  """Networks that span the space, to calibrate on or to be tested on.

  Each is drawn with random preferences for operations, so that every type's
  share varies between none and most; of 50 times as many as are wanted, those
  nearest to even steps of the table's sum are taken, in random order.

  Args:
    net: the networks' space.
    costs: ms by the key of a site.
    rule: from logits to a genotype, the one that the search ends with.
    rng: of the draw.
    count: how many.

  Returns:
    Different genotypes.

  Raises:
    ValueError: the space, or what the rule leaves of it, has too few.
  """
  space = net.space()
  shape = (50 * count, *space.shape)
  logits = rng.gumbel(size=shape)
  # Gumbel noise spreads by 1.3: twice that lets one operation lead.
  logits += 2.5 * rng.standard_normal((shape[0], 1, shape[2]))
  logits = np.where(space.allowed(), logits, -np.inf)
  pool = list(dict.fromkeys(rule(space, rows) for rows in logits))
  if len(pool) < count:
    raise ValueError(
      f"{len(pool)} different networks in {shape[0]} draws, {count} are needed"
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
  genotypes: Sequence[Genotype],
  measured_ms: Sequence[float],
  *,
  liveness: str = "live",
  level: float = LEVEL,
  fit: multipliers.Fit = multipliers.fit,
) -> Calibration:
  """Fits the multipliers of a table on measured networks.

  Args:
    net: the networks' space.
    costs: the raw table, ms by the key of a site (`table.raw_costs`).
    genotypes: [N] of the measured networks.
    measured_ms: [N] their latencies, above 0.
    liveness: one of LIVENESS.
    level: of the one-sided margin.
    fit: from features [N, F] and latencies [N] to multipliers [F] and noise.

  Raises:
    KeyError: a site has no cost; the message is its key.
    ValueError: fewer than 3 networks, an impossible latency, or a network
      that takes no time by the table or by the others.
  """
  if len(genotypes) != len(measured_ms) or len(genotypes) < 3:
    raise ValueError(
      f"{len(genotypes)} networks and {len(measured_ms)} latencies: expected "
      "as many of both, and 3 at least"
    )
  regression.rank_of_level(len(genotypes), level)
  space = net.space()
  rows = np.stack([features(net, costs, g, liveness) for g in genotypes])
  measured = np.asarray(measured_ms, float)
  found, noise = fit(rows, measured)
  without = multipliers.leave_one_out(rows, measured, fit)
  networks = [
    Network(
      architecture.to_json(space, genotype),
      _positive(row.sum(), "the table sums up to", genotype),
      _positive(row @ others, "the other networks predict", genotype),
      float(ms),
      _named(net, others),
    )
    for genotype, row, ms, others in zip(
      genotypes, rows, measured, without, strict=True
    )
  ]
  return Calibration(
    repr(net),
    liveness,
    _named(net, found),
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
  """What an architecture takes, by the raw table and its calibration.

  Raises:
    KeyError: a site or an operation is not known; the message names it.
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
    ValueError: the calibration networks are of another space: then nothing is
      known about its error here.
  """
  if repr(net) != calibration.spec:
    raise ValueError(
      f"the margin was measured on networks of {calibration.spec}, it says "
      f"nothing about {net!r}: calibrate on that"
    )
  parts = features(net, costs, genotype, calibration.liveness)
  without = np.stack([_row(net, n.multipliers) for n in calibration.networks])
  return regression.upper_bound(
    without @ parts, calibration.ratios, calibration.level
  )


def errors(calibration: Calibration) -> dict[str, dict[str, float]]:
  """How wrong the table is, raw and calibrated.

  Every network is predicted by the fit to the others, so none was used in the
  fit that predicts it.

  Returns:
    Of `raw` and `calibrated`, what `regression.error_of` says.
  """
  measured = np.asarray([n.measured_ms for n in calibration.networks])
  found = {
    "raw": [n.raw_ms for n in calibration.networks],
    "calibrated": [n.predicted_ms for n in calibration.networks],
  }
  return {name: regression.error_of(ms, measured) for name, ms in found.items()}


def to_json(calibration: Calibration) -> dict[str, Any]:
  """The calibration as JSON types; `from_json` reads it back."""
  document = dataclasses.asdict(calibration)
  return {**document, "networks": list(document["networks"])}


def from_json(where: str, document: Any) -> Calibration:
  """Reads what `to_json` wrote.

  Args:
    where: what the document is, for messages.
    document: parsed JSON.

  Raises:
    ValueError: it is no calibration; the message names the field.
  """
  fields.check(where, document, _FIELDS)
  networks = document["networks"]
  for i, row in enumerate(networks):
    fields.check(f"{where}: network {i}", row, _NETWORK)
    if row["multipliers"].keys() != document["multipliers"].keys():
      raise ValueError(
        f"{where}: network {i}: field 'multipliers' has "
        f"{sorted(row['multipliers'])}, expected "
        f"{sorted(document['multipliers'])}"
      )
  rows = tuple(_pick(Network, row) for row in networks)
  return _pick(Calibration, {**document, "networks": rows})


def _pick(kind: type[Any], values: dict[str, Any]) -> Any:
  return kind(**{f.name: values[f.name] for f in dataclasses.fields(kind)})


def _named(net: Spec, values: np.ndarray) -> dict[str, float]:
  return dict(zip((BASE, *net.ops), values.tolist(), strict=True))


def _row(net: Spec, named: Mapping[str, float]) -> np.ndarray:
  return np.asarray([named[name] for name in (BASE, *net.ops)])


def _positive(ms: float, who: str, genotype: Genotype) -> float:
  if ms <= 0:
    raise ValueError(
      f"{who} {ms:.4g} ms for {genotype}: table and measurements do not "
      "belong together; measure both again"
    )
  return float(ms)


_MULTIPLIERS: fields.Rule = (
  lambda v: (
    isinstance(v, dict) and BASE in v and all(map(fields.is_number, v.values()))
  ),
  f"finite numbers by name, {BASE!r} among them",
)
_FIELDS: dict[str, fields.Rule] = {
  "spec": fields.TEXT,
  "liveness": fields.one_of(*LIVENESS),
  "multipliers": _MULTIPLIERS,
  "noise": fields.POSITIVE,
  "level": fields.FRACTION,
  "networks": (
    lambda v: isinstance(v, list) and len(v) >= 3,
    "a list of 3 networks at least",
  ),
}
_NETWORK: dict[str, fields.Rule] = {
  "architecture": fields.OBJECT,
  "raw_ms": fields.POSITIVE,
  "predicted_ms": fields.POSITIVE,
  "measured_ms": fields.POSITIVE,
  "multipliers": _MULTIPLIERS,
}
