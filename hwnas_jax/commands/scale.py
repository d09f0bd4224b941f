"""Finds a larger network that takes no more time on this device.

python -m hwnas_jax.scale --workdir=runs/digits --id=1a2b3c4d

Scales the network in width and image size, measures every scaled network, and
marks the knee: the one of most multiply-accumulates that is no slower
(docs/latency.md#comfort-zone).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import app, flags

if TYPE_CHECKING:
  from hwnas_jax.io.records import ScaledNetwork

flags.disclaim_key_flags()


MOST = 100  # a factor, or a share of the latency


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_string("workdir", None, "run folder", required=True)
  flags.DEFINE_string(
    "id", None, "id of a network: the report has them", required=True
  )
  flags.DEFINE_list(
    "widths",
    ["1.25", "1.5", "1.75", "2", "2.5", "3"],
    "factors of the network's channels, besides 1",
  )
  flags.DEFINE_list(
    "sides", ["1.25", "1.5"], "factors of the image's sides, besides 1"
  )
  flags.DEFINE_float(
    "tolerance",
    0.02,
    "share of the network's latency by which a larger one may exceed it",
  )


def main(argv: Sequence[str]) -> None:
  """Prints every scaled network's latency, and the flags that make the knee."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  import hwnas_jax as hw
  from hwnas_jax.io.cache import use_compilation_cache
  from hwnas_jax.report.scaling import words

  use_compilation_cache()
  values = flags.FLAGS
  widths, sides = (
    [float(v) for v in texts] for texts in (values.widths, values.sides)
  )
  if not all(0 < factor <= MOST for factor in (*widths, *sides)):
    raise ValueError(f"--widths and --sides must be > 0 and at most {MOST}")
  if not 0 <= values.tolerance < MOST:
    raise ValueError(f"--tolerance must be >= 0 and below {MOST}")
  run = hw.load(values.workdir)
  zone = run.network(values.id).scale(widths, sides, values.tolerance)
  for point in sorted(zone.points, key=lambda p: p.macs):
    count = len(point.over_found)
    times = f", measured {count} times" if count > 1 else ""
    print(
      f"{words(point):<28} {point.macs / 1e6:10.3f} M MACs"
      f" {point.latency.median_ms:9.3f} ms"
      f" (IQR {point.latency.iqr_ms:.3f}{times})"
      + ("  <- knee" if point == zone.knee else "")
    )
  _print_knee(zone.knee)
  print(run.folder.network(values.id).comfort_figure)


def _print_knee(knee: "ScaledNetwork") -> None:
  """Prints the flags that make the knee, as far as flags can."""
  if knee.overrides:
    print(f"the knee is the run's config with {' '.join(knee.overrides)}")
  if knee.needs_images:
    size = "x".join(map(str, knee.needs_images))
    print(
      f"the knee needs images of {size}, which no flag makes: give data of that"
      " size by --config.data.name=folder:PATH or npz:PATH"
    )
  if not (knee.overrides or knee.needs_images):
    print("the knee is the network itself: every larger network is slower")
