"""Flower, the ``web`` process: where it listens, and whether it is found well there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest
import requests
from certificates import self_signed
from pipeline_rig import Rig

from claimx.cli.stack import ROOT, free_port
from claimx.web.flower import health_url

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("waiting pipeline"),
]


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
    ],
)
def test_flower_is_asked_where_it_listens(address, asked):
    environment = {"FLOWER_ADDRESS": address, "FLOWER_PORT": "5555"}

    assert health_url(environment) == f"http://{asked}:5555/healthcheck"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1"])
def test_without_credentials_flower_listens_nowhere_but_on_loopback(address, tmp_path):
    """It shows tasks and controls workers."""
    told = {"FLOWER_ADDRESS": address, "PORT": str(free_port())}

    assert_refused(["claimx.web"], tmp_path, told)


@pytest.mark.parametrize("address", [(), ("--address=localhost",)])
def test_nor_does_a_flower_that_celery_starts(address, redis_url):
    """By itself it listens on every interface."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "claimx", "flower", f"--port={port}", *address],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": redis_url, "FLOWER_BASIC_AUTH": "", "FLOWER_ADDRESS": ""},
        stderr=subprocess.DEVNULL,
    ) as flower:
        try:
            until = time.monotonic() + 60
            while not _answers("127.0.0.1", port) and time.monotonic() < until:
                time.sleep(0.1)

            assert _answers("127.0.0.1", port)
            assert not _answers("127.0.0.2", port)  # this machine as well, but another address
        finally:
            flower.kill()  # it holds nothing, and may wait for a broker


def test_a_flower_that_celery_starts_is_refused_another_address(redis_url):
    command = ["celery", "-A", "claimx", "flower", "--address=0.0.0.0"]

    assert_refused(command, ROOT, {"REDIS_URL": redis_url, "FLOWER_PORT": str(free_port())})


@pytest.mark.parametrize("name", ["FLOWER_PORT", "FLOWER_MAX_TASKS"])
def test_a_number_of_flowers_that_is_none_is_named(name, tmp_path):
    """Flower ended with a traceback that named no setting."""
    done = subprocess.run(
        [sys.executable, "-m", "claimx.web"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1", name: "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 4
    assert done.stderr == f"claimx: {name}='x': must be a whole number\n"


def test_a_port_that_is_taken_is_told_in_one_line(redis_url, tmp_path):
    """Another Flower, mostly; a traceback of tornado's says so to few."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = {"PORT": port, "REDIS_URL": redis_url, "FLOWER_BASIC_AUTH": "", "FLOWER_PORT": ""}

        done = subprocess.run(
            [sys.executable, "-m", "claimx.web"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **told},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def assert_refused(command, folder, told):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLOWER_BASIC_AUTH": "", **told},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 4
    assert "FLOWER_BASIC_AUTH" in done.stderr


def _answers(address, port):
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def test_a_healthy_flower_is_alive_wherever_it_is(tmp_path):
    """
    Blank variables are not set: a .env file often names what it leaves open.

    A proxy of the environment does not lead to it: a Flower that was well seemed to be down.
    """
    certificate = self_signed(tmp_path / "flower.pem")
    with Rig(tmp_path, "--events", "100") as rig:
        for number, own in enumerate(
            (
                {
                    "FLOWER_URL_PREFIX": "/flower",
                    "FLOWER_ADDRESS": "",
                    "http_proxy": f"http://127.0.0.1:{free_port()}",
                },
                {"FLOWER_ADDRESS": "localhost", "FLOWER_PORT": "", "FLOWER_URL_PREFIX": " "},
                {"FLOWER_CERTFILE": str(certificate), "FLOWER_KEYFILE": str(certificate)},
                {"FLOWER_UNIX_SOCKET": str(tmp_path / "flower.sock")},
                {"PORT": "0"},
            )
        ):
            ports = {"PORT": str(free_port()), "CLAIMX_HEALTH_PORT": str(free_port())}
            web = rig.process("web", as_=f"web {number}", **(ports | own))
            url = f"http://127.0.0.1:{ports['CLAIMX_HEALTH_PORT']}/health/live"

            rig.until(str(own), lambda: requests.get(url, timeout=20).status_code == 200)  # noqa: B023

            assert web.status is None


def test_flower_keeps_to_the_level_of_the_logs(tmp_path):
    """By itself it puts its own in the place of `LOG_LEVEL`."""
    with Rig(tmp_path, "--events", "100") as rig:
        ports = {"PORT": str(free_port()), "CLAIMX_HEALTH_PORT": str(free_port())}
        rig.process("web", LOG_LEVEL="ERROR", **ports)
        url = f"http://127.0.0.1:{ports['CLAIMX_HEALTH_PORT']}/health/live"

        rig.until("it is well", lambda: requests.get(url, timeout=20).status_code == 200)

        assert '"level": "info"' not in rig.logs[-1].read_text()
