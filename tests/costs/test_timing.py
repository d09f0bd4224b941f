"""Timing: the loop does the work, and the slope is what is reported."""

import itertools
import re
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.costs.measure import chains, meter, timing
from hwnas_jax.costs.measure.meter import LATENCY
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.spec import Site

EDGES = [
  Site("sep_conv_3x3", 6, 5, 4, 4, 2, kind="added"),
  Site("skip_connect", 6, 5, 4, 4, 1, kind="added"),
  Site("max_pool_3x3", 6, 5, 4, 4, 1, kind="added"),
]
FIXED = [
  Site("factorized_reduce", 6, 6, 3, 4, 2, kind="fixed"),
  Site("classifier", 2, 2, 4, 3, 1, kind="fixed"),
  Site("stem_imagenet", 16, 16, 3, 4, 1, kind="fixed"),
  Site("hidden_relu6", 2, 2, 4, 3, 1, kind="fixed"),
]
LAYERS = [
  Site("mb_k3_e1_g2", 6, 5, 4, 4, 2, kind="layer"),
  Site("mb_k3_e3_relu6", 6, 5, 4, 4, 1, kind="layer"),
  Site("skip", 6, 5, 4, 8, 1, kind="layer"),
]


def single(site: Site, batch_size: int):
  """One application of the operation, outside any loop."""
  module = make_op(site, "eval")
  shape = (batch_size, site.height, site.width, site.channels_in)
  variables, x = chains.random_inputs(module, shape)
  return jax.jit(module.apply)(variables, x)


@pytest.mark.parametrize("site", EDGES, ids=lambda site: site.key)
def test_a_chain_of_an_edge_adds_up_every_output(site):
  chain, once = chains.compile_chain(site, 2), single(site, 2)
  assert float(jnp.abs(once).max()) > 0.1
  for n in (1, 6):
    total = n * chain.inner * once
    np.testing.assert_allclose(chain.run(n), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("site", FIXED + LAYERS, ids=lambda site: site.key)
def test_a_chain_of_what_adds_into_nothing_gives_its_output(site):
  chain, once = chains.compile_chain(site, 2), single(site, 2)
  for n in (1, 6):
    for a, b in zip(*map(jax.tree.leaves, (chain.run(n), once)), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_work_stays_inside_the_compiled_loop():
  site = Site("sep_conv_3x3", 8, 8, 8, 8, 1)
  module = make_op(site, "eval")
  arguments = (*chains.random_inputs(module, (8, 8, 8, 8)), np.int32(1))
  loop = lambda v, x, n: chains._loop(module, True, 1, v, x, n)  # noqa: E731
  text = jax.jit(loop).lower(*arguments).compile().as_text()
  bodies = re.findall(r"while\(.*body=%?([\w.]+)", text)
  assert len(bodies) == 1
  (body,) = re.findall(
    rf"^%?{re.escape(bodies[0])} .*?^}}", text, re.MULTILINE | re.DOTALL
  )
  # Two pointwise products of the separable convolution, each iteration.
  num_products = len(re.findall(r'/dot_general"', body))
  assert num_products == 2


@pytest.fixture
def chain(monkeypatch):
  """A chain on a clock of its own: 5 ms of dispatch, 0.5 ms a step."""
  now_s = [0.0]

  def run(n):
    now_s[0] += 1e-3 * (5.0 + 0.5 * n)

  clock = types.SimpleNamespace(perf_counter=lambda: now_s[0])
  monkeypatch.setattr(meter, "time", clock)
  return chains.Chain(run, inner=1)


def test_slope_leaves_dispatch_out(chain):
  assert chains.slope(chain, 17, LATENCY) == pytest.approx(0.5)


def test_the_long_chain_is_long_enough(chain):
  # 8 ms are 16 steps beyond the short chain's one.
  assert chains.long_length(chain) == 32


def test_the_long_chain_of_nothing_ends():
  nothing = chains.Chain(lambda n: None, 1)
  assert chains.long_length(nothing) == chains.MAX_LENGTH


def slopes(*samples_ms):
  """Of a site whose samples are these, one a round."""
  samples = iter(samples_ms)
  site = {EDGES[0]: chains.Chain(lambda n: None, 1)}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(chains, "slope", lambda *_: next(samples))
    return timing._slopes(site, 1, LATENCY)


def test_a_site_that_took_no_time_is_timed_again():
  assert slopes(-0.2, 0.0, 0.3) == {EDGES[0]: [0.3]}


def test_a_machine_too_busy_to_time_a_site_is_refused():
  with pytest.raises(ValueError, match=rf"^{EDGES[0].key}: sampled 4 times"):
    slopes(*[-0.1] * (1 + timing.RETRIES))


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setattr(chains, "DIFFERENCE_MS", 0.2)
  monkeypatch.setattr(timing, "GROUP", 2)


def test_measure_sites(quick):
  none = Site("none", 6, 5, 4, 4, 1, kind="free")
  sites = [EDGES[1], none, FIXED[1]]
  groups = list(timing.measure_sites(sites, 2, repeats=4))
  entries = [entry for group in groups for entry in group]
  assert [entry.site for entry in entries] == sites
  assert [len(group) for group in groups] == [2, 1]
  skip, nothing, classifier = entries
  assert (nothing.latency_ms, nothing.samples_ms) == (0.0, ())
  assert (skip.kind, nothing.kind, classifier.kind) == ("op", "op", "fixed")
  for entry in (skip, classifier):
    assert len(entry.samples_ms) == 4
    assert entry.latency_ms == np.median(entry.samples_ms)
    low, high = np.percentile(entry.samples_ms, [25, 75])
    assert entry.iqr_ms == pytest.approx(high - low)


@pytest.mark.parametrize("name", SKELETONS)
def test_sites_of_every_chain_are_timed_by_their_kind(name, quick):
  net = Chain(SKELETONS[name], (32, 32, 3), 10)
  space = net.space()
  sites = [site for row in space.sites for cell in row for site in cell]
  free = [s for s in sites if s.op not in space.ops[:-1] and s.keeps_shape]
  assert {s.kind for s in free} == {"free"}
  assert {s.kind for s in sites if s not in free} == {"layer"}
  assert {site.kind for site in space.fixed} == {"fixed"}
  ((entry,),) = timing.measure_sites(free[:1], 2, repeats=2)
  assert (entry.kind, entry.latency_ms, entry.samples_ms) == ("op", 0.0, ())
  assert timing.entry_of(space.fixed[0], [1.0]).kind == "fixed"


def test_a_site_of_no_kind_is_refused():
  site = Site("skip_connect", 6, 5, 4, 4)
  for use in (
    lambda: timing.entry_of(site, [1.0]),
    lambda: chains.compile_chain(site, 2),
  ):
    with pytest.raises(
      ValueError, match="skip_connect 6x5x4->4 s1 has no kind"
    ):
      use()


def test_networks_are_timed_in_turn():
  calls = []

  def network(name: str, wait_s: float):
    def run():
      calls.append(name)
      time.sleep(wait_s)

    return run

  networks = {"slow": network("slow", 0.02), "fast": network("fast", 0.0)}
  found = timing.measure_networks(networks, 3)
  assert [name for name, _ in itertools.groupby(calls)] == ["slow", "fast"] * 4
  # One call at first; then one to warm up and one to time, or more.
  assert calls.count("slow") == 1 + 3 * 2
  assert calls.count("fast") > 1 + 3 * 2
  assert found["slow"].min_ms >= 20
  assert found["fast"].median_ms < found["slow"].median_ms
  assert found["fast"].repeats == 3
  assert found["slow"].iqr_ms >= 0


def test_a_compiled_network_gives_class_logits():
  net = darts.Darts(("skip_connect", "sep_conv_3x3"), 2, 2, 4, (8, 8, 1), 3)
  logits = timing.compile_network(net, (1, 0, 1, 0, 1), 5)()
  assert logits.shape == (5, 3)
  assert np.isfinite(logits).all()
  assert np.ptp(np.asarray(logits), axis=0).min() > 0


def test_a_latency_sample_is_a_mean_over_the_calls_of_its_time(monkeypatch):
  now_s, calls = [0.0], []

  def run():
    calls.append(1)
    now_s[0] += 2e-3

  clock = types.SimpleNamespace(perf_counter=lambda: now_s[0])
  monkeypatch.setattr(meter, "time", clock)
  assert LATENCY.sample(run, 0.0) == pytest.approx(2.0)
  assert len(calls) == 1
  assert LATENCY.sample(run, 5.0) == pytest.approx(2.0)
  assert len(calls) == 1 + 3
