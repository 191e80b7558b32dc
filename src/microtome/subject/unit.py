"""The address of one coordinate: site, basis, index."""

import re
from dataclasses import dataclass

from microtome.errors import UsageError


@dataclass(frozen=True, order=True)
class Unit:
    """One coordinate of one basis at one site.

    Examples
    --------
    >>> str(Unit("blocks.3.mlp.hidden", "", 584))
    'blocks.3.mlp.hidden[584]'
    >>> Unit.parse("blocks.3.resid_post/topk_sae[12]")
    Unit(site='blocks.3.resid_post', basis='topk_sae', index=12)
    """

    site: str
    basis: str
    index: int

    def __str__(self) -> str:
        return f"{self.site}{'/' + self.basis if self.basis else ''}[{self.index}]"

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """The unit that prints as `text`."""
        match = re.fullmatch(r"([^/\[\]]+)(?:/([^/\[\]]+))?\[(\d+)\]", text)
        if match is None:
            raise UsageError(f"a unit prints as 'site[index]' or 'site/basis[index]', got {text!r}.")
        return cls(match[1], match[2] or "", int(match[3]))
