"""What a JSON says about its making: seeds, versions, device, time.

`begin` is called before anything is written: a script that changes a file of
the checkout would else call its own commit changed.
"""

import time
from typing import Any, NamedTuple

from hwnas_jax.io import records, versions


class Start(NamedTuple):
  """When a script began, and with which versions."""

  versions: dict[str, str | None]
  seconds: float


def begin() -> Start:
  """Now."""
  return Start(versions.versions(), time.monotonic())


def made(start: Start, **seeds: Any) -> dict[str, Any]:
  """Written under `made`; {} of seeds where nothing is random.

  wall_s is of the process that wrote last: one that went on took less.
  """
  return {
    "seeds": seeds,
    "versions": start.versions,
    "device": records.to_json(versions.device_fingerprint()),
    "wall_s": round(time.monotonic() - start.seconds, 1),
  }
