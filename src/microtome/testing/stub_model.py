"""A stand-in for a language model: rules on a lexicon that answer the prompts of `llm_counterfactual`, some of them badly."""

import json
from dataclasses import dataclass

from microtome.rng import rng
from microtome.stimuli.reviews import NEGATIVE, PLACES, POSITIVE, TOPICS

#: Words that stand for each other when a text is turned.
OPPOSITE = {**dict(zip(POSITIVE, NEGATIVE)), **dict(zip(NEGATIVE, POSITIVE))}
OTHER_TOPIC = {word: TOPICS[(i + 1) % len(TOPICS)] for i, word in enumerate(TOPICS)}
OTHER_PLACE = {word: PLACES[(i + 1) % len(PLACES)] for i, word in enumerate(PLACES)}
BAD = ("I am sorry, but", '{"features": ', "[]", '{"spans": {"tone": ["zzz"]}}', "")


@dataclass(frozen=True)
class StubModel:
    """Answers prompts by rules.

    Attributes
    ----------
    feature : "tone" (swaps adjectives for their opposites) or "topic" (swaps topics and places)
    malformed : share of answers that are not in the format asked for
    """

    feature: str = "tone"
    malformed: float = 0.0
    seed: int = 0

    def __call__(self, prompt: str) -> str:
        """The answer to one prompt; the same prompt gets the same answer."""
        draw = rng(self.seed, "stub", prompt)
        if draw.random() < self.malformed:
            return BAD[int(draw.integers(len(BAD)))]
        text = prompt.partition("<text>")[2].partition("</text>")[0].strip()
        swaps = OPPOSITE if self.feature == "tone" else {**OTHER_TOPIC, **OTHER_PLACE}
        if "latent features" in prompt:
            return json.dumps({"features": [self.feature]})
        words = [w for w in text.split() if w in swaps]
        if "which words" in prompt:
            return f"Here it is: {json.dumps({'spans': {self.feature: words}})}"
        return json.dumps({"text": " ".join(swaps.get(w, w) for w in text.split())})
