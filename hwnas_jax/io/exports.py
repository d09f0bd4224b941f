"""export.json of an exported network, as typed records."""

from typing import Literal

from hwnas_jax.io.records import Architecture, Device, Measurement, Record


class Program(Record, frozen=True, kw_only=True):
  """A file of an export, and what was found when this very file was run.

  layout: of the images, such as "NCHW".
  batch: images a call; None: any number.
  input, output: names, None where the format has none.
  opset: of ONNX.
  platforms: that StableHLO is for, as jax.export names them.
  runtime: that ran the file here; None where none could, and then no field
    below is known.
  latency: of a call with the export's batch_size images, in that runtime.
  largest_difference: of a logit from JAX's.
  test_accuracy: on the run's test split.
  """

  sha256: str
  layout: Literal["NCHW", "NHWC"]
  batch: int | None
  input: str | None = None
  output: str | None = None
  opset: int | None = None
  platforms: tuple[str, ...] = ()
  runtime: str | None = None
  latency: Measurement | None = None
  largest_difference: float | None = None
  test_accuracy: float | None = None


class Export(Record, frozen=True, kw_only=True):
  """export.json: a network that was written as ONNX and StableHLO.

  class_names: in the order of the logits; None where the data has none.
  pixels: least and largest value of an input. dtype: of the input.
  image: height, width, channels.
  mean, std: of each channel, in units of [0, 1]. The programs normalise by
    them, so their inputs are plain pixels.
  test_accuracy: that the run recorded; None of untrained weights.
  latency: that the run measured in JAX; None where it measured at another
    batch size, or not at all.
  programs: by file. refused: {file that was not written: why}.
  """

  id: str
  architecture: Architecture
  num_classes: int
  class_names: tuple[str, ...] | None
  pixels: tuple[int, int]
  dtype: Literal["float32"]
  image: tuple[int, int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  batch_size: int
  test_accuracy: float | None
  latency: Measurement | None
  largest_logit: float
  programs: dict[str, Program]
  refused: dict[str, str]
  versions: dict[str, str | None]
  device: Device
