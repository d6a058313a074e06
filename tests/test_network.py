"""The network against an independent implementation, and against its published facts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vovnet import VovNet, model_cfgs
from torch import Tensor, nn

from models_vovnet.family import ARCHS
from models_vovnet.vovnet import build, vovnet39

# The same networks in the oracle's terms.
SLIM = {
    "stage_conv_chs": [64, 80, 96, 112],
    "stage_out_chs": [128, 256, 384, 512],
    "block_per_stage": [1, 1, 1, 1],
}
ORACLE_CFGS = {
    "vovnet27_slim": dict(model_cfgs["vovnet39a"], residual=True, **SLIM),
    "vovnet39": dict(model_cfgs["vovnet39a"], residual=True),
    "vovnet57": dict(model_cfgs["vovnet57a"], residual=True),
}


def randomise(network: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value of its own, so that no mix-up stays unseen."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        if isinstance(module, nn.Linear):
            module.bias.data.normal_()
    return network.eval()


def oracle_of(arch: str, state: dict[str, Tensor], **changes: Any) -> nn.Module:
    """Return timm's network with the values of `state`, mapped in order."""
    oracle: nn.Module = VovNet(ORACLE_CFGS[arch] | changes).eval()
    keys = list(oracle.state_dict())
    assert len(keys) == len(state)
    oracle.load_state_dict(dict(zip(keys, state.values(), strict=True)))
    return oracle


@pytest.mark.parametrize("arch", ARCHS)
def test_every_arch_answers_exactly_as_the_oracle(arch: str) -> None:
    network = randomise(build(arch))
    oracle = oracle_of(arch, network.state_dict())
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answer = network(pictures)
        assert torch.equal(answer, oracle(pictures))
    assert answer.shape == (2, 1000)


def test_an_odd_picture_size_takes_the_ceil_mode_of_the_oracle() -> None:
    network = randomise(build("vovnet27_slim"))
    oracle = oracle_of("vovnet27_slim", network.state_dict())
    pictures = torch.randn(1, 3, 197, 131, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.equal(network(pictures), oracle(pictures))


def test_without_the_residual_additions_the_answers_are_others() -> None:
    network = randomise(vovnet39())
    oracle = oracle_of("vovnet39", network.state_dict(), residual=False)
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert not torch.allclose(network(pictures), oracle(pictures), rtol=1e-2)


def test_vovnet39_has_the_published_parameters_and_multiplications() -> None:
    network = vovnet39().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 22_600_296
    macs = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal macs
        # Each output value of a convolution or linear layer costs one filter's worth.
        macs += out.numel() * module.weight[0].numel()  # type: ignore[index]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.device("meta"):
        network.to("meta")(torch.zeros(1, 3, 224, 224))
    assert round(macs / 1e9, 2) == 7.07


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("stem.stem_1/conv.weight", (64, 3, 3, 3)),
        ("stem.stem_1/norm.running_mean", (64,)),
        ("stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight", (128, 128, 3, 3)),
        ("stage2.OSA2_1.concat.OSA2_1_concat/conv.weight", (256, 768, 1, 1)),
        ("stage4.OSA4_2.layers.4.OSA4_2_4/norm.bias", (192,)),
        ("stage5.OSA5_2.concat.OSA5_2_concat/conv.weight", (1024, 2144, 1, 1)),
        ("classifier.weight", (1000, 1024)),
        ("classifier.bias", (1000,)),
    ],
)
def test_the_state_dict_has_the_published_keys(key: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = vovnet39().state_dict()
    assert tuple(state[key].shape) == shape
    # 39 convolutions with five batch norm entries each, and the classifier's two.
    assert len(state) == 39 * 6 + 2
