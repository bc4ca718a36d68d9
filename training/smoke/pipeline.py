"""The runs of the stages, and which network each row of the table is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import Prediction, Timings
from training.data.shards import ShardDataset
from training.data.spec import DataSpec
from training.evaluation.protocol import read_protocol
from training.evaluation.scoring import score
from training.initial import initial_network
from training.smoke.corruption import corrupt_labels
from training.smoke.processes import run_stages
from training.smoke.settings import Settings
from training.stages import evaluate
from training.stages.synthesize import TRAIN
from training.trainer import MODEL

PROTOCOL = 'synthetic'
UNTRAINED = 'untrained'
TEACHER, TEACHER_WITHOUT = 'teacher', 'teacher-no-gradient'
STUDENT, PERTURBED = 'student', 'student-perturbed'
CORRUPTED, TRIMMED = 'student-corrupted', 'student-corrupted-trimmed'
TRAINED = (TEACHER, TEACHER_WITHOUT, STUDENT, PERTURBED, CORRUPTED, TRIMMED)


class Pipeline:
    """Everything that the smoke run makes, in its output folder; what is there is not made again."""

    def __init__(self, settings: Settings, output: Path) -> None:
        self._settings, self._output = settings, output

    def run(self) -> dict[str, float]:
        """Run all stages; returns the mean AbsRel of the clean and of the corrupted pseudo-labels."""
        self._save_untrained()
        # Each of the two uses all processes itself.
        self._run({name: ('synthesize', self._scenes(name)) for name in ('labelled', 'unlabelled')}, 1)
        self._run({name: ('teacher', self._teacher(name)) for name in (TEACHER, TEACHER_WITHOUT)})
        self._run({'labels': ('label', self._label())})
        corrupt_labels(
            self._at('unlabelled'),
            self._at('labels'),
            self._at('labels-corrupted'),
            self._settings.corrupted,
            self._settings.seed,
        )
        students = (STUDENT, PERTURBED, CORRUPTED, TRIMMED)
        self._run({name: ('student', self._student(name)) for name in students})
        self._run({'evaluation': ('evaluate', self.evaluation())})
        return {labels: self._error_of(labels) for labels in ('labels', 'labels-corrupted')}

    def evaluation(self) -> evaluate.Settings:
        """Of all networks on the held-out scenes."""
        size = min(self._settings.student.size)
        untrained = evaluate.EvaluatedModel(UNTRAINED, self._at(f'{UNTRAINED}.safetensors'), input_size=size)
        trained = [evaluate.EvaluatedModel(name, self._at(f'{name}/{MODEL}'), input_size=size) for name in TRAINED]
        return evaluate.Settings(
            models=[untrained, *trained],
            data=[evaluate.EvaluatedData(PROTOCOL, self._at('labelled'))],
            output=self._at('evaluation'),
            pictures=self._settings.pictures,
            seed=self._settings.seed,
            device='cpu',
            workers=0,
        )

    def _run(self, jobs: dict[str, tuple[str, Any]], at_most: int | None = None) -> None:
        processes = self._settings.processes
        run_stages(jobs, self._output, processes if at_most is None else min(at_most, processes))

    def _at(self, name: str) -> str:
        return str(self._output / name)

    def _save_untrained(self) -> None:
        """What every training starts from: the same seed gives the same random head."""
        start = self._settings.student
        network = initial_network(start.architecture, start.encoder, seed=self._settings.seed)
        checkpoints.save(network, self._at(f'{UNTRAINED}.safetensors'))

    def _scenes(self, name: str) -> Any:
        settings = replace(self._settings.synthesize, output=self._at(name), workers=self._settings.processes)
        if name == 'unlabelled':
            # Another seed: other scenes.
            return replace(
                settings, scenes=self._settings.unlabelled_scenes, held_out_fraction=0.0, seed=settings.seed + 1
            )
        return settings

    def _teacher(self, name: str) -> Any:
        return replace(
            self._settings.teacher,
            data=[DataSpec('shards', self._at('labelled'), TRAIN)],
            gradient_weight=self._settings.gradient_weight if name == TEACHER else 0.0,
            seed=self._settings.seed,
            output=self._at(name),
        )

    def _label(self) -> Any:
        return replace(
            self._settings.label,
            shards=self._at('unlabelled'),
            split=TRAIN,
            teacher=self._at(f'{TEACHER}/{MODEL}'),
            input_size=min(self._settings.teacher.size),
            output=self._at('labels'),
        )

    def _student(self, name: str) -> Any:
        corrupted = name in (CORRUPTED, TRIMMED)
        labels = self._at('labels-corrupted' if corrupted else 'labels')
        return replace(
            self._settings.student,
            unlabelled=[DataSpec('shards', self._at('unlabelled'), TRAIN, labels)],
            strong=name == PERTURBED,
            cutmix=self._settings.cutmix if name == PERTURBED else 0.0,
            trim=self._settings.trim if name == TRIMMED else 0.0,
            seed=self._settings.seed,
            output=self._at(name),
        )

    def _error_of(self, labels: str) -> float:
        """Mean AbsRel of pseudo-labels, against the depth of the scenes that nobody was to know."""
        protocol = replace(read_protocol(PROTOCOL), edges=False)
        labelled = ShardDataset(self._at('unlabelled'), TRAIN, self._at(labels))
        errors = []
        for index in range(len(labelled)):
            sample = labelled[index]
            label = Prediction(sample.disparity, 'disparity', sample.disparity.shape, Timings(0.0, 0.0, 0.0))
            errors.append(score(label, sample, protocol).scores['abs_rel'])
        return float(np.mean(errors))
