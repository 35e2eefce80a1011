from types import SimpleNamespace

import pytest
import torch

import fldrep
from fldrep.attack.attacker import carry_out
from fldrep.attack.chunks import in_chunks
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation, initial_point
from fldrep.attack.optimisers.signed_adam import SignedAdam
from fldrep.attack.reconstruction import smallest
from fldrep.attack.resume import Checkpointer
from fldrep.config.attacks import attack_settings
from fldrep.errors import ConfigError, UnknownName
from fldrep.machine import memory
from fldrep.models.normalisation import normalisation_for
from fldrep.models.updates import HEAD_WEIGHT
from fldrep.seeds import generator

PRESETS = [("gs", 6), ("dlg", 1), ("idlg", 1)]


def one_by_one(made, preset, iterations, **settings):
    """Each target attacked alone, from the initial points it has among the others."""
    for target in range(len(made.labels)):
        own = {name: value[target : target + 1] for name, value in made.update.items()}
        yield as_jobs_do(made, own, made.labels[target : target + 1], preset, iterations, target, **settings)


def as_jobs_do(made, update, labels, preset, iterations, first=0, **settings):
    """What `reconstruct` does, without its checks."""
    seen = Observation(
        made.model,
        update,
        labels,
        shape=made.shape,
        normalisation=normalisation_for(3),
        draw=lambda target, restart: generator("initial point", 0, first + target, restart),
        zeros="none",
    )
    return carry_out(seen, attack_settings(preset, iterations=iterations, **settings), Work())


@pytest.mark.parametrize(("preset", "iterations"), PRESETS)
@pytest.mark.parametrize("network", ["lenet", "convnet"])
def test_a_result_does_not_depend_on_its_neighbours(preset, iterations, network, request):
    made = request.getfixturevalue(network)
    together = fldrep.reconstruct(made.model, made.update, made.labels, preset, iterations, restarts=2)
    for target, alone in enumerate(one_by_one(made, preset, iterations, restarts=2)):
        torch.testing.assert_close(together.all_images[target], alone.all_images[0], rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(together.final_distance[target], alone.final_distance[0], rtol=1e-6, atol=1e-12)
        assert torch.equal(together.labels_found[target], alone.labels_found[0])


@pytest.mark.parametrize(("preset", "iterations"), PRESETS)
def test_chunks_only_group_the_work(preset, iterations, lenet):
    given = (lenet.model, lenet.update, lenet.labels, preset, iterations)
    whole, parts = (fldrep.reconstruct(*given, restarts=2, problems_at_once=many) for many in (64, 4))
    torch.testing.assert_close(whole.all_images, parts.all_images, rtol=1e-7, atol=1e-7)


def test_the_same_chunk_size_gives_the_same_bits(lenet):
    model = lenet.model.float()
    try:
        first, second = (
            fldrep.reconstruct(model, lenet.update, lenet.labels, "gs", 5, problems_at_once=2).images for _ in range(2)
        )
    finally:
        lenet.model.double()
    assert first.dtype == torch.float32
    assert torch.equal(first, second)


# ---- memory


@pytest.mark.parametrize("preset", ["gs", "dlg", "ensemble"])
def test_auto_takes_what_fits_and_says_how_many(preset, lenet, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**12)
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 1, restarts=2, problems_at_once="auto")
    assert (found.problems_at_once == 6).all()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    alone = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 1, restarts=2, problems_at_once="auto")
    assert (alone.problems_at_once == 1).all()
    assert alone.problems_at_once.shape == (3, 2)


def test_the_chunk_that_auto_chose_gives_the_same_bits(lenet, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * 2 * 10**6)
    chosen = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, restarts=2, problems_at_once="auto")
    (chunk,) = chosen.problems_at_once.unique().tolist()
    again = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, restarts=2, problems_at_once=chunk)
    assert torch.equal(chosen.all_images, again.all_images)


def small_memory(most, error):
    """The optimiser of GS, that runs out of memory for more than `most` problems, after a step of work."""
    solve = SignedAdam.solve

    def limited(self, problems, settings, progress):
        if len(problems.images) > most:
            progress.advance(1)
            raise error
        return solve(self, problems, settings, progress)

    return limited


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_chunk_that_does_not_fit_is_halved_and_worked_again(error, lenet, monkeypatch, caplog):
    def attack(**changed):
        return fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, restarts=4, **changed)

    expected = attack(problems_at_once=3)
    monkeypatch.setattr(SignedAdam, "solve", small_memory(3, error))
    found = attack(problems_at_once=12, progress=Bar)
    assert torch.equal(found.all_images, expected.all_images)
    assert (found.problems_at_once == 3).all()
    assert Bar.made.total == Bar.made.done == 12 * 3
    assert [record.args for record in caplog.records] == [(12, 6), (6, 3)]


def test_what_was_done_before_memory_ran_out_is_kept(monkeypatch):
    numbers, done = [(0, restart) for restart in range(10)], []

    def worked(some, size, progress):
        if len(done) == 1 and size == 4:
            raise MemoryError
        done.append(some)
        return SimpleNamespace(restarts=torch.tensor([restart for _, restart in some]))

    outcomes, sizes = in_chunks(worked, numbers, 4, lambda steps, problems: None, Checkpointer())
    assert torch.cat([outcome.restarts for outcome in outcomes]).tolist() == list(range(10))
    assert sizes == [4] * 4 + [2] * 6


def test_a_problem_that_never_fits_is_named_and_other_errors_are_not_taken_for_it(lenet, monkeypatch):
    monkeypatch.setattr(SignedAdam, "solve", small_memory(0, OUT_OF_MEMORY[0]))
    with pytest.raises(
        ConfigError, match=r"engine.problems_at_once: not even one problem fits into memory: CUDA out of memory"
    ):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3)
    monkeypatch.setattr(SignedAdam, "solve", small_memory(0, RuntimeError("a fault of the program")))
    with pytest.raises(RuntimeError, match="a fault"):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3)


# ---- divergence


@pytest.mark.parametrize(("preset", "iterations"), PRESETS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e200])
def test_a_diverged_target_is_recorded_and_harms_no_neighbour(preset, iterations, bad, lenet):
    update = {name: value.clone() for name, value in lenet.update.items()}
    update["body.0.weight"][1] = bad
    found = as_jobs_do(lenet, update, lenet.labels, preset, iterations)
    clean = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, iterations)
    kept = torch.tensor([0, 2])
    assert found.diverged[:, 0].tolist()[1] or preset == "gs"  # the cosine of a huge gradient may well be finite
    torch.testing.assert_close(found.images[kept], clean.images[kept], rtol=1e-9, atol=1e-9)
    assert found.images.isfinite().all()
    assert not found.diverged[kept].any()


def test_not_finite_counts_as_diverged_under_gs(lenet):
    update = {name: value.clone() for name, value in lenet.update.items()}
    update["body.0.weight"][1] = torch.nan
    assert as_jobs_do(lenet, update, lenet.labels, "gs", 2).diverged[:, 0].tolist() == [False, True, False]


def test_ending_above_the_initial_distance_counts_as_diverged(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, lr=5.0, restarts=4)
    assert torch.equal(found.diverged, found.final_distance > found.initial_distance)
    assert found.diverged.any()


def test_restarts_are_chosen_by_distance_among_those_that_did_not_diverge():
    distance = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 5.0], [4.0, torch.nan, 3.0], [torch.inf, torch.nan, 7.0]])
    diverged = torch.tensor([[False, True, False], [False, False, False], [True, True, True], [False, True, True]])
    assert smallest(distance, diverged).tolist() == [2, 0, 2, 0]
    certified = torch.tensor([[True, False, False], [False, True, True], [False] * 3, [False, True, False]])
    assert smallest(distance, diverged, certified).tolist() == [0, 1, 2, 1]


def test_the_chosen_restart_is_the_one_reported(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 4, restarts=3)
    for target, restart in enumerate(found.best_restart.tolist()):
        assert torch.equal(found.images[target], found.all_images[target, restart])
        assert found.distance[target] == found.final_distance[target, restart]
        assert not (found.final_distance[target][~found.diverged[target]] < found.distance[target]).any()


def test_restarts_start_apart_and_the_first_as_if_alone(lenet):
    several, single = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 0, restarts=count) for count in (3, 1)
    )
    assert torch.equal(several.all_images[:, 0], single.images)
    assert not torch.equal(several.all_images[:, 0], several.all_images[:, 1])


def test_initial_points_are_paired_over_attacks_and_dtypes(lenet):
    """The same seed, target and restart start from the same image, whatever the attack and whether labels are free."""
    starts = [
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 0).images
        for preset in ("gs", "dlg", "idlg")
    ]
    assert torch.equal(starts[0], starts[1])
    assert torch.equal(starts[0], starts[2])
    other = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 0, seed=1).images
    assert not torch.equal(starts[0], other)


def test_initial_points_are_standard_normal():
    drawn = initial_point(torch.Generator().manual_seed(0), (20_000,))[0]
    assert abs(float(drawn.mean())) < 0.03
    assert abs(float(drawn.std()) - 1) < 0.03


def test_no_iterations_return_the_initial_points(lenet):
    for preset in ("gs", "dlg"):
        found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 0)
        assert torch.equal(found.initial_distance, found.final_distance)
        assert not found.diverged.any()
        assert not found.iterations.any()


def test_shapes_and_dtypes(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 1, restarts=2)
    assert found.images.shape == (3, 3, 16, 16)
    assert found.all_images.shape == (3, 2, 3, 16, 16)
    assert found.images.dtype == torch.float64
    for name in ("initial_distance", "final_distance", "diverged", "labels_found", "iterations"):
        assert getattr(found, name).shape == (3, 2)
    assert found.distance.shape == found.best_restart.shape == (3,)


class Bar:
    """A progress bar that only counts."""

    made = None

    def __init__(self, total, desc):
        self.total, self.desc, self.done = total, desc, 0
        Bar.made = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, steps):
        self.done += steps


@pytest.mark.parametrize(("preset", "iterations"), [("gs", 5), ("dlg", 3)])
def test_progress_counts_every_step_of_every_problem(preset, iterations, lenet):
    fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, iterations, problems_at_once=2, progress=Bar)
    assert Bar.made.total == Bar.made.done == 3 * iterations
    assert Bar.made.desc == preset


def test_errors_name_what_is_wrong(lenet, convnet):
    model, update, labels = lenet.model, lenet.update, lenet.labels
    with pytest.raises(UnknownName, match=r"gz.*gs-drop"):
        fldrep.reconstruct(model, update, labels, "gz")
    with pytest.raises(UnknownName, match="ensemble"):
        fldrep.reconstruct(model, update, labels, "strongest")
    with pytest.raises(ConfigError, match=r"chunk: .*problems_at_once"):
        fldrep.reconstruct(model, update, labels, "gs", 1, chunk=4)
    with pytest.raises(ConfigError, match="history"):
        fldrep.reconstruct(model, update, labels, "gs", history=3)
    with pytest.raises(ConfigError, match="iterations"):
        fldrep.reconstruct(model, update, labels, "gs", -1)
    with pytest.raises(ConfigError, match="labels"):
        fldrep.reconstruct(model, update, None, "gs", 1)
    with pytest.raises(ConfigError, match="labels"):
        fldrep.reconstruct(model, update, labels[:2], "gs", 1)
    with pytest.raises(ConfigError, match=r"head\.weight"):
        fldrep.reconstruct(model, {k: v for k, v in update.items() if k != HEAD_WEIGHT}, labels, "gs", 1)
    with pytest.raises(ConfigError, match=r"body\.0\.weight"):
        fldrep.reconstruct(model, convnet.update, labels, "gs", 1)
    with pytest.raises(ConfigError, match="shape"):
        fldrep.reconstruct(model, update, labels, "gs", 1, shape=(2, 16, 16))
    with pytest.raises(ConfigError, match="training mode"):
        fldrep.reconstruct(fldrep.build_model("convnet", (3, 18, 18), 5, width=2), update, labels, "gs", 1)


def test_a_model_that_does_not_say_its_images_needs_their_shape(lenet):
    from fldrep.models.model import Model

    model = Model(lenet.model.body, lenet.model.head)
    with pytest.raises(ConfigError, match="shape"):
        fldrep.reconstruct(model, lenet.update, lenet.labels, "gs", 1)
    assert fldrep.reconstruct(model, lenet.update, lenet.labels, "gs", 1, shape=(3, 16, 16)).images.shape[1:] == (
        3,
        16,
        16,
    )
