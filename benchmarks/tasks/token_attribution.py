"""Attributions of a continuation, token by token."""

from harness.description import Benchmark, Case, Side, Target

PEER = "inseq input_x_gradient"

BENCHMARK = Benchmark(
    name="token_attribution",
    what="gradient times embedding of the probability of each of 8 new tokens, 8 prompts of 32 tokens, a small GPT-2",
    unit="run",
    cases=(
        Case(
            "8 new tokens", {"batch": 8, "length": 32, "new": 8, "vocabulary": 5000},
            quick={"batch": 2, "length": 8, "new": 3, "vocabulary": 500},
        ),
    ),
    sides=(
        Side("microtome", "generating:microtome"),
        Side(PEER, "generating:inseq", peer=True, environment="attribute"),
    ),
    targets=(Target(PEER, against="microtome", at_least=1.0),),
    warmup=1,
    rounds=9,
    notes=(
        "Compared are the shares of the prompts' tokens, in units of their standard deviation.",
        "Given what a decoder is to say, inseq takes one prompt at a time.",
    ),
)  # fmt: skip
