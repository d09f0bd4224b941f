"""Config files: found by name or path, run, and resolved to typed values."""

import pathlib
from typing import Any, TypeAlias

import msgspec
from ml_collections import ConfigDict

from hwnas_jax.config.fields import Config
from hwnas_jax.io.source import run_file

SUFFIX = ".py"

# What a caller may give: a config to be checked, or a typed one.
AnyConfig: TypeAlias = ConfigDict | Config


def default() -> ConfigDict:
  """All fields at their defaults, locked: a misspelt field is an error.

  >>> default().search.num_steps
  1000
  """
  from hwnas_jax.nets.models import space_fields

  space = {"name": "darts", **space_fields()}
  return ConfigDict(msgspec.to_builtins(Config(space=space))).lock()


def load(spec: str) -> ConfigDict:
  """The config of `NAME[:variant]` or `FILE.py[:variant]`.

  A name is one of the package's own configs, such as `digits`,
  `methods/fbnet` or `digits:smoke`.

  >>> load("digits:smoke").search.num_steps
  40

  Raises:
    FileNotFoundError: no such config; the message lists the package's own.
    ValueError: it has no such variant.
  """
  name, _, variant = spec.partition(":")
  return run_file(locate(name)).get_config(variant)


def locate(name: str) -> pathlib.Path:
  """The file of a config: a path, or the name of one in the package.

  Raises:
    FileNotFoundError: there is none.
  """
  path = pathlib.Path(name)
  if path.suffix == SUFFIX:
    if path.is_file():
      return path
    raise FileNotFoundError(
      f"no config file {path} here; the package's own go by their names:"
      f" {', '.join(names())}"
    )
  packaged = _folder() / f"{name}{SUFFIX}"
  if name not in names():
    raise FileNotFoundError(
      f"no config {name!r} in the package; it has {', '.join(names())}. A file"
      f" of your own is given by its path, ending in {SUFFIX}"
    )
  return packaged


def names() -> list[str]:
  """Names of the package's configs, such as `methods/fbnet`."""
  files = sorted(_folder().rglob(f"*{SUFFIX}"))
  return [
    path.relative_to(_folder()).with_suffix("").as_posix()
    for path in files
    if path.stem != "__init__"
  ]


def _folder() -> pathlib.Path:
  # Installed, configs/ is the package's `configs`; in a checkout beside it.
  package = pathlib.Path(__file__).parents[1]
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


def typed(config: AnyConfig | dict[str, Any]) -> Config:
  """The fields of a config, typed and frozen; see `checks.check` too.

  Raises:
    ValueError: a field is unknown or of another type; the message has it.
  """
  if isinstance(config, Config):
    return config
  fields = config.to_dict() if isinstance(config, ConfigDict) else config
  try:
    return msgspec.convert(fields, Config)
  except msgspec.ValidationError as error:
    raise ValueError(f"the config is wrong: {error}") from error
