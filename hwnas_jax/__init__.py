"""Neural architecture search for a latency budget on a device you have.

    import hwnas_jax as hw

    config = hw.load_config("digits")
    run = hw.search(config, workdir="runs/digits")
    answer = run.query("1.5ms")
    logits = answer.network(pixels)

`load_config` gives a config (`python -m hwnas_jax.main --list` prints what it
may say). `profile` measures the latency table of a device. `search` runs a
whole search and gives a `Run`, `load` gives it again from its folder. A `Run`
has `Network`s, a report and `query`, which returns an `Answer`; `Finalists`
says how many candidates it trains briefly. `Data` is for your own arrays,
`Choice` for your own model. docs/concepts.md explains the parts on one page.

Names are imported when they are first used: `import hwnas_jax` does not load
JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from hwnas_jax.config.files import load as load_config
  from hwnas_jax.costs.table import LatencyTable as Table
  from hwnas_jax.data.user import Data
  from hwnas_jax.nets.choice import Choice
  from hwnas_jax.runs.finalists import Finalists
  from hwnas_jax.runs.network import Answer, Network
  from hwnas_jax.runs.profile import profile
  from hwnas_jax.runs.run import Run, load, search

__version__ = "0.2.0"

# The module that each public name comes from, and its name there.
_HOMES = {
  "Answer": ("hwnas_jax.runs.network", "Answer"),
  "Choice": ("hwnas_jax.nets.choice", "Choice"),
  "Data": ("hwnas_jax.data.user", "Data"),
  "Finalists": ("hwnas_jax.runs.finalists", "Finalists"),
  "Network": ("hwnas_jax.runs.network", "Network"),
  "Run": ("hwnas_jax.runs.run", "Run"),
  "Table": ("hwnas_jax.costs.table", "LatencyTable"),
  "load": ("hwnas_jax.runs.run", "load"),
  "load_config": ("hwnas_jax.config.files", "load"),
  "profile": ("hwnas_jax.runs.profile", "profile"),
  "search": ("hwnas_jax.runs.run", "search"),
}

__all__ = [
  "Answer",
  "Choice",
  "Data",
  "Finalists",
  "Network",
  "Run",
  "Table",
  "__version__",
  "load",
  "load_config",
  "profile",
  "search",
]


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used."""
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module, attribute = _HOMES[name]
  value = getattr(importlib.import_module(module), attribute)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  """The public names."""
  return __all__
