"""Scales a found network up while the device takes no longer for it.

python -m hwnas_jax.scale --workdir=runs/digits --id=1a2b3c4d
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging

_WORKDIR = flags.DEFINE_string("workdir", None, "run folder", required=True)
_ID = flags.DEFINE_string("id", None, "of a network", required=True)
_WIDTHS = flags.DEFINE_list(
  "widths", ["1.25", "1.5", "1.75", "2", "2.5", "3"], "times its channels"
)
_SIDES = flags.DEFINE_list("sides", ["1.25", "1.5"], "times its image's sides")
_TOLERANCE = flags.DEFINE_float(
  "tolerance", 0.02, "of its latency, that a larger one may take more"
)


def _main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  from hwnas_jax.io.cache import use_compilation_cache
  from hwnas_jax.report.scaling import words
  from hwnas_jax.runs import comfort_zone

  use_compilation_cache()
  logging.set_verbosity(logging.WARNING)
  try:
    widths, sides = (
      [float(v) for v in flag.value] for flag in (_WIDTHS, _SIDES)
    )
    if min([1.0, *widths, *sides]) <= 0 or _TOLERANCE.value < 0:
      raise ValueError("--widths, --sides and --tolerance are factors above 0")
    found = comfort_zone.run(
      _WORKDIR.value, _ID.value, widths, sides, _TOLERANCE.value
    )
  except (ValueError, FileNotFoundError) as error:
    sys.exit(f"scale: {error}")
  for point in sorted(found["points"], key=lambda p: p["macs"]):
    mark = "  <- knee" if point == found["knee"] else ""
    count = len(point["over_own"])
    times = f", measured {count} times" if count > 1 else ""
    print(
      f"{words(point):<28} {point['macs'] / 1e6:10.3f} M MACs"
      f" {point['latency_ms']:9.3f} ms (IQR {point['spread_ms']:.3f}{times})"
      f"{mark}"
    )
  _tell(found["knee"])
  print(f"{_WORKDIR.value}/networks/{_ID.value}/comfort.svg")


def _tell(knee: Mapping[str, Any]) -> None:
  """How to make the knee, as far as flags can."""
  if knee["overrides"]:
    print(f"the knee is of the run's config with {' '.join(knee['overrides'])}")
  if knee["needs_images"]:
    size = "x".join(map(str, knee["needs_images"]))
    print(
      f"the knee needs images of {size}, which no flag makes: give data of that"
      " size by --config.data.name=folder:PATH or npz:PATH"
    )
  if not (knee["overrides"] or knee["needs_images"]):
    print("the knee is the network itself: nothing larger takes as little time")


if __name__ == "__main__":
  app.run(_main)
