"""How a subject prints: the tree of its sites with shapes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


def tree(subject: "Subject") -> str:
    """Text shown for a subject: one line of facts, then sites; equal blocks are folded."""
    parameters = sum(p.numel() for p in subject.module.parameters())
    kind = subject.architecture.name if subject.architecture else type(subject.module).__name__
    lines = [f"Subject '{subject.name}' ({kind}, {parameters:,} parameters, {subject.dtype}, {subject.device})"]
    if not subject.trunks:
        for name, module in subject.module.named_modules():
            if name and not any(True for _ in module.children()):
                lines.append(f"  {name:<32} {type(module).__name__}")
        return "\n".join(lines)
    for trunk in subject.trunks:
        label = f"{trunk.stack.name}." if trunk.stack.name else ""
        d = trunk.dims
        lines.append(f"  {label}blocks 0..{d.blocks - 1}: d_model {d.d_model}, {d.heads} heads of {d.d_head}"
                     + (f" ({d.kv_heads} for keys and values)" if d.kv_heads != d.heads else "") + f", mlp {d.d_mlp}")
        for name, site in trunk.sites.items():
            if site.block in (None, 0):
                shown = name.replace("blocks.0.", "blocks.{i}.")
                axes = ", ".join(site.axes[:-len(site.shape)] + tuple(f"{a}={s}" for a, s in zip(
                    site.axes[-len(site.shape):], site.shape))) if site.at != "pattern" else ", ".join(site.axes)
                lines.append(f"    {shown:<28} [{axes}]")
    return "\n".join(lines)
