"""Figures that others published for VoVNet-39, each with its source.

Source of all of them: the VoVNet-39 guide of the Ascend ModelZoo (ACL_PyTorch, contrib, cv,
classfication, vovnet39). `MZ-old` is its state of March 2022, `MZ-310P` that of June 2022.
"""

from __future__ import annotations

WEIGHTS_MD5 = "23717a6cadd9729a704f894381444237"
WEIGHTS_URL = "http://www.dropbox.com/s/1lnzsgnixd8gjra/vovnet39_torchvision.pth"

# Top1 and Top5 in percent on the 50,000 images of the ImageNet validation set.
SOURCE_TOP1, SOURCE_TOP5 = 76.77, 93.43  # the training code's own README
OM_TOP1, OM_TOP5 = 76.78, 93.43  # on the card, MZ-old
ALLOWED_DROP = 1.0  # points; the ModelZoo's rule
VALIDATION_IMAGES = 50_000

# A 310 card carries four chips, and the tool measures one of them.
CHIPS_PER_310_CARD = 4
