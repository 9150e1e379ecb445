"""The host of the tests is one: an own home, a pinned key, and it can die and come back."""

import subprocess


def ssh(host, command, **options):
    return subprocess.run(["ssh", "-F", host.config, "vast", command], capture_output=True, text=True, **options)


def test_sessions_start_in_the_hosts_own_home(loopback):
    (loopback.home / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho pretended\n")
    (loopback.home / "bin" / "nvidia-smi").chmod(0o755)
    assert ssh(loopback, 'pwd; echo "$HOME"; nvidia-smi').stdout.split() == [str(loopback.home)] * 2 + ["pretended"]


def test_a_stopped_host_ends_its_sessions_and_comes_back(loopback):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = ["ssh", "-F", loopback.config, "vast", "echo here; exec cat"]
    with subprocess.Popen(command, **pipes) as line:
        assert line.stdout.readline() == b"here\n"
        loopback.stop()
        assert line.wait(10) == 255
    assert "Connection refused" in ssh(loopback, "true").stderr
    loopback.start()
    assert ssh(loopback, "echo back").stdout == "back\n"


def test_a_new_host_key_is_refused(loopback):
    assert ssh(loopback, "true").returncode == 0
    loopback.stop()
    loopback.new_host_key()
    loopback.start()
    refused = ssh(loopback, "true")
    assert refused.returncode == 255 and "HOST IDENTIFICATION HAS CHANGED" in refused.stderr
