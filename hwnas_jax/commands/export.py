"""Writes a network of a run, with its weights, as ONNX and StableHLO.

python -m hwnas_jax.export --workdir=runs/digits --id=1a2b3c4d --out=DIR

network.onnx            float32[B, C, H, W] pixels in [0, 255] -> logits
network.cpu.stablehlo   float32[B, H, W, C] pixels -> logits; for
network.gpu.stablehlo   `jax.export.deserialize`; the second for TPUs too
export.json             classes, normalisation, layouts, digests, latencies

Each file that can run here is run on the test split, and has to have the
accuracy that the run recorded.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import app, flags

if TYPE_CHECKING:
  from hwnas_jax.io.exports import Export, Program

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
    "images a call when the files are measured; by default the run's"
    " latency.batch_size",
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
  for file, program in export.programs.items():
    print(f"{values.out}/{file}: {_said(export, program)}")
  for file, reason in export.refused.items():
    print(f"{values.out}/{file} is not written: {reason}")


def _said(export: "Export", program: "Program") -> str:
  """What is known of a file."""
  batch = "any batch" if program.batch is None else f"batch {program.batch}"
  if program.runtime is None or program.latency is None:
    return f"{batch}; for {', '.join(program.platforms)}: not run here"
  known = program.test_accuracy is not None
  accuracy = f"; test accuracy {program.test_accuracy:.4f}" if known else ""
  return (
    f"{batch}; logits differ from JAX's by at most"
    f" {program.largest_difference:.2g}, the largest is"
    f" {export.largest_logit:.3g}{accuracy}"
    f" ({program.runtime}, {program.latency.median_ms:.3g} ms at batch"
    f" {export.batch_size})"
  )
