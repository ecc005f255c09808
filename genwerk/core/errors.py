"""Errors that say what was wrong, where, and what to do about it.

Every error a user can meet is a `GenwerkError`; the command line prints it as one message without a traceback, the
server turns it into OpenAI's error shape with `status`.
"""

from __future__ import annotations


class GenwerkError(Exception):
    """One message that names the thing, the place and the remedy.

    what    what was wrong, one clause, no full stop at the end.
    where   file, line, key or URL it was found at; empty when there is no place.
    remedy  what the reader can do now; empty only when nothing can be done.
    """

    status = 500
    code = "internal_error"

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f" ({where})" if where else ""
        super().__init__(f"{what}{place}. {remedy}".strip() if remedy else f"{what}{place}.")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[GenwerkError], what: str, where: str, remedy: str) -> GenwerkError:
    return kind(what, where=where, remedy=remedy)


class ConfigError(GenwerkError):
    """A recipe or config has an unknown key, a wrong type or a value out of range."""

    code = "invalid_config"


class AssetError(GenwerkError):
    """Weights or data could not be fetched, or are not what was pinned."""

    code = "asset_error"


class DataError(GenwerkError):
    """Input documents cannot be used."""

    code = "data_error"


class ModelError(GenwerkError):
    """A model directory, adapter or weight file is missing, truncated or of an unsupported shape."""

    code = "model_error"


class TrainingError(GenwerkError):
    """A run of training or tuning cannot go on: its loss is no longer a number, or its budget allows no step."""

    code = "training_error"


class WorkspaceError(GenwerkError):
    """The workspace is locked, full, or an artifact in it is damaged."""

    code = "workspace_error"


class RequestError(GenwerkError):
    """A request to the engine or server is not valid; `status` is the HTTP status, `param` the field."""

    status = 400
    code = "invalid_request"

    def __init__(
        self, what: str, *, where: str = "", remedy: str = "", param: str = "", status: int = 400, code: str = ""
    ) -> None:
        super().__init__(what, where=where or param, remedy=remedy)
        self.param, self.status = param, status
        self.code = code or type(self).code

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_request, (self.what, self.where, self.remedy, self.param, self.status, self.code)


def _rebuild_request(what: str, where: str, remedy: str, param: str, status: int, code: str) -> RequestError:
    return RequestError(what, where=where, remedy=remedy, param=param, status=status, code=code)
