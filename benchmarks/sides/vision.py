"""Networks for pictures in the shapes of ResNet-18 and VGG-11 with batch norms, written plainly, and pictures for them."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

CLASSES = 10


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and channels == out
        self.downsample = None if same else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + around)


class ResNet(nn.Module):
    """Four stages of two blocks, 11 million weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        for i, (before, after) in enumerate(pairwise(sizes), start=1):
            stage = nn.Sequential(Block(before, after, 1 if i == 1 else 2), Block(after, after, 1))
            setattr(self, f"layer{i}", stage)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(sizes[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG(nn.Module):
    """Eight convolutions with batch norms and three dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for size in (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0):  # 0: a pool
            if size:
                layers += [nn.Conv2d(before, size * width, 3, padding=1), nn.BatchNorm2d(size * width), nn.ReLU(inplace=True)]
                before = size * width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7)
        dense = 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(before * 49, dense), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(dense, dense), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(dense, CLASSES),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def resnet(settings: dict) -> ResNet:
    """In eval mode, statistics of noise."""
    return _settled(lambda: ResNet(settings["width"]))


def vgg(settings: dict) -> VGG:
    """In eval mode, statistics of noise."""
    return _settled(lambda: VGG(settings["width"]))


def _settled(make: Callable[[], nn.Module]):
    """Drawn from one seed; the batch norms have seen one batch of noise, so that activations keep their size."""
    torch.manual_seed(0)
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum, module.eps = None, 1e-12  # zennit's merged norms still divide by sqrt(1 + eps)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        net.train()(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    return net.eval()


def pictures(settings: dict) -> tuple[Tensor, Tensor]:
    """Pictures [n, 3, size, size] and classes [n]."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((settings["pictures"], 3, settings["size"], settings["size"]), dtype=np.float32)
    return torch.from_numpy(x), torch.from_numpy(draw.integers(CLASSES, size=len(x)))


@cache
def table(features: int) -> nn.Sequential:
    """A network for rows of a table."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, CLASSES))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)
    return net.eval()


def rows(settings: dict, features: int) -> tuple[Tensor, Tensor]:
    """Rows [n, features] and classes [n]."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((settings["rows"], features), dtype=np.float32)
    return torch.from_numpy(x), torch.from_numpy(draw.integers(CLASSES, size=len(x)))
