"""Pieces of the main job that no smoke run of the digits reaches."""

import types

import numpy as np
import pytest

from hwnas_jax.config import fields as configuration
from hwnas_jax.config import method
from hwnas_jax.core.types import ABSENT
from hwnas_jax.data import embedded
from hwnas_jax.io import writers
from hwnas_jax.runs import family, pipeline, training
from hwnas_jax.spaces import rules

COUNT = 4000


def test_samples_are_drawn_as_often_as_softmax_says():
  config = configuration.default()
  config.derive.num_samples = COUNT
  shares = np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])
  point = [0.5, 0.5], 1.0
  names, points, logits = pipeline._sampled(config, point, np.log(shares))
  assert len(set(names)) == COUNT and points == [point] * COUNT
  drawn = np.eye(3)[logits.argmax(-1)].mean(0)
  np.testing.assert_allclose(drawn, shares, atol=0.03)
  again = pipeline._sampled(config, point, np.log(shares))[2]
  np.testing.assert_array_equal(logits, again)
  config.seed = 1
  other = pipeline._sampled(config, point, np.log(shares))[2]
  assert np.any(logits != other)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"controller.classifier": True}, "controller.classifier=True, a class"),
    (
      {"condition.name": "fixed"},
      "condition.name=fixed .*: a query needs a family over scales",
    ),
  ],
)
def test_a_query_refuses_a_run_without_one_family(tmp_path, fields, message):
  config = configuration.default()
  config.update_from_flattened_dict(fields)
  writers.write_json(tmp_path / "config.json", {"config": config.to_dict()})
  with pytest.raises(ValueError, match=message):
    family.load(tmp_path)


def test_the_best_on_what_was_held_out_is_kept():
  rows = [
    {"id": name, "name": name, "condition": {}, "test_accuracy": test} | held
    for name, test, held in (
      ("a", 0.9, {"held_out_accuracy": 0.5}),
      ("b", 0.1, {"held_out_accuracy": 0.8}),
    )
  ]
  rows.append({"id": "r", "name": "r", "condition": None})
  pipeline._keep(rows)
  assert [row.get("kept") for row in rows] == [None, True, None]
  assert rows[1]["name"] == "b, kept"


def test_samples_are_trained_without_what_compares_them(tmp_path):
  config = small()
  config.derive.num_samples = 2
  config.train.update(num_steps=2, steps_per_dispatch=2, batch_size=8)
  dataset = embedded.digits()
  rest, held = training._hold_out(config, dataset)
  (held,) = held.values()
  count = dataset.train.labels.shape[0]
  assert len(held.labels) == count - round(0.9 * count)
  assert len(rest.train.labels) + len(held.labels) == count
  together = np.concatenate([rest.train.images, held.images]).reshape(count, -1)
  whole = np.asarray(dataset.train.images).reshape(count, -1)
  np.testing.assert_array_equal(np.sort(together, 0), np.sort(whole, 0))
  net = method.make_nets(config)[1]
  genotype = (0,) * len(net.space().choices)
  (told,) = training.train(config, tmp_path, dataset, net, [genotype])
  assert set(told) == {
    *("test_accuracy", "test_accuracies", "held_out_accuracy")
  }
  assert 0 <= told["held_out_accuracy"] <= 1


def test_without_samples_nothing_is_held_out():
  dataset = embedded.digits()
  assert training._hold_out(small(), dataset) == (dataset, {})


def small():
  config = configuration.default()
  config.space.update(ops="three", num_cells=1, num_nodes=2, channels=4)
  config.derive.rule = "argmax"
  return config


@pytest.mark.parametrize("rule", ["argmax", "top_k"])
def test_random_architectures_are_of_those_that_a_rule_gives(rule):
  config = configuration.default()
  config.space.update(num_cells=1, num_nodes=3, channels=4)
  space, rng = method.make_nets(config)[1].space(), np.random.default_rng(0)
  drawn = {rules.random(space, rule, rng) for _ in range(20)}
  assert len(drawn) == 20
  none = space.ops.index("none")
  for genotype in drawn:
    kept = np.bincount(np.asarray(space.group)[np.array(genotype) != ABSENT])
    if rule == "top_k":
      assert set(kept) == {space.keep} and none not in genotype
    else:
      assert ABSENT not in genotype
  assert rule == "top_k" or any(none in genotype for genotype in drawn)


@pytest.mark.parametrize("prices", [(1.0, 1.0), (1.0, -1.0, 1.0), (0.0,) * 3])
def test_wrong_vectors_are_refused_before_the_search(tmp_path, prices):
  config = small()
  config.cost.name, config.condition.name = "paper", "simplex"
  config.derive.vectors = {"A": prices}
  with pytest.raises(ValueError, match="derive.vectors needs names with 3"):
    pipeline.main_job(config, str(tmp_path), "test")
  assert not (tmp_path / "search").exists()


def test_a_query_keeps_the_cap_on_skips():
  config = small()
  config.derive.max_skips = 2
  derived = method.make_nets(config)[1]
  family = types.SimpleNamespace(config=config, derived=derived)
  query = family._Query(family, "1ms", None, {}, None)
  (cap,) = query._constraints()
  assert (cap.name, cap.budget) == ("skip_connect", 2)
  counts = np.zeros(derived.space().shape)
  counts[:, derived.ops.index("skip_connect")] = 1
  np.testing.assert_array_equal(cap.cost, counts)
