"""Images: both targets of container/, and the small one that everything but the GPU jobs runs in."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import IgnoreMode
from aws_cdk import aws_ecr_assets as assets
from constructs import Construct

from infrastructure.config import Config

ROOT = Path(__file__).resolve().parents[2]


class Images(Construct):
    """The images, built when the app is deployed; synthesis only takes the fingerprint of what they are made of.

    Attributes:
        simulators: Name (``isaac-sim``, ``newton``) to image, in the configured order.
        orchestrator: The workers', the server's and the deploy task's image.
    """

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.simulators: dict[str, assets.DockerImageAsset] = {
            target: self._asset(
                f"Simulator-{target}",
                "container/image/Dockerfile",
                target=target,
                arguments={"ACCEPT_EULA": "Y"} if target == "isaac-sim" else {},
            )
            for target in config.compute.images
        }
        self.orchestrator = self._asset("Orchestrator", "infrastructure/orchestrator.Dockerfile")

    def _asset(
        self, construct_id: str, file: str, *, target: str | None = None, arguments: dict[str, str] | None = None
    ) -> assets.DockerImageAsset:
        # .dockerignore leaves everything out but what the images need: a change elsewhere makes no new image, and the
        # fingerprint does not read a virtual environment of gigabytes.
        return assets.DockerImageAsset(
            self,
            construct_id,
            directory=str(ROOT),
            file=file,
            target=target,
            build_args=arguments or {},
            platform=assets.Platform.LINUX_AMD64,
            ignore_mode=IgnoreMode.DOCKER,
        )
