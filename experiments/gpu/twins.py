"""The supernets of experiments/benchmarks in PyTorch, on the GPU."""

import importlib.util
import time
from typing import Any

from experiments.gpu.programs import Way
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config

HAS_TORCH = importlib.util.find_spec("torch") is not None


def torch_way(
  kind: str, config: Config, channels_last: bool, amp: bool, compiled: str
) -> Way:
  """The twin of experiments/benchmarks on the GPU; compiled: a backend."""
  import torch

  from experiments.benchmarks import torch_supernet

  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  torch.manual_seed(0)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  part, net = config.space, problems.make_nets(config).supernet
  size, _, depth = net.image
  layout = torch.channels_last if channels_last else torch.contiguous_format
  with torch.device(device):
    model: Any = torch_supernet.Supernet(
      part["num_cells"],
      part["channels"],
      part["num_nodes"],
      torch_supernet.OPS[len(net.ops)],
      depth,
    ).to(memory_format=layout)
    if amp:
      model = _autocast(model, device)
    if compiled:
      model = torch.compile(model, backend=compiled)
    step = torch_supernet.make_step(kind, model)
    batches = [
      torch_supernet.random_batch(config.search.batch_size, depth, size, layout)
      for _ in range(2)
    ]
  steps = config.search.steps_per_dispatch

  def block() -> object:
    for _ in range(steps):
      loss = step(*batches)
    return loss.item()  # waits

  start = time.perf_counter()
  block()
  about = {"first_block_s": time.perf_counter() - start}
  if device == "cuda":
    torch.cuda.reset_peak_memory_stats()
    block()
    about["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
  return Way(block, about)


def _autocast(model: Any, device: str) -> Any:
  import torch

  class Autocast(torch.nn.Module):  # type: ignore[misc]
    """bfloat16 inside, float32 logits."""

    def __init__(self) -> None:
      super().__init__()
      self.net = model
      for name in ("cells", "mix_shape", "num_nodes", "num_reductions"):
        object.__setattr__(self, name, getattr(model, name))

    def forward(self, images: Any, normal: Any, reduce: Any) -> Any:
      with torch.autocast(device, torch.bfloat16):
        # Or float32 weights would make every sum float32.
        mixes = normal.to(torch.bfloat16), reduce.to(torch.bfloat16)
        return self.net(images, *mixes).float()

  return Autocast()
