"""Networks and data sets -> scores per image, a table with the papers' values, and a report with pictures."""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import UNAVAILABLE_ERRORS, DepthEstimator, PrecisionUnavailableError
from depth_anything_ros.network import DepthAnything, weights_fingerprint
from training.data.sample import Dataset
from training.data.spec import make_dataset
from training.errors import DataError, RecipeError
from training.evaluation.comparison import compare
from training.evaluation.pictures import save_pictures
from training.evaluation.protocol import TRUTH_OF_PAIRS, Protocol, read_protocol
from training.evaluation.report import html_report
from training.evaluation.results import RESULTS, Result
from training.evaluation.running import choose, evaluate, pick
from training.evaluation.scoring import check_served
from training.evaluation.table import Section, markdown
from training.initial import trained_network
from training.recipe import free, settings_fingerprint
from training.run import Run

TABLE, REPORT = 'table.md', 'report.html'
_log = logging.getLogger(__name__)


@dataclass
class EvaluatedModel:
    """A network to evaluate.

    Attributes:
        name: in tables and file names.
        checkpoint: its file, or the name of a published one.
        architecture: of a file that does not say which network it holds, as the official .pth files.
        input_size: what the image's shorter side is scaled to, in pixels; 0: the network's own.
        paper: the row of the papers to compare with; '': that of the checkpoint's name, if it is a published one.
    """

    name: str
    checkpoint: str = free('')
    architecture: str = ''
    input_size: int = 0
    paper: str = free('')


@dataclass
class EvaluatedData:
    """A data set to evaluate on.

    Attributes:
        protocol: the name of one that comes along (`nyu`, `kitti`, `robot`, ...), or a YAML file.
        path: where the data is.
        options: of its reader, such as where a list lies, besides those of the protocol or instead of them.
        name: in tables and file names; '': that of the protocol.
    """

    protocol: str = free('')
    path: str = free('')
    options: dict[str, Any] = free(default_factory=dict)  # noqa: RUF009, it is a field
    name: str = ''

    def __post_init__(self) -> None:
        """Name it."""
        self.name = self.name or Path(self.protocol).stem


@dataclass
class Settings:
    """Settings of the stage `evaluate`.

    Attributes:
        models: the networks; each but the first is compared with the first.
        data: the data sets.
        output: folder or URL.
        max_images: of each data set, evenly spread; 0: all. Fewer than all are no neighbours in time, so flicker is not
            measured.
        pictures: how many images of each data set are in the report.
        seed: which ones, and of the confidence intervals' resampling.
        accept_license: agree to licences of published weights that forbid commercial use.
        device, precision, backend: of the predictions, see DepthEstimator.
        workers: processes that read ahead.
    """

    models: list[EvaluatedModel] = field(default_factory=list)
    data: list[EvaluatedData] = field(default_factory=list)
    output: str = free('')
    max_images: int = 0
    pictures: int = 8
    seed: int = 0
    accept_license: bool = free(False)
    device: str = free('auto')
    precision: Literal['auto', 'fp32', 'bf16', 'fp16', 'int8'] = 'fp32'
    backend: Literal['auto', 'torch', 'torch-compile', 'openvino', 'onnxruntime'] = 'torch'
    workers: int = free(1)

    def __post_init__(self) -> None:
        """Check the ranges and that names can be told apart."""
        if min(self.max_images, self.pictures, self.seed, self.workers) < 0:
            raise ValueError('max_images, pictures, seed and workers cannot be negative')
        for what, items in (('models', self.models), ('data', self.data)):
            names = [item.name for item in items]
            unfit = [name for name in names if not re.fullmatch(r'\w[\w.+-]*', name)]
            if unfit:
                raise ValueError(f'{what}: names are of letters, digits and _.+-, which {unfit[0]!r} is not')
            if len(set(names)) < len(names):
                raise ValueError(f'{what}: two of them have one name: {", ".join(names)}')


@dataclass(frozen=True)
class _Opened:
    """A data set, ready."""

    name: str
    protocol_name: str
    protocol: Protocol
    dataset: Dataset
    indices: list[int]
    pictured: list[int]

    def note(self, images: int, what: str = 'were scored') -> str:
        """In words, if the images are not those that the protocol is about."""
        expected = self.protocol.images
        if expected in (0, images):
            return ''
        return f'{images} images {what}, and the protocol is about {expected}: not comparable with the paper.'


def run(settings: Settings) -> dict[str, Any]:
    """Evaluate every network on every data set, and write `results.json`, `table.md` and `report.html`.

    Scores of a network on a data set are kept once they are complete: a run that was interrupted goes on with the next.

    Raises:
        RecipeError: no networks or data are named, or a protocol is not for a network.
        DataError: weights or data are not there, or nothing of a data set can be scored.
        TrainingError: a network predicts NaN or infinity.
    """
    if not settings.models or not settings.data:
        raise RecipeError('name at least one network (models) and one data set (data) to evaluate')
    opened = [_open(data, settings) for data in settings.data]
    fingerprints = {model.name: _check(model, opened, settings) for model in settings.models}
    inputs = {f'model {name}': digest for name, digest in fingerprints.items()}
    for data in opened:
        inputs[f'data {data.name}'] = data.dataset.fingerprint
        inputs[f'protocol {data.name}'] = settings_fingerprint(data.protocol)
    with Run('evaluate', settings, inputs, settings.output) as current:
        if not current.finished:
            for data in opened:
                # Before the hours that it takes.
                if note := data.note(len(data.indices), 'are to be scored'):
                    _log.warning('%s: %s', data.name, note)
            for model in settings.models:
                _evaluate_model(model, opened, settings, current)
            _finish(opened, settings, current, fingerprints)
        return current.manifest


def _open(data: EvaluatedData, settings: Settings) -> _Opened:
    protocol = read_protocol(data.protocol)
    options = {**protocol.data.options, **data.options}
    dataset = make_dataset(dataclasses.replace(protocol.data, path=data.path, options=options))
    indices = choose(len(dataset), settings.max_images)
    pictured = pick(indices, settings.pictures, settings.seed)
    return _Opened(data.name, Path(data.protocol).stem, protocol, dataset, indices, pictured)


def _check(model: EvaluatedModel, opened: list[_Opened], settings: Settings) -> str:
    """The digest of a network's weights; raises if it cannot be evaluated, before the work begins."""
    network = load_model(model, settings.accept_license)
    check_input_size(model, network.multiple)
    for data in opened:
        check_served(network.architecture.kind, data.protocol, f'{model.name} on {data.name}')
    return weights_fingerprint(network)


def load_model(model: EvaluatedModel, accept_license: bool) -> DepthAnything:
    """A network, in float32 on the CPU; raises RecipeError or DataError."""
    if not model.checkpoint:
        raise RecipeError(f'{model.name}: name its checkpoint, a file or one of {", ".join(checkpoints.model_names())}')
    try:
        return trained_network(model.checkpoint, model.architecture, accept_license)
    except DataError as error:
        raise DataError(f'{model.name}: {error}') from error


def open_estimator(model: EvaluatedModel, settings: Settings) -> DepthEstimator:
    """A network, ready to predict as the settings say; raises RecipeError or DataError."""
    network = load_model(model, settings.accept_license)
    try:
        return DepthEstimator(
            network,
            device=settings.device,
            precision=settings.precision,
            backend=settings.backend,
            input_size=model.input_size,
        )
    except (*UNAVAILABLE_ERRORS, PrecisionUnavailableError, ValueError) as error:
        raise RecipeError(f'{model.name}: {error}') from error


def check_input_size(model: EvaluatedModel, multiple: int) -> None:
    """Raise RecipeError for an input_size that is no multiple of what the network takes."""
    if model.input_size < 0 or model.input_size % multiple:
        raise RecipeError(f'{model.name}: input_size must be a multiple of {multiple}, got {model.input_size}')


def _evaluate_model(model: EvaluatedModel, opened: list[_Opened], settings: Settings, current: Run) -> None:
    results = current.manifest.get('results', {})
    missing = [data for data in opened if model.name not in results.get(data.name, {})]
    if not missing:
        return
    estimator = open_estimator(model, settings)
    for data in missing:
        summary = _evaluate_on(estimator, model.name, data, settings.workers, current)
        results = {**results, data.name: {**results.get(data.name, {}), model.name: summary}}
        current.note(results=results)
    estimator.close()


def _evaluate_on(estimator: DepthEstimator, model: str, data: _Opened, workers: int, current: Run) -> dict[str, Any]:
    pictured = frozenset(data.pictured)

    def watch(index: int, *found: Any) -> None:
        if index in pictured:
            save_pictures(current.folder, (model, data.name), index, *found)

    outcome = evaluate(estimator, data.dataset, data.indices, data.protocol, (model, data.name), workers, watch)
    outcome.result.save(current.folder)
    return outcome.summary()


def _finish(opened: list[_Opened], settings: Settings, current: Run, fingerprints: dict[str, str]) -> None:
    sections = [_section(data, settings, current) for data in opened]
    folder = current.folder
    folder.write_json(RESULTS, {'data': {section.data: _as_json(section) for section in sections}})
    folder.write(TABLE, markdown(sections).encode())
    pictured = {data.name: {index: data.dataset.key(index) for index in data.pictured} for data in opened}
    folder.write(REPORT, html_report(folder, sections, pictured).encode())
    summaries = [summary for section in sections for summary in section.summaries.values()]
    images, seconds = (sum(summary[part] for summary in summaries) for part in ('images', 'seconds'))
    current.finish(images=images, images_per_second=round(images / seconds, 3), weights=fingerprints)
    for section in sections:
        for verdict in section.verdicts():
            _log.info('%s: %s', section.data, verdict)


def _section(data: _Opened, settings: Settings, current: Run) -> Section:
    """All networks on one data set, in the settings' order."""
    names = [model.name for model in settings.models]
    rows = {model.name: data.protocol.paper.get(model.paper or model.checkpoint) for model in settings.models}
    metric = 'da2k' if data.protocol.truth == TRUTH_OF_PAIRS else 'abs_rel'
    load = functools.partial(Result.load, current.folder, data=data.name)
    first = load(model=names[0])
    note = data.note(len(first.images))
    if note:
        _log.warning('%s: %s', data.name, note)
    return Section(
        data=data.name,
        protocol=data.protocol_name,
        summaries={name: current.manifest['results'][data.name][name] for name in names},
        note=note,
        paper={name: row for name, row in rows.items() if row},
        comparisons={name: compare(first, load(model=name), metric, settings.seed) for name in names[1:]},
    )


def _as_json(section: Section) -> dict[str, Any]:
    return {
        'protocol': section.protocol,
        'note': section.note,
        'models': dict(section.summaries),
        'paper': dict(section.paper),
        'comparisons': {name: dataclasses.asdict(found) for name, found in section.comparisons.items()},
    }
