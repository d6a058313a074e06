"""The members of the VoVNet family, for those as well who build none of them and need no torch.

Source: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object
Detection", CVPR Workshops 2019, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """Widths and depths of one member of the family, stages 2 to 5 in order."""

    stage_channels: tuple[int, int, int, int]
    output_channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


ARCHS = {
    "vovnet27_slim": Arch((64, 80, 96, 112), (128, 256, 384, 512), (1, 1, 1, 1)),
    "vovnet39": Arch((128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 2, 2)),
    "vovnet57": Arch((128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 4, 3)),
}
