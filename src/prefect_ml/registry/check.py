"""Whether a model can be restored: loaded where nothing is installed but what it asks for, and replayed there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.apart import LostError, run_apart
from prefect_ml.models.lock import read_hashes
from prefect_ml.models.mlmodel import read_info
from prefect_ml.models.outputs import difference, read_outputs
from prefect_ml.models.replay import REPLAY
from prefect_ml.models.trust import Trust, trust_in
from prefect_ml.registry.clean_replay import replayed_by
from prefect_ml.registry.environments import build_environment, loader_needs, read_pins
from prefect_ml.registry.resolve import fetch, fetch_signature, resolve

if TYPE_CHECKING:
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_HERE = "this environment"
_KEPT = "the outputs kept with the model"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        uri: the model as it was named.
        passed: whether it loads in a clean environment and predicts the same.
        summary: a sentence for people, the first difference or the failure in it.
        python: the version of Python that the model was saved by; None when it does not say.
        pins: how many versions its requirements fix.
        with_digests: of how many of these the lock names the files' digests for this machine.
        installed: what the environment holds, `name==version`, with what our own loader needs.
        not_pinned: those of them that the requirements do not name.
        build_seconds: how long the environment took; next to nothing when it was there.
        replay_seconds: how long loading and predicting took in it.
        compared_with: the outputs kept with the model, or what it predicts in this environment.
    """

    uri: str
    passed: bool
    summary: str
    python: str | None = None
    pins: int = 0
    with_digests: int = 0
    installed: tuple[str, ...] = ()
    not_pinned: tuple[str, ...] = ()
    build_seconds: float = 0.0
    replay_seconds: float = 0.0
    compared_with: str = _KEPT


def check_model(
    store: Store,
    uri: str,
    settings: Settings,
    *,
    tolerance: float = 1e-5,
    timeout: float = 1800.0,
    allow_builds: bool = False,
) -> Checked:
    """Load a model in an environment of its requirements alone, replay its example, and compare the outputs.

    The environment is built by uv, once for each list of requirements, and kept below the cache folder; pip's and uv's
    settings of indexes say from where. Labels and whole numbers must be equal.

    Args:
        store: where registered models and runs are looked up.
        uri: a model URI or a folder.
        settings: the cache, and what may be unpickled.
        tolerance: of numbers with a fraction, absolute below 1 and relative above.
        timeout: seconds for all of it.
        allow_builds: whether distributions without a wheel may be built, which runs their code.

    Raises:
        InvalidInputError: it keeps no input example, or its requirements are no exact versions.
        NotFoundError: there is no such model, it keeps no requirements, or uv is not installed.
        UntrustedModelError: loading it would run code, and its origin is not trusted.
        ArtifactError: it took too long, so nothing is known.
    """
    until = time.monotonic() + timeout
    resolved = resolve(store, uri)
    folder = fetch(resolved, settings.cache_folder)
    if settings.trusted_signers:
        fetch_signature(resolved, folder)
    info = read_info(folder)
    if info.input_example is None:
        raise InvalidInputError(f"{uri!r} keeps no input example to replay; save it again with input_example=....")
    pins, hashes = read_pins(folder), read_hashes(folder)
    origin = resolved.uri if Trust(resolved.uri, settings.trusted_origins).given else resolved.origin
    trust = trust_in(folder, origin, settings.trusted_origins, settings.trusted_signers)
    request = {"folder": str(folder), "origin": origin, "trusted": [origin] if trust.given else []}
    known: dict[str, Any] = {"python": info.python_version, "pins": len(pins), "with_digests": len(hashes)}
    try:
        started = time.monotonic()
        python, installed = build_environment(
            pins,
            settings.cache_folder,
            hashes=hashes,
            also=loader_needs(folder),
            python=info.python_version,
            builds=allow_builds,
            until=until,
        )
        known |= {"installed": tuple(installed), "build_seconds": round(time.monotonic() - started, 2)}
        known["not_pinned"] = tuple(line for line in installed if line.partition("==")[0] not in pins)
        started = time.monotonic()
        found = replayed_by(python, request, until)
        known["replay_seconds"] = round(time.monotonic() - started, 2)
        kept, known["compared_with"] = read_outputs(folder), _KEPT
        if kept is None:
            flavors = [str(name) for name in info.flavors]
            answer = run_apart({"kind": REPLAY, **request}, flavors, until - time.monotonic(), timeout)
            kept, known["compared_with"] = answer["outputs"], _HERE
    except TimeoutError:
        raise ArtifactError(
            f"The check of {uri!r} took longer than {timeout:g} seconds; give it a longer one."
        ) from None
    except LostError as error:
        if not trust.given and "UntrustedModelError: " in str(error):
            raise UntrustedModelError(str(error).partition("UntrustedModelError: ")[2]) from error
        return Checked(uri, False, f"{uri} does not work elsewhere: {error}.", **known)
    except ArtifactError as error:
        return Checked(uri, False, f"{uri} cannot be restored: {error}", **known)
    differs = difference(kept, found, tolerance)
    if differs is not None:
        return Checked(uri, False, f"{uri} predicts something else in a clean environment: {differs}.", **known)
    where = f"{len(installed)} distributions, {len(pins)} of them pinned by the model"
    return Checked(uri, True, f"{uri} loads in a clean environment ({where}), and predicts the same.", **known)
