"""A latent on attention outputs splits exactly by head and source token, whatever the architecture."""

import pytest
import torch

import microtome as mt
from microtome.decompose import FeatureAttribution, SparseDictionary, direct_feature_attribution, head_shares
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.organisms.small import decoder
from microtome.subject.basis import Identity
from microtome.subject.inputs import Inputs

SITE = "blocks.1.attn.z"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dictionary(width=16, latents=5, **changed):
    parts = {"W_enc": draw(width, latents), "b_enc": draw(latents, seed=1), "W_dec": draw(latents, width, seed=2),
             "b_dec": draw(width, seed=3), **changed}  # fmt: skip
    return SparseDictionary(changed.pop("site", SITE), **{k: v for k, v in parts.items() if k != "site"})


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def subject(request):
    return mt.Subject(decoder(13, layers=2, width=16, heads=4, context=12, family=request.param))


def ids(n=3, length=7):
    return Inputs({"input_ids": torch.randint(13, (n, length), generator=torch.Generator().manual_seed(0))})


@pytest.mark.parametrize("position", [-1, 0, 3])
@pytest.mark.parametrize("centred", [True, False])
def test_the_parts_add_up_to_the_preactivation(subject, position, centred):
    basis = dictionary(centred=centred)
    found = direct_feature_attribution(subject, ids(), basis, latent=2, position=position)
    z = subject.run(ids(), record=[SITE])[SITE][:, position].flatten(1)
    torch.testing.assert_close(found.preactivation.float(), basis.preactivations(z)[:, 2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.parts.sum((1, 2)) + found.bias, found.preactivation, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.by_head().sum(1), found.by_source().sum(1))


def test_each_part_of_direct_feature_attribution_is_exact_by_hand(subject):
    basis, latent = dictionary(), 4
    found = direct_feature_attribution(subject, ids(), basis, latent=latent)
    run = subject.run(ids(), record=["blocks.1.attn.pattern", "blocks.1.attn.v"])
    pattern, values = run["blocks.1.attn.pattern"], run["blocks.1.attn.v"]
    for n in range(3):
        for h in range(4):
            for s in range(7):
                w = basis.W_enc[4 * h : 4 * h + 4, latent]
                want = float(pattern[n, h, 6, s] * (values[n, s, h] @ w))
                assert float(found.parts[n, h, s]) == pytest.approx(want, abs=1e-5)


def test_no_later_token_takes_part(subject):
    found = direct_feature_attribution(subject, ids(), dictionary(), latent=0, position=3)
    assert float(found.parts[:, :, 4:].abs().max()) < 1e-12


def test_a_position_for_each_sample(subject):
    basis, place = dictionary(), torch.tensor([2, -1, 4])
    found = direct_feature_attribution(subject, ids(), basis, latent=1, position=place)
    for n, p in enumerate(place.tolist()):
        alone = direct_feature_attribution(subject, ids()[n : n + 1], basis, latent=1, position=p)
        torch.testing.assert_close(found.parts[n], alone.parts[0], atol=1e-6, rtol=1e-5)
    share = found.source_share(torch.tensor([0, 1, 2]))
    by = found.by_source().abs()
    assert float(share[2]) == pytest.approx(float(by[2, 2] / by[2].sum()))


def test_the_finding_names_the_head_that_gives_most():
    parts = 0.1 * draw(20, 4, 7).abs().double()
    parts[:, 2, 3] += 2.0
    found = FeatureAttribution(parts, 0.0, parts.sum((1, 2)), "latent 9").finding()
    assert found.verdict == "supported"
    assert found.claim.startswith("Head 2 gives latent 9")
    even = FeatureAttribution(draw(20, 4, 7).double(), 0.0, draw(20).double()).finding()
    assert even.nulls[0].p > 0.05
    with pytest.raises(Degenerate, match="two samples"):
        FeatureAttribution(parts[:1], 0.0, parts[:1].sum((1, 2))).finding()


def test_samples_of_different_lengths():
    subject = mt.load("organism:language")
    texts = subject.organism.examples(6)
    site = "blocks.1.attn.z"
    width = subject.record(texts, [site]).matrix().shape[1]
    found = direct_feature_attribution(subject, texts, dictionary(width, site=site), latent=1)
    torch.testing.assert_close(found.parts.sum((1, 2)) + found.bias, found.preactivation, atol=1e-4, rtol=1e-4)


def test_shares_of_heads():
    shares = head_shares(dictionary(), 4)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    w = dictionary().W_dec[3]
    assert float(shares[3, 1]) == pytest.approx(float(w[4:8].norm() / sum(w[4 * h : 4 * h + 4].norm() for h in range(4))))
    with pytest.raises(ShapeError, match="3 heads"):
        head_shares(dictionary(), 3)


def test_refusals(subject):
    for basis, latent, words in (
        (dictionary(site="blocks.1.mlp.out"), 0, "attn.z"), (Identity(SITE, 16), 0, "linear"), (dictionary(), 5, r"0\.\.4"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            direct_feature_attribution(subject, ids(), basis, latent=latent)
    with pytest.raises(ShapeError, match="4 heads of 4"):
        direct_feature_attribution(subject, ids(), dictionary(12), latent=0)
    with pytest.raises(ShapeError, match="shortest has 7"):
        direct_feature_attribution(subject, ids(), dictionary(), latent=0, position=7)
