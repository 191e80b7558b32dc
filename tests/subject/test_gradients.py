"""Gradients against autograd on the raw module; what they leave untouched."""

import pytest
import torch
from subject_slow import convolutional, language, metric_for, noise
from torch import nn

from microtome.errors import EditTouchedNothing, SiteError
from microtome.subject.edit import ablate, scale, steer
from microtome.subject.subject import Subject


def test_gradients_equal_autograd_of_the_raw_module():
    subject, images = convolutional()
    raw = nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in subject.module))
    values, grads = subject.gradients(images, ["0", "1", "2", "5"], lambda logits: logits[:, 1] ** 2)
    x, kept = images, {}
    for name, module in raw.named_children():
        x = module(x)
        kept[name] = x
        x.retain_grad()
    (x[:, 1] ** 2).sum().backward()
    assert torch.equal(values, (x[:, 1] ** 2).detach())
    for name, grad in grads.items():
        torch.testing.assert_close(grad, kept[name].grad, atol=1e-7, rtol=1e-6)
    subject.module.zero_grad(set_to_none=True)


@pytest.mark.parametrize("pad", [None, "right", "left"])
def test_gradients_at_a_language_model(pad):
    subject, inputs = language("llama", pad)
    metric = metric_for(inputs)
    names = ["embed", "blocks.0.attn.z", "blocks.1.resid_pre", "blocks.1.mlp.hidden"]
    values, grads = subject.gradients(inputs, names, metric)
    embed = subject.module.model.embed_tokens(inputs["input_ids"]).detach().requires_grad_(True)
    given = {k: v for k, v in subject.inputs(inputs).items() if k != "input_ids"}
    if pad:
        given["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    logits = subject.module(inputs_embeds=embed, **given, use_cache=False).logits
    expected = metric(metric.read(logits))
    torch.testing.assert_close(values, expected.detach(), atol=1e-6, rtol=1e-5)
    (grad,) = torch.autograd.grad(expected.sum(), embed)
    torch.testing.assert_close(grads["embed"], grad, atol=1e-6, rtol=1e-4)
    assert all(grads[n].shape[:2] == embed.shape[:2] for n in names)


def test_a_gradient_is_taken_after_the_edits():
    subject, images = convolutional()
    _, plain = subject.gradients(images, ["6"], lambda logits: logits[:, 0])
    values, edited = subject.gradients(images, ["0"], lambda logits: logits.sum(-1), edits=[ablate("2", how="zero")])
    assert torch.equal(plain["6"], torch.tensor([1.0, 0, 0, 0]).expand(3, 4))
    assert float(edited["0"].abs().max()) == 0.0
    assert values.shape == (3,)


def test_flags_and_gradients_of_parameters_are_left_alone():
    subject, images = convolutional()
    subject.module[0].weight.requires_grad_(False)
    subject.module[2].weight.grad = torch.ones_like(subject.module[2].weight)
    before = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in subject.module.parameters()]

    def check():
        for parameter, (flag, grad) in zip(subject.module.parameters(), before):
            assert parameter.requires_grad is flag
            assert parameter.grad is None if grad is None else torch.equal(parameter.grad, grad)

    subject.gradients(images, ["0"], lambda logits: logits[:, 0])
    check()
    with pytest.raises(ZeroDivisionError):
        subject.gradients(images, ["0"], lambda logits: 1 / 0)
    check()
    with torch.no_grad():
        _, grads = subject.gradients(images, ["0"], lambda logits: logits[:, 0])
    assert not grads["0"].requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype):
    subject, inputs = language("gpt2", "right")
    reference = subject.gradients(inputs, ["blocks.0.resid_post"], metric_for(inputs))[1]["blocks.0.resid_post"]
    subject.module.to(dtype)
    values, grads = subject.gradients(inputs, ["blocks.0.resid_post"], metric_for(inputs))
    grad = grads["blocks.0.resid_post"]
    assert grad.dtype == dtype == values.dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.1
    assert float((grad.float() - reference).norm() / reference.norm()) < tolerance
    run = subject.run(inputs, edits=[steer("blocks.0.resid_post", noise(32)), scale("blocks.1.resid_post", 0.5)])
    assert run.logits.dtype == dtype


def test_what_cannot_be_differentiated_is_refused():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.a(x)

    subject = Subject(Unused())
    with pytest.raises(SiteError, match="b never fired"):
        subject.gradients(noise(2, 3), ["b"], lambda logits: logits[:, 0])
    with pytest.raises(EditTouchedNothing):
        subject.gradients(noise(2, 3), ["a"], lambda logits: logits[:, 0], edits=[ablate("b", how="zero")])


def test_whole_numbers_in_the_middle_are_refused_by_name():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.pick, self.table = nn.Linear(3, 4), nn.Identity(), nn.Embedding(4, 2)

        def forward(self, x):
            return self.table(self.pick(self.first(x).argmax(-1)))

    subject = Subject(Rounded())
    with pytest.raises(SiteError, match=r"first in .* has no gradient: nothing that can be differentiated"):
        subject.gradients(noise(2, 3), ["first"], lambda logits: logits[:, 0])
    with pytest.raises(SiteError, match=r"pick .*whole numbers"):
        subject.gradients(noise(2, 3), ["pick"], lambda logits: logits[:, 0])
    assert all(p.requires_grad for p in subject.module.parameters())
    with pytest.raises(RuntimeError, match="must match the size"):  # any other error stays what it is
        subject.gradients(noise(2, 3), ["table"], lambda logits: logits[:, 0] + torch.zeros(7))
