"""depth-anything bench: how long the estimator takes for a frame on this machine, without ROS."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from depth_anything_ros.cli.errors import CommandError
from depth_anything_ros.cli.files import replacing
from depth_anything_ros.cli.pipeline import make_estimator
from depth_anything_ros.estimation import BackendUnavailableError, DepthEstimator

_logger = logging.getLogger(__name__)

_PARTS = ('preprocess', 'network', 'postprocess', 'total')
_WARM_UP_FRAMES = 2
_COLUMNS = ('backend', 'device', 'precision', 'network size', *(f'{part} p50 / p95' for part in _PARTS))


def run(args: Namespace) -> int:
    """Run the command: a Markdown table on stdout, and JSON if asked for; raises CommandError."""
    backends = [args.backend] if args.backend else _installed_backends(args.device)
    results = []
    for backend in backends:
        try:
            estimator = make_estimator(args, backend)
            results.append(_measure(estimator, args))
        except CommandError as error:
            if backend == backends[0]:
                raise
            _logger.warning('%s is left out: %s', backend, error)
    model, machine = estimator.source.name, _machine()
    width, height = args.size
    print(f'{model}, {width}x{height} image, {args.frames} frames, milliseconds')
    print(f'{machine["cpu"]}, {machine["cores"]} cores, {machine["gpu"] or "no GPU"}, torch {machine["torch"]}\n')
    print(_table(results))
    if args.json is not None:
        report = {'model': model, 'image_size': [width, height], 'frames': args.frames, 'machine': machine}
        with replacing(args.json) as unfinished:
            unfinished.write_text(json.dumps({**report, 'results': results}, indent=2) + '\n', encoding='utf-8')
    return 0


def _installed_backends(device: str) -> list[str]:
    """Those that are ready within seconds; the first has to work."""
    if device.startswith('openvino:'):
        return ['openvino']
    on_cpu = device == 'cpu' or (device == 'auto' and not torch.cuda.is_available())
    optional = ('openvino', 'onnxruntime') if on_cpu else ('onnxruntime',)
    return ['torch', *(name for name in optional if importlib.util.find_spec(name) is not None)]


def _measure(estimator: DepthEstimator, args: Namespace) -> dict:
    """Time frames one by one; latencies in milliseconds. Raises CommandError if the backend cannot serve them."""
    width, height = args.size
    # Noise: the time does not depend on the picture, but a constant one could be a special case somewhere.
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    try:
        for _ in range(_WARM_UP_FRAMES):
            prediction = estimator(image)
    except BackendUnavailableError as error:
        raise CommandError(str(error)) from error
    timings = [
        estimator(image).timings for _ in tqdm(range(args.frames), desc=estimator.backend, unit='frame', disable=None)
    ]
    latency_ms = {}
    for part in _PARTS:
        values = [1000.0 * getattr(timing, f'{part}_s') for timing in timings]
        latency_ms[part] = dict(zip(('p50', 'p95'), np.percentile(values, [50, 95]).tolist(), strict=True))
    result = {
        'backend': estimator.backend,
        'device': estimator.hardware,
        'precision': estimator.precision,
        'network_size': list(prediction.network_size[::-1]),
        'latency_ms': latency_ms,
    }
    estimator.close()
    return result


def _table(results: list[dict]) -> str:
    rows = [_COLUMNS, ('---',) * len(_COLUMNS)]
    for result in results:
        latencies = (result['latency_ms'][part] for part in _PARTS)
        size = 'x'.join(map(str, result['network_size']))
        figures = (f'{latency["p50"]:.1f} / {latency["p95"]:.1f}' for latency in latencies)
        rows.append((result['backend'], result['device'], result['precision'], size, *figures))
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _machine() -> dict:
    return {
        'cpu': _cpu_model(),
        'cores': os.cpu_count(),
        'torch_threads': torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'platform': platform.platform(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }


def _cpu_model() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding='ascii', errors='replace').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
