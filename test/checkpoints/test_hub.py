"""The Hugging Face hub: cached, downloaded from, and out of reach."""

import hashlib
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants

from depth_anything_ros.checkpoints import CheckpointUnavailableError, LicenseNotAcceptedError, load

COMMIT = '0123456789abcdef0123456789abcdef01234567'
REPO, FILE = 'depth-anything/Depth-Anything-V2-Small', 'depth_anything_v2_vits.pth'


@pytest.fixture
def hub(use_hub, official_file):
    """A hub on this machine with one file; yields the paths it is asked for."""
    content = official_file.read_bytes()
    requests = []

    class Hub(BaseHTTPRequestHandler):
        def answer(self):
            requests.append(self.path)
            found = self.path.startswith(f'/{REPO}/resolve/') and self.path.endswith(FILE)
            self.send_response(200 if found else 404)
            self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', COMMIT)
            self.send_header('Content-Length', str(len(content) if found else 0))
            if not found:
                self.send_header('X-Error-Code', 'EntryNotFound')
            self.end_headers()
            return found

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            if self.answer():
                self.wfile.write(content)

        def log_message(self, *arguments):
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_hub(f'http://127.0.0.1:{server.server_port}')
    yield requests
    server.shutdown()
    thread.join()
    server.server_close()


def cache(official_file, tmp_path):
    """Lay the file out as the hub's client does after a download."""
    repo = tmp_path / 'hub' / f'models--{REPO.replace("/", "--")}'
    (repo / 'refs').mkdir(parents=True)
    (repo / 'refs' / 'main').write_text(COMMIT)
    (repo / 'snapshots' / COMMIT).mkdir(parents=True)
    (repo / 'snapshots' / COMMIT / FILE).symlink_to(official_file)


def test_cached_file_is_used_without_a_network(official_file, tmp_path, small, output):
    cache(official_file, tmp_path)
    assert torch.equal(output(load('v2-small')), output(small))


def test_missing_file_is_downloaded_once(hub, small, output, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger='depth_anything_ros')
    model = load('v2-small')
    assert torch.equal(output(model), output(small))
    assert model.source.checkpoint.is_relative_to(tmp_path / 'hub')
    assert f'{REPO}/resolve/main/{FILE}, 99 MB' in caplog.text
    asked = len(hub)
    load('v2-small')
    assert len(hub) == asked


def test_file_gone_from_the_hub_is_reported(hub):
    with pytest.raises(CheckpointUnavailableError, match=r'v1-small.*404'):
        load('v1-small')


def test_licence_is_checked_before_anything_is_fetched(hub):
    with pytest.raises(LicenseNotAcceptedError):
        load('v2-large')
    assert hub == []


@pytest.mark.parametrize('offline_mode', [False, True])
def test_without_a_network_it_fails_at_once_and_says_what_to_fetch(tmp_path, monkeypatch, offline_mode):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', offline_mode)
    began = time.monotonic()
    with pytest.raises(CheckpointUnavailableError) as refusal:
        load('v2-small')
    assert time.monotonic() - began < 2
    message = str(refusal.value)
    assert f'{REPO}/resolve/main/{FILE}' in message
    assert f'put it at {tmp_path / "checkpoints" / FILE}' in message


def test_without_name_resolution_it_fails_at_once(monkeypatch, use_hub):
    def no_resolver(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', no_resolver)
    use_hub('http://hub.invalid')
    began = time.monotonic()
    with pytest.raises(CheckpointUnavailableError, match='Name or service not known'):
        load('v2-small')
    assert time.monotonic() - began < 2


def test_unpublished_weights_need_a_file():
    with pytest.raises(CheckpointUnavailableError, match='not published'):
        load('v2-giant', accept_license=True)
