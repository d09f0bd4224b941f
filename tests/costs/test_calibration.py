"""Calibration on networks whose true multipliers are known."""

import dataclasses
import functools
import json
import re

import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT
from hwnas_jax.costs import counts
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.correct.calibration import Calibration
from hwnas_jax.costs.measured import Measured
from hwnas_jax.io import records
from hwnas_jax.spaces import architecture, darts, nasbench201
from hwnas_jax.spaces.rules import RULES

NET = darts.Darts(
  ("none", "skip_connect", "avg_pool_3x3", "sep_conv_3x3"),
  3,
  3,
  4,
  (8, 8, 1),
  3,
)
SPACE = NET.space()
# Distinct costs: more work, more ms.
COSTS = {
  site.key: 0.0 if site.op == "none" else 0.01 + 1e-6 * counts.macs(site)
  for site in SPACE.unique_sites()
}
TRUTH = np.array([1.4, 1.0, 0.6, 0.9, 1.8])
# An empty node, a convolution that leaves it, and edges that are not kept.
DEAD = (0, 0, 3, 2, 3, *[ABSENT] * 4, *[3] * 9)


def choose(seed, count, rule="argmax"):
  rng = np.random.default_rng(seed)
  return calibration.choose(NET, COSTS, RULES[rule], rng, count)


def measure(genotypes, noise, seed=0, liveness="live"):
  rng = np.random.default_rng(seed)
  exact = np.array(
    [calibration.features(NET, COSTS, g, liveness) @ TRUTH for g in genotypes]
  )
  return exact * (1 + noise * rng.standard_normal(len(exact)))


@functools.cache
def fitted(noise=0.02, count=20):
  networks = choose(1, count)
  measured = Measured(networks, measure(networks, noise))
  return calibration.calibrate(NET, COSTS, measured)


def test_features_split_the_sum():
  space = SPACE
  for genotype in choose(0, 5):
    parts = calibration.features(NET, COSTS, genotype, "live")
    whole = counts.genotype_cost(NET, genotype, COSTS)
    np.testing.assert_allclose(parts.sum(), whole, rtol=1e-12)
    assert parts[0] == pytest.approx(space.base_cost(COSTS))
    for column, op in enumerate(space.ops):
      rows = [i for i, o in enumerate(genotype) if o == column]
      live = [i for i in rows if NET.live(genotype)[i]]
      sites = [site for i in live for site in space.sites[i][column]]
      assert parts[1 + column] == pytest.approx(
        sum(COSTS[s.key] for s in sites)
      ), op


def test_liveness_is_the_backends():
  assert NET.live(DEAD)[:5] == (False, False, True, True, False)
  live = calibration.features(NET, COSTS, DEAD, "live")
  everything = calibration.features(NET, COSTS, DEAD, "all")
  dead = sum(COSTS[site.key] for site in SPACE.sites[4][3])
  np.testing.assert_allclose(everything - live, [0, 0, 0, 0, dead])
  with pytest.raises(ValueError, match="liveness is 'eager'"):
    calibration.features(NET, COSTS, DEAD, "eager")


def test_a_fixed_site_that_is_also_a_choice_counts_there():
  shared = dataclasses.replace(
    SPACE, fixed=(*SPACE.fixed, SPACE.sites[0][3][0])
  )
  net = Stub(shared)
  parts = calibration.features(net, COSTS, (ABSENT,) * 18, "live")
  assert parts[0] == pytest.approx(SPACE.base_cost(COSTS))
  assert parts[4] == COSTS[SPACE.sites[0][3][0].key]


@dataclasses.dataclass(frozen=True)
class Stub:
  """A network of a space given as it is, in which everything runs."""

  inner: object

  def space(self):
    return self.inner

  def live(self, genotype):
    return tuple(op != ABSENT for op in genotype)


@pytest.mark.parametrize("rule", RULES)
def test_chosen_networks_span_the_space(rule):
  chosen = choose(3, 20, rule)
  assert len(set(chosen)) == 20
  rows = np.stack([calibration.features(NET, COSTS, g, "live") for g in chosen])
  pool = choose(4, 30, rule)
  sums = [calibration.features(NET, COSTS, g, "live").sum() for g in pool]
  assert np.ptp(rows.sum(1)) > 0.7 * np.ptp(sums)
  # Of every operation that costs something, the share varies.
  shares = rows[:, 2:] / rows.sum(1, keepdims=True)
  assert (shares.std(0) > 0.3 * shares.mean(0)).all()
  # Five unknowns are told apart.
  used = rows[:, [0, 2, 3, 4]] / rows.sum(1, keepdims=True)
  assert np.linalg.cond(used) < 1e3
  assert chosen == choose(3, 20, rule) and chosen != choose(5, 20, rule)
  assert sorted(sums) != list(sums)


def test_a_dead_network_is_not_chosen():
  """It would take no time at all: what every network pays would be lost."""
  net = nasbench201.NasBench201(1, 4, (8, 8, 3), 3)
  space, pool = net.space(), []

  def rule(space, logits):
    pool.append(RULES["argmax"](space, logits))
    return pool[-1]

  costs = {s.key: 1.0 + counts.macs(s) for s in space.unique_sites()}
  chosen = calibration.choose(net, costs, rule, np.random.default_rng(0), 10)
  assert all(map(net.alive, chosen)) and not all(map(net.alive, pool))


def test_too_small_a_space_is_refused():
  tiny = darts.Darts(("skip_connect",), 1, 1, 4, (8, 8, 1), 3)
  costs = {site.key: 1.0 for site in tiny.space().unique_sites()}
  with pytest.raises(ValueError, match="the space has 1 networks"):
    calibration.choose(
      tiny, costs, RULES["argmax"], np.random.default_rng(0), 2
    )


def test_exact_measurements_give_the_true_multipliers():
  found = fitted(noise=0.0).multipliers
  assert set(found) == {"base", *NET.ops}
  values = [found[name] for name in ("base", *NET.ops)]
  known = [0, 2, 3, 4]  # all but `none`, which takes no time
  np.testing.assert_allclose(np.array(values)[known], TRUTH[known], rtol=1e-3)


def test_held_out_networks_are_predicted():
  held_out = choose(2, 30)
  measured = measure(held_out, 0.02, seed=5)
  predicted = [
    calibration.predict_ms(fitted(), NET, COSTS, g) for g in held_out
  ]
  raw = [calibration.features(NET, COSTS, g, "live").sum() for g in held_out]
  assert np.median(np.abs(predicted / measured - 1)) < 0.03
  assert np.median(np.abs(raw / measured - 1)) > 0.1


def test_two_measurements_of_the_noise_agree():
  assert fitted(noise=0.02).noise in (0.01, 0.02, 0.05)
  assert fitted(noise=0.1).noise in (0.05, 0.1, 0.2)


def test_networks_are_predicted_by_the_others():
  found = fitted()
  networks = choose(1, 20)
  measured = measure(networks, 0.02)
  _, rest = Measured(networks, measured).split(1)
  without = calibration.calibrate(NET, COSTS, rest)
  first = found.networks[0]
  assert first.architecture == architecture.to_json(SPACE, networks[0])
  assert first.multipliers == pytest.approx(without.multipliers)
  assert first.predicted_ms == pytest.approx(
    calibration.predict_ms(without, NET, COSTS, networks[0])
  )
  assert first.measured_ms == measured[0]
  assert found.ratios[0] == first.ratio == measured[0] / first.predicted_ms


def test_levels_are_what_20_networks_give():
  assert fitted().level == 0.95
  assert fitted().attained_level == 20 / 21
  assert fitted().guaranteed_level == pytest.approx(1 - 2 / 21)
  few = fitted(count=5)
  assert few.level == 0.95 and few.attained_level == 5 / 6
  assert few.guaranteed_level == pytest.approx(1 - 2 / 6)


def test_the_upper_bound_is_jackknife_plus():
  found, genotype = fitted(), choose(7, 3)[0]
  parts = calibration.features(NET, COSTS, genotype, "live")
  scores = [
    n.ratio
    * sum(
      p * n.multipliers[m]
      for p, m in zip(parts, ("base", *NET.ops), strict=True)
    )
    for n in found.networks
  ]
  upper = calibration.upper_ms(found, NET, COSTS, genotype)
  assert upper == pytest.approx(max(scores))
  assert found.margin == max(found.ratios) > 1
  predicted = calibration.predict_ms(found, NET, COSTS, genotype)
  assert upper == pytest.approx(found.margin * predicted, rel=0.1)


def test_most_held_out_networks_are_below_the_bound():
  below = [
    measured <= calibration.upper_ms(fitted(0.05), NET, COSTS, genotype)
    for genotype, measured in zip(
      choose(2, 60), measure(choose(2, 60), 0.05, seed=9), strict=True
    )
  ]
  # Below the proved 0.905 by chance only: its 0.1 % quantile of 60.
  assert np.mean(below) >= 0.78


def test_no_margin_for_another_space():
  other = dataclasses.replace(NET, channels=8)
  with pytest.raises(
    ValueError, match="channels=4.* not hold for .*channels=8"
  ):
    calibration.upper_ms(fitted(), other, COSTS, choose(0, 3)[0])


def test_errors_compare_raw_and_calibrated():
  found = calibration.errors(fitted())
  raw = [n.raw_ms / n.measured_ms - 1 for n in fitted().networks]
  assert found.raw.bias == pytest.approx(np.median(raw))
  assert (
    found.calibrated.median_absolute_error
    < 0.5 * found.raw.median_absolute_error
  )
  assert (found.networks, found.held_out) == (20, False)


def test_errors_on_networks_held_out():
  networks = choose(2, 6)
  held_out = Measured(networks, measure(networks, 0.02, seed=5))
  found = calibration.errors_on(fitted(), NET, COSTS, held_out)
  assert found.calibrated.median_absolute_error < 0.05
  assert found.raw.median_absolute_error > 0.1
  assert (found.networks, found.held_out) == (6, True)
  assert found.measured_on == "6 networks not used in the fit"
  _, one = held_out.split(5)
  alone = calibration.errors_on(fitted(), NET, COSTS, one)
  assert alone.calibrated.spearman is None


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"genotypes": choose(0, 2), "measured_ms": [1.0, 2.0]}, "at least 3"),
    ({"measured_ms": [1.0, 2.0]}, "as many of both"),
    ({"measured_ms": [1.0, 0.0, 2.0]}, "above 0"),
    ({"level": 1.0}, "between 0 and 1"),
    ({"liveness": "some"}, "liveness is 'some'"),
    ({"costs": dict.fromkeys(COSTS, -1.0)}, "up to -.* ms for .*both again"),
    (
      {
        "genotypes": choose(0, 6),
        "measured_ms": [17.9, 8.2, 1.8, 0.1, 1.0, 2.9],
      },
      "other networks predict -.* ms for .*both again",
    ),
  ],
)
def test_the_impossible_is_refused(change, message):
  change = dict(change)
  genotypes = change.pop("genotypes", choose(0, 3))
  measured = Measured(genotypes, change.pop("measured_ms", [1.0, 2.0, 3.0]))
  with pytest.raises(ValueError, match=message):
    calibration.calibrate(NET, change.pop("costs", COSTS), measured, **change)


def test_a_missing_cost_is_named():
  rest = dict(COSTS)
  del rest[SPACE.fixed[0].key]
  with pytest.raises(KeyError, match="stem_conv_3x3"):
    calibration.features(NET, rest, choose(0, 3)[0], "live")


def round_trip(document):
  """As a file does: keys sorted."""
  text = json.dumps(document, sort_keys=True)
  return records.from_json("x.json", json.loads(text), Calibration)


def test_written_and_read_is_the_same():
  found = round_trip(records.to_json(fitted()))
  assert found == fitted()
  genotype = choose(0, 3)[0]
  upper = [
    calibration.upper_ms(c, NET, COSTS, genotype) for c in (found, fitted())
  ]
  assert upper[0] == upper[1]


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("spec", "", "length >= 1 - at `$.spec`"),
    ("liveness", "eager", "'^(live|all)$' - at `$.liveness`"),
    ("multipliers", {}, "`multipliers` has [], expected 'base' among them"),
    ("multipliers", {"skip_connect": 1.0}, "'base' among them"),
    ("multipliers", {"base": "1"}, "Expected `float`, got `str`"),
    ("noise", 0, "Expected `float` > 0.0 - at `$.noise`"),
    ("level", 1, "Expected `float` < 1.0 - at `$.level`"),
    ("networks", [], "length >= 3 - at `$.networks`"),
  ],
)
def test_a_wrong_field_is_named(field, value, expected):
  document = records.to_json(fitted())
  with pytest.raises(ValueError, match=f"x.json: .*{re.escape(expected)}"):
    round_trip({**document, field: value})
  del document[field]
  with pytest.raises(ValueError, match=f"missing required field `{field}`"):
    round_trip(document)


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("architecture", [], "Expected `object`, got `array` - at `$.networks[2]"),
    ("raw_ms", "3", "Expected `float`, got `str` - at `$.networks[2].raw_ms`"),
    ("predicted_ms", -1.0, "> 0.0 - at `$.networks[2].predicted_ms`"),
    ("measured_ms", 0.0, "> 0.0 - at `$.networks[2].measured_ms`"),
    (
      "multipliers",
      {"base": 1.0},
      "network 2: field `multipliers` has ['base'], expected ['avg_pool_3x3'",
    ),
  ],
)
def test_a_wrong_field_of_a_network_is_named(field, value, expected):
  document = json.loads(json.dumps(records.to_json(fitted())))
  document["networks"][2][field] = value
  with pytest.raises(ValueError, match=re.escape(expected)):
    round_trip(document)
