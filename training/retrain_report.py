"""What retrain says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.checkpoints.catalogue import forbids_commercial_use
from training.evaluation.comparison import Comparison

UNKNOWN = 'unknown'


@dataclass(frozen=True)
class Verdict:
    """Of the new network against the old.

    verdict: `better`, `worse`, `no difference seen`, or `unknown`. words: with the numbers, or why it is unknown.
    """

    verdict: str
    words: str


def unknown(why: str) -> Verdict:
    """Nothing can be said against metric depth."""
    return Verdict(UNKNOWN, f'{UNKNOWN}: {why}')


def write_report(
    stages: Mapping[str, Mapping[str, Any]],
    baseline: str,
    model: str,
    input_size: int,
    verdict: Verdict,
    agreement: Comparison | None,
) -> str:
    """The report, as Markdown.

    Args:
        stages: the finished manifests of `ingest`, `label` and `student`.
        baseline: what the new network was compared with.
        model: the path of the new network.
        input_size: what images' shorter side was scaled to in the comparison, pixels; 0: the network's own.
        verdict: against metric depth.
        agreement: with the teacher; None where nothing was held out.
    """
    ingested, labelled, learnt = (stages[name] for name in ('ingest', 'label', 'student'))
    dropped = ', '.join(f'{count} {reason}' for reason, count in ingested['dropped'].items()) or 'none'
    at_size = f', their shorter side scaled to {input_size} pixels' if input_size else ''
    # The node is to run what was judged.
    arguments = [f'checkpoint:={model}']
    if input_size:
        arguments.append(f'input_size:={input_size}')
    if forbids_commercial_use(learnt['licence'] or ''):
        arguments.append('accept_license:=true')
    lines = [
        "# Retraining on this robot's log",
        f'**The new network against the old ({baseline}), on held-out frames with metric depth{at_size}: '
        f'{verdict.words}.**',
        _advice(verdict.verdict),
    ]
    if agreement is not None:
        lines.append(
            "Distance to the teacher's labels on held-out frames, which says whether the student has learnt from its "
            f'teacher, and not that the teacher is right: {agreement.sentence()}.'
        )
    lines += [
        f'- Frames: {ingested["frames"]} in the log, {ingested["train"]} trained on, {ingested["held_out"]} held out; '
        f'dropped: {dropped}.',
        *(f'- Damaged: {name}: {what}.' for name, what in ingested['damaged'].items()),
        *(f'- Unreadable: {what}.' for what in ingested['unreadable'].values()),
        f'- Labels of {labelled["teacher"]["name"]} ({labelled["teacher"]["fingerprint"]}): {labelled["images"]}, '
        f'{labelled["failed"]} failed.',
        f'- Student: {learnt["steps"]} steps, loss {learnt["losses"]["total"]:.4g} at the end.',
        f'- Licence of the new network: {learnt["licence"] or "unknown: that of its start or of its teacher is"}.',
        f'- The network: `{model}`, sha256 `{learnt["sha256"]}`. The pictures: `evaluation/report.html`.'
        if verdict.verdict != UNKNOWN
        else f'- The network: `{model}`, sha256 `{learnt["sha256"]}`.',
        'To run it:',
        f'```\nros2 launch depth_anything_ros depth.launch.py {" ".join(arguments)}\n```',
    ]
    return '\n\n'.join(lines) + '\n'


def _advice(verdict: str) -> str:
    return {
        'better': 'Look at the pictures before the robot drives with it: a mean hides the one wall that it misses.',
        'worse': 'Do not use it. Fewer steps, a lower learning rate or more logs are the first things to try.',
        'no difference seen': 'Which is not the same as equal. There is no reason to change a robot that works.',
        UNKNOWN: 'Nothing here says that it is better than what the robot has.',
    }[verdict]
