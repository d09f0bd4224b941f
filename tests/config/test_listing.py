"""What `main --list` prints."""

from toy_config import config

from hwnas_jax.config import checks
from hwnas_jax.config.listing import SWITCHES, listing
from hwnas_jax.nets.models import SPACES


def test_the_listing_has_every_choice():
  lines = listing().splitlines()
  fields = checks.choices() | {
    f"space.{field}": tuple(choices)
    for kind in SPACES.values()
    for field, choices in kind.choices.items()
  }
  assert {"space.ops", "space.skeleton", "sampler.name"} <= set(fields)
  for field, choices in fields.items():
    start = lines.index(f"config.{field}") + 1
    rows = [line.split() for line in lines[start : start + len(choices)]]
    assert [row[0] for row in rows] == [
      '""' if c == "" else str(c) for c in choices
    ]
    assert all(len(row) > 1 for row in rows), f"{field}: a choice has no words"
  line = next(line for line in lines if line.startswith("  reinmax"))
  assert "Second-order straight-through" in line


def test_the_listing_has_every_switch():
  lines = listing().splitlines()
  for field in SWITCHES:
    assert f"config.{field}" in lines
    checks.value(config(), field)  # there is such a field
