"""What can be watched of a training."""

import os

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.monitor import Monitor


def test_a_part_that_begins_in_the_second_of_the_last_hides_none_of_its_own(tmp_path, monkeypatch):
    # '10' sorts before '9': TensorBoard would read the second part first.
    for process, start in ((9, 0), (10, 2)):
        monkeypatch.setattr(os, 'getpid', lambda process=process: process)
        monitor = Monitor(tmp_path, start, 4, 'test')
        for step in range(start, start + 3):
            monitor.scalars(step, {'loss': process + step / 10})
        monitor.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars('loss')] == [0, 1, 2, 3, 4]
    assert [round(event.value, 3) for event in events.Scalars('loss')] == [9.0, 9.1, 10.2, 10.3, 10.4]
