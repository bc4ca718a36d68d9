"""A folder of bags -> a network for this robot: ingest, label, student, evaluate, as one command.

Each part is its stage, in a folder of its own in the output, and is gone on with as that stage is. At the end there is
a checkpoint for the node, and a report that says in numbers whether it is better than what was there before, on the
part of the log that it was not trained on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from depth_anything_ros.network import weights_fingerprint
from training.agreement import compare_agreement
from training.data.shards import ShardDataset
from training.data.spec import DataSpec
from training.errors import RecipeError
from training.evaluation.comparison import Comparison
from training.evaluation.results import RESULTS
from training.evaluation.running import NothingScoredError
from training.files import Folder
from training.ingest.discovery import find_bags
from training.ingest.images import plan_images
from training.ingest.metric_depth import OTHER_TIME
from training.ingest.splitting import HELD_OUT, TRAIN
from training.ingest.topics import plan_bags
from training.recipe import check_left_out, free
from training.retrain_report import Verdict, unknown, write_report
from training.run import Run
from training.stages import evaluate, ingest, label, student
from training.trainer import MODEL

REPORT = 'report.md'
SHARDS, LABELS, STUDENT, EVALUATION = 'shards', 'labels', 'student', 'evaluation'
OLD, NEW = 'old', 'new'
# Of config/training/protocols.
_PROTOCOL = 'robot'
_log = logging.getLogger(__name__)


@dataclass
class Settings:
    """Settings of `retrain`; config/training/robot.yaml explains each.

    Attributes:
        bags: the robot's logs, as of ingest.
        output: folder on this machine.
        baseline: what the new network is compared with, a file or a published name; '': what the student starts from
            (student.checkpoint), else the teacher.
        baseline_architecture: of a baseline's file that does not say which network it holds.
        input_size: of the comparison, what images' shorter side is scaled to; 0: the network's own.
        pictures: how many held-out images the evaluation's report shows.
        ingest, label, student: of these stages; what retrain itself fills must stay empty there.
    """

    bags: list[str] = free(default_factory=list)  # noqa: RUF009, it is a field
    output: str = free('')
    baseline: str = free('')
    baseline_architecture: str = ''
    input_size: int = 0
    pictures: int = 8
    ingest: ingest.Settings = field(default_factory=ingest.Settings)
    label: label.Settings = field(default_factory=label.Settings)
    student: student.Settings = field(default_factory=student.Settings)

    def __post_init__(self) -> None:
        """Check that nothing is given which retrain itself fills."""
        filled = {
            'ingest': ('bags', 'output'),
            'label': ('shards', 'split', 'output'),
            'student': ('unlabelled', 'validation', 'output'),
        }
        check_left_out(self, filled, 'retrain: leave it out, and give bags and output')
        if self.input_size < 0 or self.pictures < 0:
            raise ValueError('input_size and pictures cannot be negative')


def run(settings: Settings) -> dict[str, Any]:
    """Retrain; returns the finished manifest.

    The output has `model.safetensors`, `report.md`, and a folder for each stage: `shards`, `labels`, `student`,
    `evaluation`. The manifest has the `verdict`: `better`, `worse`, `no difference seen`, or `unknown`.

    Raises:
        RecipeError: no bags or no baseline; several processes; and as the stages.
        DataError, TrainingError, OSError: as the stages. What is done stays, and the same command goes on from there.
    """
    inputs = _check(settings)
    bags = find_bags(settings.bags)
    _, unreadable = plan_bags(bags, settings.ingest)
    inputs |= {f'bag {name}': value for name, value in ingest.bag_inputs(bags, unreadable).items()}
    with Run('retrain', settings, inputs, settings.output) as current:
        if not current.finished:
            _run(settings, current)
        return current.manifest


def _check(settings: Settings) -> dict[str, str]:
    """What can be known to fail is to fail before hours of work; returns the fingerprints of all but the bags."""
    if not settings.bags:
        raise RecipeError('retrain: name bags=[PATH, ...]')
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        raise RecipeError('retrain is one process: for several, run its stages one by one, and student by accelerate')
    if settings.output and not Folder(settings.output).local:
        raise RecipeError(f'{settings.output}: retrain needs a folder on this machine, or a mounted one')
    inputs = {'teacher': label.teacher_facts(settings.label)[0]}
    baseline = _baseline(settings)
    old = evaluate.load_model(baseline, settings.student.accept_license or settings.label.accept_license)
    evaluate.check_input_size(baseline, old.multiple)
    new, of_student = student.check(settings.student)
    evaluate.check_input_size(dataclasses.replace(baseline, name=NEW), new.multiple)
    inputs |= {'baseline': weights_fingerprint(old), **{f'student {name}': value for name, value in of_student.items()}}
    return inputs | {f'images {i}': value for i, value in enumerate(plan_images(settings.ingest)[1])}


def _run(settings: Settings, current: Run) -> None:
    output = current.folder.path
    shards, labels = f'{output}/{SHARDS}', f'{output}/{LABELS}'
    _log.info('1 of 4: ingest')
    ingested = ingest.run(dataclasses.replace(settings.ingest, bags=settings.bags, output=shards))
    _log.info('2 of 4: label')
    labelled = label.run(dataclasses.replace(settings.label, shards=shards, output=labels))
    _log.info('3 of 4: student')
    held_out = ingested[HELD_OUT]
    student_settings = dataclasses.replace(
        settings.student,
        unlabelled=[DataSpec('shards', shards, TRAIN, labels)],
        validation=[DataSpec('shards', shards, HELD_OUT, labels)] if held_out else [],
        output=f'{output}/{STUDENT}',
    )
    learnt = student.run(student_settings)
    _log.info('4 of 4: evaluate')
    comparison = _comparison(settings, output)
    agreement = _agreement(comparison, output) if held_out else None
    verdict = _evaluate(comparison, output, ingested)
    with open(f'{output}/{STUDENT}/{MODEL}', 'rb') as trained, current.folder.writing(MODEL) as file:
        shutil.copyfileobj(trained, file)
    stages = {'ingest': ingested, 'label': labelled, 'student': learnt}
    report = write_report(
        stages, comparison.models[0].checkpoint, f'{output}/{MODEL}', settings.input_size, verdict, agreement
    )
    current.folder.write(REPORT, report.encode())
    current.finish(
        model=MODEL,
        sha256=learnt['sha256'],
        licence=learnt['licence'],
        verdict=verdict.verdict,
        verdict_in_words=verdict.words,
        agreement_with_teacher=None if agreement is None else dataclasses.asdict(agreement),
        images=ingested['images'],
        images_per_second={name: stage['images_per_second'] for name, stage in stages.items()},
    )
    _log.info('the new network against the old: %s', verdict.words)


def _baseline(settings: Settings) -> evaluate.EvaluatedModel:
    """What the new network is compared with."""
    chosen, architecture = settings.baseline, settings.baseline_architecture
    if not chosen and settings.student.checkpoint:
        chosen, architecture = settings.student.checkpoint, architecture or settings.student.architecture
    elif not chosen:
        chosen, architecture = settings.label.teacher, architecture or settings.label.architecture
    if chosen.endswith('.onnx'):
        raise RecipeError(f'the new network cannot be compared with {chosen}: name a checkpoint as baseline')
    return evaluate.EvaluatedModel(OLD, chosen, architecture, settings.input_size)


def _comparison(settings: Settings, output: str) -> evaluate.Settings:
    """How the old and the new network in the output folder are compared."""
    trained = f'{output}/{STUDENT}/{MODEL}'
    return evaluate.Settings(
        models=[_baseline(settings), evaluate.EvaluatedModel(NEW, trained, input_size=settings.input_size)],
        data=[evaluate.EvaluatedData(_PROTOCOL, f'{output}/{SHARDS}')],
        output=f'{output}/{EVALUATION}',
        pictures=settings.pictures,
        accept_license=settings.student.accept_license or settings.label.accept_license,
        device=settings.student.device,
    )


def _agreement(comparison: evaluate.Settings, output: str) -> Comparison:
    """Of the old and the new network with the teacher, on what is held out."""
    held_out = ShardDataset(f'{output}/{SHARDS}', HELD_OUT, f'{output}/{LABELS}')
    estimators = {model.name: evaluate.open_estimator(model, comparison) for model in comparison.models}
    try:
        return compare_agreement(estimators, held_out, _PROTOCOL)
    finally:
        for estimator in estimators.values():
            estimator.close()


def _evaluate(comparison: evaluate.Settings, output: str, ingested: Mapping[str, Any]) -> Verdict:
    """Against the metric depth in the log."""
    if not ingested[HELD_OUT]:
        return unknown(
            'no frame of the log was held out: it is too short, or has no images where a block is held out; make '
            'ingest.held_out_gap_s shorter than ingest.held_out_fraction of a bag, or ingest.held_out_block_s shorter'
        )
    if not ShardDataset(f'{output}/{SHARDS}', HELD_OUT).count('points.npy'):
        to_do = 'record a depth image or a LiDAR cloud with it, and name ingest.depth_topics or ingest.cloud_topics'
        return unknown(f'the held-out part of the log has no metric depth: {_refused_depth(ingested) or to_do}')
    try:
        evaluate.run(comparison)
    except NothingScoredError as error:
        return unknown(f'the metric depth of the held-out part of the log is too little for a score: {error}')
    found = Folder(comparison.output).read_json(RESULTS)['data'][_PROTOCOL]['comparisons'][NEW]
    return Verdict(found['verdict'], Comparison(**found).sentence())


def _refused_depth(ingested: Mapping[str, Any]) -> str:
    """Why ingest mostly could not use depth that was in the log, with its topic; '' if nothing is known of such."""
    found: Counter[str] = Counter()
    for name, problems in ingested['problems'].items():
        for problem, count in problems.items():
            topic = problem.partition(': ')[0]
            # Those of images have their own topics, and other images than bags' none.
            if topic.startswith('/') and topic not in ingested['bags'][name]:
                found[problem] += count
    # Where clocks differ nothing else is said; a map that was published once matches hardly a frame, and is no trouble.
    return max(found, key=lambda problem: (OTHER_TIME not in problem, found[problem]), default='')
