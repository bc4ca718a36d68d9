"""Bags and image sources -> shards (design: the way of a log). A unit is a bag, or a shard's worth of other images."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from training.data.shards import TARS
from training.errors import DataError, RecipeError
from training.files import Folder
from training.ingest.contact_sheet import KEPT, Example, draw_contact_sheet
from training.ingest.discovery import BagFile, find_bags
from training.ingest.images import plan_images
from training.ingest.settings import Settings
from training.ingest.splitting import SPLITS
from training.ingest.topics import plan_bags
from training.ingest.units import Unit, number_units
from training.ingest.workers import process_units
from training.run import Run

__all__ = ['Settings', 'bag_inputs', 'run']

CONTACT_SHEET = 'contact_sheet.jpg'
_logger = logging.getLogger(__name__)


def run(settings: Settings) -> dict[str, Any]:
    """Write the shards `train-NNNNNN` and `held_out-NNNNNN`, `contact_sheet.jpg` and the manifest, which is returned.

    The shards are the same, byte for byte, for any number of workers and after any number of interruptions; a bag that
    is done is not read again. Numbers are not without gaps: each bag has a range of its own.

    Raises:
        RecipeError: no bags and no images are named, or images that are labelled by disparity.
        DataError: a path leads to no bag; a bag lacks a topic, or a calibration that undistort needs; no bag can be
            read; not a single frame is kept for training.
        TrainingError: as of Run; a worker process died.
        OSError: a write failed. Shards that were finished stay, and the next run goes on from them.
    """
    if not (settings.bags or settings.images):
        raise RecipeError('ingest: name bags=[PATH, ...], or images')
    bags = find_bags(settings.bags)
    plans, fingerprints = plan_images(settings)
    # Before the run begins, so that a topic that is not there leaves no output folder to be in the way.
    of_bags, unreadable = plan_bags(bags, settings)
    inputs = bag_inputs(bags, unreadable)
    inputs |= {f'images-{number}': value for number, value in enumerate(fingerprints)}
    new_run = Run('ingest', settings, inputs, settings.output, writes=TARS)
    units = number_units(of_bags, plans, settings)
    if not units:
        raise DataError(f'no bag can be read: {"; ".join(unreadable.values())}')
    with new_run as run:
        if not run.finished:
            for text in unreadable.values():
                _logger.warning('%s', text)
            reports = _process(units, settings, run.folder)
            facts = {**_facts(reports), 'unreadable': unreadable}
            _check(facts)
            if settings.contact_sheet:
                sheet = draw_contact_sheet([_examples(one) for one in reports], _outcomes(facts), settings)
                run.folder.write(CONTACT_SHEET, sheet)
            run.note()  # for the seconds
            run.finish(**facts, images_per_second=round(facts['images'] / max(run.manifest['seconds'], 1e-3), 2))
        return run.manifest


def bag_inputs(bags: Iterable[BagFile], unreadable: Container[str]) -> dict[str, str]:
    """What a run with these bags depends on, by name: one that was mended is another, of the same messages."""
    return {bag.name: bag.fingerprint + (' unreadable' if bag.name in unreadable else '') for bag in bags}


def _process(units: Sequence[Unit], settings: Settings, folder: Folder) -> list[dict[str, Any]]:
    """The reports of all units, in their order."""
    # Enough for a row when an eighth of the units has such frames; not a row of each, of which there may be thousands.
    examples = min(settings.contact_sheet, math.ceil(8 * settings.contact_sheet / len(units)))
    with tqdm(total=sum(unit.plan.count for unit in units), unit='image', disable=None) as bar:
        for report in process_units(units, settings, folder, examples, bar.update):
            bar.set_postfix_str(report['name'])
    return [folder.read_json(unit.marker) for unit in units]


def _facts(reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the manifest says: sums, and by bag and topic."""
    facts: dict[str, Any] = {'bags': {}, 'shards': {}, 'damaged': {}, 'problems': {}}
    total: Counter[str] = Counter()
    for report in reports:
        name = report['name']
        of_bag = facts['bags'].setdefault(name, {})
        for topic, counts in report['counts'].items():
            of_bag[topic] = dict(Counter(of_bag.get(topic, {})) + Counter(counts))
            total.update(counts)
        facts['shards'] |= report['shards']
        if report['damage']:
            facts['damaged'][name] = report['damage']
            _logger.warning('%s: %s; it gave %s', name, report['damage'], dict(of_bag))
        if report['problems']:
            facts['problems'].setdefault(name, {}).update(report['problems'])
    metric_depth = total.pop('metric_depth', 0)
    facts |= {
        'images': sum(total[split] for split in SPLITS),
        'frames': sum(total.values()),
        **{split: total[split] for split in SPLITS},
        'metric_depth': metric_depth,
        'dropped': {reason: count for reason, count in sorted(total.items()) if reason not in SPLITS},
    }
    return facts


def _examples(report: Mapping[str, Any]) -> dict[str, list[Example]]:
    return {kind: [Example.from_json(one) for one in found] for kind, found in report['examples'].items()}


def _outcomes(facts: Mapping[str, Any]) -> dict[str, int]:
    return {KEPT: facts['images'], **facts['dropped']}


def _check(facts: Mapping[str, Any]) -> None:
    if not facts['train']:
        reasons = ', '.join(f'{count} {reason}' for reason, count in facts['dropped'].items())
        remedy = 'look at the thresholds in the recipe' if reasons else 'make held_out_fraction less'
        raise DataError(
            f'no frame of {facts["frames"]} is left for training (held out: {facts["held_out"]}; dropped: '
            f'{reasons or "none"}): {remedy}'
        )
    if not facts['held_out']:
        _logger.warning('no frame is held out: evaluation will have nothing that training has not seen')
