"""Convolutions in eager PyTorch, to be timed beside those of JAX.

A case is a dict with `kind` ("depthwise" or "dense"), `batch`, `size`
(pixels of a side), `channels`, `kernel`, `stride` and `dilation`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Case = Mapping[str, Any]
Call = Callable[[], object]

KINDS = ("depthwise", "dense")


def case_name(case: Case) -> str:
  """Returns e.g. `depthwise b64 28x28x16 k3 s1 d1`."""
  size = f"{case['size']}x{case['size']}x{case['channels']}"
  window = f"k{case['kernel']} s{case['stride']} d{case['dilation']}"
  return f"{case['kind']} b{case['batch']} {size} {window}"


def make_torch_case(
  case: Case, channels_last: bool = False
) -> tuple[Call, Call]:
  """Returns `(forward, forward_backward)`, calls without arguments.

  `forward` returns the output [B, C, h, w]; `forward_backward` returns the
  gradients with respect to the input and the weights of the inner product
  of the output with a fixed cotangent. Both run on the threads that the
  caller has set by `torch.set_num_threads`.

  Args:
    case: The convolution, as in the module's docstring.
    channels_last: Memory format of the input, weights and cotangent.

  Raises:
    ValueError: If `case["kind"]` is unknown.
  """
  if case["kind"] not in KINDS:
    raise ValueError(f"unknown kind {case['kind']!r}; choose one of {KINDS}")
  channels, kernel, size = case["channels"], case["kernel"], case["size"]
  depthwise = case["kind"] == "depthwise"
  layout = torch.channels_last if channels_last else torch.contiguous_format

  def randn(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=layout)

  x = randn(case["batch"], channels, size, size).requires_grad_()
  w = randn(channels, 1 if depthwise else channels, kernel, kernel)
  w.requires_grad_()

  def conv() -> Tensor:
    return F.conv2d(
      x,
      w,
      stride=case["stride"],
      padding=case["dilation"] * (kernel - 1) // 2,
      dilation=case["dilation"],
      groups=channels if depthwise else 1,
    )

  def forward() -> Tensor:
    with torch.no_grad():
      return conv()

  cotangent = randn(*forward().shape)

  def forward_backward() -> tuple[Tensor, ...]:
    return torch.autograd.grad(conv(), (x, w), cotangent)

  return forward, forward_backward


def time_call(call: Call, repeats: int) -> list[float]:
  """Returns the seconds of each of `repeats` calls after three warm-ups."""
  seconds = []
  for _ in range(3 + repeats):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
  return seconds[3:]


def time_convs(
  cases: Sequence[Case], repeats: int, channels_last: bool = False
) -> dict[str, list[float]]:
  """Returns the seconds of every case, forward and forward with backward.

  Args:
    cases: Convolutions, as in the module's docstring.
    repeats: Timed calls of each, after three that are not counted.
    channels_last: Memory format, as of `make_torch_case`.

  Returns:
    Seconds keyed by `case_name` and " forward" or " forward_backward".
  """
  torch.set_num_threads(2)
  seconds = {}
  for case in cases:
    calls = make_torch_case(case, channels_last)
    for part, call in zip(("forward", "forward_backward"), calls, strict=True):
      seconds[f"{case_name(case)} {part}"] = time_call(call, repeats)
  return seconds
