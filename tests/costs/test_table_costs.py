"""What a latency table says of a space: prices, predictions, or a refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_table
from msgspec.structs import replace
from toy_table import NET, SPACE, TRUTH

from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces import architecture, darts


@pytest.fixture
def table():
  return toy_table.make()


@pytest.fixture
def calibrated(table):
  return toy_table.calibrate(table)


def test_the_slowest_entries_of_a_space_come_first(table):
  net = darts.Darts(("skip_connect",), 3, 2, 4, (8, 8, 1), 3)
  entries = tables.timed_entries(table, net.space())
  times_ms = [entry.latency_ms for entry in entries]
  assert times_ms == sorted(times_ms, reverse=True)
  assert {e.site.key for e in entries} == {
    site.key for site in net.space().unique_sites()
  }


def test_require_names_the_quantity(table):
  tables.require(table, SPACE, 16, "latency")
  with pytest.raises(ValueError, match="latency table .* has no energy"):
    tables.require(table, SPACE, 16, "energy")


def test_require_accepts_what_is_complete(table):
  tables.require(table, SPACE, 16)


def test_require_names_the_batch_size(table):
  with pytest.raises(ValueError, match=r"batches of 16, not 32.*profile"):
    tables.require(table, SPACE, 32)


@pytest.mark.parametrize(("missing", "more"), [(2, ""), (7, "and 2 more")])
def test_require_names_what_is_missing(table, missing, more):
  part = replace(table, entries=table.entries[missing:])
  with pytest.raises(ValueError, match="python -m hwnas_jax.profile") as error:
    tables.require(part, SPACE, 16)
  gone = sorted(e.site.key for e in table.entries[:missing])
  assert f"batch 16, float32) lacks {', '.join(gone[:5])}" in str(error.value)
  assert more in str(error.value)
  assert all(key not in str(error.value) for key in gone[5:])


@pytest.fixture
def noisy(table):
  """A table whose skip_connect took less than no time."""
  entries = tuple(
    replace(e, latency_ms=-0.01) if e.site.op == "skip_connect" else e
    for e in table.entries
  )
  return replace(table, entries=entries)


def test_require_refuses_an_operation_that_took_no_time(noisy):
  with pytest.raises(ValueError, match="no entry of skip_connect above 0 ms"):
    tables.require(noisy, SPACE, 16)


def test_prices_are_sums_over_the_sites_of_choices(table):
  prices = tables.price_array(table, SPACE)
  assert prices.shape == SPACE.shape
  assert prices.dtype == np.float32
  ms = tables.costs(table)
  # A strided edge of the reduction template runs in both reduction cells.
  row, op = SPACE.choices.index("reduce/0->2"), SPACE.ops.index("sep_conv_3x3")
  sites = SPACE.sites[row][op]
  assert len(sites) == 2
  assert prices[row, op] == sum(ms[site.key] for site in sites)
  assert not prices[:, SPACE.ops.index("none")].any()
  assert tables.base_ms(table, SPACE) == sum(ms[s.key] for s in SPACE.fixed)


def test_a_negative_slope_is_kept_but_priced_at_zero(noisy):
  assert min(tables.costs(noisy).values()) == -0.01
  prices = tables.price_array(noisy, SPACE)
  assert not prices[:, SPACE.ops.index("skip_connect")].any()
  assert prices[:, SPACE.ops.index("sep_conv_3x3")].all()


def test_costs_are_the_calibrated_ones(calibrated, table):
  assert tables.raw_costs(calibrated) == tables.costs(table)
  for entry in table.entries:
    name = "base" if entry.kind == "fixed" else entry.site.op
    assert tables.costs(calibrated)[entry.site.key] == pytest.approx(
      entry.latency_ms * TRUTH[name], rel=1e-3
    )


def test_prices_at_a_one_hot_mix_are_the_prediction(calibrated):
  """Of every architecture in which all runs, raw and calibrated."""
  rng = np.random.default_rng(1)
  raw = replace(calibrated, calibration=None)
  rows = rng.integers(1, 3, (20, len(SPACE.choices)))
  genotypes = [tuple(map(int, row)) for row in rows]
  assert all(all(NET.live(genotype)) for genotype in genotypes)
  mixes = jnp.asarray(architecture.one_hot(genotypes, len(SPACE.ops)))
  predicted = {}
  for name, table in {"raw": raw, "calibrated": calibrated}.items():
    base = jnp.asarray(tables.base_ms(table, SPACE), jnp.float32)
    prices = CostTable(jnp.asarray(tables.price_array(table, SPACE)), base)
    found = np.asarray([tables.predict_ms(table, NET, g) for g in genotypes])
    np.testing.assert_allclose(jax.vmap(prices.cost)(mixes), found, rtol=1e-6)
    predicted[name] = found
  costs, fitted = tables.raw_costs(raw), calibrated.calibration
  found = [calibration.predict_ms(fitted, NET, costs, g) for g in genotypes]
  np.testing.assert_allclose(predicted["calibrated"], found, rtol=1e-9)
  assert (predicted["calibrated"] > 1.02 * predicted["raw"]).all()


def test_what_does_not_run_is_predicted_by_the_backends_rule(calibrated):
  # The second node's last edge leaves an empty node.
  genotype = (0, 0, 1, 1, 2, *[1] * (len(SPACE.choices) - 5))
  assert not NET.live(genotype)[4]
  eager = replace(calibrated.calibration, liveness="all")
  eager = replace(calibrated, calibration=eager)
  dead = tables.price_array(calibrated, SPACE)[4, 2]
  live_ms = tables.predict_ms(calibrated, NET, genotype)
  assert dead > 0
  assert tables.predict_ms(eager, NET, genotype) == pytest.approx(
    live_ms + dead
  )
  bare = replace(calibrated, calibration=None)
  whole = counts.genotype_cost(NET, genotype, tables.costs(bare))
  assert tables.predict_ms(bare, NET, genotype) == pytest.approx(whole)


def test_a_calibration_of_other_operations_is_refused(calibrated):
  tables.require(calibrated, SPACE, 16)

  def without(fitted, **changes):
    names = fitted.multipliers.keys() - {"sep_conv_3x3"}
    rest = {name: fitted.multipliers[name] for name in names}
    return replace(fitted, multipliers=rest, **changes)

  fitted = calibrated.calibration
  networks = tuple(map(without, fitted.networks))
  part = replace(calibrated, calibration=without(fitted, networks=networks))
  assert not any("sep_conv" in key for key in tables.costs(part))
  with pytest.raises(ValueError, match="another space, without sep_conv_3x3"):
    tables.require(part, SPACE, 16)


@pytest.mark.parametrize("ms", [-100.0, 0.0, 1e300])
def test_a_table_of_which_networks_take_no_time_is_refused(ms):
  """Sealed as it is: every field is of its type."""
  table = toy_table.make()
  entries = tuple(replace(entry, latency_ms=ms) for entry in table.entries)
  wrong = replace(table, entries=entries)
  with pytest.raises(ValueError, match=r"field `entries\[0\].latency_ms` of"):
    tables.require(wrong, toy_table.SPACE, table.batch_size)
  tables.require(table, toy_table.SPACE, table.batch_size)


def test_noise_below_zero_is_no_fault():
  table = toy_table.make()
  first = table.entries[0]
  noisy = (replace(first, latency_ms=-0.01), *table.entries[1:])
  tables.require(
    replace(table, entries=noisy), toy_table.SPACE, table.batch_size
  )
