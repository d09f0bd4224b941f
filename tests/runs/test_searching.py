"""Searches by a surrogate: without a supernet, and with one trained before."""

import jax
import msgspec
import numpy as np
import pytest
import toy_space
from scipy import stats
from toy_config import config

from hwnas_jax.config import problem
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.data import embedded
from hwnas_jax.derive import sweep
from hwnas_jax.io import readers
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import judging, searching
from hwnas_jax.spaces.rules import RULES

BY_SURROGATE = {
  "quality__name": "surrogate",
  "sampler__name": "straight_through",
  "derive__rule": "argmax",
  "condition__low": 0.3,
  "condition__high": 100.0,
  "search__controller_lr": 0.02,
}
TAKES_MS = {"none": 0.01, "nor_conv_3x3": 2.0, "nor_conv_1x1": 2.0}


def problem_of(**fields):
  """With a table: a convolution takes 2 ms, `none` little, all else 0.5 ms."""
  made = problem.resolve(config(**BY_SURROGATE | fields))
  nets = problem.make_nets(made)
  entries = tuple(
    timing.entry_of(site, [TAKES_MS.get(site.op, 0.5)])
    for site in nets.derived.space().unique_sites()
  )
  table = tables.empty(made.latency.batch_size)
  table = msgspec.structs.replace(table, entries=entries, finished=True)
  return problem.make(made, nets, table)


def test_without_a_warm_up_there_is_no_supernet_and_no_dead_member(
  monkeypatch, tmp_path
):
  # It needs no compilation; the other judges have their own tests.
  monkeypatch.setattr(judging, "default", lambda left_out: {"macs": 1.0})
  made = problem_of(
    space__name="nasbench201",
    space__num_cells=1,
    space__channels=4,
    quality__architectures=200,
    search__num_steps=1500,
    search__steps_per_dispatch=100,
  )
  folder, dataset = RunFolder.at(tmp_path), embedded.digits()
  searched = searching.search(made, folder, dataset)
  assert searched.state.weights == {}
  assert searching.shared_weights(made, dataset, searched) is None
  net, space = made.nets.supernet, made.nets.supernet.space()
  grid = sweep.scale_grid(len(made.columns), 0.3, 100.0, 17)
  logits = sweep.logits_of(
    searched.parts.controller,
    searched.parts.conditions,
    searched.state.controller,
    grid,
  )
  members = [made.rule(space, rows) for rows in logits]
  assert all(net.alive(g) for g in members)
  # At large scales the logits themselves are for the dead one.
  assert not net.alive(RULES["argmax"](space, logits[-1]))
  latencies_ms = [tables.predict_ms(made.table, net, g) for g in members]
  assert latencies_ms[0] > 2 * latencies_ms[-1]
  assert stats.spearmanr(range(17), latencies_ms).statistic < -0.8
  # What is finished is read again, bit for bit, as a query does.
  again = searching.search(made, folder, dataset)
  jax.tree.map(
    np.testing.assert_array_equal,
    searched.state.controller,
    again.state.controller,
  )


def test_a_warm_up_trains_the_supernet_and_then_it_rests(monkeypatch, tmp_path):
  weights = {"macs": 1.0, "shared_loss": 1.0}
  monkeypatch.setattr(judging, "default", lambda left_out: weights)
  with toy_space.registered():
    made = problem_of(
      space__name="toy",
      space__depth=3,
      space__channels=4,
      quality__architectures=20,
      sampler__warmup="ordered",
      search__num_steps=8,
      search__warmup_steps=4,
      search__steps_per_dispatch=2,
      search__batch_size=16,
    )
    folder, dataset = RunFolder.at(tmp_path), embedded.digits()
    judged = []
    real = judging.judge

    def judge(problem, folder, dataset, shared):
      judged.append(jax.device_get(shared.weights))
      return real(problem, folder, dataset, shared)

    monkeypatch.setattr(judging, "judge", judge)
    searched = searching.search(made, folder, dataset)
    fresh = searched.parts.net.init(jax.random.key(0))
    assert jax.tree.structure(fresh) == jax.tree.structure(judged[0])
    jax.tree.map(
      np.testing.assert_array_equal, judged[0], searched.state.weights
    )
    shared = searching.shared_weights(made, dataset, searched)
    assert len(shared.images) == searching.HELD_OUT
  assert set(folder.judgements().scores) == set(weights)
  rows = readers.read_jsonl(folder.search / "metrics.jsonl")
  assert [row["step"] for row in rows] == [2, 4, 6, 8]
  measured = [set(row) & {"cross_entropy", "quality"} for row in rows]
  assert measured == [{"cross_entropy"}] * 2 + [{"quality"}] * 2
  assert rows[0]["entropy"] == pytest.approx(rows[1]["entropy"])
  assert rows[2]["entropy"] != rows[1]["entropy"]
