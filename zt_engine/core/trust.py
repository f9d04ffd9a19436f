"""The trust score: integers only, pessimistic about the unknown, capped by the weakest pillar.

    pillar = sum of weight * goodness * confidence           millionths of a point, 0 to 100 points
    W      = (device, subject, context, each by its weight) / 100
    T      = max(0, min(W, min(device, subject) + slack) - penalty)

Without the cap, a perfect sign-in from a browser nobody knows would score like a managed device. Without the pessimism
(unknown is worth nothing), withholding a bad fact would raise the score. And a score never opens anything by itself:
gates are Rego's, the score only ranks what the gates let through.

How the parts are cached: `read_device` once per version of a record, `read_subject` once per token, `pillar_at` once
per decision tick, `combine` on every request. `core.trust_explain` itemises the same numbers on demand.
"""

# ruff: noqa: FURB136, PLR1730 - `combine` runs on every request, and `min` costs a call
from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from device_inventory.device import DeviceRecord
from device_inventory.facts import Method
from zt_engine.core.identity import Binding, Subject
from zt_engine.core.trust_model import POINT, TrustModel, best_goodness
from zt_engine.core.trust_readings import Pillar, pillar_at, read_device, read_subject

__all__ = [
    "NO_DEVICE_PILLAR",
    "Pillar",
    "TrustScore",
    "combine",
    "context_points",
    "device_points",
    "reach",
    "risk_penalty",
    "subject_points",
]

NO_DEVICE_PILLAR: Final = Pillar(0, 0, 0)


class TrustScore(Struct, frozen=True, gc=False):
    """The score of one subject, device and situation together; all but `exact` are whole points, rounded down."""

    score: int
    best: int
    """If a fresh report and the strongest sign-in had nothing but good to say."""
    after_step_up: int
    """After the strongest sign-in just now, with nothing else changed."""
    device: int
    subject: int
    context: int
    exact: int
    """In millionths of a point; `score` is its floor."""

    @property
    def pillars(self) -> dict[str, int]:
        """The three pillars in whole points, as the policy input names them."""
        return {"device": self.device, "subject": self.subject, "context": self.context}


def device_points(model: TrustModel, record: DeviceRecord | None, *, tick_end: int) -> Pillar:
    """The device pillar at the end of a tick; nothing without a record."""
    return pillar_at(read_device(model, record), tick_end)


def subject_points(
    model: TrustModel, subject: Subject, *, binding: Binding, tick_end: int, strongest: str | None = None
) -> Pillar:
    """The subject pillar at the end of a tick; `strongest` as in `read_subject`."""
    return pillar_at(read_subject(model, subject, binding=binding, strongest=strongest), tick_end)


def context_points(model: TrustModel, *, location: str, path: str, in_hours: bool, behaviour: str = "normal") -> Pillar:
    """The context pillar: where from (`model.locate`), by which path, when, and how it behaves.

    A path or behaviour the model does not list is worth nothing. Only a risk overlay says anything but `normal`.
    """
    factors = model.context
    exact = 1000 * (
        factors.behaviour * factors.behaviour_values.get(behaviour, 0)
        + factors.location * factors.location_values.get(location, 0)
        + factors.path * factors.path_values.get(path, 0)
        + factors.hours * (factors.inside if in_hours else factors.outside)
    )
    return Pillar(exact, exact, exact)


def combine(model: TrustModel, device: Pillar, subject: Pillar, context: Pillar, penalty: int = 0) -> TrustScore:
    """The score of three pillars less a risk penalty (whole points, from `risk_penalty`)."""
    d_weight, s_weight = model.device_weight, model.subject_weight
    slack, lost = model.slack * POINT, penalty * POINT
    d, s, c = device.exact, subject.exact, context.exact
    c_share = model.context_weight * c

    weighted = (d_weight * d + s_weight * s + c_share) // 100
    cap = (d if d < s else s) + slack
    exact = (weighted if weighted < cap else cap) - lost

    again = subject.stepped_up
    weighted = (d_weight * d + s_weight * again + c_share) // 100
    cap = (d if d < again else again) + slack
    after = (weighted if weighted < cap else cap) - lost

    good, again = device.best, subject.best
    weighted = (d_weight * good + s_weight * again + c_share) // 100
    cap = (good if good < again else again) + slack
    best = (weighted if weighted < cap else cap) - lost

    if exact < 0:
        exact = 0
    return TrustScore(
        exact // POINT,
        best // POINT if best > 0 else 0,
        after // POINT if after > 0 else 0,
        d // POINT,
        s // POINT,
        c // POINT,
        exact,
    )


def risk_penalty(model: TrustModel, risks: Iterable[tuple[str, str]]) -> int:
    """Points to take off for `(family, level)` signals: the worst of each family, summed, up to the model's cap.

    Fails closed: an unknown level counts as its family's worst, an unknown family as the whole cap.
    """
    worst: dict[str, int] = {}
    for family, level in risks:
        levels = model.penalties.get(family)
        points = model.penalty_cap if not levels else levels.get(level, max(levels.values()))
        worst[family] = max(points, worst.get(family, 0))
    return min(sum(worst.values()), model.penalty_cap)


def reach(model: TrustModel, method: Method) -> int:
    """The highest exact score when every device fact comes by `method` and all else is perfect."""
    share = model.methods[method]
    device = sum(
        factor.weight * (max if factor.any_part else min)(best_goodness(part) for part in factor.parts) * share
        for factor in model.device
    )
    perfect = Pillar(100 * POINT, 100 * POINT, 100 * POINT)
    return combine(model, Pillar(device, device, device), perfect, perfect).exact
