"""Which stretches of a recording are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.ingest.settings import Settings
from training.ingest.topics import BagPlan

TRAIN, HELD_OUT, GAP = 'train', 'held_out', 'gap'
SPLITS = (TRAIN, HELD_OUT)
# A topic that is logged once an hour makes no block.
_LEAST_FRAMES = 10


@dataclass(frozen=True)
class TimeBlocks:
    """The end of each of `count` equal stretches of a recording is held out.

    Neighbouring frames show nearly the same, so frames held out one by one would be known from training. What lies
    within gap_ns of a held-out block is neither trained with nor held out.

    start_ns, end_ns: of the recording, as far as it has images. share: of each stretch; 0: all is for training, 1: all
    is held out.
    """

    start_ns: int
    end_ns: int
    count: int = 1
    share: float = 0.0
    gap_ns: float = 0.0

    def split_at(self, time_ns: int) -> str:
        """`train`, `held_out` or `gap`."""
        if self.share in (0.0, 1.0):
            return HELD_OUT if self.share else TRAIN
        length = (self.end_ns - self.start_ns) / self.count
        stretch = min(max(int((time_ns - self.start_ns) // length), 0), self.count - 1)
        since = time_ns - self.start_ns - stretch * length
        before_block = length * (1 - self.share) - since
        if before_block <= 0:
            return HELD_OUT
        after_block = since if stretch else float('inf')
        return GAP if min(before_block, after_block) < self.gap_ns else TRAIN

    @property
    def most_runs(self) -> int:
        """How many uninterrupted runs a split has at most."""
        return self.count + 1


def split_bags(plans: Sequence[BagPlan], settings: Settings) -> list[TimeBlocks]:
    """The blocks of each bag: each about held_out_block_s long, at least one.

    Of bags in which a block would not be longer than the gap, whole ones are held out, evenly among them.
    """
    fraction, blocks, short = settings.held_out_fraction, [], 0
    for plan in plans:
        seconds = fraction * (plan.end_ns - plan.start_ns) / 1e9
        if fraction and seconds > settings.held_out_gap_s:
            count = min(seconds / settings.held_out_block_s, fraction * plan.count / _LEAST_FRAMES)
            gap_ns = settings.held_out_gap_s * 1e9
            blocks.append(TimeBlocks(plan.start_ns, plan.end_ns, max(1, round(count)), fraction, gap_ns))
        else:
            held_out = int((short + 1) * fraction) > int(short * fraction)
            short += 1
            blocks.append(TimeBlocks(plan.start_ns, plan.end_ns, share=float(held_out)))
    return blocks
