"""Paths: what runs, what it gives, and which gradients it has."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import Paths
from hwnas_jax.nets import nasbench201
from hwnas_jax.nets.models import make_supernet
from hwnas_jax.nets.paths import mix_all, run_paths, shortcut
from hwnas_jax.nets.supernet import Selection
from hwnas_jax.spaces.darts import THREE, Darts
from hwnas_jax.spaces.nasbench201 import NasBench201

X = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
ROW = np.array([0.2, 0.5, 0.3], np.float32)
PARAMS = np.array([1.0, 2.0, 3.0], np.float32)


def make_branches(ran=None):
  """params[o] * x ** (o + 1); `ran` counts how often each runs."""

  def make(o):
    def branch(params, x):
      if ran is not None:
        jax.debug.callback(lambda: ran.update([o]))
      return params[o] * x ** (o + 1)

    return branch

  return [make(o) for o in range(3)]


def loss(branches, params, row, paths):
  return jnp.square(run_paths(branches, params, X, row, paths)).sum()


@pytest.mark.parametrize("active", [0, 1, 2])
def test_only_the_active_branch_runs_forward_and_backward(active):
  ran = collections.Counter()
  branches, paths = make_branches(ran), Paths(jnp.array([active]))
  jax.block_until_ready(jax.jit(loss, static_argnums=0)(
    tuple(branches), PARAMS, ROW, paths
  ))  # fmt: skip
  jax.effects_barrier()
  assert ran == {active: 1}
  grads = jax.jit(jax.grad(loss, (1, 2)), static_argnums=0)(
    tuple(branches), PARAMS, ROW, paths
  )
  jax.effects_barrier()
  assert set(ran) == {active}
  of_params, of_row = grads
  assert set(np.flatnonzero(of_params)) == {active}
  assert set(np.flatnonzero(of_row)) == {active}


def test_scored_branches_run_backward_alone():
  ran = collections.Counter()
  branches = tuple(make_branches(ran))
  paths = Paths(jnp.array([1]), jnp.array([1, 2]))
  run = jax.jit(loss, static_argnums=0)
  jax.block_until_ready(run(branches, PARAMS, ROW, paths))
  jax.effects_barrier()
  assert ran == {1: 1}
  grad = jax.jit(jax.grad(loss, 2), static_argnums=0)
  of_row = grad(branches, PARAMS, ROW, paths)
  jax.effects_barrier()
  assert set(ran) == {1, 2}
  y = ROW[1] * PARAMS[1] * X**2
  wanted = [0, (2 * y * 2 * X**2).sum(), (2 * y * 3 * X**3).sum()]
  np.testing.assert_allclose(of_row, wanted, rtol=1e-4)


def test_nothing_runs_where_an_operation_is_absent():
  ran = collections.Counter()
  branches = tuple(make_branches(ran))
  paths = Paths(jnp.array([1, 2]), absent=jnp.array([True, False]))
  run = jax.jit(jax.value_and_grad(loss, 2), static_argnums=0)
  value, of_row = run(branches, PARAMS, ROW, paths)
  jax.effects_barrier()
  assert set(ran) == {2}
  y = ROW[2] * PARAMS[2] * X**3
  np.testing.assert_allclose(value, jnp.square(y).sum(), rtol=1e-5)
  assert set(np.flatnonzero(of_row)) == {2}


def test_all_paths_are_the_mix():
  branches = make_branches()
  wanted = mix_all(branches, PARAMS, X, ROW)
  actual = run_paths(branches, PARAMS, X, ROW, Paths(jnp.arange(3)))
  np.testing.assert_allclose(actual, wanted, rtol=1e-5)
  rows = jnp.stack([ROW, 2 * ROW])
  actual = mix_all(branches, PARAMS, X, rows)
  np.testing.assert_allclose(actual[1], 2 * wanted[1], rtol=1e-5)


NETS = [Darts(THREE, 1, 2, 4, (8, 8, 2), 3), NasBench201(1, 2, (4, 4, 2), 3)]


@functools.cache
def supernet_of(net):
  """(supernet, weights, images)."""
  supernet = make_supernet(net)
  weights = jax.jit(supernet.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (2, *net.image))
  return supernet, weights, images


def part_of(net):
  """(apply, weights, images); of NAS-Bench-201 one stage: it is quick."""
  supernet, weights, images = supernet_of(net)
  if isinstance(net, Darts):
    return supernet.apply, weights, images

  def stage(weights, mix, images, paths):
    selected = Selection(mix, paths, None)
    return nasbench201._stage(net, 0, weights, images, selected)

  return stage, weights["stages"][0]["edges"], images


@pytest.mark.parametrize("net", NETS)
def test_a_supernets_path_is_its_one_hot_mix(net):
  apply, weights, images = part_of(net)
  num_choices, num_ops = net.space().shape
  active = jax.random.randint(jax.random.key(2), (num_choices, 1), 0, num_ops)
  mix = jax.nn.one_hot(active[:, 0], num_ops)
  every = jnp.broadcast_to(jnp.arange(num_ops), (num_choices, num_ops))

  def value(weights, mix, paths):
    return jnp.square(apply(weights, mix, images, paths)).sum()

  run = jax.jit(jax.value_and_grad(value, (0, 1)))
  wanted, (of_weights, of_mix) = run(weights, mix, None)
  for paths in (Paths(active), Paths(active, every)):
    actual, (grads, gates) = run(weights, mix, paths)
    np.testing.assert_allclose(actual, wanted, rtol=1e-4)
    for a, b in zip(*map(jax.tree.leaves, (grads, of_weights)), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-2, atol=5e-2)
    expected = of_mix if paths.scored is not None else of_mix * mix
    np.testing.assert_allclose(gates, expected, rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize("net", NETS)
def test_the_identity_adds_the_input(net):
  supernet, weights, images = supernet_of(net)
  mix = jnp.full(net.space().shape, 1.0 / len(net.ops))
  apply = jax.jit(supernet.apply)
  plain = apply(weights, mix, images)
  none, some = (
    apply(weights, mix, images, None, jnp.asarray(eta)) for eta in (0.0, 0.5)
  )
  np.testing.assert_allclose(none, plain, atol=1e-5)
  assert np.abs(some - plain).max() > 1e-3


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_shortcut_has_the_outputs_shape(channels, stride):
  y = jnp.zeros((2, 4 // stride, 4 // stride, channels))
  actual = shortcut(jnp.asarray(X), y)
  assert actual.shape == y.shape
  kept = min(channels, 3)
  np.testing.assert_array_equal(
    actual[..., :kept], X[:, ::stride, ::stride, :kept]
  )
  assert not actual[..., 3:].any()
