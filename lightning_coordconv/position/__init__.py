"""Public API: measure whether position matters for a model and its data, and advise where to add coordinates."""

from lightning_coordconv.position.advice import Advice, advise
from lightning_coordconv.position.dependence import Dependence, Share, measure_dependence
from lightning_coordconv.position.figures import draw_advice
from lightning_coordconv.position.frames import Frames, check_frames
from lightning_coordconv.position.keypoints import measure_spread
from lightning_coordconv.position.observations import Observations, observe
from lightning_coordconv.position.placement import Placement, place
from lightning_coordconv.position.readout import StageReadout, read_positions
from lightning_coordconv.position.translation import measure_translation

__all__ = [
    "Advice",
    "Dependence",
    "Frames",
    "Observations",
    "Placement",
    "Share",
    "StageReadout",
    "advise",
    "check_frames",
    "draw_advice",
    "measure_dependence",
    "measure_spread",
    "measure_translation",
    "observe",
    "place",
    "read_positions",
]
