"""One case of `depth-anything bench`, in a process of its own: what it holds and how it is timed.

Run with a case as JSON; answers on its standard output, a line of JSON each: first what it is, then, for each number N
on its standard input, the times of N frames. At the end of the input it says how much memory it took, and on CUDA what
the network's operations would take at the rate of large matrices, and ends. Instead of any of these it may say in
`error` why it cannot be had, and ends.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from depth_anything_ros.benchmark.memory import memory
from depth_anything_ros.benchmark.picture import made_up_picture
from depth_anything_ros.cli.errors import CommandError

PARTS = ('preprocess', 'network', 'postprocess', 'total')
_WARM_UP_FRAMES = 2


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        model, checkpoint, device, precision, backend, input_size, accept_license: as of DepthEstimator.
        size: (width, height) of the image.
        reference: '' for this package; otherwise a setting of Hugging Face's transformers, see bench_reference.
    """

    model: str
    checkpoint: str
    device: str
    precision: str
    backend: str
    input_size: int
    accept_license: bool
    size: tuple[int, int]
    reference: str = ''

    def to_json(self) -> str:
        """As text for the process."""
        return json.dumps(asdict(self))


# Seconds of each part of a frame.
Timed = Callable[[np.ndarray], dict[str, float]]


def main() -> int:
    """Serve the case that is given as the only argument."""
    with _answers() as answers:
        try:
            _serve(Case(**json.loads(sys.argv[1])), answers)
        except _unavailable() as error:
            _say(answers, {'error': str(error)})
    return 0


def _serve(case: Case, answers: TextIO) -> None:
    """Answer until the input ends; raises what _unavailable lists."""
    width, height = case.size
    image = made_up_picture(height, width)
    start = perf_counter()
    facts, frame = _make(case, image)
    facts['start_s'] = perf_counter() - start
    for _ in range(_WARM_UP_FRAMES):
        frame(image)
    _say(answers, facts)
    for line in sys.stdin:
        timed = [frame(image) for _ in range(int(line))]
        _say(answers, {part: [1e3 * times[part] for times in timed] for part in PARTS})
    last_words = memory(facts['device'])
    if facts['device'].startswith('cuda') and not case.reference:
        # When the memory has been counted, of which it takes some itself.
        last_words |= _floor(facts)
    _say(answers, last_words)


def _floor(facts: dict[str, Any]) -> dict[str, float]:
    """See matrix_floor; nothing where the GPU has no memory left for it: what was timed is worth telling without."""
    import torch  # noqa: PLC0415 - it takes seconds

    from depth_anything_ros.cli.bench_floor import matrix_floor  # noqa: PLC0415

    try:
        return matrix_floor(facts['architecture'], facts['network_size'], facts['device'], facts['precision'])
    except torch.cuda.OutOfMemoryError as error:
        print(f'no floor: {error}', file=sys.stderr)
        return {}


def _answers() -> TextIO:
    """Our own standard output; what libraries print there goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, fact: dict[str, Any]) -> None:
    print(json.dumps(fact), file=answers, flush=True)


def _unavailable() -> tuple[type[Exception], ...]:
    from depth_anything_ros.estimation import UNAVAILABLE_ERRORS  # noqa: PLC0415

    return (CommandError, *UNAVAILABLE_ERRORS, ValueError)


def _make(case: Case, image: np.ndarray) -> tuple[dict[str, Any], Timed]:
    """What it is, and what times a frame, when the first, of this image, is predicted."""
    if case.reference:
        from depth_anything_ros.cli.bench_reference import Reference  # noqa: PLC0415 - optional

        reference = Reference(case)
        reference(image)
        return reference.facts, reference
    from depth_anything_ros.cli.pipeline import make_estimator  # noqa: PLC0415 - torch takes seconds

    estimator = make_estimator(Namespace(**asdict(case)), case.backend)
    seen = estimator(image).network_size
    facts = {
        'model': estimator.source.name,
        'architecture': estimator.architecture,
        'backend': estimator.backend,
        'device': estimator.hardware,
        'precision': estimator.precision,
        'network_size': list(seen[::-1]),
    }

    def frame(image: np.ndarray) -> dict[str, float]:
        start = perf_counter()
        timings = estimator(image).timings
        total = perf_counter() - start
        return {
            'preprocess': timings.preprocess_s,
            'network': timings.network_s,
            'postprocess': timings.postprocess_s,
            'total': total,
        }

    return facts, frame


if __name__ == '__main__':
    sys.exit(main())
