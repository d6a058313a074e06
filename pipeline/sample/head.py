"""A VoVNet-39 that tells the sample's classes apart, made without a step of training.

The weights are seeded random numbers, the batch-norm statistics are those of one batch of
pictures, and the linear layer is a ridge regression in closed form on the standardised features,
`W = (Z'Z + p I)^-1 Z'Y`, with the standardisation folded into it (Hoerl and Kennard, "Ridge
Regression", Technometrics 12, 1970).
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_vovnet.vovnet import VoVNet, vovnet39
from pipeline import progress

BATCH_SIZE = 30  # pictures in the network at once
PENALTY = 200.0  # accuracy on held-out pictures is flat from 100 to 300
PREFIX = "module."  # as the published file has it, which a parallel training run wrote


def fit(
    pictures: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    seed: int,
    threads: int,
) -> OrderedDict[str, Tensor]:
    """Return a checkpoint in the published form, fitted to `pictures`.

    `pictures` are `(N, 3, 224, 224)` and normalised, `labels` are class ids. The first
    `BATCH_SIZE` pictures set the batch-norm statistics, so they should be of every class.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            network = vovnet39(classes)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            features = _features(network, torch.from_numpy(pictures))
            weight, bias = _head(features, labels, classes, np.random.default_rng(seed))
            network.classifier.weight.copy_(torch.from_numpy(weight))
            network.classifier.bias.copy_(torch.from_numpy(bias))
    finally:
        torch.set_num_threads(threads_before)
    state = network.state_dict()
    return OrderedDict((PREFIX + key, value.contiguous()) for key, value in state.items())


def _features(network: VoVNet, pictures: Tensor) -> NDArray[np.float64]:
    """Take the batch-norm statistics from the first batch; return the features of all."""
    batches = pictures.split(BATCH_SIZE)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = norms[0].momentum
    found = []
    with progress.track("fitting the sample's checkpoint", len(batches) + 1, "batches") as done:
        for norm in norms:
            norm.momentum = 1.0  # the running statistics become this batch's own
        network.train().features(_channels_last(batches[0]))
        for norm in norms:
            norm.momentum = usual
        network.eval()
        done(1)
        for number, batch in enumerate(batches):
            found.append(network.features(_channels_last(batch)).double())
            done(number + 2)
    return torch.cat(found).numpy()


def _channels_last(batch: Tensor) -> Tensor:
    # torch's convolutions on a CPU are a quarter faster in this layout.
    return batch.contiguous(memory_format=torch.channels_last)


def _head(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight `(classes, F)` and bias `(classes,)` of the linear layer."""
    used = np.unique(labels)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-9] = np.inf  # a feature that is always the same tells nothing
    z = (features - mean) / spread
    target = (labels[:, None] == used).astype(np.float64)
    share = target.mean(axis=0)
    # With fewer pictures than features the equal form Z'(ZZ' + pI)^-1 is the smaller system.
    gram = z @ z.T + PENALTY * np.eye(len(z))
    fitted = z.T @ np.linalg.solve(gram, target - share)
    scores = z @ fitted + share

    # Every other class is a random mean of those in use, less twice the spread of their scores:
    # a live output that comes after them on pictures like these, and never first on any.
    mixture = rng.dirichlet(np.full(len(used), 0.1), classes).T
    weight, bias = fitted @ mixture, share @ mixture - 2 * np.ptp(scores)
    weight[:, used], bias[used] = fitted, share

    weight /= spread[:, None]
    bias -= mean @ weight
    return weight.T.astype(np.float32), bias.astype(np.float32)
