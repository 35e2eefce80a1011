"""What `audit` cannot audit ends in one line with exit code 2, and nothing is written."""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import fldrep
from fldrep.applications.audit.record import Record

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, features=8, classes=3, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(2) if norm else nn.Identity()
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        return self.fc(torch.sigmoid(self.norm(self.conv(x))).flatten(1))


def build():
    return Net()
"""
NAN = MODEL.replace(
    "    return Net()", "    torch.manual_seed(0)\n    net = Net()\n    net.fc.bias.data[0] = torch.nan\n    return net"
)
SHAPE = (1, 4, 4)
UPDATE, BEFORE, AFTER = "update.safetensors", "before.safetensors", "after.safetensors"


@dataclass
class Folder:
    """A user's folder with all that an audit takes, before a case spoils it; `tensors` are those of the update."""

    path: Path
    state: dict[str, torch.Tensor]
    tensors: dict[str, torch.Tensor]
    options: dict[str, object] = field(default_factory=dict)

    def write(self, name: str, tensors: dict[str, torch.Tensor] | bytes) -> None:
        if isinstance(tensors, bytes):
            (self.path / name).write_bytes(tensors)
        else:
            save_file({key: value.contiguous() for key, value in tensors.items()}, self.path / name)

    def update(self, **changed: torch.Tensor) -> None:
        """Write the update with some of its tensors changed; '.' is written '_'."""
        names = {name.replace(".", "_"): name for name in self.tensors}
        self.write(UPDATE, {**self.tensors, **{names.get(key, key): value for key, value in changed.items()}})

    def weights(self, name: str = "weights.safetensors", **changed: torch.Tensor) -> None:
        names = {key.replace(".", "_"): key for key in self.state}
        self.write(name, {**self.state, **{names.get(key, key): value for key, value in changed.items()}})

    def without(self, name: str, tensor: str, tensors: dict[str, torch.Tensor]) -> None:
        self.write(name, {key: value for key, value in tensors.items() if key != tensor})

    def record(self, tensors: dict[str, torch.Tensor] | None = None, told: dict | None = None) -> None:
        """Write a record in place of the update."""
        weights = self.state if tensors is None else tensors
        Record(weights, weights, told or {}).write(self.path / UPDATE)

    def update_as(self, tensors: dict[str, torch.Tensor], told: str) -> None:
        """Write the update as a file that says it is a record."""
        save_file(tensors, self.path / UPDATE, {"format": "fldrep-record", "told": told})

    def code(self, text: str) -> None:
        (self.path / "my_model.py").write_text(text)

    def array(self, name: str, value: np.ndarray) -> None:
        np.save(self.path / name, value)

    def says(self, **options: object) -> None:
        """Options of the command; None leaves one out. `update` is the argument."""
        self.options |= options

    def steps(self, **options: object) -> None:
        """The command with weights before and after in place of an update."""
        given = {"update": None, "weights": None, "before": BEFORE, "after": AFTER, "lr": 0.1}
        self.says(**{**given, **options})

    def command(self) -> list[str]:
        usual = {"update": UPDATE, "model": "my_model.py:build", "weights": "weights.safetensors", "shape": "1x4x4"}
        said = {**usual, "out": "audit", **self.options}
        update = said.pop("update")
        words = ["audit", *([] if update is None else [str(update)])]
        return words + [part for key, value in said.items() if value is not None for part in (_flag(key), str(value))]


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def npz(**arrays: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def of_torch(value: object) -> bytes:
    held = io.BytesIO()
    torch.save(value, held)
    return held.getvalue()


class Harm:
    """What a pickle may do when it is read."""

    def __reduce__(self):
        return (Path("harmed").write_text, ("by a pickle",))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Folder:
    """The tensors, made once."""
    path = tmp_path_factory.mktemp("whole")
    scope: dict = {}
    exec(compile(MODEL, "my_model.py", "exec"), scope)
    torch.manual_seed(0)
    network = scope["build"]().eval()
    images, labels = torch.rand(1, *SHAPE), torch.tensor([1])
    update = fldrep.client_update(fldrep.wrap(network, SHAPE), images, labels)
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return Folder(path, state, {name: value[0] for name, value in update.items()})


@pytest.fixture
def folder(made, tmp_path, monkeypatch) -> Folder:
    """The user's folder, which is the working directory."""
    own = Folder(tmp_path, made.state, made.tensors)
    own.code(MODEL)
    own.update()
    own.weights()
    own.weights(BEFORE)
    after = {name: value - 0.1 * made.tensors.get(name, 0) for name, value in made.state.items()}
    own.write(AFTER, after)
    own.array("images.npy", np.zeros(SHAPE, dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    return own


CODE = {
    "syntax": ("def build(:", "SyntaxError"),
    "raises on import": ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
    "raises": ("def build():\n    raise ValueError('two\\nlines')", "ValueError: two lines"),
    "exits": ("import sys\ndef build():\n    sys.exit(1)", "SystemExit"),
    "imports what is not there": ("import no_such_package_of_mine", "ModuleNotFoundError"),
    "no function": ("x = 1", "holds no function 'build'"),
    "not a function": ("build = 3", "holds no function 'build'"),
    "gives no module": ("def build():\n    return {'fc': 1}", "gives a dict: expected a torch.nn.Module"),
    "gives nothing": ("def build():\n    pass", "gives a NoneType"),
    "takes an argument": ("def build(width):\n    return width", "TypeError"),
    "layers without a shape": (
        MODEL.replace("nn.Linear(features, classes)", "nn.LazyLinear(classes)"),
        "'fc.weight' has no shape yet: expected",
    ),
    "no parameters": ("from torch import nn\ndef build():\n    return nn.Flatten()", "no parameters"),
    "no linear layer": (
        MODEL.replace("nn.Linear(features, classes)", "nn.Conv1d(features, classes, 1)"),
        "expected",
    ),
}
WRONG: dict[str, tuple[Callable[[Folder], None], str]] = {
    # Names and shapes of the update
    "a tensor is missing": (lambda it: it.without(UPDATE, "fc.bias", it.tensors), "'fc.bias' is missing"),
    "a tensor too much": (lambda it: it.update(other=torch.zeros(2)), "'other': expected no other names"),
    "another shape": (lambda it: it.update(fc_bias=torch.zeros(4)), "update['fc.bias']: shape (4,)"),
    "transposed": (lambda it: it.update(fc_weight=torch.zeros(8, 3)), "shape (3, 8), that of the model"),
    "several clients": (lambda it: it.update(fc_bias=torch.zeros(2, 3)), "expected one client's update"),
    "NaN": (lambda it: it.update(fc_bias=torch.tensor([0, float("nan"), 1])), "1 of 3 entries are not finite"),
    "infinite": (lambda it: it.update(fc_bias=torch.full((3,), torch.inf)), "3 of 3 entries are not finite"),
    "beyond float32": (
        lambda it: it.update(fc_bias=torch.full((3,), 1e200, dtype=torch.float64)),
        "update['fc.bias'] as torch.float32: 3 of 3 entries are not finite",
    ),
    "several images of which nothing tells": (
        lambda it: it.update(fc_weight=it.tensors["fc.weight"] + torch.randn(3, 8)),
        "images: expected how many there are: nothing told",
    ),
    "whole numbers": (lambda it: it.update(fc_bias=torch.zeros(3, dtype=torch.long)), "expected floating-point"),
    "names of another framework": (lambda it: it.write(UPDATE, {"0": torch.zeros(3)}), "'conv.weight' is missing"),
    "nothing in it": (lambda it: it.write(UPDATE, {}), "holds no tensors"),
    # Files
    "no file": (lambda it: it.says(update="absent.safetensors"), "absent.safetensors: cannot be read: No such file"),
    "a folder": (lambda it: it.says(update="."), "cannot be read: Is a directory"),
    "empty": (lambda it: it.write(UPDATE, b""), "expected safetensors or NumPy's .npz"),
    "text": (lambda it: it.write(UPDATE, b"gradient: 0.1, 0.2, 0.3"), "expected safetensors or NumPy's .npz"),
    "cut": (lambda it: it.write(UPDATE, (it.path / UPDATE).read_bytes()[:-20]), "not a readable safetensors file"),
    "a pickle": (lambda it: it.write(UPDATE, pickle.dumps(Harm())), "a pickle, which runs code"),
    "an old pickle": (lambda it: it.write(UPDATE, pickle.dumps(Harm(), protocol=2)), "a pickle, which runs code"),
    "of torch.save": (lambda it: it.write(UPDATE, of_torch(it.tensors)), "a pickle, which runs code"),
    "of torch.save, weights": (lambda it: it.write("weights.safetensors", of_torch(it.state)), "a pickle"),
    "objects in npz": (lambda it: it.write(UPDATE, npz(a=np.array([Harm()]))), "holds Python objects"),
    "texts in npz": (lambda it: it.write(UPDATE, npz(a=np.array(["b"]))), "expected numbers"),
    "a damaged npz": (lambda it: it.write(UPDATE, npz(a=np.zeros(99))[:200]), "not a readable file of NumPy"),
    "one array": (lambda it: it.says(update="images.npy"), "expected"),
    # Weights
    "weights of another model": (lambda it: it.write("weights.safetensors", {"w": torch.zeros(2)}), "is missing"),
    "weights lack a parameter": (
        lambda it: it.without("weights.safetensors", "conv.bias", it.state),
        "weights: 'conv.bias' is missing",
    ),
    "weights of another width": (lambda it: it.weights(fc_weight=torch.zeros(3, 9)), "weights['fc.weight']"),
    "weights with a name too much": (lambda it: it.weights(extra=torch.zeros(1)), "weights: 'extra'"),
    "weights that are not finite": (lambda it: it.weights(fc_bias=torch.full((3,), torch.nan)), "not finite"),
    "a buffer of another shape": (lambda it: it.weights(norm_running_mean=torch.zeros(5)), "norm.running_mean"),
    "no weights, and NaN": (
        lambda it: it.says(weights=None) or it.code(NAN),
        "model: 'fc.bias': 1 of 3 entries are not finite",
    ),
    "no weights, and random ones": (lambda it: it.says(weights=None), "weights: expected those the client began"),
    # Before and after
    "before alone": (lambda it: it.steps(after=None), "after: expected the weights before and after together"),
    "after alone": (lambda it: it.steps(before=None), "before: expected the weights before and after together"),
    "no step size": (lambda it: it.steps(lr=None), "lr: expected the client's step size"),
    "a step size of 0": (lambda it: it.steps(lr=0), "lr: 0.0: expected a number above 0"),
    "a step size below 0": (lambda it: it.steps(lr=-0.1), "lr: -0.1: expected a number above 0"),
    "a step size that is no number": (lambda it: it.steps(lr="nan"), "lr: nan: expected a number above 0"),
    "a step size that leaves no finite gradient": (
        lambda it: it.steps(lr="1e-320"),
        "(before['conv.weight'] - after['conv.weight']) / lr, with an lr of 9.99989e-321",
    ),
    "an update besides": (lambda it: it.steps(update=UPDATE), "expected either an update, or before and after"),
    "weights besides": (lambda it: it.steps(weights="weights.safetensors"), "weights: expected none beside before"),
    "neither": (lambda it: it.says(update=None), "expected either an update, or before and after"),
    "after of another model": (lambda it: it.steps() or it.write(AFTER, {"w": torch.zeros(1)}), "after: "),
    "after is NaN": (
        lambda it: it.steps() or it.weights(AFTER, fc_bias=torch.full((3,), torch.nan)),
        "after['fc.bias']",
    ),
    "a step size for an update": (lambda it: it.says(lr=0.1), "an update holds gradients as they are"),
    "epochs without a step size": (lambda it: it.says(epochs=2), "lr: expected the step size"),
    # A record in place of an update
    "weights beside a record": (
        lambda it: it.record() or it.says(weights=BEFORE),
        "weights: expected none beside a record",
    ),
    "a record that tells no step size": (lambda it: it.record() or it.says(weights=None), "lr: expected the client's"),
    "a record of another model": (
        lambda it: it.record({"w": torch.zeros(2)}) or it.says(weights=None, lr=0.1),
        "'conv.weight' is missing",
    ),
    "a record that tells wrong numbers": (
        lambda it: it.record(told={"lr": 0.1, "images": 1.5}) or it.says(weights=None),
        "images: 1.5: expected a whole number",
    ),
    "a record whose step size is a text": (
        lambda it: it.record(told={"lr": "fast"}) or it.says(weights=None),
        "lr: 'fast': expected a number above 0",
    ),
    "a record without what was sent": (
        lambda it: it.update_as({"received/w": torch.zeros(2)}, told="{}") or it.says(weights=None, lr=0.1),
        "'conv.weight' is missing",
    ),
    "a record with other tensors": (
        lambda it: it.update_as(it.tensors, told="{}") or it.says(weights=None),
        "expected received/NAME or sent/NAME",
    ),
    "a record with damaged words": (
        lambda it: it.update_as({"sent/w": torch.zeros(2)}, told="[") or it.says(weights=None),
        "'told' is no JSON",
    ),
    # The model's place
    "no function named": (lambda it: it.says(model="my_model.py"), "expected FILE.py:FUNCTION"),
    "a function that is no name": (lambda it: it.says(model="my_model.py:build()"), "expected FILE.py:FUNCTION"),
    "no such model file": (lambda it: it.says(model="absent.py:build"), "absent.py: there is no such file"),
    # Numbers and words
    "a shape in commas": (lambda it: it.says(shape="1,4,4"), "shape: '1,4,4': expected channels x height x width"),
    "a shape of two numbers": (lambda it: it.says(shape="4x4"), "shape: '4x4'"),
    "a shape with 0": (lambda it: it.says(shape="0x4x4"), "shape: '0x4x4'"),
    "a shape that the model refuses": (lambda it: it.says(shape="1x5x8"), "does not take images of shape (1, 5, 8)"),
    "channels that the model refuses": (lambda it: it.says(shape="3x4x4"), "does not take images of shape (3, 4, 4)"),
    "a budget of 0": (lambda it: it.says(budget=0), "budget: 0.0: expected a number above 0"),
    "a budget below 0": (lambda it: it.says(budget=-1), "budget: -1.0: expected a number above 0"),
    "a budget without end": (lambda it: it.says(budget="inf"), "budget: inf: expected a number above 0"),
    "images larger than memory": (lambda it: it.says(shape="1x99999x99999"), "shape: (1, 99999, 99999): expected"),
    "a label beyond 64 bits": (lambda it: it.says(labels="9" * 30), "labels: [9999"),
    "labels in words": (lambda it: it.says(labels="cat"), "labels: 'cat': expected class numbers"),
    "a label too large": (lambda it: it.says(labels="3"), "labels: 3: expected classes 0 to 2"),
    "a label too much": (lambda it: it.says(labels="1,2", images=1), "labels: '2 classes': expected 1"),
    "no images": (lambda it: it.says(images=0), "images: 0: expected a whole number of at least 1"),
    "no clients": (lambda it: it.says(clients=0), "clients: 0: expected a whole number of at least 1"),
    "more images than memory holds": (lambda it: it.says(images=10**12), "images: 1000000000000: expected images of"),
    "more clients than memory holds": (lambda it: it.says(clients=10**12), "clients: 1000000000000: expected images"),
    "more steps than anyone takes": (lambda it: it.says(epochs=10**12, lr=0.1), "at most 100000 steps of 1 of 1"),
    "no epochs": (lambda it: it.says(epochs=0, lr=0.1), "epochs: 0: expected a whole number of at least 1"),
    "no batch": (lambda it: it.says(batch_size=0, lr=0.1), "batch_size: 0: expected a whole number of at least 1"),
    "a seed below 0": (lambda it: it.says(seed=-1), "seed: -1: expected a whole number"),
    "an unknown data set": (lambda it: it.says(normalisation="mnst"), "unknown normalisation 'mnst'; known:"),
    "constants of another data set": (lambda it: it.says(normalisation="cifar10"), "for each of 1 channels"),
    "constants in words": (lambda it: it.says(normalisation="a/b"), "expected a data set's name, none, or MEAN/STD"),
    "a deviation of 0": (lambda it: it.says(normalisation="0.5/0"), "deviations above 0"),
    "the page's folder is a file": (lambda it: it.says(out="my_model.py"), "out: my_model.py: expected a folder"),
    "the page's folder has no name": (lambda it: it.says(out="a" * 300), "File name too long"),
    "the page's folder is below a file": (
        lambda it: it.says(out="my_model.py/audit"),
        "out: my_model.py/audit: expected",
    ),
    # Originals
    "no such originals": (lambda it: it.says(originals="absent.npy"), "absent.npy: cannot be read"),
    "originals of another size": (
        lambda it: it.says(originals="images.npy") or it.array("images.npy", np.zeros((1, 5, 5), np.uint8)),
        "originals: shape (1, 5, 5)",
    ),
    "originals of whole numbers": (
        lambda it: it.says(originals="images.npy") or it.array("images.npy", np.zeros(SHAPE, np.int64)),
        "uint8 or floating point",
    ),
    "originals that are not finite": (
        lambda it: it.says(originals="images.npy") or it.array("images.npy", np.full(SHAPE, np.nan)),
        "originals: 16 of 16 entries are not finite",
    ),
    "more originals than images": (
        lambda it: it.says(originals="images.npy", images=1) or it.array("images.npy", np.zeros((3, *SHAPE))),
        "originals: '3 images': expected 1",
    ),
    "originals in a pickle": (
        lambda it: it.says(originals="images.npy") or it.write("images.npy", pickle.dumps(Harm())),
        "a pickle, which runs code",
    ),
    "originals of objects": (
        lambda it: it.says(originals="images.npy") or np.save(it.path / "images.npy", np.array([Harm()])),
        "holds Python objects",
    ),
    "several arrays as originals": (
        lambda it: it.says(originals="two.npz") or it.write("two.npz", npz(a=np.zeros(SHAPE), b=np.zeros(SHAPE))),
        "holds 2 arrays: expected one",
    ),
    "a picture as originals": (
        lambda it: it.says(originals="a.png") or it.write("a.png", b"\x89PNG\r\n\x1a\n"),
        "expected safetensors or NumPy's .npz",
    ),
    "a zip of other files": (lambda it: it.write(UPDATE, zipped("notes.txt")), "a pickle"),
}


def zipped(name: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr(name, "text")
    return held.getvalue()


def test_there_are_cases_enough():
    assert len(WRONG) + len(CODE) >= 60


@pytest.mark.parametrize("cause", WRONG)
def test_what_cannot_be_audited_is_told_in_one_line(folder, refused, cause):
    spoil, told = WRONG[cause]
    spoil(folder)
    refused(folder.command(), folder.path, told)
    assert not (folder.path / "audit").exists()
    assert not (folder.path / "harmed").exists()


@pytest.mark.parametrize("cause", CODE)
def test_a_model_file_that_gives_no_network_is_told_in_one_line(folder, refused, cause):
    text, told = CODE[cause]
    folder.code(text)
    refused(folder.command(), folder.path, told)


def test_the_folder_as_it_is_can_be_audited(folder, call):
    folder.says(budget=0.5)
    code, out, err = call(*folder.command())
    assert code == 0, err
    assert out.startswith(("recovered", "identifiable", "not-identifiable"))
    assert {"result.json", "audit.html"} <= {path.name for path in (folder.path / "audit").iterdir()}


def test_the_same_command_again_writes_the_same_json_but_for_seconds(folder, call):
    def said() -> str:
        assert call(*folder.command())[0] == 0
        return re.sub(r'"seconds": [\d.]+', "", (folder.path / "audit/result.json").read_text())

    folder.says(budget=2)
    assert said() == said()


def test_a_recovered_image_fails_a_check_that_asks(folder, call):
    folder.says(budget=4)
    code, out, _ = call(*folder.command(), "--fail-if-recovered")
    assert code == (3 if out.startswith("recovered") else 0)
    folder.write(UPDATE, {name: torch.zeros_like(value) for name, value in folder.tensors.items()})
    code, out, _ = call(*folder.command(), "--fail-if-recovered")
    assert (code, out.partition(":")[0]) == (0, "nothing-to-attack")
