"""Templates to HTML: everything that comes from outside is escaped, and a value that is missing is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(template: str, **values: object) -> str:
    """A template of `fldrep/report/templates` with its values filled in."""
    environment = Environment(
        loader=PackageLoader("fldrep.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
