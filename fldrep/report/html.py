"""Templates to HTML or Markdown: a missing value is an error, and HTML escapes what comes from outside."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, StrictUndefined


def allowed(script: str) -> str:
    """What a page's Content-Security-Policy says to allow a script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def own_script(name: str) -> str:
    """A script that lies with the templates."""
    return files("fldrep.report").joinpath("templates", name).read_text(encoding="utf-8")


def rendered(template: str, scripts: Mapping[str, str] | None = None, **values: object) -> str:
    """A template of `fldrep/report/templates` with its values filled in.

    Args: scripts: by names under which the template may include them, as they are; never from outside.
    """
    scripts = scripts or {}
    included = {name: f"{{% raw %}}{text}{{% endraw %}}" for name, text in scripts.items()}
    environment = Environment(
        loader=ChoiceLoader([DictLoader(included), PackageLoader("fldrep.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["allowed"] = allowed
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    return environment.get_template(template).render(scripts=scripts, **values)
