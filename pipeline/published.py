"""Figures that others published for VoVNet-39, each with its source.

Source of all of them: the VoVNet-39 guide of the Ascend ModelZoo (ACL_PyTorch, contrib, cv,
classfication, vovnet39). `MZ-old` is its state of March 2022, `MZ-310P` that of June 2022 and
`MZ-new` that of December 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

# Top1 and Top5 in percent on the 50,000 images of the ImageNet validation set.
SOURCE_TOP1, SOURCE_TOP5 = 76.77, 93.43  # the training code's own README
OM_TOP1, OM_TOP5 = 76.78, 93.43  # on the card, MZ-old
ALLOWED_DROP = 1.0  # points; the ModelZoo's rule
VALIDATION_IMAGES = 50_000

# A 310 card carries four chips, and the tool measures one of them.
CHIPS_PER_310_CARD = 4


@dataclass(frozen=True)
class Speed:
    """Published rates of one batch size in samples/s; None where a source has none.

    `chip_310` and `e2e_310` (MZ-old) are one chip of a 310 card, as the perf file gives them: the
    Interface rate and the end-to-end rate. `chip_310p` (MZ-310P) is the Interface rate of the
    310P, which is one chip. The `card_` figures (MZ-new) are whole cards; the 310's do not match
    MZ-old, and the source does not say why.
    """

    batch_size: int
    chip_310: float | None
    e2e_310: float | None
    chip_310p: float
    card_310: float
    card_t4: float
    card_310p: float

    @property
    def card_310_old(self) -> float | None:
        """The rate of a whole 310 card in MZ-old: four times its chip's."""
        return None if self.chip_310 is None else self.chip_310 * CHIPS_PER_310_CARD


SPEEDS = (
    Speed(1, 281.608, 190.286, 838.101, 1128, 657, 832.6),
    Speed(4, 354.792, 194.167, 1702.79, 1318, 1210.6, 1767.6),
    Speed(8, 364.129, 143.83, 1334.48, 1375, 1359.6, 1756.6),
    # The prose of MZ-310P says 1355.53, the perf file that it shows says 1335.53.
    Speed(16, 382.566, 132.399, 1335.53, 1483, 1402.9, 1728.6),
    Speed(32, 382.396, 122.051, 1408.41, 1483, 1493.3, 1703.5),
    Speed(64, None, None, 1557.35, 1219, 1533.7, 1551.2),
)
