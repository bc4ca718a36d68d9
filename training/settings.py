"""The settings that the stages which train a network have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from training.data.augmentation import TrainView
from training.data.spec import DataSpec
from training.errors import RecipeError
from training.recipe import free


@dataclass
class TrainSettings:
    """Settings of the training loop; each is explained in the recipes (config/training).

    Raises:
        ValueError: a value is out of range, or two do not go together.
    """

    validation: list[DataSpec] = field(default_factory=list)
    output: str = free('')
    architecture: str = 'v2-small'
    encoder: str = free('pretrained')
    checkpoint: str = free('')
    accept_license: bool = free(False)
    size: list[int] = field(default_factory=lambda: [518, 518])
    sizes: list[list[int]] = field(default_factory=list)
    steps: int = 1000
    batch_size: int = 8
    encoder_lr: float = 5e-6
    decoder_lr: float = 5e-5
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    schedule: Literal['constant', 'linear', 'poly', 'cosine'] = 'linear'
    poly_power: float = 0.9
    warmup_steps: int = 0
    loss_stride: int = 1
    clip_grad: float = 0.0
    ema_decay: float = 0.0
    mixed_precision: Literal['no', 'bf16', 'fp16'] = 'no'
    seed: int = 0
    accumulate: int = free(1)
    gradient_checkpointing: bool = free(False)
    compile: bool = free(False)
    fused_optimizer: bool = free(False)
    channels_last: bool = free(False)
    device: Literal['auto', 'cpu'] = free('auto')
    workers: int = free(4)
    max_bad_fraction: float = free(0.01)
    validate_every: int = 1000
    validation_samples: int = 64
    checkpoint_every: int = free(1000)
    log_every: int = free(10)
    picture_every: int = free(1000)

    def __post_init__(self) -> None:
        positive = (
            'steps',
            'batch_size',
            'accumulate',
            'validate_every',
            'validation_samples',
            'poly_power',
            'loss_stride',
        )
        every = ('checkpoint_every', 'log_every', 'picture_every')
        self._check(lambda value: value > 0, 'more than 0', *positive, *every)
        not_negative = ('encoder_lr', 'decoder_lr', 'weight_decay', 'clip_grad', 'warmup_steps', 'seed', 'workers')
        self._check(lambda value: value >= 0, 'at least 0', *not_negative)
        self._check(lambda value: value < 2**32, 'less than 2^32', 'seed')
        self._check(lambda value: 0 <= value < 1, 'in [0, 1)', 'ema_decay')
        self._check(lambda value: 0 <= value <= 1, 'in [0, 1]', 'max_bad_fraction')
        for name, size in (('size', self.size), *(('each of sizes', size) for size in self.sizes)):
            if len(size) != 2 or min(size) < 1:
                raise ValueError(f'{name} is [height, width] in pixels, got {size}')
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f'betas are two numbers in [0, 1), got {self.betas}')
        if not self.encoder_lr + self.decoder_lr:
            raise ValueError('encoder_lr and decoder_lr are both 0: nothing would be learnt')
        if self.warmup_steps >= self.steps:
            raise ValueError(f'warmup_steps must be less than steps, got {self.warmup_steps} and {self.steps}')

    def crop(self, multiple: int) -> tuple[int, int]:
        """(height, width) of the views; raises RecipeError unless both are multiples."""
        return self._multiples('size', self.size, multiple)

    def seen(self, multiple: int) -> list[tuple[int, int]]:
        """(height, width) of what the network sees, at one step after another; errors as of crop."""
        return [self._multiples('sizes', size, multiple) for size in self.sizes] or [self.crop(multiple)]

    def _multiples(self, name: str, size: list[int], multiple: int) -> tuple[int, int]:
        height, width = size
        if height % multiple or width % multiple:
            raise RecipeError(f'{name}: {size}, of which {self.architecture} takes multiples of {multiple}')
        return height, width

    def _check(self, holds: Any, expected: str, *names: str) -> None:
        for name in names:
            # Written so that NaN does not pass.
            if not holds(getattr(self, name)):
                raise ValueError(f'{name} must be {expected}, got {getattr(self, name)}')


@dataclass
class RelativeSettings(TrainSettings):
    """Settings of the trainings of relative networks: the loss and the views. Errors as of TrainSettings."""

    gradient_weight: float = 2.0
    trim: float = 0.0
    edge_weight: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0
    border: float = 0.0
    degrade: float = 0.0
    flip: float = 0.5
    mask_sky: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(lambda value: value >= 0, 'at least 0', 'gradient_weight', 'edge_weight')
        self._check(lambda value: 0 <= value < 1, 'in [0, 1)', 'trim')
        self._check(lambda value: 0 < value <= 1, 'in (0, 1]', 'zoom')
        self._check(lambda value: 0 <= value <= 90, 'in [0, 90], degrees', 'roll')
        self._check(lambda value: 0 <= value <= 1, 'in [0, 1]', 'border', 'degrade', 'flip')

    def view(self, multiple: int, *, strong: bool, mask_sky: bool) -> TrainView:
        """What is trained on, with sides that are multiples; raises RecipeError, as crop does."""
        return TrainView(
            size=self.crop(multiple),
            multiple=multiple,
            zoom=self.zoom,
            roll=self.roll,
            border=self.border,
            degrade=self.degrade,
            flip=self.flip,
            strong=strong,
            mask_sky=mask_sky,
        )
