"""Config files: found by name or path, run, and typed."""

import re

import pytest
from jobs import ROOT
from ml_collections import ConfigDict
from toy_config import config
from toy_space import registered

from hwnas_jax.config import checks, files
from hwnas_jax.config.fields import Config
from hwnas_jax.core.precision import PRECISIONS

CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
NAMES = files.names()
BY_NAME = pytest.mark.parametrize("name", NAMES)
SPECS = (
  *(f"{name}{variant}" for name in NAMES for variant in ("", ":smoke")),
  *("imagenet:gpu8", "imagenet:tpu"),
)


def leaves(fields, prefix=""):
  """Paths of all fields of a ConfigDict; derive.vectors is one field."""
  paths = set()
  for name, value in fields.items():
    if isinstance(value, ConfigDict) and name != "vectors":
      paths |= leaves(value, f"{prefix}{name}.")
    else:
      paths.add(prefix + name)
  return paths


def test_every_file_has_a_name():
  stems = [path.stem for path in CONFIGS]
  assert sorted(name.split("/")[-1] for name in NAMES) == sorted(stems)
  assert {"digits", "cifar", "fashion_mnist", "methods/fbnet"} <= set(NAMES)


@pytest.mark.parametrize("spec", SPECS)
def test_a_config_loads_and_passes(spec):
  loaded = files.load(spec)
  checks.check(files.typed(loaded))
  assert leaves(loaded) == leaves(files.default())


@BY_NAME
def test_a_smoke_config_is_small_and_needs_no_data(name):
  smoke = files.typed(files.load(f"{name}:smoke"))
  assert smoke.data.name == "digits" or smoke.data.name.startswith("mock_")
  assert max(smoke.search.num_steps, smoke.train.num_steps) <= 50


def test_smokes_compute_in_both_precisions():
  """So that CI runs whole jobs in each."""
  smokes = (files.load(f"{name}:smoke") for name in NAMES)
  assert {smoke.precision for smoke in smokes} == set(PRECISIONS)


@pytest.mark.parametrize("variant", ["gpu8", "tpu"])
def test_eight_devices_have_the_batches_of_one_each(variant):
  one, eight = (files.load(f"imagenet{v}") for v in ("", f":{variant}"))
  assert (one.devices, eight.devices) == (1, 8)
  for part in ("search", "train"):
    assert eight[part].batch_size == 8 * one[part].batch_size
    seen = [c[part].num_steps * c[part].batch_size for c in (one, eight)]
    assert seen[1] == pytest.approx(seen[0], rel=0.01)  # examples


@BY_NAME
def test_an_unknown_variant_is_refused(name):
  with pytest.raises(ValueError, match="no variant 'smokey'.*smoke"):
    files.load(f"{name}:smokey")


@pytest.mark.parametrize("spec", ["digits", "methods/fbnet:smoke"])
def test_a_name_and_a_path_are_one_config(spec, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  name, _, variant = spec.partition(":")
  by_path = files.load(f"{ROOT / 'configs' / name}.py:{variant}")
  assert files.load(spec).to_dict() == by_path.to_dict()


def test_a_file_of_ones_own_is_found_from_here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text(
    "from hwnas_jax.config import default, load\n"
    "def get_config(variant):\n"
    "  config = load('digits') if variant else default()\n"
    "  config.seed = 7\n"
    "  return config\n"
  )
  assert files.load("mine.py").seed == 7
  assert files.load("mine.py:x").data.pad == 1
  with pytest.raises(FileNotFoundError, match="no config 'mine'"):
    files.load("mine")


@pytest.mark.parametrize("name", ["fbnet", "configs/digits", "methods", ""])
def test_an_unknown_name_lists_those_there_are(name):
  message = f"no config {name!r} in the package; it has {', '.join(NAMES)}"
  with pytest.raises(FileNotFoundError, match=re.escape(message)):
    files.load(f"{name}:smoke")


def test_an_absent_file_is_refused(tmp_path):
  message = f"no config file {tmp_path}/absent.py.*methods/fbnet"
  with pytest.raises(FileNotFoundError, match=message):
    files.load(f"{tmp_path}/absent.py:smoke")


def test_an_unknown_field_cannot_be_set():
  loaded = files.default()
  with pytest.raises(AttributeError, match="num_stpes"):
    loaded.search.num_stpes = 3


def test_a_field_keeps_its_type():
  with pytest.raises(TypeError, match="num_steps"):
    files.default().search.num_steps = "many"


def test_the_default_is_that_of_the_types():
  assert files.typed(files.default()) == files.typed(Config())
  assert files.typed({}) == config()


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("search.num_steps", "many", "`int`, got `str` - at `search.num_steps`"),
    ("search.num_steps", 3.0, "`int`, got `float` - at `search.num_steps`"),
    ("search.bilevel", 1, "`bool`, got `int` - at `search.bilevel`"),
    ("train.lr", None, "`float`, got `null` - at `train.lr`"),
    ("space.num_cells", "3", "`int`, got `str` - at `space.num_cells`"),
    ("space.ops", 3, "`str`, got `int` - at `space.ops`"),
    ("derive.vectors", {"a": ["x"]}, "got `str` - at `derive.vectors"),
    ("search.num_stpes", 3, "unknown field `num_stpes` - at `search`"),
    ("space.num_cels", 3, "unknown field `num_cels` - at `space`"),
    ("serch", {}, "unknown field `serch`"),
  ],
)
def test_a_wrong_type_names_the_field(path, value, message):
  fields = files.default().to_dict()
  part, _, field = path.partition(".")
  if field:
    fields[part][field] = value
  else:
    fields[part] = value
  with pytest.raises(ValueError, match=f"the config is wrong: .*{message}"):
    files.typed(fields)


def test_a_typed_config_is_checked_for_its_space():
  with pytest.raises(ValueError, match="unknown field `num_cels`"):
    files.typed(Config(space={"name": "darts", "num_cels": 3}))


def test_whole_numbers_are_floats_too():
  fields = files.default().to_dict()
  fields["train"]["lr"] = 1
  fields["space"]["width"] = 2
  typed = files.typed(fields)
  assert (typed.train.lr, typed.space["width"]) == (1.0, 2.0)
  assert isinstance(typed.space["width"], float)


def test_a_space_that_is_registered_later_is_no_error():
  """What was made before lacks its fields: they have their defaults."""
  before = files.default()
  with registered():
    typed = files.typed(before)
    assert set(typed.space) - set(before.space)
    checks.check(typed)
