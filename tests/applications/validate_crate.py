"""Validate a crate without a network, by roc-validator; run by an interpreter that has it.

The context of RO-Crate 1.1 is answered from the package rocrate 0.13, which holds it; nothing else is asked for.
Arguments: the crate, and the profile. Prints a line an issue, then `passed` or `failed`.
"""

import io
import sys
from importlib.metadata import files

CONTEXT = next(one for one in files("rocrate") if one.name == "ro-crate.jsonld").locate().read_bytes()


def answered(adapter, request, **_):
    """What would be fetched, as requests has it."""
    import requests

    response = requests.Response()
    response.status_code = 200 if request.url == "https://w3id.org/ro/crate/1.1/context" else 404
    response.raw = io.BytesIO(CONTEXT)
    response.headers["Content-Type"] = "application/ld+json"
    response.request, response.url = request, request.url
    return response


def main(crate: str, profile: str) -> None:
    """Print each issue, and the verdict."""
    from requests.adapters import HTTPAdapter
    from rocrate_validator import models, services

    HTTPAdapter.send = answered
    result = services.validate(
        services.ValidationSettings(
            rocrate_uri=crate,
            profile_identifier=profile,
            requirement_severity=models.Severity.RECOMMENDED,
            no_cache=True,
        )
    )
    for issue in result.get_issues():
        print(issue.severity.name, issue.check.identifier, issue.message)
    print("failed" if result.has_issues(models.Severity.REQUIRED) else "passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
