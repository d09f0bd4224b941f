"""Configs as tests write them: the default, with fields changed."""

from hwnas_jax.config import files
from hwnas_jax.config.fields import Config

# The smallest cells that have both kinds of choices.
CELLS = {
  "space__ops": "three",
  "space__num_cells": 3,
  "space__num_nodes": 1,
  "space__channels": 4,
}


def config(**fields) -> Config:
  """The default with `part__field=value`, typed but not checked."""
  changed = files.default()
  changed.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return files.typed(changed)


def small(**fields) -> Config:
  """`config` on networks of CELLS."""
  return config(**CELLS | fields)
