"""What NF4 makes of one weight matrix, taken apart for a look (training packs whole layers: `load_base`)."""

from dataclasses import dataclass

import torch

BLOCK = 64  # weights that share one scale


@dataclass(frozen=True)
class Packed:
    """A matrix before and after: `weight` and `restored` (out, in), the 16 `levels` in [-1, 1], a scale per block.

    `bits` a weight, scales included, by kind of storage.
    """

    weight: torch.Tensor
    restored: torch.Tensor
    levels: torch.Tensor
    scales: torch.Tensor
    bits: dict[str, float]

    @property
    def error(self) -> float:
        """Root mean square of what was lost, as a share of the weights' own."""
        return float((self.restored - self.weight).norm() / self.weight.norm())


def pack(weight: torch.Tensor) -> Packed:
    """Quantise a matrix (out, in) as the base's layers are: NF4 with scales that are packed to 8 bits themselves.

    Raises ValueError where its weights do not fill whole blocks of `BLOCK`.
    """
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    if weight.numel() % BLOCK:
        raise ValueError(f"{weight.numel()} weights do not fill blocks of {BLOCK}")
    codes, plain = quantize_4bit(weight, quant_type="nf4", blocksize=BLOCK)
    _, double = quantize_4bit(weight, quant_type="nf4", blocksize=BLOCK, compress_statistics=True)
    scales = {"NF4": plain.absmax.nbytes, "NF4, scales packed": double.absmax.nbytes + double.state2.absmax.nbytes}
    bits = {name: 8 * (codes.nbytes + size) / weight.numel() for name, size in scales.items()}
    restored = dequantize_4bit(codes, double)
    return Packed(weight, restored, plain.code, plain.absmax, {"fp32": 32.0, "bf16": 16.0, **bits})
