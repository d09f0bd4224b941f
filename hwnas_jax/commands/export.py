"""Writes a found network, with its weights, for use without this package.

python -m hwnas_jax.export --workdir=runs/digits --id=1a2b3c4d --out=DIR

network.onnx            float32[B, C, H, W] pixels in [0, 255] -> logits
network.cpu.stablehlo   float32[B, H, W, C] pixels -> logits; for
network.gpu.stablehlo   `jax.export.deserialize`; the second for TPUs too
export.json             shapes, versions, and how far from JAX each is
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging

_WORKDIR = flags.DEFINE_string("workdir", None, "run folder", required=True)
_ID = flags.DEFINE_string(
  "id", None, "of a network, or of a query's answer", required=True
)
_OUT = flags.DEFINE_string("out", None, "folder to write to", required=True)
_BATCH = flags.DEFINE_integer(
  "batch_size",
  None,
  "images a call; the run's latency.batch_size by default",
  lower_bound=1,
)


def _main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  # After the flags, so that `--help` and a wrong flag answer at once.
  from hwnas_jax.runs import deploy

  logging.set_verbosity(logging.WARNING)
  try:
    network = deploy.find(_WORKDIR.value, _ID.value, _BATCH.value)
    document = deploy.write(network, _OUT.value)
  except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
    sys.exit(f"export: {error}")
  for file, difference in document["largest_difference"].items():
    print(
      f"{_OUT.value}/{file}: logits differ from JAX by {difference:.2g}, the"
      f" largest is {document['largest_logit']:.3g}"
    )


if __name__ == "__main__":
  app.run(_main)
