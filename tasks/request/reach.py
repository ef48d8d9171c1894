"""What a request may read. A person's own request reads what the person can; one from VAMS its asset and no more."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.storage.base import is_s3, join_uri

_HOME = ("~",)
_ELSEWHERE = re.compile(r"(^|[=\[,'\"\s])(/|~|\.\./|[A-Za-z][A-Za-z0-9+.-]*://)")
"""What in a Hydra override names a file outside the task's own: an absolute path, or any kind of URI."""


@dataclass(frozen=True)
class Reach:
    """The places that a request may read.

    Attributes:
        asset: The asset's root, a folder or an s3:// prefix; relative paths begin there.
        earlier: Outputs of earlier steps of the same execution; relative paths are looked for there next.
        shared: Prefixes that the operator lets every asset read.
        bounded: Nothing else may be read.
    """

    asset: str | None = None
    earlier: str | None = None
    shared: tuple[str, ...] = ()
    bounded: bool = False

    @classmethod
    def of(cls, request: Request, asset: str | None) -> Reach:
        """Return a request's reach.

        Args:
            request: A request.
            asset: Its asset's root, where there is one.
        """
        if request.source != "vams" and not request.confined:
            return cls(asset)
        # A whole bucket is nobody's asset.
        asset = asset if asset is not None and _is_below_a_bucket(asset) else None
        return cls(asset, request.earlier_outputs_uri, settings().shared_prefixes, bounded=True)

    def allows(self, uri: str) -> bool:
        """Say whether a place may be read."""
        roots = [root for root in (self.asset, self.earlier, *self.shared) if root]
        return not self.bounded or any(_is_within(uri, root) for root in roots)

    def places(self, path: str, key: str) -> list[tuple[str, str]]:
        """Return where a path or URI of a configuration may be: roots with the path below each, likeliest first.

        A leading slash means the asset's root; on a person's own machine, an absolute path means itself as well.

        Args:
            path: As it was written; globs are left as they are.
            key: The key that says so, for errors.

        Raises:
            ConfigError: It leads out of what may be read, or is relative to no asset.
        """
        if ".." in PurePosixPath(path).parts or (self.bounded and not path.strip("/")):
            raise ConfigError(
                f"'{key}' is '{path}', which leads out of the asset",
                where=key,
                remedy="Allowed: a path within the asset, without '..'.",
            )
        if is_s3(path):
            return [self._s3(path, key)]
        if self.bounded and "://" in path:
            raise self._refused(path, key)
        local = Path(path).expanduser()
        if not self.bounded and local.is_absolute():
            within = [(self.asset, path.lstrip("/"))] if self.asset and not path.startswith(_HOME) else []
            return [(str(local.parent), local.name), *within]
        roots = [root for root in (self.asset, self.earlier) if root]
        if not roots:
            raise ConfigError(
                f"'{key}' is the relative path '{path}', but there is no asset",
                where=key,
                remedy="Give an s3:// URI, or an absolute path." if not self.bounded else "Run it on an asset.",
            )
        places = [(root, path.lstrip("/")) for root in roots]
        if not all(_is_s3_or_inside(root, below) for root, below in places):
            raise self._refused(path, key)
        return places

    def require_own_overrides(self, overrides: Iterable[str]) -> None:
        """Refuse Hydra overrides that name files elsewhere.

        Raises:
            ConfigError: One does.
        """
        for override in overrides if self.bounded else ():
            if _ELSEWHERE.search(override.partition("=")[2]):
                raise ConfigError(
                    f"'hydraOverrides' has '{override}', which names a file outside the task",
                    where="hydraOverrides",
                    remedy="From VAMS, overrides change values; bring files in a custom environment.",
                )

    def require_custom_environment(self, archive: str | None) -> None:
        """Refuse an archive where the operator has switched archives off for VAMS.

        Raises:
            ConfigError: They are off.
        """
        if self.bounded and archive is not None and not settings().vams_custom_environments:
            raise ConfigError(
                f"A custom environment ('{archive}') is named, but this deployment takes none from VAMS",
                where="customEnvironmentPath",
                remedy="Use one of Isaac Lab's tasks, or ask the operator for vams.customEnvironments.",
            )

    def _s3(self, uri: str, key: str) -> tuple[str, str]:
        if not self.bounded:
            folder, _, name = uri.rstrip("/").rpartition("/")
            return folder, name
        for root in (self.asset, self.earlier, *self.shared):
            if root and is_s3(root) and _is_within(uri, root):
                return root.rstrip("/"), uri[len(root.rstrip("/")) :].strip("/")
        raise self._refused(uri, key)

    def _refused(self, path: str, key: str) -> ConfigError:
        shared = f", or one below {', '.join(self.shared)}" if self.shared else ""
        return ConfigError(
            f"'{key}' is '{path}', which is outside the asset that this was run on",
            where=key,
            remedy=f"Allowed: a file of the asset{shared}.",
        )


def _is_below_a_bucket(uri: str) -> bool:
    return not is_s3(uri) or bool(uri.removeprefix("s3://").partition("/")[2].strip("/"))


def _is_within(uri: str, root: str) -> bool:
    if is_s3(root) != is_s3(uri):
        return False
    if not is_s3(root):
        return Path(uri).resolve().is_relative_to(Path(root).resolve())
    root = root.rstrip("/")
    return (uri.rstrip("/") == root or uri.startswith(f"{root}/")) and not {".", ".."} & set(uri.split("/"))


def _is_s3_or_inside(root: str, path: str) -> bool:
    return is_s3(root) or _is_within(join_uri(root, path), root)
