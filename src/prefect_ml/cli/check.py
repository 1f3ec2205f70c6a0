"""`prefect-ml models check`."""

from __future__ import annotations

from prefect_ml.cli.output import Json, complaints, console, print_fields, print_json
from prefect_ml.errors import PrefectMLError
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

_PASSED, _FAILED, _UNKNOWN = 0, 1, 2


def check(
    uri: str, *, tolerance: float = 1e-5, timeout: float = 1800.0, allow_builds: bool = False, json: Json = False
) -> int:
    """Load a model in a clean environment of its own requirements, replay its example and compare the outputs.

    Ends with 0 when they are the same, with 1 when the model cannot be restored or predicts something else, and with 2
    when it could not be checked: it keeps no example, its pickles are not trusted, uv is not there, time was up.

    Args:
        uri: A model URI, or a folder that holds an MLmodel file.
        tolerance: How far numbers with a fraction may be apart, absolute below 1 and relative above.
        timeout: Seconds for all of it.
        allow_builds: Build distributions that have no wheel, which runs their code.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.check import check_model  # noqa: PLC0415 (only this command needs it)

    try:
        found = check_model(
            open_store(), uri, Settings(), tolerance=tolerance, timeout=timeout, allow_builds=allow_builds
        )
    except PrefectMLError as error:
        if json:
            print_json({"uri": uri, "passed": None, "summary": str(error)})
        else:
            complaints.print(f"Not checked: {error}", style="red", markup=False, highlight=False)
        return _UNKNOWN
    if json:
        print_json(found)
    else:
        console.print(found.summary, markup=False, soft_wrap=True, highlight=False)
        print_fields(
            "The clean environment",
            {
                "Python": found.python,
                "pinned": f"{found.pins}, of which {found.with_digests} with the digests of their files",
                "installed": f"{len(found.installed)}, of which not pinned: {', '.join(found.not_pinned) or 'none'}",
                "compared with": found.compared_with,
                "seconds": f"{found.build_seconds:g} to build the environment, {found.replay_seconds:g} to replay",
            },
        )
    return _PASSED if found.passed else _FAILED
