"""The settings of the smoke run, and what each of its trainings changes in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.recipe import check_left_out, free
from training.stages import label, student, synthesize, teacher


@dataclass
class Settings:
    """Settings of the smoke run; config/training/smoke.yaml explains each.

    Attributes:
        output: folder on this machine.
        processes: stages side by side, each with one thread; 0: one after another in this process.
        seed: of the weights, the order of samples, the corruption and the confidence intervals.
        unlabelled_scenes: worlds whose pictures the teacher labels; other ones than synthesize.scenes.
        corrupted: share of each corrupted label's pixels that is wrong.
        pictures: how many held-out images the evaluation's report shows.
        gradient_weight: of the teacher with gradient matching, against 0 of the other.
        cutmix: of the student with perturbation, against 0 of the other.
        trim: of the trimmed student, against 0 of the other.
        synthesize, teacher, label, student: what the runs of these stages have in common.
    """

    output: str = free('')
    processes: int = free(2)
    seed: int = 0
    unlabelled_scenes: int = 90
    corrupted: float = 0.1
    pictures: int = 4
    gradient_weight: float = 2.0
    cutmix: float = 0.5
    trim: float = 0.1
    synthesize: synthesize.Settings = field(default_factory=synthesize.Settings)
    teacher: teacher.Settings = field(default_factory=teacher.Settings)
    label: label.Settings = field(default_factory=label.Settings)
    student: student.Settings = field(default_factory=student.Settings)

    def __post_init__(self) -> None:
        """Check the ranges, and that nothing is given which the run itself fills."""
        filled = {
            'synthesize': ('output', 'workers'),
            'teacher': ('data', 'validation', 'output', 'gradient_weight', 'seed'),
            'label': ('shards', 'split', 'teacher', 'input_size', 'output'),
            'student': ('unlabelled', 'labelled', 'validation', 'output', 'strong', 'cutmix', 'trim', 'seed'),
        }
        check_left_out(self, filled, "the run, some from the run's own settings: leave it out")
        if self.unlabelled_scenes < 1:
            raise ValueError('unlabelled_scenes must be at least 1')
        if min(self.seed, self.pictures, self.processes) < 0:
            raise ValueError('seed, pictures and processes cannot be negative')
        for name in ('corrupted', 'trim'):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f'{name} must be in (0, 1), got {getattr(self, name)}: its row compares it with 0')
        if not self.gradient_weight > 0 or not 0 < self.cutmix <= 1:
            raise ValueError('gradient_weight must be more than 0 and cutmix in (0, 1]: their rows compare them with 0')
        if not self.synthesize.held_out_fraction:
            raise ValueError('synthesize.held_out_fraction must be more than 0: the table is of held-out scenes')
        if self.teacher.architecture != self.student.architecture:
            raise ValueError('teacher and student have one architecture here: the same untrained network is both start')
