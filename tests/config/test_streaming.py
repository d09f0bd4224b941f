"""The fields of streamed data, against each other and against the data."""

import pytest
from toy_config import config
from toy_files import as_records

from hwnas_jax.config import checks, data_checks, streaming
from hwnas_jax.data import load


def test_the_fields_say_how_data_are_streamed():
  given = config(data__workers=3, data__jitter=0.2, data__in_memory_gib=1.5)
  assert streaming.streaming(given) == (1.5, 1.0, 0.2, 3)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"name": "records:x", "crop_area": 0.5},
      "data.crop_area below 1 needs data.resize=HEIGHTxWIDTH.*got 0.5",
    ),
    ({"crop_area": 0.0}, r"data.crop_area must be in \(0, 1\], got 0"),
    ({"jitter": 1.5}, r"data.jitter must be in \[0, 1\], got 1.5"),
    ({"workers": 1000}, "data.workers must be <= 256, got 1000"),
    ({"in_memory_gib": -1.0}, "data.in_memory_gib must be >= 0, got -1"),
    ({"name": "npz:x", "resize": "8x8"}, "data.resize is for .*records:PATH"),
  ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
  given = config(**{f"data__{name}": value for name, value in fields.items()})
  with pytest.raises(ValueError, match=message):
    checks.check(given)


def test_data_on_the_device_are_not_changed_by_the_host(tmp_path):
  given = config(
    data__name=as_records(tmp_path),
    data__resize="8x8",
    data__crop_area=0.5,
    data__jitter=0.1,
    search__batch_size=8,
    train__batch_size=8,
  )
  checks.check(given)
  options = streaming.streaming(given)
  kept = load.load(given.data.name, None, "8x8", options)
  assert streaming.place(kept).endswith("72 training images on the device")
  message = "data.crop_area changes images.*leave it at 1, got 0.5.*data.jitter"
  with pytest.raises(ValueError, match=message):
    data_checks.require(given, kept)
  for workers, readers in ((0, "the main process"), (2, "2 workers")):
    always = options._replace(in_memory_gib=0.0, workers=workers)
    streamed = load.load(given.data.name, None, "8x8", always)
    data_checks.require(given, streamed)
    wanted = f"72 training images of 8x8, streamed from files by {readers}"
    assert streaming.place(streamed).endswith(wanted)


def test_too_few_streamed_examples_are_refused(tmp_path):
  given = config(data__name=as_records(tmp_path), data__in_memory_gib=0.0)
  data = load.load(given.data.name, None, "", streaming.streaming(given))
  with pytest.raises(ValueError, match="search.batch_size must be <= 36, got"):
    data_checks.require(given, data)
