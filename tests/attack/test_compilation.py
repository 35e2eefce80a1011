"""Compiled attacks find what eager ones find, keep what they compiled, and are done without where they cannot be."""

import pytest
import torch

import fldrep
from fldrep.errors import ConfigError
from fldrep.machine import compilation
from fldrep.machine.compilation import WORTH_STEPS, compiled, compiler, has_compiler


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache; what torch compiled before is forgotten."""
    torch._dynamo.reset()  # sets the variable to torch's own folder
    monkeypatch.setenv("FLDREP_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "set, so that it is put back as it was")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    yield tmp_path
    torch._dynamo.reset()


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler on this machine")
def test_compiled_and_eager_agree_and_a_later_job_finds_what_was_compiled(cache):
    """The tolerance that the module states, in float64; a last chunk that is not full included."""
    model = fldrep.build_model("softmax", (1, 4, 4), 3, dtype=torch.float64).eval()
    images, labels = torch.rand(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    update = fldrep.client_update(model, images, labels)

    def attack(how: str) -> torch.Tensor:
        return fldrep.reconstruct(model, update, labels, "gs", 5, problems_at_once=2, compile=how).images

    def hits() -> int:
        """What was found compiled, in either of torch's two caches."""
        counted = torch._dynamo.utils.counters
        return counted["inductor"]["fxgraph_cache_hit"] + counted["aot_autograd"]["autograd_cache_hit"]

    found = attack("always")
    torch.testing.assert_close(found, attack("never"), rtol=1e-10, atol=1e-10)
    assert any((cache / "compiled").rglob("*.so")), "what was compiled is kept"
    before = hits()
    torch._dynamo.reset()  # as a new process would begin
    assert torch.equal(attack("always"), found)
    assert hits() > before


def test_the_folder_that_the_user_names_for_torch_stays(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/theirs")
    compilation.keep_compiled()
    assert compilation.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/theirs"


def test_long_jobs_are_compiled_and_short_ones_are_not(cache, monkeypatch):
    monkeypatch.setattr(compilation, "has_compiler", lambda: True)
    assert compiler("auto", WORTH_STEPS - 1) is None
    assert compiler("auto", WORTH_STEPS) is compiled
    assert compiler("always", 1) is compiled
    assert compiler("never", 10 * WORTH_STEPS) is None


def test_without_a_compiler_it_stays_eager_and_says_so(monkeypatch):
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="no C.. compiler found") as said:
        assert compiler("always", 1) is None
    assert len(said) == 1


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler on this machine")
def test_what_torch_cannot_compile_runs_as_it_is_and_says_so_once(cache):
    def refuses(graph, inputs):
        raise NotImplementedError("not this one")

    def function(x):
        return x.sin() + 1

    run = compilation.where_it_compiles(function, torch.compile(function, backend=refuses))
    with pytest.warns(UserWarning, match="torch cannot compile this attack.*not this one") as said:
        assert all(torch.equal(run(torch.zeros(2)), torch.ones(2)) for _ in range(2))
    assert len(said) == 1
    fails = compilation.where_it_compiles(function, lambda x: x @ x)
    with pytest.raises(RuntimeError, match="mat"):
        fails(torch.zeros(2, 3))


def test_graphs_need_a_gpu(lenet):
    with pytest.raises(ConfigError, match="'graphs' needs a GPU, the model is on cpu"):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 1, compile="graphs")
