from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core import tree


class Pair(NamedTuple):
  w: jax.Array
  key: jax.Array


@chex.dataclass(frozen=True)
class Box:
  w: jax.Array
  key: jax.Array


def _parts():
  return {"w": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(1)}


def test_digest_ignores_the_container_and_the_order_of_keys():
  w, key = _parts().values()
  digests = {
    tree.digest(t)
    for t in ({"key": key, "w": w}, {"w": w, "key": key}, Pair(w, key))
  }
  assert digests == {tree.digest(Box(w=w, key=key))}
  assert len(digests.pop()) == 64


def test_digest_is_the_same_for_host_copies():
  assert tree.digest({"w": _parts()["w"]}) == tree.digest(
    {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
  )


@pytest.mark.parametrize(
  "change",
  [
    {"w": jnp.arange(6.0).reshape(3, 2)},
    {"w": jnp.arange(6).reshape(2, 3)},
    {"w": jnp.arange(6.0).reshape(2, 3).at[0, 0].set(-0.0)},
    {"key": jax.random.key_data(jax.random.key(1))},
    {"key": jax.random.key(2)},
    {"v": jnp.zeros(0)},
  ],
)
def test_digest_sees_every_change(change):
  assert tree.digest(_parts()) != tree.digest(_parts() | change)


def test_flatten_sorts_by_path():
  leaves = tree.flatten({"b": [1, {"c": 2}], "a": None, "B": 3})
  assert list(leaves.items()) == [("B", 3), ("b/0", 1), ("b/1/c", 2)]


def test_flatten_refuses_two_leaves_of_one_path():
  with pytest.raises(ValueError, match="'a/b'"):
    tree.flatten({"a/b": 1, "a": {"b": 2}})


def test_diff_is_empty_between_a_state_and_its_shapes():
  assert tree.diff(jax.eval_shape(_parts), _parts()) == []


def test_diff_names_each_difference():
  wanted = {"a": jnp.zeros((2,)), "k": jax.random.key(0), "w": jnp.zeros(1)}
  stored = {
    "a": jnp.zeros((3, 1), jnp.int8),
    "k": jnp.zeros(2, jnp.uint32),
    "z": jnp.zeros(()),
  }
  assert tree.diff(wanted, stored) == [
    "a: stored (3, 1) int8, wanted (2,) float32",
    "k: stored (2,) uint32, wanted () key<fry>",
    "w: missing, wanted (1,) float32",
    "z: stored () float32, unexpected",
  ]


def test_an_overlay_replaces_what_it_has():
  under = {"a": {"b": 1, "c": 2}, "d": 3}
  assert tree.overlay(under, {"a": {"b": 7}}) == {"a": {"b": 7, "c": 2}, "d": 3}
  assert tree.overlay(under, {}) == under
  # What `under` lacks is left out.
  assert tree.overlay(under, {"d": 8, "e": 9}) == {**under, "d": 8}


def test_count_counts_arrays_and_shapes():
  params = {"w": jnp.zeros((2, 3)), "b": [jnp.zeros(()), jnp.zeros((0, 4))]}
  assert tree.count(params) == 7
  assert tree.count(jax.eval_shape(lambda: params)) == 7
  assert tree.count({}) == 0
