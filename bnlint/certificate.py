"""The measured proof that goes with a repair, as a frozen value that knows no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was measured of one repaired layer, or why it was refused.

    Errors are relative and measured in float64 on the layer's own device, the largest over all probes.

    Attributes:
        module: Path of the layer in the model.
        class_before: Class of the layer as it was.
        class_after: Class that it was repaired to.
        rung: `native` (torch's fused operators), `unstop` (its own operations without the stops),
            `collective` (these, and statistics that are summed over processes with their gradient) or `refused`.
        accepted: Whether the repair is proved.
        reason: Why not, or why no rung above was taken; "" for the first.
        kept: Conventions of the user's layer that differ from torch's and were kept.
        adopted: Conventions of the user's layer that were given up for torch's.
        stale: Whether it has running statistics that training never updated, and evaluation uses.
        device: Where it was measured.
        shapes: Shapes of the probes.
        output_error: Outputs in training mode, after against before.
        eval_error: Outputs in eval mode, after against before.
        buffer_error: Buffers after a training step, after against before.
        gradient_error: Input gradient after the repair, against the float64 reference; where there is none to
            trust, that of the other gradients alone.
        gradient_error_before: Input gradient before the repair, against the same reference.
        mean_identity: |sum(dL/dx)| per group of normalized values, relative: zero if the gradient flows through the
            mean; 0 for RMSNorm, which has none, and where it is not known what is a group.
        numeric_error: Input gradient after the repair, against finite differences of the repaired layer (right is below
            0.001), where there is no reference to trust, as with hooks and NumPy; else None.
    """

    module: str
    class_before: str
    class_after: str
    rung: str
    accepted: bool
    reason: str = ""
    kept: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    stale: bool = False
    device: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
    output_error: float = 0.0
    eval_error: float = 0.0
    buffer_error: float = 0.0
    gradient_error: float = 0.0
    gradient_error_before: float = 0.0
    mean_identity: float = 0.0
    numeric_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
