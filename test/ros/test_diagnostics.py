"""What the diagnostics make of what happened to the frames."""

from dataclasses import replace

import pytest
from dds_client import values_of
from diagnostic_msgs.msg import DiagnosticStatus

from depth_anything_ros.alignment import Alignment, AlignmentState
from depth_anything_ros.node import diagnostics
from depth_anything_ros.node.diagnostics import AlignmentReport, FrameStatistics


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [1000.0]
    monkeypatch.setattr(diagnostics, 'monotonic', lambda: now[0])
    return now


def status_of(statistics, *, active=True, enabled=True, unheard=()):
    return statistics.status('frames', active=active, enabled=enabled, unheard=unheard, hardware_id='cpu')


def test_silence_is_told_from_loss_in_transport(clock):
    statistics = FrameStatistics()
    assert status_of(statistics).message == 'no image has arrived yet'
    statistics.note_lost(7)
    status = status_of(statistics)
    assert status.level == DiagnosticStatus.ERROR
    assert 'fastdds.xml' in status.message
    assert values_of(status)['lost in transport'] == '7'


def test_a_camera_that_stops_is_an_error(clock):
    statistics = FrameStatistics()
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.05)
    assert status_of(statistics).level == DiagnosticStatus.OK
    clock[0] += 7.0
    status = status_of(statistics)
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == 'no image for 7 s'


def test_what_was_before_a_pause_is_no_trouble_after_it(clock):
    statistics = FrameStatistics()
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.05)
    statistics.note_rejection('bad luck')
    clock[0] += 3600.0
    statistics.restart()
    status = status_of(statistics)
    assert status.message == 'no image has arrived yet'
    assert values_of(status)['processed'] == '1'
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.05)
    assert status_of(statistics).level == DiagnosticStatus.OK


def test_a_subscriber_that_hears_nothing_is_a_warning_where_nothing_worse_is_wrong(clock):
    statistics, unheard = FrameStatistics(), ['/rviz hears nothing', '/nav hears nothing']
    assert status_of(statistics, unheard=unheard).message == 'no image has arrived yet'
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.05)
    status = status_of(statistics, unheard=unheard)
    assert status.level == DiagnosticStatus.WARN
    assert status.message == '/rviz hears nothing; /nav hears nothing'
    assert status_of(statistics, unheard=unheard, active=False).message == 'not active'


def test_a_worker_that_hangs_is_seen(clock):
    statistics = FrameStatistics()
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.05)
    for _ in range(60):
        clock[0] += 0.1
        statistics.note_input(replaced=True)
    status = status_of(statistics)
    assert status.level == DiagnosticStatus.WARN
    assert 'none has been finished' in status.message


def test_a_first_frame_has_seconds_to_be_finished(clock):
    statistics = FrameStatistics()
    clock[0] += 100.0
    for _ in range(40):
        statistics.note_input(replaced=False)
        status = status_of(statistics)
        assert status.level == DiagnosticStatus.OK
        assert 'idle' not in status.message
        clock[0] += 0.1
    for _ in range(20):
        statistics.note_input(replaced=True)
        clock[0] += 0.1
    assert 'none has been finished' in status_of(statistics).message


def test_rate_and_latency_are_those_of_the_last_seconds(clock):
    statistics = FrameStatistics()
    for latency in [9.0] * 10 + [0.2] * 50:
        clock[0] += 0.1
        statistics.note_input(replaced=False)
        statistics.note_output(latency, latency / 2)
    values = values_of(status_of(statistics))
    assert float(values['rate_hz']) == pytest.approx(10.0, rel=0.05)
    assert float(values['latency from stamp p95 ms']) == pytest.approx(200.0)
    assert float(values['latency from arrival p50 ms']) == pytest.approx(100.0)
    assert values['processed'] == '60'


@pytest.mark.parametrize(
    ('from_stamp', 'from_arrival', 'words'),
    [
        (0.3, 0.2, ''),
        (30.0, 29.0, ''),
        (-3.0, 0.2, '3.2 s before'),
        (60.2, 0.2, '60.0 s after'),
        (-1.8e9, 0.1, 'before'),
    ],
    ids=['good', 'a slow network', 'a clock ahead', 'a clock behind', 'no clock'],
)
def test_stamps_of_another_clock_are_a_warning(clock, from_stamp, from_arrival, words):
    statistics = FrameStatistics()
    for _ in range(5):
        statistics.note_input(replaced=False)
        statistics.note_output(from_stamp, from_arrival)
    status = status_of(statistics)
    assert status.level == (DiagnosticStatus.WARN if words else DiagnosticStatus.OK)
    assert words in status.message


def test_a_rejection_is_an_error_for_a_while_and_remembered_for_good(clock):
    statistics = FrameStatistics()
    statistics.note_input(replaced=False)
    statistics.note_rejection('bad luck')
    assert 'bad luck' in status_of(statistics).message
    clock[0] += 6.0
    statistics.note_input(replaced=False)
    statistics.note_output(0.1, 0.1)
    status = status_of(statistics)
    assert status.level == DiagnosticStatus.OK
    assert values_of(status)['last rejection'] == 'bad luck'


def test_idle_disabled_and_inactive_are_not_errors(clock):
    statistics = FrameStatistics()
    statistics.note_input(replaced=False)
    statistics.note_skipped()
    assert status_of(statistics).message == 'idle: nobody subscribes'
    assert status_of(statistics, enabled=False).message == 'disabled by ~/enable'
    assert status_of(statistics, active=False).message == 'not active'


ALIGNED = AlignmentState(Alignment(0.1, 1.0 / 3.0, covariance=(1e-5, -2e-7, 3e-6), stamp_ns=7), age_s=0.5)
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


@pytest.mark.parametrize(
    ('report', 'level', 'text'),
    [
        (AlignmentReport('depth', True, True, ALIGNED), OK, 'aligned'),
        (AlignmentReport('depth', True, True, replace(ALIGNED, problem='one wild fit')), WARN, 'one wild fit'),
        (AlignmentReport('depth', True, True, replace(ALIGNED, held=True)), WARN, 'held'),
        (AlignmentReport('depth', True, True, ALIGNED, 'no points'), WARN, 'aligned; no points'),
        (AlignmentReport('depth', True, True, AlignmentState(None, 'too old')), ERROR, 'no metres: too old'),
        (AlignmentReport('depth', True, True, AlignmentState(None)), ERROR, 'no frame yet'),
        (AlignmentReport('none', True, True, AlignmentState(None, 'source is none')), OK, 'no metres'),
        (AlignmentReport('depth', True, False, AlignmentState(None)), OK, 'not used'),
        (AlignmentReport('depth', False, True, ALIGNED), STALE, 'not active'),
        (AlignmentReport('depth', True, True, ALIGNED, idle=True), OK, 'idle: nobody subscribes'),
        (AlignmentReport('depth', True, True, AlignmentState(None), idle=True), OK, 'idle: nobody subscribes'),
        (AlignmentReport('depth', True, True, ALIGNED, enabled=False), OK, 'disabled by ~/enable'),
    ],
)
def test_the_level_says_whether_metres_can_be_trusted(report, level, text):
    for status in (report.status('alignment', 'cpu'), report.exact_status('alignment')):
        assert status.level == level
        assert text in status.message
    # Numbers are there just when they hold.
    works = report.active and report.enabled and report.used and not report.idle
    numbers = works and report.state.current is not None
    assert ('scale' in values_of(report.exact_status('alignment'))) == numbers


def test_the_numbers_of_the_topic_are_exact():
    values = values_of(AlignmentReport('depth', True, True, ALIGNED).exact_status('alignment'))
    assert float(values['shift']) == 1.0 / 3.0
    assert float(values['log_scale_variance']) == 1e-5
    assert float(values['log_scale_shift_covariance']) == -2e-7
    assert float(values['age_s']) == 0.5
    assert values['field'] == 'none'
