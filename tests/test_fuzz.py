"""Every parser refuses mutated inputs by a ValueError or an OSError alone.

`python -m experiments.faults.fuzz` gives each of them 100,000.
"""

import time

import pytest

from experiments.faults import fuzz, parsers

PARSERS = parsers.parsers()
COUNT = 100


@pytest.mark.parametrize("name", PARSERS)
def test_no_input_raises_anything_else(name):
  outcome = fuzz.run(name, PARSERS[name], 0, COUNT)
  assert outcome.inputs == COUNT and outcome.faults == []
  assert outcome.accepted < COUNT


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_not_mutated_is_accepted(name):
  same = PARSERS[name]._replace(mutate=lambda rng, data: data)
  accepted = fuzz.run(name, same, 0, 20).accepted
  known = {"data names": 0 < accepted < 20, "images": 0 < accepted < 20}
  assert known.get(name, accepted == 20)


def test_another_exception_and_a_hang_are_faults(monkeypatch):
  monkeypatch.setattr(fuzz, "LIMIT_S", 0.02)
  parser = fuzz.Parser([b"a"], lambda rng, data: data, lambda data, _: 1 / 0)
  assert fuzz.run("a", parser, 5, 1).faults == [
    (5, "ZeroDivisionError: division by zero")
  ]
  slow = parser._replace(parse=lambda data, _: time.sleep(1))
  (fault,) = fuzz.run("a", slow, 0, 1).faults
  assert fault == (0, "TooLong: more than 0.02 s")


def test_an_input_depends_on_its_index_alone():
  seen = []
  parser = PARSERS["budgets"]._replace(parse=lambda data, _: seen.append(data))
  fuzz.run("budgets", parser, 0, 9)
  fuzz.run("budgets", parser, 4, 5)
  assert seen[4:9] == seen[9:]
