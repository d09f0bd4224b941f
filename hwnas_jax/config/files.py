"""Config files: located by name or path, run, and converted to typed values."""

import pathlib
from typing import Any, TypeAlias

import msgspec
from ml_collections import ConfigDict

from hwnas_jax.config.fields import Config
from hwnas_jax.io import paths
from hwnas_jax.io.source import blaming, run_file

SUFFIX = ".py"

# What a caller may give: the ConfigDict of a config file, or a typed config.
AnyConfig: TypeAlias = ConfigDict | Config


def default() -> ConfigDict:
  """A config with all fields at their defaults; a misspelt field is an error.

  >>> default().search.num_steps
  1000
  """
  return ConfigDict(msgspec.to_builtins(Config(space=_space()))).lock()


def load(spec: str) -> ConfigDict:
  """The config of `NAME[:variant]` or `FILE.py[:variant]`.

  A name is one of the package's own configs, such as `digits`,
  `methods/fbnet` or `digits:smoke`.

  >>> load("digits:smoke").search.num_steps
  40

  Raises:
    FileNotFoundError: no such config; the message lists the package's configs.
    ValueError: the file is no config, or it has no such variant.
  """
  name, _, variant = spec.partition(":")
  path = locate(name)
  make = getattr(run_file(path), "get_config", None)
  if not callable(make):
    raise ValueError(f"{path} has no function get_config: it is no config")
  with blaming(path):
    return make(variant)


def locate(name: str) -> pathlib.Path:
  """The file of a config: a path, or the name of one in the package.

  Raises:
    FileNotFoundError: there is none.
  """
  path = paths.expand(name)
  if path.suffix == SUFFIX:
    if path.is_file():
      return path
    raise FileNotFoundError(
      f"there is no config file {path}. The package's configs are given by"
      f" name: {', '.join(names())}"
    )
  packaged = _folder() / f"{name}{SUFFIX}"
  if name not in names():
    raise FileNotFoundError(
      f"there is no config {name!r} in the package; it has"
      f" {', '.join(names())}. Your own file is given by its path, which ends"
      f" in {SUFFIX}"
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
  # Installed: the folder `configs` of the package; in a checkout: beside it.
  package = pathlib.Path(__file__).parents[1]
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


def typed(config: AnyConfig | dict[str, Any]) -> Config:
  """The fields of a config, typed and frozen; values are not checked yet.

  A field that is left out has its default. `checks.check` checks values.

  Raises:
    ValueError: a field is unknown or of another type; the message names it.
  """
  fields = config.to_dict() if isinstance(config, ConfigDict) else config
  try:
    if not isinstance(fields, Config):
      fields = msgspec.convert(fields, Config)
    _require_space(fields.space.get("name", "darts"))
    space = msgspec.convert({"space": fields.space}, _space_type()).space
  except msgspec.ValidationError as error:
    message = str(error).replace("`$.", "`")  # the field as a config has it
    raise ValueError(f"the config is wrong: {message}") from error
  return msgspec.structs.replace(fields, space=msgspec.to_builtins(space))


def _require_space(name: Any) -> None:
  """Raises ValueError where no space has the name: its fields are unknown."""
  from hwnas_jax.nets.models import SPACES

  if name not in SPACES:
    raise ValueError(
      f"the config is wrong: space.name must be one of {', '.join(SPACES)},"
      f" got {name!r}"
    )


def _space_type() -> type[Any]:
  """A struct type whose field `space` has the fields of all spaces."""
  fields = [(name, type(value), value) for name, value in _space().items()]
  space = msgspec.defstruct("Space", fields, forbid_unknown_fields=True)
  return msgspec.defstruct("Whole", [("space", space)])


def _space() -> dict[str, Any]:
  """config.space with every field at its default."""
  from hwnas_jax.nets.models import space_fields

  return {"name": "darts", **space_fields()}
