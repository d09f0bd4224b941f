"""The Python API over the finished run."""

import html.parser
import re

import numpy as np
import pytest
from msgspec.structs import replace

import hwnas_jax as hw
from hwnas_jax.derive import judges
from hwnas_jax.derive.committee import default
from hwnas_jax.io.records import Accuracies, Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import weights
from hwnas_jax.runs.network import Network
from hwnas_jax.runs.run import Run


class Tags(html.parser.HTMLParser):
  """The tags of a cell, which must nest."""

  def __init__(self, text):
    super().__init__()
    self.open, self.seen = [], set()
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.open.append(tag)
    self.seen.add(tag)

  def handle_startendtag(self, tag, attrs):
    self.seen.add(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_a_run_is_loaded_by_its_folder(run):
  assert run.config.space["num_cells"] == 1
  assert run.config.latency.table == f"tables/{run.table.fingerprint}.json"
  assert run.table.errors.networks == 1
  assert run.dataset.name == "digits"
  assert run.nets.supernet == run.nets.derived


def test_a_path_may_begin_with_the_home_folder(run, monkeypatch):
  monkeypatch.setenv("HOME", str(run.folder.path.parent))
  assert hw.load("~/digits").folder == run.folder


def test_networks_are_the_family(run):
  family = run.folder.family()
  assert [n.id for n in run.networks] == [m.id for m in family.members]
  for network, member in zip(run.networks, family.members, strict=True):
    assert network.member == member
    assert (network.name, network.latency) == (member.name, member.latency)
    assert network.architecture == member.architecture
    assert network.predicted_ms == member.predicted_ms
    assert network.accuracies == member.accuracies
    assert network.test_accuracy == member.accuracies.test_accuracy
    if member.accuracies.test_accuracies:
      assert network.home == run.folder.network(member.id)
    else:
      with pytest.raises(FileNotFoundError, match="no network .* with weights"):
        network.home  # noqa: B018
    assert run.network(member.id) == network


def test_trained_networks_come_first(run):
  trained = [n.test_accuracy is not None for n in run.networks if n.member]
  kinds = [n.member.kind for n in run.networks]
  members = kinds.count("member")
  assert kinds[:members] == ["member"] * members
  assert trained[:members] == sorted(trained[:members], reverse=True)


def test_an_unfinished_run_names_what_finishes_it(run, tmp_path):
  folder = RunFolder(tmp_path)
  folder.write_settings(run.folder.settings(), run.folder.made_with())
  begun = hw.load(tmp_path)
  message = "has no networks yet: finish it with `python -m hwnas_jax.main --c"
  with pytest.raises(FileNotFoundError, match=message):
    begun.networks  # noqa: B018
  with pytest.raises(FileNotFoundError, match="table.json"):
    begun.table  # noqa: B018
  with pytest.raises(ValueError, match="at step 0 of 40: finish it"):
    begun.query("1ms")
  with pytest.raises(FileNotFoundError, match="no network 'x' .* it has none"):
    begun.network("x")


@pytest.fixture(scope="module")
def answer(run):
  """The smallest network, or nearly: no member of the family."""
  measure = lambda genotype: Measurement(1e-3, 0.0)  # noqa: E731
  return run.query("100%", measure=measure, params=1e9)


def test_an_answer_has_a_folder_with_all_that_is_known(run, answer):
  assert answer.folder == run.folder.answer(answer.network.id)
  assert answer.folder.certificate() == answer.certificate
  written = answer.folder.read_architecture().architecture
  assert written == answer.network.architecture
  assert answer.measured == Measurement(1e-3, 0.0)
  assert answer.predicted_ms == answer.certificate.predicted_ms
  assert answer.margin.networks == 3
  assert answer.certificate.weights in ("trained", "inherited")
  assert answer.certificate.budget.limits == {"params": 1e9}
  assert run.network(answer.network.id).genotype == answer.network.genotype


def test_a_certificate_says_how_the_answer_was_chosen(run, answer):
  certificate = answer.certificate
  committee, largest = certificate.committee, certificate.largest
  weights = {vote.judge: vote.weight for vote in committee.votes}
  assert weights == default({"jacov"})
  assert "averages batch-normalised" in committee.left_out["jacov"]
  assert certificate.unconstrained_best_fits == (committee.place == 1)
  assert all(1 <= v.place <= committee.compared for v in committee.votes)
  assert sum(certificate.candidates.values()) <= committee.compared
  assert certificate.source in certificate.candidates
  # By one judge, who counts, the answer is the largest that fits.
  measure = lambda genotype: Measurement(1e-3, 0.0)  # noqa: E731
  by_size = run.query("100%", measure=measure, judges=["macs"])
  (vote,) = by_size.certificate.committee.votes
  assert (vote.judge, vote.place) == ("macs", 1)
  assert by_size.certificate.largest.id == by_size.network.id
  assert by_size.certificate.largest.macs == vote.score >= largest.macs


def test_a_second_query_computes_nothing_again(run, answer, monkeypatch):
  def refuse(*arguments):
    raise AssertionError("computed again")

  if answer.certificate.weights == "inherited":
    monkeypatch.setattr(weights, "inherited", refuse)
  monkeypatch.setattr(judges, "judge", refuse)
  measure = lambda genotype: Measurement(1e-3, 0.0)  # noqa: E731
  again = run.query("100%", measure=measure, params=1e9)
  assert again.network == answer.network
  assert again.certificate == answer.certificate


def test_an_unknown_judge_is_refused_before_the_search_is_read(run):
  begun = Run(run.folder)
  with pytest.raises(ValueError, match="no judge is called 'zen': synflow"):
    begun.query("1ms", judges=["macs", "zen"])
  with pytest.raises(ValueError, match="unknown limit flops"):
    begun.query("1ms", flops=1.0)
  assert "finished" not in vars(begun)


@pytest.mark.parametrize("fault", ["no steps", "no teacher"])
def test_what_cannot_be_trained_is_refused_before_the_search_is_read(
  run, tmp_path, fault
):
  folder = RunFolder(tmp_path)
  folder.write_settings(run.folder.settings(), run.folder.made_with())
  begun, part = hw.load(tmp_path), run.config.train
  if fault == "no steps":
    part, error = replace(part, num_steps=0), ValueError
    message = "train.num_steps=0, so its recipe trains nothing"
  else:
    part, error = replace(part, teacher=True), FileNotFoundError
    message = "has no networks yet: finish it with"
  vars(begun)["config"] = replace(run.config, train=part)
  with pytest.raises(error, match=message):
    begun.query("1ms", train=True)
  assert "finished" not in vars(begun)


def test_an_answer_is_a_network(run, answer):
  pixels = run.dataset.test.images[:3]
  logits = answer.network(pixels)
  assert logits.shape == (3, 10)
  np.testing.assert_array_equal(logits, answer.network(np.asarray(pixels)))


def test_a_network_that_is_not_of_the_family(run):
  choices = len(run.nets.derived.space().choices)
  network = Network(run, (1,) * choices, None)
  assert network.name == network.id
  assert network.latency is network.predicted_ms is network.member is None
  assert network.accuracies == Accuracies() and network.test_accuracy is None
  with pytest.raises(FileNotFoundError, match=f"no network '{network.id}'"):
    network.home  # noqa: B018
  trained = network.train()
  assert trained == network and 0 <= trained.test_accuracy <= 1
  assert trained.home == run.folder.network(network.id)
  assert trained(run.dataset.test.images[:2]).shape == (2, 10)
  # Lost or damaged weights are written again from the training's last state.
  path = run.folder.network(network.id).weights
  before = path.read_bytes()
  for damage in (path.unlink, lambda: path.write_bytes(before[:-9])):
    damage()
    assert weights.fault(path)
    assert network.train() == network
    assert weights.fault(path) is None


def test_cells_of_a_notebook(run, answer):
  for thing, words in (
    (run, run.networks[0].id),
    (run.networks[0], run.networks[0].id),
    (answer, "measured"),
    (run.table, run.table.fingerprint),
  ):
    text = thing._repr_html_()
    assert words in text
    assert "script" not in Tags(text).seen
  other = Network(run, answer.network.genotype, None)._repr_html_()
  assert answer.network.id in other
  page = run.report._repr_html_()
  assert Tags(page).seen == {"iframe"} and "&lt;html" in page


def test_a_report_is_written_again(run):
  before = run.report.path.read_text()
  run.report.path.unlink()
  assert run.write_report() == run.report
  after = run.report.path.read_text()
  # An answer that was trained meanwhile is none of its networks.
  assert re.sub(r"\s+", " ", after) == re.sub(r"\s+", " ", before)
