"""What the steps are fed: a function of (key, step) alone."""

import contextlib
import pathlib
import subprocess
import sys
import time

import jax
import jobs
import numpy as np
import pytest
from toy_files import as_records, encoded

from hwnas_jax.core import devices
from hwnas_jax.data import arrays, feed, load
from hwnas_jax.data.feed import Feed, Length
from hwnas_jax.data.streamed import Streaming

LENGTH = Length(num_steps=24, steps_per_dispatch=4, batch_size=10)
KEYS = jax.random.key(1), jax.random.key(2)


def dataset(tmp_path, **fields):
  options = Streaming(0.0, 0.3, 0.4, 0)._replace(**fields)
  return load.load(as_records(tmp_path), None, "8x8", options)


def fed(train, start=0, levels=(0,), of=LENGTH, where=None):
  """The windows of each dispatch from a step on."""
  rows = arrays.halves(len(train), 0.5, 0)
  splits = tuple(train.subset(r) for r in rows)
  with contextlib.closing(Feed(KEYS, splits, of, where)) as made:
    return [
      made.windows(step, levels)
      for step in range(start, of.num_steps, of.steps_per_dispatch)
    ]


def test_any_step_gives_what_an_uninterrupted_run_sees(tmp_path):
  train = dataset(tmp_path).train
  whole = fed(train, 0, (0, 1))
  assert whole[0][0].images.shape == (4, 10, 8, 8, 3)
  assert whole[0][0].images.dtype == np.uint8
  assert not whole[0][0].images.committed  # steps would be compiled twice
  again = fed(train, 12, (0, 1))
  jax.tree.map(np.testing.assert_array_equal, whole[3:], again)
  # One level alone, and another one after it, are the same too.
  alone = fed(train, 8, (1,))
  jax.tree.map(
    np.testing.assert_array_equal,
    [w[1] for w in whole[2:]],
    [w[0] for w in alone],
  )
  # Each epoch changes an image anew.
  images = np.concatenate([np.asarray(w[0].images) for w in whole])
  assert len({x.tobytes() for x in images.reshape(-1, 192)}) == 240


def shards(array):
  """[(shape, device)] of what lies on each device."""
  return [(s.data.shape, s.device) for s in array.addressable_shards]


def test_each_of_several_devices_gets_its_part(tmp_path):
  data, mesh = dataset(tmp_path), devices.make_mesh(2)
  alone, split = (fed(data.train, 4, (0, 1), where=w) for w in (None, mesh))
  jax.tree.map(np.testing.assert_array_equal, alone, split)
  parts = [((4, 5, 8, 8, 3), device) for device in jax.devices()[:2]]
  assert all(shards(w.images) == parts for pair in split for w in pair)
  (on_second,) = fed(data.train, 20, where=jax.devices()[1])[0]
  assert shards(on_second.labels) == [((4, 10), jax.devices()[1])]
  alone, split = (list(feed.in_order(data.test, 8, w)) for w in (None, mesh))
  jax.tree.map(np.testing.assert_array_equal, alone, split)
  parts = [((4,), device) for device in jax.devices()[:2]]
  assert all(shards(batch.labels) == parts for batch in split)


def test_a_process_reads_the_parts_of_its_devices(tmp_path, monkeypatch):
  """The second of two processes, with the second of two devices."""
  data, mesh, read = dataset(tmp_path), devices.make_mesh(2), []
  (whole,) = fed(data.train, 20)[0]
  monkeypatch.setattr(devices, "own_parts", lambda where: [1])
  monkeypatch.setattr(devices, "join", lambda parts, *_: read.append(parts))
  fed(data.train, 20, where=mesh)
  ((images,), (labels,)) = read
  np.testing.assert_array_equal(images, whole.images[:, 5:])
  np.testing.assert_array_equal(labels, whole.labels[:, 5:])


def test_workers_change_nothing(tmp_path):
  data = dataset(tmp_path)
  in_workers = dataset(tmp_path, workers=2)
  short = LENGTH._replace(num_steps=12)
  jax.tree.map(
    np.testing.assert_array_equal,
    fed(data.train, 0, (0, 1), short),
    fed(in_workers.train, 0, (0, 1), short),
  )


def test_the_order_is_that_of_data_on_the_device(tmp_path):
  train = dataset(tmp_path, crop_area=1.0, jitter=0.0).train
  whole = arrays.on_device(train, 10**6)
  rows = arrays.halves(len(train), 0.5, 0)
  for number, windows in enumerate(fed(train, 0, (0, 1))):
    for key, index, window in zip(KEYS, rows, windows, strict=True):
      for step in range(4 * number, 4 * number + 4):
        drawn = index[arrays.batch_indices(key, step, len(index), 10)]
        images, labels = window.batch(np.int32(step))
        np.testing.assert_array_equal(images, whole.images[drawn])
        np.testing.assert_array_equal(labels, whole.labels[drawn])


def test_levels_have_no_example_in_common(tmp_path):
  train = dataset(tmp_path, crop_area=1.0, jitter=0.0).train
  seen = [
    {x.tobytes() for w in fed(train) for x in np.asarray(w[0].images[0])},
    {
      x.tobytes()
      for w in fed(train, 0, (1,))
      for x in np.asarray(w[0].images[0])
    },
  ]
  assert seen[0] and seen[1] and not seen[0] & seen[1]


def test_waiting_is_a_share(tmp_path):
  train = dataset(tmp_path).train
  with contextlib.closing(Feed(KEYS[:1], (train,), LENGTH)) as made:
    made.windows(0)
    assert 0 < made.wait_share <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_every_example_is_evaluated_once(tmp_path, workers):
  test = dataset(tmp_path, workers=workers).test
  batches = list(feed.in_order(test, 2))
  assert {b.images.shape for b in batches} == {(2, 8, 8, 3)}
  images, labels = (np.concatenate(x) for x in zip(*batches, strict=True))
  wanted = test.read(np.arange(21))
  np.testing.assert_array_equal(images[:21], wanted[0])
  assert labels.tolist() == [*wanted[1].tolist(), -1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(tmp_path, workers, monkeypatch):
  monkeypatch.setattr("hwnas_jax.data.streamed.SAMPLED", 1)
  monkeypatch.setattr("hwnas_jax.data.arrays.SAMPLED", 1)
  name = as_records(tmp_path, lambda i: b"x" if i % 2 else encoded(i))
  train = load.load(name, None, "", Streaming(0.0, workers=workers)).train
  with (
    contextlib.closing(Feed(KEYS[:1], (train,), LENGTH)) as made,
    pytest.raises(ValueError, match=r"record \d+ of .* cannot be read"),
  ):
    made.windows(0)


FEEDS = """
import sys, jax
from hwnas_jax.data import feed, load
from hwnas_jax.data.streamed import Streaming

if __name__ == "__main__":
  train = load.load(sys.argv[1], None, "", Streaming(0.0, workers=2)).train
  made = feed.Feed((jax.random.key(0),), (train,), feed.Length(9999, 1, 8))
  made.windows(0)
  print("fed", flush=True)
  sys.stdin.read()
"""


def test_workers_end_with_a_killed_process(tmp_path):
  script = tmp_path / "feeds.py"
  script.write_text(FEEDS)
  arguments = [sys.executable, script, as_records(tmp_path / "files")]
  with subprocess.Popen(
    arguments,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    env=jobs.environment(),
  ) as process:
    assert process.stdout.readline() == b"fed\n"
    tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(p) for task in tasks for p in task.read_text().split()]
    process.kill()
  assert len(children) >= 2
  give_up_s = time.monotonic() + 30
  while any(map(runs, children)):
    assert time.monotonic() < give_up_s, children
    time.sleep(0.05)


def runs(process):
  """Whether a process is there and has not ended."""
  try:
    stat = pathlib.Path(f"/proc/{process}/stat").read_text()
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"
