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
  return ConfigDict(msgspec.to_builtins(Config(space=_space()))).lock()


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

  A field that is left out has its default.

  Raises:
    ValueError: a field is unknown or of another type; the message has it.
  """
  fields = config.to_dict() if isinstance(config, ConfigDict) else config
  try:
    if not isinstance(fields, Config):
      fields = msgspec.convert(fields, Config)
    space = msgspec.convert({"space": fields.space}, _space_type()).space
  except msgspec.ValidationError as error:
    message = str(error).replace("`$.", "`")  # the field as a config has it
    raise ValueError(f"the config is wrong: {message}") from error
  return msgspec.structs.replace(fields, space=msgspec.to_builtins(space))


def _space_type() -> type[Any]:
  """A struct with a field `space`, whose own fields are those of all spaces."""
  fields = [(name, type(value), value) for name, value in _space().items()]
  space = msgspec.defstruct("Space", fields, forbid_unknown_fields=True)
  return msgspec.defstruct("Whole", [("space", space)])


def _space() -> dict[str, Any]:
  """config.space with every field at its default."""
  from hwnas_jax.nets.models import space_fields

  return {"name": "darts", **space_fields()}
