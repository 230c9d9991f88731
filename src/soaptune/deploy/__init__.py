"""Deploying: a `Deployer` puts a model whose report passes the `Gates` behind an OpenAI-compatible endpoint."""

from soaptune.deploy.deployer import Deployer
from soaptune.deploy.gates import Gates
from soaptune.deploy.keys import hash_api_key
from soaptune.deploy.server import ServerOptions
from soaptune.deploy.service import ServiceOptions

__all__ = ["Deployer", "Gates", "ServerOptions", "ServiceOptions", "hash_api_key"]
