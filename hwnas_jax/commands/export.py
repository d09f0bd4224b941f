"""Writes a network of a run, with its weights, as ONNX and StableHLO.

python -m hwnas_jax.export --workdir=runs/digits --id=1a2b3c4d --out=DIR

network.onnx            float32[B, C, H, W] pixels in [0, 255] -> logits
network.cpu.stablehlo   float32[B, H, W, C] pixels -> logits; for
network.gpu.stablehlo   `jax.export.deserialize`; the second for TPUs too
export.json             shapes, versions, the files' differences from JAX
"""

from collections.abc import Sequence

from absl import app, flags

flags.disclaim_key_flags()


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_string("workdir", None, "run folder", required=True)
  flags.DEFINE_string(
    "id",
    None,
    "id of a network: the report has them, and a query prints its answer's",
    required=True,
  )
  flags.DEFINE_string("out", None, "folder to write to", required=True)
  flags.DEFINE_integer(
    "batch_size",
    None,
    "images a call; by default the run's latency.batch_size",
    lower_bound=1,
  )


def main(argv: Sequence[str]) -> None:
  """Exports the network; prints each file and its difference from JAX."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  import hwnas_jax as hw

  values = flags.FLAGS
  network = hw.load(values.workdir).network(values.id)
  export = network.export(values.out, values.batch_size)
  for file, difference in export.largest_difference.items():
    print(
      f"{values.out}/{file}: logits differ from JAX's by at most"
      f" {difference:.2g}; the largest logit is {export.largest_logit:.3g}"
    )
